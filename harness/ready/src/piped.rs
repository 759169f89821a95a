//! Rates and sizes of the events that go through a pipeline, computed from the plan. Pure.

use std::time::Duration;

use edges::clock::{micros, seconds};
use events::identity::Seq;
use events::render::{Form, render};
use events::timeline::UnixMicros;
use load::sender::OVERSIZED_PADDING_BYTES;
use plans::plan::{Backend, Plan, SendPlan};
use serde::Serialize;

/// The load on the pipeline, and who sets its pace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piped {
    pub load: Load,
    pub pace: Pace,
}

/// Who sets the pace of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The plan. It does not slow down for the pipeline.
    OfPlan,
    /// The aggregator. No more events are sent than it reads.
    AsRead,
}

/// The load that a plan puts on the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Load {
    pub events: u64,
    pub duration_s: f64,
    /// The events of the busiest second among those sampled; 0 if not known.
    pub peak_events_per_s: u64,
    /// Bytes of an event as JSON: the average and the largest in a sample.
    pub event_bytes: u64,
    pub event_bytes_max: u64,
    /// The largest bytes of an event that is too large on purpose; `None` if there are none.
    pub oversized_bytes: Option<u64>,
    /// For this long after a batch was sent first, it may be sent again if it gets no answer.
    pub resend_s: f64,
}

impl Load {
    /// The load of a run on schedule.
    pub fn of(plan: &Plan) -> Self {
        let (event_bytes, event_bytes_max) = sizes(plan);
        Self {
            events: plan.script.planned(),
            duration_s: seconds(plan.end - plan.start),
            peak_events_per_s: peak(plan),
            event_bytes,
            event_bytes_max,
            oversized_bytes: (plan.faults.oversized.get().value() > 0.0)
                .then_some(event_bytes_max + OVERSIZED_PADDING_BYTES as u64),
            resend_s: resend(&plan.send).as_secs_f64(),
        }
    }

    /// The load of a replay of some events, at a rate if it has one. A replay never repeats a batch
    /// that may still arrive, and none of its clients misbehaves.
    #[expect(clippy::cast_precision_loss, reason = "a forecast is no exact number")]
    pub fn of_replay(plan: &Plan, events: u64, events_per_s: Option<u64>) -> Self {
        let (event_bytes, event_bytes_max) = sizes(plan);
        Self {
            events,
            duration_s: events_per_s.map_or(0.0, |rate| events as f64 / rate as f64),
            peak_events_per_s: events_per_s.unwrap_or(0),
            event_bytes,
            event_bytes_max,
            oversized_bytes: None,
            resend_s: 0.0,
        }
    }

    /// Bytes of an event in the stream.
    pub fn message_bytes(&self) -> u64 {
        self.event_bytes + MESSAGE_OVERHEAD_BYTES
    }

    /// Bytes in the stream of the events of some seconds at the peak.
    pub fn bytes_of_peak(&self, seconds: u64) -> u64 {
        self.peak_events_per_s.saturating_mul(self.message_bytes()).saturating_mul(seconds)
    }

    /// How many seconds of the peak fit into some bytes of the stream.
    #[expect(clippy::cast_precision_loss, reason = "a forecast is no exact number")]
    pub fn seconds_held(&self, bytes: u64) -> f64 {
        bytes as f64 / self.bytes_of_peak(1).max(1) as f64
    }
}

/// Samples whole seconds, evenly spread over the run. Bursts between them may be higher.
fn peak(plan: &Plan) -> u64 {
    let tenants = plan.script.world().tenants().len().max(1);
    let looks = i64::try_from((COUNTS_MAX / tenants).clamp(20, 600)).unwrap_or(20);
    let second = micros(Duration::from_secs(1));
    let last = (plan.end - second).max(plan.start);
    let due = |at: UnixMicros| -> u64 {
        plan.script.tenants().map(|tenant| plan.script.timeline(tenant).count_before(at)).sum()
    };
    let look = |index: i64| {
        let at = plan.start + (last - plan.start) / looks * index;
        due(at + second) - due(at)
    };
    (0..=looks).map(look).max().unwrap_or(0)
}

/// Renders a sample of events, of all tenants and times.
fn sizes(plan: &Plan) -> (u64, u64) {
    let script = &plan.script;
    let tenants = script.world().tenants().len().max(1);
    let step = tenants.div_ceil(TENANTS_SAMPLED);
    let (mut all, mut count, mut most) = (0, 0, 0);
    let mut body = Vec::new();
    for tenant in script.tenants().step_by(step) {
        let planned = script.timeline(tenant).count();
        let sampled = planned.min(EVENTS_SAMPLED);
        for sample in 0..sampled {
            let facts = script.facts(tenant, Seq(planned / sampled * sample));
            body.clear();
            render(&facts.expect("it is planned"), Form::Alone, &mut body);
            let bytes = body.len() as u64;
            (all, count, most) = (all + bytes, count + 1, most.max(bytes));
        }
    }
    (all / count.max(1), most)
}

/// How long an API server repeats one batch.
fn resend(send: &SendPlan) -> Duration {
    let Some(Backend { attempts, initial_backoff_us, .. }) = send.backend else {
        return Duration::ZERO;
    };
    let initial = Duration::from_micros(initial_backoff_us.unsigned_abs());
    // Each wait is half as long again, and up to a fifth longer by chance.
    let waits = (1..attempts).scan(initial * 6 / 5, |wait, _| {
        let now = *wait;
        *wait = now * 3 / 2;
        Some(now)
    });
    waits.sum::<Duration>() + send.timeout * attempts
}

/// What JetStream adds to a message: its subject, its ID in a header, and 30 bytes of its own.
const MESSAGE_OVERHEAD_BYTES: u64 = 140;
const COUNTS_MAX: usize = 500_000;
const TENANTS_SAMPLED: usize = 64;
const EVENTS_SAMPLED: u64 = 64;

#[cfg(test)]
mod tests {
    use plans::spec::{RunOptions, Span};
    use uuid::Uuid;

    use super::*;

    fn load(rest: &str) -> Load {
        let text = format!("name: x\n{rest}\n");
        let options = RunOptions::new(Uuid::nil(), 1_790_000_000_000_000, Span::Live);
        Load::of(&Plan::parse(&text, "x", options).unwrap())
    }

    #[test]
    fn the_peak_is_that_of_the_busiest_stage() {
        let steady = load("arrival: even\nstages: [{duration: 1m, rate: 20/s, tenants: 10}]");
        assert_eq!((steady.events, steady.peak_events_per_s), (12_000, 200));
        assert!((400..4_000).contains(&steady.event_bytes), "{steady:?}");
        assert!(steady.event_bytes_max >= steady.event_bytes);
        let spike = load(
            "arrival: even\nstages:\n  - {duration: 5m, rate: 10/s, tenants: 5}\n  \
             - {duration: 10s, rate: 100/s, tenants: 5}\n  \
             - {duration: 5m, rate: 10/s -> 40/s, tenants: 5}",
        );
        assert_eq!(spike.peak_events_per_s, 500);
    }

    #[test]
    fn a_replay_has_the_rate_that_it_is_given_and_no_faults() {
        let text = "name: x\nstages: [{duration: 1m, rate: 20/s, tenants: 10}]\n\
                    faults: {oversized: 0.5}\nsend: {sender: apiserver}\n";
        let options = RunOptions::new(Uuid::nil(), 1_790_000_000_000_000, Span::Live);
        let plan = Plan::parse(text, "x", options).unwrap();
        let load = Load::of_replay(&plan, 900, Some(300));
        assert_eq!((load.events, load.peak_events_per_s, load.oversized_bytes), (900, 300, None));
        assert!((load.duration_s - 3.0).abs() < f64::EPSILON && load.resend_s.abs() < f64::EPSILON);
        assert_eq!(load.event_bytes, Load::of(&plan).event_bytes);
        assert_eq!(Load::of_replay(&plan, 900, None).peak_events_per_s, 0);
    }

    #[test]
    fn what_is_too_large_on_purpose_is_known_before() {
        let stages = "stages: [{duration: 1m, rate: 20/s, tenants: 10}]";
        assert_eq!(load(stages).oversized_bytes, None);
        let oversized = load(&format!("{stages}\nfaults: {{oversized: 0.0001}}"));
        assert!(oversized.oversized_bytes.unwrap() > 1 << 20, "{oversized:?}");
    }

    #[test]
    fn only_an_api_server_sends_again_and_for_minutes() {
        let stages = "stages: [{duration: 1m, rate: 20/s, tenants: 10}]";
        assert!(load(stages).resend_s.abs() < f64::EPSILON);
        let apiserver = load(&format!("{stages}\nsend: {{sender: apiserver}}"));
        assert!((200.0..400.0).contains(&apiserver.resend_s), "{apiserver:?}");
    }
}
