//! How a history is cut: into slices of time that are sent, confirmed and found again as one.
//!
//! A chunk lies within one day (UTC), so that it is one insert into one partition, and follows
//! from the plan alone, so that whoever has the plan can tell which events are in chunk 17.

use std::ops::Range;

use events::identity::{Seq, TenantIndex};
use events::script::{DAY_US, Script};
use events::timeline::UnixMicros;
use harness::plan::Plan;

/// A slice of a history: all events of all tenants that are due in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Place in the plan, from the oldest on.
    pub index: u32,
    pub due: Range<UnixMicros>,
    pub rows: u64,
}

/// One event of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    pub due: UnixMicros,
    pub tenant: TenantIndex,
    pub seq: Seq,
}

/// Cuts the history of a plan into chunks of about `rows_max` rows. Days without events have none.
///
/// A chunk begins at a full minute: where a single minute has more rows, so has its chunk.
pub fn chunks(plan: &Plan, rows_max: u64) -> Vec<Chunk> {
    let script = &plan.script;
    let mut chunks = Vec::new();
    let mut day = plan.start;
    let mut before = due_before(script, day);
    while day < plan.end {
        let day_end = (day + DAY_US).min(plan.end);
        let total = due_before(script, day_end) - before;
        let slices = total.div_ceil(rows_max.max(1));
        let mut from = day;
        for slice in 1..=slices {
            let share = before + total * slice / slices;
            let until =
                if slice == slices { day_end } else { minute_of(script, from, day_end, share) };
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

/// Returns the events of a chunk in the order of their due times.
pub fn slots(script: &Script, chunk: &Chunk) -> Vec<Slot> {
    let rows = usize::try_from(chunk.rows).expect("a chunk fits into memory");
    let mut slots = Vec::with_capacity(rows);
    for tenant in script.tenants() {
        let timeline = script.timeline(tenant);
        let seqs = timeline.count_before(chunk.due.start)..timeline.count_before(chunk.due.end);
        slots.extend(seqs.map(Seq).map(|seq| {
            let due = timeline.due(seq).expect("counted by the same timeline");
            Slot { due, tenant, seq }
        }));
    }
    slots.sort_unstable();
    slots
}

fn due_before(script: &Script, at: UnixMicros) -> u64 {
    script.tenants().map(|tenant| script.timeline(tenant).count_before(at)).sum()
}

/// Returns the first full minute in a part of a day before which `count` events are due.
fn minute_of(script: &Script, from: UnixMicros, until: UnixMicros, count: u64) -> UnixMicros {
    let (mut below, mut above) = (0, (until - from) / MINUTE_US);
    while below < above {
        let middle = below + (above - below) / 2;
        if due_before(script, from + middle * MINUTE_US) >= count {
            above = middle;
        } else {
            below = middle + 1;
        }
    }
    from + above * MINUTE_US
}

const MINUTE_US: i64 = 60_000_000;

#[cfg(test)]
pub(crate) mod tests {
    use events::script::midnight;
    use harness::plan::{RunOptions, RunSpec, Span, Targets};
    use harness::profile::Profile;
    use harness::scale::Scale;
    use uuid::Uuid;

    use super::*;

    pub(crate) fn plan(days: u32, events: u64) -> Plan {
        let text = "name: x\nstages: [{duration: 1s, rate: 1/s, tenants: 20}]\n";
        let profile = Profile::parse(text, "x").unwrap();
        let options = RunOptions {
            run_id: Uuid::from_u128(1),
            seed: None,
            start: 1_790_000_000_000_000,
            span: Span::history(days, events, 0),
            targets: Targets::default(),
            shards: 1,
            scale: Scale::default(),
        };
        Plan::new(RunSpec::new(text, &profile, options), &profile)
    }

    #[track_caller]
    fn check(days: u32, events: u64, rows_max: u64) {
        let plan = plan(days, events);
        let chunks = chunks(&plan, rows_max);
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
            let slots = slots(&plan.script, chunk);
            assert_eq!(slots.len() as u64, chunk.rows);
            assert!(slots.iter().all(|slot| chunk.due.contains(&slot.due)));
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
