//! What was sent and how it ended, counted by a lane and taken by the reporter once a second.

use std::collections::BTreeMap;

use events::identity::TenantIndex;

use crate::latency::Latencies;
use crate::ledger::Settlement;
use crate::outcome::Outcome;
use edges::errors::ErrorCounts;
use plans::metric::Metric;
use plans::samples::AcknowledgedSample;

/// Counts over a stretch of time.
#[derive(Debug, Clone)]
pub struct Tally {
    pub requests: u64,
    /// Requests whose events were acknowledged.
    pub requests_acknowledged: u64,
    /// Bytes of bodies as sent: compressed, if they are.
    pub bytes: u64,
    /// Events, of all tenants.
    pub events: EventCounts,
    /// Events of each tenant that has any.
    pub tenants: BTreeMap<TenantIndex, EventCounts>,
    /// Events by how their request ended.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Latencies, by class of tenants.
    pub latencies: Vec<Latencies>,
    /// The longest time that a batch waited for the generator while a connection was free, in µs.
    pub lateness_max_us: i64,
    /// The longest that a batch waited for a connection: for the target's answers, in µs.
    pub blocked_max_us: i64,
    pub in_flight: u64,
    /// Events that API servers dropped, because their buffers were full.
    pub dropped: u64,
    /// Batches that a bad client sent again after they were acknowledged.
    pub resent: u64,
    /// Requests that could not be begun, because this machine lacked something.
    pub not_tried: u64,
    /// Where the webhook last redirected to.
    pub location: Option<String>,
    /// Counts that have no field of their own.
    pub more: BTreeMap<Metric, u64>,
    /// Why requests had no answer.
    pub errors: ErrorCounts,
    /// Samples that were acknowledged. Sums have none: they would grow with the run.
    pub acknowledged_samples: Vec<AcknowledgedSample>,
}

/// How the requests for some events ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// How the last request ended.
    pub outcome: Outcome,
    /// What all requests together say: refused only if none of them may have been taken, and
    /// unsent only if none was begun.
    pub settlement: Settlement,
}

impl Ended {
    /// There was only one request.
    pub fn at_once(outcome: Outcome) -> Self {
        Self { outcome, settlement: outcome.settlement() }
    }
}

/// Events by how far they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Those that were to be sent; see `unsent`.
    pub sent: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    /// Acknowledged, but sent in a way in which the pipeline cannot be expected to store them.
    pub spoiled: u64,
    /// Those of them for which no request could be begun after all.
    pub unsent: u64,
}

impl EventCounts {
    fn settle(&mut self, events: u64, spoiled: u64, settlement: Settlement) {
        match settlement {
            Settlement::Acknowledged | Settlement::Spoiled => {
                self.acknowledged += events - spoiled;
                self.spoiled += spoiled;
            }
            Settlement::Refused => self.refused += events,
            Settlement::Unknown => self.unknown += events,
            Settlement::Unsent => self.unsent += events,
        }
    }

    /// Those that a request was begun for. Exact once nothing is in flight: what could not be begun
    /// may have been counted as sent a second earlier.
    pub fn attempted(&self) -> u64 {
        self.sent.saturating_sub(self.unsent)
    }

    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.spoiled += other.spoiled;
        self.unsent += other.unsent;
    }
}

impl Tally {
    /// Starts with nothing counted. There is at least one class.
    pub fn new(classes: usize) -> Self {
        Self::with_latencies(vec![Latencies::new(); classes])
    }

    /// Counts the events of a request that is begun.
    pub fn begin(&mut self, tenant: TenantIndex, events: u64, body_bytes: u64) {
        self.requests += 1;
        self.in_flight += 1;
        self.bytes += body_bytes;
        self.events.sent += events;
        self.tenants.entry(tenant).or_default().sent += events;
    }

    /// Adds to a count of the list of metrics that has no field of its own. That is all that a new
    /// count needs here: the seconds' records, and all that shows or judges them, go through the
    /// list.
    pub fn count(&mut self, metric: Metric, more: u64) {
        if more > 0 {
            *self.more.entry(metric).or_default() += more;
        }
    }

    /// Counts what became of some events, of which some may have been spoiled.
    pub fn end(&mut self, tenant: TenantIndex, events: u64, spoiled: u64, ended: Ended) {
        self.in_flight -= 1;
        let is_acknowledged = ended.settlement == Settlement::Acknowledged;
        self.requests_acknowledged += u64::from(is_acknowledged);
        self.events.settle(events, spoiled, ended.settlement);
        self.tenants.entry(tenant).or_default().settle(events, spoiled, ended.settlement);
        *self.outcomes.entry(ended.outcome).or_default() += events;
    }

    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.requests_acknowledged += other.requests_acknowledged;
        self.bytes += other.bytes;
        self.events.add(&other.events);
        for (tenant, counts) in &other.tenants {
            self.tenants.entry(*tenant).or_default().add(counts);
        }
        for (outcome, events) in &other.outcomes {
            *self.outcomes.entry(*outcome).or_default() += events;
        }
        for (class, latencies) in self.latencies.iter_mut().zip(&other.latencies) {
            class.add(latencies);
        }
        self.lateness_max_us = self.lateness_max_us.max(other.lateness_max_us);
        self.blocked_max_us = self.blocked_max_us.max(other.blocked_max_us);
        self.in_flight += other.in_flight;
        self.dropped += other.dropped;
        self.resent += other.resent;
        self.not_tried += other.not_tried;
        for (metric, count) in &other.more {
            self.count(metric.clone(), *count);
        }
        if other.location.is_some() {
            self.location.clone_from(&other.location);
        }
        self.errors.add(&other.errors);
    }

    /// Whether the generator itself was too slow: it was later than `lateness_max_us`, or it had no
    /// file, port, memory or resolved name to send with.
    pub fn is_saturated(&self, lateness_max_us: i64) -> bool {
        self.lateness_max_us > lateness_max_us || self.not_tried > 0
    }

    /// The latencies of all classes together.
    pub fn latencies(&self) -> Latencies {
        let mut all = Latencies::new();
        self.latencies.iter().for_each(|class| all.add(class));
        all
    }

    /// Starts a new stretch of time. What is in flight goes on.
    pub fn restart(&mut self) {
        let mut latencies = std::mem::take(&mut self.latencies);
        latencies.iter_mut().for_each(Latencies::clear);
        *self = Self { in_flight: self.in_flight, ..Self::with_latencies(latencies) };
    }

    fn with_latencies(latencies: Vec<Latencies>) -> Self {
        Self {
            requests: 0,
            requests_acknowledged: 0,
            bytes: 0,
            events: EventCounts::default(),
            tenants: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            latencies,
            lateness_max_us: 0,
            blocked_max_us: 0,
            in_flight: 0,
            dropped: 0,
            resent: 0,
            not_tried: 0,
            location: None,
            more: BTreeMap::new(),
            errors: ErrorCounts::default(),
            acknowledged_samples: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;
    use crate::latency::record;
    use crate::outcome::Want;

    const OK: Outcome = Outcome::Answered(StatusCode::OK);
    const BUSY: Outcome = Outcome::Answered(StatusCode::SERVICE_UNAVAILABLE);

    #[test]
    fn events_are_counted_in_all_and_by_tenant() {
        let mut tally = Tally::new(1);
        for (tenant, events, outcome) in [(3, 10, OK), (1, 5, BUSY), (3, 7, Outcome::NotConnected)]
        {
            tally.begin(TenantIndex(tenant), events, 100);
            tally.end(TenantIndex(tenant), events, 0, Ended::at_once(outcome));
        }
        tally.begin(TenantIndex(1), 2, 100);
        let counts = |sent, acknowledged, refused, unknown| EventCounts {
            sent,
            acknowledged,
            refused,
            unknown,
            spoiled: 0,
            unsent: 0,
        };
        assert_eq!(tally.events, counts(24, 10, 7, 5));
        assert_eq!(tally.tenants[&TenantIndex(1)], counts(7, 0, 0, 5));
        assert_eq!(tally.tenants[&TenantIndex(3)], counts(17, 10, 7, 0));
        assert_eq!((tally.requests, tally.requests_acknowledged, tally.in_flight), (4, 1, 1));

        let mut total = tally.clone();
        tally.restart();
        assert_eq!((tally.requests, tally.in_flight, tally.tenants.len()), (0, 1, 0));
        tally.end(TenantIndex(1), 2, 0, Ended::at_once(OK));
        total.in_flight = 0;
        total.add(&tally);
        assert_eq!((total.events, total.in_flight), (counts(24, 12, 7, 5), 0));
        assert_eq!(total.tenants[&TenantIndex(1)], counts(7, 2, 0, 5));
    }

    #[test]
    fn what_could_not_be_begun_is_unsent_and_saturates() {
        let mut tally = Tally::new(1);
        assert!(!tally.is_saturated(0));
        tally.begin(TenantIndex(3), 10, 100);
        tally.not_tried += 1;
        tally.end(TenantIndex(3), 10, 0, Ended::at_once(Outcome::NotTried(Want::Files)));
        assert_eq!((tally.events.attempted(), tally.events.unsent), (0, 10));
        assert_eq!((tally.events.refused, tally.events.unknown), (0, 0));
        let mut total = Tally::new(1);
        total.add(&tally);
        assert!(total.is_saturated(1_000_000));
    }

    #[test]
    fn latencies_are_kept_by_class_and_added_up() {
        let mut tally = Tally::new(2);
        record(&mut tally.latencies[0].due_to_sent, 10);
        record(&mut tally.latencies[1].due_to_sent, 500);
        let mut total = Tally::new(2);
        total.add(&tally);
        total.add(&tally);
        assert_eq!(total.latencies[1].due_to_sent.len(), 2);
        assert_eq!(total.latencies().due_to_sent.len(), 4);
        assert_eq!(total.latencies().due_to_sent.max(), 500);
    }
}
