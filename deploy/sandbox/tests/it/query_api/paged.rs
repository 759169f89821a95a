//! Tenants to be paged, and how the real server pages them, computed without it.

use serde_json::{Value, json};

/// What the table has of an event, as far as pages depend on it.
pub(crate) struct Row {
    pub(crate) id: String,
    user: String,
    /// When the request was received, since 1970.
    millis: u64,
    /// When its stage was, since 1970, in whole seconds.
    stage_seconds: u64,
}

/// A tenant with its events, and their rows in the order of pages.
pub(crate) struct Story {
    pub(crate) events: Vec<Value>,
    pub(crate) rows: Vec<Row>,
}

/// 2026-03-01T12:00:00Z.
const NOON: u64 = 1_772_366_400_000;

impl Story {
    /// 500 events, 450 of them within a second and a half, some at the same time.
    pub(crate) fn burst(tenant: &str) -> Self {
        let times =
            (0..450u64).map(|n| n / 2 * 2 * 1_500 / 450).chain((1..=50).map(|n| n * 60_000));
        let events = times.enumerate().map(|(n, at)| (n, NOON + at, 2 + n as u64 % 5));
        Self::new(tenant, events)
    }

    fn new(tenant: &str, events: impl Iterator<Item = (usize, u64, u64)>) -> Self {
        let (mut all, mut rows) = (Vec::new(), Vec::new());
        for (n, millis, took) in events {
            let id = uuid(tenant, n);
            let user = ["alice", "bob", "carol"][n % 3];
            let verb = ["get", "list", "update"][n % 7 % 3];
            all.push(json!({
                "level": "Metadata",
                "auditID": id,
                "stage": "ResponseComplete",
                "requestURI": "/api/v1/pods",
                "verb": verb,
                "user": { "username": user, "uid": "u-1" },
                "objectRef": { "resource": "pods", "apiVersion": "v1" },
                "responseStatus": { "code": 200 },
                "requestReceivedTimestamp": time(millis),
                "stageTimestamp": time(millis + took),
                "annotations": {
                    "platform.miloapis.com/scope.type": "Project",
                    "platform.miloapis.com/scope.name": tenant,
                },
            }));
            let stage_seconds = (millis + took) / 1_000;
            rows.push(Row { id, user: user.to_owned(), millis, stage_seconds });
        }
        // An hour is part of its time, so it orders nothing more.
        rows.sort_by_cached_key(|row| (row.millis, row.user.clone(), uuid_order(&row.id)));
        rows.reverse();
        Self { events: all, rows }
    }
}

/// 900 events, one a second, and the 400th from the end took five minutes.
pub(crate) fn loop_story(tenant: &str) -> Story {
    const WATCH: usize = 500;
    let took = |n| if n == WATCH { 300_000 } else { 3 };
    Story::new(tenant, (0..900).map(|n| (n, NOON + n as u64 * 1_000 + 633, took(n))))
}

/// All audit IDs, in the order of pages.
pub(crate) fn truth(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.id.clone()).collect()
}

/// The pages of the real server: the next one begins below the second of the last row's stage. A
/// page that ends like an earlier one is the last, because they repeat from there.
pub(crate) fn simulated(rows: &[Row], limit: usize) -> Vec<Vec<String>> {
    let mut pages: Vec<Vec<String>> = Vec::new();
    let mut open: Vec<&Row> = rows.iter().collect();
    loop {
        let page: Vec<&Row> = open.iter().take(limit).copied().collect();
        let ends_anew = !pages.iter().any(|before| before.last() == page.last().map(|row| &row.id));
        pages.push(page.iter().map(|row| row.id.clone()).collect());
        let (true, Some(last)) = (ends_anew && open.len() > limit, page.last()) else {
            return pages;
        };
        let begin = last.stage_seconds * 1_000;
        let is_behind = |row: &&Row| {
            let is_tie = row.millis == begin && uuid_order(&row.id) < uuid_order(&last.id);
            row.millis < begin || is_tie
        };
        open = rows.iter().filter(is_behind).collect();
    }
}

/// `ClickHouse` compares the last eight bytes of a UUID first.
fn uuid_order(id: &str) -> (String, String) {
    let hex = id.replace('-', "");
    (hex[16..].to_owned(), hex[..16].to_owned())
}

/// A random-looking UUID that tenant and number alone decide.
fn uuid(tenant: &str, n: usize) -> String {
    let mut state = tenant.bytes().fold(n as u64 + 1, |state, byte| mix(state ^ u64::from(byte)));
    let mut next = || {
        state = mix(state);
        state
    };
    let (high, low) = (next(), next());
    let hex = format!("{high:016x}{low:016x}");
    let parts = [&hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]];
    format!("{}-{}-4{}-8{}-{}", parts[0], parts[1], parts[2], parts[3], parts[4])
}

/// The finalizer of `SplitMix64`.
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

fn time(millis: u64) -> String {
    let of_day = (millis - NOON) / 1_000 + 12 * 3_600;
    let (hours, minutes, seconds) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("2026-03-01T{hours:02}:{minutes:02}:{seconds:02}.{:03}000Z", millis % 1_000)
}
