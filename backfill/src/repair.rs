//! Repairs: events that a verifier's report calls lost are made again and inserted into the table.

use std::fmt;
use std::path::Path;

use edges::errors::ErrorCounts;
use events::identity::TenantIndex;
use plans::plan::Plan;
use runs::ledger::{Durability, IsRepair, Ledger, LedgerWriter};
use runs::ranges::{RangeSet, TenantRanges};
use runs::report::cause::Cause;
use runs::report::{Report, ReportError, TenantReport};
use runs::run_dir::RunDir;
use serde::Serialize;
use uuid::Uuid;

use crate::error::BackfillError;

/// Reads which events of a run a verifier's report calls lost.
///
/// # Errors
///
/// Returns [`BackfillError::Report`] if there is no such report, or it is of another run or form.
pub fn read_lost(path: &Path, plan: &Plan, ledger: &Ledger) -> Result<TenantRanges, BackfillError> {
    let wrong = |fact: &'static str, source: Option<std::io::Error>| BackfillError::Report {
        path: path.to_owned(),
        fact,
        source,
    };
    let report = Report::read(path).map_err(|error| match error {
        ReportError::Unreadable { source, .. } => wrong("it cannot be read", Some(source)),
        ReportError::NotAReport { source, .. } => {
            wrong("it is not a verifier's report", Some(source.into()))
        }
        ReportError::OtherFormat { .. } => {
            wrong("it has a format that this version does not read", None)
        }
    })?;
    if report.run_id != plan.spec.run_id {
        return Err(wrong("it is of another run", None));
    }
    if !report.is_still {
        return Err(wrong("events were still on their way when it was written", None));
    }
    let mut lost = TenantRanges::new();
    for TenantReport { tenant, fates, .. } in report.tenants {
        // What the table deletes by its age, it would delete again.
        let lasting = fates.lost.iter().filter(|(cause, _)| **cause != Cause::Expired);
        let set = lasting.fold(RangeSet::new(), |all, (_, seqs)| all.union(seqs));
        let account = ledger.accounts.get(usize::from(tenant));
        let account =
            account.ok_or_else(|| wrong("it has a tenant that the run does not have", None))?;
        if !set.difference(&account.acknowledged).is_empty() {
            return Err(wrong(
                "it calls events lost that the ledger does not have as acknowledged",
                None,
            ));
        }
        lost.insert_all(TenantIndex(tenant), &set);
    }
    Ok(lost)
}

/// Writes down in the ledgers of a run which events are about to be sent again, and returns them:
/// while they are held, nobody else writes to them.
///
/// # Errors
///
/// Returns [`BackfillError`] if another process writes to a ledger, or the file system refuses:
/// then nothing may be sent.
pub fn write_ahead(
    dir: &RunDir,
    plan: &Plan,
    lost: &TenantRanges,
    durability: Durability,
) -> Result<Vec<LedgerWriter>, BackfillError> {
    let shards = plan.spec.shards;
    let open = |shard| dir.open_ledger(&plan.spec, shard, durability);
    let ledgers: Vec<_> = (0..shards).map(open).collect::<Result<_, _>>()?;
    for (shard, ledger) in (0..shards).zip(&ledgers) {
        let own = lost.iter().filter(|(tenant, _)| u32::from(tenant.0) % shards == shard);
        let written = ledger.reserve_again(own, IsRepair::Yes);
        written.map_err(BackfillError::ledger)?;
    }
    Ok(ledgers)
}

/// What a repair tells at its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RepairSummary {
    pub run_id: Uuid,
    /// The user stopped it before its end.
    pub stopped: bool,
    /// Events that the report calls lost.
    pub lost: u64,
    /// Events that were sent again.
    pub sent: u64,
    /// Events that turned out to be in the table when it was asked.
    pub found: u64,
    /// Errors after which something was sent again, by server and kind.
    #[serde(skip_serializing_if = "ErrorCounts::is_empty")]
    pub errors: ErrorCounts,
}

impl fmt::Display for RepairSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stopped {
            writeln!(f, "stopped by the user before the end; run the same command to continue\n")?;
        }
        writeln!(f, "repair of run {}", self.run_id)?;
        writeln!(f, "  lost          {:>13}  by the report", self.lost)?;
        writeln!(f, "    sent again  {:>13}", self.sent)?;
        writeln!(f, "    found       {:>13}  in the table all the same", self.found)?;
        self.errors.lines().iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
