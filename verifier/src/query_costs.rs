//! Looks up what the slowest queries of a run cost, in the log of ClickHouse.
//!
//! A query that went straight to the table is known there by its ID. One that went to the query API
//! is known by its statement and by when it was begun. If others may be it as well, that is said.
//! Whatever goes wrong is a note, and no error: no verdict depends on costs.

mod statement;

use std::ops::Range;
use std::time::Duration;

use edges::clock::{Clock, micros};
use edges::exit::chain;
use edges::shutdown::{Shutdown, Stop};
use events::event::MicroTime;
use events::timeline::UnixMicros;
use runs::query_costs::{CostedQuery, QUERY_COSTS_FORMAT, QueryCosts, STATEMENTS_MAX};
use runs::slow_queries::SlowQuery;
use stores::clickhouse::{ClickHouse, ClickHouseError};
use stores::query_log::{
    Flushed, LoggedQuery, Wanted, flush_query_log, has_no_log, read_log_begin, read_query_log,
};
use tracing::info;
use uuid::Uuid;

use self::statement::Expected;

/// Looks up what queries cost. It asks no other server than this one.
pub async fn read_query_costs(
    run_id: Uuid,
    slowest: &[SlowQuery],
    server: &ClickHouse,
    (clock, mut shutdown): (Clock, Shutdown),
) -> QueryCosts {
    info!(queries = slowest.len(), server = server.url, "looking up what queries cost");
    let mut queries: Vec<CostedQuery> = slowest.iter().map(unknown).collect();
    let read = tokio::select! {
        read = look_up(server, &mut queries, clock) => Some(read),
        () = shutdown.asked(Stop::Drain) => None,
    };
    let notes = match read {
        Some(Ok(begin)) => notes(&queries, begin),
        Some(Err(error)) => vec![cannot_read(server, &error)],
        None => vec!["it was stopped before all costs were read".to_owned()],
    };
    QueryCosts {
        format: QUERY_COSTS_FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        run_id,
        server: server.url.clone(),
        read_at: MicroTime(clock.now()),
        notes,
        queries,
    }
}

fn unknown(query: &SlowQuery) -> CostedQuery {
    CostedQuery { query: query.clone(), statements: 0, costs: Vec::new() }
}

/// Looks queries up one by one. Returns when the log begins.
async fn look_up(
    server: &ClickHouse,
    queries: &mut [CostedQuery],
    clock: Clock,
) -> Result<Option<UnixMicros>, ClickHouseError> {
    let last = queries.iter().map(|it| answered(&it.query)).max().unwrap_or_default();
    if flush_query_log(server).await? == Flushed::Denied {
        let wait = last + micros(FLUSHED_WITHIN) - clock.now();
        let wait = Duration::from_micros(u64::try_from(wait).unwrap_or(0)).min(FLUSHED_WITHIN);
        tokio::time::sleep(wait).await;
    }
    for it in queries {
        let found = find(server, &it.query).await?;
        it.statements = found.len() as u64;
        it.costs = found.into_iter().take(STATEMENTS_MAX).map(|found| found.cost).collect();
    }
    read_log_begin(server).await
}

/// The queries of the log that may be this one.
async fn find(server: &ClickHouse, query: &SlowQuery) -> Result<Vec<LoggedQuery>, ClickHouseError> {
    let begun = begun(query);
    if let Some(id) = &query.query_id {
        return read_query_log(server, &Wanted::Id(id), &begun).await;
    }
    let Some(expected) = Expected::of(query) else { return Ok(Vec::new()) };
    let logged = read_query_log(server, &Wanted::Parts(expected.parts()), &begun).await?;
    Ok(matching(&expected, logged))
}

fn matching(expected: &Expected, mut logged: Vec<LoggedQuery>) -> Vec<LoggedQuery> {
    logged.retain(|it| expected.is_met_by(&it.statement));
    logged
}

/// When the server may have begun a query, by its own clock.
fn begun(query: &SlowQuery) -> Range<UnixMicros> {
    query.asked.0 - CLOCKS_APART_US..answered(query) + CLOCKS_APART_US
}

fn answered(query: &SlowQuery) -> UnixMicros {
    #[expect(clippy::cast_possible_truncation, reason = "a latency is far below 2^63 µs")]
    let took_us = ((query.latency_ms - query.waited_ms) * 1_000.0) as i64;
    query.asked.0 + took_us
}

/// How far the clocks of generator and server may be apart. Bounds of questions are seconds, so a
/// larger tolerance would hardly find more that may be the same.
const CLOCKS_APART_US: i64 = 1_000_000;

/// By default, a server writes its log every 7.5 s.
const FLUSHED_WITHIN: Duration = Duration::from_secs(10);

/// Why nothing could be read.
fn cannot_read(server: &ClickHouse, error: &ClickHouseError) -> String {
    let ClickHouse { url, user, .. } = server;
    match error {
        ClickHouseError::Denied { .. } => format!(
            "the costs in ClickHouse are not known: user {user:?} may not read the log of {url}; \
             GRANT SELECT ON system.query_log"
        ),
        error if has_no_log(error) => format!(
            "the costs in ClickHouse are not known: {url} keeps no log of queries \
             (system.query_log)"
        ),
        error => format!("the costs in ClickHouse are not known: {}", chain(error)),
    }
}

/// What is to be said of the costs, if the log begins there.
fn notes(queries: &[CostedQuery], begin: Option<UnixMicros>) -> Vec<String> {
    let mut notes = Vec::new();
    let missing: Vec<&CostedQuery> = queries.iter().filter(|it| it.statements == 0).collect();
    let is_cut = |it: &&&CostedQuery| begin.is_some_and(|begin| answered(&it.query) < begin);
    let (cut, all) = (missing.iter().filter(is_cut).count(), queries.len());
    if begin.is_none() && !missing.is_empty() {
        notes.push("the log of queries is empty".to_owned());
    }
    if cut > 0 {
        notes.push(format!(
            "{cut} of {all} were asked before the log of queries begins: its TTL, or somebody, has \
             deleted what is older"
        ));
    }
    let nowhere = missing.len() - cut;
    if nowhere > 0 && begin.is_some() {
        notes.push(format!(
            "{nowhere} of {all} are not in the log of this server: another replica may have \
             answered, they may not have reached ClickHouse, the log may leave out who asked, or \
             clocks are more than a second apart"
        ));
    }
    let several = queries.iter().filter(|it| it.statements > 1).count();
    if several > 0 {
        notes.push(format!(
            "{several} of {all} cannot be told from others that asked the same at the same time: \
             the least and the most of all of them are shown"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use plans::queries::QueryScope;
    use runs::query_costs::StatementCost;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn slow(asked_s: i64) -> SlowQuery {
        SlowQuery {
            asked: MicroTime(asked_s * SECOND),
            latency_ms: 2_500.0,
            waited_ms: 500.0,
            kind: "x".to_owned(),
            scope: QueryScope::Platform,
            question: serde_json::json!({
                "scope": "platform",
                "startTime": "2026-11-28T00:00:00Z",
                "endTime": "2026-11-29T00:00:00Z",
                "limit": 5,
            }),
            filter_sql: String::new(),
            page: 1,
            after: None,
            failure: None,
            rows: 0,
            bytes: 0,
            query_id: None,
        }
    }

    fn logged(statement: &str) -> LoggedQuery {
        let cost = StatementCost {
            query_id: String::new(),
            started: MicroTime(0),
            duration_ms: 1,
            read_rows: 1,
            read_bytes: 1,
            memory_bytes: 1,
            result_rows: 1,
            projections: Vec::new(),
            error_code: None,
        };
        LoggedQuery { statement: statement.to_owned(), cost }
    }

    #[test]
    fn all_that_may_be_a_query_are_found_and_no_others() {
        let same = "SELECT event_json FROM a.b WHERE timestamp >= toDateTime('1795824000') \
            AND timestamp < toDateTime('1795910400') ORDER BY toStartOfHour(timestamp) DESC, \
            timestamp DESC, audit_id DESC LIMIT 6";
        let other = same.replace("LIMIT 6", "LIMIT 7");
        let expected = Expected::of(&slow(0)).unwrap();
        let found = |statements: &[&str]| {
            let all = statements.iter().map(|it| logged(it)).collect();
            matching(&expected, all).len()
        };
        assert_eq!(found(&[&other, same, "SELECT 1"]), 1);
        assert_eq!(found(&[same, &other, same]), 2);
        assert_eq!(found(&[&other]), 0);
    }

    #[test]
    fn a_query_is_begun_between_question_and_answer_whatever_it_waited_for_before() {
        let expected = 99 * SECOND..103 * SECOND;
        assert_eq!(begun(&slow(100)), expected);
    }

    #[test]
    fn what_is_not_known_for_sure_is_told_with_its_reason() {
        let costed = |statements: u64, asked_s| CostedQuery {
            query: slow(asked_s),
            statements,
            costs: Vec::new(),
        };
        let said = |all: &[CostedQuery], begin: Option<i64>| {
            notes(all, begin.map(|second| second * SECOND)).join("\n")
        };
        assert_eq!(said(&[costed(1, 100)], Some(50)), "");
        let cut = said(&[costed(1, 100), costed(0, 10), costed(0, 100)], Some(50));
        assert!(cut.starts_with("1 of 3 were asked before the log of queries begins"), "{cut}");
        assert!(cut.contains("\n1 of 3 are not in the log of this server"), "{cut}");
        let several = said(&[costed(2, 100), costed(1, 100)], Some(50));
        assert!(several.starts_with("1 of 2 cannot be told from others"), "{several}");
        assert_eq!(said(&[costed(0, 100)], None), "the log of queries is empty");
    }
}
