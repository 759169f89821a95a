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
use crate::reconcile::{Recorded, Stores, reconcile};
use crate::records::RunRecords;
use crate::report::Report;
use crate::settle::SettleOptions;
use crate::thresholds::{exit, worse};
use crate::{render, trend, versus};

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
    Report(render::ReportArgs),
    Compare(versus::CompareArgs),
    Trend(trend::TrendArgs),
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
    /// Also writes report.html, report.md and junit.xml to each, as `report` does.
    #[arg(long)]
    report: bool,
}

/// Reads the command line and does what it says.
#[expect(clippy::print_stderr, reason = "the one place that tells why the program cannot go on")]
pub fn main() -> Exit {
    let done = match Cli::parse().command {
        Command::Reconcile(args) => run(&args),
        Command::Report(args) => render::run(&args),
        Command::Compare(args) => versus::run(&args),
        Command::Trend(args) => trend::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("auditstorm-verifier: {}", harness::exit::chain(&error));
        error.exit()
    })
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
        let mut worst = Exit::Done;
        for run in &runs {
            let stream = stream.as_ref().filter(|_| run.plan.path() != DeliveryPath::Bulk);
            let stores = Stores { table: &table, stream };
            let report = reconcile(run, stores, &clock, shutdown.clone(), options).await?;
            run.dir.write_json("report.json", &report)?;
            if args.report {
                let records = RunRecords::read(run.dir.path(), &run.plan)?;
                render::write(run.dir.path(), &report, &records, &run.plan)?;
            }
            print(&report, args.json);
            worst = worse(worst, exit(&report));
        }
        Ok(worst)
    })
}

/// Connects to NATS if a run needs it.
async fn connect_stream(
    args: &Reconcile,
    runs: &[Recorded],
) -> Result<Option<AuditStream>, VerifyError> {
    let Some(run) = runs.iter().find(|run| run.plan.path() != DeliveryPath::Bulk) else {
        return Ok(None);
    };
    let Some(url) = &args.nats.url else {
        return Err(VerifyError::NoNatsUrl { dir: run.dir.path().display().to_string() });
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
