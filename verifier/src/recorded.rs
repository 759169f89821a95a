//! Runs as their directories record them. Each shard of a run may have its own directory.

use std::path::{Path, PathBuf};

use archive::is_address;
use plans::plan::Plan;
use plans::spec::{DeliveryPath, RunSpec, Targets};
use runs::ledger::{Ledger, LedgerHead};
use runs::ranges::RangeSet;
use runs::run_dir::{RunDir, read_ledgers};

use crate::error::VerifyError;

/// A run, read from its directories.
#[derive(Debug)]
pub struct Recorded {
    /// The directories of the run. There is at least one.
    pub dirs: Vec<RunDir>,
    pub plan: Plan,
    pub ledger: Ledger,
    /// The shards that have no ledger, counted from 0.
    pub shards_missing: Vec<u32>,
}

/// A directory whose run cannot be read, and the reason.
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
    /// Returns [`VerifyError::RunDir`] if there is no run, or it is damaged.
    pub fn open(path: &Path) -> Result<Self, VerifyError> {
        let (dir, plan) = RunDir::open(path)?;
        Self::of(vec![dir], plan)
    }

    /// Reads the runs in several directories, and joins directories that belong to one run.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError::RunDir`] if a directory has no run or a damaged one, or if two have
    /// the same shard.
    pub fn open_all(paths: &[PathBuf]) -> Result<Vec<Self>, VerifyError> {
        let (runs, unread) = Self::open_each(paths);
        unread.into_iter().next().map_or(Ok(runs), |unread| Err(unread.error))
    }

    /// Reads the runs in several directories like [`Self::open_all`], but continues if one cannot
    /// be read.
    pub fn open_each(paths: &[PathBuf]) -> (Vec<Self>, Vec<Unread>) {
        let mut found: Vec<(Vec<RunDir>, Plan)> = Vec::new();
        let mut unread = Vec::new();
        for path in paths {
            let opened = if is_address(path) {
                Err(VerifyError::Archived { address: path.display().to_string() })
            } else {
                RunDir::open(path).map_err(VerifyError::from)
            };
            let (dir, plan) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    unread.push(Unread { dir: path.clone(), error });
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

    /// Whether nothing can be on its way any more: all inserts of a bulk run were answered, and an
    /// insert that was answered is in the table.
    pub fn is_answered_in_full(&self) -> bool {
        self.plan.path() == DeliveryPath::Bulk
            && self.ledger.closed
            && self.ledger.accounts.iter().all(|account| account.unknown().is_empty())
    }
}

/// Marks all events of a shard without a ledger as attempted with an unknown outcome. Nobody knows
/// what it sent, so its events are neither unsent nor, if they are stored, unexpected.
fn assume_all_attempted(ledger: &mut Ledger, plan: &Plan, shard: u32) {
    let head = LedgerHead::of(&plan.spec, shard);
    for (tenant, account) in plan.script.tenants().zip(&mut ledger.accounts) {
        if head.has(tenant) {
            account.reserved = RangeSet::of(0..plan.script.timeline(tenant).count());
        }
    }
}

/// Whether two records are of the same run, even if their shards sent to different targets.
fn is_same_run(one: &RunSpec, other: &RunSpec) -> bool {
    let apart = |spec: &RunSpec| RunSpec { targets: Targets::default(), ..spec.clone() };
    apart(one) == apart(other)
}
