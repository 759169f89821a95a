//! Random draws that depend on nothing but their coordinates.
//!
//! No state passes from event to event. The draws of event `seq` of `tenant` start from a hash of
//! (seed, tenant, seq), so any event can be made alone, in any order, on any machine.

use crate::identity::int_hash_64;

/// A stream of draws: the SplitMix64 sequence, started from a hash of the coordinates.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// Starts the draws for one thing: an event, or a name of a tenant.
    #[inline]
    pub fn new(seed: u64, stream: u64, index: u64) -> Self {
        Self(mix(mix(seed, stream), index))
    }

    /// Returns 64 uniform bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a uniform number below `end`, which is not 0.
    #[inline]
    pub fn below(&mut self, end: u32) -> u32 {
        scale(self.bits() >> 32, end)
    }

    /// Returns a number below `end`; smaller numbers are more likely. It is the product of two
    /// uniform draws, which has the steep head and long tail of real popularity.
    #[inline]
    pub fn skewed(&mut self, end: u32) -> u32 {
        let bits = self.bits();
        let product = (bits >> 32) * (bits & 0xffff_ffff);
        scale(product >> 32, end)
    }

    /// Returns true with a probability of `per_myriad` in 10,000.
    #[inline]
    pub fn chance(&mut self, per_myriad: u32) -> bool {
        self.below(10_000) < per_myriad
    }

    /// Picks one thing by weight.
    #[inline]
    pub fn pick<T: Copy>(&mut self, weighted: &[(u32, T)]) -> T {
        let total: u32 = weighted.iter().map(|(weight, _)| weight).sum();
        let mut rest = self.below(total);
        for &(weight, choice) in weighted {
            if rest < weight {
                return choice;
            }
            rest -= weight;
        }
        unreachable!("the rest is below the sum of the weights")
    }
}

/// Hashes two numbers into one. Names of things use it, because they must not change between
/// events.
#[inline]
pub fn mix(left: u64, right: u64) -> u64 {
    int_hash_64(left.rotate_left(32) ^ int_hash_64(right))
}

#[inline]
fn scale(bits_32: u64, end: u32) -> u32 {
    u32::try_from((bits_32 * u64::from(end)) >> 32).expect("less than end, a u32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_coordinates_draw_equal_numbers_and_others_do_not() {
        let first = |seed, stream, index| Draw::new(seed, stream, index).bits();
        assert_eq!(first(1, 2, 3), first(1, 2, 3));
        let mut all: Vec<_> = [(1, 2, 3), (2, 1, 3), (1, 3, 2), (3, 2, 1), (0, 0, 0)]
            .map(|(a, b, c)| first(a, b, c))
            .into();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5);
    }

    #[test]
    fn picks_follow_their_weights() {
        let mut draw = Draw::new(1, 1, 1);
        let mut counts = [0u32; 3];
        for _ in 0..100_000 {
            counts[draw.pick(&[(70, 0), (0, 1), (30, 2)])] += 1;
        }
        assert!(counts[0].abs_diff(70_000) < 1_000, "{counts:?}");
        assert_eq!(counts[1], 0);
    }

    #[test]
    fn skewed_draws_prefer_small_numbers_and_reach_all() {
        let mut draw = Draw::new(2, 2, 2);
        let mut counts = [0u32; 10];
        for _ in 0..100_000 {
            counts[draw.skewed(10) as usize] += 1;
        }
        assert!(counts.is_sorted_by(|a, b| a > b), "{counts:?}");
        assert!(counts[9] > 0);
    }
}
