//! Slices of time, which are added up before they become ranges of each tenant: a day has 345,600
//! slices, and a run may have 65,000 tenants. Pure.

use std::ops::Range;

use events::timeline::{Timeline, UnixMicros};

use super::account::{Account, RESERVED};

/// The slices of a ledger, in order. Consecutive slices of the same kind are joined.
#[derive(Debug, Default)]
pub(super) struct Slices {
    runs: Vec<(u8, Range<UnixMicros>)>,
    /// The sum of the slices from some place on. It is kept, because it is the same for all tenants
    /// that are at the same place.
    last: Option<(Range<Place>, Sum)>,
}

/// How far a tenant's account has taken the slices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    run: usize,
    /// How far into that slice, if the account has begun it.
    until: Option<UnixMicros>,
}

/// The sum of some slices: an account in which each µs since the epoch stands for an event.
#[derive(Debug, Default)]
struct Sum {
    account: Account,
}

impl Slices {
    /// Adds a slice.
    pub(super) fn push(&mut self, kind: u8, due: Range<UnixMicros>) {
        match self.runs.last_mut() {
            Some((last, run)) if *last == kind && run.end == due.start => run.end = due.end,
            _ => self.runs.push((kind, due)),
        }
    }

    /// Brings a tenant's account up to the last slice. Says whether all kinds are known.
    pub(super) fn bring(
        &mut self,
        account: &mut Account,
        place: &mut Place,
        timeline: &Timeline,
    ) -> bool {
        let Some((_, last)) = self.runs.last() else { return true };
        let end = Place { run: self.runs.len() - 1, until: Some(last.end) };
        if *place == end {
            return true;
        }
        let open = *place..end;
        if self.last.as_ref().is_none_or(|(known, _)| *known != open) {
            let Some(sum) = Sum::of(&self.runs[place.run..], place.until) else { return false };
            self.last = Some((open, sum));
        }
        let (_, sum) = self.last.as_ref().expect("it was set above");
        sum.add_to(account, timeline);
        *place = end;
        true
    }
}

impl Sum {
    /// Adds slices up, the first one from some time on. `None` if one is of an unknown kind.
    fn of(runs: &[(u8, Range<UnixMicros>)], from: Option<UnixMicros>) -> Option<Self> {
        let mut sum = Self::default();
        for (index, (kind, due)) in runs.iter().enumerate() {
            let start = if index == 0 { from.unwrap_or(due.start) } else { due.start };
            let positive = |at: UnixMicros| u64::try_from(at).unwrap_or(0);
            if !sum.account.take(*kind, positive(start)..positive(due.end)) {
                return None;
            }
        }
        Some(sum)
    }

    /// Adds it to what a tenant's account has from before.
    fn add_to(&self, account: &mut Account, timeline: &Timeline) {
        let seqs = |span: &Range<u64>| {
            let before = |at: u64| timeline.count_before(i64::try_from(at).unwrap_or(i64::MAX));
            before(span.start)..before(span.end)
        };
        // In this order, because each kind removes events from those before it.
        let Account { reserved, acknowledged, refused, unknown, unsent, spoiled, repaired } =
            &self.account;
        let by_kind = [reserved, acknowledged, refused, unknown, unsent, spoiled, repaired];
        for (kind, set) in (RESERVED..).zip(by_kind) {
            for span in set.ranges() {
                account.take(kind, seqs(span));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ranges::RangeSet;
    use crate::testing::live_plan;

    proptest! {
        #[test]
        fn slices_that_wait_come_to_the_same_as_those_that_are_taken_at_once(
            entries in proptest::collection::vec(
                (0u8..7, 0i64..20, 1i64..8, proptest::option::of((0usize..3, 0u64..150, 1u64..40))),
                0..40,
            ),
        ) {
            let plan = live_plan("10/s", "3", "20s");
            let script = &plan.script;
            let tenants: Vec<_> = script.tenants().collect();
            let mut at_once = vec![Account::default(); 3];
            let mut later = at_once.clone();
            let mut places = [Place::default(); 3];
            let mut slices = Slices::default();
            for (kind, from, seconds, range) in entries {
                if let Some((tenant, start, count)) = range {
                    at_once[tenant].take(kind, start..start + count);
                    let timeline = script.timeline(tenants[tenant]);
                    slices.bring(&mut later[tenant], &mut places[tenant], timeline);
                    later[tenant].take(kind, start..start + count);
                    continue;
                }
                let from = plan.start + from * 1_000_000;
                let due = from..from + seconds * 1_000_000;
                for (tenant, account) in tenants.iter().zip(&mut at_once) {
                    let timeline = script.timeline(*tenant);
                    let seqs = timeline.count_before(due.start)..timeline.count_before(due.end);
                    account.take(kind, seqs);
                }
                slices.push(kind, due);
            }
            for ((tenant, account), place) in tenants.iter().zip(&mut later).zip(&mut places) {
                prop_assert!(slices.bring(account, place, script.timeline(*tenant)));
            }
            prop_assert_eq!(later, at_once);
        }
    }

    #[test]
    fn slices_of_a_day_are_few_whatever_their_order() {
        let mut slices = Slices::default();
        let quarter = |index: i64| index * 250_000..(index + 1) * 250_000;
        (0..345_600).for_each(|index| slices.push(RESERVED, quarter(index)));
        assert_eq!(slices.runs.len(), 1);
        let mut slices = Slices::default();
        for index in 0..1_000 {
            slices.push(RESERVED, quarter(index));
            slices.push(1, quarter(index));
        }
        let sum = Sum::of(&slices.runs, None).unwrap();
        let one = RangeSet::of(0..250_000_000);
        assert_eq!((&sum.account.reserved, &sum.account.acknowledged), (&one, &one));
    }
}
