//! Simulated pipelines, whose limit is known. One seed decides everything.
//!
//! Events flow through three queues: sidecar, consumer and aggregator, which stores in batches.
//! What each can do is noisy, and one of them is the narrowest and behaves like a real one: it
//! warms up, breaks down when it falls behind, is faster at first than for long, is scaled too
//! late, pauses for merges, or loses events or answers late above its limit. The pipeline shows
//! nothing but what generators and watch record of a real one.

use std::time::Duration;

use capacity::plateau::{Look, Plateau, SentSecond, StreamHolds};
use capacity::rules::JudgeOptions;
use capacity::units::EventsPerSecond;
use events::draw::Draw;

/// How the narrowest part behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Character {
    Plain,
    /// Falls to this share of its rate once it is this many seconds behind, until it has caught
    /// up.
    Cliff {
        share: f64,
        behind_s: f64,
    },
    /// Is by this share faster at first; that fades while this many seconds' worth of events pass.
    Tiring {
        extra: f64,
        fades_s: f64,
    },
    /// Has this share of its capacity until this many seconds after it was needed.
    Scaled {
        share: f64,
        late_s: f64,
    },
    /// Falls to this share for some seconds of each period.
    Merging {
        share: f64,
        lasts_s: f64,
        period_s: f64,
    },
    /// Loses this share of what comes above the limit.
    Leaking {
        share: f64,
    },
    /// The webhook's latency rises, until it is above the objective.
    Slow {
        base_ms: f64,
    },
    /// The stream holds events for this many seconds, and then evicts what was not read.
    Evicting {
        holds_s: f64,
    },
}

/// A pipeline.
#[derive(Debug, Clone)]
pub(crate) struct Simulated {
    draw: Draw,
    /// The highest rate that it sustains.
    limit: f64,
    character: Character,
    /// Which queue is the narrowest, and what the queues can pass on in a second, on average.
    narrowest: usize,
    means: [f64; 3],
    /// The noise of each, as a share, and how much of it is left after a second.
    noise: f64,
    memory: f64,
    noises: [f64; 3],
    /// For the first seconds of each load, the narrowest part has this share of its capacity.
    warm_up: (f64, f64),
    batch_s: f64,
    batch_events: f64,
    generator_max: f64,
    answer_ms: f64,
    /// The share of its capacity that an autoscaler has given so far, and since when it was too
    /// little.
    scaled: f64,
    needed_s: f64,
    /// The merges of a table come at their own times.
    merges_at_s: f64,
}

/// What is in a pipeline during one plateau.
#[derive(Debug, Default)]
struct Flow {
    queues: [f64; 3],
    batch: f64,
    batch_age_s: f64,
    acknowledged: f64,
    in_stream: f64,
    stored: f64,
    lost: f64,
    worked: f64,
    is_broken_down: bool,
    /// When samples were due, and how many events were acknowledged by then.
    waiting: std::collections::VecDeque<(f64, f64)>,
    visible_ms: Vec<f64>,
}

const TICK_S: f64 = 0.1;

impl Simulated {
    pub(crate) fn new(seed: u64) -> Self {
        let mut draw = Draw::new(seed, 0xca9, 0);
        let limit = 300.0 * 200_f64.powf(uniform(&mut draw));
        let mut between = |low: f64, high: f64| low + (high - low) * uniform(&mut draw);
        let kind = between(0.0, 8.0);
        let character = match kind {
            ..1.5 => Character::Plain,
            ..2.5 => Character::Cliff { share: between(0.3, 0.8), behind_s: between(3.0, 10.0) },
            ..3.5 => Character::Tiring { extra: between(0.1, 0.4), fades_s: between(30.0, 120.0) },
            ..4.5 => Character::Scaled { share: between(0.3, 0.6), late_s: between(20.0, 100.0) },
            ..5.5 => Character::Merging {
                share: between(0.2, 0.7),
                lasts_s: between(1.0, 4.0),
                period_s: between(15.0, 45.0),
            },
            ..6.5 => Character::Leaking { share: between(0.001, 0.1) },
            ..7.25 => Character::Slow { base_ms: between(5.0, 30.0) },
            _ => Character::Evicting { holds_s: between(5.0, 60.0) },
        };
        let narrowest = match character {
            Character::Slow { .. } => 0,
            Character::Evicting { .. } => 1,
            Character::Merging { .. } => 2,
            _ => draw.below(3) as usize,
        };
        let mut between = |low: f64, high: f64| low + (high - low) * uniform(&mut draw);
        let mut means = [0; 3].map(|_| limit * between(1.15, 3.0));
        means[narrowest] = match character {
            Character::Leaking { .. } => limit * 1.3,
            Character::Slow { base_ms } => limit / (1.0 - base_ms / LATENCY_MAX_MS),
            Character::Merging { share, lasts_s, period_s } => {
                limit / (1.0 - (1.0 - share) * lasts_s / period_s)
            }
            _ => limit,
        };
        let has_warm_up = between(0.0, 1.0) < 0.4;
        let warm_up =
            if has_warm_up { (between(0.4, 0.9), between(5.0, 40.0)) } else { (1.0, 0.0) };
        let is_cliff = matches!(character, Character::Cliff { .. });
        let is_small = between(0.0, 1.0) < 0.1;
        Self {
            limit,
            character,
            narrowest,
            means,
            noise: between(0.02, 0.08),
            memory: between(0.0, if is_cliff { 0.5 } else { 0.85 }),
            noises: [0.0; 3],
            warm_up,
            batch_s: between(0.5, 6.0),
            batch_events: 10_000.0,
            generator_max: limit * if is_small { between(1.1, 2.0) } else { 100.0 },
            answer_ms: between(2.0, 20.0),
            scaled: if let Character::Scaled { share, .. } = character { share } else { 1.0 },
            needed_s: 0.0,
            merges_at_s: between(0.0, 15.0),
            draw,
        }
    }

    /// What it is, for whoever wonders about a seed.
    pub(crate) fn told(&self) -> String {
        let &Self { character, narrowest, noise, memory, warm_up, batch_s, .. } = self;
        format!(
            "{character:?} queue {narrowest} noise {noise:.3} memory {memory:.2} warm-up \
             {warm_up:?} batch {batch_s:.1} s limit {:.0}/s",
            self.limit
        )
    }

    pub(crate) fn limit(&self) -> f64 {
        self.limit
    }

    /// What a person knows of the pipeline's settings.
    pub(crate) fn judge_options(&self) -> JudgeOptions {
        JudgeOptions {
            batch_time: Duration::from_secs_f64(self.batch_s.ceil()),
            retry_time: Duration::from_secs(30),
            ..JudgeOptions::default()
        }
    }

    /// Where a person would begin: up to eleven times below the limit, or a little above.
    pub(crate) fn start(&self) -> EventsPerSecond {
        let mut draw = self.draw.clone();
        EventsPerSecond(self.limit * 2_f64.powf(0.7 - 4.2 * uniform(&mut draw)))
    }

    /// Sends at a rate through the drained pipeline, and records what happens.
    pub(crate) fn run(
        &mut self,
        rate: EventsPerSecond,
        (warm_up, duration): (Duration, Duration),
        is_confirmation: bool,
    ) -> Plateau {
        let is_saturated = rate.0 > self.generator_max;
        let sent = rate.0.min(self.generator_max);
        let is_unwatched = uniform(&mut self.draw) < 0.02;
        let mut flow = Flow::default();
        let (mut seconds, mut looks) = (Vec::new(), Vec::new());
        self.needed_s = 0.0;
        let warm_up_s = warm_up.as_secs_f64();
        for tick in 0..warm_up.as_secs() * 10 {
            self.step(&mut flow, whole(tick) * TICK_S - warm_up_s, sent / 2.0, warm_up_s);
        }
        flow.visible_ms.clear();
        let before_s = warm_up_s;
        let lost = flow.lost;
        let mut before = flow.acknowledged;
        for second in 1..=duration.as_secs() {
            for tick in 0..10 {
                let at_s = whole(second - 1) + whole(tick) * TICK_S;
                self.step(&mut flow, at_s, sent, before_s);
            }
            let at_s = whole(second);
            seconds.push(SentSecond {
                at_s,
                planned: events(rate.0 * at_s) - events(rate.0 * (at_s - 1.0)),
                failed: 0,
                spoiled: 0,
                acknowledged: events(flow.acknowledged) - events(before),
                acknowledged_until: events(flow.acknowledged),
                sent_to_acknowledged_p95_ms: Some(self.answer_ms(sent)),
            });
            before = flow.acknowledged;
            looks.push(self.look(&mut flow, at_s));
        }
        self.merges_at_s += (warm_up + duration).as_secs_f64();
        Plateau {
            rate,
            duration,
            is_confirmation,
            seconds,
            looks: if is_unwatched { Vec::new() } else { looks },
            lost_events: Some(events(flow.lost - lost)),
            is_saturated: Some(is_saturated),
        }
    }

    fn step(&mut self, flow: &mut Flow, at_s: f64, rate: f64, warm_s: f64) {
        let come = rate * TICK_S;
        flow.acknowledged += come;
        flow.queues[0] += come;
        flow.waiting.push_back((at_s, flow.acknowledged));
        let [sidecar, consumer, aggregator] =
            [0, 1, 2].map(|queue| self.capacity(flow, queue, at_s + warm_s, rate) * TICK_S);
        let taken = flow.queues[0].min(sidecar);
        flow.queues[0] -= taken;
        flow.queues[1] += taken;
        flow.in_stream += taken;
        let read = flow.queues[1].min(consumer);
        flow.queues[1] -= read;
        flow.queues[2] += read;
        self.lose(flow, rate);
        let written = flow.queues[2].min(aggregator);
        flow.queues[2] -= written;
        flow.worked += taken;
        flow.batch += written;
        flow.batch_age_s += TICK_S;
        if flow.batch_age_s >= self.batch_s || flow.batch >= self.batch_events {
            flow.stored += flow.batch;
            (flow.batch, flow.batch_age_s) = (0.0, 0.0);
        }
        let gone = flow.stored + flow.lost;
        while let Some((due_s, _)) = flow.waiting.front().filter(|it| it.1 <= gone + 0.5) {
            let asked_s = 0.15 * uniform(&mut self.draw);
            flow.visible_ms.push((at_s + TICK_S - due_s + asked_s) * 1_000.0);
            flow.waiting.pop_front();
        }
    }

    fn lose(&mut self, flow: &mut Flow, rate: f64) {
        let lost = match self.character {
            Character::Leaking { share } => {
                ((rate - self.limit) * share * TICK_S).clamp(0.0, flow.queues[2])
            }
            Character::Evicting { holds_s } => {
                let lost = (flow.queues[1] - holds_s * self.limit).max(0.0);
                flow.queues[1] -= lost;
                flow.lost += lost;
                return;
            }
            _ => 0.0,
        };
        flow.queues[2] -= lost;
        flow.lost += lost;
    }

    /// What a queue can pass on at this moment, in events a second.
    fn capacity(&mut self, flow: &mut Flow, queue: usize, at_s: f64, rate: f64) -> f64 {
        let memory = self.memory.powf(TICK_S);
        let fresh = self.noise * (1.0 - memory * memory).sqrt() * normal(&mut self.draw);
        self.noises[queue] = self.noises[queue] * memory + fresh;
        let noisy = self.means[queue] * (1.0 + self.noises[queue]).max(0.05);
        if queue != self.narrowest {
            return noisy;
        }
        let warm = if at_s < self.warm_up.1 { self.warm_up.0 } else { 1.0 };
        noisy * warm * self.factor(flow, at_s, rate)
    }

    fn factor(&mut self, flow: &mut Flow, at_s: f64, rate: f64) -> f64 {
        match self.character {
            Character::Cliff { share, behind_s } => {
                let behind = flow.queues[self.narrowest] / self.limit;
                flow.is_broken_down = behind > behind_s || (flow.is_broken_down && behind > 0.1);
                if flow.is_broken_down { share } else { 1.0 }
            }
            Character::Tiring { extra, fades_s } => {
                1.0 + extra * (-flow.worked / self.limit / fades_s).exp()
            }
            Character::Scaled { late_s, .. } => {
                let is_needed = rate > 0.8 * self.scaled * self.limit;
                self.needed_s = if is_needed { self.needed_s + TICK_S } else { 0.0 };
                if self.needed_s > late_s {
                    self.scaled = (rate / 0.7 / self.limit).clamp(self.scaled, 1.0);
                    self.needed_s = 0.0;
                }
                self.scaled
            }
            Character::Merging { share, lasts_s, period_s } => {
                let is_merging = (at_s + self.merges_at_s) % period_s < lasts_s;
                if is_merging { share } else { 1.0 }
            }
            _ => 1.0,
        }
    }

    fn answer_ms(&mut self, rate: f64) -> f64 {
        let jitter = 1.0 + 0.1 * normal(&mut self.draw).abs();
        match self.character {
            Character::Slow { base_ms } => {
                let idle = (1.0 - rate / self.means[0]).max(0.001);
                base_ms / idle * (1.0 + 0.1 * (uniform(&mut self.draw) - 0.5))
            }
            _ => self.answer_ms * jitter,
        }
    }

    fn look(&mut self, flow: &mut Flow, at_s: f64) -> Look {
        let is_seen = uniform(&mut self.draw) > 0.01;
        let seen = |count: f64| is_seen.then(|| events(count));
        let messages = events(flow.in_stream.min(self.limit * 60.0));
        let held = StreamHolds { messages, bytes: messages * 1_500, first: 1 };
        let oldest = flow.waiting.front().map_or(0.0, |oldest| at_s - oldest.0);
        Look {
            at_s: at_s + 0.1 * (uniform(&mut self.draw) - 0.5),
            in_stream: seen(flow.in_stream),
            lag: seen(flow.queues[1]),
            stored: seen(flow.stored),
            held: is_seen.then_some(held),
            due_to_visible_ms: std::mem::take(&mut flow.visible_ms),
            oldest_waiting_ms: oldest * 1_000.0,
        }
    }
}

const LATENCY_MAX_MS: f64 = 100.0;

/// A number from 0 to 1.
fn uniform(draw: &mut Draw) -> f64 {
    f64::from(draw.below(u32::MAX)) / f64::from(u32::MAX)
}

/// About a normal distribution with variance 1.
fn normal(draw: &mut Draw) -> f64 {
    (0..12).map(|_| uniform(draw)).sum::<f64>() - 6.0
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a plateau")]
fn whole(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of events are not negative, and small enough"
)]
fn events(count: f64) -> u64 {
    count.round() as u64
}
