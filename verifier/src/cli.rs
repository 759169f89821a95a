//! The command line: flags to checks, verdicts to exit codes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use harness::clickhouse::{ClickHouse, ClickHouseArgs};
use harness::clock::Clock;
use harness::exit::{
    DONE, EXIT_CODES, Exit, ExitLine, LOSSY, STOPPED, UNKNOWN, UNREACHABLE, USAGE, exit_codes,
};
use harness::jetstream::{AuditStream, NatsArgs};
use harness::plan::DeliveryPath;
use harness::quantity::{parse_bytes, parse_wait};
use harness::shutdown::Shutdown;

use crate::changes::Changes;
use crate::error::VerifyError;
use crate::mark::{MarkArgs, mark};
use crate::patience::Patience;
use crate::preflight::{PreflightArgs, preflight};
use crate::reconcile::{CheckOptions, Depth, Stores, reconcile};
use crate::recorded::Recorded;
use crate::render::Files;
use crate::report::Report;
use crate::scan::ScanOptions;
use crate::settle::SettleOptions;
use crate::thresholds::{exit, worse};
use crate::verdict::CountedRows;
use crate::watch::{WatchArgs, watch};
use crate::{render, trend, versus};

/// Says what became of every event of a run, and judges.
#[derive(Debug, Parser)]
#[command(name = "auditstorm-verifier", version, after_help = exit_codes(&EXIT_CODES))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares what runs sent with what stream and table hold, and writes report.json to each.
    #[command(after_help = exit_codes(&RECONCILE_CODES))]
    Reconcile(Box<Reconcile>),
    /// Watches the pipeline while a run goes on, and writes observations.jsonl.
    #[command(after_help = exit_codes(&[DONE, USAGE, UNREACHABLE, STOPPED]))]
    Watch(Box<WatchArgs>),
    /// Writes down what happens while a run goes on, in marks.jsonl.
    #[command(after_help = format!("{MARK_EXAMPLE}\n\n{}", exit_codes(&[DONE, USAGE])))]
    Mark(MarkArgs),
    /// Says what stands against a run, before it is one.
    #[command(after_help = exit_codes(&PREFLIGHT_CODES))]
    // There is no run yet whose table it could be.
    #[command(mut_arg("table", |table| table.help(PREFLIGHT_TABLE)))]
    Preflight(Box<PreflightArgs>),
    #[command(after_help = exit_codes(&[DONE, USAGE]))]
    Report(render::ReportArgs),
    #[command(after_help = exit_codes(&COMPARE_CODES))]
    Compare(versus::CompareArgs),
    #[command(after_help = exit_codes(&[DONE, USAGE]))]
    Trend(trend::TrendArgs),
}

const RECONCILE_CODES: [ExitLine; 7] = [
    (Exit::Done, "whole"),
    LOSSY,
    USAGE,
    UNREACHABLE,
    UNKNOWN,
    (Exit::Threshold, "whole, but a threshold failed"),
    STOPPED,
];

const PREFLIGHT_CODES: [ExitLine; 4] = [
    (Exit::Done, "nothing stands against the run"),
    USAGE,
    UNREACHABLE,
    (Exit::Threshold, "there is a blocker"),
];

const COMPARE_CODES: [ExitLine; 4] = [
    (Exit::Done, "not worse"),
    (Exit::Usage, "wrong usage or input, or runs that cannot be compared"),
    (Exit::Unknown, "a change beyond what is allowed could not be judged"),
    (Exit::Threshold, "worse: a regression"),
];

const PREFLIGHT_TABLE: &str = "Table of audit logs [default: audit.audit_logs]";

const MARK_EXAMPLE: &str = "\
Example, while the generator runs:
  auditstorm-verifier mark runs/1 \"killed nats-1\"";

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
    /// What is not proven after as long is judged as it is: unknown.
    #[arg(long, default_value = "8m", value_parser = parse_wait)]
    wait: Duration,
    /// Where the pipeline's Vectors show their metrics, like `http://host:9598/metrics`; several
    /// with commas between them. All of them: what one holds back is not lost.
    #[arg(long, env = "VECTOR_METRICS_URL", value_name = "URL", value_delimiter = ',')]
    #[arg(hide_env_values = true)]
    vector_metrics: Vec<String>,
    /// Longest time for which a part of the pipeline may hold an event while all parts are up and
    /// nothing moves; what is missing without metrics is proven lost only after it. The default is
    /// of Vector: back-off 300 s, batch 10 s, request 60 s.
    #[arg(long, default_value = "370s", value_parser = parse_wait, value_name = "TIME")]
    pipeline_delay: Duration,
    /// How long a store may be away during the check.
    #[arg(long, default_value = "1m", value_parser = parse_wait)]
    patience: Duration,
    /// Compares the JSON of each event too: some µs for each row.
    #[arg(long)]
    deep: bool,
    /// What counts as a duplicate: whatever is there more than once, or only what the table shows
    /// more than once with FINAL. The pipeline delivers at least once, and its table is meant to
    /// fold what came twice: that is told, and is no fault by itself.
    #[arg(long, value_enum, default_value_t = CountedRows::Logical)]
    duplicates: CountedRows,
    /// What the pipeline does to events on purpose: a YAML file [default: what Vector does in
    /// deploy/vector].
    #[arg(long, value_name = "FILE")]
    changes: Option<PathBuf>,
    /// Memory that a query may take in ClickHouse, like `2GiB`; needs an account that may set it.
    #[arg(long, value_parser = parse_bytes, value_name = "BYTES")]
    memory_limit: Option<u64>,
    /// Prints the reports as JSON.
    #[arg(long)]
    json: bool,
    /// Also writes report.html, report.md and junit.xml to each, as `report` does. Those that are
    /// there already are written anew in any case.
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
        Command::Watch(args) => on_runtime(async { Box::pin(watch(&args, Clock::system())).await }),
        Command::Preflight(args) => {
            on_runtime(async { Box::pin(preflight(&args, Clock::system())).await })
        }
        Command::Mark(args) => on_runtime(async { mark(&args, &Clock::system()) }),
    };
    done.unwrap_or_else(|error| {
        eprintln!("auditstorm-verifier: {}", harness::exit::chain(&error));
        error.exit()
    })
}

fn on_runtime(work: impl Future<Output = Result<Exit, VerifyError>>) -> Result<Exit, VerifyError> {
    let runtime = tokio::runtime::Runtime::new().map_err(|source| VerifyError::Start { source })?;
    runtime.block_on(work)
}

fn run(args: &Reconcile) -> Result<Exit, VerifyError> {
    let runs = Recorded::open_all(&args.dirs)?;
    let changes =
        args.changes.as_deref().map_or_else(|| Ok(Changes::of_vector()), Changes::read)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|source| VerifyError::Start { source })?;
    let recorded = runs.first().map(|run| run.plan.spec.targets.clone()).unwrap_or_default();
    runtime.block_on(async {
        let table = limited(ClickHouse::connect(&args.clickhouse, &recorded).await?, args);
        let stream = connect_stream(args, &runs).await?;
        let clock = Clock::system();
        let shutdown = Shutdown::on_signals().map_err(|source| VerifyError::Start { source })?;
        let mut patience = Patience { clock, shutdown, limit: args.patience, story: tell };
        let files = if args.report { Files::All } else { Files::ThoseThere };
        let mut worst = Exit::Done;
        for run in &runs {
            let stream = stream.as_ref().filter(|_| run.plan.path() != DeliveryPath::Bulk);
            let stores = Stores { table: &table, stream };
            let options = options(args, changes.clone(), run);
            if !run.is_answered_in_full() {
                tell("waiting until stream and table are still, or all is stored");
            }
            let (report, records) = reconcile(run, stores, &options, &mut patience).await?;
            for dir in &run.dirs {
                dir.write_json("report.json", &report)?;
                render::write(dir.path(), files, &report, &records, &run.plan)?;
            }
            remove_progress(&options)?;
            print(&report, args.json);
            worst = worse(worst, exit(&report));
        }
        Ok(worst)
    })
}

/// Lets no query take more memory than the user allows.
fn limited(mut server: ClickHouse, args: &Reconcile) -> ClickHouse {
    if let Some(bytes) = args.memory_limit {
        let spill = (bytes / 2).to_string();
        server.client = server
            .client
            .with_setting("max_memory_usage", bytes.to_string())
            .with_setting("max_bytes_before_external_group_by", spill);
    }
    server
}

fn options(args: &Reconcile, changes: Changes, run: &Recorded) -> CheckOptions {
    let rows_at_once = args.memory_limit.map_or(ROWS_AT_ONCE, |bytes| bytes / BYTES_OF_A_ROW);
    let progress_file = Some(run.dirs[0].file("check-progress.jsonl"));
    CheckOptions {
        settle: SettleOptions {
            quiet: args.quiet,
            wait_max: args.wait,
            delay_max: args.pipeline_delay,
            metrics: args.vector_metrics.clone(),
        },
        scan: ScanOptions { rows_at_once, progress_file },
        changes,
        duplicates: args.duplicates,
        depth: if args.deep { Depth::Json } else { Depth::Columns },
    }
}

/// Rows whose partitions are read together, unless the user limits the memory.
const ROWS_AT_ONCE: u64 = 50_000_000;

/// Bytes of memory that a row may take in the server, with the most scattered sets.
const BYTES_OF_A_ROW: u64 = 20;

/// What was kept of a check that has ended is of no use any more.
fn remove_progress(options: &CheckOptions) -> Result<(), VerifyError> {
    let Some(path) = &options.scan.progress_file else { return Ok(()) };
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(VerifyError::Progress { path: path.clone(), source })
        }
        _ => Ok(()),
    }
}

#[expect(clippy::print_stderr, reason = "what a person should know beside the result")]
pub(crate) fn tell(line: &str) {
    eprintln!("auditstorm-verifier: {line}");
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
