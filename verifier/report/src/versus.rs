//! Compares two runs: is one worse than the other by more than the published criteria allow, and by
//! more than the noise within the runs?

use std::fmt;
use std::path::{Path, PathBuf};

use edges::exit::Exit;
use events::event::MicroTime;
use runs::report::verdict::Verdict;
use serde::Serialize;
use uuid::Uuid;

use crate::columns::{Left, Right, aligned};
use crate::error::ShowError;
use crate::figures;
use crate::versus::beside::{Beside, beside};
use crate::versus::bootstrap::{METHOD, SECONDS_MIN};
use crate::versus::likeness::{differences, notes};
use crate::versus::measured::{Unit, measures};
use crate::versus::regression::{Compared, Outcome, compared};
use crate::versus::side::Side;

mod beside;
mod bootstrap;
mod likeness;
mod measured;
mod regression;
pub(crate) mod side;

/// The result of comparing two runs.
#[derive(Debug, Serialize)]
pub struct Comparison {
    base: Identity,
    run: Identity,
    is_regression: bool,
    /// Measures that are worse than allowed, but cannot be judged: either there are too few seconds
    /// to tell the change from noise, or samples that were never seen in the table leave it open.
    not_judged: Vec<String>,
    /// How the comparison tells a change from noise.
    method: &'static str,
    /// Differences between the runs that may explain a change.
    notes: Vec<String>,
    measures: Vec<Compared>,
    /// What else is known of what was sent. No objective is published for it.
    beside: Vec<Beside>,
}

/// Identifies one of the two runs.
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

impl Comparison {
    /// Compares the runs of two directories.
    ///
    /// # Errors
    ///
    /// Returns [`ShowError::Unlike`] if they cannot be compared, with all reasons.
    pub fn of(base: &Path, run: &Path) -> Result<Self, ShowError> {
        let (base, run) = (Side::open(base)?, Side::open(run)?);
        let reasons = differences(&base, &run);
        if !reasons.is_empty() {
            return Err(ShowError::Unlike { reasons });
        }
        let comparison = Self::new(&base, &run);
        if !comparison.measures.iter().any(|it| it.outcome.is_judged()) {
            let reason = format!("they have fewer than {SECONDS_MIN} seconds of records in common");
            return Err(ShowError::Unlike { reasons: vec![reason] });
        }
        Ok(comparison)
    }

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
            beside: beside(base, run),
        }
    }

    /// The exit code for this result.
    pub fn exit(&self) -> Exit {
        match (self.is_regression, self.not_judged.is_empty()) {
            (true, _) => Exit::Threshold,
            (false, false) => Exit::Unknown,
            (false, true) => Exit::Done,
        }
    }

    /// The result in one line.
    fn verdict(&self) -> String {
        let changes: Vec<String> = not_judged(&self.measures)
            .map(|it| match it.change {
                Some(_) if it.is_open => format!("{}, because some samples were not seen", it.name),
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
        let heads = [
            ("measure", Left),
            ("base", Right),
            ("run", Right),
            ("change", Right),
            ("95 % interval", Left),
            ("allowed", Right),
            ("outcome", Left),
        ];
        let cells = |it: &Compared| {
            let value = |value: Option<f64>| value.map_or("–".to_owned(), |it_| it.unit.say(it_));
            let change = |change: f64| it.unit.say_change(change);
            let interval = it.interval.map_or("–".to_owned(), |[low, high]| {
                format!("{} to {}", change(low), change(high))
            });
            [
                it.name.clone(),
                value(it.base),
                value(it.run),
                it.change.map_or("–".to_owned(), change),
                interval,
                change(it.allowed),
                it.outcome.as_str().to_owned(),
            ]
        };
        write!(f, "\n{}", aligned(heads, self.measures.iter().map(cells)))?;
        if !self.beside.is_empty() {
            let heads = [("also measured", Left), ("base", Right), ("run", Right)];
            write!(f, "\n{}", aligned(heads, self.beside.iter().map(Beside::cells)))?;
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
mod tests {
    use expect_test::expect_file;

    use super::*;
    use crate::awaited::Awaited;
    use crate::versus::side::tests::{side, watched};

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
            "no regression seen; not judged: end to end p95, because some samples were not seen";
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
