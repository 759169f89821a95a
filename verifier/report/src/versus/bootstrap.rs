//! Estimates how much of a change may be noise, by a bootstrap of the seconds of two runs. Pure.
//!
//! Consecutive seconds are similar to each other, so they are drawn in blocks. Both runs follow the
//! same plan, so the same blocks are drawn from both. The draws are fixed, so that every comparison
//! of the same two runs has the same result.
//!
//! Source: Künsch, "The jackknife and the bootstrap for general stationary observations", 1989.

use events::draw::Draw;

use crate::versus::measured::{Measure, Statistic, Unit, mean};

/// Explains in a comparison how it was made.
pub(crate) const METHOD: &str = "A change counts if it is larger than allowed and its 95 % \
    interval does not contain 0. The interval comes from a bootstrap of the seconds of both runs: \
    1,000 draws of blocks of 10 s, the same blocks from both, with seed 42. For the webhook it is \
    the interval of the mean of the seconds' percentiles, so the change of the whole run may be \
    outside. The interval covers the noise within these two runs, not the noise between runs. \
    Changes below 1 ms, 0.05 cores or 16 MiB do not count.";

/// Returns the ends of the 95 % interval of the change from base to run. The change is a part of
/// the base's value, or a difference in points for a share. `None` if the runs have fewer than
/// [`SECONDS_MIN`] seconds in common.
///
/// The interval is computed from the values of single seconds. The percentile of a whole run is not
/// one of these, so its change may be outside of the interval. Lost events belong to no second;
/// they shift both ends of the interval.
pub(crate) fn interval(measure: &Measure, of: f64) -> Option<[f64; 2]> {
    let both: Vec<_> = measure
        .base
        .by_second
        .iter()
        .filter_map(|(second, base)| Some((base, measure.run.by_second.get(second)?)))
        .collect();
    let sampled = both.iter().filter(|(base, run)| !base.is_empty() && !run.is_empty()).count();
    if sampled < SECONDS_MIN {
        return None;
    }
    let all = |samples: Vec<&Vec<(f64, f64)>>| -> Option<f64> {
        statistic(
            measure.statistic,
            &mut samples.into_iter().flatten().copied().collect::<Vec<_>>(),
        )
    };
    let (old, new): (Vec<_>, Vec<_>) = both.iter().copied().unzip();
    let centre = change(measure.unit, all(old)?, all(new)?)?;
    let starts = u32::try_from(both.len() - BLOCK_SECONDS + 1).ok()?;
    let mut changes = Vec::with_capacity(DRAWS);
    for index in 0..DRAWS {
        let mut draw = Draw::new(SEED, 0, index as u64);
        let (mut base, mut run) = (Vec::new(), Vec::new());
        for _ in 0..both.len().div_ceil(BLOCK_SECONDS) {
            let from = draw.below(starts) as usize;
            for (old, new) in &both[from..from + BLOCK_SECONDS] {
                base.extend_from_slice(old);
                run.extend_from_slice(new);
            }
        }
        let old = statistic(measure.statistic, &mut base);
        let new = statistic(measure.statistic, &mut run);
        changes.extend(old.zip(new).and_then(|(old, new)| change(measure.unit, old, new)));
    }
    changes.sort_unstable_by(f64::total_cmp);
    let at = |share: usize| changes.get(changes.len() * share / 1_000).copied();
    let shift = if measure.unit == Unit::Share { of - centre } else { 0.0 };
    Some([at(25)?, at(974)?].map(|end| end + shift))
}

/// Returns the change of a value: a part of the base, or a difference in points for a share.
pub(crate) fn change(unit: Unit, base: f64, run: f64) -> Option<f64> {
    match unit {
        Unit::Share => Some(run - base),
        _ if base > 0.0 => Some(run / base - 1.0),
        _ if (run - base).abs() < f64::EPSILON => Some(0.0),
        _ => None,
    }
}

/// There is no interval for runs with fewer seconds in common.
pub(crate) const SECONDS_MIN: usize = 20;
const BLOCK_SECONDS: usize = 10;
const DRAWS: usize = 1_000;
const SEED: u64 = 42;

fn statistic(statistic: Statistic, samples: &mut [(f64, f64)]) -> Option<f64> {
    match statistic {
        Statistic::Mean => mean(samples),
        Statistic::Percentile(percent) => {
            let last = samples.len().checked_sub(1)?;
            let at = rank(percent, samples.len()).min(last);
            let by_value = |one: &(f64, f64), other: &(f64, f64)| one.0.total_cmp(&other.0);
            Some(samples.select_nth_unstable_by(at, by_value).1.0)
        }
    }
}

/// Index of the nearest-rank percentile among this many sorted samples.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a percent of a length is within it"
)]
fn rank(percent: f64, samples: usize) -> usize {
    ((percent / 100.0 * samples as f64).ceil() as usize).max(1) - 1
}
