//! Weighted random picks in constant time, in integers, so that every machine picks the same.

use crate::draw::Draw;

/// A table that picks one of several things by weight, with a single draw.
///
/// Source: Vose, "A linear algorithm for generating random numbers with a given distribution",
/// IEEE Transactions on Software Engineering 17 (1991).
#[derive(Debug, Clone)]
pub struct AliasTable<T> {
    cells: Vec<Cell<T>>,
}

/// All cells are equally likely. A draw below the threshold picks the cell's own thing, any other
/// draw picks the other thing.
#[derive(Debug, Clone)]
struct Cell<T> {
    /// In units of 2⁻³².
    threshold: u64,
    own: T,
    other: T,
}

impl<T: Copy> AliasTable<T> {
    /// Builds the table. At least one weight must be above zero.
    pub fn new(weighted: &[(u64, T)]) -> Self {
        let total: u128 = weighted.iter().map(|(weight, _)| u128::from(*weight)).sum();
        assert!(total > 0, "something has a weight");
        let count = weighted.len() as u128;
        // What each cell still has to take, in units of which the whole table has `total * count`.
        let mut rest: Vec<u128> =
            weighted.iter().map(|(weight, _)| u128::from(*weight) * count).collect();
        let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
            (0..weighted.len()).partition(|&index| rest[index] < total);
        let own = |index: usize| weighted[index].1;
        let mut cells: Vec<_> = (0..weighted.len())
            .map(|index| Cell { threshold: 1 << 32, own: own(index), other: own(index) })
            .collect();
        while let (Some(needy), Some(&donor)) = (poor.pop(), rich.last()) {
            let threshold = (rest[needy] << 32) / total;
            cells[needy].threshold = u64::try_from(threshold).expect("less than the whole");
            cells[needy].other = own(donor);
            rest[donor] -= total - rest[needy];
            if rest[donor] < total {
                poor.extend(rich.pop());
            }
        }
        Self { cells }
    }

    /// Picks one thing.
    #[inline]
    pub fn pick(&self, draw: &mut Draw) -> T {
        let bits = draw.bits();
        let at = ((bits >> 32) * self.cells.len() as u64) >> 32;
        let cell = &self.cells[usize::try_from(at).expect("an index")];
        if bits & 0xffff_ffff < cell.threshold { cell.own } else { cell.other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_follow_their_weights() {
        let weights = [5, 0, 1, 94, 0, 100];
        let weighted: Vec<_> = weights.into_iter().zip(0usize..).collect();
        let table = AliasTable::new(&weighted);
        let mut draw = Draw::new(1, 2, 3);
        let mut counts = [0u64; 6];
        for _ in 0..200_000 {
            counts[table.pick(&mut draw)] += 1;
        }
        for (count, weight) in counts.into_iter().zip(weights) {
            // Five standard deviations of a count.
            let off_max = 5 * (weight * 1_000).isqrt();
            assert!(count.abs_diff(weight * 1_000) <= off_max, "{counts:?}");
        }
    }
}
