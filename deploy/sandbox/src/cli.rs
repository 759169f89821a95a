//! The flags of the sandbox.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::control::{DOWN_FOR_MAX, Part};
use crate::duration::parse_duration;
use crate::fault::{Fault, Place};
use crate::query_api_server::QueryApi;
use crate::read_fault::ReadFault;
use crate::relay_server::RelayMode;

/// The command line as the user typed it.
#[derive(Debug, Parser)]
#[command(name = "auditstorm-sandbox", version, about = ABOUT, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const ABOUT: &str = "Runs the pipeline on this machine, for tests: NATS JetStream, ClickHouse, and \
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
Faults of the pipeline (only the sandbox's own relay makes them; P is a probability, 0 < P <= 1):
  drop:sidecar:P          acknowledged, never published to NATS
  drop:aggregator:P       taken from NATS, never stored
  duplicate:sidecar:P     published twice, the second time without a message id
  duplicate:aggregator:P  stored twice, by two INSERTs
  corrupt:aggregator:P    one field changed, never the auditID or a time
  delay:aggregator:5s     every batch held back before its INSERT
  limit:aggregator:N/s    no more than N events a second taken from NATS
  keep-last:sidecar:N     the disk buffer keeps its last N events until others follow or the part is
  keep-last:aggregator:N  restarted, as Vector's can; with --relay honest

Faults of reading (only the sandbox's own query API makes them):
  paging:real             pages as the real server's, which leave events out
  scope:open              a scope that is not known shows everything, as the real server does
  leak:P                  an event of another tenant put in beside an event
  stale:2s                events younger than this not shown
  error:503:P             a request answered with this status
  slow:500ms:P            a request answered late
  reorder                 two neighbours of every page exchanged

The same seed hits the same auditIDs again. Each victim is one line in DIR/faults.jsonl, written
before the fault is made. With a duplicate fault, merges of the table are stopped, because they
would fold the duplicates away.

The relay stands in for Vector. The fast one is a single process that holds events in memory, and
retries soon. The honest one is two processes, sidecar and aggregator, that work like Vector: each
has a disk buffer before its sink, which survives SIGKILL and `down`; one message at a time is in
flight to NATS; the waits between retries grow from 1 s up to --retry-max (30 s before NATS); and
batches that ClickHouse will never accept are dropped.

DIR/env has the addresses, as lines NAME=value; it is written last. DIR/logs has the logs. If DIR
has the data of an earlier `up`, they are used again, on the same ports. VECTOR_METRICS_URL is the
address of the relay's metrics, or those of sidecar and aggregator in this order. They say how many
events each holds. QUERY_API_URL is there if --query-api is given; ClickHouse then keeps its log of
queries, system.query_log, as its servers do by default.

Exit codes: see `auditstorm-sandbox --help`.";

const RESTART: &str = "\
The part gets SIGKILL, so it cannot finish anything. The other parts go on. The command returns when
the part answers again; for an aggregator, when it waits for messages.

`relay` means sidecar and aggregator together, also if they are Vectors. Each can be named alone if
it is a process of its own: with `up --relay honest` or `up --vector`. `query-api` is there with
`up --query-api`.

Exit codes: see `auditstorm-sandbox --help`.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch the pinned servers into one folder
    #[command(after_help = "Exit codes: see `auditstorm-sandbox --help`.")]
    Setup {
        /// Folder for the servers. Nothing outside of it is changed
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
    /// Start the pipeline. It stops on Ctrl-C or `down`, or when COMMAND ends
    #[command(after_help = FAULTS)]
    Up(Up),
    /// Stop the pipeline that runs in a directory
    #[command(after_help = "Exit codes: see `auditstorm-sandbox --help`.")]
    Down {
        /// The directory that was given to `up`
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Kill a part of a running pipeline, and start it again on the same ports with the same data
    #[command(after_help = RESTART)]
    Restart {
        #[command(flatten)]
        target: Target,
        /// How long the part stays down before it is started again
        #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_down_for)]
        down_for: Duration,
    },
    /// Kill a part of a running pipeline, and leave it down until `start`
    #[command(after_help = RESTART)]
    Stop {
        #[command(flatten)]
        target: Target,
    },
    /// Start a part that was stopped, on the same ports with the same data
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
        /// Keep a log of queries
        #[arg(long)]
        query_log: bool,
    },
    /// Stand in for the query API
    #[command(hide = true)]
    QueryApi(QueryApiFlags),
    /// Stand in for Vector; the process bears the name of its part
    #[command(hide = true, aliases = ["sidecar", "aggregator"])]
    Relay(Relay),
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The directory that was given to `up`
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The part. A fast relay loses the events that it holds in memory
    pub(crate) part: Part,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Directory of the sandbox, for data, logs and addresses
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Fault to make. Can be given several times; see below
    #[arg(long = "fault", value_name = "SPEC")]
    pub(crate) faults: Vec<Fault>,
    /// Seed that decides which events the faults hit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// How long the aggregator waits for more events before it stores a batch
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) batch_wait: Duration,
    /// Which of the sandbox's relays stands in for Vector [default: fast]
    #[arg(long, value_name = "MODE")]
    pub(crate) relay: Option<RelayMode>,
    /// The longest wait before ClickHouse is tried again, of an honest relay or of Vector
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = parse_duration)]
    pub(crate) retry_max: Duration,
    /// File with a JSON object: settings of the stream that differ from deploy/nats
    #[arg(long, value_name = "FILE")]
    pub(crate) stream: Option<PathBuf>,
    /// Start a query API, or put the address of one that exists into `env`
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    pub(crate) query_api: Option<QueryApi>,
    /// Path of a Vector to use instead of the sandbox's relay
    #[arg(long, value_name = "PATH", env = "VECTOR_BIN")]
    pub(crate) vector: Option<PathBuf>,
    /// Folder that `setup` has filled
    #[arg(long, value_name = "DIR", env = "AUDITSTORM_SANDBOX_HOME", default_value = ".sandbox")]
    pub(crate) parts: PathBuf,
    #[command(flatten)]
    pub(crate) named: Named,
    /// Command to run with the addresses in its environment. The pipeline stops when it ends
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Path of a NATS server to use instead of the downloaded one
    #[arg(long, value_name = "PATH", env = "NATS_SERVER_BIN")]
    pub(crate) nats_server: Option<PathBuf>,
    /// Path of a `clickhouse` program, or of `libchdb.so`, to use instead of the downloaded one
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

#[derive(Debug, Args)]
pub(crate) struct QueryApiFlags {
    #[arg(long)]
    pub(crate) clickhouse: SocketAddr,
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    #[arg(long)]
    pub(crate) address_file: PathBuf,
    #[arg(long)]
    pub(crate) faults_file: PathBuf,
    #[arg(long)]
    pub(crate) seed: u64,
    #[arg(long = "fault")]
    pub(crate) faults: Vec<Fault>,
}

impl QueryApiFlags {
    /// The faults that are for it.
    pub(crate) fn read_faults(&self) -> Vec<ReadFault> {
        self.faults.iter().filter_map(|fault| fault.of_reading()).collect()
    }
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
    fn a_query_api_is_the_sandboxs_own_or_one_that_exists() {
        let parse = |words: &[&str]| {
            let words = [&["x", "up", "--dir", "d"][..], words].concat();
            let Command::Up(up) = Cli::try_parse_from(words).unwrap().command else { panic!() };
            (up.query_api, up.command.len())
        };
        assert_eq!(parse(&[]), (None, 0));
        assert_eq!(parse(&["--query-api"]), (Some(QueryApi::Own), 0));
        assert_eq!(parse(&["--query-api", "--", "ls"]), (Some(QueryApi::Own), 1));
        let at = QueryApi::At("http://127.0.0.1:9".to_owned());
        assert_eq!(parse(&["--query-api", "http://127.0.0.1:9"]), (Some(at), 0));
    }

    #[test]
    fn a_wrong_fault_is_bad_usage() {
        let words = ["x", "up", "--dir", "d", "--fault", "drop:moon:0.1"];
        let error = Cli::try_parse_from(words).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("is no fault; write drop:sidecar:P"), "{error}");
    }
}
