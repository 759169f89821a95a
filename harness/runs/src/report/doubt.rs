//! What keeps a missing event from being called lost.

use serde::{Deserialize, Serialize};

/// A place where an event that is not in the table may still be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Between the webhook's answer and the stream: buffers and requests of the sidecars.
    Sidecar,
    /// In the stream, waiting for the aggregator's consumer.
    Consumer,
    /// Between the consumer and the table: buffers, batches and back-off of the aggregators.
    Aggregator,
    /// In the table, on a replica or shard that was not asked, or hidden from this account.
    Table,
}

/// A doubt: what could not be excluded, and what would exclude it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Doubt {
    pub place: Place,
    /// Like `the aggregator at http://… still holds 12 events`.
    pub what: String,
    /// Like `check again once it has passed them on`.
    pub remedy: String,
}
