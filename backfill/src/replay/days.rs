//! How many days may come to the table together. Pure.

use events::timeline::UnixMicros;

/// The days that may come to the table together. One insert may touch a hundred partitions, and
/// each day is one. The aggregator gathers the events of some seconds for an insert, so an insert
/// may have days of two groups.
#[derive(Debug)]
pub(crate) struct DayGroup {
    begun: UnixMicros,
    last: Option<UnixMicros>,
    count: u32,
}

impl DayGroup {
    pub(crate) fn new(now: UnixMicros) -> Self {
        Self { begun: now, last: None, count: 0 }
    }

    /// Takes a day into the group, unless it is full. Days come in order.
    pub(crate) fn take(&mut self, day: UnixMicros) -> bool {
        if self.last == Some(day) {
            return true;
        }
        if self.count == GROUP_DAYS_MAX {
            return false;
        }
        (self.last, self.count) = (Some(day), self.count + 1);
        true
    }

    /// When the next group may begin.
    pub(crate) fn over_at(&self) -> UnixMicros {
        self.begun + GROUP_US_MIN
    }
}

const GROUP_DAYS_MAX: u32 = 40;
const GROUP_US_MIN: i64 = 30_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_full_with_as_many_days_as_an_insert_can_take() {
        let mut group = DayGroup::new(5);
        for day in 0..i64::from(GROUP_DAYS_MAX) {
            assert!(group.take(day) && group.take(day));
        }
        assert!(!group.take(1_000));
        assert!(group.take(i64::from(GROUP_DAYS_MAX) - 1), "a day that is in it");
        assert_eq!(group.over_at(), 5 + GROUP_US_MIN);
    }
}
