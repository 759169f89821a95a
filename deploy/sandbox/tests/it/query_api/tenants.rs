//! How the real server pages, computed from its rules alone; and tenants of the shape of those
//! whose pages were counted on it. The tests of the pages and of the servers both use this file.

use serde_json::{Value, json};

/// What the table has of an event, as far as pages depend on it.
pub(crate) struct Row {
    pub(crate) id: String,
    user: String,
    /// When the request was received, since 1970.
    pub(crate) millis: u64,
    /// When its stage was, since 1970, in whole seconds.
    stage_seconds: u64,
}

/// 2026-03-01T00:00:00Z, in milliseconds since 1970. Nothing happens in another month.
pub(crate) const MONTH: u64 = 1_772_323_200_000;

/// The n-th event of a tenant, with its row: when its request was received, in milliseconds since
/// 1970, and how long it took.
pub(crate) fn event((kind, tenant): (&str, &str), n: usize, at: u64, took: u64) -> (Value, Row) {
    let id = uuid(tenant, n);
    let user = ["alice", "bob", "carol"][n % 3];
    let verb = ["get", "list", "update"][n % 7 % 3];
    let event = json!({
        "level": "Metadata",
        "auditID": id,
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/pods",
        "verb": verb,
        "user": { "username": user, "uid": "u-1" },
        "objectRef": { "resource": "pods", "apiVersion": "v1" },
        "responseStatus": { "code": 200 },
        "requestReceivedTimestamp": time(at),
        "stageTimestamp": time(at + took),
        "annotations": {
            "platform.miloapis.com/scope.type": kind,
            "platform.miloapis.com/scope.name": tenant,
        },
    });
    (event, Row { id, user: user.to_owned(), millis: at, stage_seconds: (at + took) / 1_000 })
}

/// Puts the rows of one tenant in the order of pages.
pub(crate) fn put_in_order(rows: &mut [Row]) {
    // An hour is part of its time, so it orders nothing more.
    rows.sort_by_cached_key(|row| (row.millis, row.user.clone(), uuid_order(&row.id)));
    rows.reverse();
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
pub(crate) fn uuid_order(id: &str) -> (String, String) {
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
    let (day, of_day) = ((millis - MONTH) / 86_400_000 + 1, millis / 1_000 % 86_400);
    let (hours, minutes, seconds) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let fraction = millis % 1_000;
    format!("2026-03-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{fraction:03}000Z")
}

/// A tenant of whom nobody knows more than how many events it had, and how fast they came.
pub(crate) struct Tenant {
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    /// When each request was received, in milliseconds since 1970, and how long it took.
    pub(crate) moments: Vec<(u64, u64)>,
}

const DAYS: u64 = 7 * 86_400_000;

/// In the middle of the week, at a full second.
const BURST: u64 = MONTH + 3 * 86_400_000 + 40_000_000;

/// A number below `end` that follows from a tenant, an event and a purpose.
fn draw(tenant: u64, n: u64, purpose: u64, end: u64) -> u64 {
    mix(mix(tenant ^ mix(n)) ^ purpose) % end
}

/// So many events over the days, one at a time.
fn sparse(tenant: u64, events: u64) -> Vec<(u64, u64)> {
    let moment = |n: u64| {
        let second = n * DAYS / events / 1_000 * 1_000;
        (MONTH + second + draw(tenant, n, 1, 1_000), 2 + draw(tenant, n, 2, 79))
    };
    (0..events).map(moment).collect()
}

/// So many events within some seconds, at random times.
fn burst(tenant: u64, events: u64, seconds: u64, took_max: u64) -> Vec<(u64, u64)> {
    let moment = |n: u64| {
        let at = BURST + draw(tenant, n, 3, seconds * 1_000);
        (at, 2 + draw(tenant, n, 4, took_max - 1))
    };
    (0..events).map(moment).collect()
}

/// So many events over the days, of which 1 to 120 come within a second.
fn clumps(tenant: u64, events: u64) -> Vec<(u64, u64)> {
    let clumps = events / 60;
    let mut moments: Vec<(u64, u64)> = Vec::new();
    for clump in 0.. {
        // Beyond the last one, the first seconds fill up.
        let second =
            MONTH + clump % clumps * DAYS / clumps / 1_000 * 1_000 + clump / clumps * 1_000;
        for _ in 0..=draw(tenant, clump, 5, 120) {
            let n = moments.len() as u64;
            if n == events {
                return moments;
            }
            moments.push((second + draw(tenant, n, 6, 1_000), 2 + draw(tenant, n, 7, 49)));
        }
    }
    moments
}

/// The tenants of the record, or a part of each: with `share` 10, a tenth of their events, just as
/// fast.
pub(crate) fn tenants(share: u64) -> [Tenant; 3] {
    let [thirty, sixty] = [30, 60].map(|seconds| seconds / share);
    [
        Tenant {
            kind: "Organization",
            name: "dense",
            moments: [burst(1, thirty * 1_500, thirty, 50), clumps(1, 20_000 / share)].concat(),
        },
        Tenant {
            kind: "Project",
            name: "steady",
            moments: [burst(2, sixty * 200, sixty, 80), sparse(2, 8_000 / share)].concat(),
        },
        Tenant { kind: "Project", name: "sparse", moments: sparse(3, 8_000 / share) },
    ]
}

impl Tenant {
    /// Its rows, in the order of pages.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = (0..self.moments.len()).map(|n| self.event(n).1).collect();
        put_in_order(&mut rows);
        rows
    }

    /// Its n-th event, with its row.
    pub(crate) fn event(&self, n: usize) -> (Value, Row) {
        let (at, took) = self.moments[n];
        event((self.kind, self.name), n, at, took)
    }
}
