//! Small tenants to be paged.

use serde_json::Value;

use super::tenants::{MONTH, Row, event, put_in_order};

/// A tenant with its events, and their rows in the order of pages.
pub(crate) struct Story {
    pub(crate) events: Vec<Value>,
    pub(crate) rows: Vec<Row>,
}

const NOON: u64 = MONTH + 12 * 3_600_000;

impl Story {
    /// 500 events, 450 of them within a second and a half, some at the same time.
    pub(crate) fn burst(tenant: &str) -> Self {
        let times =
            (0..450u64).map(|n| n / 2 * 2 * 1_500 / 450).chain((1..=50).map(|n| n * 60_000));
        let events = times.enumerate().map(|(n, at)| (n, NOON + at, 2 + n as u64 % 5));
        Self::new(tenant, events)
    }

    fn new(tenant: &str, events: impl Iterator<Item = (usize, u64, u64)>) -> Self {
        let scope = ("Project", tenant);
        let made = events.map(|(n, millis, took)| event(scope, n, millis, took));
        let (events, mut rows): (Vec<_>, Vec<_>) = made.unzip();
        put_in_order(&mut rows);
        Self { events, rows }
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
