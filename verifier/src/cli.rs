//! The command line: flags to checks, verdicts to exit codes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use harness::clickhouse::{ClickHouse, ClickHouseArgs};
use harness::clock::Clock;
use harness::exit::{EXIT_CODES, Exit};
use harness::jetstream::{AuditStream, NatsArgs};
use harness::plan::DeliveryPath;
use harness::quantity::parse_wait;
use harness::shutdown::Shutdown;

use crate::error::VerifyError;
use crate::mark::{MarkArgs, mark};
use crate::preflight::{PreflightArgs, preflight};
use crate::reconcile::{Recorded, Stores, reconcile};
use crate::report::Report;
use crate::settle::SettleOptions;
use crate::verdict::Verdict;
use crate::watch::{WatchArgs, watch};

/// Says what became of every event of a run, and judges.
#[derive(Debug, Parser)]
#[command(name = "auditstorm-verifier", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares what runs sent with what stream and table hold, and writes report.json to each.
    Reconcile(Box<Reconcile>),
    /// Watches the pipeline while a run goes on, and writes observations.jsonl.
    Watch(Box<WatchArgs>),
    /// Writes down what happens while a run goes on, in marks.jsonl.
    Mark(MarkArgs),
    /// Says what stands against a run, before it is one.
    Preflight(Box<PreflightArgs>),
}

#[derive(Debug, Args)]
struct Reconcile {
    /// Directories of runs.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    /// Stores that have not moved for as long are still. Longer than the aggregator's batch
    /// timeout.
    #[arg(long, default_value = "20s", value_parser = parse_wait)]
    quiet: Duration,
    /// Stores that still move after as long are judged as they are: unknown.
    #[arg(long, default_value = "5m", value_parser = parse_wait)]
    wait: Duration,
    /// Prints the reports as JSON.
    #[arg(long)]
    json: bool,
}

/// Reads the command line and does what it says.
#[expect(clippy::print_stderr, reason = "the one place that tells why the program cannot go on")]
pub fn main() -> Exit {
    let result = match Cli::parse().command {
        Command::Reconcile(args) => run(&args),
        Command::Watch(args) => on_runtime(async { Box::pin(watch(&args, Clock::system())).await }),
        Command::Preflight(args) => {
            on_runtime(async { Box::pin(preflight(&args, Clock::system())).await })
        }
        Command::Mark(args) => on_runtime(async { mark(&args, &Clock::system()) }),
    };
    result.unwrap_or_else(|error| {
        eprintln!("auditstorm-verifier: {}", harness::exit::chain(&error));
        error.exit()
    })
}

fn on_runtime(work: impl Future<Output = Result<Exit, VerifyError>>) -> Result<Exit, VerifyError> {
    let runtime = tokio::runtime::Runtime::new().map_err(|source| VerifyError::Start { source })?;
    runtime.block_on(work)
}

fn run(args: &Reconcile) -> Result<Exit, VerifyError> {
    let runs: Vec<Recorded> =
        args.dirs.iter().map(|dir| Recorded::open(dir)).collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Runtime::new().map_err(|source| VerifyError::Start { source })?;
    let recorded = runs.first().map(|run| run.plan.spec.targets.clone()).unwrap_or_default();
    runtime.block_on(async {
        let table = ClickHouse::connect(&args.clickhouse, &recorded).await?;
        let stream = connect_stream(args, &runs).await?;
        let clock = Clock::system();
        let shutdown = Shutdown::on_signals().map_err(|source| VerifyError::Start { source })?;
        let options = SettleOptions { quiet: args.quiet, wait_max: args.wait };
        let mut worst = Verdict::Whole;
        for run in &runs {
            let stream = stream.as_ref().filter(|_| run.plan.path() != DeliveryPath::Bulk);
            let stores = Stores { table: &table, stream };
            let report = reconcile(run, stores, &clock, shutdown.clone(), options).await?;
            run.dir.write_json("report.json", &report)?;
            print(&report, args.json);
            worst = worst.max(report.verdict);
        }
        Ok(worst.exit())
    })
}

/// Connects to NATS if a run needs it.
async fn connect_stream(
    args: &Reconcile,
    runs: &[Recorded],
) -> Result<Option<AuditStream>, VerifyError> {
    if runs.iter().all(|run| run.plan.path() == DeliveryPath::Bulk) {
        return Ok(None);
    }
    let Some(url) = &args.nats.url else {
        return Err(VerifyError::NoNatsUrl);
    };
    Ok(Some(AuditStream::connect(url, &args.nats).await?))
}

#[expect(clippy::print_stdout, reason = "the report is the result")]
fn print(report: &Report, json: bool) {
    if json {
        println!("{}", serde_json::to_string_pretty(report).expect("it has string keys"));
    } else {
        println!("{report}");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_do_not_clash() {
        Cli::command().debug_assert();
    }
}
