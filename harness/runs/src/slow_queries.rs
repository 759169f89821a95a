//! The slowest pages of a run's queries. Pure.

use std::fmt;

use events::event::MicroTime;
use plans::queries::QueryScope;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// A page of an answer that took long to come, or did not come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlowQuery {
    /// When it was asked for.
    pub asked: MicroTime,
    /// From when it was to be asked for to its answer, or to when it failed.
    pub latency_ms: f64,
    /// The part of it in which the question waited for the generator.
    pub waited_ms: f64,
    /// The kind of question.
    pub kind: String,
    pub scope: QueryScope,
    /// The question, so that it can be asked again.
    pub question: Value,
    /// The filter as a condition of SQL, by which its statement is known in a log of queries.
    pub filter_sql: String,
    /// The number of the page, from 1.
    pub page: u32,
    /// The last event of the page before, which this one goes on behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Uuid>,
    /// Why it did not come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Events on it.
    pub rows: u64,
    /// Bytes of the answer.
    pub bytes: u64,
    /// Its name in ClickHouse's log of queries, if it went straight to the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_id: Option<String>,
}

impl SlowQuery {
    /// Whether both are one page. Latencies are not compared, as JSON may round them.
    pub fn is_same(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.asked, it.page, it.after, it.query_id.clone());
        key(self) == key(other) && self.question == other.question
    }

    /// A part of the question, or an empty text.
    pub fn asks(&self, part: &str) -> &str {
        self.question[part].as_str().unwrap_or_default()
    }
}

impl fmt::Display for SlowQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { latency_ms, kind, page, failure, .. } = self;
        write!(f, "{latency_ms:>10.1}  {kind} of {}, page {page}", self.asks("scope"))?;
        failure.iter().try_for_each(|cause| write!(f, ", failed: {cause}"))
    }
}

/// The slowest of many pages, the slowest first. Of those that took equally long, the earlier ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Slowest {
    room: usize,
    queries: Vec<SlowQuery>,
}

/// Pages of each second that are considered. It limits what a lane holds, and what is written down
/// of a second.
pub const SLOWEST_OF_SECOND: usize = 5;

/// Pages of a run that are kept.
pub const SLOWEST_OF_RUN: usize = 20;

impl Slowest {
    /// Keeps those of a second.
    pub fn of_second() -> Self {
        Self { room: SLOWEST_OF_SECOND, queries: Vec::new() }
    }

    /// Keeps those of a run.
    pub fn of_run() -> Self {
        Self { room: SLOWEST_OF_RUN, queries: Vec::new() }
    }

    pub fn queries(&self) -> &[SlowQuery] {
        &self.queries
    }

    /// Whether a page that took so long would be kept.
    pub fn has_room_for(&self, latency_ms: f64) -> bool {
        self.queries.len() < self.room
            || self.queries.last().is_some_and(|fastest| fastest.latency_ms < latency_ms)
    }

    /// Keeps a page if it is slow enough. It is only made then.
    pub fn offer(&mut self, latency_ms: f64, query: impl FnOnce() -> SlowQuery) {
        if self.has_room_for(latency_ms) {
            let at = self.queries.partition_point(|known| known.latency_ms >= latency_ms);
            self.queries.insert(at, query());
            self.queries.truncate(self.room);
        }
    }

    /// Keeps those of others that are slow enough.
    pub fn add(&mut self, others: &[SlowQuery]) {
        for other in others {
            self.offer(other.latency_ms, || other.clone());
        }
    }

    /// Forgets all for which this does not hold.
    pub fn retain(&mut self, is_kept: impl FnMut(&SlowQuery) -> bool) {
        self.queries.retain(is_kept);
    }

    pub fn clear(&mut self) {
        self.queries.clear();
    }
}

/// Those of a run.
impl Default for Slowest {
    fn default() -> Self {
        Self::of_run()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn slow(latency_ms: f64) -> SlowQuery {
        SlowQuery {
            asked: MicroTime(1_000_000),
            latency_ms,
            waited_ms: 0.0,
            kind: "deletions".to_owned(),
            scope: QueryScope::Tenant,
            question: serde_json::json!({ "scope": "Project/shop", "filter": "verb == 'delete'" }),
            filter_sql: "verb = 'delete'".to_owned(),
            page: 1,
            after: None,
            failure: None,
            rows: 7,
            bytes: 100,
            query_id: None,
        }
    }

    fn latencies(slowest: &Slowest) -> Vec<f64> {
        slowest.queries().iter().map(|query| query.latency_ms).collect()
    }

    #[test]
    fn the_slowest_are_kept_in_order_and_no_more_of_them_than_there_is_room_for() {
        let mut slowest = Slowest::of_second();
        // Each of the numbers below 101 once, in some order.
        for number in (1..=100_u32).map(|n| f64::from(n * 37 % 101)) {
            slowest.offer(number, || slow(number));
            assert!(slowest.queries().len() <= SLOWEST_OF_SECOND);
        }
        assert_eq!(latencies(&slowest), [100.0, 99.0, 98.0, 97.0, 96.0]);
        assert!(slowest.has_room_for(96.5) && !slowest.has_room_for(96.0));
        slowest.offer(1.0, || unreachable!("what is too fast is not even made"));
        let mut of_run = Slowest::of_run();
        of_run.add(slowest.queries());
        of_run.add(slowest.queries());
        assert_eq!(of_run.queries().len(), 10);
    }

    #[test]
    fn of_those_that_took_equally_long_the_earlier_ones_are_kept() {
        let mut slowest = Slowest::of_second();
        for page in 1..=9 {
            slowest.offer(30_000.0, || SlowQuery { page, ..slow(30_000.0) });
        }
        let pages: Vec<u32> = slowest.queries().iter().map(|query| query.page).collect();
        assert_eq!(pages, [1, 2, 3, 4, 5]);
    }
}
