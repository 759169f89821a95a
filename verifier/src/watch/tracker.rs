//! Which samples wait to be seen in the table, and how long those took that were. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, Range};

use edges::clock::milliseconds;
use events::event::MicroTime;
use events::identity::{Seq, TenantIndex};
use events::timeline::UnixMicros;
use plans::plan::Plan;
use plans::samples::{AcknowledgedSample, Sample, Samples};
use runs::observation::{Freshness, Watched};
use uuid::Uuid;

/// Follows samples from when they are due until they are visible.
#[derive(Debug)]
pub(crate) struct Tracker {
    since: UnixMicros,
    samples: Samples,
    is_stopped: bool,
    waiting: BTreeMap<Sample, Looked>,
    /// Of those that are not asked for any more, because too many wait: until when each was known
    /// not to be in the table; the earliest.
    forgotten: Option<UnixMicros>,
    /// The last one that was asked for: the next question goes on behind it.
    asked: Option<Sample>,
    /// Acknowledged, and not visible yet.
    acknowledged: Moments,
    /// Visible, and not known to be acknowledged yet.
    visible: Moments,
    due_to_visible_ms: Vec<f64>,
    acknowledged_to_visible_ms: Vec<f64>,
    places_visible: Vec<(u16, u64)>,
}

/// By what a sample is looked for.
#[derive(Debug, Clone, Copy)]
struct Looked {
    id: Uuid,
    received: UnixMicros,
    /// The table did not have it then.
    absent_until: UnixMicros,
}

/// What the table is asked: which of these events it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) ids: Vec<Uuid>,
    /// When the requests of these events were received: few stretches of time, in order.
    pub(crate) received: Vec<Range<UnixMicros>>,
}

impl Tracker {
    /// Begins with what is due from now on: of what was due before, nobody knows since when it
    /// has been visible.
    pub(crate) fn new(plan: &Plan, now: UnixMicros) -> Self {
        let mut samples = Samples::of(plan);
        samples.skip_to(plan, now);
        Self {
            since: now,
            samples,
            is_stopped: false,
            waiting: BTreeMap::new(),
            forgotten: None,
            asked: None,
            acknowledged: Moments::default(),
            visible: Moments::default(),
            due_to_visible_ms: Vec::new(),
            acknowledged_to_visible_ms: Vec::new(),
            places_visible: Vec::new(),
        }
    }

    /// Takes in what is due by now, and soon.
    pub(crate) fn advance(&mut self, plan: &Plan, now: UnixMicros) {
        if self.is_stopped {
            return;
        }
        for sample in self.samples.until(plan, now) {
            let facts = plan.script.facts(sample.tenant, sample.seq);
            let facts = facts.expect("a sample is an event of the plan");
            let (id, received) = (facts.audit_id, facts.received);
            // Nothing is there before it is due.
            let looked = Looked { id, received, absent_until: sample.due };
            self.waiting.insert(sample, looked);
        }
        while self.waiting.len() > WAITING_MAX
            && let Some((_, looked)) = self.waiting.pop_first()
        {
            let earliest = self.forgotten.get_or_insert(looked.absent_until);
            *earliest = looked.absent_until.min(*earliest);
        }
    }

    /// What to ask next: all that wait take turns. `None` if nothing waits. What is not due yet is
    /// asked for, too: clocks differ.
    pub(crate) fn question(&mut self) -> Option<Question> {
        let from = self.asked.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.waiting.range((from, Bound::Unbounded));
        let again = self.waiting.iter().take_while(|(sample, _)| Some(**sample) <= self.asked);
        let turn: Vec<(Sample, Looked)> =
            rest.chain(again).take(ASKED_MAX).map(|(sample, looked)| (*sample, *looked)).collect();
        self.asked = turn.last().map(|(sample, _)| *sample);
        let mut received: Vec<UnixMicros> = turn.iter().map(|(_, it)| it.received).collect();
        received.sort_unstable();
        let ids: Vec<Uuid> = turn.iter().map(|(_, it)| it.id).collect();
        (!ids.is_empty()).then(|| Question { ids, received: stretches(&received) })
    }

    /// Takes in which of those that were asked for the table had, and when it was asked and
    /// answered.
    pub(crate) fn see(
        &mut self,
        plan: &Plan,
        question: &Question,
        visible: &[Uuid],
        (asked, at): (UnixMicros, UnixMicros),
    ) {
        self.become_visible(plan, visible, at);
        for sample in question.ids.iter().filter_map(|id| sample_of(plan, *id)) {
            if let Some(looked) = self.waiting.get_mut(&sample) {
                looked.absent_until = looked.absent_until.max(asked);
            }
        }
    }

    fn become_visible(&mut self, plan: &Plan, ids: &[Uuid], at: UnixMicros) {
        for sample in ids.iter().filter_map(|id| sample_of(plan, *id)) {
            if self.waiting.remove(&sample).is_none() {
                continue;
            }
            let Sample { due, tenant, seq } = sample;
            self.due_to_visible_ms.push(milliseconds(at - due));
            self.places_visible.push((tenant.0, seq.0));
            match self.acknowledged.take((tenant, seq)) {
                Some(acknowledged) => {
                    self.acknowledged_to_visible_ms.push(milliseconds(at - acknowledged));
                }
                None => self.visible.put((tenant, seq), at),
            }
        }
    }

    /// Takes in when a sample was acknowledged.
    pub(crate) fn acknowledge(&mut self, sample: AcknowledgedSample) {
        let place = (TenantIndex(sample.tenant), Seq(sample.seq));
        match self.visible.take(place) {
            Some(visible) => {
                self.acknowledged_to_visible_ms.push(milliseconds(visible - sample.at.0));
            }
            None => self.acknowledged.put(place, sample.at.0),
        }
    }

    /// Stops waiting for all others.
    pub(crate) fn keep(&mut self, is_awaited: impl Fn(TenantIndex, Seq) -> bool) {
        self.waiting.retain(|sample, _| is_awaited(sample.tenant, sample.seq));
    }

    /// Takes in no more samples: nothing is sent that is due from now on.
    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Whether all samples so far are visible.
    pub(crate) fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns what has become visible since it was last asked, and what waits.
    pub(crate) fn take(&mut self, now: UnixMicros) -> Freshness {
        let mut late = self.waiting.keys().take_while(|sample| sample.due <= now);
        let oldest = late.next().copied();
        let waiting = late.count() as u64 + u64::from(oldest.is_some());
        let watched = Watched {
            since: MicroTime(self.since),
            absent_until: MicroTime(self.absent_until(now)),
            visible: std::mem::take(&mut self.places_visible),
        };
        Freshness {
            due_to_visible_ms: std::mem::take(&mut self.due_to_visible_ms),
            acknowledged_to_visible_ms: std::mem::take(&mut self.acknowledged_to_visible_ms),
            waiting,
            oldest_ms: oldest.map_or(0.0, |sample| milliseconds(now - sample.due)),
            watched: Some(watched),
        }
    }

    /// Until when none of those that are due and wait was in the table, as far as it has answered.
    fn absent_until(&self, now: UnixMicros) -> UnixMicros {
        let due = self.waiting.iter().take_while(|(sample, _)| sample.due <= now);
        let known = due.map(|(_, looked)| looked.absent_until).chain(self.forgotten);
        known.min().unwrap_or(now)
    }
}

fn sample_of(plan: &Plan, id: Uuid) -> Option<Sample> {
    let (tenant, seq) = plan.script.locate(id)?;
    let due = plan.script.timeline(tenant).due(seq).ok()?;
    Some(Sample { due, tenant, seq })
}

/// Joins moments in order to few stretches, so that a server need not read what lies between.
fn stretches(moments: &[UnixMicros]) -> Vec<Range<UnixMicros>> {
    let mut gap_us = GAP_US;
    loop {
        let mut joined: Vec<Range<UnixMicros>> = Vec::new();
        for &at in moments {
            match joined.last_mut() {
                Some(last) if at - last.end <= gap_us => last.end = at + 1,
                _ => joined.push(at..at + 1),
            }
        }
        if joined.len() <= STRETCHES_MAX {
            return joined;
        }
        gap_us *= 2;
    }
}

/// When something became of samples: of a bounded number of them, the newest.
#[derive(Debug, Default)]
struct Moments {
    at: BTreeMap<(TenantIndex, Seq), UnixMicros>,
    order: VecDeque<(TenantIndex, Seq)>,
}

impl Moments {
    fn put(&mut self, place: (TenantIndex, Seq), at: UnixMicros) {
        self.at.insert(place, at);
        self.order.push_back(place);
        if self.order.len() > WAITING_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.at.remove(&oldest);
        }
    }

    fn take(&mut self, place: (TenantIndex, Seq)) -> Option<UnixMicros> {
        self.at.remove(&place)
    }
}

/// More than an hour of samples.
const WAITING_MAX: usize = 40_000;
/// A question is answered in some milliseconds, however many wait.
const ASKED_MAX: usize = 500;
const STRETCHES_MAX: usize = 16;
const GAP_US: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use events::event::MicroTime;
    use plans::spec::{RunOptions, Span};

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn plan(seconds: u32) -> Plan {
        let text =
            format!("name: x\nstages: [{{duration: {seconds}s, rate: 100/s, tenants: 5}}]\n");
        let options = RunOptions::new(Uuid::from_u128(7), 1_790_000_000_000_000, Span::Live);
        Plan::parse(&text, "x", options).unwrap()
    }

    #[test]
    fn a_sample_is_fresh_from_when_it_was_due_and_acknowledged() {
        let plan = plan(10);
        let mut tracker = Tracker::new(&plan, plan.start);
        tracker.advance(&plan, plan.start + SECOND);
        let question = tracker.question().unwrap();
        assert!((10..=11).contains(&question.ids.len()), "{question:?}");
        assert_eq!(question.received.len(), 1);

        let waiting: Vec<Sample> = tracker.waiting.keys().copied().collect();
        let first = waiting[0];
        let acknowledged = |sample: Sample, at| AcknowledgedSample {
            tenant: sample.tenant.0,
            seq: sample.seq.0,
            at: MicroTime(at),
        };
        let id = |sample: Sample| plan.script.audit_id(sample.tenant, sample.seq);
        tracker.acknowledge(acknowledged(first, first.due + 5_000));
        let (asked, at) = (first.due + 240_000, first.due + 250_000);
        tracker.see(&plan, &question, &[id(first)], (asked, at));
        // It is seen before anybody says that it was acknowledged, and by a clock that is behind.
        let second = waiting[1];
        let visible = [id(second), id(second), Uuid::nil()];
        tracker.see(&plan, &question, &visible, (second.due - 3_000, second.due - 2_000));
        tracker.acknowledge(acknowledged(second, second.due + 1_000));
        let now = waiting[3].due;
        let freshness = tracker.take(now);
        assert_eq!(freshness.due_to_visible_ms, [250.0, -2.0]);
        assert_eq!(freshness.acknowledged_to_visible_ms, [245.0, -3.0]);
        assert_eq!(freshness.waiting, 2);
        let oldest = milliseconds(waiting[3].due - waiting[2].due);
        assert!((freshness.oldest_ms - oldest).abs() < 1e-9, "{freshness:?}");
        let places = [first, second].map(|sample| (sample.tenant.0, sample.seq.0));
        assert_eq!(freshness.watched.unwrap().visible, places);
        assert!(tracker.take(now).due_to_visible_ms.is_empty(), "it is told once");
        assert!(!tracker.is_done());
        tracker.keep(|_, _| false);
        assert!(tracker.is_done());
    }

    #[test]
    fn what_waits_is_known_to_be_absent_only_as_far_as_the_table_has_answered() {
        let plan = plan(10);
        let mut tracker = Tracker::new(&plan, plan.start);
        let absent_until = |tracker: &mut Tracker, now| {
            tracker.advance(&plan, now);
            tracker.take(now).watched.unwrap().absent_until.0
        };
        let start = plan.start;
        let now = start + SECOND;
        let oldest = |tracker: &Tracker| tracker.waiting.keys().next().unwrap().due;
        assert!(absent_until(&mut tracker, now) == oldest(&tracker), "it was never asked");
        let question = tracker.question().unwrap();
        tracker.see(&plan, &question, &[], (now - 7, now));
        assert!((start..now).contains(&oldest(&tracker)));
        assert_eq!(absent_until(&mut tracker, now), now - 7);
        // The table has been silent since: what was due meanwhile may have been there at once.
        let later = absent_until(&mut tracker, now + 5 * SECOND);
        assert_eq!(later, now - 7);
        let all = tracker.question().unwrap();
        tracker.see(&plan, &all, &all.ids, (now + 5 * SECOND, now + 5 * SECOND));
        assert_eq!(absent_until(&mut tracker, now + 5 * SECOND), now + 5 * SECOND);
    }

    #[test]
    fn what_is_not_asked_for_any_more_is_not_known_to_be_absent() {
        let plan = plan(u32::try_from(WAITING_MAX / 10 + 60).unwrap());
        let mut tracker = Tracker::new(&plan, plan.start);
        tracker.advance(&plan, plan.start + SECOND);
        let first = tracker.waiting.keys().next().unwrap().due;
        tracker.advance(&plan, plan.end);
        assert_eq!(tracker.waiting.len(), WAITING_MAX);
        while !tracker.waiting.is_empty() {
            let question = tracker.question().unwrap();
            tracker.see(&plan, &question, &question.ids, (plan.end, plan.end));
        }
        assert_eq!(tracker.take(plan.end).watched.unwrap().absent_until.0, first);
    }

    #[test]
    fn all_that_wait_take_turns() {
        let plan = plan(200);
        let mut tracker = Tracker::new(&plan, plan.start);
        tracker.advance(&plan, plan.end);
        let waiting = tracker.waiting.len();
        assert!(waiting > 3 * ASKED_MAX, "{waiting}");
        let turns: Vec<Question> = (0..4).map(|_| tracker.question().unwrap()).collect();
        assert!(turns.iter().all(|turn| turn.ids.len() == ASKED_MAX));
        let distinct: std::collections::BTreeSet<Uuid> =
            turns.iter().flat_map(|turn| turn.ids.clone()).collect();
        assert_eq!(distinct.len(), waiting, "{ASKED_MAX} at a time");
        tracker.waiting.clear();
        assert_eq!(tracker.question(), None);
    }

    #[test]
    fn who_comes_late_waits_only_for_what_is_still_due() {
        let plan = plan(60);
        let mut tracker = Tracker::new(&plan, plan.start + 30 * SECOND);
        tracker.advance(&plan, plan.start + 31 * SECOND);
        assert!(tracker.waiting.keys().all(|sample| sample.due >= plan.start + 30 * SECOND));
        assert!((9..=12).contains(&tracker.waiting.len()), "{}", tracker.waiting.len());
    }

    #[test]
    fn stretches_are_few_and_leave_gaps_out() {
        assert_eq!(
            stretches(&[0, 5, SECOND, 10 * SECOND]),
            [0..SECOND + 1, 10 * SECOND..10 * SECOND + 1]
        );
        let apart: Vec<i64> = (0..1_000).map(|n| n * 3 * SECOND).collect();
        assert!(stretches(&apart).len() <= STRETCHES_MAX);
        assert_eq!(stretches(&[]), []);
    }
}
