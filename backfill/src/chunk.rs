//! Cuts a history into slices of time, each of which is sent, confirmed and looked up as a whole.
//!
//! A chunk lies within one day (UTC), so that it is one insert into one partition, and follows
//! from the plan alone, so that whoever has the plan can tell which events are in chunk 17.

use std::ops::Range;

use events::identity::TenantIndex;
use events::script::{DAY_US, Script};
use events::timeline::UnixMicros;
use runs::ranges::TenantRanges;

/// A slice of a history: all events of all tenants that are due in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Place in the plan, from the oldest on.
    pub index: u32,
    pub due: Range<UnixMicros>,
    pub rows: u64,
}

/// Cuts a part of a history, which begins and ends with a day, into chunks of about `rows_max`
/// rows. Days without events have none.
///
/// A chunk begins at a full minute: where a single minute has more rows, so has its chunk.
pub fn chunks(script: &Script, within: &Range<UnixMicros>, rows_max: u64) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut day = within.start;
    let mut before = due_before(script, day);
    while day < within.end {
        let day_end = (day + DAY_US).min(within.end);
        let total = due_before(script, day_end) - before;
        let slices = total.div_ceil(rows_max.max(1)).min(MINUTES_PER_DAY);
        let mut from = day;
        for slice in 1..=slices {
            let share = u128::from(total) * u128::from(slice) / u128::from(slices);
            let share = before + u64::try_from(share).expect("a part of a u64");
            let until = if slice == slices {
                day_end
            } else {
                first_of(script, &(from..day_end), share, MINUTE_US)
            };
            let rows = due_before(script, until) - due_before(script, from);
            if rows > 0 {
                let index = u32::try_from(chunks.len()).expect("fewer than 2^32 chunks");
                chunks.push(Chunk { index, due: from..until, rows });
                from = until;
            }
        }
        before += total;
        day = day_end;
    }
    chunks
}

/// Returns which sequence numbers of each tenant are due in a slice of time.
pub fn seqs_due<'s>(
    script: &'s Script,
    due: &Range<UnixMicros>,
) -> impl Iterator<Item = (TenantIndex, Range<u64>)> + use<'s> {
    let (from, until) = (due.start, due.end);
    script.tenants().map(move |tenant| {
        let timeline = script.timeline(tenant);
        (tenant, timeline.count_before(from)..timeline.count_before(until))
    })
}

/// Returns those of some events that are due in a slice of time.
pub fn due_of(script: &Script, due: &Range<UnixMicros>, events: &TenantRanges) -> TenantRanges {
    let mut slice = TenantRanges::new();
    for (tenant, set) in events.iter() {
        let timeline = script.timeline(tenant);
        let seqs = timeline.count_before(due.start)..timeline.count_before(due.end);
        for range in set.overlapping(&seqs) {
            slice.insert(tenant, range);
        }
    }
    slice
}

/// Cuts a slice of time so that each half has about as many events: at a full minute if there is
/// one in it, else at a full millisecond; `None` if there is neither.
pub fn halves(script: &Script, due: &Range<UnixMicros>) -> Option<[Range<UnixMicros>; 2]> {
    let (before, after) = (due_before(script, due.start), due_before(script, due.end));
    let half = before + (after - before) / 2;
    let middle = |unit_us| first_of(script, due, half, unit_us);
    let is_inside = |at: &UnixMicros| due.start < *at && *at < due.end;
    let middle = [MINUTE_US, MILLISECOND_US].into_iter().map(middle).find(is_inside)?;
    Some([due.start..middle, middle..due.end])
}

/// How many events of all tenants are due before a moment.
pub fn due_before(script: &Script, at: UnixMicros) -> u64 {
    script.tenants().map(|tenant| script.timeline(tenant).count_before(at)).sum()
}

/// Returns the first moment, at a full unit from the start of a slice, before which `count` events
/// are due.
fn first_of(script: &Script, due: &Range<UnixMicros>, count: u64, unit_us: i64) -> UnixMicros {
    let (mut below, mut above) = (0, (due.end - due.start) / unit_us);
    while below < above {
        let middle = below + (above - below) / 2;
        if due_before(script, due.start + middle * unit_us) >= count {
            above = middle;
        } else {
            below = middle + 1;
        }
    }
    due.start + above * unit_us
}

const MINUTE_US: i64 = 60_000_000;
const MILLISECOND_US: i64 = 1_000;
const MINUTES_PER_DAY: u64 = 1_440;

#[cfg(test)]
pub(crate) mod tests {
    use events::script::midnight;
    use plans::plan::Plan;
    use plans::spec::{RunOptions, Span};
    use uuid::Uuid;

    use super::*;

    pub(crate) fn plan(days: u32, events: u64) -> Plan {
        let text = "name: x\nstages: [{duration: 1s, rate: 1/s, tenants: 20}]\n";
        let options = RunOptions::new(
            Uuid::from_u128(1),
            1_790_000_000_000_000,
            Span::history(days, events, 0),
        );
        Plan::parse(text, "x", options).unwrap()
    }

    #[track_caller]
    fn check(days: u32, events: u64, rows_max: u64) {
        let plan = plan(days, events);
        let script = &plan.script;
        let chunks = chunks(script, &(plan.start..plan.end), rows_max);
        assert_eq!(chunks.iter().map(|chunk| chunk.rows).sum::<u64>(), events);
        let mut next = plan.start;
        for (index, chunk) in chunks.iter().enumerate() {
            assert_eq!(chunk.index as usize, index);
            assert!(chunk.due.start >= next && chunk.due.end > chunk.due.start, "{chunk:?}");
            assert_eq!(midnight(chunk.due.start), midnight(chunk.due.end - 1), "{chunk:?}");
            assert!(chunk.rows <= rows_max + rows_max / 4 + 20, "{chunk:?} of {rows_max}");
            next = chunk.due.end;
        }
        for chunk in chunks.iter().step_by(17) {
            let count = |due| seqs_due(script, due).map(|(_, it)| it.end - it.start).sum::<u64>();
            assert_eq!(count(&chunk.due), chunk.rows);
            if let Some([first, second]) = halves(script, &chunk.due) {
                assert_eq!(count(&first) + count(&second), chunk.rows);
                assert!(count(&first).abs_diff(chunk.rows / 2) <= chunk.rows / 4 + 20);
            }
        }
    }

    #[test]
    fn chunks_hold_every_event_once_and_no_chunk_spans_two_days() {
        check(90, 1_000_000, 50_000);
        check(90, 1_000_000, 1_000);
        check(1, 200_000, 10_000);
        check(3, 0, 10);
        check(5, 3, 10);
    }
}
