//! The complete walk: reads all of a scope by windows of time, without the API's cursor, which
//! loses events. Pure.
//!
//! To read the period from `a` to `e`, it asks from `a` to one second after `e`, and for requests
//! received at `e` or before. (ClickHouse's index drops rows of the last second before a bound that
//! is a `DateTime`; so the bound that matters is in the filter.) If there is more than a page, all
//! events that are newer than the second of the oldest one have been shown, and the walk goes on
//! with the period up to the end of that second. If a second alone has more events than a page, it
//! is read in ranges of audit IDs.

use crate::page::{Page, Shown};
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

    /// Takes the answer to the question, and returns the events that belong to its window. Some of
    /// them may be shown again by a later window.
    pub fn take<'p>(&mut self, page: &'p Page) -> impl Iterator<Item = &'p Shown> + use<'p> {
        let window = self.open.pop();
        if let Some(window) = window
            && page.next.is_some()
        {
            self.divide(window, page);
        }
        let until = window.map_or(i64::MAX, |window| window.until.micros());
        let is_inside = move |shown: &&Shown| shown.received.is_none_or(|at| at < until);
        page.events.iter().filter(is_inside)
    }

    /// Puts back what a window has beyond a page.
    fn divide(&mut self, window: Window, page: &Page) {
        let oldest = page.events.iter().filter_map(|shown| shown.received).min();
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
