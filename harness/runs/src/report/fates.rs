//! What became of the events of a run: sets for one tenant, and counts for all. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cause::Cause;
use crate::ranges::RangeSet;

/// What became of one tenant's events. Every set is of sequence numbers; a report has it as
/// ranges `[start, end]`, the end not in the range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fates {
    pub planned: u64,
    pub unsent: RangeSet,
    pub attempted: RangeSet,
    pub acknowledged: RangeSet,
    pub refused: RangeSet,
    pub unknown: RangeSet,
    /// Acknowledged, but sent with a fault on purpose, so that nobody can be expected to store
    /// them. Whatever became of them is no finding.
    pub spoiled: RangeSet,
    /// Sent again by a repair, after they had been lost.
    pub repaired: RangeSet,
    /// Acknowledged and in the stream.
    pub in_stream: RangeSet,
    /// Acknowledged and stored.
    pub stored: RangeSet,
    /// Acknowledged, not stored, and proven to be neither on their way nor hidden, by cause.
    pub lost: BTreeMap<Cause, RangeSet>,
    /// Acknowledged and not stored, but possibly on their way or hidden, by the cause that they
    /// would have if they were lost.
    pub not_seen: BTreeMap<Cause, RangeSet>,
    /// Acknowledged and not stored, because the pipeline drops such events by design.
    pub filtered: RangeSet,
    /// Unknown and stored.
    pub recovered: RangeSet,
    /// Unknown and not stored.
    pub unresolved: RangeSet,
    /// Stored, but never attempted or certainly refused.
    pub unexpected: RangeSet,
    /// In the stream more than once.
    pub duplicated_in_stream: RangeSet,
    /// In the table more than once, and in the stream once.
    pub duplicated_in_table: RangeSet,
    /// Stored, but not as they were sent.
    pub corrupted: RangeSet,
    /// Stored with a timestamp of another day: in another partition.
    pub misplaced: RangeSet,
}

/// Events of all tenants, counted by fate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub planned: u64,
    pub unsent: u64,
    pub attempted: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    pub spoiled: u64,
    pub repaired: u64,
    pub in_stream: u64,
    pub stored: u64,
    pub filtered: u64,
    pub lost: u64,
    pub lost_by_cause: BTreeMap<Cause, u64>,
    pub not_seen: u64,
    pub not_seen_by_cause: BTreeMap<Cause, u64>,
    pub recovered: u64,
    pub unresolved: u64,
    pub unexpected: u64,
    pub duplicated: u64,
    pub duplicated_in_stream: u64,
    pub duplicated_in_table: u64,
    pub corrupted: u64,
    pub misplaced: u64,
    /// Rows of the run in the table, duplicates included.
    pub rows: u64,
}

/// Why a stream does not have everything that it was sent, or may not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgotten {
    /// Its oldest messages are younger than the run: older ones were evicted or purged.
    Evicted,
    /// It drops messages once they are read.
    Read,
    /// Messages were deleted from among those that it has.
    Deleted,
    /// The IDs of its messages do not identify events, and there are too many messages to read.
    Unnamed,
    /// The table has events of the run that the stream does not have.
    Stored,
}

impl Forgotten {
    /// Puts it into words for the user.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "its older messages were evicted",
            Self::Read => "it drops messages once they are read",
            Self::Deleted => "messages were deleted from it",
            Self::Unnamed => "its messages do not bear the IDs of their events",
            Self::Stored => "the table has events that it has not",
        }
    }
}

impl Fates {
    /// All that are stored just as they were sent, whatever the sender was answered.
    pub fn stored_as_sent(&self) -> RangeSet {
        let stored = self.stored.union(&self.recovered);
        stored.difference(&self.corrupted).difference(&self.misplaced)
    }

    /// All that are lost.
    pub fn lost(&self) -> RangeSet {
        all_of(&self.lost)
    }

    /// All that were acknowledged, are not stored, and are not proven lost.
    pub fn not_seen(&self) -> RangeSet {
        all_of(&self.not_seen)
    }

    /// Checks the laws of conservation: every event is in exactly one place of the account.
    pub fn add_up(&self) -> bool {
        let count = RangeSet::count;
        self.planned == count(&self.attempted) + count(&self.unsent)
            && count(&self.attempted)
                == count(&self.acknowledged)
                    + count(&self.refused)
                    + count(&self.unknown)
                    + count(&self.spoiled)
            && count(&self.acknowledged)
                == count(&self.stored)
                    + count(&self.filtered)
                    + count(&self.lost())
                    + count(&self.not_seen())
            && count(&self.unknown) == count(&self.recovered) + count(&self.unresolved)
    }
}

fn all_of(by_cause: &BTreeMap<Cause, RangeSet>) -> RangeSet {
    by_cause.values().fold(RangeSet::new(), |all, seqs| all.union(seqs))
}

impl Totals {
    /// Adds up the fates of all tenants.
    pub fn of(fates: &[Fates], rows: u64) -> Self {
        let sum = |of: &dyn Fn(&Fates) -> u64| fates.iter().map(of).sum::<u64>();
        let count = |set: fn(&Fates) -> &RangeSet| sum(&|fates| set(fates).count());
        let by_cause = |of: fn(&Fates) -> &BTreeMap<Cause, RangeSet>| {
            let mut counts = BTreeMap::new();
            for (cause, seqs) in fates.iter().flat_map(of) {
                *counts.entry(*cause).or_default() += seqs.count();
            }
            counts
        };
        Self {
            planned: sum(&|fates| fates.planned),
            unsent: count(|fates| &fates.unsent),
            attempted: count(|fates| &fates.attempted),
            acknowledged: count(|fates| &fates.acknowledged),
            refused: count(|fates| &fates.refused),
            unknown: count(|fates| &fates.unknown),
            spoiled: count(|fates| &fates.spoiled),
            repaired: count(|fates| &fates.repaired),
            in_stream: count(|fates| &fates.in_stream),
            stored: count(|fates| &fates.stored),
            lost: sum(&|fates| fates.lost().count()),
            filtered: count(|fates| &fates.filtered),
            lost_by_cause: by_cause(|fates| &fates.lost),
            not_seen: sum(&|fates| fates.not_seen().count()),
            not_seen_by_cause: by_cause(|fates| &fates.not_seen),
            recovered: count(|fates| &fates.recovered),
            unresolved: count(|fates| &fates.unresolved),
            unexpected: count(|fates| &fates.unexpected),
            duplicated: sum(&|fates| {
                fates.duplicated_in_stream.union(&fates.duplicated_in_table).count()
            }),
            duplicated_in_stream: count(|fates| &fates.duplicated_in_stream),
            duplicated_in_table: count(|fates| &fates.duplicated_in_table),
            corrupted: count(|fates| &fates.corrupted),
            misplaced: count(|fates| &fates.misplaced),
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_as_it_was_sent_is_neither_corrupted_nor_misplaced() {
        let fates = Fates {
            stored: RangeSet::of(0..10),
            recovered: RangeSet::of(20..22),
            unexpected: RangeSet::of(30..31),
            corrupted: RangeSet::of(3..4),
            misplaced: RangeSet::of(9..10),
            ..Fates::default()
        };
        assert_eq!(fates.stored_as_sent().ranges(), [0..3, 4..9, 20..22]);
    }
}
