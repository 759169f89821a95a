//! The flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::control::{DOWN_FOR_MAX, Part};
use crate::duration::parse_duration;
use crate::fault::{Fault, Place};
use crate::relay_server::RelayMode;

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "auditstorm-sandbox", version, about = ABOUT, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const ABOUT: &str = "Runs the pipeline under test on this machine: NATS JetStream, ClickHouse, and \
    between them Vector or a stand-in for it";

const EXIT_CODES: &str = "\
Exit codes:
    0  done, or stopped by `down` or SIGTERM
    2  bad usage or input
    3  a part cannot be fetched, started or reached, or ended by itself
    6  this machine failed: disk, files, ports
  130  stopped by the user (Ctrl-C)
With `up … -- COMMAND`, COMMAND's own exit code, or 128 + N if signal N ended it.";

const FAULTS: &str = "\
Faults (only the sandbox's own relay makes them; P is a probability, 0 < P <= 1):
  drop:sidecar:P          acknowledged, never published to NATS
  drop:aggregator:P       taken from NATS, never stored
  duplicate:sidecar:P     published twice, the second time without a message id
  duplicate:aggregator:P  stored twice, by two INSERTs
  corrupt:aggregator:P    one field changed, never the auditID or a time
  delay:aggregator:5s     every batch held back before its INSERT

The same seed hits the same auditIDs again. Each victim is one line in DIR/faults.jsonl, written
before the harm is done. With a duplicate fault, merges of the table are stopped, else they would
fold the duplicates away.

The relay stands in for Vector. A fast one is one process, holds events in memory, and tries again
soon. An honest one is two, sidecar and aggregator, and does as Vector does: a disk buffer before
each sink, which outlives SIGKILL and `down`; one message in flight to NATS; waits between tries
that grow from 1 s up to --retry-max (30 s at most before NATS); batches that ClickHouse will never
take are dropped.

The addresses are in DIR/env, as NAME=value lines, written last; logs are in DIR/logs. The data of
an earlier `up` in DIR is taken up again, on the same ports. VECTOR_METRICS_URL says where the
relay, or sidecar and aggregator in this order, tell what they hold.

Exit codes: see `auditstorm-sandbox --help`.";

const RESTART: &str = "\
The part gets SIGKILL: it cannot finish anything. The other parts go on. The command returns when
the part answers again; an aggregator, when it waits for messages.

`relay` is sidecar and aggregator together, as Vectors too. The two can be named alone where they
are processes of their own: with `up --relay honest` or `up --vector`.

Exit codes: see `auditstorm-sandbox --help`.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch the pinned servers into one folder
    #[command(after_help = "Exit codes: see `auditstorm-sandbox --help`.")]
    Setup {
        /// The folder for the servers; nothing outside of it is touched
        #[arg(
            long,
            value_name = "DIR",
            env = "AUDITSTORM_SANDBOX_HOME",
            default_value = ".sandbox"
        )]
        into: PathBuf,
        #[command(flatten)]
        named: Named,
    },
    /// Start the pipeline; stop it when told to, or when COMMAND ends
    #[command(after_help = FAULTS)]
    Up(Up),
    /// Stop the pipeline that `up` runs in a directory
    #[command(after_help = "Exit codes: see `auditstorm-sandbox --help`.")]
    Down {
        /// The directory given to `up`
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Kill a part of a running pipeline, and start it again on the same ports with its data
    #[command(after_help = RESTART)]
    Restart {
        #[command(flatten)]
        target: Target,
        /// How long the part stays down before it is started again
        #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_down_for)]
        down_for: Duration,
    },
    /// Kill a part of a running pipeline, and leave it down
    #[command(after_help = RESTART)]
    Stop {
        #[command(flatten)]
        target: Target,
    },
    /// Start a part that was stopped, on the same ports with its data
    #[command(after_help = RESTART)]
    Start {
        #[command(flatten)]
        target: Target,
    },
    /// Become a program that ends with its parent
    #[command(hide = true)]
    Guard {
        #[arg(long)]
        parent: i32,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Serve from the `ClickHouse` library
    #[command(hide = true)]
    Clickhouse {
        #[arg(long)]
        library: PathBuf,
        #[arg(long)]
        data: PathBuf,
        #[arg(long)]
        http_port: u16,
        #[arg(long)]
        tcp_port: u16,
    },
    /// Stand in for Vector; the process bears the name of its part
    #[command(hide = true, aliases = ["sidecar", "aggregator"])]
    Relay(Relay),
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The directory given to `up`
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The part; a fast `relay` loses what it holds in memory
    pub(crate) part: Part,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// The sandbox's directory: data, logs, addresses
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// A fault to make; may be given several times
    #[arg(long = "fault", value_name = "SPEC")]
    pub(crate) faults: Vec<Fault>,
    /// Decides which events the faults hit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// How long a batch may wait for more events before it is stored
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) batch_wait: Duration,
    /// How the sandbox's own relay stands in for Vector [default: fast]
    #[arg(long, value_name = "MODE")]
    pub(crate) relay: Option<RelayMode>,
    /// The longest wait of an honest relay, or of Vector, before ClickHouse is tried again
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = parse_duration)]
    pub(crate) retry_max: Duration,
    /// Settings of the stream that differ from deploy/nats, as a JSON object in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) stream: Option<PathBuf>,
    /// Use this Vector instead of the sandbox's own relay
    #[arg(long, value_name = "PATH", env = "VECTOR_BIN")]
    pub(crate) vector: Option<PathBuf>,
    /// The folder that `setup` filled
    #[arg(long, value_name = "DIR", env = "AUDITSTORM_SANDBOX_HOME", default_value = ".sandbox")]
    pub(crate) parts: PathBuf,
    #[command(flatten)]
    pub(crate) named: Named,
    /// Run this with the addresses in its environment, then stop
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Use this NATS server instead of the fetched one
    #[arg(long, value_name = "PATH", env = "NATS_SERVER_BIN")]
    pub(crate) nats_server: Option<PathBuf>,
    /// Use this `clickhouse` program, or `libchdb.so`, instead of the fetched one
    #[arg(long, value_name = "PATH", env = "CLICKHOUSE_BIN")]
    pub(crate) clickhouse: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Relay {
    #[arg(long)]
    pub(crate) nats: String,
    #[arg(long)]
    pub(crate) clickhouse: SocketAddr,
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    #[arg(long)]
    pub(crate) metrics: SocketAddr,
    #[arg(long)]
    pub(crate) address_file: PathBuf,
    #[arg(long)]
    pub(crate) faults_file: PathBuf,
    #[arg(long, value_parser = parse_duration)]
    pub(crate) batch_wait: Duration,
    #[arg(long)]
    pub(crate) part: Option<Place>,
    #[arg(long)]
    pub(crate) buffer: PathBuf,
    #[arg(long, value_parser = parse_duration)]
    pub(crate) retry_max: Duration,
    #[arg(long)]
    pub(crate) seed: u64,
    #[arg(long = "fault")]
    pub(crate) faults: Vec<Fault>,
}

fn parse_down_for(text: &str) -> Result<Duration, String> {
    let down_for = parse_duration(text)?;
    let in_range = down_for <= DOWN_FOR_MAX;
    in_range.then_some(down_for).ok_or_else(|| "10m is the longest".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_is_the_command() {
        let words = ["x", "up", "--dir", "d", "--fault", "drop:sidecar:0.1", "--", "ls", "--all"];
        let Command::Up(up) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        assert_eq!(up.command, ["ls", "--all"]);
        assert_eq!(up.faults.len(), 1);
        assert_eq!(up.batch_wait, Duration::from_secs(10));
    }

    #[test]
    fn a_wrong_fault_is_bad_usage() {
        let words = ["x", "up", "--dir", "d", "--fault", "drop:moon:0.1"];
        let error = Cli::try_parse_from(words).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("is no fault; write drop:sidecar:P"), "{error}");
    }
}
