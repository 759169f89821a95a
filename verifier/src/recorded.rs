//! Runs as their directories tell them. Shards of one run may have a directory each.

use std::fs;
use std::path::{Path, PathBuf};

use harness::ledger::Ledger;
use harness::observation::{Mark, Observation};
use harness::plan::{DeliveryPath, Plan, RunSpec, Span, Targets};
use harness::record::Summary;
use harness::run_dir::{RunDir, read_ledgers};

use crate::error::VerifyError;

/// A run as its directories tell it.
#[derive(Debug)]
pub struct Recorded {
    /// The directories of the run, of which there is at least one.
    pub dirs: Vec<RunDir>,
    pub plan: Plan,
    pub ledger: Ledger,
    /// Shards that have no ledger, counted from 0.
    pub shards_missing: Vec<u32>,
    /// Whether a sender did not keep its schedule; `None` where a summary is missing.
    pub saturated: Option<bool>,
    /// What was marked while the run went on, the earliest first.
    pub marks: Vec<Mark>,
    /// What was seen of the pipeline meanwhile, the earliest first.
    pub observations: Vec<Observation>,
}

impl Recorded {
    /// Reads the run of a directory.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError::RunDir`] if there is none, or it is damaged.
    pub fn open(path: &Path) -> Result<Self, VerifyError> {
        let (dir, plan) = RunDir::open(path)?;
        Self::of(vec![dir], plan)
    }

    /// Reads the runs of several directories; those of one run together.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError::RunDir`] if one has no run, or is damaged, or two have the same
    /// shard.
    pub fn open_all(paths: &[PathBuf]) -> Result<Vec<Self>, VerifyError> {
        let mut runs: Vec<(Vec<RunDir>, Plan)> = Vec::new();
        for path in paths {
            let (dir, plan) = RunDir::open(path)?;
            match runs.iter_mut().find(|(_, known)| is_same_run(&known.spec, &plan.spec)) {
                Some((dirs, _)) if dirs.contains(&dir) => {}
                Some((dirs, _)) => dirs.push(dir),
                None => runs.push((vec![dir], plan)),
            }
        }
        runs.into_iter().map(|(dirs, plan)| Self::of(dirs, plan)).collect()
    }

    fn of(dirs: Vec<RunDir>, plan: Plan) -> Result<Self, VerifyError> {
        let all: Vec<&RunDir> = dirs.iter().collect();
        let (ledger, shards_missing) = read_ledgers(&all, &plan)?;
        let saturated = match plan.spec.span {
            Span::Live => saturated(&dirs, plan.spec.shards),
            // It has no schedule to keep.
            Span::History { .. } => Some(false),
        };
        let (mut marks, mut observations) = (Vec::new(), Vec::new());
        for dir in &dirs {
            marks.extend(dir.read_marks()?);
            observations.extend(dir.read_observations()?);
        }
        marks.sort_by_key(|mark: &Mark| mark.at.0);
        observations.sort_by_key(|seen: &Observation| seen.at.0);
        Ok(Self { dirs, plan, ledger, shards_missing, saturated, marks, observations })
    }

    /// The paths of its directories.
    pub fn paths(&self) -> Vec<&Path> {
        self.dirs.iter().map(RunDir::path).collect()
    }

    /// Whether nothing can be on its way any more: all inserts of a bulk run were answered, and
    /// an answered insert is in the table.
    pub fn is_answered_in_full(&self) -> bool {
        self.plan.path() == DeliveryPath::Bulk
            && self.ledger.closed
            && self.ledger.accounts.iter().all(|account| account.unknown().is_empty())
    }
}

/// Whether two records are of one run, wherever each shard sent its events.
fn is_same_run(one: &RunSpec, other: &RunSpec) -> bool {
    let apart = |spec: &RunSpec| RunSpec { targets: Targets::default(), ..spec.clone() };
    apart(one) == apart(other)
}

/// Reads from the summaries of all shards whether one was saturated.
fn saturated(dirs: &[RunDir], shards: u32) -> Option<bool> {
    let summary = |shard: u32| {
        let name = format!("summary-{shard}.json");
        let text = dirs.iter().find_map(|dir| fs::read(dir.file(&name)).ok())?;
        serde_json::from_slice::<Summary>(&text).ok()
    };
    let known: Vec<Option<bool>> =
        (0..shards).map(|shard| summary(shard).map(|summary| summary.saturated)).collect();
    if known.contains(&Some(true)) {
        return Some(true);
    }
    known.into_iter().collect::<Option<Vec<_>>>().map(|_| false)
}
