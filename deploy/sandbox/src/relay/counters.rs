//! How many events passed each point of the relay.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

/// Counts since the start of this process.
///
/// An event is counted as entered before anybody else can know of it (before the webhook's answer,
/// before a message is acknowledged), and as left only once it surely has left. So an event that is
/// held is always counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Bodies that the webhook could read, each one event or one list of them.
    pub(super) bodies: AtomicU64,
    /// Queued for NATS; the webhook was answered with success.
    pub(super) accepted: Amount,
    /// Taken from the queue to be published.
    pub(super) begun: AtomicU64,
    /// Taken by NATS.
    pub(super) published: Amount,
    /// Larger than NATS takes any, and so given up.
    pub(super) oversized: Amount,
    /// Read from NATS, with redeliveries and duplicates, without what is dropped by order.
    pub(super) taken: AtomicU64,
    /// Read, and not an event.
    pub(super) unreadable: AtomicU64,
    /// Read, and of a stage that is not stored.
    pub(super) filtered: AtomicU64,
    /// Put into a batch for `ClickHouse`, without ordered second rows.
    pub(super) gathered: Amount,
    /// Stored in `ClickHouse`, likewise.
    pub(super) stored: Amount,
    /// Dropped because `ClickHouse` will never take them, likewise.
    pub(super) rejected: Amount,
    /// In the buffer already when the process started; counted as accepted or gathered too.
    pub(super) found: AtomicU64,
}

/// A number of events and the bytes that they take.
#[derive(Debug, Default)]
pub(super) struct Amount {
    events: AtomicU64,
    bytes: AtomicU64,
}

impl Amount {
    /// Adds to both.
    pub(super) fn add(&self, events: usize, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        self.events.fetch_add(events as u64, Ordering::SeqCst);
    }

    /// The events so far.
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::SeqCst)
    }

    /// The bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

impl Counters {
    /// Adds to one of the counters.
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::SeqCst);
    }

    /// Reads one of the counters.
    pub(super) fn of(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }

    /// Events that would be lost if the process ended now.
    pub(super) fn held(&self) -> u64 {
        let left = self.published.events() + self.oversized.events();
        let stored = self.stored.events() + self.rejected.events();
        self.accepted.events().saturating_sub(left) + self.gathered.events().saturating_sub(stored)
    }

    /// The counts as shown by `/health` and in the log.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "accepted": self.accepted.events(),
            "published": self.published.events(),
            "oversized": self.oversized.events(),
            "taken": Self::of(&self.taken),
            "left_out": Self::of(&self.filtered) + Self::of(&self.unreadable),
            "stored": self.stored.events(),
            "rejected": self.rejected.events(),
        })
    }
}
