//! Earlier runs whose events the table has too, like a seeded history.
//!
//! Their events are as well known as the run's own. Those that a check of the earlier run saw in
//! the table must be in every answer that they belong to.

use std::iter::once;
use std::path::Path;

use events::event::MicroTime;
use events::identity::TenantIndex;
use events::script::Script;
use plans::plan::Plan;
use runs::ranges::TenantRanges;
use runs::report::{REPORT_FILE, Report};
use runs::run_dir::RunDir;
use tracing::{info, warn};

use crate::error::GeneratorError;

/// An earlier run.
#[derive(Debug)]
pub struct History {
    plan: Plan,
    /// The events that a check saw in the table, as they were sent; `None` if there was no check.
    stored: Option<TenantRanges>,
}

impl History {
    /// Opens the record of an earlier run, and the report of its last check.
    ///
    /// # Errors
    ///
    /// Returns [`GeneratorError`] if there is no run, or its report cannot be read or is of
    /// another run.
    pub(crate) fn open(path: &Path) -> Result<Self, GeneratorError> {
        let (dir, plan) = RunDir::open(path)?;
        let report = Report::read_if_any(&dir.file(REPORT_FILE))?;
        if report.as_ref().is_some_and(|report| report.run_id != plan.spec.run_id) {
            return Err(GeneratorError::OtherReport { path: dir.file(REPORT_FILE) });
        }
        let checked_at = report.as_ref().map(|report| report.checked_at);
        let stored = report.map(|report| stored(&report, &plan));
        log(path, checked_at.zip(stored.as_ref()));
        Ok(Self { plan, stored })
    }

    pub(crate) fn script(&self) -> &Script {
        &self.plan.script
    }

    /// The events that every answer must have, as far as they belong to it.
    pub(crate) fn stored(&self) -> Option<&TenantRanges> {
        self.stored.as_ref()
    }

    /// A history of which so much is known, for tests.
    #[cfg(test)]
    pub(crate) fn of(plan: Plan, stored: Option<TenantRanges>) -> Self {
        Self { plan, stored }
    }
}

/// The runs whose events are known: that of a plan, and earlier ones.
pub(crate) fn scripts<'s>(plan: &'s Plan, histories: &'s [History]) -> Vec<&'s Script> {
    once(&plan.script).chain(histories.iter().map(History::script)).collect()
}

/// The events that a check saw in the table, just as they were sent.
fn stored(report: &Report, plan: &Plan) -> TenantRanges {
    let tenants = plan.script.world().tenants().len();
    let known = report.tenants.iter().filter(|tenant| usize::from(tenant.tenant) < tenants);
    known.map(|it| (TenantIndex(it.tenant), it.fates.stored_as_sent())).collect()
}

fn log(dir: &Path, checked: Option<(MicroTime, &TenantRanges)>) {
    let dir = dir.display();
    if let Some((at, stored)) = checked {
        let events = stored.count();
        info!(%dir, events, checked_at = %at, "answers must have the events of a history");
    } else {
        warn!(
            %dir,
            "nobody has checked this history: answers may lack its events; `auditstorm-verifier \
             reconcile` checks it"
        );
    }
}
