//! The outcomes of seeds: a line of JSON for each, and the figures of all together.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::oracle::{Check, Moment, Truth, Violation, silent_server};
use crate::stack::{Stack, root};

/// The outcome of a seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub seed: u64,
    pub runs: Vec<RunOutcome>,
}

/// The reports about one of its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOutcome {
    pub index: usize,
    /// The truth about the run: `whole`, `lossy`, or `open` if its ledger was not closed.
    pub truth: String,
    /// The report that was made while disturbances might last.
    pub early: ToldOf,
    /// The final report, or `None` if the early one was final.
    pub last: Option<ToldOf>,
    /// Descriptions of mistakes. Each begins with its kind.
    pub violations: Vec<String>,
    /// Whether a comparison of counts at the end of the early check would have given a false
    /// verdict.
    pub is_count_false: bool,
}

/// The report of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldOf {
    /// The verdict, or `none`.
    pub verdict: String,
    pub code: i32,
    pub reasons: Vec<String>,
    /// What allowed the verdict to be unknown.
    pub excuses: Vec<String>,
}

impl RunOutcome {
    /// Records the reports about a run, and their mistakes.
    pub fn new(
        index: usize,
        truth: &Truth,
        early: &Check,
        last: Option<&Check>,
        found: &[(Moment, Violation)],
    ) -> Self {
        let is_lossy = !(truth.lost().is_empty()
            && truth.corrupted().is_empty()
            && truth.unexpected().is_empty());
        let state = match (is_lossy, truth.is_closed) {
            (true, _) => "lossy",
            (false, true) => "whole",
            (false, false) => "open",
        };
        let is_count_equal = early.stored.len() == truth.acknowledged.len();
        let mut violations: Vec<String> =
            found.iter().map(|(moment, it)| format!("{it} ({moment:?} check)")).collect();
        violations.dedup();
        Self {
            index,
            truth: state.to_owned(),
            early: ToldOf::new(early),
            last: last.map(ToldOf::new),
            violations,
            is_count_false: truth.is_closed && is_count_equal == is_lossy,
        }
    }
}

impl ToldOf {
    fn new(check: &Check) -> Self {
        Self {
            verdict: check.told.verdict.clone().unwrap_or_else(|| "none".to_owned()),
            code: check.told.code,
            reasons: check.told.reasons.clone(),
            excuses: check.excuses.iter().map(|it| (*it).to_owned()).collect(),
        }
    }
}

impl Outcome {
    /// All mistakes, one line each.
    pub fn violations(&self) -> impl Iterator<Item = &str> {
        self.runs.iter().flat_map(|run| &run.violations).map(String::as_str)
    }

    /// If there is a mistake, keeps the runs' records and the sandbox's logs. `kind` is the kind of
    /// the seeds.
    pub fn keep_evidence(&self, stack: &Stack, storm: &str, kind: &str) {
        if self.violations().next().is_none() {
            return;
        }
        let to = folder(kind).join(format!("seed-{}", self.seed));
        fs::remove_dir_all(&to).ok();
        for run in &self.runs {
            let name = format!("run-{}", run.index);
            copy_files(&stack.path(&name), &to.join(&name)).unwrap();
        }
        copy_files(&stack.path("sandbox/logs"), &to.join("logs")).unwrap();
        fs::write(to.join("storm.txt"), storm).unwrap();
        let faults = stack.path("sandbox/faults.jsonl");
        if faults.exists() {
            fs::copy(faults, to.join("faults.jsonl")).unwrap();
        }
    }
}

/// The folder of results and evidence of a kind of seeds.
pub fn folder(kind: &str) -> PathBuf {
    root().join(format!("target/bench-{kind}"))
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// A line of the file of results: the outcome of a seed, and the version that was tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    version: String,
    #[serde(flatten)]
    outcome: Outcome,
}

/// The file of results. It survives a kill at any byte: a cut line is ignored, and its seed runs
/// again.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    version: String,
}

impl Results {
    /// Uses the results of one version. The file need not exist.
    pub fn new(path: PathBuf, version: String) -> Self {
        Self { path, version }
    }

    /// The outcomes of this version, by seed.
    pub fn read(&self) -> BTreeMap<u64, Outcome> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let own = lines.filter(|line| line.version == self.version);
        own.map(|line| (line.outcome.seed, line.outcome)).collect()
    }

    /// Appends the outcome of a seed.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error.
    pub fn append(&self, outcome: &Outcome) -> io::Result<()> {
        fs::create_dir_all(self.path.parent().unwrap())?;
        let line = Line { version: self.version.clone(), outcome: outcome.clone() };
        let line = serde_json::to_string(&line).unwrap();
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        // The line break at the beginning ends a line that was cut.
        file.write_all(format!("\n{line}\n").as_bytes())
    }
}

/// Figures over several outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    pub seeds: usize,
    pub runs: usize,
    /// Runs with a false report, or whose events were sent twice.
    pub broken: usize,
    /// Runs for which a comparison of counts would have given a false verdict.
    pub count_false: usize,
    /// Number of checks, by verdict.
    pub verdicts: BTreeMap<String, usize>,
    /// Number of unknown checks, by what allowed it.
    pub excuses: BTreeMap<String, usize>,
    /// Number of checks without a verdict, by the server that did not answer.
    pub silences: BTreeMap<String, usize>,
    /// Number of mistakes, by kind.
    pub violations: BTreeMap<String, usize>,
}

impl Figures {
    /// Adds up outcomes.
    pub fn of<'o>(outcomes: impl IntoIterator<Item = &'o Outcome>) -> Self {
        let mut figures = Self::default();
        for outcome in outcomes {
            figures.seeds += 1;
            outcome.runs.iter().for_each(|run| figures.add(run));
        }
        figures
    }

    fn add(&mut self, run: &RunOutcome) {
        self.runs += 1;
        self.broken += usize::from(!run.violations.is_empty());
        self.count_false += usize::from(run.is_count_false);
        for told in [Some(&run.early), run.last.as_ref()].into_iter().flatten() {
            *self.verdicts.entry(told.verdict.clone()).or_default() += 1;
            let (counts, why) = match told.verdict.as_str() {
                "unknown" => (&mut self.excuses, told.excuses.first().map(String::as_str)),
                "none" => (&mut self.silences, silent_server(&told.reasons)),
                _ => continue,
            };
            *counts.entry(why.unwrap_or("nothing").to_owned()).or_default() += 1;
        }
        for violation in &run.violations {
            let kind = violation.split(':').next().unwrap_or_default();
            *self.violations.entry(kind.to_owned()).or_default() += 1;
        }
    }

    /// Formats the figures. The last line is the line of the bench of this name.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let all: usize = self.verdicts.values().sum();
        let shares = |counts: &BTreeMap<String, usize>| -> String {
            let shares = counts.iter().map(|(name, count)| {
                let percent = *count * 100 / all.max(1);
                format!("{name} {count} ({percent} %)")
            });
            shares.collect::<Vec<_>>().join(", ")
        };
        let (ours, peer) = (self.broken, self.count_false);
        let hundredths = ours * 100 / peer.max(1);
        let outcome = if ours == 0 && self.seeds > 0 { "ok" } else { "short" };
        vec![
            format!(
                "{} seeds, {} runs, {all} checks: {}",
                self.seeds,
                self.runs,
                shares(&self.verdicts)
            ),
            format!("unknown because: {}", shares(&self.excuses)),
            format!("no verdict, for want of: {}", shares(&self.silences)),
            format!("broken: {}", shares(&self.violations)),
            format!(
                "bench {name} ours={ours} false peer=counting:{peer} false \
                 ratio={}.{:02} bar=0 {outcome}",
                hundredths / 100,
                hundredths % 100
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seed: u64, violations: &[&str]) -> Outcome {
        let told = ToldOf {
            verdict: "unknown".to_owned(),
            code: 4,
            reasons: Vec::new(),
            excuses: vec!["NATS was away".to_owned()],
        };
        let run = RunOutcome {
            index: 0,
            truth: "whole".to_owned(),
            last: Some(ToldOf { verdict: "whole".to_owned(), code: 0, ..told.clone() }),
            early: told,
            violations: violations.iter().map(|it| (*it).to_owned()).collect(),
            is_count_false: true,
        };
        Outcome { seed, runs: vec![run] }
    }

    #[test]
    fn results_are_found_again_by_version_and_a_torn_line_is_not_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some/results.jsonl");
        let results = |version: &str| Results::new(path.clone(), version.to_owned());
        assert_eq!(results("a").read(), BTreeMap::new());
        results("a").append(&outcome(3, &[])).unwrap();
        results("b").append(&outcome(4, &[])).unwrap();
        let whole = fs::metadata(&path).unwrap().len();
        results("a").append(&outcome(5, &[])).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(whole + 20).unwrap();
        results("a").append(&outcome(6, &[])).unwrap();
        assert_eq!(results("a").read().into_keys().collect::<Vec<_>>(), [3, 6]);
        assert_eq!(results("b").read()[&4], outcome(4, &[]));
    }

    #[test]
    fn the_last_line_is_the_benchs() {
        let told = |outcomes: &[Outcome]| Figures::of(outcomes).lines("verdicts");
        let lines = told(&[outcome(1, &[]), outcome(2, &["false_lossy: x", "wrong_hop: y"])]);
        assert_eq!(
            lines,
            [
                "2 seeds, 2 runs, 4 checks: unknown 2 (50 %), whole 2 (50 %)",
                "unknown because: NATS was away 2 (50 %)",
                "no verdict, for want of: ",
                "broken: false_lossy 1 (25 %), wrong_hop 1 (25 %)",
                "bench verdicts ours=1 false peer=counting:2 false ratio=0.50 bar=0 short",
            ]
        );
        assert!(told(&[outcome(1, &[])])[4].ends_with("ratio=0.00 bar=0 ok"));
        assert!(told(&[])[4].ends_with("short"), "nothing was tried");
    }
}
