//! Compares the JSON of stored events with what was sent, except for the declared changes.

use clickhouse::Row;
use events::event::Event;
use events::identity::{LocationSql, Seq, TenantIndex};
use rayon::prelude::*;
use runs::report::Difference;
use serde::Deserialize;
use serde_json::Value;
use stores::clickhouse::{ClickHouse, ClickHouseError, SCAN_TIMEOUT};
use stores::sight::read::Sight;
use stores::stored::Rows;

use crate::changes::Changes;
use crate::content::Differences;
use crate::digest::has_tenant;
use crate::error::VerifyError;
use crate::patience::Patience;
use crate::scan::read_partitions;
use crate::ways::{Way, Ways};

#[derive(Debug, Row, Deserialize)]
struct JsonRow {
    tenant: u16,
    seq: u64,
    event_json: String,
}

/// Compares the JSON of every stored row with the plan. If an event went through the pipeline, the
/// changes that the pipeline makes on purpose are considered. Events that the plan does not have
/// are left out.
///
/// Rows are compared while they arrive, partition by partition. So neither side holds many rows,
/// and if a server is restarted meanwhile, only one partition is read again.
///
/// # Errors
///
/// Returns [`VerifyError`] if the server does not answer, or repeatedly sends fewer rows than there
/// are.
pub async fn read_json_differences(
    server: &ClickHouse,
    ways: &Ways<'_>,
    changes: &Changes,
    patience: &mut Patience,
) -> Result<Differences, VerifyError> {
    let partitions = read_partitions(server, patience, &mut Sight::default()).await?;
    let mut parts: Vec<Rows> =
        partitions.into_iter().map(|it| Rows::Partitions(vec![it.id])).collect();
    if parts.is_empty() {
        // A Distributed table or a view has no partitions.
        parts.push(Rows::All);
    }
    let mut differences = Differences::default();
    for rows in parts {
        differences.join(read_whole(server, ways, changes, &rows, patience).await?);
    }
    Ok(differences)
}

/// Reads some rows completely. If the answer has fewer rows than expected, the query is repeated: a
/// merge may have folded rows meanwhile, or the connection was cut.
async fn read_whole(
    server: &ClickHouse,
    ways: &Ways<'_>,
    changes: &Changes,
    rows: &Rows,
    patience: &mut Patience,
) -> Result<Differences, VerifyError> {
    for _ in 0..ATTEMPTS_MAX {
        let counted = patience.ask(async || count(server, ways, rows).await).await?;
        if counted == 0 {
            return Ok(Differences::default());
        }
        let read = async || read_streamed(server, ways, changes, rows).await;
        let (found, arrived) = patience.ask(read).await?;
        if arrived >= counted {
            return Ok(found);
        }
    }
    let fact = "it ended before its last row, again and again";
    Err(ClickHouseError::Answer { url: server.url.clone(), fact }.into())
}

const ATTEMPTS_MAX: u32 = 3;

async fn count(server: &ClickHouse, ways: &Ways<'_>, rows: &Rows) -> Result<u64, ClickHouseError> {
    let LocationSql { with, is_ours, .. } = ways.script.mark().location_sql("audit_id");
    let source = rows.source(server);
    let sql = format!("WITH {with} SELECT count() FROM {source} WHERE {is_ours}");
    server.answer(SCAN_TIMEOUT, server.client.query_raw(&sql).fetch_one()).await
}

/// Compares rows as they arrive. Also returns how many arrived.
async fn read_streamed(
    server: &ClickHouse,
    ways: &Ways<'_>,
    changes: &Changes,
    rows: &Rows,
) -> Result<(Differences, u64), ClickHouseError> {
    let LocationSql { with, tenant, seq, is_ours } = ways.script.mark().location_sql("audit_id");
    let sql = format!(
        "WITH {with} SELECT {tenant} AS tenant, {seq} AS seq, event_json FROM {} WHERE {is_ours}",
        rows.source(server)
    );
    // With this setting on, the server would buffer the whole answer. So it is off, and the rows
    // are counted instead.
    let query = server.client.query_raw(&sql).with_setting("wait_end_of_query", "0");
    let mut cursor = query.fetch::<JsonRow>().map_err(|source| server.failed(source))?;
    let mut differences = Differences::default();
    let mut waiting = Vec::with_capacity(ROWS_AT_ONCE);
    let mut arrived = 0;
    loop {
        let row = server.answer(SCAN_TIMEOUT, cursor.next()).await?;
        let is_last = row.is_none();
        waiting.extend(row);
        if waiting.len() == ROWS_AT_ONCE || is_last {
            arrived += waiting.len() as u64;
            differences.add(tokio::task::block_in_place(|| compare_all(ways, changes, &waiting)));
            waiting.clear();
        }
        if is_last {
            return Ok((differences, arrived));
        }
    }
}

const ROWS_AT_ONCE: usize = 8_192;

fn compare_all(ways: &Ways<'_>, changes: &Changes, rows: &[JsonRow]) -> Vec<Difference> {
    rows.par_iter().flat_map_iter(|row| compare(ways, changes, row)).collect()
}

fn compare(ways: &Ways<'_>, changes: &Changes, row: &JsonRow) -> Vec<Difference> {
    let tenant = TenantIndex(row.tenant);
    if !has_tenant(ways.script, tenant) {
        return Vec::new();
    }
    let Ok(facts) = ways.script.facts(tenant, Seq(row.seq)) else { return Vec::new() };
    let sent = serde_json::to_value(Event::of(&facts)).expect("an event is JSON");
    let Ok(stored) = serde_json::from_str::<Value>(&row.event_json) else {
        return vec![difference(row, "", sent.to_string(), row.event_json.clone())];
    };
    let piped = |mut sent: Value, mut stored: Value| {
        changes.change(&mut sent);
        changes.strip(&mut stored);
        differences(row, &sent, &stored)
    };
    match ways.of_event(tenant, row.seq) {
        Way::Straight => differences(row, &sent, &stored),
        Way::Piped => piped(sent, stored),
        Way::Either => {
            let straight = differences(row, &sent, &stored);
            if straight.is_empty() { straight } else { fewer(straight, piped(sent, stored)) }
        }
    }
}

/// A row may have either form. Returns the differences from the form that it resembles more.
fn fewer(one: Vec<Difference>, other: Vec<Difference>) -> Vec<Difference> {
    if one.len() <= other.len() { one } else { other }
}

fn differences(row: &JsonRow, sent: &Value, stored: &Value) -> Vec<Difference> {
    let mut paths = Vec::new();
    differing("", sent, stored, &mut paths);
    let text = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    let at =
        |path: &String| difference(row, path, text(sent.pointer(path)), text(stored.pointer(path)));
    paths.iter().map(at).collect()
}

fn difference(row: &JsonRow, path: &str, sent: String, stored: String) -> Difference {
    let JsonRow { tenant, seq, .. } = *row;
    Difference { tenant, seq, column: format!("event_json{path}"), sent, stored }
}

/// Collects the paths at which two values differ, up to [`PATHS_MAX`].
fn differing(path: &str, one: &Value, other: &Value, paths: &mut Vec<String>) {
    if one == other || paths.len() == PATHS_MAX {
        return;
    }
    let (Value::Object(one), Value::Object(other)) = (one, other) else {
        paths.push(path.to_owned());
        return;
    };
    let of_other = other.keys().filter(|key| !one.contains_key(*key));
    for key in one.keys().chain(of_other) {
        let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
        let value = |fields: &serde_json::Map<String, Value>| fields.get(key).cloned();
        match (value(one), value(other)) {
            (Some(one), Some(other)) => differing(&path, &one, &other, paths),
            _ if paths.len() < PATHS_MAX => paths.push(path),
            _ => {}
        }
    }
}

/// The most differences of one event that are listed.
const PATHS_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use plans::plan::Plan;
    use plans::spec::{RunOptions, Span};
    use runs::ledger::Ledger;
    use runs::ranges::RangeSet;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    /// Makes four days of history, of which the last day is replayed.
    fn plan() -> Plan {
        let text = "name: x\nstages: [{duration: 1s, rate: 1/s, tenants: 2}]\n";
        let now = 1_760_000_000_000_000;
        let planned_at = events::event::MicroTime(now);
        let span = Span::History { days: 4, events: 2_000, replay_days: 1, planned_at };
        Plan::parse(text, "x", RunOptions::new(Uuid::from_u128(7), now, span)).unwrap()
    }

    #[test]
    fn the_pipelines_changes_are_expected_of_what_went_through_it_alone() {
        let plan = plan();
        let script = &plan.script;
        let tenant = TenantIndex(1);
        let first_piped = script.timeline(tenant).count_before(plan.piped_from);
        let has_internal = |seq: &u64| {
            let facts = script.facts(tenant, Seq(*seq)).unwrap();
            let text = serde_json::to_string(&Event::of(&facts).source_ips).unwrap();
            text.contains("\"10.") || text.contains("\"fd")
        };
        let count = script.timeline(tenant).count();
        let straight = (0..first_piped).find(has_internal).unwrap();
        let mut piped = (first_piped..count).filter(has_internal);
        let (piped, repaired) = (piped.next().unwrap(), piped.next().unwrap());
        let mut ledger = Ledger::empty(script);
        ledger.accounts[1].repaired = RangeSet::of(repaired..repaired + 1);
        let ways = Ways::of(&plan, &ledger);
        let changes = Changes::of_vector();
        let columns = |seq: u64, is_changed: bool, forged: Option<&str>| {
            let facts = script.facts(tenant, Seq(seq)).unwrap();
            let mut stored = serde_json::to_value(Event::of(&facts)).unwrap();
            if is_changed {
                changes.change(&mut stored);
                stored["end_to_end_latency_seconds"] = json!(1.5);
            }
            if let Some(agent) = forged {
                stored["userAgent"] = json!(agent);
            }
            let row = JsonRow { tenant: 1, seq, event_json: stored.to_string() };
            let found = compare(&ways, &changes, &row).into_iter();
            found.map(|it| it.column).collect::<Vec<_>>()
        };
        assert_eq!(columns(straight, false, None), [""; 0]);
        let as_piped = ["event_json/sourceIPs", "event_json/end_to_end_latency_seconds"];
        assert_eq!(columns(straight, true, None), as_piped);
        assert_eq!(columns(piped, true, None), [""; 0]);
        assert_eq!(columns(piped, false, None), ["event_json/sourceIPs"]);
        for is_changed in [true, false] {
            assert_eq!(columns(repaired, is_changed, None), [""; 0]);
            assert_eq!(columns(repaired, is_changed, Some("x")), ["event_json/userAgent"]);
        }
    }

    #[test]
    fn values_differ_at_their_deepest_paths() {
        let check = |one: Value, other: Value, expected: &[&str]| {
            let mut paths = Vec::new();
            differing("", &one, &other, &mut paths);
            assert_eq!(paths, expected);
        };
        check(json!({"a": 1, "b": {"c": [1]}}), json!({"b": {"c": [1]}, "a": 1}), &[]);
        check(json!({"a": {"b/c": 1, "d": 2}}), json!({"a": {"b/c": 2}}), &["/a/b~1c", "/a/d"]);
        check(json!({}), json!({"x": null}), &["/x"]);
        check(json!({"a": [1, 2]}), json!({"a": [2, 1]}), &["/a"]);
    }
}
