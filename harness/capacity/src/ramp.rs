//! What was observed while the rate moved in a straight line. Pure.
//!
//! A ramp holds no rate for long enough to sustain it. It is cut into slices, and of each is said
//! whether the pipeline kept up: whether it fell behind further, in seconds.

use serde::{Deserialize, Serialize};

use crate::judge::{Judgement, judge_part};
use crate::part::Part;
use crate::plateau::Plateau;
use crate::rules::JudgeOptions;
use crate::units::EventsPerSecond;

/// A part of a ramp.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    pub from_s: f64,
    pub until_s: f64,
    /// The rates at its ends.
    pub rates: (EventsPerSecond, EventsPerSecond),
    pub judgement: Judgement,
}

impl Slice {
    /// The rate at a moment of it.
    pub fn rate_at(&self, at_s: f64) -> EventsPerSecond {
        let length_s = (self.until_s - self.from_s).max(f64::MIN_POSITIVE);
        between(self.rates, (at_s - self.from_s) / length_s)
    }
}

fn between((from, until): (EventsPerSecond, EventsPerSecond), part: f64) -> EventsPerSecond {
    EventsPerSecond(from.0 + (until.0 - from.0) * part)
}

/// Judges a ramp between two rates, slice by slice. `lost_events` returns how many acknowledged
/// events of a slice, between two moments in s, are lost; `None` if that is not known.
pub fn judge_ramp(
    options: &JudgeOptions,
    observed: &Plateau,
    rates: (EventsPerSecond, EventsPerSecond),
    lost_events: impl Fn(f64, f64) -> Option<u64>,
) -> Vec<Slice> {
    let whole_s = observed.duration.as_secs_f64();
    let rate_at = |at_s: f64| between(rates, at_s / whole_s.max(f64::MIN_POSITIVE));
    let is_long = |count: &u32| whole_s / f64::from(*count) >= options.window_min_s();
    let count = (1..=SLICES_MAX).rev().find(is_long).unwrap_or(1);
    let end = |index: u32| whole_s * f64::from(index) / f64::from(count);
    let slice = |index: u32| {
        let (from_s, until_s) = (end(index), end(index + 1));
        let rates = (rate_at(from_s), rate_at(until_s));
        let mean = f64::midpoint(rates.0.0, rates.1.0);
        let plateau = Plateau {
            rate: EventsPerSecond(mean),
            lost_events: lost_events(from_s, until_s),
            ..observed.clone()
        };
        let scale = |at_s: f64| mean / rate_at(at_s).0.max(mean / SCALE_MAX);
        let judgement = judge_slice(options, &plateau, (from_s, until_s), &scale);
        Slice { from_s, until_s, rates, judgement }
    };
    (0..count).map(slice).collect()
}

fn judge_slice(
    options: &JudgeOptions,
    plateau: &Plateau,
    window: (f64, f64),
    scale: &dyn Fn(f64) -> f64,
) -> Judgement {
    let observed_s = plateau.observed_s().min(window.1) - window.0;
    let needed_s = options.window_min_s();
    judge_part(options, &Part { plateau, window, scale, observed_s, needed_s })
}

/// Twenty rates are as many as a person reads.
const SLICES_MAX: u32 = 20;

/// Where a ramp begins near zero, a few events would count as a long time.
const SCALE_MAX: f64 = 10.0;
