//! What the slowest queries of a run cost in ClickHouse, as `query-costs.json` holds it.

use events::event::MicroTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::slow_queries::SlowQuery;

/// What the slowest queries of a run cost. `docs/query-load.md` describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryCosts {
    /// Version of this format.
    pub format: u32,
    /// Version of the program that wrote it.
    pub tool_version: String,
    pub run_id: Uuid,
    /// The server whose log was read.
    pub server: String,
    pub read_at: MicroTime,
    /// Why costs are not known, or not for sure.
    pub notes: Vec<String>,
    /// The slowest first.
    pub queries: Vec<CostedQuery>,
}

/// A query, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostedQuery {
    pub query: SlowQuery,
    /// How many statements of the log may be this query: one, if it is known for sure.
    pub statements: u64,
    /// These statements, at most [`STATEMENTS_MAX`].
    pub costs: Vec<StatementCost>,
}

/// What one statement cost, as the log of the server has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementCost {
    pub query_id: String,
    /// By the server's clock.
    pub started: MicroTime,
    pub duration_ms: u64,
    pub read_rows: u64,
    pub read_bytes: u64,
    /// The most memory that it had.
    pub memory_bytes: u64,
    pub result_rows: u64,
    /// Projections of the table that it read, with their names.
    pub projections: Vec<String>,
    /// The server's code, if it failed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<i32>,
}

/// The file in a run's directory.
pub const QUERY_COSTS_FILE: &str = "query-costs.json";

/// Version of `query-costs.json`.
pub const QUERY_COSTS_FORMAT: u32 = 1;

/// The most statements of the log that are written down for one query.
pub const STATEMENTS_MAX: usize = 10;

impl QueryCosts {
    /// Takes over what an earlier look into the log has found and this one has not: the server
    /// deletes old entries.
    pub fn keep(&mut self, earlier: &Self) {
        for it in self.queries.iter_mut().filter(|it| it.costs.is_empty()) {
            let known = earlier.of(&it.query).filter(|known| !known.costs.is_empty());
            if let Some(known) = known.filter(|_| earlier.run_id == self.run_id) {
                it.clone_from(known);
            }
        }
    }

    /// What is known of a query.
    pub fn of(&self, query: &SlowQuery) -> Option<&CostedQuery> {
        self.queries.iter().find(|it| it.query.is_same(query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slow_queries::tests::slow;

    fn costed(asked: i64, read_rows: &[u64]) -> CostedQuery {
        let cost = |read_rows: &u64| StatementCost {
            query_id: "x".to_owned(),
            started: MicroTime(0),
            duration_ms: 1,
            read_rows: *read_rows,
            read_bytes: 1,
            memory_bytes: 1,
            result_rows: 1,
            projections: Vec::new(),
            error_code: None,
        };
        let costs: Vec<_> = read_rows.iter().map(cost).collect();
        let query = SlowQuery { asked: MicroTime(asked), ..slow(1.0) };
        CostedQuery { query, statements: costs.len() as u64, costs }
    }

    fn costs(queries: Vec<CostedQuery>) -> QueryCosts {
        QueryCosts {
            format: QUERY_COSTS_FORMAT,
            tool_version: String::new(),
            run_id: Uuid::nil(),
            server: String::new(),
            read_at: MicroTime(0),
            notes: Vec::new(),
            queries,
        }
    }

    #[test]
    fn what_the_log_has_forgotten_is_kept_and_what_it_has_is_new() {
        let earlier = costs(vec![costed(3, &[30]), costed(2, &[20]), costed(1, &[])]);
        let read = || costs(vec![costed(3, &[]), costed(2, &[21]), costed(1, &[])]);
        let mut now = read();
        now.keep(&earlier);
        let expected = costs(vec![costed(3, &[30]), costed(2, &[21]), costed(1, &[])]);
        assert_eq!(now, expected);
        let mut of_another_run = QueryCosts { run_id: Uuid::max(), ..read() };
        of_another_run.keep(&earlier);
        assert_eq!(of_another_run.queries, read().queries);
    }
}
