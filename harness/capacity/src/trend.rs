//! Whether a noisy series rises, and how surely. Pure.
//!
//! The slope is that of Theil and Sen: the median of the slopes between all pairs of points, which
//! one point in four may disturb. Its interval is Sen's, from Kendall's statistic. Consecutive
//! points of a queue resemble each other, so there is less to learn from them than from
//! independent ones: the variance of Kendall's statistic is raised by the factor that follows from
//! the autocorrelation of what is left when the slope is taken away.
//!
//! Sources: Sen, "Estimates of the regression coefficient based on Kendall's tau", 1968; Hamed and
//! Rao, "A modified Mann-Kendall trend test for autocorrelated data", 1998; Yue and Wang, "The
//! Mann-Kendall test modified by effective sample size", 2004.

use serde::{Deserialize, Serialize};

use crate::rules::{AUTOCORRELATION_MAX, NORMAL_95};

/// The slope of a series, with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Units of the series a second.
    pub slope_per_s: f64,
    pub low_per_s: f64,
    pub high_per_s: f64,
    /// How many points there were.
    pub points: usize,
}

/// A moment in s, and a value.
pub type Point = (f64, f64);

/// Averages points over blocks of equal length from `from_s` up to `until_s`. A block without
/// points is left out, and so is what is left over at the beginning: the end matters more.
pub fn blocks(points: &[Point], (from_s, until_s): (f64, f64), block_s: f64) -> Vec<Point> {
    let mut upper_s = until_s;
    let mut averages = Vec::new();
    while upper_s - block_s > from_s - block_s * 1e-6 {
        let lower_s = upper_s - block_s;
        let is_in = |point: &&Point| lower_s < point.0 && point.0 <= upper_s;
        let (count, sum) = points
            .iter()
            .filter(is_in)
            .fold((0_u32, 0.0), |(count, sum), point| (count + 1, sum + point.1));
        if count > 0 {
            averages.push((lower_s + block_s / 2.0, sum / f64::from(count)));
        }
        upper_s = lower_s;
    }
    averages.reverse();
    averages
}

/// Returns the trend of a series in order of time; `None` of fewer than four points.
pub fn trend(points: &[Point]) -> Option<Trend> {
    if points.len() < 4 {
        return None;
    }
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (index, first) in points.iter().enumerate() {
        for second in &points[index + 1..] {
            slopes.push((second.1 - first.1) / (second.0 - first.0));
        }
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let slope_per_s = median(&slopes);
    let count = as_f64(points.len());
    let factor = variance_factor(points, slope_per_s);
    let variance = factor * count * (count - 1.0) * (2.0 * count + 5.0) / 18.0;
    let reach = NORMAL_95 * variance.sqrt();
    let pairs = as_f64(slopes.len());
    let low = floor(((pairs - reach) / 2.0).max(0.0));
    let high = floor(f64::midpoint(pairs, reach).ceil()).min(slopes.len() - 1);
    let (low_per_s, high_per_s) = (slopes[low], slopes[high]);
    Some(Trend { slope_per_s, low_per_s, high_per_s, points: points.len() })
}

/// By how much autocorrelation raises the variance of Kendall's statistic. It is that of a process
/// that remembers its last value, and never lowers the variance.
fn variance_factor(points: &[Point], slope_per_s: f64) -> f64 {
    let mut left: Vec<f64> = points.iter().map(|point| point.1 - slope_per_s * point.0).collect();
    let mean = left.iter().sum::<f64>() / as_f64(left.len());
    for value in &mut left {
        *value -= mean;
    }
    let squares: f64 = left.iter().map(|value| value * value).sum();
    let products: f64 = left.windows(2).map(|pair| pair[0] * pair[1]).sum();
    if squares <= f64::EPSILON {
        return 1.0;
    }
    let count = as_f64(left.len());
    // Few values underestimate it, because their own mean and slope were taken away.
    let corrected = (count * products / squares + 2.0) / (count - 4.0).max(1.0);
    let rho = corrected.clamp(0.0, AUTOCORRELATION_MAX);
    let (mut factor, mut power) = (1.0, 1.0);
    for lag in 1..left.len() {
        power *= rho;
        factor += 2.0 * (1.0 - as_f64(lag) / count) * power;
    }
    factor
}

/// The median of sorted values, of which there is at least one.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of points are small")]
pub(crate) fn as_f64(count: usize) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into slopes, not below zero"
)]
fn floor(index: f64) -> usize {
    index as usize
}

#[cfg(test)]
mod tests {
    use events::draw::Draw;

    use super::*;

    /// A series of this slope with noise that remembers this much of its last value.
    fn series(seed: u64, points: u32, slope: f64, memory: f64) -> Vec<Point> {
        let mut draw = Draw::new(seed, 0, 0);
        let mut noise = 0.0;
        let mut next = || {
            let uniform = |draw: &mut Draw| f64::from(draw.below(1_000_001)) / 1e6 - 0.5;
            noise = noise * memory + (0..6).map(|_| uniform(&mut draw)).sum::<f64>();
            noise
        };
        for _ in 0..100 {
            next();
        }
        (0..points).map(|at| (f64::from(at), f64::from(at) * slope + next())).collect()
    }

    /// Counts of a thousand series whose interval is above zero.
    fn rising(points: u32, slope: f64, memory: f64) -> usize {
        let trends = (0..1_000).filter_map(|seed| trend(&series(seed, points, slope, memory)));
        trends.filter(|it| it.low_per_s > 0.0).count()
    }

    #[test]
    fn the_slope_of_a_line_is_found_though_one_point_in_four_is_wrong() {
        let line = |at: u32| if at % 4 == 1 { 1e6 } else { f64::from(at) * 3.0 };
        let points: Vec<Point> = (0..40).map(|at| (f64::from(at), line(at))).collect();
        let found = trend(&points).unwrap();
        assert!((found.slope_per_s - 3.0).abs() < 0.2, "{found:?}");
        let exact: Vec<Point> = (0..8).map(|at| (f64::from(at), f64::from(at) * 3.0)).collect();
        let found = trend(&exact).unwrap();
        assert!((found.low_per_s - 3.0).abs() < 1e-9 && (found.high_per_s - 3.0).abs() < 1e-9);
        assert_eq!(trend(&exact[..3]), None);
    }

    #[test]
    fn noise_seldom_has_a_trend_even_if_it_remembers_its_past() {
        // One interval in forty lies above zero by chance alone.
        assert!(rising(12, 0.0, 0.0) <= 40, "{}", rising(12, 0.0, 0.0));
        assert!(rising(40, 0.0, 0.0) <= 40, "{}", rising(40, 0.0, 0.0));
        assert!(rising(40, 0.0, 0.6) <= 60, "{}", rising(40, 0.0, 0.6));
        assert!(rising(12, 0.0, 0.6) <= 80, "{}", rising(12, 0.0, 0.6));
    }

    #[test]
    fn a_trend_that_noise_cannot_hide_is_found() {
        assert!(rising(12, 0.8, 0.0) > 950, "{}", rising(12, 0.8, 0.0));
        assert!(rising(40, 0.4, 0.6) > 950, "{}", rising(40, 0.4, 0.6));
    }

    #[test]
    fn blocks_are_counted_from_the_end_and_a_saw_has_no_teeth_in_them() {
        let saw: Vec<Point> = (1..=75).map(|at| (f64::from(at), f64::from(at % 10))).collect();
        let means = blocks(&saw, (0.0, 75.0), 10.0);
        assert_eq!(means.len(), 7);
        assert!((means[0].0 - 10.0).abs() < 1e-9, "{means:?}");
        assert!(means.iter().all(|point| (point.1 - 4.5).abs() < 1e-9), "{means:?}");
        let holey = blocks(&[(1.0, 1.0), (25.0, 2.0)], (0.0, 30.0), 10.0);
        assert_eq!(holey, [(5.0, 1.0), (25.0, 2.0)]);
    }
}
