//! Sets of sequence numbers, kept as ranges: exact, and small where numbers are dense.

use std::collections::BTreeMap;
use std::ops::Range;

use events::identity::TenantIndex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of numbers as sorted, disjoint, non-touching half-open ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: Vec<Range<u64>>,
}

impl RangeSet {
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the set of all numbers in a range.
    pub fn of(range: Range<u64>) -> Self {
        let mut set = Self::new();
        set.insert(range);
        set
    }

    /// Adds a range; cheap at the end of the set, where most additions are.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        if let Some(last) = self.ranges.last_mut()
            && range.start >= last.start
        {
            if range.start <= last.end {
                last.end = last.end.max(range.end);
            } else {
                self.ranges.push(range);
            }
            return;
        }
        // The ranges that touch the new one become one with it.
        let from = self.ranges.partition_point(|known| known.end < range.start);
        let until = self.ranges.partition_point(|known| known.start <= range.end);
        let mut merged = range;
        if from < until {
            merged.start = merged.start.min(self.ranges[from].start);
            merged.end = merged.end.max(self.ranges[until - 1].end);
        }
        self.ranges.splice(from..until, [merged]);
    }

    /// Takes a range away; cheap where it has nothing of the set.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.ranges.partition_point(|known| known.end <= range.start);
        let until = self.ranges.partition_point(|known| known.start < range.end);
        if from < until {
            let left = self.ranges[from].start..range.start;
            let right = range.end..self.ranges[until - 1].end;
            let rest = [left, right].into_iter().filter(|part| !part.is_empty());
            self.ranges.splice(from..until, rest);
        }
    }

    /// How many numbers the set has.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn contains(&self, number: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.end <= number);
        self.ranges.get(at).is_some_and(|range| range.start <= number)
    }

    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// The parts of the set that lie in a range.
    pub fn overlapping<'s>(
        &'s self,
        range: &Range<u64>,
    ) -> impl Iterator<Item = Range<u64>> + use<'s> {
        let (start, end) = (range.start, range.end);
        let from = self.ranges.partition_point(|known| known.end <= start);
        let parts = self.ranges[from..].iter().take_while(move |known| known.start < end);
        parts.map(move |known| known.start.max(start)..known.end.min(end))
    }

    /// All numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges.iter().cloned().flatten()
    }

    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all: Vec<_> = self.ranges.iter().chain(&other.ranges).cloned().collect();
        all.sort_unstable_by_key(|range| range.start);
        all.into_iter().collect()
    }

    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::new();
        let (mut left, mut right) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            both.insert(a.start.max(b.start)..a.end.min(b.end));
            if a.end <= b.end {
                left.next()
            } else {
                right.next()
            };
        }
        both
    }

    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut rest = Self::new();
        let mut holes = other.ranges.iter().peekable();
        for range in &self.ranges {
            let mut start = range.start;
            while let Some(hole) = holes.next_if(|hole| hole.end <= range.end) {
                rest.insert(start..hole.start.max(start));
                start = start.max(hole.end);
            }
            let end = holes.peek().map_or(range.end, |hole| hole.start.clamp(start, range.end));
            rest.insert(start..end);
        }
        rest
    }
}

/// As a list of pairs `[start, end]`; the end is not in the range.
impl Serialize for RangeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.ranges.iter().map(|range| [range.start, range.end]))
    }
}

impl<'de> Deserialize<'de> for RangeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<[u64; 2]>::deserialize(deserializer)?;
        Ok(pairs.into_iter().map(|[start, end]| start..end).collect())
    }
}

impl FromIterator<Range<u64>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::new();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

impl FromIterator<u64> for RangeSet {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        numbers.into_iter().map(|number| number..number + 1).collect()
    }
}

/// Sets of sequence numbers of tenants: of those that have any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantRanges {
    tenants: BTreeMap<TenantIndex, RangeSet>,
}

impl TenantRanges {
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of a tenant, if it has any numbers.
    pub fn get(&self, tenant: TenantIndex) -> Option<&RangeSet> {
        self.tenants.get(&tenant)
    }

    /// The sets of all tenants that have any numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TenantIndex, &RangeSet)> {
        self.tenants.iter().map(|(tenant, set)| (*tenant, set))
    }

    pub fn insert(&mut self, tenant: TenantIndex, range: Range<u64>) {
        if !range.is_empty() {
            self.tenants.entry(tenant).or_default().insert(range);
        }
    }

    /// Adds a set of numbers of a tenant.
    pub fn insert_all(&mut self, tenant: TenantIndex, set: &RangeSet) {
        set.ranges().iter().for_each(|range| self.insert(tenant, range.clone()));
    }

    /// Adds all numbers of others.
    pub fn add(&mut self, others: &Self) {
        others.iter().for_each(|(tenant, set)| self.insert_all(tenant, set));
    }

    /// Takes all numbers of others away.
    pub fn subtract(&mut self, others: &Self) {
        for (tenant, set) in others.iter() {
            let Some(own) = self.tenants.get_mut(&tenant) else { continue };
            *own = own.difference(set);
            if own.is_empty() {
                self.tenants.remove(&tenant);
            }
        }
    }

    /// How many numbers all tenants have together.
    pub fn count(&self) -> u64 {
        self.tenants.values().map(RangeSet::count).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }
}

impl FromIterator<(TenantIndex, RangeSet)> for TenantRanges {
    fn from_iter<I: IntoIterator<Item = (TenantIndex, RangeSet)>>(sets: I) -> Self {
        let mut all = Self::new();
        sets.into_iter().for_each(|(tenant, set)| all.insert_all(tenant, &set));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sets() -> impl Strategy<Value = (RangeSet, BTreeSet<u64>)> {
        proptest::collection::vec((0u64..60, 0u64..9), 0..12).prop_map(|ranges| {
            let ranges = ranges.into_iter().map(|(start, len)| start..start + len);
            (ranges.clone().collect(), ranges.flatten().collect())
        })
    }

    fn numbers(set: &RangeSet) -> BTreeSet<u64> {
        let touching = set.ranges.windows(2).any(|pair| pair[0].end >= pair[1].start);
        assert!(!touching && set.ranges.iter().all(|range| !range.is_empty()), "{set:?}");
        set.iter().collect()
    }

    proptest! {
        #[test]
        fn range_sets_are_sets((a, set_a) in sets(), (b, set_b) in sets()) {
            prop_assert_eq!(&numbers(&a), &set_a);
            prop_assert_eq!(a.count(), set_a.len() as u64);
            prop_assert_eq!(numbers(&a.union(&b)), &set_a | &set_b);
            prop_assert_eq!(numbers(&a.intersection(&b)), &set_a & &set_b);
            prop_assert_eq!(numbers(&a.difference(&b)), &set_a - &set_b);
            let mut rest = a.clone();
            b.ranges().iter().cloned().for_each(|range| rest.remove(range));
            prop_assert_eq!(numbers(&rest), &set_a - &set_b);
            for number in 0..70 {
                prop_assert_eq!(a.contains(number), set_a.contains(&number));
            }
        }

        #[test]
        fn sets_of_tenants_are_sets((a, _) in sets(), (b, _) in sets(), (c, _) in sets()) {
            let of = |first: &RangeSet, second: &RangeSet| -> TenantRanges {
                [(TenantIndex(1), first.clone()), (TenantIndex(7), second.clone())]
                    .into_iter()
                    .collect()
            };
            let mut all = of(&a, &b);
            all.add(&of(&c, &a));
            prop_assert_eq!(&all, &of(&a.union(&c), &b.union(&a)));
            prop_assert_eq!(all.count(), a.union(&c).count() + b.union(&a).count());
            all.subtract(&of(&b, &b));
            let rest = of(&a.union(&c).difference(&b), &a.difference(&b));
            prop_assert_eq!(&all, &rest);
            prop_assert_eq!(all.get(TenantIndex(7)).is_some(), !a.difference(&b).is_empty());
            all.subtract(&rest);
            prop_assert!(all.is_empty());
        }
    }
}
