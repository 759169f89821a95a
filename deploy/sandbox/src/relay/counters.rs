//! How many events passed each point of the relay.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

/// Counts since the start of this process.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Queued for NATS; the webhook was answered with success.
    pub(super) accepted: AtomicU64,
    /// Taken by NATS, or larger than it takes any.
    pub(super) published: AtomicU64,
    /// Read from NATS, with redeliveries and duplicates.
    pub(super) taken: AtomicU64,
    /// Read, and not passed on: another stage, unreadable, or dropped by order.
    pub(super) left_out: AtomicU64,
    /// Stored in `ClickHouse`, without ordered second rows.
    pub(super) stored: AtomicU64,
}

impl Counters {
    /// Adds to one of the counters.
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Events that would be lost if the process ended now.
    pub(super) fn held(&self) -> u64 {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let before = of(&self.accepted).saturating_sub(of(&self.published));
        let passed = of(&self.left_out) + of(&self.stored);
        before + of(&self.taken).saturating_sub(passed)
    }

    /// The counts as shown by `/health` and in the log.
    pub(super) fn to_json(&self) -> Value {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "accepted": of(&self.accepted),
            "published": of(&self.published),
            "taken": of(&self.taken),
            "left_out": of(&self.left_out),
            "stored": of(&self.stored),
        })
    }
}
