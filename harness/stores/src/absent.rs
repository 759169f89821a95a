//! Rows that a table once had and does not show: rows that its TTL deletes, and rows in parts that
//! somebody, or the server itself, has detached.

use std::ops::Range;

use chrono::DateTime;
use clickhouse::Row;
use events::script::DAY_US;
use events::timeline::UnixMicros;
use serde::Deserialize;

use crate::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT};

/// Why rows that were stored may be missing in a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AbsentRows {
    /// The rules by which the table deletes rows, like `toDateTime(timestamp) + toIntervalDay(30)`;
    /// `None` where there are none. Rows are deleted once one of them is in the past.
    pub ttl: Option<Ttl>,
    /// Parts that can be attached again, by their names.
    pub detached: Vec<DetachedPart>,
    /// The server lets the account see whether parts are detached.
    pub are_detached_known: bool,
}

/// The rules by which a table deletes rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ttl {
    /// Expressions over the table's own columns.
    pub rules: Vec<String>,
}

/// A detached part.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct DetachedPart {
    /// `None` if its name does not contain it.
    pub partition_id: Option<String>,
    pub name: String,
    /// Why the server detached it; empty if somebody did it.
    pub reason: String,
}

/// Reads why rows that were stored may be missing in a table.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn read_absent(server: &ClickHouse) -> Result<AbsentRows, ClickHouseError> {
    let (database, table) = (server.table.database(), server.table.name());
    let engine = "SELECT engine_full FROM system.tables WHERE database = ? AND name = ?";
    let engine = server.client.query(engine).bind(database).bind(table).fetch_optional::<String>();
    let engine_full = server.answer(QUERY_TIMEOUT, engine).await?.unwrap_or_default();
    let detached = server
        .client
        .query(
            "SELECT partition_id, name, ifNull(reason, '') AS reason FROM system.detached_parts \
             WHERE database = ? AND table = ? ORDER BY name",
        )
        .bind(database)
        .bind(table)
        .fetch_all::<DetachedPart>();
    let (detached, are_detached_known) = match server.answer(QUERY_TIMEOUT, detached).await {
        Ok(parts) => (parts, true),
        Err(ClickHouseError::Denied { .. }) => (Vec::new(), false),
        Err(error) => return Err(error),
    };
    let detached = detached.into_iter().filter(|part| !part.is_copy()).collect();
    Ok(AbsentRows { ttl: Ttl::of(&engine_full), detached, are_detached_known })
}

/// Asks which rows the TTL deletes by now, among the rows of requests that were received in some
/// period. Returns a moment: rows of requests that were received before it are deleted. `None` if
/// no row is.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer, or if a rule uses other columns than
/// the time.
pub async fn read_expired_until(
    server: &ClickHouse,
    ttl: &Ttl,
    received: &Range<UnixMicros>,
) -> Result<Option<UnixMicros>, ClickHouseError> {
    let first = received.start.div_euclid(MINUTE_US);
    let minutes = (received.end.div_euclid(MINUTE_US) + 1 - first).max(0);
    let rules: Vec<_> = ttl.rules.iter().map(|rule| format!("({rule}) <= now()")).collect();
    // The server itself computes its rules: of each minute, whether its rows are deleted.
    let sql = format!(
        "SELECT maxIf(minute, {}) AS last, countIf({}) AS expired FROM (SELECT \
         toInt64(number) + {first} AS minute, \
         fromUnixTimestamp64Milli(minute * 60000, 'UTC') AS {} FROM numbers({minutes}))",
        rules.join(" OR "),
        rules.join(" OR "),
        server.column_of("timestamp")
    );
    let answer = server.client.query_raw(&sql).fetch_one::<(i64, u64)>();
    let (last, expired) = server.answer(QUERY_TIMEOUT, answer).await?;
    Ok((expired > 0).then_some((last + 1) * MINUTE_US))
}

const MINUTE_US: i64 = 60_000_000;

impl Ttl {
    /// Finds the rules in a table's definition. Rules that move or recompress rows delete none.
    ///
    /// Source: ClickHouse, `docs/en/engines/table-engines/mergetree-family/mergetree.md`.
    pub fn of(engine_full: &str) -> Option<Self> {
        let text = top_level(engine_full, " TTL ").get(1).copied()?;
        let text = top_level(text, " SETTINGS ")[0];
        let rules: Vec<String> = top_level(text, ",").into_iter().filter_map(rule).collect();
        (!rules.is_empty()).then_some(Self { rules })
    }
}

/// The expression of one rule, if it deletes rows. A condition is left out: the rows that meet it
/// are deleted.
fn rule(text: &str) -> Option<String> {
    let other = [" TO DISK ", " TO VOLUME ", " RECOMPRESS "];
    if other.iter().any(|word| top_level(text, word).len() > 1) {
        return None;
    }
    let ends = [" DELETE", " WHERE ", " GROUP BY "];
    let text = ends.iter().fold(text, |text, end| top_level(text, end)[0]);
    Some(text.trim().to_owned())
}

/// Cuts a text at a word, but not within brackets or quotes.
fn top_level<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    let mut parts = Vec::new();
    let (mut depth, mut quote, mut start) = (0_i32, None, 0);
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) => quote = Some(open).filter(|open| *open != c),
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth -= 1,
            _ => {}
        }
        if depth == 0 && quote.is_none() && at >= start && text[at..].starts_with(word) {
            parts.push(&text[start..at]);
            start = at + word.len();
        }
    }
    parts.push(&text[start..]);
    parts
}

impl DetachedPart {
    /// Whether all its rows are also in an active part, according to the reason why the server
    /// detached it.
    ///
    /// Source: ClickHouse, `DetachReasons` in `src/Storages/MergeTree/MergeTreePartInfo.h`.
    fn is_copy(&self) -> bool {
        let copies = ["ignored", "clone", "deleting", "tmp-fetch"];
        copies.contains(&self.reason.as_str()) || self.reason.ends_with("not-byte-identical")
    }

    /// Whether it may have rows of requests that were received in some period. It does not if its
    /// partition is another day or month. Days may be in any time zone.
    pub fn may_have(&self, received: &Range<UnixMicros>) -> bool {
        let Some(id) = &self.partition_id else { return true };
        let form = match (id.len(), id.bytes().all(|it| it.is_ascii_digit())) {
            (8, true) => "%Y%m%d",
            (6, true) => "%Y%m",
            _ => return true,
        };
        let named = |at: UnixMicros| {
            let at = DateTime::from_timestamp_micros(at).unwrap_or_default();
            at.format(form).to_string()
        };
        (named(received.start - DAY_US)..=named(received.end + DAY_US)).contains(id)
    }
}

impl AbsentRows {
    /// Names the partitions that have detached parts with rows of some time, each once.
    pub fn detached_in(&self, received: &Range<UnixMicros>) -> Vec<String> {
        let of_time = self.detached.iter().filter(|part| part.may_have(received));
        let name = |part: &DetachedPart| part.partition_id.clone().unwrap_or(part.name.clone());
        let mut partitions: Vec<_> = of_time.map(name).collect();
        partitions.sort();
        partitions.dedup();
        partitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_delete_rows_are_found_in_a_tables_definition() {
        let check = |clause: &str, expected: &[&str]| {
            let engine = format!(
                "ReplicatedMergeTree('/a TTL b', 'c') PARTITION BY toYYYYMMDD(timestamp) \
                 ORDER BY (a, b){clause} SETTINGS index_granularity = 8192"
            );
            let found = Ttl::of(&engine).map(|it| it.rules).unwrap_or_default();
            assert_eq!(found, expected, "{clause}");
        };
        check("", &[]);
        check(
            " TTL toDateTime(timestamp) + toIntervalDay(30)",
            &["toDateTime(timestamp) + toIntervalDay(30)"],
        );
        check(
            " TTL toDate(timestamp) + INTERVAL 3 MONTH DELETE",
            &["toDate(timestamp) + INTERVAL 3 MONTH"],
        );
        check(
            " TTL t + toIntervalDay(1) TO VOLUME 'a, DELETE', addDays(t, 9) WHERE v = 'get,'",
            &["addDays(t, 9)"],
        );
        check(" TTL t + toIntervalDay(1) RECOMPRESS CODEC(ZSTD(1))", &[]);
        assert_eq!(Ttl::of("MergeTree ORDER BY x TTL a + 1").unwrap().rules, ["a + 1"]);
    }

    #[test]
    fn a_detached_part_has_rows_of_its_own_day_or_month_alone() {
        let day = 1_769_817_600_000_000; // 2026-01-31
        let received = day..day + DAY_US;
        let check = |id: Option<&str>, expected: bool| {
            let (partition_id, name) = (id.map(str::to_owned), "x".to_owned());
            let part = DetachedPart { partition_id, name, reason: String::new() };
            assert_eq!(part.may_have(&received), expected, "{id:?}");
        };
        for own in ["20260130", "20260131", "20260201", "202601", "202602", "all", "5"] {
            check(Some(own), true);
        }
        check(None, true);
        for other in ["20260129", "20260203", "202512", "202603"] {
            check(Some(other), false);
        }
    }
}
