//! Finds out what became of the events of one tenant, by comparing sets. Pure.

use std::collections::BTreeMap;

use plans::spec::DeliveryPath;
use runs::ledger::Account;
use runs::ranges::RangeSet;
use runs::report::cause::Cause;
use runs::report::fates::{Fates, Forgotten};
use stores::stored::Arrivals;

/// Which of a tenant's events stream and table hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The events in the stream, or `None` if the run did not go through it.
    pub in_stream: Option<Arrivals>,
    /// The events that are in the stream and that the consumer has not read.
    pub unread: RangeSet,
    /// The first event that was sent through the stream. Earlier ones went straight into the table.
    pub piped_from: u64,
    pub in_table: Arrivals,
}

/// Whether the stream still has every message that it was sent during the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamMemory {
    Whole,
    /// It may have had the messages that it does not have now.
    Partial(Forgotten),
}

/// Compares what the ledger says of a tenant with what stream and table hold.
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

/// Moves lost events whose loss is not proven to `not_seen`. `is_proven` says whether a cause is
/// proven for the events that went through the pipeline, or for those that went straight into the
/// table. `piped_from` is the first event that went through the pipeline.
pub fn keep_proven(
    fates: &mut Fates,
    piped_from: u64,
    is_proven: impl Fn(Cause, DeliveryPath) -> bool,
) {
    let past_it = RangeSet::of(0..piped_from);
    for (cause, seqs) in std::mem::take(&mut fates.lost) {
        let (bulk, piped) = (seqs.intersection(&past_it), seqs.difference(&past_it));
        for (path, seqs) in [(DeliveryPath::Bulk, bulk), (DeliveryPath::Pipeline, piped)] {
            if seqs.is_empty() {
                continue;
            }
            let sets = if is_proven(cause, path) { &mut fates.lost } else { &mut fates.not_seen };
            let set = sets.entry(cause).or_default();
            *set = set.union(&seqs);
        }
    }
}

/// Moves lost events to another cause, or to those filtered by design if `to` is `None`.
pub(crate) fn move_lost(fates: &mut Fates, seqs: &RangeSet, to: Option<Cause>) {
    let moved = fates.lost().intersection(seqs);
    if moved.is_empty() {
        return;
    }
    for set in fates.lost.values_mut() {
        *set = set.difference(&moved);
    }
    fates.lost.retain(|_, set| !set.is_empty());
    let target = match to {
        Some(cause) => fates.lost.entry(cause).or_default(),
        None => &mut fates.filtered,
    };
    *target = target.union(&moved);
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
        keep_proven(&mut fates, 30, |cause, path| {
            cause == Cause::Somewhere && path == DeliveryPath::Bulk
        });
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
