//! Which batch a lane sends next. Batches follow the schedule alone, or the audit backends of API
//! servers, or a list.

use std::collections::VecDeque;
use std::ops::Range;

use events::identity::TenantIndex;
use events::timeline::UnixMicros;

use super::backend::{Backends, Handover};
use super::schedule::{Batch, Batching, Schedule};
use plans::plan::Plan;

/// The batches of some tenants, the earliest first.
#[derive(Debug)]
pub(crate) enum Feed {
    Direct(Schedule),
    Backends(Backends),
    Listed(VecDeque<Batch>),
}

/// A tenant, and those of its events that were not begun. The last range may reach beyond the end
/// of the plan.
pub type NotBegun = (TenantIndex, Vec<Range<u64>>);

impl Feed {
    /// What a plan says is to be sent.
    pub(crate) fn new(plan: &Plan, tenants: impl Iterator<Item = TenantIndex>) -> Self {
        let send = &plan.send;
        if let Some(rules) = send.backend {
            return Self::Backends(Backends::new(&plan.script, tenants, rules, plan.end));
        }
        let batching =
            Batching { events_max: send.batch_events.into(), age_max_us: send.batch_age_us };
        Self::Direct(Schedule::new(&plan.script, tenants, batching))
    }

    /// Batches in the order in which they are to be sent.
    pub(crate) fn listed(batches: Vec<Batch>) -> Self {
        Self::Listed(batches.into())
    }

    /// When the next batch is to be sent; `None` after the last one.
    pub(crate) fn next_send_at(&self) -> Option<UnixMicros> {
        match self {
            Self::Direct(schedule) => schedule.next_send_at(),
            Self::Backends(backends) => backends.next_send_at(),
            Self::Listed(batches) => batches.front().map(|batch| batch.send_at),
        }
    }

    /// Takes the next batch, with the events that had to be dropped before it was sent.
    pub(crate) fn take(&mut self, plan: &Plan, now: UnixMicros) -> Option<Handover> {
        match self {
            Self::Direct(schedule) => {
                let batch = schedule.take(&plan.script, now)?;
                Some(Handover { batch, dropped: 0..0 })
            }
            Self::Backends(backends) => backends.take(&plan.script),
            Self::Listed(batches) => {
                batches.pop_front().map(|batch| Handover { batch, dropped: 0..0 })
            }
        }
    }

    /// The tenants that are not done, each with the events that were not taken.
    pub(crate) fn rest(&self) -> Vec<NotBegun> {
        match self {
            Self::Direct(schedule) => {
                schedule.rest().map(|(tenant, first)| (tenant, vec![first..u64::MAX])).collect()
            }
            Self::Backends(backends) => backends.rest().collect(),
            Self::Listed(batches) => {
                batches.iter().map(|batch| (batch.tenant, batch.seqs.ranges().collect())).collect()
            }
        }
    }
}
