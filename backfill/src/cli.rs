//! The command line: flags to plans, results to exit codes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use harness::clickhouse::{ClickHouse, ClickHouseArgs};
use harness::clock::Clock;
use harness::exit::{EXIT_CODES, Exit};
use harness::plan::{Plan, RunOptions, RunSpec, Span, Targets};
use harness::profile::{Profile, read_profile};
use harness::run_dir::RunDir;
use harness::scale::Scale;
use harness::shutdown::{Shutdown, Stop};
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use crate::bulk::{BulkOptions, insert_all};
use crate::chunk::chunks;
use crate::error::BackfillError;
use crate::report::Summary;

/// Seeds a table of audit logs with a history of events.
#[derive(Debug, Parser)]
#[command(name = "auditstorm-backfill", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Inserts a history straight into ClickHouse and records it in a run directory.
    Run(Run),
}

#[derive(Debug, Args)]
struct Run {
    /// A built-in profile's name, or a YAML file's path. The history has its tenants and seed.
    profile: String,
    /// How many events.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    events: u64,
    /// How many whole days (UTC) before today.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3_660))]
    days: u32,
    /// Directory for the run's record [default: runs/<run id>].
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    /// Rows of an insert at most.
    #[arg(long, default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rows_per_insert: u64,
    /// Inserts under way at once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    lanes: u8,
    /// Seed, instead of the profile's.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Reads the command line and does what it says.
#[expect(clippy::print_stderr, reason = "the one place that tells why the program cannot go on")]
pub fn main() -> Exit {
    let Command::Run(args) = Cli::parse().command;
    run(&args).unwrap_or_else(|error| {
        eprintln!("auditstorm-backfill: {}", harness::exit::chain(&error));
        error.exit()
    })
}

#[expect(clippy::print_stdout, reason = "the summary is the result")]
fn run(args: &Run) -> Result<Exit, BackfillError> {
    let text = read_profile(&args.profile)?;
    let profile = Profile::parse(&text.text, &text.origin)?;
    let runtime =
        tokio::runtime::Runtime::new().map_err(|source| BackfillError::Start { source })?;
    runtime.block_on(async {
        let clock = Clock::system();
        let server = ClickHouse::connect(&args.clickhouse).await?;
        let spec = RunSpec::new(&text.text, &profile, options(args, &server, clock.now()));
        let plan = Plan::new(spec, &profile);
        let path = args
            .out
            .clone()
            .unwrap_or_else(|| ["runs", &plan.spec.run_id.to_string()].iter().collect());
        let dir = RunDir::create(&path, &plan.spec)?;
        let summary = insert_recorded(&plan, &dir, &server, args, clock).await?;
        if args.json {
            println!("{}", serde_json::to_string_pretty(&summary).expect("it has string keys"));
        } else {
            print!("{summary}");
            println!("recorded in {}", dir.path().display());
        }
        Ok(if summary.stopped { Exit::Stopped } else { Exit::Done })
    })
}

#[expect(clippy::disallowed_methods, reason = "a new run has a new ID")]
fn options(args: &Run, server: &ClickHouse, now: i64) -> RunOptions {
    RunOptions {
        run_id: Uuid::new_v4(),
        seed: args.seed,
        start: now,
        span: Span::history(args.days, args.events, now),
        targets: Targets {
            clickhouse: Some(server.url.clone()),
            table: Some(server.table.to_string()),
            ..Targets::default()
        },
        shards: 1,
        scale: Scale::default(),
    }
}

async fn insert_recorded(
    plan: &Plan,
    dir: &RunDir,
    server: &ClickHouse,
    args: &Run,
    clock: Clock,
) -> Result<Summary, BackfillError> {
    let ledger = dir.create_ledger(&plan.spec, 0)?;
    let shutdown = Shutdown::on_signals().map_err(|source| BackfillError::Start { source })?;
    let chunks = chunks(&plan.script, &(plan.start..plan.end), args.rows_per_insert);
    let begun = clock.now();
    let style = ProgressStyle::with_template(
        "{elapsed_precise} {bar:24} {percent:>3}% {per_sec}, {eta} left",
    );
    let progress =
        ProgressBar::new(plan.script.planned()).with_style(style.expect("the template is valid"));
    let mut ended = 0;
    let options = BulkOptions { lanes: args.lanes.into() };
    let result = insert_all(plan, &chunks, server, &ledger, shutdown.clone(), options, |chunk| {
        ended += chunk.rows;
        progress.set_position(ended);
    })
    .await;
    progress.finish_and_clear();
    // Also after a failure: what was not begun is unsent, and the ledger says so.
    ledger.close().map_err(|source| BackfillError::Ledger { source })?;
    result?;
    let summary = Summary {
        run_id: plan.spec.run_id,
        profile: plan.profile_name.clone(),
        stopped: shutdown.stop() != Stop::No,
        planned: plan.script.planned(),
        acknowledged: ended,
        chunks: chunks.len(),
        days: args.days,
        duration_s: seconds(clock.now() - begun),
    };
    dir.write_json("summary-0.json", &summary)?;
    Ok(summary)
}

#[expect(clippy::cast_precision_loss, reason = "a year in µs is exact in an f64")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1_000_000.0
}
