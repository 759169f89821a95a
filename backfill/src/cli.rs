//! The command line: flags to plans, results to exit codes.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use clap::builder::ArgPredicate;
use clap::{Args, Parser, Subcommand};
use events::timeline::UnixMicros;
use harness::clickhouse::{ClickHouse, ClickHouseArgs};
use harness::clock::Clock;
use harness::exit::{EXIT_CODES, Exit};
use harness::plan::{Plan, RunOptions, RunSpec, Span, Targets};
use harness::profile::{Profile, read_profile};
use harness::quantity::parse_time;
use harness::run_dir::RunDir;
use harness::scale::Scale;
use harness::shutdown::{Shutdown, Stop};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use uuid::Uuid;

use crate::bulk::{BulkOptions, insert_all};
use crate::chunk::chunks;
use crate::error::BackfillError;
use crate::export::{FileReport, check_name, export_recorded};
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
    /// Inserts a history straight into ClickHouse, or writes it to a file, and records it in a run
    /// directory.
    Run(Run),
}

#[derive(Debug, Args)]
// A file needs no server.
#[command(mut_arg("url", |url| url
    .required(false)
    .required_unless_present("to")
    .default_value_if("to", ArgPredicate::IsPresent, "")))]
struct Run {
    /// A built-in profile's name, or a YAML file's path. The history has its tenants and seed.
    profile: String,
    /// How many events.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    events: u64,
    /// How many whole days (UTC) before today.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3_660))]
    days: u32,
    /// A moment of the day that is taken for today, like 2026-01-31T12:00:00Z [default: now].
    #[arg(long, value_name = "TIME", value_parser = parse_now)]
    now: Option<UnixMicros>,
    /// Writes the rows to this file instead, which must not be there: FILE.native, FILE.parquet or
    /// FILE.ndjson.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
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
    /// Run ID [default: a new one].
    #[arg(long = "run-id", value_name = "UUID")]
    id: Option<Uuid>,
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

fn run(args: &Run) -> Result<Exit, BackfillError> {
    let text = read_profile(&args.profile)?;
    let profile = Profile::parse(&text.text, &text.origin)?;
    let runtime =
        tokio::runtime::Runtime::new().map_err(|source| BackfillError::Start { source })?;
    runtime.block_on(async {
        let clock = Clock::system();
        let server = match &args.to {
            Some(path) => {
                check_name(path)?;
                None
            }
            None => Some(ClickHouse::connect(&args.clickhouse).await?),
        };
        let options = options(args, server.as_ref(), clock.now());
        let plan = Plan::new(RunSpec::new(&text.text, &profile, options), &profile);
        let path = args
            .out
            .clone()
            .unwrap_or_else(|| ["runs", &plan.spec.run_id.to_string()].iter().collect());
        let dir = RunDir::create(&path, &plan.spec)?;
        let stopped = match (&server, &args.to) {
            (Some(server), _) => {
                let summary = insert_recorded(&plan, &dir, server, args, clock).await?;
                print(&summary, &dir, args);
                summary.stopped
            }
            (None, path) => {
                let path = path.as_deref().expect("without a server, there is a file");
                let report = write_recorded(&plan, &dir, path, clock)?;
                print(&report, &dir, args);
                report.stopped
            }
        };
        Ok(if stopped { Exit::Stopped } else { Exit::Done })
    })
}

#[expect(clippy::print_stdout, reason = "the summary is the result")]
fn print(summary: &(impl Serialize + Display), dir: &RunDir, args: &Run) {
    if args.json {
        println!("{}", serde_json::to_string_pretty(summary).expect("it has string keys"));
    } else {
        print!("{summary}");
        println!("recorded in {}", dir.path().display());
    }
}

#[expect(clippy::disallowed_methods, reason = "a new run has a new ID")]
fn options(args: &Run, server: Option<&ClickHouse>, now: UnixMicros) -> RunOptions {
    let today = args.now.unwrap_or(now);
    RunOptions {
        run_id: args.id.unwrap_or_else(Uuid::new_v4),
        seed: args.seed,
        start: today,
        span: Span::history(args.days, args.events, now),
        targets: Targets {
            clickhouse: server.map(|server| server.url.clone()),
            table: server.map(|server| server.table.to_string()),
            ..Targets::default()
        },
        shards: 1,
        scale: Scale::default(),
    }
}

fn write_recorded(
    plan: &Plan,
    dir: &RunDir,
    path: &Path,
    clock: Clock,
) -> Result<FileReport, BackfillError> {
    let shutdown = Shutdown::on_signals().map_err(|source| BackfillError::Start { source })?;
    let progress = progress_bar(plan.script.planned());
    let report = tokio::task::block_in_place(|| {
        export_recorded(plan, path, dir, &shutdown, clock, |rows| progress.inc(rows))
    });
    progress.finish_and_clear();
    report
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
    let chunks = chunks(plan, args.rows_per_insert);
    let begun = clock.now();
    let progress = progress_bar(plan.script.planned());
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

fn progress_bar(events: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{elapsed_precise} {bar:24} {percent:>3}% {per_sec}, {eta} left",
    );
    ProgressBar::new(events).with_style(style.expect("the template is valid"))
}

/// Reads a day from which ten years can be counted back, and that ClickHouse's dates have.
fn parse_now(text: &str) -> Result<UnixMicros, String> {
    let time = parse_time(text)?;
    let has_a_past = (YEAR_1981_US..YEAR_2100_US).contains(&time);
    has_a_past.then_some(time).ok_or_else(|| "name a day from 1981 to 2099".to_owned())
}

const YEAR_1981_US: UnixMicros = 347_155_200_000_000;
const YEAR_2100_US: UnixMicros = 4_102_444_800_000_000;

#[expect(clippy::cast_precision_loss, reason = "a year in µs is exact in an f64")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1_000_000.0
}
