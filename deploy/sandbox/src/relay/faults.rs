//! Decides and records, in one step, whether an event is a victim.

use std::path::Path;

use tracing::error;

use crate::error::SandboxError;
use crate::fault::{FaultKind, FaultPlan, Place};
use crate::fault_log::{Change, FaultLog};

/// The ordered faults and the record of their victims.
#[derive(Debug)]
pub(super) struct Faults {
    plan: FaultPlan,
    log: FaultLog,
}

impl Faults {
    /// Joins a plan with the record at `path`.
    ///
    /// # Errors
    ///
    /// Returns an error if the record cannot be opened.
    pub(super) fn open(plan: FaultPlan, path: &Path) -> Result<Self, SandboxError> {
        Ok(Self { plan, log: FaultLog::open(path)? })
    }

    /// How many events a second the aggregator takes at most; 0 without a limit.
    pub(super) fn limit_per_s(&self) -> u32 {
        self.plan.limit_per_s()
    }

    /// Says whether the fault is to be done to this event now; if so, it is on record.
    pub(super) fn strike(&self, kind: FaultKind, at: Place, audit_id: Option<&str>) -> bool {
        let victim = audit_id.filter(|id| self.plan.hits(kind, at, id));
        victim.is_some_and(|id| self.is_recorded(kind, at, id, None))
    }

    /// The draw that decides how an event is corrupted, if it is.
    pub(super) fn corruption(&self, at: Place, audit_id: Option<&str>) -> Option<u64> {
        let victim = audit_id.filter(|id| self.plan.hits(FaultKind::Corrupt, at, id));
        victim.map(|id| self.plan.draw(FaultKind::Corrupt, at, id))
    }

    /// Records a victim. If that fails the event is left unharmed, because an unrecorded fault
    /// would look like one of the pipeline itself.
    pub(super) fn is_recorded(
        &self,
        kind: FaultKind,
        at: Place,
        audit_id: &str,
        change: Option<&Change>,
    ) -> bool {
        let recorded = self.log.record(kind, at, audit_id, change);
        if let Err(error) = &recorded {
            error!("cannot record a fault, so it is not done: {error}");
        }
        recorded.is_ok()
    }
}
