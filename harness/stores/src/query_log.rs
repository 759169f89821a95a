//! The server's own log of the queries that it was asked: `system.query_log`.

use std::ops::Range;
use std::time::Duration;

use clickhouse::Row;
use events::event::MicroTime;
use events::timeline::UnixMicros;
use plans::filter::sql_text;
use runs::query_costs::StatementCost;
use serde::Deserialize;

use crate::clickhouse::fault::server_code;
use crate::clickhouse::{ClickHouse, ClickHouseError};

/// How queries are found in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted<'w> {
    /// The one with this ID.
    Id(&'w str),
    /// Those whose text has all these parts.
    Parts(&'w [String]),
}

/// A query of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedQuery {
    pub statement: String,
    pub cost: StatementCost,
}

/// Whether the log has all queries that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    Done,
    /// The account may not do it. The server does it by itself, by default every 7.5 s.
    Denied,
}

/// Writes what the server still holds in memory into its logs.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn flush_query_log(server: &ClickHouse) -> Result<Flushed, ClickHouseError> {
    let flush = server.client.query_raw("SYSTEM FLUSH LOGS").execute();
    match server.answer(LOG_TIMEOUT, flush).await {
        Ok(()) => Ok(Flushed::Done),
        Err(ClickHouseError::Denied { .. }) => Ok(Flushed::Denied),
        Err(error) => Err(error),
    }
}

#[derive(Debug, Row, Deserialize)]
struct LogRow {
    query_id: String,
    started_us: i64,
    duration_ms: u64,
    read_rows: u64,
    read_bytes: u64,
    memory_bytes: u64,
    result_rows: u64,
    projections: Vec<String>,
    error_code: i32,
    statement: String,
}

/// Reads queries that clients began in a period and that have ended, in the order of time, at most
/// [`QUERIES_MAX`]. What servers of a cluster asked each other for them is no query of its own.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer, has no log, or does not let the
/// account read it.
pub async fn read_query_log(
    server: &ClickHouse,
    wanted: &Wanted<'_>,
    begun: &Range<UnixMicros>,
) -> Result<Vec<LoggedQuery>, ClickHouseError> {
    let rows = server.client.query_raw(&log_sql(wanted, begun)).fetch_all::<LogRow>();
    let rows = server.answer(LOG_TIMEOUT, rows).await?;
    let logged = |row: LogRow| LoggedQuery {
        statement: row.statement,
        cost: StatementCost {
            query_id: row.query_id,
            started: MicroTime(row.started_us),
            duration_ms: row.duration_ms,
            read_rows: row.read_rows,
            read_bytes: row.read_bytes,
            memory_bytes: row.memory_bytes,
            result_rows: row.result_rows,
            projections: row.projections,
            error_code: (row.error_code != 0).then_some(row.error_code),
        },
    };
    Ok(rows.into_iter().map(logged).collect())
}

fn log_sql(wanted: &Wanted<'_>, begun: &Range<UnixMicros>) -> String {
    let condition = match wanted {
        Wanted::Id(id) => format!("query_id = {}", sql_text(id)),
        Wanted::Parts(parts) => {
            let has = |part: &String| format!("position(query, {}) > 0", sql_text(part));
            parts.iter().map(has).collect::<Vec<_>>().join(" AND ")
        }
    };
    let second = |at: UnixMicros| at.div_euclid(1_000_000);
    let (from, until) = (second(begun.start), second(begun.end) + ENDS_WITHIN_S);
    // The log is sorted by the day and the second in which a query ended. Days are those of the
    // server's time zone.
    format!(
        "SELECT query_id, toInt64(toUnixTimestamp64Micro(query_start_time_microseconds)) \
         AS started_us, toUInt64(query_duration_ms) AS duration_ms, toUInt64(read_rows) \
         AS read_rows, toUInt64(read_bytes) AS read_bytes, toUInt64(memory_usage) \
         AS memory_bytes, toUInt64(result_rows) AS result_rows, \
         CAST(projections, 'Array(String)') AS projections, toInt32(exception_code) \
         AS error_code, query AS statement FROM system.query_log \
         WHERE event_date BETWEEN toDate(toDateTime({})) AND toDate(toDateTime({})) \
         AND event_time BETWEEN toDateTime({from}) AND toDateTime({until}) \
         AND started_us BETWEEN {} AND {} AND type != 'QueryStart' AND is_initial_query = 1 \
         AND {condition} ORDER BY started_us LIMIT {QUERIES_MAX}",
        from - DAY_S,
        until + DAY_S,
        begun.start,
        begun.end,
    )
}

/// Returns the second in which the oldest query of the log ended; `None` if it has none.
///
/// # Errors
///
/// Like [`read_query_log`].
pub async fn read_log_begin(server: &ClickHouse) -> Result<Option<UnixMicros>, ClickHouseError> {
    let sql = "SELECT toInt64(toUnixTimestamp(min(event_time))) FROM system.query_log \
               WHERE event_date = (SELECT min(event_date) FROM system.query_log)";
    let begin = server.client.query_raw(sql).fetch_one::<i64>();
    let begin = server.answer(LOG_TIMEOUT, begin).await?;
    Ok((begin > 0).then_some(begin * 1_000_000))
}

/// Whether a server keeps no log of queries, as its error says.
pub fn has_no_log(error: &ClickHouseError) -> bool {
    // Source: ClickHouse, src/Common/ErrorCodes.cpp: UNKNOWN_TABLE.
    matches!(error, ClickHouseError::Query { source, .. } if server_code(source) == Some(60))
}

/// The most queries that are read at once.
pub const QUERIES_MAX: usize = 1_000;

const LOG_TIMEOUT: Duration = Duration::from_secs(20);

/// A query that nobody waits for any more goes on, but not for so long.
const ENDS_WITHIN_S: i64 = 600;

const DAY_S: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_cannot_become_a_part_of_the_question() {
        let begun = 1_795_845_600_000_000..1_795_845_601_500_000;
        let parts = ["LIMIT 11".to_owned(), r"'o\'b'".to_owned()];
        let sql = log_sql(&Wanted::Parts(&parts), &begun);
        for part in [
            "started_us BETWEEN 1795845600000000 AND 1795845601500000",
            "event_time BETWEEN toDateTime(1795845600) AND toDateTime(1795846201)",
            "is_initial_query = 1",
            r"AND position(query, 'LIMIT 11') > 0 AND position(query, '\'o\\\'b\'') > 0 ORDER",
        ] {
            assert!(sql.contains(part), "{part} is not in {sql}");
        }
        let sql = log_sql(&Wanted::Id("a'b"), &begun);
        assert!(sql.contains(r"query_id = 'a\'b'"), "{sql}");
    }
}
