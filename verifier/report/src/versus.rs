//! Compares runs with earlier ones: are they worse by more than the published criteria allow, by so
//! much that it matters, and by more than the noise within the runs and between them?
//!
//! [`judgement`] says how that is decided.

use std::fmt;
use std::path::{Path, PathBuf};

use edges::exit::Exit;
use events::event::MicroTime;
use runs::report::verdict::Verdict;
use serde::Serialize;
use uuid::Uuid;

use crate::error::ShowError;
use crate::figures;
use crate::versus::beside::{Beside, beside};
use crate::versus::bootstrap::SECONDS_MIN;
use crate::versus::judgement::{Compared, Measure, judge};
use crate::versus::likeness::{differences, key, notes, unfit};
use crate::versus::measured::{Measured, measured, quantities};
use crate::versus::quantity::Quantity;
use crate::versus::side::Side;

mod beside;
mod bootstrap;
pub mod judgement;
pub mod key;
mod likeness;
pub mod measured;
pub mod quantity;
pub(crate) mod side;
pub mod spread;
mod student;
mod told;

/// The result of comparing runs with earlier ones.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub outcome: Outcome,
    /// What all of these runs have in common.
    pub key: key::Key,
    bases: Vec<Identity>,
    runs: Vec<Identity>,
    /// Quantities that are worse, and may be so by chance: another run would tell.
    suspected: Vec<Quantity>,
    /// Quantities that are worse than allowed, but cannot be judged: either there are too few
    /// seconds to tell the change from noise, or samples that were never seen in the table leave it
    /// open.
    not_judged: Vec<Quantity>,
    /// How the comparison tells a change from noise.
    method: String,
    /// Differences between the runs that may explain a change.
    notes: Vec<String>,
    pub measures: Vec<Compared>,
    /// What else is known of what was sent. No objective is published for it.
    beside: Vec<Beside>,
}

/// The result in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Something is worse, and not by chance.
    Regression,
    /// Something is worse, and chance is not excluded. Compare another run together with this one.
    Suspected,
    /// Something may be worse, and was not measured well enough to judge it.
    NotJudged,
    NoRegression,
}

/// Identifies a run.
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

impl Outcome {
    /// The result of all quantities together.
    pub fn of(measures: &[Compared]) -> Self {
        let any = |outcome| measures.iter().any(|it| it.outcome == outcome);
        match () {
            () if any(judgement::Outcome::Regression) => Self::Regression,
            () if any(judgement::Outcome::Suspected) => Self::Suspected,
            () if any(judgement::Outcome::NotJudged) => Self::NotJudged,
            () => Self::NoRegression,
        }
    }

    pub fn exit(self) -> Exit {
        match self {
            Self::Regression => Exit::Threshold,
            Self::Suspected | Self::NotJudged => Exit::Unknown,
            Self::NoRegression => Exit::Done,
        }
    }
}

impl Comparison {
    /// Compares the runs of some directories with the bases in others. The runs are ordered by
    /// their starts: later ones may confirm what the first made suspect.
    ///
    /// # Errors
    ///
    /// Returns [`ShowError::Unlike`] if they cannot be compared, with all reasons.
    pub fn of(bases: &[PathBuf], runs: &[PathBuf]) -> Result<Self, ShowError> {
        let open = |dirs: &[PathBuf]| -> Result<Vec<Side>, ShowError> {
            let mut sides: Vec<Side> =
                dirs.iter().map(|dir| Side::open(dir)).collect::<Result<_, _>>()?;
            sides.sort_by_key(|side| side.report.start.0);
            Ok(sides)
        };
        let (bases, runs) = (open(bases)?, open(runs)?);
        let mut reasons = differences(&bases, &runs);
        if bases.is_empty() || runs.is_empty() {
            reasons.push("there must be at least one base and one run".to_owned());
        }
        if !reasons.is_empty() {
            return Err(ShowError::Unlike { reasons });
        }
        let comparison = Self::new(&bases, &runs);
        if !comparison.measures.iter().any(|it| it.outcome.is_judged()) {
            let reason = format!("they have fewer than {SECONDS_MIN} seconds of records in common");
            return Err(ShowError::Unlike { reasons: vec![reason] });
        }
        Ok(comparison)
    }

    /// Shows the runs under other names than those of their directories.
    #[must_use]
    pub fn named(mut self, name_of: impl Fn(&Path) -> PathBuf) -> Self {
        for identity in self.bases.iter_mut().chain(&mut self.runs) {
            identity.dir = name_of(&identity.dir);
        }
        self
    }

    /// Compares at least one run with at least one base.
    fn new(bases: &[Side], runs: &[Side]) -> Self {
        let compared = judge(&measures(bases, runs));
        let named = |outcome| {
            let of_outcome = compared.iter().filter(|it| it.outcome == outcome);
            of_outcome.map(|it| it.name.clone()).collect()
        };
        Self {
            outcome: Outcome::of(&compared),
            key: key(&runs[0]),
            bases: bases.iter().map(Identity::of).collect(),
            runs: runs.iter().map(Identity::of).collect(),
            suspected: named(judgement::Outcome::Suspected),
            not_judged: named(judgement::Outcome::NotJudged),
            method: told::method(bases.len()),
            notes: notes(bases, runs),
            measures: compared,
            beside: beside(bases, runs),
        }
    }
}

/// Returns what the run in a directory says of each quantity, and what of a change matters to it.
///
/// # Errors
///
/// Returns [`ShowError`] if there is no run, or it was not reconciled, or its files cannot be read.
pub fn measured_in(dir: &Path) -> Result<Vec<(Quantity, f64, Measured)>, ShowError> {
    let side = Side::open(dir)?;
    let of = |it: Quantity| {
        let (floor, measured) = (it.floor(&side.plan), measured(&it, &side));
        (it, floor, measured)
    };
    Ok(quantities(&side).into_iter().map(of).collect())
}

/// Returns why the run in a directory is no baseline for any other: it is incomplete, was
/// saturated, or could not be checked. Nothing, if it may be one.
///
/// # Errors
///
/// Returns [`ShowError`] if there is no run, or it was not reconciled, or its files cannot be read.
pub fn unfit_in(dir: &Path) -> Result<Vec<String>, ShowError> {
    Side::open(dir).map(|side| unfit(&side))
}

/// All quantities by which runs can be compared.
fn measures(bases: &[Side], runs: &[Side]) -> Vec<Measure> {
    let mut all: Vec<Quantity> = bases.iter().chain(runs).flat_map(quantities).collect();
    all.sort_unstable();
    all.dedup();
    let measure = |quantity: Quantity| Measure {
        floor: quantity.floor(&runs[0].plan),
        bases: bases.iter().map(|side| measured(&quantity, side)).collect(),
        runs: runs.iter().map(|side| measured(&quantity, side)).collect(),
        quantity,
    };
    all.into_iter().map(measure).collect()
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
        for (name, group) in [("base", &self.bases), ("run", &self.runs)] {
            for it in group {
                let (run_id, start) = (it.run_id, figures::moment(it.start));
                let (verdict, dir) = (it.verdict.as_str(), it.dir.display());
                writeln!(f, "{name:<5}{run_id}  {start}  {verdict}  {dir}")?;
            }
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        write!(f, "\n{}", told::table(&self.measures))?;
        if !self.beside.is_empty() {
            write!(f, "\n{}", told::beside_table(&self.beside))?;
        }
        writeln!(f, "\n{}\n", self.verdict())?;
        writeln!(f, "{}", figures::wrapped(&self.method, METHOD_CHARS_MAX))
    }
}

const METHOD_CHARS_MAX: usize = 100;

impl Comparison {
    /// The result in one line.
    fn verdict(&self) -> String {
        let changes = |outcome| told::changes(&self.measures, outcome);
        let mut parts = Vec::new();
        parts.extend(changes(judgement::Outcome::Regression).map(|it| format!("regression: {it}")));
        if let Some(suspected) = changes(judgement::Outcome::Suspected) {
            parts.push(format!("regression suspected: {suspected}: run again, and compare both"));
        }
        let not_judged = changes(judgement::Outcome::NotJudged);
        if parts.is_empty() {
            let seen = if not_judged.is_some() { " seen" } else { "" };
            parts.push(format!("no regression{seen}"));
        }
        parts.extend(not_judged.map(|it| format!("not judged: {it}")));
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;
    use crate::awaited::Awaited;
    use crate::versus::side::tests::{side, watched};

    /// Compares one run with one base.
    fn compare(base: &Side, run: &Side) -> Comparison {
        Comparison::new(std::slice::from_ref(base), std::slice::from_ref(run))
    }

    #[test]
    fn samples_that_were_never_seen_are_not_left_out() {
        let awaiting = |late_s: i64, due_ms: f64| {
            let mut side = watched(60, late_s);
            let awaited = |due| Awaited { due, due_ms, acknowledged_ms: due_ms };
            side.records.awaited = (0..60).map(|it| awaited(it * 1_000_000)).collect();
            side
        };
        let outcome = |base: &Side, run: &Side| compare(base, run).outcome;
        let (seen, late) = (watched(60, 0), watched(60, 12));
        assert_eq!(outcome(&seen, &awaiting(0, 100.0)), Outcome::NotJudged, "it may be worse");
        assert_eq!(outcome(&seen, &awaiting(0, 60_000.0)), Outcome::Regression, "it is worse");
        assert_eq!(outcome(&awaiting(0, 100.0), &late), Outcome::NotJudged, "or the base was");
        let told = compare(&seen, &awaiting(0, 100.0)).to_string();
        let named =
            "no regression seen; not judged: end to end p95, because some samples were not seen";
        assert!(told.contains(named), "{told}");
    }

    #[test]
    fn what_may_be_worse_and_cannot_be_judged_is_named_and_is_not_passed() {
        #[track_caller]
        fn check(base: &Side, run: &Side, expected: &str, outcome: Outcome) {
            let comparison = compare(base, run);
            let text = comparison.to_string();
            assert!(text.contains(&format!("\n{expected}\n\n")), "{text}");
            assert_eq!(comparison.outcome, outcome);
        }
        let (base, run) = (watched(16, 0), watched(16, 12));
        let named = "not judged: end to end p95 +157.9 %, end to end p99 +150.0 %";
        check(&base, &run, &format!("no regression seen; {named}"), Outcome::NotJudged);
        check(&run, &base, "no regression", Outcome::NoRegression);
        let mut slow = side(|_| (20, 20.0));
        slow.records.observations = run.records.observations;
        let told = format!("regression: acknowledged −80.0 %; {named}");
        check(&base, &slow, &told, Outcome::Regression);
        let json = serde_json::to_value(compare(&base, &slow)).unwrap();
        assert_eq!(json["not_judged"], serde_json::json!(["end to end p95", "end to end p99"]));
    }

    /// A run whose seconds have about this many events and this p95 in ms.
    fn run(events: u64, p95_ms: f64) -> Side {
        side(|at| (events, p95_ms + f64::from(u8::try_from(at % 5).unwrap())))
    }

    #[test]
    fn a_comparison_shows_values_changes_and_noise() {
        let comparison = compare(&run(100, 60.0), &run(80, 90.0));
        assert_eq!(comparison.outcome, Outcome::Regression);
        expect_file!["versus/example.txt"].assert_eq(&comparison.to_string());
    }

    #[test]
    fn what_one_run_makes_suspect_another_confirms_or_clears() {
        let bases = [run(100, 60.0), run(92, 62.0), run(106, 64.0)];
        let [suspect, worse, well] = [run(83, 60.0), run(84, 61.0), run(101, 61.0)];
        let suspected = Comparison::new(&bases, std::slice::from_ref(&suspect));
        assert_eq!(suspected.outcome, Outcome::Suspected, "{suspected}");
        expect_file!["versus/suspected.txt"].assert_eq(&suspected.to_string());
        let confirmed = Comparison::new(&bases, &[run(83, 60.0), worse]);
        assert_eq!(confirmed.outcome, Outcome::Regression, "{confirmed}");
        let cleared = Comparison::new(&bases, &[suspect, well]);
        assert_eq!(cleared.outcome, Outcome::NoRegression, "{cleared}");
    }
}
