//! Judges whether a pipeline has sustained the rate of a plateau. Pure.
//!
//! See [`crate::rules`] for the numbers, and `docs/capacity.md` for the method in words.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bottleneck::{Bottleneck, bottleneck};
use crate::part::Part;
use crate::plateau::{Hop, Look, Plateau, as_events};
use crate::rules::{
    ACKNOWLEDGED_MIN, AHEAD_MAX_S, BLOCKS_MIN, FAILED_MAX, GROWTH_MAX, GROWTH_MIN, JudgeOptions,
    LATE_LOOKS_MAX, LIFT_MIN_S, PEAK_LEFT_MAX, WARM_UP_SHARE,
};
use crate::trend::{Point, Trend, as_f64, blocks, median, trend};
use crate::units::EventsPerSecond;

/// What is known of a plateau.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub verdict: Verdict,
    /// The part of the plateau that was judged, in s from its start.
    pub judged_s: (f64, f64),
    /// The trend of what was acknowledged and not stored.
    pub backlog: Option<Trend>,
    /// The same by hop, for each that was seen.
    pub hops: Vec<(Hop, Trend)>,
    /// The rate at which events reached the table.
    pub stored: Option<EventsPerSecond>,
    pub due_to_visible_p95_ms: Option<f64>,
    /// Of a typical second.
    pub sent_to_acknowledged_p95_ms: Option<f64>,
    /// What held the events up, unless the rate was sustained.
    pub bottleneck: Option<Bottleneck>,
}

/// Whether a rate was sustained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Sustained,
    NotSustained { failed: Vec<Failure> },
    NotKnown { missing: Vec<Missing> },
}

/// A criterion that a plateau did not meet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    Lost {
        events: u64,
    },
    /// Acknowledged and not stored events became more; `hop` is `None` if all hops together did.
    Growing {
        hop: Option<Hop>,
        trend: Trend,
    },
    /// Events took too long until they were visible.
    Stale {
        p95_ms: f64,
        max_ms: f64,
    },
    /// The webhook took too long to answer.
    Slow {
        p95_ms: f64,
        max_ms: f64,
    },
    /// Events were refused, unknown or unsent.
    NotAccepted {
        share: f64,
    },
    /// The webhook acknowledged less than was due.
    HeldUp {
        acknowledged: EventsPerSecond,
        planned: EventsPerSecond,
    },
}

/// Why a plateau cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The generator was late: that says nothing about the pipeline.
    GeneratorSaturated,
    /// Whether the generator was late is not known.
    Saturation,
    /// Nobody watched.
    Watch,
    /// The table was not seen.
    Table,
    /// No sampled event became visible, and none waited.
    Samples,
    /// No answer of the webhook was timed.
    Answers,
    /// Whether events were lost.
    Losses,
    /// It was not observed for long enough.
    Time { observed_s: f64, needed_s: f64 },
    /// A backlog of the beginning is still falling.
    Drained,
    /// The backlog is too noisy for an answer in this time.
    Certainty { trend: Trend },
    /// Somebody else writes to the table.
    Exclusiveness,
    /// Events were spoiled on purpose, so the counts of the hops cannot be compared.
    Unspoiled,
}

/// How a backlog went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Course {
    /// It did not grow, or so slowly that it does not matter.
    Flat,
    Growing(Trend),
    /// It has grown, and is falling again.
    Draining,
    Unclear(Trend),
}

/// Judges a plateau.
pub fn judge(options: &JudgeOptions, plateau: &Plateau) -> Judgement {
    let observed_s = plateau.observed_s();
    let of_part = |from_s: f64| {
        let window = (from_s, observed_s);
        let needed_s = options.plateau_min().as_secs_f64();
        judge_part(options, &Part { plateau, window, scale: &|_| 1.0, observed_s, needed_s })
    };
    let judgement = of_part(observed_s * WARM_UP_SHARE);
    // What had gathered in the beginning may be gone in the second half of what was judged.
    let half_s = observed_s * f64::midpoint(WARM_UP_SHARE, 1.0);
    let is_draining = matches!(&judgement.verdict, Verdict::NotKnown { missing }
        if missing[..] == [Missing::Drained]);
    if is_draining && observed_s - half_s >= options.window_min_s() {
        let later = of_part(half_s);
        if later.verdict == Verdict::Sustained {
            return later;
        }
    }
    judgement
}

/// Judges a part of what was observed.
pub(crate) fn judge_part(options: &JudgeOptions, part: &Part<'_>) -> Judgement {
    let &Part { plateau, window, .. } = part;
    let of_hop = |hop| Some((hop, trend(&part.blocks(plateau.backlog(hop), window, options))?));
    let mut judging = Judging {
        options,
        part,
        plateau,
        window,
        all: part.blocks(plateau.backlog_of_all(), window, options),
        hops: Hop::ALL.into_iter().filter_map(of_hop).collect(),
        failed: Vec::new(),
        missing: Vec::new(),
    };
    let (due_to_visible_p95_ms, sent_to_acknowledged_p95_ms) = judging.judge();
    let verdict = judging.verdict();
    let stored = trend(&blocks(&plateau.passed(Hop::Aggregator), window, options.block_s()));
    let held_up = (verdict != Verdict::Sustained).then(|| bottleneck(options, part));
    Judgement {
        verdict,
        judged_s: window,
        backlog: trend(&judging.all),
        hops: judging.hops,
        stored: stored.map(|stored| EventsPerSecond(stored.slope_per_s)),
        due_to_visible_p95_ms,
        sent_to_acknowledged_p95_ms,
        bottleneck: held_up.flatten(),
    }
}

/// Tells how a backlog went in a window, from the averages of its blocks. `rate` is that of the
/// events that came meanwhile, in the unit of the backlog.
pub(crate) fn course(all: &[Point], rate: f64) -> Option<Course> {
    let whole = trend(all)?;
    let later = &all[all.len() / 2..];
    let late = trend(later);
    let is_growing = |it: &Trend, part: &[Point], least: f64| {
        let lasts_s = part[part.len() - 1].0 - part[0].0;
        let least = least.max(LIFT_MIN_S / lasts_s);
        it.low_per_s > 0.0 && it.slope_per_s >= least * rate
    };
    let is_flat = whole.high_per_s <= GROWTH_MAX * rate;
    Some(match late {
        Some(late) if !is_flat && late.high_per_s < 0.0 => Course::Draining,
        _ if !is_flat && has_peaked(all, rate) => Course::Draining,
        _ if is_growing(&whole, all, GROWTH_MIN) => Course::Growing(whole),
        // What began late is hidden by what was before.
        Some(late) if is_growing(&late, later, GROWTH_MAX) => Course::Growing(late),
        _ if is_flat => Course::Flat,
        _ => Course::Unclear(whole),
    })
}

/// Whether a backlog was much higher than it is at the end.
fn has_peaked(all: &[Point], rate: f64) -> bool {
    let peak = all.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let least = all.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let end = &all[all.len() - all.len().div_ceil(4)..];
    let end = end.iter().map(|point| point.1).sum::<f64>() / as_f64(end.len());
    end - least < (peak - least) * PEAK_LEFT_MAX && peak - end >= LIFT_MIN_S * rate
}

/// A judgement in the making.
struct Judging<'p> {
    options: &'p JudgeOptions,
    part: &'p Part<'p>,
    plateau: &'p Plateau,
    window: (f64, f64),
    /// The backlog of all hops, by block.
    all: Vec<Point>,
    hops: Vec<(Hop, Trend)>,
    failed: Vec<Failure>,
    missing: Vec<Missing>,
}

impl Judging<'_> {
    /// Looks at each criterion. Returns the two latencies.
    fn judge(&mut self) -> (Option<f64>, Option<f64>) {
        match self.plateau.lost_events {
            Some(0) => {}
            Some(events) => self.failed.push(Failure::Lost { events }),
            None => self.missing.push(Missing::Losses),
        }
        if self.plateau.is_saturated.is_none() {
            self.missing.push(Missing::Saturation);
        }
        let visible = self.due_to_visible_p95_ms();
        let answered = self.sent_to_acknowledged_p95_ms();
        if self.plateau.looks.is_empty() {
            self.missing.push(Missing::Watch);
            return (visible, answered);
        }
        let &Part { observed_s, needed_s, .. } = self.part;
        if observed_s + SHORT_MAX_S < needed_s {
            self.missing.push(Missing::Time { observed_s, needed_s });
            return (visible, answered);
        }
        self.judge_backlog();
        self.judge_freshness(visible);
        self.judge_webhook(answered);
        (visible, answered)
    }

    fn judge_backlog(&mut self) {
        let rate = self.plateau.rate.0;
        if as_f64(self.all.len()) < f64::from(BLOCKS_MIN) {
            self.missing.push(Missing::Table);
            return;
        }
        if self.plateau.seconds.iter().any(|second| second.spoiled > 0) {
            self.missing.push(Missing::Unspoiled);
            return;
        }
        if self.all.iter().any(|point| point.1 < -AHEAD_MAX_S * rate) {
            self.missing.push(Missing::Exclusiveness);
        }
        match course(&self.all, rate) {
            Some(Course::Flat) => {}
            Some(Course::Growing(trend)) => {
                self.failed.push(Failure::Growing { hop: None, trend });
            }
            Some(Course::Draining) => self.missing.push(Missing::Drained),
            Some(Course::Unclear(trend)) => self.missing.push(Missing::Certainty { trend }),
            None => self.missing.push(Missing::Table),
        }
        let of_all = !self.failed.is_empty() || self.missing.contains(&Missing::Drained);
        let least = GROWTH_MAX.max(LIFT_MIN_S / (self.window.1 - self.window.0)) * rate;
        let grows = |it: &Trend| it.low_per_s > 0.0 && it.slope_per_s >= least;
        let hops = self.hops.iter().filter(|(_, trend)| !of_all && grows(trend));
        self.failed.extend(hops.map(|&(hop, trend)| Failure::Growing { hop: Some(hop), trend }));
    }

    fn judge_freshness(&mut self, visible: Option<f64>) {
        let max_ms = self.options.due_to_visible_p95_max.as_secs_f64() * 1_000.0;
        let looks = self.looks();
        let late: Vec<f64> =
            looks.iter().map(|look| look.oldest_waiting_ms).filter(|ms| *ms >= max_ms).collect();
        let is_late = as_f64(late.len()) > LATE_LOOKS_MAX * as_f64(looks.len());
        let p95_ms = match visible {
            Some(p95_ms) if p95_ms >= max_ms => p95_ms,
            _ if is_late => late.iter().copied().fold(0.0, f64::max),
            Some(_) => return,
            None => return self.missing.push(Missing::Samples),
        };
        let parts = [&self.all[..], &self.all[self.all.len() / 2..]];
        let is_falling = |part: &[Point]| trend(part).is_some_and(|it| it.high_per_s < 0.0);
        let half_s = f64::midpoint(self.window.0, self.window.1);
        let later = p95_of(looks.iter().filter(|look| look.at_s > half_s));
        let is_over = later.is_some_and(|ms| ms < max_ms);
        let is_falling =
            parts.into_iter().any(is_falling) || has_peaked(&self.all, self.plateau.rate.0);
        if self.missing.contains(&Missing::Drained) || is_over || is_falling {
            // Those that took long had gathered before.
            let drained = Missing::Drained;
            self.missing.extend((!self.missing.contains(&drained)).then_some(drained));
        } else {
            self.failed.push(Failure::Stale { p95_ms, max_ms });
        }
    }

    fn judge_webhook(&mut self, answered: Option<f64>) {
        let max_ms = self.options.sent_to_acknowledged_p95_max.as_secs_f64() * 1_000.0;
        match answered {
            Some(p95_ms) if p95_ms >= max_ms => self.failed.push(Failure::Slow { p95_ms, max_ms }),
            Some(_) => {}
            None => self.missing.push(Missing::Answers),
        }
        let (mut planned, mut acknowledged, mut failed) = (0.0, 0.0, 0.0);
        let seconds = self.plateau.seconds.iter().filter(|it| self.is_in(it.at_s));
        for second in seconds.clone() {
            planned += as_events(second.planned);
            acknowledged += as_events(second.acknowledged + second.spoiled);
            failed += as_events(second.failed);
        }
        if failed > FAILED_MAX * planned {
            self.failed.push(Failure::NotAccepted { share: failed / planned });
        } else if acknowledged < ACKNOWLEDGED_MIN * planned {
            let lasted_s = as_f64(seconds.count());
            let [acknowledged, planned] =
                [acknowledged, planned].map(|count| EventsPerSecond(count / lasted_s));
            self.failed.push(Failure::HeldUp { acknowledged, planned });
        }
    }

    /// A saturated generator voids everything but a loss, which is proven one by one.
    fn verdict(&mut self) -> Verdict {
        let mut failed = std::mem::take(&mut self.failed);
        let mut missing = std::mem::take(&mut self.missing);
        if self.plateau.is_saturated == Some(true) {
            failed.retain(|it| matches!(it, Failure::Lost { .. }));
            missing.insert(0, Missing::GeneratorSaturated);
        }
        match (failed.is_empty(), missing.is_empty()) {
            (false, _) => Verdict::NotSustained { failed },
            (true, false) => Verdict::NotKnown { missing },
            (true, true) => Verdict::Sustained,
        }
    }

    fn is_in(&self, at_s: f64) -> bool {
        self.window.0 < at_s && at_s <= self.window.1
    }

    fn looks(&self) -> Vec<&Look> {
        self.plateau.looks.iter().filter(|look| self.is_in(look.at_s)).collect()
    }

    fn due_to_visible_p95_ms(&self) -> Option<f64> {
        p95_of(self.looks().iter())
    }

    /// The median of the seconds' percentiles. Percentiles cannot be averaged, and one bad second
    /// is no reason to call a rate too high.
    fn sent_to_acknowledged_p95_ms(&self) -> Option<f64> {
        let seconds = self.plateau.seconds.iter().filter(|it| self.is_in(it.at_s));
        let mut all: Vec<f64> = seconds.filter_map(|it| it.sent_to_acknowledged_p95_ms).collect();
        all.sort_unstable_by(f64::total_cmp);
        (!all.is_empty()).then(|| median(&all))
    }
}

/// The 95th percentile of the times from due to visible, in ms.
fn p95_of<'l>(looks: impl Iterator<Item = &'l &'l Look>) -> Option<f64> {
    let mut all: Vec<f64> = looks.flat_map(|look| look.due_to_visible_ms.iter().copied()).collect();
    all.sort_unstable_by(f64::total_cmp);
    let rank = (all.len() * 95).div_ceil(100);
    all.get(rank.saturating_sub(1)).copied()
}

/// A run may end a moment early, and looks come once a second.
const SHORT_MAX_S: f64 = 3.0;

/// Like `by 1,200/s (950/s to 1,400/s)`.
pub(crate) fn in_words(trend: &Trend) -> String {
    let [slope, low, high] =
        [trend.slope_per_s, trend.low_per_s, trend.high_per_s].map(EventsPerSecond);
    format!("by {slope} ({low} to {high})")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { events } => write!(f, "{events} events were lost"),
            Self::Growing { hop: None, trend } => {
                write!(f, "the backlog grew {}", in_words(trend))
            }
            Self::Growing { hop: Some(hop), trend } => {
                write!(f, "the backlog of {hop} grew {}", in_words(trend))
            }
            Self::Stale { p95_ms, max_ms } => {
                write!(f, "events took {} s until visible (p95; asked: ", seconds(*p95_ms))?;
                write!(f, "below {} s)", seconds(*max_ms))
            }
            Self::Slow { p95_ms, max_ms } => {
                write!(f, "the webhook took {p95_ms:.0} ms (p95; asked: below {max_ms:.0} ms)")
            }
            Self::NotAccepted { share } => {
                write!(f, "{:.2} % of the events were not acknowledged", share * 100.0)
            }
            Self::HeldUp { acknowledged, planned } => {
                write!(f, "the webhook acknowledged {acknowledged} of {planned}")
            }
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::GeneratorSaturated => "the generator itself was saturated",
            Self::Saturation => "not all generators have told whether they were saturated",
            Self::Watch => "nobody watched: run `auditstorm-verifier watch` beside the generator",
            Self::Table => "the table was not seen often enough",
            Self::Samples => "no sampled event was seen",
            Self::Answers => "no answer of the webhook was timed",
            Self::Losses => "whether events were lost is not known: check the run again later",
            Self::Drained => "a backlog from before was still falling",
            Self::Exclusiveness => "the table got more than was acknowledged: others write to it",
            Self::Unspoiled => "events were spoiled on purpose, so counts cannot be compared",
            Self::Time { observed_s, needed_s } => {
                return write!(f, "it lasted {observed_s:.0} s, and {needed_s:.0} s are needed");
            }
            Self::Certainty { trend } => {
                write!(f, "the backlog was too noisy: it may have grown ")?;
                return f.write_str(&in_words(trend));
            }
        };
        f.write_str(text)
    }
}

/// At most three digits.
fn seconds(ms: f64) -> String {
    let seconds = ms / 1_000.0;
    if seconds < 99.95 { format!("{seconds:.1}") } else { format!("{seconds:.0}") }
}

#[cfg(test)]
pub(crate) mod tests;
