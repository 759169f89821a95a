//! Compares the runs of a scenario with those of earlier suites, which are chosen by rule: the last
//! runs that were complete, and that can be compared.

use std::fs;
use std::path::{Path, PathBuf};

use edges::exit::{Exit, chain};
use report::error::ShowError;
use report::versus::key::key_of;
use report::versus::{Comparison, Outcome, unfit_in};
use serde::{Deserialize, Serialize};

use crate::step::{State, Step, exit_of};
use crate::suite::{Compare, Scenario};
use crate::suite_dir::{SuiteDir, run_name};

/// How a scenario compares with earlier runs of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub outcome: Against,
    /// Why there is no comparison, or what else is to be known.
    pub note: Option<String>,
    /// The directories of the earlier runs.
    pub bases: Vec<PathBuf>,
    pub measures: Vec<MeasureRow>,
}

/// The result of a comparison in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    NoRegression,
    Regression,
    /// Something is worse, and chance is not excluded.
    Suspected,
    NotJudged,
    /// There is no earlier run that can be compared.
    NoBase,
    /// Its own runs cannot be compared with any.
    Unfit,
}

/// What a comparison says of one measure, in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasureRow {
    pub name: String,
    pub base: String,
    pub run: String,
    pub change: String,
    pub outcome: String,
}

impl Against {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoRegression => "no regression",
            Self::Regression => "regression",
            Self::Suspected => "suspected",
            Self::NotJudged => "not judged",
            Self::NoBase => "no baseline",
            Self::Unfit => "not comparable",
        }
    }

    /// What it means for a suite that asks for it. Without a baseline there is nothing to ask.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::NoRegression | Self::NoBase => Exit::Done,
            Self::Regression => Exit::Threshold,
            Self::Suspected | Self::NotJudged | Self::Unfit => Exit::Unknown,
        }
    }
}

/// Compares the checked runs of a scenario with earlier ones; `None` if the suite does not ask for
/// it, or no run was checked.
pub(crate) fn compared(dir: &SuiteDir, scenario: &Scenario) -> Option<Compared> {
    let runs = checked_runs(dir, scenario);
    if dir.suite.compare == Compare::Off || runs.is_empty() {
        return None;
    }
    Some(compare(dir, scenario.name(), &runs).unwrap_or_else(|error| Compared {
        outcome: Against::Unfit,
        note: Some(chain(&error)),
        bases: Vec::new(),
        measures: Vec::new(),
    }))
}

fn compare(dir: &SuiteDir, scenario: &str, runs: &[PathBuf]) -> Result<Compared, ShowError> {
    let bases = bases(dir, scenario, &runs[0])?;
    if bases.is_empty() {
        let note = "no earlier run of this suite in the same folder can be compared with it";
        let (outcome, note) = (Against::NoBase, Some(note.to_owned()));
        return Ok(Compared { outcome, note, bases, measures: Vec::new() });
    }
    let comparison = Comparison::of(&bases, runs)?;
    let row = |[name, base, run, change, outcome]: [String; 5]| MeasureRow {
        name,
        base,
        run,
        change,
        outcome,
    };
    Ok(Compared {
        outcome: match comparison.outcome {
            Outcome::Regression => Against::Regression,
            Outcome::Suspected => Against::Suspected,
            Outcome::NotJudged => Against::NotJudged,
            Outcome::NoRegression => Against::NoRegression,
        },
        note: None,
        bases,
        measures: comparison.measures.iter().map(|it| row(it.in_words())).collect(),
    })
}

/// The runs of a scenario that were checked.
fn checked_runs(dir: &SuiteDir, scenario: &Scenario) -> Vec<PathBuf> {
    let name = scenario.name();
    let of = |repetition| {
        let check = Step::Check { scenario: name.to_owned(), repetition };
        let load = Step::Load { scenario: name.to_owned(), repetition };
        dir.journal.ended(&check)?;
        match dir.journal.state(&load) {
            State::Ended(ended) => Some(dir.run(name, repetition, ended.attempt)),
            _ => None,
        }
    };
    dir.repetitions(scenario).filter_map(of).collect()
}

/// The last runs of a scenario in earlier suites of the same name beside this one that passed, and
/// that can be compared with a run, oldest first.
fn bases(dir: &SuiteDir, scenario: &str, run: &Path) -> Result<Vec<PathBuf>, ShowError> {
    let key = key_of(run)?;
    let own = std::path::absolute(dir.path()).unwrap_or_else(|_| dir.path().to_owned());
    let entries = own.parent().and_then(|folder| fs::read_dir(folder).ok());
    let paths = entries.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut suites: Vec<SuiteDir> = paths
        .filter(|path| *path != own)
        .filter_map(|path| SuiteDir::open(&path).ok())
        .filter(|it| it.suite.name == dir.suite.name && it.record.begun < dir.record.begun)
        .filter(|it| it.journal.finished().is_some())
        .collect();
    suites.sort_by_key(|it| it.record.begun);
    let fit = |path: &PathBuf| {
        key_of(path).is_ok_and(|it| it == key) && unfit_in(path).is_ok_and(|it| it.is_empty())
    };
    let runs = suites.iter().rev().flat_map(|it| passed_runs(it, scenario));
    let mut bases: Vec<PathBuf> = runs.filter(fit).take(BASES_MAX).collect();
    bases.reverse();
    Ok(bases)
}

/// The runs of a scenario that passed their check, the last one first.
fn passed_runs(dir: &SuiteDir, scenario: &str) -> Vec<PathBuf> {
    let ended = dir.journal.all_ended().into_iter().rev();
    let checked = ended.filter_map(|(step, ended)| match step {
        Step::Check { scenario: of, repetition }
            if of == scenario && exit_of(ended.exit) == Exit::Done =>
        {
            Some(repetition)
        }
        _ => None,
    });
    let load = |repetition| {
        let load = Step::Load { scenario: scenario.to_owned(), repetition };
        let ended = dir.journal.ended(&load)?;
        Some(dir.path().join(run_name(scenario, repetition, ended.attempt)))
    };
    checked.filter_map(load).collect()
}

/// As many as tell the noise between runs.
const BASES_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Event;
    use crate::suite_dir::tests::suite_in;

    const TEXT: &str = "name: a\nscenarios: [{profile: smoke, repeat: 2}]\n";

    fn ended(of: Step, exit: u8) -> Event {
        Event::Ended { of, attempt: 1, exit, notes: Vec::new() }
    }

    #[test]
    fn baselines_are_runs_that_passed_the_last_one_first() {
        let place = tempfile::tempdir().unwrap();
        let mut dir = suite_in(&place.path().join("one"), TEXT, 1);
        for (repetition, exit) in [(1, 0), (2, 5), (3, 0)] {
            let scenario = "smoke".to_owned();
            let load = Step::Load { scenario: scenario.clone(), repetition };
            let check = Step::Check { scenario, repetition };
            dir.begin(2, &load).unwrap();
            dir.note(3, ended(load, 0)).unwrap();
            dir.note(4, ended(check, exit)).unwrap();
        }
        let named = |runs: Vec<PathBuf>| -> Vec<String> {
            let names = runs.iter().map(|it| it.file_name().unwrap().to_str().unwrap().to_owned());
            names.collect()
        };
        assert_eq!(named(passed_runs(&dir, "smoke")), ["smoke-3", "smoke-1"]);
        assert_eq!(named(passed_runs(&dir, "other")), Vec::<String>::new());
        let scenario = &dir.suite.scenarios[0];
        let runs = checked_runs(&dir, scenario);
        assert_eq!(named(runs), ["smoke-1", "smoke-2", "smoke-3"], "with the confirming one");
        // There are no files of runs here.
        let found = compared(&dir, scenario).unwrap();
        assert_eq!(found.outcome, Against::Unfit);
        assert!(found.note.unwrap().contains("smoke-1"));
    }

    #[test]
    fn what_a_comparison_means_for_a_gate() {
        use Against::{NoBase, NoRegression, NotJudged, Regression, Suspected, Unfit};
        use Exit::{Done, Threshold, Unknown};
        let exits =
            [NoRegression, NoBase, Regression, Suspected, NotJudged, Unfit].map(Against::exit);
        assert_eq!(exits, [Done, Done, Threshold, Unknown, Unknown, Unknown]);
    }
}
