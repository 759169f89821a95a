//! The report of a suite as data: `suite-report.json`. What people read is written from it.

use std::fs;
use std::path::{Path, PathBuf};

use edges::exit::Exit;
use events::event::MicroTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::advice::{Advice, advice};
use crate::budget::{Budget, budget};
use crate::capacity::CapacityResult;
use crate::results::{Measured, ScenarioResult, results};
use crate::step::{Step, exit_of, worst};
use crate::suite_dir::SuiteDir;

/// All that is known of a suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteReport {
    /// Version of this format.
    pub format: u32,
    pub tool_version: String,
    pub suite: String,
    pub suite_id: Uuid,
    pub begun: MicroTime,
    /// When the last step ended.
    pub ended: MicroTime,
    /// The exit code of the suite.
    pub exit: u8,
    /// The verdict in one sentence.
    pub sentence: String,
    /// How often it was interrupted and continued.
    pub interruptions: u32,
    /// Whether it ran on a sandbox that it started.
    pub on_sandbox: bool,
    /// The steps that ended, in their order.
    pub steps: Vec<StepResult>,
    pub scenarios: Vec<ScenarioResult>,
    /// What became of the search for the highest rate, if the suite has one.
    pub capacity: Option<CapacityResult>,
    pub budget: Option<Budget>,
    /// Earlier reports of the same suite, oldest first, and this one last.
    pub trend: Vec<Earlier>,
    pub advice: Vec<Advice>,
}

/// A step that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    pub step: String,
    /// How often it was begun until it ended.
    pub attempts: u32,
    pub begun: MicroTime,
    pub ended: MicroTime,
    pub exit: u8,
}

/// What an earlier report of a suite says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Earlier {
    /// The directory of that suite.
    pub dir: PathBuf,
    pub begun: MicroTime,
    pub tool_version: String,
    pub exit: u8,
    pub scenarios: Vec<EarlierScenario>,
}

/// The first run of a scenario in an earlier report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EarlierScenario {
    pub name: String,
    pub exit: u8,
    pub lost: u64,
    pub measured: Measured,
}

/// The file in a suite's directory.
pub(crate) const REPORT_FILE: &str = "suite-report.json";
const FORMAT: u32 = 1;
/// The most reports that the trend shows.
const TREND_MAX: usize = 20;

impl SuiteReport {
    /// Reads what became of a suite. `halt` is why not all of its steps were done.
    pub(crate) fn new(dir: &SuiteDir, halt: Option<(Exit, String)>) -> Self {
        let scenarios = results(dir);
        let search = dir.suite.capacity.as_ref();
        let capacity = search.map(|capacity| CapacityResult::new(dir, capacity));
        let searched = capacity.as_ref().map(|it| exit_of(it.exit));
        let exit = match &halt {
            Some((exit, _)) => worst([*exit, worst_proven(&scenarios)]),
            None => worst(scenarios.iter().map(|it| exit_of(it.exit)).chain(searched)),
        };
        let (begun, ended) = dir.journal.period().unwrap_or((dir.record.begun, dir.record.begun));
        let mut report = Self {
            format: FORMAT,
            tool_version: dir.record.tool_version.clone(),
            suite: dir.suite.name.clone(),
            suite_id: dir.record.suite_id,
            begun,
            ended,
            exit: exit as u8,
            sentence: sentence(exit, &scenarios, capacity.as_ref(), halt.map(|(_, text)| text)),
            interruptions: dir.journal.interruptions(),
            on_sandbox: dir.record.on_sandbox,
            steps: steps(dir),
            capacity,
            budget: budget(&scenarios),
            trend: Vec::new(),
            advice: advice(&scenarios),
            scenarios,
        };
        report.trend = earlier(dir.path(), &report.suite, report.begun);
        report.trend.push(report.as_earlier(dir.path()));
        report
    }

    fn as_earlier(&self, dir: &Path) -> Earlier {
        let of = |scenario: &ScenarioResult| {
            let checked = scenario.runs.first()?.checked.as_ref()?;
            Some(EarlierScenario {
                name: scenario.name.clone(),
                exit: scenario.exit,
                lost: checked.totals.lost,
                measured: checked.measured,
            })
        };
        Earlier {
            dir: dir.to_owned(),
            begun: self.begun,
            tool_version: self.tool_version.clone(),
            exit: self.exit,
            scenarios: self.scenarios.iter().filter_map(of).collect(),
        }
    }
}

/// The worst exit code of the runs that say something of the pipeline.
fn worst_proven(scenarios: &[ScenarioResult]) -> Exit {
    let exits = scenarios.iter().map(|it| exit_of(it.exit));
    worst(exits.filter(|exit| matches!(exit, Exit::Lossy | Exit::Threshold)))
}

fn sentence(
    exit: Exit,
    scenarios: &[ScenarioResult],
    capacity: Option<&CapacityResult>,
    halt: Option<String>,
) -> String {
    let first = scenarios.iter().find(|it| it.exit == exit as u8);
    let reason = first.and_then(|it| {
        let run = it.runs.iter().find(|run| run.exit == exit as u8)?;
        Some(format!("{}: {}", it.name, run.reasons.first()?))
    });
    let search = capacity.filter(|it| reason.is_none() && halt.is_none() && it.exit == exit as u8);
    if let Some(search) = search {
        return format!("{}.", search.sentence);
    }
    let what = match exit {
        Exit::Stopped => "It was stopped before its end",
        _ if halt.is_some() && reason.is_none() => "It could not be run to its end",
        Exit::Done => {
            let events =
                scenarios.iter().flat_map(|it| &it.runs).filter_map(|it| it.checked.as_ref());
            let stored: u64 = events.map(|it| it.totals.stored).sum();
            let stored = report::figures::grouped(stored);
            return format!(
                "All scenarios passed, and {stored} events are stored once and unchanged."
            );
        }
        Exit::Lossy => "Events were lost, changed or doubled",
        Exit::Threshold => "Everything that was checked is stored, but not as well as is asked for",
        Exit::Unknown => "Not everything could be checked",
        _ => "It could not be run to its end",
    };
    match (reason, halt) {
        (Some(reason), _) => format!("{what}. First: {reason}."),
        (None, Some(halt)) => format!("{what}: {}.", halt.trim_end_matches('.')),
        (None, None) => format!("{what}."),
    }
}

fn steps(dir: &SuiteDir) -> Vec<StepResult> {
    let result = |(step, ended): (Step, crate::step::Ended)| StepResult {
        step: step.to_string(),
        attempts: ended.attempt,
        begun: ended.begun,
        ended: ended.over,
        exit: ended.exit,
    };
    dir.journal.all_ended().into_iter().map(result).collect()
}

/// Reads earlier reports of a suite in the directories beside it, the last ones, oldest first.
/// What is no report of this version is passed over.
fn earlier(dir: &Path, suite: &str, before: MicroTime) -> Vec<Earlier> {
    let beside = std::path::absolute(dir).ok().and_then(|dir| dir.parent().map(Path::to_owned));
    let entries = beside.and_then(|folder| fs::read_dir(folder).ok());
    let paths = entries.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut found: Vec<Earlier> = paths
        .filter_map(|path| {
            let text = fs::read(path.join(REPORT_FILE)).ok()?;
            let report: SuiteReport = serde_json::from_slice(&text).ok()?;
            let is_it = report.format == FORMAT && report.suite == suite && report.begun < before;
            is_it.then(|| report.as_earlier(&path))
        })
        .collect();
    found.sort_by_key(|it| it.begun);
    found.split_off(found.len().saturating_sub(TREND_MAX - 1))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::results::tests::scenario;

    /// The report of a suite with these scenarios.
    pub(crate) fn report(scenarios: Vec<ScenarioResult>) -> SuiteReport {
        let exit = worst(scenarios.iter().map(|it| exit_of(it.exit)));
        let second = |second: i64| MicroTime(second * 1_000_000);
        SuiteReport {
            format: FORMAT,
            tool_version: "0.1.0".to_owned(),
            suite: "smoke".to_owned(),
            suite_id: Uuid::nil(),
            begun: second(0),
            ended: second(60),
            exit: exit as u8,
            sentence: sentence(exit, &scenarios, None, None),
            interruptions: 1,
            on_sandbox: true,
            steps: vec![StepResult {
                step: "load one 1".to_owned(),
                attempts: 2,
                begun: second(5),
                ended: second(50),
                exit: 0,
            }],
            capacity: None,
            budget: budget(&scenarios),
            trend: Vec::new(),
            advice: advice(&scenarios),
            scenarios,
        }
    }

    #[test]
    fn the_sentence_names_the_first_scenario_that_weighs_most() {
        #[track_caller]
        fn check(scenarios: &[ScenarioResult], expected: &str) {
            let exit = worst(scenarios.iter().map(|it| exit_of(it.exit)));
            assert_eq!(sentence(exit, scenarios, None, None), expected);
        }
        let (fine, bad) = (scenario("fine", 100, 0), scenario("bad", 100, 2));
        let passed = "All scenarios passed, and 200 events are stored once and unchanged.";
        check(&[fine.clone(), fine.clone()], passed);
        let mut unknown = scenario("odd", 100, 0);
        unknown.exit = 4;
        unknown.runs[0].exit = 4;
        unknown.runs[0].reasons = vec!["not seen".to_owned()];
        check(&[unknown.clone(), fine], "Not everything could be checked. First: odd: not seen.");
        check(
            &[unknown, bad],
            "Events were lost, changed or doubled. First: bad: lossy: 2 of 100 events lost.",
        );
    }

    #[test]
    fn earlier_reports_of_the_same_suite_make_a_trend() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, suite: &str, at: i64| {
            let dir = place.path().join(name);
            fs::create_dir(&dir).unwrap();
            let report = report(vec![scenario("one", 100, 1)]);
            let (suite, begun) = (suite.to_owned(), MicroTime(at));
            let report = SuiteReport { suite, begun, ..report };
            fs::write(dir.join(REPORT_FILE), serde_json::to_vec(&report).unwrap()).unwrap();
        };
        write("b", "smoke", 20);
        write("a", "smoke", 10);
        write("later", "smoke", 40);
        write("other", "nightly", 5);
        fs::create_dir(place.path().join("odd")).unwrap();
        fs::write(place.path().join("odd").join(REPORT_FILE), "{}").unwrap();
        let found = earlier(&place.path().join("b"), "smoke", MicroTime(30));
        assert_eq!(found.iter().map(|it| it.begun.0).collect::<Vec<_>>(), [10, 20]);
        assert_eq!(found[0].scenarios[0].lost, 1);
    }
}
