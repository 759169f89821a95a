//! The metrics of queries, for Prometheus.

use std::sync::atomic::AtomicU64;

use edges::clock::seconds;
use plans::queries::QueryScope;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use runs::queries::{QueryCounts, QueryKind};
use tell::exporter::{Adder, LatencyBuckets};

use crate::view::QueryMoment;

/// All metrics of queries, fed once a second.
#[derive(Debug, Default)]
pub(crate) struct QueryMetrics {
    asked: Family<KindLabel, Counter>,
    answered: Family<KindLabel, Counter>,
    wrong: Family<KindLabel, Counter>,
    failed: Family<CauseLabel, Counter>,
    faults: Family<FaultLabel, Counter>,
    pages: Family<KindLabel, Counter>,
    rows: Family<KindLabel, Counter>,
    bytes: Family<KindLabel, Counter>,
    compared: Counter,
    witnessed: Counter,
    latencies: Family<ScopeLabel, LatencyBuckets>,
    in_flight: Gauge,
    lateness: Gauge<f64, AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    scope: &'static str,
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScopeLabel {
    scope: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabel {
    fault: String,
}

impl QueryMetrics {
    pub(crate) fn register(&self, add: &mut Adder<'_>) {
        add.metric("queries_asked", "Queries that were begun", &self.asked);
        add.metric("queries_answered", "Queries of which all pages came", &self.answered);
        add.metric("queries_failed", "Queries of which a page did not come", &self.failed);
        add.metric("queries_wrong", "Queries with something wrong in their pages", &self.wrong);
        add.metric("query_faults", "Wrong pages by what is wrong", &self.faults);
        let help = "Queries whose pages were searched for what must be there";
        add.metric("queries_compared", help, &self.compared);
        let help = "Queries whose pages were searched for what the table had before";
        add.metric("queries_witnessed", help, &self.witnessed);
        add.metric("query_pages", "Pages that came", &self.pages);
        add.metric("query_events", "Events in the pages that came", &self.rows);
        add.bytes("query_answer", "Bytes of the pages that came", &self.bytes);
        let help = "From when a page was to be asked for to its answer";
        add.seconds("query_page", help, &self.latencies);
        add.metric("queries_in_flight", "Queries without all their pages", &self.in_flight);
        let help = "The longest in a second that a query waited for the generator itself";
        add.seconds("query_lateness", help, &self.lateness);
    }

    /// Adds one more second.
    pub(crate) fn tell(&self, QueryMoment { kinds, tally, .. }: QueryMoment<'_>) {
        for (QueryKind { name, scope }, kind) in kinds.iter().zip(&tally.kinds) {
            let label = KindLabel { scope: scope.name(), kind: name.clone() };
            let QueryCounts { asked, answered, wrong, pages, rows, bytes, .. } = kind.counts;
            for (family, count) in [
                (&self.asked, asked),
                (&self.answered, answered),
                (&self.wrong, wrong),
                (&self.pages, pages),
                (&self.rows, rows),
                (&self.bytes, bytes),
            ] {
                family.get_or_create(&label).inc_by(count);
            }
        }
        for scope in QueryScope::ALL {
            let latency = tally.of_scope(scope, kinds).latency;
            self.latencies.get_or_create(&ScopeLabel { scope: scope.name() }).add(&latency);
        }
        for (cause, count) in &tally.failures {
            self.failed.get_or_create(&CauseLabel { cause: cause.clone() }).inc_by(*count);
        }
        for (fault, count) in &tally.faults {
            self.faults.get_or_create(&FaultLabel { fault: fault.clone() }).inc_by(*count);
        }
        self.compared.inc_by(tally.counts().compared);
        self.witnessed.inc_by(tally.counts().witnessed);
        self.in_flight.set(i64::try_from(tally.in_flight).unwrap_or(i64::MAX));
        self.lateness.set(seconds(tally.lateness_max_us));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;
    use runs::queries::{QueryEnd, QueryTally};

    use super::*;

    #[test]
    fn seconds_add_up_by_scope_kind_cause_and_fault() {
        let scope = QueryScope::Tenant;
        let kinds = ["deletions", "by-user"].map(|name| QueryKind { name: name.to_owned(), scope });
        let mut tally = QueryTally::new(2);
        for (kind, is_answered, is_wrong) in [(0, true, true), (1, true, false), (1, false, false)]
        {
            tally.begin(kind, 2_500);
            tally.page(kind, 7, 1_000, 20_000);
            tally.end(kind, QueryEnd { is_answered, is_wrong, is_compared: true });
        }
        tally.begin(0, 0);
        tally.failures.insert("503".to_owned(), 1);
        tally.faults.insert("leaked".to_owned(), 1);
        let (metrics, mut registry) = (QueryMetrics::default(), Registry::default());
        metrics.register(&mut Adder::to(&mut registry));
        let moment = QueryMoment { kinds: &kinds, tally: &tally, total: &tally };
        metrics.tell(moment);
        metrics.tell(moment);
        let mut scraped = String::new();
        text::encode(&mut scraped, &registry).unwrap();
        for line in [
            "queries_asked_total{scope=\"tenant\",kind=\"deletions\"} 4",
            "queries_answered_total{scope=\"tenant\",kind=\"by-user\"} 2",
            "queries_wrong_total{scope=\"tenant\",kind=\"deletions\"} 2",
            "queries_failed_total{cause=\"503\"} 2",
            "query_faults_total{fault=\"leaked\"} 2",
            "queries_compared_total 6",
            "query_events_total{scope=\"tenant\",kind=\"by-user\"} 28",
            "query_answer_bytes_total{scope=\"tenant\",kind=\"by-user\"} 4000",
            "query_page_seconds_count{scope=\"tenant\"} 6",
            "queries_in_flight 1",
            "query_lateness_seconds 0.0025",
        ] {
            assert!(scraped.lines().any(|found| found == line), "no {line} in\n{scraped}");
        }
    }
}
