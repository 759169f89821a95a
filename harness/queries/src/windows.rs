//! The complete walk: reads all of a scope by windows of time, without the API's cursor, which
//! loses events. Pure.
//!
//! To read the period from `a` to `e`, it asks from `a` to one second after `e`, and for requests
//! received at `e` or before. (ClickHouse's index drops rows of the last second before a bound that
//! is a `DateTime`; so the bound that matters is in the filter.) If there is more than a page, all
//! events that are newer than the second of the oldest one have been shown, and the walk goes on
//! with the period up to the end of that second. If a second alone has more events than a page, it
//! is read in ranges of audit IDs.

use events::timeline::UnixMicros;

use crate::question::{
    Condition, Filter, IdRange, Question, Scope, UnixSeconds, WINDOW_SECONDS_MAX,
};

/// Reads all of a scope in a period.
#[derive(Debug, Clone)]
pub struct Windows {
    scope: Scope,
    filter: Filter,
    limit: u32,
    /// What is still to be read. The last one is next.
    open: Vec<Window>,
    unread: Vec<Window>,
}

/// A part of what is to be read: from a second to before another, and a range of IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: UnixSeconds,
    pub until: UnixSeconds,
    pub ids: IdRange,
}

impl Windows {
    /// Begins at the newest end. The second after `until` must not be in the server's future.
    pub fn new(
        scope: Scope,
        filter: Filter,
        (from, until): (UnixSeconds, UnixSeconds),
        limit: u32,
    ) -> Self {
        let mut open = Vec::new();
        let mut start = from;
        while start < until {
            // One second is added to the end when it is asked.
            let end = until.min(start.plus(WINDOW_SECONDS_MAX - 1));
            open.push(Window { from: start, until: end, ids: IdRange::ALL });
            start = end;
        }
        Self { scope, filter, limit, open, unread: Vec::new() }
    }

    /// Continues a walk that has these windows left.
    pub fn resume(scope: Scope, filter: Filter, open: Vec<Window>, limit: u32) -> Self {
        Self { scope, filter, limit, open, unread: Vec::new() }
    }

    /// What is still to be read. The last one is next.
    pub fn open(&self) -> &[Window] {
        &self.open
    }

    /// Windows with more events than a page that cannot be divided any more.
    pub fn unread(&self) -> &[Window] {
        &self.unread
    }

    /// The next question, or `None` if all is read.
    pub fn question(&self) -> Option<Question> {
        let window = self.open.last()?;
        let mut filter = self.filter.clone().and(Condition::ReceivedAtMost(window.until));
        if window.ids != IdRange::ALL {
            filter = filter.and(Condition::Ids(window.ids));
        }
        Some(Question {
            scope: self.scope.clone(),
            filter,
            from: window.from,
            until: window.until.plus(1),
            limit: self.limit,
        })
    }

    /// Takes how far the answer to the question went: when its oldest event was received, and
    /// whether there is more. Some of its events may be shown again by a later window.
    pub fn take(&mut self, oldest: Option<UnixMicros>, has_more: bool) {
        if let Some(window) = self.open.pop()
            && has_more
        {
            self.divide(window, oldest);
        }
    }

    /// Puts back what a window has beyond a page.
    fn divide(&mut self, window: Window, oldest: Option<UnixMicros>) {
        let reached = oldest.map(|at| UnixSeconds::of(at).plus(1).max(window.from));
        let last_second = window.until.plus(-1);
        match reached {
            // The oldest second may have more events than were shown.
            Some(reached) if reached < window.until => {
                if reached > window.from {
                    self.open.push(Window { until: reached, ..window });
                }
            }
            _ => {
                if last_second > window.from {
                    self.open.push(Window { until: last_second, ..window });
                }
                let second = Window { from: last_second, ..window };
                match window.ids.halves() {
                    Some(halves) => {
                        self.open.extend(halves.map(|ids| Window { ids, ..second }));
                    }
                    None => self.unread.push(second),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    /// A row: when it was received, in ms, and its ID.
    type Row = (i64, Uuid);

    const FROM: i64 = 1_790_000_000;

    /// Answers as the server does: newest first, at most a page, and whether there is more.
    fn answer(rows: &[Row], question: &Question) -> (Vec<Row>, bool) {
        let is_asked = |(at, id): &&Row| {
            question.is_in_period(*at)
                && question.filter.conditions().iter().all(|condition| match condition {
                    Condition::ReceivedAtMost(until) => *at <= until.millis(),
                    Condition::Ids(range) => range.has(*id),
                    other => panic!("{other:?} was not asked for"),
                })
        };
        let mut asked: Vec<Row> = rows.iter().filter(is_asked).copied().collect();
        asked.sort_unstable();
        asked.reverse();
        let has_more = asked.len() > question.limit as usize;
        asked.truncate(question.limit as usize);
        (asked, has_more)
    }

    /// Reads all rows by windows. Returns what was shown and how many questions it took.
    fn read(rows: &[Row], seconds: i64, limit: u32) -> (BTreeSet<Row>, usize, usize) {
        let period = (UnixSeconds(FROM), UnixSeconds(FROM + seconds));
        let mut windows = Windows::new(Scope::Platform, Filter::default(), period, limit);
        let (mut shown, mut questions) = (BTreeSet::new(), 0);
        while let Some(question) = windows.question() {
            questions += 1;
            assert!(questions < 100_000, "it does not end");
            assert!(question.until.0 - question.from.0 <= WINDOW_SECONDS_MAX);
            let (rows, has_more) = answer(rows, &question);
            let oldest = rows.iter().map(|(at, _)| at * 1_000).min();
            shown.extend(rows.iter().filter(|(at, _)| *at < period.1.millis()));
            windows.take(oldest, has_more);
        }
        (shown, questions, windows.unread().len())
    }

    fn id(number: u64) -> Uuid {
        let bits = u128::from(events::identity::int_hash_64(number)) << 64
            | u128::from(events::identity::int_hash_64(!number));
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    proptest! {
        #[test]
        fn every_row_is_shown_however_dense_and_wherever_in_its_second(
            times in prop::collection::vec(
                prop_oneof![0..20_000_i64, 3_000..3_010_i64, Just(4_000), Just(20_000)], 0..400),
            limit in 1..60_u32,
        ) {
            let row = |(n, at): (u64, &i64)| (FROM * 1_000 + at, id(n));
            let rows: Vec<Row> = (0..).zip(&times).map(row).collect();
            let (shown, questions, unread) = read(&rows, 20, limit);
            let inside: BTreeSet<Row> =
                rows.iter().filter(|(at, _)| *at < (FROM + 20) * 1_000).copied().collect();
            prop_assert_eq!(unread, 0);
            prop_assert_eq!(shown, inside);
            let pages = rows.len() / limit as usize + 1;
            prop_assert!(questions <= 60 * (pages + 20), "{} questions", questions);
        }
    }

    #[test]
    fn a_long_period_is_cut_and_what_cannot_be_divided_is_told() {
        let days = 100 * 86_400;
        let row = |(n, number): (i64, u64)| (FROM * 1_000 + n * days * 2, id(number));
        let rows: Vec<Row> = (0..500).zip(0..).map(row).collect();
        let (shown, _, unread) = read(&rows, days, 1_000);
        assert_eq!((shown.len(), unread), (500, 0));
        // Without IDs that are random, there is no way to divide a second.
        let same: Vec<Row> = (0..20).map(|n| (FROM * 1_000, Uuid::from_u128(n))).collect();
        let (shown, _, unread) = read(&same, 5, 3);
        assert!(shown.len() >= 3 && unread == 1, "{} shown, {unread} unread", shown.len());
    }
}
