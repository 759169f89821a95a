//! Runs as their directories tell them. Shards of one run may have a directory each.

use std::path::{Path, PathBuf};

use plans::plan::Plan;
use plans::spec::{DeliveryPath, RunSpec, Targets};
use runs::ledger::{Ledger, LedgerHead};
use runs::ranges::RangeSet;
use runs::run_dir::{RunDir, read_ledgers};

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
}

/// A directory whose run cannot be read, and why.
#[derive(Debug)]
pub struct Unread {
    pub dir: PathBuf,
    pub error: VerifyError,
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
        let (runs, unread) = Self::open_each(paths);
        unread.into_iter().next().map_or(Ok(runs), |unread| Err(unread.error))
    }

    /// Reads the runs of several directories, as [`Self::open_all`] does, and goes on where one
    /// cannot be read.
    pub fn open_each(paths: &[PathBuf]) -> (Vec<Self>, Vec<Unread>) {
        let mut found: Vec<(Vec<RunDir>, Plan)> = Vec::new();
        let mut unread = Vec::new();
        for path in paths {
            let (dir, plan) = match RunDir::open(path) {
                Ok(opened) => opened,
                Err(error) => {
                    unread.push(Unread { dir: path.clone(), error: error.into() });
                    continue;
                }
            };
            match found.iter_mut().find(|(_, known)| is_same_run(&known.spec, &plan.spec)) {
                Some((dirs, _)) if dirs.contains(&dir) => {}
                Some((dirs, _)) => dirs.push(dir),
                None => found.push((vec![dir], plan)),
            }
        }
        let mut runs = Vec::new();
        for (dirs, plan) in found {
            let dir = dirs[0].path().to_owned();
            match Self::of(dirs, plan) {
                Ok(run) => runs.push(run),
                Err(error) => unread.push(Unread { dir, error }),
            }
        }
        (runs, unread)
    }

    fn of(dirs: Vec<RunDir>, plan: Plan) -> Result<Self, VerifyError> {
        let all: Vec<&RunDir> = dirs.iter().collect();
        let (mut ledger, shards_missing) = read_ledgers(&all, &plan)?;
        for shard in &shards_missing {
            assume_all_attempted(&mut ledger, &plan, *shard);
        }
        Ok(Self { dirs, plan, ledger, shards_missing })
    }

    /// Whether nothing can be on its way any more: all inserts of a bulk run were answered, and
    /// an answered insert is in the table.
    pub fn is_answered_in_full(&self) -> bool {
        self.plan.path() == DeliveryPath::Bulk
            && self.ledger.closed
            && self.ledger.accounts.iter().all(|account| account.unknown().is_empty())
    }
}

/// Whatever a shard without a ledger sent, nobody knows how it ended: that is neither unsent, nor
/// is it unexpected where it is stored.
fn assume_all_attempted(ledger: &mut Ledger, plan: &Plan, shard: u32) {
    let head = LedgerHead::of(&plan.spec, shard);
    for (tenant, account) in plan.script.tenants().zip(&mut ledger.accounts) {
        if head.has(tenant) {
            account.reserved = RangeSet::of(0..plan.script.timeline(tenant).count());
        }
    }
}

/// Whether two records are of one run, wherever each shard sent its events.
fn is_same_run(one: &RunSpec, other: &RunSpec) -> bool {
    let apart = |spec: &RunSpec| RunSpec { targets: Targets::default(), ..spec.clone() };
    apart(one) == apart(other)
}
