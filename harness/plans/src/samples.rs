//! Selects the events of a live run that are watched until they are visible in the table. Pure.
//!
//! The samples follow from the plan alone, so the sender and the watch agree on them without
//! talking. At every tick of the run's time one tenant is drawn. Its next event is a sample if it
//! is due soon.

use std::collections::BTreeSet;

use events::draw::Draw;
use events::event::MicroTime;
use events::identity::{Seq, TenantIndex};
use events::timeline::UnixMicros;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::spec::Span;

/// An event that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    pub due: UnixMicros,
    pub tenant: TenantIndex,
    pub seq: Seq,
}

/// When the webhook acknowledged a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgedSample {
    pub tenant: u16,
    pub seq: u64,
    pub at: MicroTime,
}

/// The samples of a run, in the order of their ticks.
#[derive(Debug, Clone)]
pub struct Samples {
    tick: u64,
    end: u64,
    /// The samples of the last ticks, so that no event is a sample twice.
    recent: Vec<(TenantIndex, Seq)>,
}

impl Samples {
    /// All samples of a plan. Only a live run has any.
    pub fn of(plan: &Plan) -> Self {
        let end = match plan.spec.span {
            Span::Live => u64::try_from((plan.end - plan.start) / TICK_US + 1).unwrap_or(0),
            Span::History { .. } => 0,
        };
        Self { tick: 0, end, recent: Vec::new() }
    }

    /// Takes the samples of all ticks until `now` that were not taken before. Some of them may be
    /// due shortly after `now`.
    pub fn until(&mut self, plan: &Plan, now: UnixMicros) -> Vec<Sample> {
        let Ok(passed) = u64::try_from(now - plan.start) else { return Vec::new() };
        let ticks = (passed / TICK_US.unsigned_abs() + 1).min(self.end);
        let mut taken = Vec::new();
        for tick in self.tick..ticks {
            if let Some(sample) = sample(plan, tick) {
                let place = (sample.tenant, sample.seq);
                if !self.recent.contains(&place) {
                    taken.push(sample);
                    self.recent.push(place);
                }
            }
            if self.recent.len() > TICKS_OF_AN_EVENT {
                self.recent.remove(0);
            }
        }
        self.tick = self.tick.max(ticks);
        taken
    }

    /// Skips the samples that were due long before `from`, because nobody waits for them any more.
    pub fn skip_to(&mut self, plan: &Plan, from: UnixMicros) {
        let ticks = u64::try_from((from - plan.start) / TICK_US).unwrap_or(0);
        self.tick = self.tick.max(ticks.min(self.end));
    }
}

/// The event that a tick draws, if it is due soon.
fn sample(plan: &Plan, tick: u64) -> Option<Sample> {
    let tenants = plan.script.world().tenants().len();
    let drawn = u32::try_from(tenants).ok().filter(|count| *count > 0)?;
    let drawn = Draw::new(plan.spec.seed, SAMPLE_STREAM, tick).below(drawn);
    let tenant = TenantIndex(u16::try_from(drawn).expect("at most 65,536 tenants"));
    let timeline = plan.script.timeline(tenant);
    let at = plan.start + i64::try_from(tick).ok()?.checked_mul(TICK_US)?;
    let seq = Seq(timeline.count_before(at));
    let due = timeline.due(seq).ok()?;
    (due - at < LATE_US).then_some(Sample { due, tenant, seq })
}

/// The samples of some tenants that are not acknowledged yet. The sender of these tenants uses it.
#[derive(Debug)]
pub struct Unacknowledged {
    samples: Samples,
    tenants: BTreeSet<TenantIndex>,
    waiting: BTreeSet<(TenantIndex, Seq)>,
}

impl Unacknowledged {
    pub fn new(plan: &Plan, tenants: impl Iterator<Item = TenantIndex>) -> Self {
        Self { samples: Samples::of(plan), tenants: tenants.collect(), waiting: BTreeSet::new() }
    }

    /// Takes the samples among some consecutive events, which were all due before `now`.
    pub fn take(
        &mut self,
        plan: &Plan,
        tenant: TenantIndex,
        seqs: std::ops::Range<u64>,
        now: UnixMicros,
    ) -> Vec<Seq> {
        let drawn = self.samples.until(plan, now);
        let own = drawn.iter().filter(|sample| self.tenants.contains(&sample.tenant));
        self.waiting.extend(own.map(|sample| (sample.tenant, sample.seq)));
        let range = (tenant, Seq(seqs.start))..(tenant, Seq(seqs.end));
        let found: Vec<Seq> = self.waiting.range(range).map(|(_, seq)| *seq).collect();
        for seq in &found {
            self.waiting.remove(&(tenant, *seq));
        }
        // Refused samples are never taken, so the set is limited.
        while self.waiting.len() > WAITING_MAX {
            self.waiting.pop_first();
        }
        found
    }
}

/// There are ten samples a second.
pub const TICK_US: i64 = 100_000;

/// An event that is due this long after its tick is no sample.
const LATE_US: i64 = 1_000_000;

/// How many ticks can draw the same event.
#[expect(clippy::cast_possible_truncation, reason = "it is ten")]
const TICKS_OF_AN_EVENT: usize = (LATE_US / TICK_US) as usize;

/// The most samples of a lane that are kept: as many as are drawn in a quarter of an hour.
const WAITING_MAX: usize = 10_000;

const SAMPLE_STREAM: u64 = 11 << 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::live_plan;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn samples_are_the_same_in_whatever_steps_they_are_taken() {
        let plan = live_plan("3/s", "7", "60s");
        let at_once = Samples::of(&plan).until(&plan, plan.end + SECOND);
        let mut samples = Samples::of(&plan);
        let steps: Vec<Sample> = (-5..70_000)
            .step_by(37)
            .flat_map(|ms| samples.until(&plan, plan.start + ms * 1_000))
            .collect();
        assert_eq!(at_once, steps);
        assert!(at_once.len() > 200, "{}", at_once.len());
        let distinct: BTreeSet<_> = at_once.iter().map(|it| (it.tenant, it.seq)).collect();
        assert_eq!(distinct.len(), at_once.len(), "no event is drawn twice");
        for Sample { due, tenant, seq } in at_once {
            assert_eq!(plan.script.timeline(tenant).due(seq), Ok(due));
        }
    }

    #[test]
    fn a_busy_run_has_ten_samples_a_second_and_an_idle_one_fewer() {
        let count = |rate, tenants| {
            let plan = live_plan(rate, tenants, "60s");
            Samples::of(&plan).until(&plan, plan.end).len()
        };
        assert_eq!(count("1000/s", "1"), 600);
        assert_eq!(count("20/s", "50"), 600);
        let idle = count("1/min", "10");
        assert!((1..=10).contains(&idle), "{idle}");
    }

    #[test]
    fn who_sends_and_who_watches_agree() {
        let plan = live_plan("40/s", "6", "20s");
        let mut own = Unacknowledged::new(&plan, plan.script.tenants().step_by(2));
        let mut found = BTreeSet::new();
        for tenant in plan.script.tenants() {
            let count = plan.script.timeline(tenant).count();
            for first in (0..count).step_by(7) {
                let seqs = first..(first + 7).min(count);
                let last = plan.script.timeline(tenant).due(Seq(seqs.end - 1)).unwrap();
                found.extend(
                    own.take(&plan, tenant, seqs, last).into_iter().map(|seq| (tenant, seq)),
                );
            }
        }
        let watched = Samples::of(&plan).until(&plan, plan.end).into_iter();
        let expected: BTreeSet<_> = watched
            .filter(|sample| sample.tenant.0 % 2 == 0)
            .map(|sample| (sample.tenant, sample.seq))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_long_past_can_be_left_out() {
        let plan = live_plan("100/s", "5", "60s");
        let mut samples = Samples::of(&plan);
        samples.skip_to(&plan, plan.start + 50 * SECOND);
        let late = samples.until(&plan, plan.end);
        assert!(late.iter().all(|sample| sample.due >= plan.start + 50 * SECOND));
        assert!(late.len() >= 90, "{}", late.len());
        samples.skip_to(&plan, plan.start);
        assert!(samples.until(&plan, plan.end).is_empty(), "it never goes back");
    }
}
