//! Lines of JSON, a row each, as ClickHouse reads them as `JSONEachRow`.

use std::fmt::Write as _;

use chrono::DateTime;
use events::script::Script;
use serde::Serialize;

use crate::rows::{Slot, for_each_row};

/// A row as it is written: its fields are the columns of [`stores::schema::COLUMNS`].
#[derive(Serialize)]
struct Row<'r> {
    event_json: &'r str,
    timestamp: &'r str,
    scope_type: &'r str,
    scope_name: &'r str,
    user: &'r str,
    user_uid: &'r str,
    audit_id: &'r str,
    verb: &'r str,
    api_group: &'r str,
    resource: &'r str,
    namespace: &'r str,
    resource_name: &'r str,
    status_code: u16,
}

/// Makes the lines of some events.
pub(super) fn lines(script: &Script, slots: &[Slot]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(slots.len() * ROW_BYTES);
    let mut time = String::new();
    for_each_row(script, slots, |json, columns, audit_id| {
        put_time(columns.timestamp_ms, &mut time);
        let mut id = [0; 36];
        let row = Row {
            event_json: str::from_utf8(json).expect("JSON is UTF-8"),
            timestamp: &time,
            scope_type: columns.scope_type,
            scope_name: &columns.scope_name,
            user: &columns.user,
            user_uid: &columns.user_uid,
            audit_id: audit_id.hyphenated().encode_lower(&mut id),
            verb: columns.verb,
            api_group: columns.api_group,
            resource: columns.resource,
            namespace: &columns.namespace,
            resource_name: &columns.resource_name,
            status_code: columns.status_code,
        };
        serde_json::to_writer(&mut lines, &row).expect("memory takes it, and keys are text");
        lines.push(b'\n');
    });
    lines
}

/// Writes a time in UTC as `2006-01-02 15:04:05.000`.
fn put_time(at_ms: i64, text: &mut String) {
    let at = DateTime::from_timestamp_millis(at_ms).expect("a plan is within chrono's years");
    text.clear();
    write!(text, "{}", at.format("%Y-%m-%d %H:%M:%S%.3f")).expect("a string takes it");
}

/// About what a row takes at level Metadata.
const ROW_BYTES: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_clickhouse_reads_them() {
        let mut text = String::from("left from before");
        put_time(1_767_225_600_042, &mut text);
        assert_eq!(text, "2026-01-01 00:00:00.042");
    }
}
