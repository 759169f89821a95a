//! Student's t distribution: how far a mean of few values may be off by chance. Pure.
//!
//! Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.3 and 26.7.4, which
//! are exact for whole degrees of freedom.

use std::f64::consts::FRAC_2_PI;

/// The probability that a value is above `t`, with this many degrees of freedom, of which there is
/// at least one.
pub(crate) fn chance_above(t: f64, freedom: u32) -> f64 {
    if t < 0.0 {
        return 1.0 - chance_above(-t, freedom);
    }
    let angle = (t / f64::from(freedom).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let is_odd = freedom % 2 == 1;
    let (mut term, mut sum) = if is_odd { (cos, 0.0) } else { (1.0, 0.0) };
    let mut power = u32::from(is_odd);
    while power + 2 <= freedom {
        sum += term;
        power += 2;
        term *= cos * cos * f64::from(power - 1) / f64::from(power);
    }
    let within = if is_odd { FRAC_2_PI * (angle + sin * sum) } else { sin * sum };
    (1.0 - within) / 2.0
}

/// The value that is exceeded with this probability, which is above 0 and at most a half.
pub(crate) fn exceeded_with(chance: f64, freedom: u32) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while chance_above(high, freedom) > chance && high < T_MAX {
        high *= 2.0;
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if chance_above(middle, freedom) > chance {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

const T_MAX: f64 = 1e12;
const HALVINGS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_printed_tables() {
        for (chance, freedom, expected) in [
            (0.025, 1, 12.706),
            (0.025, 2, 4.303),
            (0.025, 3, 3.182),
            (0.05, 4, 2.132),
            (0.025, 5, 2.571),
            (0.01, 10, 2.764),
            (0.005, 9, 3.250),
            (0.0005, 6, 5.959),
            (0.025, 30, 2.042),
            (0.025, 1_000, 1.962),
            (0.5, 7, 0.0),
        ] {
            let found = exceeded_with(chance, freedom);
            assert!((found - expected).abs() < 6e-4, "{chance} of {freedom}: {found}");
            assert!((chance_above(found, freedom) - chance).abs() < 1e-9, "{found}");
        }
        assert!((chance_above(-2.0, 5) + chance_above(2.0, 5) - 1.0).abs() < 1e-12);
    }
}
