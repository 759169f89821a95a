//! When each tenant's next batch is due, and what is in it. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use events::identity::{Seq, TenantIndex};
use events::script::Script;
use events::timeline::{Timeline, UnixMicros};

/// When a batch is full, or old enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batching {
    pub(crate) events_max: u64,
    pub(crate) age_max_us: i64,
}

/// Some events of one tenant, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub tenant: TenantIndex,
    pub seqs: Seqs,
    /// When it is full or old enough: when it is to be sent.
    pub send_at: UnixMicros,
    pub origin: Origin,
}

/// The moment that latencies of events count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// When the event is due. This is for live runs, which send events as they happen.
    Due,
    /// When its batch is to be sent. This is for histories, which are sent long after their events
    /// are due.
    SendAt,
}

impl Batch {
    /// The moment from which the latency of an event counts, if it is in this batch and due at
    /// `due`.
    pub(crate) fn counts_from(&self, due: UnixMicros) -> UnixMicros {
        match self.origin {
            Origin::Due => due,
            Origin::SendAt => self.send_at,
        }
    }
}

/// Sequence numbers in order: mostly one range, more where events were dropped between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seqs {
    first: Range<u64>,
    more: Vec<Range<u64>>,
}

impl Seqs {
    /// The numbers of one range.
    pub fn of(first: Range<u64>) -> Self {
        Self { first, more: Vec::new() }
    }

    /// Appends a range that lies after all others.
    pub fn push(&mut self, range: Range<u64>) {
        let last = self.more.last_mut().unwrap_or(&mut self.first);
        if last.is_empty() {
            *last = range;
        } else if last.end == range.start {
            last.end = range.end;
        } else {
            self.more.push(range);
        }
    }

    /// The ranges, in order; one that is empty, if there are no numbers.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        std::iter::once(&self.first).chain(&self.more).cloned()
    }

    /// All numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Seq> + '_ {
        self.ranges().flatten().map(Seq)
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        self.ranges().map(|range| range.end - range.start).sum()
    }

    /// The last number. There is at least one.
    pub fn last(&self) -> Seq {
        Seq(self.more.last().unwrap_or(&self.first).end - 1)
    }

    /// The first number. There is at least one.
    pub fn first(&self) -> Seq {
        Seq(self.first.start)
    }
}

/// The next batch of each of some tenants, the earliest first.
#[derive(Debug)]
pub(crate) struct Schedule {
    batching: Batching,
    next: BinaryHeap<Reverse<(UnixMicros, TenantIndex, u64)>>,
}

impl Schedule {
    pub(crate) fn new(
        script: &Script,
        tenants: impl Iterator<Item = TenantIndex>,
        batching: Batching,
    ) -> Self {
        let next = tenants
            .filter_map(|tenant| {
                let send_at = send_at(script.timeline(tenant), 0, batching)?;
                Some(Reverse((send_at, tenant, 0)))
            })
            .collect();
        Self { batching, next }
    }

    /// When the next batch is to be sent; `None` after the last one.
    pub(crate) fn next_send_at(&self) -> Option<UnixMicros> {
        self.next.peek().map(|Reverse((send_at, ..))| *send_at)
    }

    /// Takes the next batch. If it is late, it holds what has become due since, up to its size.
    pub(crate) fn take(&mut self, script: &Script, now: UnixMicros) -> Option<Batch> {
        let Reverse((send_at, tenant, first)) = self.next.pop()?;
        let timeline = script.timeline(tenant);
        let due = timeline.count_before(now.max(send_at) + 1);
        let end = due.clamp(first + 1, first + self.batching.events_max);
        if let Some(send_at) = self::send_at(timeline, end, self.batching) {
            self.next.push(Reverse((send_at, tenant, end)));
        }
        Some(Batch { tenant, seqs: Seqs::of(first..end), send_at, origin: Origin::Due })
    }

    /// The tenants that are not done, each with its first event that was not taken.
    pub(crate) fn rest(&self) -> impl Iterator<Item = (TenantIndex, u64)> + '_ {
        self.next.iter().map(|Reverse((_, tenant, first))| (*tenant, *first))
    }
}

/// Returns when the batch that begins with `first` is full or old enough; `None` if there is no
/// such event.
fn send_at(timeline: &Timeline, first: u64, batching: Batching) -> Option<UnixMicros> {
    let first_due = timeline.due(Seq(first)).ok()?;
    let old_at = first_due + batching.age_max_us;
    let full_at = timeline.due(Seq(first + batching.events_max - 1));
    Some(full_at.map_or(old_at, |full_at| full_at.min(old_at)))
}

#[cfg(test)]
mod tests {
    use events::identity::RunMark;
    use events::script::Days;
    use events::timeline::{Arrival, Curve, Stage};
    use events::world::{Character, World};
    use uuid::Uuid;

    use super::*;

    fn script(rate: u64, seconds: u64, tenants: u32) -> Script {
        let stage = Stage {
            duration_us: seconds * 1_000_000,
            rate_milli: (rate * 1_000, rate * 1_000),
            tenants: (tenants, tenants),
        };
        let world = World::new(1, &vec![Character::default(); tenants as usize]);
        let timelines = world
            .tenants()
            .iter()
            .map(|tenant| {
                let curve = Curve::of_stages(&[stage], tenant.index);
                Timeline::live(curve, 0, Arrival::Even, 1, tenant.index)
            })
            .collect();
        Script::new(RunMark::of(Uuid::nil()), world, timelines, Days::Flow)
    }

    fn all(script: &Script, batching: Batching) -> Vec<Batch> {
        let mut schedule = Schedule::new(script, script.tenants(), batching);
        let mut batches = Vec::new();
        while let Some(at) = schedule.next_send_at() {
            batches.extend(schedule.take(script, at));
        }
        batches
    }

    #[track_caller]
    fn check(rate: u64, events_max: u64, age_ms: i64, expected_sizes: &[u64]) {
        let script = script(rate, 10, 1);
        let batching = Batching { events_max, age_max_us: age_ms * 1_000 };
        let batches = all(&script, batching);
        let sizes: Vec<_> = batches.iter().map(|batch| batch.seqs.count()).collect();
        assert_eq!(sizes, expected_sizes);
    }

    #[test]
    fn a_batch_closes_when_it_is_full_or_old() {
        check(100, 400, 10_000, &[400, 400, 200]);
        check(100, 400, 1_000, &[101, 101, 101, 101, 101, 101, 101, 101, 101, 91]);
        check(1, 1, 30_000, &[1; 10]);
    }

    #[test]
    fn batches_of_all_tenants_come_in_order_and_hold_every_event_once() {
        let script = script(30, 20, 9);
        let batches = all(&script, Batching { events_max: 7, age_max_us: 150_000 });
        assert!(batches.is_sorted_by_key(|batch| batch.send_at));
        for tenant in script.tenants() {
            let mut next = 0;
            for batch in batches.iter().filter(|batch| batch.tenant == tenant) {
                assert_eq!(batch.seqs.first().0, next);
                next = batch.seqs.last().0 + 1;
            }
            assert_eq!(next, 600);
        }
    }

    #[test]
    fn a_late_batch_takes_what_has_become_due() {
        let script = script(100, 10, 1);
        let batching = Batching { events_max: 400, age_max_us: 100_000 };
        let mut schedule = Schedule::new(&script, script.tenants(), batching);
        let batch = schedule.take(&script, 3_000_000).unwrap();
        let taken = batch.seqs.count();
        assert!((299..=301).contains(&taken), "{batch:?}");
        assert_eq!(schedule.take(&script, 9_999_999).unwrap().seqs.first().0, taken);
    }
}
