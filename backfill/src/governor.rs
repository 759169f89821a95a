//! Decides how much is sent at once: more while the server keeps up, less when it complains. Pure.

use crate::insert::Failure;

/// The bounds within which a [`Governor`] moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GovernorLimits {
    pub lanes_max: usize,
    pub rows_max: u64,
}

/// How many inserts are under way at once, and how many rows one has at most.
///
/// It works like TCP's congestion control: each complaint halves what is sent at once. After a
/// number of inserts without a complaint it opens one more lane, or, if all lanes are open, doubles
/// the rows of an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Governor {
    limits: GovernorLimits,
    lanes: usize,
    rows: u64,
    calm: usize,
}

impl Governor {
    /// Starts with all that the limits allow.
    pub fn new(limits: GovernorLimits) -> Self {
        Self { limits, lanes: limits.lanes_max, rows: limits.rows_max, calm: 0 }
    }

    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Rows of an insert at most.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// An insert was confirmed.
    pub fn confirm(&mut self) {
        self.calm += 1;
        if self.calm < CALM_PER_LANE * self.lanes {
            return;
        }
        self.calm = 0;
        if self.lanes < self.limits.lanes_max {
            self.lanes += 1;
        } else {
            self.rows = (self.rows * 2).min(self.limits.rows_max);
        }
    }

    /// An insert failed.
    pub fn complain(&mut self, failure: Failure) {
        self.calm = 0;
        self.lanes = (self.lanes / 2).max(1);
        if failure == Failure::Memory {
            self.rows = (self.rows / 2).max(ROWS_MIN.min(self.limits.rows_max));
        }
    }
}

const CALM_PER_LANE: usize = 4;
const ROWS_MIN: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: GovernorLimits = GovernorLimits { lanes_max: 4, rows_max: 100_000 };

    #[test]
    fn it_gives_way_at_once_and_comes_back_slowly() {
        let mut governor = Governor::new(LIMITS);
        governor.complain(Failure::Memory);
        assert_eq!((governor.lanes(), governor.rows()), (2, 50_000));
        governor.complain(Failure::TooManyParts);
        assert_eq!((governor.lanes(), governor.rows()), (1, 50_000));
        let confirms = |governor: &mut Governor, count| (0..count).for_each(|_| governor.confirm());
        confirms(&mut governor, 4);
        assert_eq!(governor.lanes(), 2);
        confirms(&mut governor, 8 + 12);
        assert_eq!((governor.lanes(), governor.rows()), (4, 50_000));
        confirms(&mut governor, 16);
        assert_eq!(governor, Governor::new(LIMITS));
    }

    #[test]
    fn it_never_gives_up_the_last_lane_nor_the_last_rows() {
        let mut governor = Governor::new(LIMITS);
        (0..99).for_each(|_| governor.complain(Failure::Memory));
        assert_eq!((governor.lanes(), governor.rows()), (1, ROWS_MIN));
        let mut small = Governor::new(GovernorLimits { rows_max: 10, ..LIMITS });
        (0..99).for_each(|_| small.complain(Failure::Memory));
        assert_eq!(small.rows(), 10);
    }
}
