//! What became of the events of one tenant: sets against sets. Pure.

use std::collections::BTreeMap;

use plans::spec::DeliveryPath;
use runs::ledger::Account;
use runs::ranges::RangeSet;
use serde::{Deserialize, Serialize};
use stores::stored::Arrivals;

use crate::cause::Cause;

/// What the stores hold of one tenant's events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// In the stream; `None` if the run did not go through it.
    pub in_stream: Option<Arrivals>,
    /// Those that the stream has and the consumer has not read.
    pub unread: RangeSet,
    /// The first event that was to go through the stream: those before went past it.
    pub piped_from: u64,
    pub in_table: Arrivals,
}

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
    /// Acknowledged, but sent on purpose in a way in which nobody can be expected to store them:
    /// whatever became of them is no finding.
    pub spoiled: RangeSet,
    /// Sent again by a repair, after they had been lost.
    pub repaired: RangeSet,
    /// Acknowledged and in the stream.
    pub in_stream: RangeSet,
    /// Acknowledged and stored.
    pub stored: RangeSet,
    /// Acknowledged, not stored, and proven to be neither on their way nor hidden; by why.
    pub lost: BTreeMap<Cause, RangeSet>,
    /// Acknowledged and not stored, but for all that is known on their way or hidden; by what
    /// would have become of them if they were lost.
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
    /// Stored, but not as they were sent. Found by [`crate::content`] and [`crate::deep`].
    pub corrupted: RangeSet,
    /// Stored with a timestamp of another day: in another partition. Found by [`crate::content`].
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

/// Whether the stream still holds everything that it was sent during the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamMemory {
    Whole,
    /// What it does not have, it may have had.
    Partial(Forgotten),
}

/// Why a stream does not have all that it was sent, or may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgotten {
    /// Its oldest messages are younger than the run: older ones were evicted or purged.
    Evicted,
    /// It drops messages once they are read.
    Read,
    /// Messages were deleted from among those that it has.
    Deleted,
    /// Its messages do not bear the IDs of their events, and are too many to be read.
    Unnamed,
    /// The table has events of the run that the stream has not.
    Stored,
}

impl Forgotten {
    /// Says it to people.
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

/// Compares what the ledger says of a tenant with what the stores hold.
pub fn compare(planned: u64, account: &Account, held: &Held, memory: StreamMemory) -> Fates {
    let all = RangeSet::of(0..planned);
    let attempted = account.attempted();
    let acknowledged = account.acknowledged.clone();
    let unknown = account.unknown();
    let spoiled = &account.spoiled;
    let stored = &held.in_table.seqs;
    let missing = acknowledged.difference(stored);
    let nothing = RangeSet::new();
    let lost = match &held.in_stream {
        None => BTreeMap::from([(Cause::Somewhere, missing)]),
        Some(stream) => {
            let present = missing.intersection(&stream.seqs);
            let absent = missing.difference(&stream.seqs);
            let past_it = RangeSet::of(0..held.piped_from);
            let (before, somewhere) = match memory {
                StreamMemory::Whole => (absent.difference(&past_it), absent.intersection(&past_it)),
                StreamMemory::Partial(_) => (nothing.clone(), absent),
            };
            BTreeMap::from([
                (Cause::NeverInStream, before),
                (Cause::NotConsumed, present.intersection(&held.unread)),
                (Cause::ConsumedNotStored, present.difference(&held.unread)),
                (Cause::Somewhere, somewhere),
            ])
        }
    };
    let repeated_in_stream = held.in_stream.as_ref().map_or(&nothing, |stream| &stream.repeated);
    let in_stream = held.in_stream.as_ref().map_or(&nothing, |stream| &stream.seqs);
    Fates {
        planned,
        unsent: all.difference(&attempted),
        refused: account.refused.clone(),
        in_stream: acknowledged.intersection(in_stream),
        stored: acknowledged.intersection(stored),
        recovered: unknown.intersection(stored),
        unresolved: unknown.difference(stored),
        unexpected: stored.difference(&acknowledged.union(&unknown)).difference(spoiled),
        duplicated_in_stream: repeated_in_stream.difference(spoiled),
        duplicated_in_table: held
            .in_table
            .repeated
            .difference(repeated_in_stream)
            .difference(spoiled),
        spoiled: spoiled.clone(),
        repaired: account.repaired.clone(),
        corrupted: RangeSet::new(),
        misplaced: RangeSet::new(),
        attempted,
        acknowledged,
        unknown,
        lost: lost.into_iter().filter(|(_, seqs)| !seqs.is_empty()).collect(),
        not_seen: BTreeMap::new(),
        filtered: RangeSet::new(),
    }
}

impl Fates {
    /// All that are lost.
    pub fn lost(&self) -> RangeSet {
        all_of(&self.lost)
    }

    /// All that were acknowledged, are not stored, and are not proven lost.
    pub fn not_seen(&self) -> RangeSet {
        all_of(&self.not_seen)
    }

    /// Takes those back of the lost for which something else is not excluded. `is_proven` says it
    /// of the events of a cause that went through the pipeline, or past it; the first that went
    /// through it is `piped_from`.
    pub fn keep_proven(
        &mut self,
        piped_from: u64,
        is_proven: impl Fn(Cause, DeliveryPath) -> bool,
    ) {
        let past_it = RangeSet::of(0..piped_from);
        for (cause, seqs) in std::mem::take(&mut self.lost) {
            let (bulk, piped) = (seqs.intersection(&past_it), seqs.difference(&past_it));
            for (path, seqs) in [(DeliveryPath::Bulk, bulk), (DeliveryPath::Pipeline, piped)] {
                if seqs.is_empty() {
                    continue;
                }
                let sets = if is_proven(cause, path) { &mut self.lost } else { &mut self.not_seen };
                let set = sets.entry(cause).or_default();
                *set = set.union(&seqs);
            }
        }
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
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;

    const FORGOTTEN: StreamMemory = StreamMemory::Partial(Forgotten::Evicted);

    fn set<const N: usize>(ranges: [Range<u64>; N]) -> RangeSet {
        ranges.into_iter().collect()
    }

    fn account() -> Account {
        Account {
            reserved: set([0..100]),
            acknowledged: set([0..80]),
            refused: set([80..85]),
            unknown: set([85..90]),
            unsent: set([95..100]),
            ..Account::default()
        }
    }

    fn arrivals(seqs: RangeSet, repeated: RangeSet) -> Arrivals {
        let count = seqs.count() + repeated.count();
        Arrivals { seqs, repeated, count }
    }

    fn held(stream: RangeSet, table: RangeSet) -> Held {
        Held {
            in_stream: Some(arrivals(stream, RangeSet::new())),
            unread: RangeSet::new(),
            piped_from: 0,
            in_table: arrivals(table, RangeSet::new()),
        }
    }

    #[test]
    fn a_loss_is_told_by_its_hop() {
        let held = held(set([0..10, 12..88]), set([0..10, 12..20, 25..88]));
        let fates = compare(200, &account(), &held, StreamMemory::Whole);
        assert_eq!(fates.lost[&Cause::NeverInStream], set([10..12]));
        assert_eq!(fates.lost[&Cause::ConsumedNotStored], set([20..25]));
        assert_eq!(fates.recovered, set([85..88]));
        assert_eq!(fates.unresolved, set([88..95]));
        assert_eq!(fates.unexpected, set([80..85]));
        assert_eq!(fates.unsent, set([95..200]));
        assert!(fates.add_up());
    }

    #[test]
    fn where_the_stream_has_forgotten_the_hop_of_a_loss_is_not_known() {
        let held = held(set([50..80]), set([0..40, 60..80]));
        let fates = compare(100, &account(), &held, FORGOTTEN);
        assert_eq!(fates.lost[&Cause::Somewhere], set([40..50]));
        assert_eq!(fates.lost[&Cause::ConsumedNotStored], set([50..60]));
        assert!(!fates.lost.contains_key(&Cause::NeverInStream));
    }

    #[test]
    fn what_the_consumer_has_not_read_is_told_apart() {
        let held = Held { unread: set([15..200]), ..held(set([0..80]), set([0..10, 20..80])) };
        let fates = compare(80, &account(), &held, StreamMemory::Whole);
        assert_eq!(fates.lost[&Cause::ConsumedNotStored], set([10..15]));
        assert_eq!(fates.lost[&Cause::NotConsumed], set([15..20]));
    }

    #[test]
    fn what_went_past_the_stream_is_lost_somewhere() {
        let held = Held { piped_from: 30, ..held(set([30..40, 45..80]), set([0..10, 35..80])) };
        let fates = compare(100, &account(), &held, StreamMemory::Whole);
        assert_eq!(fates.lost[&Cause::Somewhere], set([10..30]));
        assert_eq!(fates.lost[&Cause::ConsumedNotStored], set([30..35]));
        assert!(!fates.lost.contains_key(&Cause::NeverInStream), "all of 40..45 are stored");
    }

    #[test]
    fn what_is_not_proven_lost_is_not_seen_yet() {
        let held = Held { piped_from: 30, ..held(set([30..40, 45..80]), set([0..10, 35..80])) };
        let mut fates = compare(100, &account(), &held, FORGOTTEN);
        let missing = fates.lost();
        fates
            .keep_proven(30, |cause, path| cause == Cause::Somewhere && path == DeliveryPath::Bulk);
        assert_eq!(fates.lost, BTreeMap::from([(Cause::Somewhere, set([10..30]))]));
        assert_eq!(fates.not_seen, BTreeMap::from([(Cause::ConsumedNotStored, set([30..35]))]));
        assert_eq!(fates.lost().union(&fates.not_seen()), missing);
        assert!(fates.add_up());
    }

    #[test]
    fn a_duplicate_does_not_hide_a_loss_and_is_told_by_its_hop() {
        let held = Held {
            in_stream: Some(arrivals(set([0..90]), set([3..4]))),
            unread: RangeSet::new(),
            piped_from: 0,
            in_table: arrivals(set([0..79, 85..90]), set([3..4, 7..8])),
        };
        let fates = compare(100, &account(), &held, StreamMemory::Whole);
        assert_eq!(fates.lost[&Cause::ConsumedNotStored], set([79..80]));
        assert_eq!(fates.duplicated_in_stream, set([3..4]));
        assert_eq!(fates.duplicated_in_table, set([7..8]));
    }

    #[test]
    fn an_account_that_does_not_add_up_is_known_by_each_law() {
        let adds_up = |change: fn(&mut Fates)| {
            let held = held(set([0..50]), set([0..40]));
            let mut fates = compare(100, &account(), &held, StreamMemory::Whole);
            change(&mut fates);
            fates.add_up()
        };
        assert!(adds_up(|_| {}));
        assert!(adds_up(|it| it.filtered = it.lost.pop_first().unwrap().1));
        let changes: [fn(&mut Fates); 6] = [
            |it| it.planned += 1,
            |it| it.refused.insert(200..201),
            |it| it.stored.insert(200..201),
            |it| it.filtered.insert(200..201),
            |it| it.unresolved.insert(200..201),
            |it| it.not_seen.entry(Cause::Somewhere).or_default().insert(200..201),
        ];
        for (law, change) in changes.into_iter().enumerate() {
            assert!(!adds_up(change), "change {law}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_stores_hold_the_account_adds_up(
            kinds in proptest::collection::vec(0u8..7, 0..60),
            stream in proptest::collection::btree_set(0u64..80, 0..60),
            table in proptest::collection::btree_set(0u64..80, 0..60),
        ) {
            let mut account = Account::default();
            for (seq, kind) in (0..).zip(&kinds) {
                let Some(set) = (match kind {
                    0 => None,
                    1 => Some(&mut account.acknowledged),
                    2 => Some(&mut account.refused),
                    3 => Some(&mut account.unknown),
                    4 => Some(&mut account.unsent),
                    5 => Some(&mut account.spoiled),
                    _ => Some(&mut account.reserved),
                }) else { continue };
                set.insert(seq..seq + 1);
                account.reserved.insert(seq..seq + 1);
            }
            let held = held(stream.into_iter().collect(), table.into_iter().collect());
            let planned = kinds.len() as u64;
            for memory in [StreamMemory::Whole, FORGOTTEN] {
                prop_assert!(compare(planned, &account, &held, memory).add_up());
            }
        }
    }
}
