//! The command line: flags to plans, results to exit codes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use harness::clickhouse::{ClickHouse, ClickHouseArgs};
use harness::clock::Clock;
use harness::exit::{EXIT_CODES, Exit};
use harness::plan::Targets;
use harness::quantity::parse_duration;
use harness::shutdown::Shutdown;

use crate::error::BackfillError;
use crate::history::HistoryArgs;
use crate::report::Summary;
use crate::run::{LoadOptions, Surveyed, load, survey_all};

/// Seeds a table of audit logs with a history of events.
#[derive(Debug, Parser)]
#[command(name = "auditstorm-backfill", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Loads a history and records it in a run directory. The same command on the same directory
    /// goes on where it was stopped or killed.
    Run(Run),
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    history: HistoryArgs,
    /// Directory for the run's record [default: runs/<run id>].
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Prints the summary as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
struct LoadArgs {
    /// Rows of an insert at most. Less are sent at once while the server is short of memory.
    #[arg(long, default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rows_per_insert: u64,
    /// Inserts under way at once, at most. Fewer are, while the server complains.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    lanes: u8,
    /// Rows a second at most [default: what the server takes].
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    limit_rows_per_second: Option<u64>,
    /// Waits while a partition has as many parts [default: half of what the server slows down
    /// at, 300 at most].
    #[arg(long, value_name = "PARTS", value_parser = clap::value_parser!(u64).range(2..))]
    parts_per_partition: Option<u64>,
    /// Gives up after as long without a confirmed insert.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    patience: Duration,
    /// Serves metrics for Prometheus at this address, under /metrics; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// Shows no progress.
    #[arg(long)]
    quiet: bool,
}

impl LoadArgs {
    fn options(&self) -> LoadOptions {
        LoadOptions {
            rows_per_insert: self.rows_per_insert,
            lanes: self.lanes.into(),
            rows_per_second_max: self.limit_rows_per_second,
            parts_per_partition_max: self.parts_per_partition,
            patience: self.patience,
            metrics: self.metrics,
            quiet: self.quiet,
        }
    }
}

/// Reads the command line and does what it says.
#[expect(clippy::print_stderr, reason = "the one place that tells why the program cannot go on")]
pub fn main() -> Exit {
    let cli = Cli::parse();
    let result = tokio::runtime::Runtime::new()
        .map_err(|source| BackfillError::Start { source })
        .and_then(|runtime| {
            runtime.block_on(async {
                match &cli.command {
                    Command::Run(args) => run(args).await,
                }
            })
        });
    result.unwrap_or_else(|error| {
        eprintln!("auditstorm-backfill: {}", harness::exit::chain(&error));
        error.exit()
    })
}

async fn run(args: &Run) -> Result<Exit, BackfillError> {
    let clock = Clock::system();
    let shutdown = Shutdown::on_signals().map_err(|source| BackfillError::Start { source })?;
    let to = reach(&args.clickhouse).await?;
    let plan = args.history.plan(targets(&to), &clock)?;
    let recorded = args.history.record(plan, args.out.as_deref(), &clock)?;
    let summary = load(&recorded, &to, clock, shutdown, args.load.options()).await?;
    print(&summary, args.json, &recorded.dir.path().display().to_string());
    Ok(if summary.stopped { Exit::Stopped } else { Exit::Done })
}

/// Makes sure that all servers answer and have the table, and asks what they are like.
async fn reach(args: &ClickHouseArgs) -> Result<Surveyed, BackfillError> {
    let servers = ClickHouse::connect_all(args, &Targets::default()).await?;
    Ok(survey_all(servers).await?)
}

/// Returns where a run goes, for its record.
fn targets(to: &Surveyed) -> Targets {
    let urls: Vec<_> = to.servers.iter().map(|server| server.url.as_str()).collect();
    let first = to.servers.first();
    Targets {
        clickhouse: Some(urls.join(",")),
        table: first.map(|server| server.table.to_string()),
        columns: first.map(|server| server.names.clone()).unwrap_or_default(),
        ..Targets::default()
    }
}

#[expect(clippy::print_stdout, reason = "the summary is the result")]
fn print(summary: &Summary, as_json: bool, dir: &str) {
    if as_json {
        println!("{}", serde_json::to_string_pretty(&summary).expect("it has string keys"));
    } else {
        print!("{summary}");
        println!("recorded in {dir}");
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map(Duration::from_micros)
}
