//! Cuts the events of a slice of a day into batches, and these into portions that the pipeline has
//! room for. Pure.

use events::identity::Seq;
use events::script::Script;
use events::timeline::UnixMicros;
use load::sender::{Batch, Origin, Seqs};
use runs::ranges::TenantRanges;

/// Returns batches of events, the one that begins with the oldest event first. They are to be sent
/// at once.
pub(crate) fn batches(script: &Script, events: &TenantRanges, batch_events: u64) -> Vec<Batch> {
    let mut batches = Vec::new();
    for (tenant, set) in events.iter() {
        let mut rest = set.ranges().iter().cloned();
        let mut range = rest.next();
        while range.is_some() {
            let mut seqs = Seqs::of(0..0);
            while let Some(next) = &mut range
                && seqs.count() < batch_events.max(1)
            {
                let wanted = batch_events.max(1) - seqs.count();
                let taken = next.start..next.end.min(next.start + wanted);
                next.start = taken.end;
                seqs.push(taken);
                if next.is_empty() {
                    range = rest.next();
                }
            }
            batches.push(Batch { tenant, seqs, send_at: 0, origin: Origin::SendAt });
        }
    }
    let due = |seq: Seq, tenant| script.timeline(tenant).due(seq).expect("it is of the plan");
    batches.sort_by_cached_key(|batch| (due(batch.seqs.first(), batch.tenant), batch.tenant));
    batches
}

/// Cuts batches into portions of at most `events_max` events, or of one batch.
pub(crate) fn portions(batches: Vec<Batch>, events_max: u64) -> Vec<Vec<Batch>> {
    let mut portions: Vec<Vec<Batch>> = Vec::new();
    let mut room = 0;
    for batch in batches {
        let events = batch.seqs.count();
        match portions.last_mut() {
            Some(portion) if events <= room => {
                room -= events;
                portion.push(batch);
            }
            _ => {
                room = events_max.saturating_sub(events);
                portions.push(vec![batch]);
            }
        }
    }
    portions
}

/// How many events some batches have.
pub(crate) fn count(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.seqs.count()).sum()
}

/// Spreads batches over the time from `from` on, at a rate; without one, they are all to be sent
/// then. Returns when the next batch after them is to be sent.
pub(crate) fn spread(batches: &mut [Batch], from: UnixMicros, rate: Option<u64>) -> UnixMicros {
    let mut events = 0;
    let mut at = from;
    for batch in batches {
        batch.send_at = at;
        events += batch.seqs.count();
        if let Some(rate) = rate {
            let after_us = u128::from(events) * 1_000_000 / u128::from(rate.max(1));
            at = from.saturating_add(i64::try_from(after_us).unwrap_or(i64::MAX));
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::chunks;
    use crate::chunk::due_of;
    use crate::replay::tests::plan;
    use events::identity::TenantIndex;

    fn all(script: &Script) -> TenantRanges {
        let mut all = TenantRanges::new();
        script.tenants().for_each(|tenant| all.insert(tenant, 0..script.timeline(tenant).count()));
        all
    }

    fn seqs(batches: &[Batch]) -> TenantRanges {
        let mut seqs = TenantRanges::new();
        for batch in batches {
            batch.seqs.ranges().for_each(|range| seqs.insert(batch.tenant, range));
        }
        seqs
    }

    #[test]
    fn slices_hold_what_is_to_be_sent_and_nothing_else() {
        let plan = plan(4, 40_000);
        let mut todo = all(&plan.script);
        let mut done = TenantRanges::new();
        done.insert(TenantIndex(3), 5..900);
        done.insert(TenantIndex(4), 0..u64::MAX);
        todo.subtract(&done);
        let mut seen = TenantRanges::new();
        for chunk in chunks(&plan.script, &(plan.start..plan.end), 3_000) {
            let slice = due_of(&plan.script, &chunk.due, &todo);
            let batches = batches(&plan.script, &slice, 70);
            assert_eq!(seqs(&batches), slice);
            assert_eq!(count(&batches), slice.count());
            assert!(batches.iter().all(|batch| (1..=70).contains(&batch.seqs.count())));
            let due =
                |batch: &Batch| plan.script.timeline(batch.tenant).due(batch.seqs.first()).unwrap();
            assert!(batches.is_sorted_by_key(due));
            assert!(batches.iter().all(|batch| chunk.due.contains(&due(batch))));
            seen.add(&slice);
        }
        assert_eq!(seen, todo);
    }

    #[test]
    fn a_batch_is_filled_over_gaps() {
        let plan = plan(1, 2_000);
        let mut todo = TenantRanges::new();
        for range in [0..3, 5..6, 8..20] {
            todo.insert(TenantIndex(1), range);
        }
        let sizes: Vec<_> =
            batches(&plan.script, &todo, 5).iter().map(|batch| batch.seqs.count()).collect();
        assert_eq!(sizes, [5, 5, 5, 1]);
    }

    #[test]
    fn portions_are_as_large_as_there_is_room_for() {
        let plan = plan(1, 2_000);
        let batches = batches(&plan.script, &all(&plan.script), 30);
        let check = |events_max, largest: std::ops::RangeInclusive<u64>| {
            let portions = portions(batches.clone(), events_max);
            let most = portions.iter().map(|portion| count(portion)).max().unwrap();
            assert!(largest.contains(&most), "{most}");
            assert_eq!(portions.concat(), batches);
        };
        check(500, 480..=500);
        check(1, 30..=30);
        check(1_000_000, 2_000..=2_000);
    }

    #[test]
    fn batches_are_spread_at_their_rate() {
        let plan = plan(1, 2_000);
        let mut batches = batches(&plan.script, &all(&plan.script), 25);
        let next = spread(&mut batches, 1_000, Some(100));
        assert_eq!(next, 1_000 + 20_000_000);
        assert_eq!(batches[0].send_at, 1_000);
        assert!(batches.is_sorted_by_key(|batch| batch.send_at));
        assert_eq!(spread(&mut batches, 1_000, None), 1_000);
        assert!(batches.iter().all(|batch| batch.send_at == 1_000));
    }
}
