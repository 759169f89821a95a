//! The metrics of the real server that concern the resources served here.

use std::time::Duration;

use chrono::TimeDelta;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::status::GROUP;

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Histograms = Family<Labels, Histogram>;

/// All metrics, and the list of them.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    query_duration: Histograms,
    queries: Counters,
    query_errors: Counters,
    results: Histogram,
    by_scope: Counters,
    lookback: Histogram,
    time_range: Histogram,
    filter_parse: Histogram,
    filter_errors: Counters,
    requests: Counters,
    request_duration: Histograms,
}

impl Metrics {
    /// All at zero.
    pub(super) fn new() -> Self {
        let day_buckets = |days: &[f64]| {
            let short = [60.0, 300.0, 900.0, 3_600.0, 21_600.0];
            let days: Vec<f64> = days.iter().map(|days| days * 86_400.0).collect();
            Histogram::new(short.into_iter().chain(days))
        };
        let mut metrics = Self {
            registry: Registry::default(),
            query_duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 14))
            }),
            queries: Family::default(),
            query_errors: Family::default(),
            results: Histogram::new([1.0, 10.0, 100.0, 1_000.0]),
            by_scope: Family::default(),
            lookback: day_buckets(&[1.0, 7.0, 30.0, 90.0]),
            time_range: day_buckets(&[1.0, 7.0, 30.0]),
            filter_parse: Histogram::new(exponential_buckets(0.0001, 2.0, 11)),
            filter_errors: Family::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS)),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let Self { registry, query_duration, queries, query_errors, results, by_scope, .. } = self;
        registry.register(
            "activity_clickhouse_query_duration_seconds",
            "Time of statements, until the first answer and with decoding",
            query_duration.clone(),
        );
        registry.register("activity_clickhouse_query", "Statements", queries.clone());
        let name = "activity_clickhouse_query_errors";
        registry.register(name, "Failed statements", query_errors.clone());
        let name = "activity_auditlog_query_results_total";
        registry.register(name, "Rows of each query", results.clone());
        registry.register("activity_auditlog_queries_by_scope", "Queries", by_scope.clone());
        registry.register(
            "activity_auditlog_query_lookback_duration_seconds",
            "How long ago the asked time starts",
            self.lookback.clone(),
        );
        registry.register(
            "activity_auditlog_query_time_range_seconds",
            "How long the asked time is",
            self.time_range.clone(),
        );
        registry.register(
            "activity_cel_filter_parse_duration_seconds",
            "Time to read a filter",
            self.filter_parse.clone(),
        );
        let name = "activity_cel_filter_errors";
        registry.register(name, "Filters that do not compile", self.filter_errors.clone());
        registry.register("apiserver_request", "Requests", self.requests.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "Time of requests",
            self.request_duration.clone(),
        );
    }

    /// A statement was answered, and its rows read.
    pub(super) fn statement(&self, first: Duration, total: Duration) {
        self.queries.get_or_create(&vec![("status", "success".to_owned())]).inc();
        for (operation, time) in [("query", first), ("total", total)] {
            let labels = vec![("operation", operation.to_owned())];
            self.query_duration.get_or_create(&labels).observe(time.as_secs_f64());
        }
    }

    /// A statement failed, or could not be made.
    pub(super) fn statement_failed(&self, kind: &str) {
        self.queries.get_or_create(&vec![("status", "error".to_owned())]).inc();
        self.query_errors.get_or_create(&vec![("error_type", kind.to_owned())]).inc();
    }

    /// A query returned some rows.
    #[expect(clippy::cast_precision_loss, reason = "no page has so many rows")]
    pub(super) fn results(&self, rows: usize) {
        self.results.observe(rows as f64);
    }

    /// A query came for a scope, whether or not it is valid.
    pub(super) fn scope(&self, label: &str) {
        self.by_scope.get_or_create(&vec![("scope_type", label.to_owned())]).inc();
    }

    /// A valid query asks for a time.
    pub(super) fn time(&self, lookback: TimeDelta, range: TimeDelta) {
        self.lookback.observe(lookback.as_seconds_f64());
        self.time_range.observe(range.as_seconds_f64());
    }

    /// A filter was read.
    pub(super) fn filter_parse(&self, time: Duration) {
        self.filter_parse.observe(time.as_secs_f64());
    }

    /// A filter does not compile.
    pub(super) fn filter_error(&self, kind: &str) {
        self.filter_errors.get_or_create(&vec![("error_type", kind.to_owned())]).inc();
    }

    /// A request for a resource was answered.
    pub(super) fn request(&self, resource: &str, code: u16, time: Duration) {
        let common = |first: Labels| -> Labels {
            let rest = [
                ("component", "apiserver"),
                ("dry_run", ""),
                ("group", GROUP),
                ("resource", resource),
                ("scope", "resource"),
                ("subresource", ""),
                ("verb", "POST"),
                ("version", "v1alpha1"),
            ];
            let rest = rest.map(|(name, value)| (name, value.to_owned()));
            first.into_iter().chain(rest).collect()
        };
        self.requests.get_or_create(&common(vec![("code", code.to_string())])).inc();
        self.request_duration.get_or_create(&common(Vec::new())).observe(time.as_secs_f64());
    }

    /// All, as Prometheus reads them.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all that is written to it");
        text
    }
}

/// The buckets of the apiserver library, in seconds.
const REQUEST_BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_the_real_servers() {
        let metrics = Metrics::new();
        metrics.scope("Project");
        metrics.filter_error("compilation");
        metrics.statement(Duration::from_millis(3), Duration::from_millis(5));
        metrics.statement_failed("connection");
        metrics.results(7);
        metrics.request("auditlogqueries", 201, Duration::from_millis(9));
        let text = metrics.to_text();
        for line in [
            "activity_auditlog_queries_by_scope_total{scope_type=\"Project\"} 1",
            "activity_cel_filter_errors_total{error_type=\"compilation\"} 1",
            "activity_clickhouse_query_total{status=\"success\"} 1",
            "activity_clickhouse_query_errors_total{error_type=\"connection\"} 1",
            "activity_auditlog_query_results_total_bucket{le=\"10.0\"} 1",
            "apiserver_request_total{code=\"201\",component=\"apiserver\"",
            "activity_clickhouse_query_duration_seconds_count{operation=\"total\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
