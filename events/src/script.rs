//! The function from which all events of a run follow, with everything that it depends on.

use uuid::Uuid;

use crate::facts::Facts;
use crate::identity::{RunMark, Seq, TenantIndex};
use crate::scene::draw_facts;
use crate::timeline::{PastEnd, Timeline, UnixMicros};
use crate::world::World;

pub use crate::week::Days;

/// Everything that the events of one run follow from.
#[derive(Debug, Clone)]
pub struct Script {
    mark: RunMark,
    world: World,
    timelines: Vec<Timeline>,
    days: Days,
}

impl Script {
    /// Joins the parts. There is one timeline for each tenant of the world.
    pub fn new(mark: RunMark, world: World, timelines: Vec<Timeline>, days: Days) -> Self {
        assert_eq!(world.tenants().len(), timelines.len(), "one timeline for each tenant");
        Self { mark, world, timelines, days }
    }

    pub fn mark(&self) -> RunMark {
        self.mark
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// Whether requests keep to the day on which they are due.
    pub fn days(&self) -> Days {
        self.days
    }

    pub fn timeline(&self, tenant: TenantIndex) -> &Timeline {
        &self.timelines[usize::from(tenant.0)]
    }

    /// All tenants in order, including those that have no event.
    pub fn tenants(&self) -> impl Iterator<Item = TenantIndex> + '_ {
        self.world.tenants().iter().map(|tenant| tenant.index)
    }

    /// How many events the run has in all.
    pub fn planned(&self) -> u64 {
        self.timelines.iter().map(Timeline::count).sum()
    }

    pub fn audit_id(&self, tenant: TenantIndex, seq: Seq) -> Uuid {
        self.mark.audit_id(tenant, seq)
    }

    /// Returns which event of this run has this audit ID, or `None` if it is not of this run.
    ///
    /// An ID may have the run's mark although the run has no such event. It is still of this run:
    /// if it is stored, it is unexpected.
    pub fn locate(&self, id: Uuid) -> Option<(TenantIndex, Seq)> {
        self.mark.locate(id)
    }

    /// Returns what an event says.
    ///
    /// # Errors
    ///
    /// Returns [`PastEnd`] if the tenant has no such event.
    pub fn facts(&self, tenant: TenantIndex, seq: Seq) -> Result<Facts<'_>, PastEnd> {
        let due = self.timeline(tenant).due(seq)?;
        Ok(self.facts_due(tenant, seq, due))
    }

    /// Returns the same for a caller who knows when the event is due. Finding that takes a third of
    /// the time.
    pub fn facts_due(&self, tenant: TenantIndex, seq: Seq, due: UnixMicros) -> Facts<'_> {
        let timeline = self.timeline(tenant);
        debug_assert_eq!(timeline.due(seq), Ok(due), "the timeline says when");
        let id = self.audit_id(tenant, seq);
        let (world, days) = (&self.world, self.days);
        let mut facts = draw_facts(world, world.tenant(tenant), timeline, seq, id, due, days);
        if self.days == Days::Apart {
            facts.received = facts.received.max(midnight(due));
        }
        facts
    }
}

/// Returns the start of the day (UTC) of a moment.
pub fn midnight(at: UnixMicros) -> UnixMicros {
    at - at.rem_euclid(DAY_US)
}

/// Length of a day in UTC, which has no leap seconds here.
pub const DAY_US: i64 = 86_400_000_000;
