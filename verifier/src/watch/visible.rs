//! What the table tells while a run goes on.

use std::fmt::Write as _;
use std::time::Duration;

use runs::observation::TableSeen;
use stores::clickhouse::{ClickHouse, ClickHouseError};
use stores::stored::{read_rows, received_sql};
use uuid::Uuid;

use super::tracker::Question;

/// Reads how much the table holds, in how many parts.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer in time.
pub(crate) async fn read_table(
    server: &ClickHouse,
    limit: Duration,
) -> Result<TableSeen, ClickHouseError> {
    let parts = server
        .client
        .query(PARTS_SQL)
        .param("database", server.table.database())
        .param("table", server.table.name())
        .fetch_one::<(u64, u64)>();
    let rows = read_rows(server);
    let late = |_| ClickHouseError::Silent { url: server.url.clone(), seconds: limit.as_secs() };
    let rows = async { tokio::time::timeout(limit, rows).await.map_err(late)? };
    let (rows, parts) = tokio::try_join!(rows, server.answer(limit, parts))?;
    Ok(TableSeen { rows, parts: parts.0, parts_of_a_partition_max: parts.1 })
}

const PARTS_SQL: &str = "\
SELECT toUInt64(sum(parts)), toUInt64(max(parts)) FROM (
    SELECT count() AS parts FROM system.parts
    WHERE active AND database = {database:String} AND table = {table:String}
    GROUP BY partition_id
)";

/// Asks which of some events the table has.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer in time.
pub(crate) async fn read_visible(
    server: &ClickHouse,
    question: &Question,
    limit: Duration,
) -> Result<Vec<Uuid>, ClickHouseError> {
    let sql = visible_sql(&server.source(), question);
    let rows = server.answer(limit, server.client.query_raw(&sql).fetch_all::<String>()).await?;
    Ok(rows.iter().filter_map(|id| Uuid::try_parse(id).ok()).collect())
}

/// Times are asked for, so that only the granules are read in which an event can be.
fn visible_sql(source: &str, question: &Question) -> String {
    let times: Vec<String> =
        question.received.iter().map(|received| format!("({})", received_sql(received))).collect();
    let mut sql = format!(
        "SELECT toString(audit_id) FROM {source} WHERE ({}) AND audit_id IN (",
        times.join(" OR ")
    );
    for (index, id) in question.ids.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        write!(sql, "{comma}'{id}'").expect("a string takes what is written to it");
    }
    sql.push(')');
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_asked_for_by_time_and_id() {
        let ids = vec![Uuid::from_u128(1), Uuid::from_u128(2)];
        let question = Question { ids, received: vec![1_000_500..1_002_001, 9_000_000..9_000_001] };
        let moment = |ms: u32| format!("fromUnixTimestamp64Milli({ms}, 'UTC')");
        let [from, until, later, end] = [1_000, 1_003, 9_000, 9_001].map(moment);
        let expected = format!(
            "SELECT toString(audit_id) FROM a.b WHERE ((timestamp >= {from} AND \
             timestamp < {until}) OR (timestamp >= {later} AND timestamp < {end})) AND \
             audit_id IN ('00000000-0000-0000-0000-000000000001', \
             '00000000-0000-0000-0000-000000000002')"
        );
        assert_eq!(visible_sql("a.b", &question), expected);
    }
}
