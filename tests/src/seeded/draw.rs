//! Draws what happens in a storm, from its seed alone. Pure.
//!
//! A storm is a sandbox with faults and disturbances, and one or two runs that go through it.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::accounts::Account;
use super::disturbance::{Act, At, Disturbance, Part, Relay};
use super::oracle::Counted;
use super::replica::Lag;
use super::tables::RUNS_MAX;
use super::tap::{Retention, StreamForm};

/// Limits for the duration of a storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// The longest time that a part is down.
    pub outage_max: Duration,
    /// The longest time that the aggregator holds batches back.
    pub delay_max: Duration,
    /// The longest time that runs are sent.
    pub load_max: Duration,
    pub history_events_max: u64,
    /// The longest time after which the consumer's messages are delivered again.
    pub ack_wait_max: Duration,
    /// The longest wait between two retries of an honest relay.
    pub retry_max: Duration,
    /// The same for a relay that is as patient as Vector, which some storms have.
    pub patient_retry_max: Duration,
    /// Flags of a check for its times.
    pub check_args: &'static [&'static str],
    /// Flags of a check for its times, if a disturbance lasts throughout the check.
    pub held_down_args: &'static [&'static str],
}

/// Limits that are short enough for the gate.
pub const GATE: Scale = Scale {
    outage_max: Duration::from_secs(4),
    delay_max: Duration::from_secs(3),
    load_max: Duration::from_secs(4),
    history_events_max: 12_000,
    ack_wait_max: Duration::from_secs(3),
    retry_max: Duration::from_secs(1),
    patient_retry_max: Duration::from_secs(2),
    check_args: &["--quiet", "4s", "--wait", "20s"],
    held_down_args: &["--quiet", "2s", "--wait", "8s", "--patience", "5s"],
};

/// Limits for the bench.
pub const BENCH: Scale = Scale {
    outage_max: Duration::from_mins(2),
    delay_max: Duration::from_secs(40),
    load_max: Duration::from_secs(30),
    history_events_max: 100_000,
    ack_wait_max: Duration::from_mins(1),
    retry_max: Duration::from_secs(15),
    patient_retry_max: Duration::from_mins(5),
    check_args: &[],
    held_down_args: &["--wait", "90s"],
};

/// A sandbox, its disturbances, and the runs that go through it.
#[derive(Debug, Clone, PartialEq)]
pub struct Storm {
    pub seed: u64,
    /// Values for `--fault`, but for `keep-last`.
    pub faults: Vec<String>,
    /// A part whose disk buffer keeps its last events, and how many.
    pub kept: Option<(Part, u32)>,
    pub batch_wait: Duration,
    pub delay: Duration,
    pub relay: Relay,
    pub stream: StreamForm,
    pub acts: Vec<Act>,
    /// Set if early checks query a replica that lags.
    pub replica: Option<Lag>,
    pub runs: Vec<Run>,
}

/// One run, and how it is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Number of the run in the storm, counted from 0.
    pub index: usize,
    pub load: Load,
    /// The account that makes the early check.
    pub account: Account,
    pub counted: Counted,
    pub is_deep: bool,
    /// Whether the checks are not told where the metrics of sidecar and aggregator are.
    pub is_blind: bool,
    /// How many seconds the sender's clock is ahead, or behind if negative.
    pub sender_clock: i64,
    /// The same for the clock of the checker.
    pub checker_clock: i64,
}

/// How the events are sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Load {
    /// By the generator, which may be killed.
    Live { profile: String, killed_after: Option<Duration> },
    /// By the loader, which is continued after each kill.
    History {
        profile: String,
        events: u64,
        days: u64,
        /// How many of the last days go through the pipeline.
        replayed_days: u64,
        rows_per_insert: u64,
        /// When the loader is killed. Each time counts from its start.
        kills: Vec<Duration>,
        /// The account of the loader, until the last kill.
        account: Account,
    },
}

impl Storm {
    /// Draws a storm.
    pub fn draw(seed: u64, scale: &Scale) -> Self {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let delay = if draw.random_bool(0.5) {
            millis(&mut draw, Duration::from_millis(100), scale.delay_max)
        } else {
            Duration::ZERO
        };
        let relay = draw_relay(&mut draw, scale);
        let stream = draw_stream(&mut draw, scale);
        let faults = draw_faults(&mut draw, delay);
        let acts = draw_acts(&mut draw, scale, relay, &stream);
        let replica = draw_replica(&mut draw, scale, &acts);
        let batch_wait =
            millis(&mut draw, Duration::from_millis(300), Duration::from_millis(1_500));
        let count = [1, 1, RUNS_MAX][draw.random_range(0..3)];
        let mut runs: Vec<Run> =
            (0..count).map(|index| Run::draw(index, &mut draw, scale)).collect();
        let kept = draw_kept(&mut draw, relay);
        for run in &mut runs {
            run.is_blind = draw.random_bool(0.2);
        }
        Self { seed, faults, kept, batch_wait, delay, relay, stream, acts, replica, runs }
    }

    /// Whether a disturbance lasts throughout the check.
    pub fn is_held_down(&self) -> bool {
        self.acts.iter().any(|act| act.at == At::Throughout)
    }
}

impl Run {
    fn draw(index: usize, draw: &mut ChaCha8Rng, scale: &Scale) -> Self {
        let account = if draw.random_bool(0.4) {
            Account::LIMITED[draw.random_range(0..Account::LIMITED.len())]
        } else {
            Account::Full
        };
        let counted = if draw.random_bool(0.3) { Counted::Physical } else { Counted::Logical };
        let is_deep = draw.random_bool(0.3);
        let (sender_clock, checker_clock) = (draw_clock(draw), draw_clock(draw));
        let load =
            if draw.random_bool(0.7) { draw_live(draw, scale) } else { draw_history(draw, scale) };
        let is_blind = false;
        Self { index, load, account, counted, is_deep, is_blind, sender_clock, checker_clock }
    }
}

/// Most clocks are right. Others are wrong by seconds or minutes.
fn draw_clock(draw: &mut ChaCha8Rng) -> i64 {
    if draw.random_bool(0.7) {
        return 0;
    }
    let most = [10, 300][draw.random_range(0..2)];
    let ahead = draw.random_range(1..=most);
    [ahead, -ahead][draw.random_range(0..2)]
}

/// Draws a lagging replica. Its copies are made when the check begins, so ClickHouse must be up
/// then.
fn draw_replica(draw: &mut ChaCha8Rng, scale: &Scale, acts: &[Act]) -> Option<Lag> {
    let is_there = acts.iter().all(|act| act.what != Disturbance::Away(Part::ClickHouse));
    let lag = Lag {
        parts: draw.random_range(0..4),
        lasts: draw.random_bool(0.5).then(|| millis(draw, Duration::ZERO, scale.load_max)),
    };
    (draw.random_bool(0.2) && is_there).then_some(lag)
}

pub(super) fn millis(draw: &mut ChaCha8Rng, min: Duration, max: Duration) -> Duration {
    let number = |limit: Duration| u64::try_from(limit.as_millis()).unwrap();
    Duration::from_millis(draw.random_range(number(min)..=number(max)))
}

pub(super) fn draw_relay(draw: &mut ChaCha8Rng, scale: &Scale) -> Relay {
    match draw.random_range(0..10) {
        0..5 => Relay::Fast,
        5..9 => Relay::Honest { retry_max: scale.retry_max },
        _ => Relay::Honest { retry_max: scale.patient_retry_max },
    }
}

fn draw_stream(draw: &mut ChaCha8Rng, scale: &Scale) -> StreamForm {
    let retention = match draw.random_range(0..10) {
        0..6 => Retention::Limits,
        6..8 => Retention::Interest,
        _ => Retention::WorkQueue,
    };
    StreamForm { retention, ack_wait: millis(draw, Duration::from_secs(2), scale.ack_wait_max) }
}

fn draw_faults(draw: &mut ChaCha8Rng, delay: Duration) -> Vec<String> {
    const KINDS: [&str; 5] = [
        "drop:sidecar",
        "drop:aggregator",
        "duplicate:sidecar",
        "duplicate:aggregator",
        "corrupt:aggregator",
    ];
    let count = [0, 0, 1, 1, 2][draw.random_range(0..5)];
    let first = draw.random_range(0..KINDS.len());
    let step = draw.random_range(1..KINDS.len());
    let mut faults: Vec<String> = (0..count)
        .map(|index| {
            let share: f64 = draw.random_range(0.002..0.03);
            format!("{}:{share:.4}", KINDS[(first + index * step) % KINDS.len()])
        })
        .collect();
    if !delay.is_zero() {
        faults.push(format!("delay:aggregator:{}ms", delay.as_millis()));
    }
    faults
}

fn draw_kept(draw: &mut ChaCha8Rng, relay: Relay) -> Option<(Part, u32)> {
    let part = [Part::Sidecar, Part::Aggregator][draw.random_range(0..2)];
    let events = draw.random_range(1..60);
    let is_kept = draw.random_bool(0.4) && relay != Relay::Fast;
    is_kept.then_some((part, events))
}

fn draw_acts(draw: &mut ChaCha8Rng, scale: &Scale, relay: Relay, stream: &StreamForm) -> Vec<Act> {
    let count = [0, 1, 1, 2][draw.random_range(0..4)];
    let mut acts: Vec<Act> = (0..count)
        .map(|_| {
            let lasts = millis(draw, Duration::from_secs(1), scale.outage_max);
            let during = millis(draw, Duration::ZERO, scale.load_max);
            let at = match draw.random_range(0..12) {
                0 => At::Throughout,
                1..4 => {
                    let [before, after] =
                        [[500, 0], [0, 1_000], [0, 4_000]][draw.random_range(0..3)];
                    At::Check {
                        before: Duration::from_millis(before),
                        after: Duration::from_millis(after),
                    }
                }
                _ => At::Load(during),
            };
            let parts = Part::of(relay);
            let what = match draw.random_range(0..7) {
                0..6 => Disturbance::Away(parts[draw.random_range(0..parts.len())]),
                _ => Disturbance::Paused,
            };
            Act { what, at, lasts }
        })
        .collect();
    // Nobody reads the stream, and it keeps only a few messages.
    if draw.random_bool(0.15) && stream.retention != Retention::WorkQueue {
        let messages = draw.random_range(50..2_000);
        let (what, at) = (Disturbance::Shrunk { messages }, At::Load(Duration::ZERO));
        acts.push(Act { what, at, lasts: scale.load_max + Duration::from_secs(1) });
    }
    acts
}

fn draw_live(draw: &mut ChaCha8Rng, scale: &Scale) -> Load {
    let sender = ["direct", "apiserver"][draw.random_range(0..2)];
    let lasts = millis(draw, Duration::from_secs(2), scale.load_max);
    let profile = format!(
        "name: seeded\nseed: {}\nskew: {:.2}\n\
         stages: [{{duration: {}ms, rate: {}/s -> {}/s, tenants: {}}}]\n\
         send: {{sender: {sender}, batch_events: {}, batch_age: {}ms, connections: {}, \
         timeout: 5s, lateness_max: 300s}}\n\
         apiserver: {{batch_wait: 300ms, initial_backoff: 500ms}}\n\
         faults: {{resent: {:.2}}}\nthresholds: {{}}\n",
        draw.random_range(0..1_000_000),
        draw.random_range(0.0..1.5),
        lasts.as_millis(),
        draw.random_range(1..40),
        draw.random_range(1..40),
        draw.random_range(1..30),
        draw.random_range(1..300),
        draw.random_range(50..800),
        draw.random_range(1..8),
        [0.0, draw.random_range(0.0..0.5)][draw.random_range(0..2)],
    );
    let is_killed = draw.random_bool(0.1);
    let killed_after = is_killed.then(|| millis(draw, Duration::from_millis(500), lasts));
    Load::Live { profile, killed_after }
}

fn draw_history(draw: &mut ChaCha8Rng, scale: &Scale) -> Load {
    let tenants = draw.random_range(1..40);
    let profile = format!(
        "name: seeded\nseed: {}\nskew: {:.2}\n\
         stages: [{{duration: 1s, rate: 1/s, tenants: {tenants}}}]\n\
         send: {{batch_events: {}, lateness_max: 300s}}\nthresholds: {{}}\n",
        draw.random_range(0..1_000_000),
        draw.random_range(0.0..1.5),
        draw.random_range(20..400),
    );
    let days = draw.random_range(2..12);
    let account = if draw.random_bool(0.4) {
        Account::LIMITED[draw.random_range(0..Account::LIMITED.len())]
    } else {
        Account::Full
    };
    let kills = draw.random_range(0..4);
    let soon = [Duration::from_millis(100), Duration::from_millis(1_500)];
    Load::History {
        profile,
        events: draw.random_range(2_000..scale.history_events_max),
        days,
        replayed_days: [0, draw.random_range(1..days)][draw.random_range(0..2)],
        rows_per_insert: draw.random_range(200..3_000),
        kills: (0..kills).map(|_| millis(draw, soon[0], soon[1])).collect(),
        account,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_follows_from_its_seed_alone() {
        for seed in 0..50 {
            assert_eq!(Storm::draw(seed, &GATE), Storm::draw(seed, &GATE));
        }
        assert_ne!(Storm::draw(1, &GATE).runs[0].load, Storm::draw(2, &GATE).runs[0].load);
    }

    #[test]
    fn a_thousand_seeds_have_everything_in_them() {
        let storms: Vec<Storm> = (0..1_000).map(|seed| Storm::draw(seed, &BENCH)).collect();
        let runs: Vec<&Run> = storms.iter().flat_map(|storm| &storm.runs).collect();
        let acts: Vec<&Act> = storms.iter().flat_map(|storm| &storm.acts).collect();
        for part in Part::ALL {
            let of_part = acts.iter().filter(|act| act.what == Disturbance::Away(part));
            assert!(of_part.clone().any(|act| matches!(act.at, At::Check { .. })), "{part:?}");
            assert!(of_part.clone().any(|act| act.at == At::Throughout), "{part:?}");
            assert!(of_part.clone().any(|act| act.lasts > Duration::from_mins(1)), "{part:?}");
        }
        for part in [Part::Sidecar, Part::Aggregator] {
            let keeps = |it: &&Storm| it.kept.is_some_and(|(at, _)| at == part);
            assert!(storms.iter().filter(keeps).count() > 50, "{part:?}");
        }
        assert!(runs.iter().filter(|run| run.is_blind).count() > 100);
        for account in Account::LIMITED {
            assert!(runs.iter().any(|run| run.account == account), "{account:?}");
        }
        for retention in [Retention::Limits, Retention::Interest, Retention::WorkQueue] {
            assert!(storms.iter().any(|it| it.stream.retention == retention), "{retention:?}");
        }
        for retry_max in [BENCH.retry_max, BENCH.patient_retry_max] {
            let relay = Relay::Honest { retry_max };
            assert!(storms.iter().filter(|it| it.relay == relay).count() > 50, "{relay:?}");
        }
        for lags_for_good in [true, false] {
            let lags = storms.iter().filter_map(|it| it.replica);
            assert!(lags.clone().any(|lag| lag.parts > 0 && lag.lasts.is_none() == lags_for_good));
        }
        for minutes in [-5, -2, 2, 5] {
            let clocks = runs.iter().map(|run| [run.sender_clock, run.checker_clock]);
            let is_off = |clock: i64| clock * minutes > 0 && clock.abs() > (minutes.abs() - 1) * 60;
            for who in 0..2 {
                assert!(clocks.clone().any(|them| is_off(them[who])), "{minutes} minutes");
            }
        }
        let is_calm =
            |it: &&Storm| it.acts.is_empty() && it.faults.is_empty() && it.replica.is_none();
        assert!(storms.iter().filter(is_calm).count() > 20, "some have nothing to be found");
    }
}
