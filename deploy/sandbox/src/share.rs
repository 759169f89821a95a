//! Probabilities, as they are ordered with a fault.

/// A probability above zero, up to one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Share {
    /// Reads a probability; `None` if it is none above 0 and up to 1.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0).map(Self)
    }

    /// Says whether a draw, even over all of `u64`, falls into this share.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a probability has 53 bits; the draw needs no more"
    )]
    pub(crate) fn holds(self, draw: u64) -> bool {
        const DRAWS: f64 = 18_446_744_073_709_551_616.0; // 2^64
        self.0 >= 1.0 || (draw as f64) < self.0 * DRAWS
    }

    /// The probability as a number.
    pub(crate) fn value(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_of_one_hits_everybody() {
        assert!(Share(1.0).holds(u64::MAX));
        assert!(!Share(0.5).holds(u64::MAX));
        assert!(Share(f64::MIN_POSITIVE).holds(0));
    }
}
