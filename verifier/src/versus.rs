//! One run against another: is it worse by more than the published criteria, and by more than the
//! noise within the runs?

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use edges::exit::Exit;
use events::event::MicroTime;
use plans::plan::Plan;
use runs::report::Report;
use runs::report::verdict::Verdict;
use runs::run_dir::RunDir;
use serde::Serialize;
use tell::output::{show, show_json};
use uuid::Uuid;

use crate::cli::told;
use crate::error::VerifyError;
use crate::records::RunRecords;
use crate::render::{figures, read_report};
use crate::versus::bootstrap::{METHOD, SECONDS_MIN};
use crate::versus::likeness::{differences, notes};
use crate::versus::measured::{Unit, measures};
use crate::versus::regression::{Compared, Outcome, compared};

pub(crate) mod bootstrap;
mod likeness;
pub(crate) mod measured;
mod regression;

/// Says whether a run is worse than an earlier one: exit code 5 if it is, 4 if it may be (a change
/// is larger than allowed, but there is too little to tell it from noise), 2 if the two cannot be
/// compared.
///
/// Counts as worse: 10 % fewer events a second, 20 % longer latencies, 15 % more CPU or memory,
/// 1 point more errors; each only if it also exceeds the noise of the seconds of both runs.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Directory of the run to compare with.
    base: PathBuf,
    /// Directory of the run to judge.
    run: PathBuf,
    /// Prints the comparison as JSON.
    #[arg(long)]
    json: bool,
}

/// A run that was reconciled, as its directory tells it.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) dir: PathBuf,
    pub(crate) plan: Plan,
    pub(crate) report: Report,
    pub(crate) records: RunRecords,
}

/// What the comparison of two runs says.
#[derive(Debug, Serialize)]
struct Comparison {
    base: Identity,
    run: Identity,
    is_regression: bool,
    /// Measures that are worse than allowed, by too few seconds to tell it from noise, or that
    /// samples leave open which were never seen in the table.
    not_judged: Vec<String>,
    /// How noise was told from change.
    method: &'static str,
    /// In what the runs differ that may explain a change.
    notes: Vec<String>,
    measures: Vec<Compared>,
}

/// Which run a side is.
#[derive(Debug, Serialize)]
struct Identity {
    dir: PathBuf,
    run_id: Uuid,
    start: MicroTime,
    verdict: Verdict,
    tool_version: String,
    clickhouse_version: String,
    nats_version: Option<String>,
}

/// Does what the command line says.
///
/// # Errors
///
/// Returns [`VerifyError::Unlike`] if the runs cannot be compared, with all reasons.
pub(crate) fn run(args: &CompareArgs) -> Result<Exit, VerifyError> {
    let (base, run) = (Side::open(&args.base)?, Side::open(&args.run)?);
    let reasons = differences(&base, &run);
    if !reasons.is_empty() {
        return Err(VerifyError::Unlike { reasons });
    }
    let comparison = Comparison::new(&base, &run);
    if !comparison.measures.iter().any(|it| it.outcome.is_judged()) {
        let reason = format!("they have fewer than {SECONDS_MIN} seconds of records in common");
        return Err(VerifyError::Unlike { reasons: vec![reason] });
    }
    let shown = if args.json { show_json(&comparison) } else { show(&comparison) };
    Ok(told(shown, comparison.exit()))
}

impl Side {
    fn open(path: &Path) -> Result<Self, VerifyError> {
        let (dir, plan) = RunDir::open(path)?;
        let report = read_report(path)?;
        let mut records = RunRecords::read(&[dir], &plan)?;
        records.find_awaited(&plan, &report);
        Ok(Self { dir: path.to_owned(), plan, report, records })
    }
}

impl Comparison {
    fn new(base: &Side, run: &Side) -> Self {
        let compared: Vec<Compared> = measures(base, run).iter().map(compared).collect();
        Self {
            base: Identity::of(base),
            run: Identity::of(run),
            is_regression: compared.iter().any(|it| it.outcome == Outcome::Regression),
            not_judged: not_judged(&compared).map(|it| it.name.clone()).collect(),
            method: METHOD,
            notes: notes(base, run),
            measures: compared,
        }
    }

    fn exit(&self) -> Exit {
        match (self.is_regression, self.not_judged.is_empty()) {
            (true, _) => Exit::Threshold,
            (false, false) => Exit::Unknown,
            (false, true) => Exit::Done,
        }
    }

    /// The comparison in a line.
    fn verdict(&self) -> String {
        let changes: Vec<String> = not_judged(&self.measures)
            .map(|it| match it.change {
                Some(_) if it.is_open => format!("{}, of which samples were not seen", it.name),
                Some(change) => format!("{} {}", it.name, it.unit.say_change(change)),
                None => format!("{} from nothing", it.name),
            })
            .collect();
        let verdict = if self.is_regression { "regression" } else { "no regression" };
        match (self.is_regression, changes.join(", ")) {
            (_, changes) if changes.is_empty() => verdict.to_owned(),
            (true, changes) => format!("{verdict}; not judged: {changes}"),
            (false, changes) => format!("{verdict} seen; not judged: {changes}"),
        }
    }
}

fn not_judged(measures: &[Compared]) -> impl Iterator<Item = &Compared> {
    measures.iter().filter(|it| it.outcome == Outcome::NotJudged)
}

impl Identity {
    fn of(side: &Side) -> Self {
        let report = &side.report;
        Self {
            dir: side.dir.clone(),
            run_id: report.run_id,
            start: report.start,
            verdict: report.verdict,
            tool_version: report.tool_version.clone(),
            clickhouse_version: report.environment.clickhouse_version.clone(),
            nats_version: report.environment.nats_version.clone(),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, it) in [("base", &self.base), ("run", &self.run)] {
            writeln!(
                f,
                "{name:<5}{}  {}  {}  {}",
                it.run_id,
                figures::moment(it.start),
                it.verdict.as_str(),
                it.dir.display()
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        writeln!(
            f,
            "\n{:<22}{:>13}{:>13}{:>10}  {:<21}{:>9}  outcome",
            "measure", "base", "run", "change", "95 % interval", "allowed"
        )?;
        for it in &self.measures {
            let value = |value: Option<f64>| value.map_or("–".to_owned(), |it_| it.unit.say(it_));
            let change = |change: f64| it.unit.say_change(change);
            let interval = it.interval.map_or("–".to_owned(), |[low, high]| {
                format!("{} to {}", change(low), change(high))
            });
            writeln!(
                f,
                "{:<22}{:>13}{:>13}{:>10}  {interval:<21}{:>9}  {}",
                it.name,
                value(it.base),
                value(it.run),
                it.change.map_or("–".to_owned(), change),
                change(it.allowed),
                it.outcome.as_str()
            )?;
        }
        writeln!(f, "\n{}\n", self.verdict())?;
        writeln!(f, "{}", figures::wrapped(self.method, METHOD_CHARS_MAX))
    }
}

const METHOD_CHARS_MAX: usize = 100;

impl Unit {
    fn say(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", figures::number(value)),
            Self::Milliseconds => figures::milliseconds(value),
            Self::Cores => figures::cores(value),
            Self::Bytes => figures::bytes(value),
            Self::Share => figures::share(value),
        }
    }

    fn say_change(self, change: f64) -> String {
        let sign = if change < 0.0 { "−" } else { "+" };
        let points = if self == Self::Share { " pt" } else { " %" };
        format!("{sign}{:.1}{points}", change.abs() * 100.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect_file;
    use plans::spec::{RunOptions, Span};
    use runs::observation::{Freshness, Observation};
    use runs::record::{Ending, Summary, milliseconds};
    use runs::tally::Tally;

    use super::*;
    use crate::awaited::Awaited;
    use crate::records::tests::{records, second};

    /// A run of a minute in which every second had so many events, at a p95 in ms.
    pub(crate) fn side(of_second: impl Fn(i64) -> (u64, f64)) -> Side {
        let text = "name: x\nstages: [{duration: 60s, rate: 100/s, tenants: 1}]\n";
        let options = RunOptions::new(Uuid::from_u128(7), 0, Span::Live);
        let plan = Plan::parse(text, "x", options).unwrap();
        let seconds: Vec<_> = (0..60)
            .map(|at| {
                let (events, p95_ms) = of_second(at);
                second(at + 1, events, p95_ms)
            })
            .collect();
        let mut p95s: Vec<f64> = seconds.iter().map(|it| it.sent_to_acknowledged.p95_ms).collect();
        p95s.sort_unstable_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some ms")]
        let micros: Vec<u64> = p95s.iter().map(|ms| (ms * 1_000.0) as u64).collect();
        let mut records = records(seconds, &micros, Vec::new());
        let ending = Ending { at: 60_000_000, stopped: false, aborted: None };
        records.summaries = vec![Summary::new(&plan, 6_000, &Tally::new(1), ending)];
        let mut report = crate::example();
        report.verdict = Verdict::Whole;
        report.totals.lost = 0;
        report.totals.refused = 0;
        report.totals.unknown = 0;
        report.run_id = Uuid::from_u128(7);
        report.start = MicroTime(0);
        Side { dir: PathBuf::from("runs/x"), plan, report, records }
    }

    /// The same, watched for so many seconds: ten samples a second, stored every eight seconds, so
    /// many seconds late.
    pub(crate) fn watched(seconds: i64, late_s: i64) -> Side {
        const SECOND_US: i64 = 1_000_000;
        let mut looks: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for due in (0..seconds * 10).map(|tenth| tenth * SECOND_US / 10) {
            let stored = (due / (8 * SECOND_US) + 1) * 8 * SECOND_US + late_s * SECOND_US;
            looks.entry(stored).or_default().push(milliseconds(stored - due));
        }
        let look = |(at, due_to_visible_ms)| Observation {
            at: MicroTime(at),
            stream: None,
            table: None,
            freshness: Freshness { due_to_visible_ms, ..Freshness::default() },
            clocks: Vec::new(),
            resources: Vec::new(),
            backlog_min: None,
            held: Vec::new(),
        };
        let mut side = side(|_| (100, 20.0));
        side.records.observations = looks.into_iter().map(look).collect();
        side
    }

    #[test]
    fn samples_that_were_never_seen_are_not_left_out() {
        let awaiting = |late_s: i64, due_ms: f64| {
            let mut side = watched(60, late_s);
            let awaited = |due| Awaited { due, due_ms, acknowledged_ms: due_ms };
            side.records.awaited = (0..60).map(|it| awaited(it * 1_000_000)).collect();
            side
        };
        let exit = |base: &Side, run: &Side| Comparison::new(base, run).exit();
        assert_eq!(exit(&watched(60, 0), &awaiting(0, 100.0)), Exit::Unknown, "it may be worse");
        assert_eq!(exit(&watched(60, 0), &awaiting(0, 60_000.0)), Exit::Threshold, "it is worse");
        assert_eq!(exit(&awaiting(0, 100.0), &watched(60, 12)), Exit::Unknown, "or the base was");
        let told = Comparison::new(&watched(60, 0), &awaiting(0, 100.0)).to_string();
        let named =
            "no regression seen; not judged: end to end p95, of which samples were not seen";
        assert!(told.contains(named), "{told}");
    }

    #[test]
    fn what_may_be_worse_and_cannot_be_judged_is_named_and_is_not_passed() {
        #[track_caller]
        fn check(base: &Side, run: &Side, expected: &str, exit: Exit) {
            let comparison = Comparison::new(base, run);
            let text = comparison.to_string();
            assert!(text.contains(&format!("\n{expected}\n\n")), "{text}");
            assert_eq!(comparison.exit(), exit);
        }
        let (base, run) = (watched(16, 0), watched(16, 12));
        let named = "not judged: end to end p95 +157.9 %, end to end p99 +150.0 %";
        check(&base, &run, &format!("no regression seen; {named}"), Exit::Unknown);
        check(&run, &base, "no regression", Exit::Done);
        let mut slow = side(|_| (100, 40.0));
        slow.records.observations = run.records.observations;
        check(&base, &slow, &format!("regression; {named}"), Exit::Threshold);
        let json = serde_json::to_value(Comparison::new(&base, &slow)).unwrap();
        assert_eq!(json["not_judged"], serde_json::json!(["end to end p95", "end to end p99"]));
    }

    #[test]
    fn a_comparison_shows_values_changes_and_noise() {
        let base = side(|at| (100, 20.0 + f64::from(u8::try_from(at % 5).unwrap())));
        let run = side(|at| (80, 30.0 + f64::from(u8::try_from(at % 5).unwrap())));
        let comparison = Comparison::new(&base, &run);
        assert!(comparison.is_regression);
        expect_file!["versus/example.txt"].assert_eq(&comparison.to_string());
    }
}
