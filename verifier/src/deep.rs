//! Whether the JSON of stored events is what was sent, but for the declared changes.

use clickhouse::Row;
use events::event::Event;
use events::identity::{LocationSql, Seq, TenantIndex};
use events::script::Script;
use harness::clickhouse::{ClickHouse, ClickHouseError, SCAN_TIMEOUT};
use harness::stored::Rows;
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::changes::Changes;
use crate::content::Difference;

#[derive(Debug, Row, Deserialize)]
struct JsonRow {
    tenant: u16,
    seq: u64,
    event_json: String,
}

/// Compares the JSON of every stored row with what the plan says of it. Events that the plan does
/// not have are left out. What is found is passed on while rows arrive.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn read_json_differences(
    server: &ClickHouse,
    script: &Script,
    changes: &Changes,
    rows: &Rows,
    mut found: impl FnMut(Vec<Difference>),
) -> Result<(), ClickHouseError> {
    let LocationSql { with, tenant, seq, is_ours } = script.mark().location_sql("audit_id");
    let sql = format!(
        "WITH {with} SELECT {tenant} AS tenant, {seq} AS seq, event_json FROM {} WHERE {is_ours}",
        rows.source(server)
    );
    let mut cursor =
        server.client.query_raw(&sql).fetch::<JsonRow>().map_err(|source| server.failed(source))?;
    let mut waiting = Vec::with_capacity(ROWS_AT_ONCE);
    loop {
        let row = server.answer(SCAN_TIMEOUT, cursor.next()).await?;
        let is_last = row.is_none();
        waiting.extend(row);
        if waiting.len() == ROWS_AT_ONCE || is_last {
            let rows = std::mem::take(&mut waiting);
            found(tokio::task::block_in_place(|| compare_all(script, changes, &rows)));
        }
        if is_last {
            return Ok(());
        }
    }
}

const ROWS_AT_ONCE: usize = 8_192;

fn compare_all(script: &Script, changes: &Changes, rows: &[JsonRow]) -> Vec<Difference> {
    rows.par_iter().flat_map_iter(|row| compare(script, changes, row)).collect()
}

fn compare(script: &Script, changes: &Changes, row: &JsonRow) -> Vec<Difference> {
    let tenant = TenantIndex(row.tenant);
    if usize::from(row.tenant) >= script.world().tenants().len() {
        return Vec::new();
    }
    let Ok(facts) = script.facts(tenant, Seq(row.seq)) else { return Vec::new() };
    let mut sent = serde_json::to_value(Event::of(&facts)).expect("an event is JSON");
    changes.change(&mut sent);
    let difference = |path: &str, sent: String, stored: String| Difference {
        tenant: row.tenant,
        seq: row.seq,
        column: format!("event_json{path}"),
        sent,
        stored,
    };
    let Ok(mut stored) = serde_json::from_str::<Value>(&row.event_json) else {
        return vec![difference("", sent.to_string(), row.event_json.clone())];
    };
    changes.strip(&mut stored);
    let mut paths = Vec::new();
    differing("", &sent, &stored, &mut paths);
    let text = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    paths
        .iter()
        .map(|path| difference(path, text(sent.pointer(path)), text(stored.pointer(path))))
        .collect()
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

/// Most differences of one event that are listed.
const PATHS_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
