//! The only place that reads the wall clock.

use chrono::{DateTime, Utc};

/// Returns the present moment, which the aggregator compares with an event's own.
#[expect(clippy::disallowed_methods, reason = "this is where the sandbox reads the clock")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}
