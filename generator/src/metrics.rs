//! The generator's metrics, for Prometheus: those of the list of metrics that are known while a
//! run goes on, and what is broken down by outcome and tenant.

use std::sync::atomic::AtomicU64;

use events::identity::TenantIndex;
use plans::metric::{Measure, Metric, Source};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric as Series, Registry};
use runs::measured::{count_of_second, of_second};
use runs::tally::EventCounts;
use tell::exporter::{Adder, LatencyBuckets, process_registry, register_build};

use crate::query_metrics::QueryMetrics;
use crate::view::Moment;

/// Whether each tenant has series of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TenantSeries {
    Apart,
    None,
}

/// All metrics of a run, fed once a second: those of the list, and what is broken down by labels.
#[derive(Debug)]
pub(crate) struct Metrics {
    counts: Vec<(Metric, Counter)>,
    levels: Vec<(Metric, Gauge<f64, AtomicU64>)>,
    latencies: Vec<(Metric, Family<ClassLabel, LatencyBuckets>)>,
    outcomes: Family<OutcomeLabel, Counter>,
    saturated: Gauge,
    tenants: Option<TenantCounters>,
    /// If anybody asks.
    queries: Option<QueryMetrics>,
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
    /// Makes all metrics, at zero, with the registry to serve them from. Those of queries are there
    /// if they are given.
    pub(crate) fn new(series: TenantSeries, queries: Option<QueryMetrics>) -> (Self, Registry) {
        let metrics = Self {
            counts: Metric::counts().map(with_default).collect(),
            levels: Metric::from(Source::Level).map(with_default).collect(),
            latencies: Metric::from(Source::Latency).map(with_default).collect(),
            outcomes: Family::default(),
            saturated: Gauge::default(),
            tenants: match series {
                TenantSeries::Apart => Some(TenantCounters::default()),
                TenantSeries::None => None,
            },
            queries,
        };
        let mut registry = process_registry();
        metrics.register(registry.sub_registry_with_prefix("auditstorm_generator"));
        (metrics, registry)
    }

    fn register(&self, registry: &mut Registry) {
        register_build(registry, env!("CARGO_PKG_VERSION"));
        let mut add = Adder::to(registry);
        self.counts.iter().for_each(|(metric, counter)| register(&mut add, metric, counter));
        self.levels.iter().for_each(|(metric, gauge)| register(&mut add, metric, gauge));
        self.latencies.iter().for_each(|(metric, family)| register(&mut add, metric, family));
        let help = "1 if the generator itself was later than its profile allows, or had no file, \
                    port, memory or name to send with: what the run says about the pipeline's \
                    capacity is void";
        add.metric("saturated", help, &self.saturated);
        let help = "Events by how their request ended: a status code, or what happened instead";
        add.metric("events_outcome", help, &self.outcomes);
        if let Some(tenants) = &self.tenants {
            let help = |metric: Metric| format!("Events of a tenant: {}", metric.meaning());
            let mut add = |name, of, counter| add.metric(name, &help(of), counter);
            add("tenant_events_attempted", Metric::Attempted, &tenants.attempted);
            add("tenant_events_acknowledged", Metric::Acknowledged, &tenants.acknowledged);
            add("tenant_events_refused", Metric::Refused, &tenants.refused);
            add("tenant_events_unknown", Metric::Unknown, &tenants.unknown);
        }
        if let Some(queries) = &self.queries {
            queries.register(&mut add);
        }
    }

    /// Adds one more second.
    pub(crate) fn tell(&self, moment: &Moment<'_>) {
        let Moment { second, tally, .. } = moment;
        for (metric, counter) in &self.counts {
            counter.inc_by(count_of_second(metric, second).unwrap_or(0));
        }
        for (metric, gauge) in &self.levels {
            let value = of_second(metric, second).unwrap_or(0.0);
            gauge.set(if metric.measure() == Measure::Time { value / 1_000.0 } else { value });
        }
        for (name, latencies) in moment.classes.names.iter().zip(&tally.latencies) {
            let class = ClassLabel { class: name.clone() };
            for (metric, family) in &self.latencies {
                if let Some(histogram) = latencies.of(metric) {
                    family.get_or_create(&class).add(histogram);
                }
            }
        }
        for (outcome, events) in &tally.outcomes {
            let label = OutcomeLabel { outcome: outcome.name() };
            self.outcomes.get_or_create(&label).inc_by(*events);
        }
        self.saturated.set(moment.saturated.into());
        if let Some(tenants) = &self.tenants {
            for (tenant, counts) in &tally.tenants {
                tenants.add(*tenant, counts);
            }
        }
        if let (Some(queries), Some(moment)) = (&self.queries, moment.queries) {
            queries.tell(moment);
        }
    }

    /// Tells what was never begun, once the run is over.
    pub(crate) fn finish(&self, unsent: u64) {
        let counter = self.counts.iter().find(|(metric, _)| *metric == Metric::Unsent);
        if let Some((_, counter)) = counter {
            counter.inc_by(unsent.saturating_sub(counter.get()));
        }
    }
}

fn with_default<T: Default>(metric: Metric) -> (Metric, T) {
    (metric, T::default())
}

/// Registers a metric of the list. Its unit ends its name: Prometheus has seconds, and bytes.
fn register(add: &mut Adder<'_>, metric: &Metric, series: &(impl Series + Clone)) {
    let (name, meaning) = (metric.name(), metric.meaning());
    match metric.measure() {
        Measure::Time => add.seconds(name, &sentence(&meaning), series),
        Measure::Bytes => {
            add.bytes(name.trim_end_matches("_bytes"), &sentence(&meaning), series);
        }
        Measure::Events => {
            add.metric(&format!("events_{name}"), &format!("Events: {meaning}"), series);
        }
        Measure::Requests => add.metric(name, &format!("Requests: {meaning}"), series),
        Measure::Messages | Measure::Cores | Measure::Queries => {
            add.metric(name, &sentence(&meaning), series);
        }
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
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
        let (metrics, registry) = Metrics::new(series, None);
        let second = Second::new(START, 100, tally);
        let (second, total, classes) = (&second, tally, &Classes::one(3));
        let (now, planned, saturated, queries) = (START, 100, false, None);
        let moment = Moment { now, second, tally, total, planned, saturated, classes, queries };
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
            events_dropped_total 0
            events_outcome_total{outcome="200"} 140
            events_outcome_total{outcome="503"} 40
            events_planned_total 200
            events_refused_total 0
            events_spoiled_total 0
            events_unknown_total 40
            events_unsent_total 11
            lateness_seconds 0.0025
            request_bytes_total 180000
            requests_in_flight 3.0
            requests_total 4
            retries_total 0
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
