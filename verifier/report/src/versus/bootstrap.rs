//! Estimates how much of a change may come from the noise within the runs, by a bootstrap of their
//! seconds. Pure.
//!
//! Consecutive seconds are similar to each other, so they are drawn in blocks. All runs follow the
//! same plan, so the same blocks are drawn from all of them. The draws are fixed, so that every
//! comparison of the same runs has the same result.
//!
//! Source: Künsch, "The jackknife and the bootstrap for general stationary observations", 1989.

use std::collections::BTreeSet;

use events::draw::Draw;

use crate::figures::as_f64;
use crate::versus::measured::{Measured, Statistic, mean};

/// What the draws say of runs in two groups.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Drawn {
    /// For each draw, what the statistic of each base is.
    pub(crate) bases: Vec<Vec<f64>>,
    /// The same of the runs.
    pub(crate) runs: Vec<Vec<f64>>,
}

/// Whether a run has enough seconds in common with those of the other group.
pub(crate) fn has_enough(one: &Measured, others: &[&Measured]) -> bool {
    let is_common = |second: &i64| others.iter().any(|other| has(other, *second));
    let common = one.by_second.keys().filter(|second| has(one, **second) && is_common(second));
    common.count() >= SECONDS_MIN
}

/// Draws from the seconds of runs that have enough of them. A draw in which a run has no samples is
/// left out.
pub(crate) fn drawn(statistic: Statistic, bases: &[&Measured], runs: &[&Measured]) -> Drawn {
    let seconds_of = |group: &[&Measured]| -> BTreeSet<i64> {
        group.iter().flat_map(|it| it.by_second.keys().copied()).collect()
    };
    let all: Vec<i64> = seconds_of(bases).intersection(&seconds_of(runs)).copied().collect();
    let block = BLOCK_SECONDS.min(all.len());
    let (mut drawn, empty) = (Drawn { bases: Vec::new(), runs: Vec::new() }, Vec::new());
    let Ok(starts @ 1..) = u32::try_from(all.len() - block + 1) else { return drawn };
    for index in 0..DRAWS {
        let mut draw = Draw::new(SEED, 0, index);
        let blocks: Vec<usize> =
            (0..all.len().div_ceil(block.max(1))).map(|_| draw.below(starts) as usize).collect();
        let of = |it: &&Measured| {
            let mut samples: Vec<(f64, f64)> = Vec::new();
            for from in &blocks {
                for second in &all[*from..from + block] {
                    samples.extend_from_slice(it.by_second.get(second).unwrap_or(&empty));
                }
            }
            combined(statistic, &mut samples)
        };
        let of_bases: Option<Vec<f64>> = bases.iter().map(of).collect();
        let of_runs: Option<Vec<f64>> = runs.iter().map(of).collect();
        if let Some((of_bases, of_runs)) = of_bases.zip(of_runs) {
            drawn.bases.push(of_bases);
            drawn.runs.push(of_runs);
        }
    }
    drawn
}

/// The variance of some values around their mean; 0 for fewer than two.
pub(crate) fn variance(values: &[f64]) -> f64 {
    let count = as_f64(values.len() as u64);
    if count < 2.0 {
        return 0.0;
    }
    squares(values) / (count - 1.0)
}

/// The sum of squares around the mean.
pub(crate) fn squares(values: &[f64]) -> f64 {
    let mean = average(values);
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

pub(crate) fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / as_f64(values.len() as u64).max(1.0)
}

/// A run with fewer seconds is not judged.
pub(crate) const SECONDS_MIN: usize = 20;
const BLOCK_SECONDS: usize = 10;
/// As only a variance is estimated, few draws are enough: with 200 its root is right to 5 %.
const DRAWS: u64 = 200;
const SEED: u64 = 42;

fn has(it: &Measured, second: i64) -> bool {
    it.by_second.get(&second).is_some_and(|samples| !samples.is_empty())
}

fn combined(statistic: Statistic, samples: &mut [(f64, f64)]) -> Option<f64> {
    match statistic {
        Statistic::Mean => mean(samples),
        Statistic::Percentile(percent) => {
            let last = samples.len().checked_sub(1)?;
            let at = rank(percent, samples.len()).min(last);
            let by_value = |one: &(f64, f64), other: &(f64, f64)| one.0.total_cmp(&other.0);
            Some(samples.select_nth_unstable_by(at, by_value).1.0)
        }
        Statistic::Total => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A run with one sample in each second.
    fn run(value: impl Fn(i64) -> f64) -> Measured {
        let by_second = (0..60).map(|at| (at, vec![(value(at), 1.0)])).collect();
        Measured { by_second, ..Measured::default() }
    }

    #[test]
    fn the_same_blocks_are_drawn_from_all_runs() {
        // The load rises, and the run is one above the base in every second.
        let rising = |at: i64| f64::from(i32::try_from(at).unwrap());
        let (base, run) = (run(rising), run(|at| rising(at) + 1.0));
        let drawn = drawn(Statistic::Mean, &[&base], &[&run]);
        let changes: Vec<f64> =
            drawn.bases.iter().zip(&drawn.runs).map(|(base, run)| run[0] - base[0]).collect();
        assert_eq!(changes.len(), 200);
        assert!(variance(&changes) < 1e-18, "{changes:?}");
        let bases: Vec<f64> = drawn.bases.iter().map(|it| it[0]).collect();
        assert!(variance(&bases) > 1.0, "{bases:?}");
    }

    #[test]
    fn a_run_needs_twenty_seconds_that_another_has_too() {
        let (long, mut short) = (run(|_| 1.0), run(|_| 1.0));
        short.by_second.retain(|at, _| (40..60).contains(at));
        assert!(has_enough(&short, &[&long]));
        short.by_second.insert(50, Vec::new());
        assert!(!has_enough(&short, &[&long]));
        assert!(!has_enough(&long, &[&short]));
        assert!(has_enough(&long, &[&short, &long]));
    }

    #[test]
    fn a_variance_is_that_of_a_sample() {
        assert!((variance(&[1.0, 2.0, 3.0]) - 1.0).abs() < 1e-12);
        assert!(variance(&[5.0]).abs() < 1e-12);
    }
}
