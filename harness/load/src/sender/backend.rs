//! What the audit backend of an API server does with its events, before it posts them. Pure.
//!
//! One loop collects a batch until it is full or has waited long enough, waits until the throttle
//! lets it through, and hands it over. While it waits, events gather in a buffer; those that find
//! the buffer full are dropped. None of it depends on answers, so all of it follows from the plan.
//!
//! Source: `k8s.io/apiserver/plugin/pkg/audit/buffered/buffered.go`, and the token bucket of
//! `k8s.io/client-go/util/flowcontrol`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;

use events::identity::{Seq, TenantIndex};
use events::script::Script;
use events::timeline::{Timeline, UnixMicros};

use super::schedule::{Batch, Origin, Seqs};
use plans::plan::Backend;

/// The audit backends of some tenants, the one that posts next first.
#[derive(Debug)]
pub(crate) struct Backends {
    next: BinaryHeap<Reverse<(UnixMicros, TenantIndex, usize)>>,
    buffers: Vec<Buffer>,
}

/// What becomes of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handover {
    pub(crate) batch: Batch,
    /// Events that found the buffer full while the batch waited for the throttle.
    pub(crate) dropped: Range<u64>,
}

impl Backends {
    /// Starts the backends of some tenants. `end` is when their API servers are shut down, and
    /// pass on what they have.
    pub(crate) fn new(
        script: &Script,
        tenants: impl Iterator<Item = TenantIndex>,
        rules: Backend,
        end: UnixMicros,
    ) -> Self {
        let mut buffers: Vec<_> =
            tenants.map(|tenant| Buffer::new(tenant, rules, script, end)).collect();
        let next = buffers
            .iter_mut()
            .enumerate()
            .filter_map(|(index, buffer)| {
                let at = buffer.prepare(script.timeline(buffer.tenant))?;
                Some(Reverse((at, buffer.tenant, index)))
            })
            .collect();
        Self { next, buffers }
    }

    /// When the next batch is to be sent; `None` after the last one.
    pub(crate) fn next_send_at(&self) -> Option<UnixMicros> {
        self.next.peek().map(|Reverse((send_at, ..))| *send_at)
    }

    /// Takes the next batch.
    pub(crate) fn take(&mut self, script: &Script) -> Option<Handover> {
        let Reverse((_, tenant, index)) = self.next.pop()?;
        let buffer = &mut self.buffers[index];
        let handover = buffer.ready.take().expect("it is prepared when it is queued");
        if let Some(at) = buffer.prepare(script.timeline(tenant)) {
            self.next.push(Reverse((at, tenant, index)));
        }
        Some(handover)
    }

    /// The tenants that are not done, each with what was not handed over.
    pub(crate) fn rest(&self) -> impl Iterator<Item = (TenantIndex, Vec<Range<u64>>)> + '_ {
        self.buffers.iter().filter(|buffer| buffer.ready.is_some()).map(|buffer| {
            let ready = buffer.ready.iter().flat_map(|ready| {
                ready.batch.seqs.ranges().chain(std::iter::once(ready.dropped.clone()))
            });
            let waiting = buffer.waiting.iter().cloned();
            (buffer.tenant, ready.chain(waiting).chain([buffer.next..u64::MAX]).collect())
        })
    }
}

/// The backend of one tenant.
#[derive(Debug)]
struct Buffer {
    tenant: TenantIndex,
    rules: Backend,
    end: UnixMicros,
    /// What is in the buffer: it came while the last batch waited for the throttle.
    waiting: VecDeque<Range<u64>>,
    /// The first event that has not come yet.
    next: u64,
    /// When the loop began to collect.
    collecting_since: UnixMicros,
    bucket: Bucket,
    ready: Option<Handover>,
}

impl Buffer {
    fn new(tenant: TenantIndex, rules: Backend, script: &Script, end: UnixMicros) -> Self {
        let start = script.timeline(tenant).due(Seq(0)).unwrap_or(end);
        Self {
            tenant,
            rules,
            end,
            waiting: VecDeque::new(),
            next: 0,
            collecting_since: start,
            bucket: Bucket::full(rules, start),
            ready: None,
        }
    }

    /// Makes the next batch ready, and returns when it is handed over; `None` if no event is left.
    fn prepare(&mut self, timeline: &Timeline) -> Option<UnixMicros> {
        let mut seqs = Seqs::of(0..0);
        let mut wanted = self.rules.batch_events;
        while wanted > 0
            && let Some(range) = self.waiting.front_mut()
        {
            let taken = range.start..range.end.min(range.start + wanted);
            wanted -= taken.end - taken.start;
            range.start = taken.end;
            if range.is_empty() {
                self.waiting.pop_front();
            }
            seqs.push(taken);
        }
        let full_at = self.collect(timeline, wanted, &mut seqs)?;
        let send_at = self.bucket.take(full_at);
        let dropped = self.buffer_until(send_at, timeline);
        self.collecting_since = send_at;
        let batch = Batch { tenant: self.tenant, seqs, send_at, origin: Origin::Due };
        self.ready = Some(Handover { batch, dropped });
        Some(send_at)
    }

    /// Collects events as they come, and returns when the batch is full or has waited enough.
    fn collect(&mut self, timeline: &Timeline, wanted: u64, seqs: &mut Seqs) -> Option<UnixMicros> {
        if wanted == 0 {
            return Some(self.collecting_since);
        }
        loop {
            let patience = self.collecting_since + self.rules.batch_wait_us;
            // An API server that is shut down passes on what it has.
            let old_at =
                if patience > self.end { self.end.max(self.collecting_since) } else { patience };
            let full_at = timeline.due(Seq(self.next + wanted - 1)).ok();
            let closes_at = full_at.map_or(old_at, |full_at| full_at.min(old_at));
            let closes_at = closes_at.max(self.collecting_since);
            let come = match full_at {
                Some(full_at) if full_at <= old_at => self.next + wanted,
                _ => timeline.count_before(closes_at + 1).max(self.next),
            };
            if come > self.next {
                seqs.push(self.next..come);
                self.next = come;
            }
            if seqs.count() > 0 {
                return Some(closes_at);
            }
            // Nothing came in all that time: the loop begins again, with the next event in it.
            let next_due = timeline.due(Seq(self.next)).ok()?;
            let waits = (next_due - self.collecting_since) / self.rules.batch_wait_us;
            self.collecting_since += waits.max(1) * self.rules.batch_wait_us;
        }
    }

    /// Lets events come into the buffer until a moment. Returns those for which it had no room.
    fn buffer_until(&mut self, at: UnixMicros, timeline: &Timeline) -> Range<u64> {
        let come = timeline.count_before(at + 1).max(self.next);
        let held: u64 = self.waiting.iter().map(|range| range.end - range.start).sum();
        let room = self.rules.buffer_events.saturating_sub(held);
        let kept = come.min(self.next + room);
        if kept > self.next {
            self.waiting.push_back(self.next..kept);
        }
        self.next = come;
        kept..come
    }
}

/// A token bucket: it allows a burst, and then one batch whenever a certain time has passed.
#[derive(Debug)]
struct Bucket {
    rules: Backend,
    /// The moment at which the bucket was, or would have been, empty. Each token stands for a span
    /// of time after it.
    empty_at: UnixMicros,
}

impl Bucket {
    fn full(rules: Backend, at: UnixMicros) -> Self {
        let burst = i64::from(rules.throttle_burst);
        Self { rules, empty_at: at - burst * rules.throttle_us }
    }

    /// Takes a token as soon as there is one, at `at` at the earliest, and returns when that is.
    fn take(&mut self, at: UnixMicros) -> UnixMicros {
        let burst = i64::from(self.rules.throttle_burst);
        // It never holds more than its burst.
        self.empty_at = self.empty_at.max(at - burst * self.rules.throttle_us);
        self.empty_at += self.rules.throttle_us;
        at.max(self.empty_at)
    }
}

#[cfg(test)]
mod tests {
    use events::identity::RunMark;
    use events::script::Days;
    use events::timeline::{Arrival, Curve, Stage};
    use events::world::{Character, World};
    use uuid::Uuid;

    use super::*;

    const SECOND_US: i64 = 1_000_000;

    /// The defaults of kube-apiserver.
    const RULES: Backend = Backend {
        buffer_events: 10_000,
        batch_events: 400,
        batch_wait_us: 30 * SECOND_US,
        throttle_us: SECOND_US / 10,
        throttle_burst: 15,
        attempts: 5,
        initial_backoff_us: 10 * SECOND_US,
    };

    fn script(rate: u64, seconds: u64) -> Script {
        let stage = Stage {
            duration_us: seconds * 1_000_000,
            rate_milli: (rate * 1_000, rate * 1_000),
            tenants: (1, 1),
        };
        let world = World::new(1, &[Character::default()]);
        let curve = Curve::of_stages(&[stage], TenantIndex(0));
        let timeline = Timeline::live(curve, 0, Arrival::Even, 1, TenantIndex(0));
        Script::new(RunMark::of(Uuid::nil()), world, vec![timeline], Days::Flow)
    }

    fn all(script: &Script, rules: Backend, seconds: i64) -> Vec<Handover> {
        let mut backends = Backends::new(script, script.tenants(), rules, seconds * SECOND_US);
        let mut handovers = Vec::new();
        while let Some(at) = backends.next_send_at() {
            let handover = backends.take(script).unwrap();
            assert_eq!(handover.batch.send_at, at);
            handovers.push(handover);
        }
        handovers
    }

    fn sent(handovers: &[Handover]) -> u64 {
        handovers.iter().map(|handover| handover.batch.seqs.count()).sum()
    }

    #[test]
    fn a_quiet_server_sends_what_came_in_thirty_seconds() {
        let handovers = all(&script(10, 90), RULES, 90);
        let sizes: Vec<_> = handovers.iter().map(|it| it.batch.seqs.count()).collect();
        assert_eq!(sizes.iter().sum::<u64>(), 900);
        assert!(sizes.iter().all(|size| (298..=301).contains(size)), "{sizes:?}");
    }

    #[test]
    fn a_busy_server_sends_full_batches_as_they_fill() {
        let handovers = all(&script(2_000, 10), RULES, 10);
        assert_eq!(sent(&handovers), 20_000);
        assert_eq!(handovers.len(), 50);
        let gaps: Vec<_> = handovers
            .windows(2)
            .map(|pair| pair[1].batch.send_at - pair[0].batch.send_at)
            .collect();
        assert!(gaps.iter().all(|gap| (199_000..=201_000).contains(gap)), "{gaps:?}");
    }

    #[test]
    fn more_than_the_throttle_lets_through_fills_the_buffer_and_is_dropped() {
        // 4,000 events a second get through, and 6,000 in the first burst; 10,000 fit into the
        // buffer.
        let seconds = 20;
        let handovers = all(&script(5_000, 20), RULES, seconds);
        let dropped: u64 = handovers.iter().map(|it| it.dropped.end - it.dropped.start).sum();
        let during: Vec<_> = handovers
            .iter()
            .filter(|it| it.batch.send_at <= seconds * SECOND_US)
            .cloned()
            .collect();
        assert_eq!(sent(&handovers) + dropped, 100_000);
        assert!(sent(&during).abs_diff(4_000 * 20 + 6_000) <= 800, "{}", sent(&during));
        assert!(dropped.abs_diff(100_000 - 86_000 - 10_000) <= 1_200, "{dropped}");
        let mut next = 0;
        for handover in &handovers {
            for range in handover.batch.seqs.ranges() {
                assert!(range.start >= next, "in order");
                next = range.end;
            }
        }
    }

    #[test]
    fn a_server_without_events_sends_nothing_and_one_with_few_sends_them_at_its_end() {
        assert_eq!(all(&script(0, 10), RULES, 10), []);
        let handovers = all(&script(1, 5), RULES, 5);
        assert_eq!((sent(&handovers), handovers.len()), (5, 1));
        assert_eq!(handovers[0].batch.send_at, 5 * SECOND_US);
    }
}
