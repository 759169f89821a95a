//! What a ledger says of one tenant, entry by entry. Pure.

use std::ops::Range;

use crate::ranges::RangeSet;

pub(super) const RESERVED: u8 = 0;
pub(super) const REPAIRED: u8 = 6;

/// What a ledger says of one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    pub reserved: RangeSet,
    pub acknowledged: RangeSet,
    pub refused: RangeSet,
    pub unknown: RangeSet,
    pub unsent: RangeSet,
    pub spoiled: RangeSet,
    /// Events that were sent again because they had been lost.
    pub repaired: RangeSet,
}

impl Account {
    /// Events that a request was begun for, or may have been.
    pub fn attempted(&self) -> RangeSet {
        self.reserved.difference(&self.unsent)
    }

    /// Events without an answer that settles them: those settled as unknown, and those that were
    /// reserved when the sender died.
    pub fn unknown(&self) -> RangeSet {
        let settled = self.attempted().difference(&self.acknowledged).difference(&self.refused);
        settled.difference(&self.spoiled)
    }

    /// Takes an entry. Says whether its kind is known.
    pub(super) fn take(&mut self, kind: u8, seqs: Range<u64>) -> bool {
        match kind {
            RESERVED | 1 => {
                for set in [&mut self.refused, &mut self.unknown, &mut self.unsent] {
                    set.remove(seqs.clone());
                }
                let set = if kind == 1 { &mut self.acknowledged } else { &mut self.reserved };
                set.insert(seqs);
            }
            2..=4 => {
                let settled = [&mut self.refused, &mut self.unknown, &mut self.unsent];
                for (other, set) in (2..).zip(settled) {
                    if other == kind {
                        set.insert(seqs.clone());
                        for known in self.acknowledged.overlapping(&seqs) {
                            set.remove(known);
                        }
                    } else {
                        set.remove(seqs.clone());
                    }
                }
            }
            5 => self.spoiled.insert(seqs),
            REPAIRED => self.repaired.insert(seqs),
            _ => return false,
        }
        true
    }
}
