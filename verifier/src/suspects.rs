//! Decides which rows must be examined one by one, with how few queries. Pure.

use std::ops::Range;

use events::identity::{Seq, TenantIndex};
use events::row::Columns;
use events::script::{DAY_US, Days, Script, midnight};
use events::timeline::UnixMicros;
use rayon::prelude::*;
use runs::ranges::RangeSet;
use stores::stored::{STRETCH_BITS, Stretch, Sums};

use crate::digest::has_tenant;
use crate::expected::{all_of, sum};
use crate::scan::Holdings;

/// A stretch whose rows, as a whole, differ from what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) stretch: Stretch,
    /// The sum of the digests of its rows, as the scan read it.
    pub(crate) digest: u64,
    /// How many rows the stretch has, or slightly fewer.
    pub(crate) rows: u64,
    /// When the requests of its events were received.
    pub(crate) received: Range<UnixMicros>,
}

/// Limits of the examination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The most rows that are examined in all.
    pub(crate) rows: u64,
    pub(crate) rows_a_query: u64,
    pub(crate) stretches_a_query: usize,
    /// How many queries may be made so that each covers a short time.
    pub(crate) queries: usize,
}

/// Finds the stretches whose rows differ from what was sent. A stretch that only has some rows
/// twice does not count.
pub(crate) fn suspects(script: &Script, expected: &Sums, held: &Holdings) -> Vec<Suspect> {
    let is_same = |it: &(&Stretch, &u64)| expected.get(it.0) == Some(it.1);
    let differing: Vec<_> = held.digests.iter().filter(|it| !is_same(it)).collect();
    let found =
        differing.into_par_iter().map_init(Columns::default, |columns, (stretch, digest)| {
            let tenant = TenantIndex(stretch.0);
            if !has_tenant(script, tenant) {
                return None;
            }
            let arrivals = held.by_tenant.get(&tenant)?;
            let planned = all_of(script, *stretch);
            let seqs = planned.intersection(&arrivals.seqs);
            let repeated = planned.intersection(&arrivals.repeated);
            let is_twice = arrivals.count == arrivals.seqs.count() + arrivals.repeated.count();
            if is_twice && !repeated.is_empty() {
                let again = sum(script, (stretch, &repeated), columns);
                if expected.get(stretch).map(|once| once.wrapping_add(again)) == Some(*digest) {
                    return None;
                }
            }
            let rows = seqs.count() + repeated.count();
            let received = received(script, tenant, &planned)?;
            Some(Suspect { stretch: *stretch, digest: *digest, rows, received })
        });
    found.flatten().collect()
}

/// Returns when the requests of some events of a tenant were received. That is before they are due;
/// in a history it is on the same day.
fn received(script: &Script, tenant: TenantIndex, seqs: &RangeSet) -> Option<Range<UnixMicros>> {
    let (first, last) = (seqs.ranges().first()?.start, seqs.ranges().last()?.end - 1);
    let due = |seq| script.timeline(tenant).due(Seq(seq)).ok();
    let earlier_us = if script.days() == Days::Flow { DAY_US } else { 0 };
    Some(midnight(due(first)?) - earlier_us..due(last)? + 1)
}

/// Returns the suspects that can be examined within the bounds, and the number of rows that the
/// others have.
pub(crate) fn within(mut suspects: Vec<Suspect>, bounds: Bounds) -> (Vec<Suspect>, u64) {
    let mut rows = 0;
    let mut take = 0;
    while let Some(suspect) = suspects.get(take)
        && rows + suspect.rows <= bounds.rows
    {
        rows += suspect.rows;
        take += 1;
    }
    let left_out = suspects.split_off(take);
    (suspects, left_out.iter().map(|it| it.rows).sum())
}

/// Groups suspects, one group for each query, so that there are few queries and each covers a short
/// time.
pub(crate) fn groups(mut suspects: Vec<Suspect>, bounds: Bounds) -> Vec<Vec<Suspect>> {
    suspects.sort_by_key(|it| (it.received.start, it.stretch));
    let mut gap_us = 0;
    loop {
        let mut groups: Vec<Vec<Suspect>> = Vec::new();
        let mut until = i64::MIN;
        let mut rows = 0;
        let mut cut_by_size = 1;
        for suspect in &suspects {
            let is_near = suspect.received.start <= until.saturating_add(gap_us);
            let last = groups.last_mut();
            let has_room = last.as_ref().is_some_and(|it| it.len() < bounds.stretches_a_query)
                && rows + suspect.rows <= bounds.rows_a_query;
            if let Some(group) = last.filter(|_| is_near && has_room) {
                group.push(suspect.clone());
            } else {
                cut_by_size += usize::from(is_near && !groups.is_empty());
                groups.push(vec![suspect.clone()]);
                rows = 0;
            }
            rows += suspect.rows;
            until = until.max(suspect.received.end);
        }
        if groups.len() <= bounds.queries.max(cut_by_size) {
            return groups;
        }
        gap_us = gap_us.saturating_mul(2).max(GAP_FIRST_US);
    }
}

/// If there are too many queries, suspects that are at most a second apart are asked for together,
/// then those at most two seconds apart, and so on.
const GAP_FIRST_US: i64 = 1_000_000;

/// The period that contains all rows of a group.
pub(crate) fn time_of(group: &[Suspect]) -> Range<UnixMicros> {
    let start = group.iter().map(|it| it.received.start).min().unwrap_or_default();
    start..group.iter().map(|it| it.received.end).max().unwrap_or_default()
}

/// The stretch that an event belongs to.
pub(crate) fn stretch_of(tenant: u16, seq: u64) -> Stretch {
    (tenant, seq >> STRETCH_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use plans::plan::Plan;
    use plans::spec::{RunOptions, Span};
    use stores::stored::Arrivals;
    use uuid::Uuid;

    use super::*;

    const BOUNDS: Bounds =
        Bounds { rows: 1_000, rows_a_query: 300, stretches_a_query: 50, queries: 10 };

    fn suspect(tenant: u16, rows: u64, second: i64) -> Suspect {
        let start = second * 1_000_000;
        Suspect { stretch: (tenant, 0), digest: 0, rows, received: start..start + 500_000 }
    }

    #[test]
    fn however_many_suspects_there_are_questions_and_rows_are_few() {
        let all: Vec<_> = (0..60_000).map(|it| suspect(it, 1, i64::from(it) * 7)).collect();
        let (looked_at, left_out) = within(all, BOUNDS);
        assert_eq!((looked_at.len(), left_out), (1_000, 59_000));
        let grouped = groups(looked_at, BOUNDS);
        assert!(grouped.len() <= 1_000 / 50 + 10, "{}", grouped.len());
        assert_eq!(grouped.iter().map(Vec::len).sum::<usize>(), 1_000);
        assert!(grouped.iter().all(|group| group.len() <= 50));
        // The time of each group is short.
        let longest = grouped.iter().map(|it| time_of(it)).map(|it| it.end - it.start).max();
        assert!(longest.unwrap() < 50 * 8_000_000, "{longest:?}");
    }

    #[test]
    fn what_is_far_apart_is_asked_for_apart_and_what_is_large_too() {
        let check = |suspects: Vec<Suspect>, expected: &[usize]| {
            let grouped = groups(suspects, BOUNDS);
            assert_eq!(grouped.iter().map(Vec::len).collect::<Vec<_>>(), expected);
        };
        check(vec![], &[]);
        check(vec![suspect(1, 5, 90_000), suspect(0, 5, 0), suspect(2, 5, 90_000)], &[1, 2]);
        check(vec![suspect(0, 200, 0), suspect(1, 100, 0), suspect(2, 1, 0)], &[2, 1]);
        check(vec![suspect(0, 20_000, 0), suspect(1, 1, 0)], &[1, 1]);
    }

    #[test]
    fn rows_that_are_there_twice_do_not_make_a_stretch_suspect_and_changed_ones_do() {
        let text = "name: x\nstages: [{duration: 10s, rate: 10/s, tenants: 2}]\n";
        let start = 1_760_000_000_000_000;
        let options = RunOptions::new(Uuid::from_u128(7), start, Span::Live);
        let script = Plan::parse(text, "x", options).unwrap().script;
        let all = RangeSet::of(0..100);
        let twice = RangeSet::of(3..5);
        let digest = |tenant: u16, seqs: &RangeSet| {
            sum(&script, (&(tenant, 0), seqs), &mut Columns::default())
        };
        let expected: Sums = [0, 1].map(|tenant| ((tenant, 0), digest(tenant, &all))).into();
        let held = |digest: u64, count: u64| {
            let arrivals = Arrivals { seqs: all.clone(), repeated: twice.clone(), count };
            Holdings {
                by_tenant: BTreeMap::from([(TenantIndex(1), arrivals)]),
                digests: [((1, 0), digest), ((9, 0), 1)].into(),
                ..Holdings::default()
            }
        };
        let own = digest(1, &all).wrapping_add(digest(1, &twice));
        assert_eq!(suspects(&script, &expected, &held(own, 102)), []);
        for (digest, count) in [(own.wrapping_add(1), 102), (own, 103)] {
            let found = suspects(&script, &expected, &held(digest, count));
            assert_eq!((found.len(), found[0].stretch, found[0].rows), (1, (1, 0), 102));
            let due = |seq| script.timeline(TenantIndex(1)).due(Seq(seq)).unwrap();
            assert!(found[0].received.start < due(0) && found[0].received.end > due(99));
        }
    }
}
