//! What was sent and how it ended, counted by a lane and taken by the reporter once a second.

use std::collections::BTreeMap;

use harness::latency::Latencies;
use harness::ledger::Settlement;
use harness::webhook::Outcome;

/// Counts over a stretch of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) sent: u64,
    /// Bytes of bodies as sent: compressed, if they are.
    pub(crate) bytes: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    /// Events by how their request ended.
    pub(crate) outcomes: BTreeMap<Outcome, u64>,
    pub(crate) latencies: Latencies,
    /// The longest that a batch waited for us, while a connection was free, in µs.
    pub(crate) lateness_max_us: i64,
    /// The longest that a batch waited for a connection: for the target's answers, in µs.
    pub(crate) blocked_max_us: i64,
    pub(crate) in_flight: u64,
}

impl Tally {
    /// Counts how the request of some events ended.
    pub(crate) fn count(&mut self, events: u64, outcome: Outcome) {
        match outcome.settlement() {
            Settlement::Acknowledged => self.acknowledged += events,
            Settlement::Refused => self.refused += events,
            Settlement::Unknown | Settlement::Unsent => self.unknown += events,
        }
        *self.outcomes.entry(outcome).or_default() += events;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.sent += other.sent;
        self.bytes += other.bytes;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        for (outcome, events) in &other.outcomes {
            *self.outcomes.entry(*outcome).or_default() += events;
        }
        self.latencies.add(&other.latencies);
        self.lateness_max_us = self.lateness_max_us.max(other.lateness_max_us);
        self.blocked_max_us = self.blocked_max_us.max(other.blocked_max_us);
        self.in_flight += other.in_flight;
    }

    /// Starts a new stretch of time. What is in flight goes on.
    pub(crate) fn restart(&mut self) {
        let mut latencies = std::mem::take(&mut self.latencies);
        latencies.clear();
        *self = Self { latencies, in_flight: self.in_flight, ..Self::default() };
    }
}
