//! The command line: flags to plans, results to exit codes.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use edges::address::read_listen;
use edges::clock::Clock;
use edges::exit::{
    DONE, EXIT_CODES, Exit, ExitLine, MACHINE, STOPPED, UNREACHABLE, USAGE, exit_codes,
};
use edges::files::raise_files;
use edges::shutdown::{Shutdown, Stop};
use load::webhook::{Webhook, WebhookArgs};
use plans::plan::Plan;
use plans::quantity::parse_wait;
use plans::spec::{DeliveryPath, Targets};
use ready::finding::{Rank, is_refused};
use ready::intent::{Bulk, Intent};
use ready::judge::judge;
use runs::ledger::{Durability, Ledger};
use runs::run_dir::RunDir;
use serde::Serialize;
use stores::clickhouse::{ClickHouse, ClickHouseArgs};
use stores::jetstream::{AuditStream, NatsArgs};
use tell::logs::LogArgs;
use tell::output::{self, show, show_json, tell};
use tracing::info;

use crate::counted::LoadEvent;
use crate::error::BackfillError;
use crate::export::{check_name, export_recorded};
use crate::forecast::{BulkLoad, bulk_bytes, forecast};
use crate::history::{HistoryArgs, Recorded};
use crate::insert::Compress;
use crate::options::{LoadOptions, Surveyed};
use crate::piece::{Piece, pieces_left};
use crate::probe::{ProbeError, probe};
use crate::progress::Progress;
use crate::readiness::{
    doubtful_days, intent_of_load, intent_of_repair, read_servers, refuse_blockers,
};
use crate::repair::read_lost;
use crate::replay::{ReplayArgs, ReplayRate};
use crate::run::{Pipeline, bulk_chunks, load, repair};

/// Loads a history of events into a table of audit logs.
#[derive(Debug, Parser)]
#[command(name = "auditstorm-backfill", version, after_help = exit_codes(&EXIT_CODES))]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logs: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Loads a history, and records it in a run directory. To continue a load that was stopped or
    /// killed, run the same command with the same directory.
    #[command(override_usage = RUN_USAGE, after_help = exit_codes(&RUN_CODES))]
    Run(Box<Run>),
    /// Predicts how much a load will write, how long it will take, and which problems it will have,
    /// without loading anything. To estimate the time, it makes a few inserts into a copy of the
    /// table.
    #[command(override_usage = PLAN_USAGE, after_help = exit_codes(&PLAN_CODES))]
    Plan(Box<PlanArgs>),
    /// Inserts the events that a verifier's report calls lost, and only those, straight into the
    /// table, and records them in the run's ledger.
    #[command(after_help = exit_codes(&[DONE, USAGE, UNREACHABLE, UNSEEN, MACHINE, STOPPED]))]
    Repair(Box<RepairArgs>),
}

// Written out, since clap's own names every address that the environment has, as if it must be
// given.
const RUN_USAGE: &str = "auditstorm-backfill run [OPTIONS] --events <EVENTS> <PROFILE>";
const PLAN_USAGE: &str = "auditstorm-backfill plan [OPTIONS] --events <EVENTS> <PROFILE>";

const IMPOSSIBLE: ExitLine =
    (Exit::Usage, "wrong usage or input, or a problem makes the load impossible");

const UNSEEN: ExitLine = (
    Exit::Unknown,
    "unknown: this account may not see all rows of the table, so nothing was sent again",
);

const RUN_CODES: [ExitLine; 6] = [DONE, IMPOSSIBLE, UNREACHABLE, UNSEEN, MACHINE, STOPPED];

const PLAN_CODES: [ExitLine; 5] =
    [(Exit::Done, "the load can work"), IMPOSSIBLE, UNREACHABLE, MACHINE, STOPPED];

#[derive(Debug, Args)]
struct RepairArgs {
    /// Run directory of the generator or of a backfill.
    run: PathBuf,
    /// The verifier's report [default: report.json in the run directory].
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Prints the summary as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct PlanArgs {
    #[command(flatten)]
    history: HistoryArgs,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    replay: ReplayRate,
    #[command(flatten)]
    load: LoadArgs,
    /// Does not copy the table. The time is then unknown.
    #[arg(long)]
    no_probe: bool,
    /// Prints the forecast as JSON, with every day and every tenant.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    history: HistoryArgs,
    /// Run directory, in which the load is recorded [default: runs/<run id>].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Writes the rows to this file instead of the table: FILE.native, FILE.parquet or FILE.ndjson.
    /// The file must not exist.
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["replay_from_day", "bulk_until_day"])]
    to: Option<PathBuf>,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    #[command(flatten)]
    replay: ReplayArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Prints the summary as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
struct LoadArgs {
    /// The most rows in an insert. Inserts are smaller while the server is short of memory.
    #[arg(long, default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    rows_per_insert: u64,
    /// The most inserts that run at the same time. There are fewer while the server complains.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    lanes: u8,
    /// The most rows a second [default: as many as the server takes].
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    limit_rows_per_second: Option<u64>,
    /// Pauses while a partition has this many parts [default: half of the number at which the
    /// server slows inserts down, but at most 300].
    #[arg(long, value_name = "PARTS", value_parser = clap::value_parser!(u64).range(2..))]
    parts_per_partition: Option<u64>,
    /// Gives up if no insert is confirmed for this long.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_wait)]
    patience: Duration,
    /// Whether rows are compressed on their way to ClickHouse.
    #[arg(long, value_name = "HOW", default_value = "auto")]
    compress_rows: Compress,
    /// What the ledger must survive, besides `kill -9` of the loader. `power` waits for the disk
    /// twice for each insert.
    #[arg(long, value_enum, default_value_t = Durability::Process)]
    durability: Durability,
    /// Serves metrics for Prometheus at this address, under /metrics. Port 0 chooses a free port.
    #[arg(long, value_name = "ADDRESS", value_parser = read_listen)]
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
            compress: self.compress_rows,
            durability: self.durability,
        }
    }
}

/// Parses the command line and runs the command.
pub fn main() -> Exit {
    let cli = Cli::parse();
    cli.logs.start();
    for warning in edges::secret::warnings(std::env::args_os()) {
        tell(format_args!("auditstorm-backfill: {warning}"));
    }
    let result = tokio::runtime::Runtime::new().map_err(BackfillError::start).and_then(|runtime| {
        runtime.block_on(async {
            match &cli.command {
                Command::Run(args) => Box::pin(run(args)).await,
                Command::Plan(args) => plan(args).await,
                Command::Repair(args) => repair_run(args).await,
            }
        })
    });
    let exit = result.unwrap_or_else(|error| {
        tell(format_args!("auditstorm-backfill: {}", edges::exit::chain(&error)));
        error.exit()
    });
    output::finish();
    exit
}

async fn run(args: &Run) -> Result<Exit, BackfillError> {
    let clock = Clock::system();
    let shutdown = Shutdown::on_signals().map_err(BackfillError::start)?;
    if let Some(path) = &args.to {
        return write(args, path, clock, &shutdown);
    }
    let mut stopping = shutdown.clone();
    let (plan, to, pipeline) = tokio::select! {
        prepared = prepare(args, &clock) => prepared?,
        () = stopping.asked(Stop::Drain) => return Err(BackfillError::Stopped),
    };
    let options = args.load.options();
    let recorded = args.history.record(plan, args.out.as_deref(), &clock, options.durability)?;
    let chunks = bulk_chunks(&recorded.plan, options);
    let pieces = pieces_left(&recorded.plan.script, &chunks, &recorded.before);
    let (dir, left) = (recorded.dir.path(), pieces.len());
    info!(dir = %dir.display(), inserts = chunks.len(), left, "history recorded");
    refuse_what_cannot_work(&recorded, &pieces, (&to, pipeline.as_ref()), clock, &args.load)
        .await?;
    let (planned, done) = (recorded.plan.script.planned(), recorded.acknowledged_before());
    let mut progress = Progress::start(planned, done, clock, !args.load.quiet);
    let _metrics = progress.serve(args.load.metrics).await?;
    let listen = &mut |event: LoadEvent<'_>| progress.take(event);
    let loading = load(&recorded, pieces, (&to, pipeline), clock, shutdown, options, listen);
    let loaded = Box::pin(loading).await;
    progress.finish();
    let summary = loaded?;
    let exit = if summary.stopped { Exit::Stopped } else { Exit::Done };
    Ok(print_recorded(&summary, &recorded.dir, args.json, exit))
}

/// Writes a history to a file, and records it in a run directory.
fn write(
    args: &Run,
    path: &Path,
    clock: Clock,
    shutdown: &Shutdown,
) -> Result<Exit, BackfillError> {
    check_name(path)?;
    let plan = args.history.plan(Targets::default(), &clock)?;
    let durability = args.load.durability;
    let recorded = args.history.record(plan, args.out.as_deref(), &clock, durability)?;
    let planned = recorded.plan.script.planned();
    let mut progress = Progress::start(planned, 0, clock, !args.load.quiet);
    let report = tokio::task::block_in_place(|| {
        export_recorded(&recorded, path, shutdown, clock, |rows| progress.write(rows))
    });
    progress.finish();
    let report = report?;
    let exit = if report.stopped { Exit::Stopped } else { Exit::Done };
    Ok(print_recorded(&report, &recorded.dir, args.json, exit))
}

/// Makes the plan, and makes sure that all servers that it needs answer.
async fn prepare(
    args: &Run,
    clock: &Clock,
) -> Result<(Plan, Surveyed, Option<Pipeline>), BackfillError> {
    let to = reach(&args.clickhouse).await?;
    let mut targets = targets(&to);
    if args.history.replay_days()? > 0 {
        targets.webhook = args.replay.webhook().map(WebhookArgs::shown);
    }
    let plan = args.history.plan(targets, clock)?;
    let pipeline = match plan.path() {
        DeliveryPath::Bulk => None,
        DeliveryPath::Pipeline | DeliveryPath::Both => Some(open(&args.replay, &plan).await?),
    };
    Ok((plan, to, pipeline))
}

/// Makes sure that webhook and stream of the pipeline answer.
async fn open(args: &ReplayArgs, plan: &Plan) -> Result<Pipeline, BackfillError> {
    let missing = |what| BackfillError::NoPipeline { what };
    let webhook = args.webhook().ok_or(missing("webhook with --webhook or VECTOR_WEBHOOK_URL"))?;
    let nats = args.nats.url.as_ref().ok_or(missing("NATS with --nats or NATS_URL"))?;
    raise_files(plan.send.connections)?;
    let webhook = Webhook::from_args(webhook, plan.send.timeout)?;
    webhook.reach().await?;
    let stream = AuditStream::connect(nats, &args.nats).await?;
    Ok(Pipeline { webhook, stream, options: args.options(), settle: args.replay_settle })
}

async fn plan(args: &PlanArgs) -> Result<Exit, BackfillError> {
    let clock = Clock::system();
    let to = reach(&args.clickhouse).await?;
    let plan = args.history.plan(targets(&to), &clock)?;
    let options = args.load.options();
    let chunks = bulk_chunks(&plan, options);
    let probed = if args.no_probe {
        None
    } else {
        let on_signals = Shutdown::on_signals();
        let mut shutdown = on_signals.map_err(BackfillError::start)?;
        Some(probe(&plan, &chunks, &to, options, &clock, &mut shutdown).await)
    };
    if let Some(Err(ProbeError::Stopped)) = probed {
        return Err(BackfillError::Stopped);
    }
    let measured = probed.as_ref().and_then(|probed| probed.as_ref().ok().copied());
    let load = BulkLoad { events: chunks.iter().map(|it| it.rows).sum(), inserts: chunks.len() };
    let mut forecast = forecast(&plan, load, to.forecasts(), &to.columns(), measured);
    forecast.replay.seconds = args.replay.seconds_for(forecast.replay.events);
    let bulk = Bulk { events: load.events, bytes: forecast.bulk.bytes };
    let nothing = Ledger::empty(&plan.script);
    let intent = Intent {
        probed: measured.map(|probe| probe.sizes()),
        ..intent_of_load(&plan, &nothing, bulk, args.replay.events_per_second())
    };
    let (stream, unseen) = match &intent.piped {
        Some(_) => look_for_stream(&args.nats).await,
        None => (None, None),
    };
    let mut facts = read_servers(&to, stream.as_ref(), &intent, &clock).await?;
    facts.unseen = unseen;
    forecast.objections = judge(&facts, &intent);
    if let Some(Err(error)) = probed {
        forecast.not_probed = Some(edges::exit::chain(&error));
    }
    let exit = if is_refused(&forecast.objections) { Exit::Usage } else { Exit::Done };
    Ok(print(&forecast, args.json, exit))
}

/// Connects to the stream, or says why that cannot be: a plan needs no pipeline.
async fn look_for_stream(args: &NatsArgs) -> (Option<AuditStream>, Option<String>) {
    let Some(url) = &args.url else { return (None, None) };
    match AuditStream::connect(url, args).await {
        Ok(stream) => (Some(stream), None),
        Err(error) => (None, Some(edges::exit::chain(&error))),
    }
}

async fn repair_run(args: &RepairArgs) -> Result<Exit, BackfillError> {
    let clock = Clock::system();
    let shutdown = Shutdown::on_signals().map_err(BackfillError::start)?;
    let (dir, plan) = RunDir::open(&args.run)?;
    let own_report = dir.path().join("report.json");
    let ledger = dir.read_ledger(&plan)?;
    let lost = read_lost(args.report.as_ref().unwrap_or(&own_report), &plan, &ledger)?;
    let servers = ClickHouse::connect_all(&args.clickhouse, &plan.spec.targets).await?;
    let to = Surveyed::ask(servers).await?;
    let intent = intent_of_repair(&plan, &lost);
    let facts = read_servers(&to, None, &intent, &clock).await?;
    refuse_blockers(judge(&facts, &intent))?;
    let mut progress = Progress::start(lost.count(), 0, clock, !args.load.quiet);
    let _metrics = progress.serve(args.load.metrics).await?;
    let listen = &mut |event: LoadEvent<'_>| progress.take(event);
    let options = args.load.options();
    let repaired = repair((&dir, &plan), &lost, &to, clock, shutdown, options, listen).await;
    progress.finish();
    let summary = repaired?;
    let exit = if summary.stopped { Exit::Stopped } else { Exit::Done };
    Ok(print(&summary, args.json, exit))
}

/// Refuses a load that cannot work, before anything is sent. Reports the other problems.
async fn refuse_what_cannot_work(
    recorded: &Recorded,
    pieces: &[Piece],
    (to, pipeline): (&Surveyed, Option<&Pipeline>),
    clock: Clock,
    args: &LoadArgs,
) -> Result<(), BackfillError> {
    let Recorded { plan, before, .. } = recorded;
    // What is loaded already needs no room.
    let events = pieces.iter().map(|piece| piece.rows).sum();
    let bulk = Bulk { events, bytes: bulk_bytes(plan, events, &to.columns()) };
    let rate = pipeline.and_then(|pipeline| pipeline.options.events_per_second);
    let intent = Intent {
        doubtful_days: doubtful_days(plan, before, pieces),
        ..intent_of_load(plan, before, bulk, rate)
    };
    let stream = pipeline.map(|pipeline| &pipeline.stream);
    let facts = read_servers(to, stream, &intent, &clock).await?;
    for finding in refuse_blockers(judge(&facts, &intent))? {
        if !args.quiet {
            let word = if finding.rank == Rank::Note { "note" } else { "warning" };
            let (place, text) = (finding.place(), finding.text());
            tell(format_args!("auditstorm-backfill: {word}: {place}: {text}"));
        }
    }
    Ok(())
}

/// Makes sure that all servers answer and have the table, and reads their settings.
async fn reach(args: &ClickHouseArgs) -> Result<Surveyed, BackfillError> {
    let servers = ClickHouse::connect_all(args, &Targets::default()).await?;
    Ok(Surveyed::ask(servers).await?)
}

/// Returns the targets of a run, for its record.
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

/// Prints a result, for people or as JSON, and returns the exit code. If the result could not be
/// printed, a code that means success is replaced.
fn print(result: &(impl fmt::Display + Serialize), as_json: bool, exit: Exit) -> Exit {
    let shown = if as_json { show_json(result) } else { show(result) };
    told(shown, exit)
}

/// Prints a result and where its record is, as [`print`] does.
fn print_recorded(
    result: &(impl fmt::Display + Serialize),
    dir: &RunDir,
    as_json: bool,
    exit: Exit,
) -> Exit {
    if as_json {
        return print(result, as_json, exit);
    }
    told(show(format_args!("{result}recorded in {}\n", dir.path().display())), exit)
}

fn told(shown: io::Result<()>, exit: Exit) -> Exit {
    match shown {
        Ok(()) => exit,
        Err(error) => {
            tell(format_args!("auditstorm-backfill: cannot write the output: {error}"));
            exit.untold()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn wrong_flags_are_told_with_what_is_right() {
        let check = |args: &[&str], expected: &str| {
            let args = [&["auditstorm-backfill", "run", "demo"], args].concat();
            let message = Cli::try_parse_from(args).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check(&["--events", "1e6"], "write a whole number, like 1000000");
        check(&["--events", "0"], "at least one event");
        check(&["--events", "1000000000001"], "1000000000000 events at most");
        check(&["--events", "9", "--metrics", "9464"], "write it like 127.0.0.1:9464");
        // As if the environment had it.
        check(&["--clickhouse", "http://h:8123"], "Usage: auditstorm-backfill run [OPTIONS] --e");
    }

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }
}
