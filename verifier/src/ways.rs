//! Which way an event took to the table. The pipeline's changes apply only to events that went
//! through it. Pure.

use events::identity::TenantIndex;
use events::script::Script;
use plans::plan::Plan;
use runs::ledger::Ledger;
use runs::ranges::RangeSet;

/// The way that an event took to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Straight into the table, unchanged.
    Straight,
    /// Through the pipeline, which changes it.
    Piped,
    /// Through the pipeline, which lost it, and then straight into the table by a repair. Its row
    /// may have either form, because the event may have come through the pipeline late.
    Either,
}

/// The ways that all events of a run took.
#[derive(Debug, Clone)]
pub struct Ways<'r> {
    pub script: &'r Script,
    /// For each tenant: the first event that went through the pipeline, and the events that a
    /// repair has inserted.
    tenants: Vec<(u64, &'r RangeSet)>,
}

impl<'r> Ways<'r> {
    pub fn of(plan: &'r Plan, ledger: &'r Ledger) -> Self {
        let script = &plan.script;
        let of = |(tenant, account): (_, &'r runs::ledger::Account)| {
            (script.timeline(tenant).count_before(plan.piped_from), &account.repaired)
        };
        Self { script, tenants: script.tenants().zip(&ledger.accounts).map(of).collect() }
    }

    /// Returns the way of an event. The run must have the tenant.
    pub fn of_event(&self, tenant: TenantIndex, seq: u64) -> Way {
        let (piped_from, repaired) = self.tenants[usize::from(tenant.0)];
        if seq < piped_from {
            Way::Straight
        } else if repaired.contains(seq) {
            Way::Either
        } else {
            Way::Piped
        }
    }
}

#[cfg(test)]
mod tests {
    use events::script::DAY_US;
    use plans::spec::{RunOptions, Span};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_replayed_went_through_the_pipeline_and_what_was_repaired_past_it() {
        let text = "name: x\nstages: [{duration: 1s, rate: 1/s, tenants: 2}]\n";
        let now = 1_760_000_000_000_000;
        let planned_at = events::event::MicroTime(now);
        let span = Span::History { days: 4, events: 2_000, replay_days: 1, planned_at };
        let plan = Plan::parse(text, "x", RunOptions::new(Uuid::from_u128(7), now, span)).unwrap();
        let mut ledger = Ledger::empty(&plan.script);
        ledger.accounts[1].repaired = RangeSet::of(10..2_000);
        let ways = Ways::of(&plan, &ledger);
        let (one, other) = (TenantIndex(0), TenantIndex(1));
        let timeline = plan.script.timeline(other);
        let first = timeline.count_before(plan.end - DAY_US);
        assert!(first > 500, "most of four days is before the last");
        assert_eq!(ways.of_event(other, first - 1), Way::Straight, "repaired or not");
        assert_eq!(ways.of_event(other, first), Way::Either);
        let last = plan.script.timeline(one).count() - 1;
        assert_eq!(ways.of_event(one, last), Way::Piped);
        assert_eq!(ways.of_event(one, 0), Way::Straight);
    }
}
