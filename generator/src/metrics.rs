//! The generator's metrics, for Prometheus. Names and helps have the words of the glossary.

use std::sync::atomic::AtomicU64;

use events::identity::TenantIndex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use runs::latency::Latencies;
use runs::tally::EventCounts;
use tell::metrics::{Adder, LatencyBuckets, process_registry, register_build};

use crate::view::Moment;
use runs::record::milliseconds;

/// Whether each tenant has series of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TenantSeries {
    Apart,
    None,
}

/// All metrics of a run, fed once a second.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    planned: Counter,
    unsent: Counter,
    events: EventCounters,
    requests: Counter,
    request_bytes: Counter,
    requests_in_flight: Gauge,
    outcomes: Family<OutcomeLabel, Counter>,
    lateness: Gauge<f64, AtomicU64>,
    blocked: Gauge<f64, AtomicU64>,
    saturated: Gauge,
    due_to_acknowledged: Family<ClassLabel, LatencyBuckets>,
    sent_to_acknowledged: Family<ClassLabel, LatencyBuckets>,
    due_to_sent: Family<ClassLabel, LatencyBuckets>,
    tenants: Option<TenantCounters>,
}

#[derive(Debug, Clone, Default)]
struct EventCounters {
    attempted: Counter,
    acknowledged: Counter,
    refused: Counter,
    unknown: Counter,
    spoiled: Counter,
}

#[derive(Debug, Clone, Default)]
struct TenantCounters {
    attempted: Family<TenantLabel, Counter>,
    acknowledged: Family<TenantLabel, Counter>,
    refused: Family<TenantLabel, Counter>,
    unknown: Family<TenantLabel, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantLabel {
    tenant: String,
}

impl Metrics {
    /// Makes all metrics, at zero, with the registry to serve them from.
    pub(crate) fn new(series: TenantSeries) -> (Self, Registry) {
        let tenants = match series {
            TenantSeries::Apart => Some(TenantCounters::default()),
            TenantSeries::None => None,
        };
        let metrics = Self { tenants, ..Self::default() };
        let mut registry = process_registry();
        metrics.register(registry.sub_registry_with_prefix("auditstorm_generator"));
        (metrics, registry)
    }

    fn register(&self, registry: &mut Registry) {
        register_build(registry, env!("CARGO_PKG_VERSION"));
        self.register_events(registry);
        let mut add = Adder::to(registry);
        add.metric("requests", "Requests begun", &self.requests);
        add.bytes("request", "Bytes of the requests' bodies", &self.request_bytes);
        add.metric("requests_in_flight", "Requests without an answer", &self.requests_in_flight);
        let help = "The longest that a batch of the last second waited for the generator itself";
        add.seconds("lateness", help, &self.lateness);
        let help = "The longest that a batch of the last second waited for a free connection: \
                    for the target's answers";
        add.seconds("blocked", help, &self.blocked);
        let help = "1 if the generator itself was later than its profile allows, or had no file, \
                    port, memory or name to send with: what the run says about the pipeline's \
                    capacity is void";
        add.metric("saturated", help, &self.saturated);
        let help = "From when an event was due until it was acknowledged";
        add.seconds("due_to_acknowledged", help, &self.due_to_acknowledged);
        let help = "From when a request was begun until its events were acknowledged";
        add.seconds("sent_to_acknowledged", help, &self.sent_to_acknowledged);
        let help = "From when an event was due until its request was begun";
        add.seconds("due_to_sent", help, &self.due_to_sent);
    }

    fn register_events(&self, registry: &mut Registry) {
        let mut add = Adder::to(registry);
        add.metric("events_planned", "Events that became due", &self.planned);
        let help = "Events planned, but given up before any byte left; when the run ends, with all \
                    that it did not come to";
        add.metric("events_unsent", help, &self.unsent);
        add.metric("events_attempted", ATTEMPTED, &self.events.attempted);
        add.metric("events_acknowledged", ACKNOWLEDGED, &self.events.acknowledged);
        add.metric("events_refused", REFUSED, &self.events.refused);
        add.metric("events_unknown", UNKNOWN, &self.events.unknown);
        let help = "Events acknowledged, but on purpose sent in a way in which nobody can be \
                    expected to store them";
        add.metric("events_spoiled", help, &self.events.spoiled);
        let help = "Events by how their request ended: a status code, or what happened instead";
        add.metric("events_outcome", help, &self.outcomes);
        if let Some(tenants) = &self.tenants {
            add.metric("tenant_events_attempted", ATTEMPTED, &tenants.attempted);
            add.metric("tenant_events_acknowledged", ACKNOWLEDGED, &tenants.acknowledged);
            add.metric("tenant_events_refused", REFUSED, &tenants.refused);
            add.metric("tenant_events_unknown", UNKNOWN, &tenants.unknown);
        }
    }

    /// Adds one more second.
    pub(crate) fn tell(&self, moment: &Moment<'_>) {
        let tally = moment.tally;
        self.planned.inc_by(moment.second.planned);
        self.events.add(&tally.events);
        self.unsent.inc_by(tally.dropped + tally.events.unsent);
        self.requests.inc_by(tally.requests);
        self.request_bytes.inc_by(tally.bytes);
        self.requests_in_flight.set(i64::try_from(tally.in_flight).unwrap_or(i64::MAX));
        for (outcome, events) in &tally.outcomes {
            let label = OutcomeLabel { outcome: outcome.name() };
            self.outcomes.get_or_create(&label).inc_by(*events);
        }
        self.lateness.set(milliseconds(tally.lateness_max_us) / 1_000.0);
        self.blocked.set(milliseconds(tally.blocked_max_us) / 1_000.0);
        self.saturated.set(moment.saturated.into());
        for (name, latencies) in moment.classes.names.iter().zip(&tally.latencies) {
            self.add_latencies(&ClassLabel { class: name.clone() }, latencies);
        }
        if let Some(tenants) = &self.tenants {
            for (tenant, counts) in &tally.tenants {
                tenants.add(*tenant, counts);
            }
        }
    }

    /// Tells what was never begun, once the run is over.
    pub(crate) fn finish(&self, unsent: u64) {
        self.unsent.inc_by(unsent.saturating_sub(self.unsent.get()));
    }

    fn add_latencies(&self, class: &ClassLabel, latencies: &Latencies) {
        self.due_to_acknowledged.get_or_create(class).add(&latencies.due_to_acknowledged);
        self.sent_to_acknowledged.get_or_create(class).add(&latencies.sent_to_acknowledged);
        self.due_to_sent.get_or_create(class).add(&latencies.due_to_sent);
    }
}

impl EventCounters {
    fn add(&self, counts: &EventCounts) {
        self.attempted.inc_by(counts.attempted());
        self.acknowledged.inc_by(counts.acknowledged);
        self.refused.inc_by(counts.refused);
        self.unknown.inc_by(counts.unknown);
        self.spoiled.inc_by(counts.spoiled);
    }
}

impl TenantCounters {
    /// The series are bounded: tenants beyond the limit are counted together.
    fn add(&self, tenant: TenantIndex, counts: &EventCounts) {
        let tenant = match tenant.0 {
            index if index < TENANTS_APART_MAX => index.to_string(),
            _ => "others".to_owned(),
        };
        let label = TenantLabel { tenant };
        self.attempted.get_or_create(&label).inc_by(counts.attempted());
        self.acknowledged.get_or_create(&label).inc_by(counts.acknowledged);
        self.refused.get_or_create(&label).inc_by(counts.refused);
        self.unknown.get_or_create(&label).inc_by(counts.unknown);
    }
}

const ATTEMPTED: &str = "Events that a request was begun for";
const ACKNOWLEDGED: &str = "Events that the webhook answered 2xx for";
const REFUSED: &str =
    "Events certainly not taken: no connection, or 400, 401, 403, 404, 405, 413, 415";
const UNKNOWN: &str = "Events begun, but without an answer that settles them";
/// Each has four series.
const TENANTS_APART_MAX: u16 = 1_000;

#[cfg(test)]
mod tests {
    use plans::plan::Classes;
    use prometheus_client::encoding::text;
    use runs::tally::Tally;

    use super::*;
    use crate::view::tests::{BUSY, OK, START, tally};
    use runs::record::Second;

    /// The values after two seconds, without what only the machine knows.
    fn scraped(series: TenantSeries, tally: &Tally) -> Vec<String> {
        let (metrics, registry) = Metrics::new(series);
        let second = Second::new(START, 100, tally);
        let (second, total, classes) = (&second, tally, &Classes::one(3));
        let moment =
            Moment { now: START, second, tally, total, planned: 100, saturated: false, classes };
        metrics.tell(&moment);
        metrics.tell(&Moment { saturated: true, ..moment });
        metrics.finish(11);
        let mut scraped = String::new();
        text::encode(&mut scraped, &registry).unwrap();
        let lines = scraped.lines().filter_map(|line| line.strip_prefix("auditstorm_generator_"));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn two_seconds_add_up() {
        let mut tally = tally(&[(1, 20, BUSY), (2, 70, OK)]);
        (tally.lateness_max_us, tally.blocked_max_us, tally.in_flight) = (2_500, 40_000, 3);
        let lines = scraped(TenantSeries::None, &tally);
        let values = lines.iter().filter(|line| !line.contains("_bucket{"));
        let values: Vec<&str> = values.map(String::as_str).collect();
        expect_test::expect![[r#"
            blocked_seconds 0.04
            build_info{version="0.1.0"} 1
            due_to_acknowledged_seconds_count{class="all"} 180
            due_to_acknowledged_seconds_sum{class="all"} 1.4767199999999999
            due_to_sent_seconds_count{class="all"} 180
            due_to_sent_seconds_sum{class="all"} 0.21599999999999998
            events_acknowledged_total 140
            events_attempted_total 180
            events_outcome_total{outcome="200"} 140
            events_outcome_total{outcome="503"} 40
            events_planned_total 200
            events_refused_total 0
            events_spoiled_total 0
            events_unknown_total 40
            events_unsent_total 11
            lateness_seconds 0.0025
            request_bytes_total 180000
            requests_in_flight 3
            requests_total 4
            saturated 1
            sent_to_acknowledged_seconds_count{class="all"} 180
            sent_to_acknowledged_seconds_sum{class="all"} 1.2603600000000002"#]]
        .assert_eq(&values.join("\n"));
        for bucket in [
            "due_to_acknowledged_seconds_bucket{le=\"0.005\",class=\"all\"} 0",
            "due_to_acknowledged_seconds_bucket{le=\"0.01\",class=\"all\"} 180",
            "due_to_acknowledged_seconds_bucket{le=\"+Inf\",class=\"all\"} 180",
        ] {
            assert!(lines.iter().any(|line| line == bucket), "{lines:#?}");
        }
    }

    #[test]
    fn tenants_have_series_up_to_a_limit() {
        let tally = tally(&[(1, 20, BUSY), (999, 7, OK), (1_000, 30, OK), (65_535, 40, OK)]);
        let lines = scraped(TenantSeries::Apart, &tally);
        let ours = lines.iter().filter(|line| line.starts_with("tenant_events_a"));
        let ours: Vec<&str> = ours.map(String::as_str).collect();
        expect_test::expect![[r#"
            tenant_events_acknowledged_total{tenant="1"} 0
            tenant_events_acknowledged_total{tenant="999"} 14
            tenant_events_acknowledged_total{tenant="others"} 140
            tenant_events_attempted_total{tenant="1"} 40
            tenant_events_attempted_total{tenant="999"} 14
            tenant_events_attempted_total{tenant="others"} 140"#]]
        .assert_eq(&ours.join("\n"));
        let apart = scraped(TenantSeries::None, &tally);
        assert!(!apart.iter().any(|line| line.contains("tenant")), "{apart:#?}");
    }
}
