//! `reconcile`: checks runs one after another, prints their verdicts, and writes the reports.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use edges::clock::Clock;
use edges::exit::{Exit, chain};
use edges::shutdown::Shutdown;
use plans::quantity::{parse_bytes, parse_wait};
use report::render;
use report::slowest::SlowestText;
use report::text::Text;
use report::thresholds::exit;
use runs::query_costs::QUERY_COSTS_FILE;
use runs::report::REPORT_FILE;
use runs::run_dir::RunDir;
use stores::clickhouse::ClickHouseArgs;
use stores::jetstream::NatsArgs;
use tell::output::{show, show_json};
use tracing::info;

use super::story::{tell, told};
use crate::changes::Changes;
use crate::checks::{Checks, ChecksOptions};
use crate::earlier::Earlier;
use crate::error::VerifyError;
use crate::patience::Patience;
use crate::reconcile::{Checked, Depth};
use crate::recorded::{Recorded, Unread};
use crate::settle::SettleOptions;
use crate::vectors::VectorArgs;
use crate::verdict::CountedRows;

/// Flags of `reconcile`.
#[derive(Debug, Args)]
pub(super) struct ReconcileArgs {
    /// Run directories. Directories of the shards of one run are checked together.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    /// How long stream and table must not have changed to count as still. It must be longer than
    /// the aggregator's batch timeout.
    #[arg(long, default_value = "20s", value_parser = parse_wait)]
    quiet: Duration,
    /// Longest time to wait for a proof. If it is over, the verdict is given with what is known:
    /// events that are still missing are then not seen, and the verdict is unknown.
    #[arg(long, default_value = "8m", value_parser = parse_wait)]
    wait: Duration,
    #[command(flatten)]
    vectors: VectorArgs,
    /// Longest time that a part of the pipeline may hold an event while all parts are up and
    /// nothing moves. A part without --vector-metrics then counts as empty after this time. For a
    /// Vector with a buffer in memory it is 370s: back-off 300 s, batch 10 s, request 60 s. Do not
    /// give it if a Vector has a disk buffer, because that may keep its last events for ever.
    #[arg(long, value_parser = parse_wait, value_name = "TIME")]
    pipeline_delay: Option<Duration>,
    /// How long stream or table may be unreachable during the check.
    #[arg(long, default_value = "1m", value_parser = parse_wait)]
    patience: Duration,
    /// Also compares the JSON of each event. This takes some µs for each row.
    #[arg(long)]
    deep: bool,
    /// What counts as a duplicate. The pipeline delivers at least once, and the table is meant to
    /// fold duplicates. So by default, duplicates that the table folds are reported, but do not
    /// make a run lossy.
    #[arg(long, value_enum, default_value_t = CountedRows::Logical)]
    duplicates: CountedRows,
    /// YAML file that declares the changes that the pipeline makes to events on purpose [default:
    /// those that Vector makes in deploy/vector].
    #[arg(long, value_name = "FILE")]
    changes: Option<PathBuf>,
    /// Memory that a query may use in ClickHouse, like `2GiB`. The account must be allowed to set
    /// it.
    #[arg(long, value_parser = parse_bytes, value_name = "BYTES")]
    memory_limit: Option<u64>,
    /// Prints the reports as JSON.
    #[arg(long)]
    json: bool,
    /// Also writes report.html, report.md and junit.xml into each run directory, as `report` does.
    /// Files of an earlier check are replaced even without this flag.
    #[arg(long)]
    report: bool,
}

/// Runs the command.
pub(super) fn run(args: &ReconcileArgs) -> Result<Exit, VerifyError> {
    let earlier: Vec<Earlier> =
        args.dirs.iter().filter(|dir| RunDir::is_one(dir)).map(|dir| set_aside(dir)).collect();
    let changes =
        args.changes.as_deref().map_or_else(|| Ok(Changes::of_vector()), Changes::read)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|source| VerifyError::Start { source })?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(|source| VerifyError::Start { source })?;
        let clock = Clock::system();
        let patience = Patience::new(clock, shutdown, args.patience, tell);
        let mut checks = Checks::new(options(args, changes), patience);
        let publisher = Publisher { args, earlier };
        let (runs, unread) = Recorded::open_each(&args.dirs);
        info!(runs = runs.len(), unreadable = unread.len(), "run directories read");
        let mut worst = Exit::Done;
        for Unread { dir, error } in unread {
            worst = worse(worst, publisher.fail(&dir, &error));
        }
        let publish = |run: &Recorded, checked: Result<Checked, VerifyError>| {
            let ended = match checked {
                Ok(checked) => publisher.publish(run, &checked),
                Err(error) => publisher.fail(run.dirs[0].path(), &error),
            };
            worst = worse(worst, ended);
        };
        checks.check_each(&runs, publish).await;
        for line in checks.errors().lines() {
            tell(&format!("asked again: {line}"));
        }
        Ok(worst)
    })
}

fn options(args: &ReconcileArgs, changes: Changes) -> ChecksOptions {
    ChecksOptions {
        nats: args.nats.clone(),
        clickhouse: args.clickhouse.clone(),
        memory_bytes_max: args.memory_limit,
        settle: SettleOptions {
            quiet: args.quiet,
            wait_max: args.wait,
            delay_max: args.pipeline_delay,
            metrics: args.vectors.urls(),
        },
        changes,
        depth: if args.deep { Depth::Json } else { Depth::Columns },
        duplicates: args.duplicates,
    }
}

/// Returns the worse of two exit codes. The worst is a proven loss. Then come runs that could not
/// be checked, by the reason: the user stopped it, a store is away, wrong usage, this machine, or
/// anything else. Then comes a failed threshold.
fn worse(one: Exit, other: Exit) -> Exit {
    let weight = |exit: &Exit| match exit {
        Exit::Done => 0,
        Exit::Threshold => 1,
        Exit::Unknown => 2,
        Exit::Machine => 3,
        Exit::Usage => 4,
        Exit::Unreachable => 5,
        Exit::Stopped => 6,
        Exit::Lossy => 7,
    };
    [one, other].into_iter().max_by_key(weight).unwrap_or(one)
}

/// Tells what became of runs, and writes it down.
struct Publisher<'a> {
    args: &'a ReconcileArgs,
    /// The results that earlier checks left in the directories.
    earlier: Vec<Earlier>,
}

impl Publisher<'_> {
    /// Reports that there is no verdict, and why.
    fn fail(&self, dir: &Path, error: &VerifyError) -> Exit {
        let why = chain(error);
        if self.args.dirs.len() > 1 {
            tell(&format!("no verdict for {}: {why}", dir.display()));
        } else {
            tell(&why);
        }
        error.exit()
    }

    /// Prints a verdict and writes the files of the report. Returns the exit code of the verdict;
    /// but if a whole run could not be reported completely, that is no success.
    fn publish(&self, run: &Recorded, checked: &Checked) -> Exit {
        let report = &checked.report;
        // Printing and writing go on independently, even if a terminal is stopped or a disk does
        // not answer.
        let (shown, unwritten) = std::thread::scope(|scope| {
            let showing = scope.spawn(|| {
                if self.args.json {
                    show_json(report)
                } else {
                    show(format_args!("{}{}\n", Text(report), SlowestText(&checked.records)))
                }
            });
            let unwritten = self.write(run, checked);
            (showing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), unwritten)
        });
        for error in &unwritten {
            tell(&chain(error));
        }
        let exit = told(shown, exit(report));
        if unwritten.is_empty() { exit } else { exit.untold() }
    }

    /// Writes the files of a report. Returns the errors of those that could not be written.
    fn write(&self, run: &Recorded, checked: &Checked) -> Vec<VerifyError> {
        let Checked { report, records } = checked;
        let mut unwritten = Vec::new();
        for dir in &run.dirs {
            let earlier = self.earlier.iter().find(|earlier| earlier.dir() == dir.path());
            let forget = |name| earlier.iter().for_each(|earlier| earlier.forget(name));
            match dir.write_json(REPORT_FILE, report) {
                Ok(()) => forget(REPORT_FILE),
                Err(error) => unwritten.push(error.into()),
            }
            let costs = records.costs.iter();
            let written = costs.map(|costs| dir.write_json(QUERY_COSTS_FILE, costs));
            unwritten.extend(written.filter_map(Result::err).map(VerifyError::from));
            let had = |name: &&str| earlier.is_some_and(|it| it.names().contains(name));
            let wanted = |name: &&'static str| self.args.report || had(name);
            let names: Vec<_> = render::FILES.into_iter().filter(wanted).collect();
            for (name, written) in render::write(dir.path(), &names, report, records, &run.plan) {
                match written {
                    Ok(_) => forget(name),
                    Err(error) => unwritten.push(error.into()),
                }
            }
        }
        unwritten
    }
}

/// Moves the results of an earlier check aside, so that nobody takes them for results of this one.
fn set_aside(dir: &Path) -> Earlier {
    let names = [&[REPORT_FILE][..], &render::FILES].concat();
    Earlier::set_aside(dir, &names, tell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_runs_decides() {
        assert_eq!(worse(Exit::Done, Exit::Threshold), Exit::Threshold);
        assert_eq!(worse(Exit::Unknown, Exit::Threshold), Exit::Unknown);
        assert_eq!(worse(Exit::Unknown, Exit::Lossy), Exit::Lossy);
        for other in [Exit::Unreachable, Exit::Usage, Exit::Machine, Exit::Stopped] {
            assert_eq!(worse(Exit::Lossy, other), Exit::Lossy, "what is proven stays so");
            assert_eq!(worse(other, Exit::Unknown), other);
        }
    }
}
