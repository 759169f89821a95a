//! A run's summary in the form of k6's `--summary-export`, for gates that were written for k6.
//!
//! Source of the form: `oldJSONSummary` in k6's `summary-wrapper.js`, which k6 before 1.0, and
//! `--summary-mode=legacy` since, writes. Times are in ms, sizes in bytes, rates per second.
//!
//! - `http_reqs`: requests begun.
//! - `http_req_failed`: requests whose events were not acknowledged. As in k6, `passes` counts
//!   those that failed, and `fails` those that did not.
//! - `http_req_duration`: sent to acknowledged, of acknowledged requests only, each weighing as
//!   much as it has events. `http_req_duration{expected_response:true}` is the same, and
//!   `http_req_duration{class:…}` that of a class of tenants, where there is more than one.
//! - `iterations`: events attempted. `dropped_iterations`: events unsent.
//! - `iteration_duration`: due to acknowledged, which is what a user of the pipeline feels.
//! - `checks`: events. `passes` were acknowledged, `fails` are refused or unknown.
//! - `data_sent`: bytes of the requests' bodies.
//!
//! Beside these, each metric of our own list is there under its own name, like a custom metric of
//! k6: counts as counters, latencies as trends, in ms. With queries, `queries` is a rate whose
//! `passes` were answered, `queries.wrong` is a counter, and each scope has its trend.
//!
//! What k6 measures and we do not (connecting, waiting, virtual users, data received) is left out.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use edges::staged::Staged;
use hdrhistogram::Histogram;
use plans::metric::{Metric, Source};
use plans::plan::Classes;
use runs::measured::count_of_second;
use runs::queries::{QueryHistograms, QuerySummary};
use runs::record::{Second, Summary};
use runs::tally::Tally;
use serde_json::{Map, Value, json};

use crate::error::GeneratorError;

/// A file beside its place, to be filled and moved there. Dropped before that, it goes away.
#[derive(Debug)]
pub(crate) struct SummaryExport {
    path: PathBuf,
    staged: Staged,
}

impl SummaryExport {
    /// Makes sure that the file can be written, before a run depends on it. What is there stays
    /// until the summary replaces it.
    ///
    /// # Errors
    ///
    /// Returns [`GeneratorError::SummaryExport`] if it cannot.
    pub(crate) fn stage(path: &Path) -> Result<Self, GeneratorError> {
        let failed = |source| GeneratorError::SummaryExport { path: path.to_owned(), source };
        if path.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let staged = Staged::create(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), staged })
    }

    /// Writes the summary and moves it to its place.
    ///
    /// # Errors
    ///
    /// Returns [`GeneratorError::SummaryExport`] if the file system refuses.
    pub(crate) fn write(
        mut self,
        summary: &Summary,
        total: &Tally,
        classes: &Classes,
        asked: Option<&QueryHistograms>,
    ) -> Result<(), GeneratorError> {
        let mut exported = k6_summary(summary, total, classes);
        let metrics = exported["metrics"].as_object_mut().expect("it is made as one");
        metrics.extend(of_queries(summary, asked));
        let mut text = serde_json::to_vec_pretty(&exported).expect("it has only string keys");
        text.push(b'\n');
        let written = self.staged.write_all(&text).and_then(|()| self.staged.keep());
        written.map_err(|source| GeneratorError::SummaryExport { path: self.path, source })
    }
}

fn k6_summary(summary: &Summary, total: &Tally, classes: &Classes) -> Value {
    let counter = |count: u64| json!({ "count": count, "rate": rate(count, summary.duration_s) });
    let failed = total.requests - total.requests_acknowledged;
    let not_acknowledged = summary.attempted - summary.acknowledged;
    let latencies = total.latencies();
    let duration = trend(&latencies.sent_to_acknowledged);
    let mut metrics = Map::new();
    let mut add = |name: &str, value| metrics.insert(name.to_owned(), value);
    add("http_reqs", counter(total.requests));
    add("http_req_failed", share(failed, total.requests_acknowledged));
    add("http_req_duration", duration.clone());
    add("http_req_duration{expected_response:true}", duration);
    add("iterations", counter(summary.attempted));
    add("iteration_duration", trend(&latencies.due_to_acknowledged));
    add("dropped_iterations", counter(summary.unsent));
    add("checks", share(summary.acknowledged, not_acknowledged));
    add("data_sent", counter(total.bytes));
    let so_far = Second::without_latencies(0, summary.planned, total);
    for metric in Metric::counts() {
        let count = match metric {
            Metric::Unsent => summary.unsent,
            _ => count_of_second(&metric, &so_far).unwrap_or(0),
        };
        add(metric.name(), counter(count));
    }
    for metric in Metric::from(Source::Latency) {
        if let Some(histogram) = latencies.of(&metric) {
            add(metric.name(), trend(histogram));
        }
    }
    if classes.names.len() > 1 {
        for (name, latencies) in classes.names.iter().zip(&total.latencies) {
            let name = format!("http_req_duration{{class:{name}}}");
            add(&name, trend(&latencies.sent_to_acknowledged));
        }
    }
    let check = json!({
        "name": CHECK,
        "path": format!("::{CHECK}"),
        "id": CHECK_ID,
        "passes": summary.acknowledged,
        "fails": not_acknowledged,
    });
    let root_group =
        json!({ "name": "", "path": "", "id": ROOT_ID, "groups": {}, "checks": { CHECK: check } });
    json!({ "metrics": metrics, "root_group": root_group })
}

/// The metrics of queries, if there were any.
fn of_queries(summary: &Summary, asked: Option<&QueryHistograms>) -> Map<String, Value> {
    let Some(QuerySummary { counts, .. }) = &summary.queries else { return Map::new() };
    let wrong = rate(counts.wrong, summary.duration_s);
    let mut metrics = Map::new();
    let mut add = |metric: Metric, value| metrics.insert(metric.name().to_owned(), value);
    add(Metric::Queries, share(counts.answered, counts.failed));
    add(Metric::QueriesWrong, json!({ "count": counts.wrong, "rate": wrong }));
    for metric in Metric::from(Source::Queries) {
        if let Some(latency) = metric.query_scope().and_then(|scope| asked?.of(scope)) {
            add(metric, trend(&latency));
        }
    }
    metrics
}

/// k6's trend, in ms.
fn trend(histogram: &Histogram<u64>) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "an hour in µs is exact in an f64")]
    let ms = |micros: u64| micros as f64 / 1_000.0;
    json!({
        "avg": histogram.mean() / 1_000.0,
        "min": ms(if histogram.is_empty() { 0 } else { histogram.min() }),
        "med": ms(histogram.value_at_quantile(0.5)),
        "max": ms(histogram.max()),
        "p(90)": ms(histogram.value_at_quantile(0.9)),
        "p(95)": ms(histogram.value_at_quantile(0.95)),
    })
}

/// k6's rate: the share of those that pass.
fn share(passes: u64, fails: u64) -> Value {
    json!({ "passes": passes, "fails": fails, "value": rate(passes, as_f64(passes + fails)) })
}

fn rate(count: u64, of: f64) -> f64 {
    if of > 0.0 { as_f64(count) / of } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, more than a run can send")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

const CHECK: &str = "events are acknowledged";
/// As k6 makes them: the MD5 of the path.
const CHECK_ID: &str = "f329e1cc51ac2cf079f646516d000290";
const ROOT_ID: &str = "d41d8cd98f00b204e9800998ecf8427e";

#[cfg(test)]
mod tests {
    use std::fs;

    use expect_test::expect;
    use plans::plan::Plan;
    use plans::queries::QueryScope;
    use plans::spec::{RunOptions, Span};

    use uuid::Uuid;

    use super::*;
    use crate::view::tests::{BUSY, OK, START, tally};
    use runs::queries::{QueryEnd, QueryKind, QueryTally};
    use runs::record::Ending;

    fn summary(total: &Tally, classes: &Classes) -> Summary {
        let text = "name: x\nstages: [{duration: 1s, rate: 100/s, tenants: 1}]\n";
        let options = RunOptions::new(Uuid::from_u128(7), START, Span::Live);
        let mut plan = Plan::parse(text, "x", options).unwrap();
        plan.classes = classes.clone();
        let ending = Ending { at: START + 2_000_000, stopped: false, aborted: None };
        Summary::new(&plan, plan.script.planned(), total, ending)
    }

    fn exported() -> Value {
        let mut total = tally(&[(0, 60, OK), (0, 20, BUSY), (0, 10, OK)]);
        total.count(Metric::Retries, 7);
        k6_summary(&summary(&total, &Classes::one(1)), &total, &Classes::one(1))
    }

    #[test]
    fn the_form_is_that_of_k6() {
        let exported = exported();
        let is_k6s = |(name, _): &(&String, &Value)| {
            ["http_", "iteration", "dropped_", "checks", "data_"]
                .iter()
                .any(|k6| name.starts_with(k6))
        };
        let metrics = exported["metrics"].as_object().unwrap().iter().filter(is_k6s);
        let mut lines: Vec<_> = metrics.map(|(name, value)| format!("{name} {value}")).collect();
        lines.push(exported["root_group"].to_string());
        assert_eq!(exported.as_object().unwrap().len(), 2);
        expect![[r#"
            http_reqs {"count":3,
              "rate":1.5}
            http_req_failed {"passes":1,
              "fails":2,
              "value":0.3333333333333333}
            http_req_duration {"avg":7.002,
              "min":7.0,
              "med":7.003,
              "max":7.003,
              "p(90)":7.003,
              "p(95)":7.003}
            http_req_duration{expected_response:true} {"avg":7.002,
              "min":7.0,
              "med":7.003,
              "max":7.003,
              "p(90)":7.003,
              "p(95)":7.003}
            iterations {"count":90,
              "rate":45.0}
            iteration_duration {"avg":8.204,
              "min":8.2,
              "med":8.207,
              "max":8.207,
              "p(90)":8.207,
              "p(95)":8.207}
            dropped_iterations {"count":10,
              "rate":5.0}
            checks {"passes":70,
              "fails":20,
              "value":0.7777777777777778}
            data_sent {"count":90000,
              "rate":45000.0}
            {"name":"",
              "path":"",
              "id":"d41d8cd98f00b204e9800998ecf8427e",
              "groups":{},
              "checks":{"events are acknowledged":{"name":"events are acknowledged",
              "path":"::events are acknowledged",
              "id":"f329e1cc51ac2cf079f646516d000290",
              "passes":70,
              "fails":20}}}"#]]
        .assert_eq(&lines.join("\n").replace(",\"", ",\n  \""));
    }

    #[test]
    fn every_metric_of_what_was_sent_is_there_under_its_own_name() {
        let metrics = &exported()["metrics"];
        let count = |name: &str| metrics[name]["count"].as_u64();
        assert_eq!(["planned", "unsent", "retries"].map(count), [Some(100), Some(10), Some(7)]);
        assert_eq!(metrics["request_bytes"], json!({ "count": 90_000, "rate": 45_000.0 }));
        assert_eq!(metrics["due_to_sent"]["max"], 1.2);
        for metric in Metric::counts().chain(Metric::from(Source::Latency)) {
            assert!(metrics[metric.name()].is_object(), "{metric}");
        }
    }

    #[test]
    fn classes_are_told_apart_where_there_are_several() {
        let names = ["calm", "busy"].map(str::to_owned).to_vec();
        let classes = Classes { names, of_tenant: vec![0, 1] };
        let mut total = Tally { requests: 2, ..Tally::new(2) };
        for (class, micros) in [(0, 1_000), (1, 2_000)] {
            total.latencies[class].sent_to_acknowledged.record(micros).unwrap();
        }
        let summary = summary(&total, &classes);
        let exported = k6_summary(&summary, &total, &classes);
        assert_eq!(exported["metrics"]["http_req_duration"]["max"], 2.0);
        assert_eq!(exported["metrics"]["http_req_duration{class:calm}"]["max"], 1.0);
        let text = summary.to_string();
        let told = text.split_once("of class busy\n").unwrap().1;
        assert!(told.contains("sent to acknowledged      2.0"), "{text}");
        assert!(told.contains("of class calm\n"), "{text}");
    }

    #[test]
    fn a_run_without_any_request_has_zeros_and_no_null() {
        let total = Tally::new(1);
        let exported =
            k6_summary(&summary(&total, &Classes::one(1)), &total, &Classes::one(1)).to_string();
        assert!(!exported.contains("null"), "{exported}");
        assert!(exported.contains(r#""dropped_iterations":{"count":100,"rate":50.0}"#));
    }

    #[test]
    fn the_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k6.json");
        fs::write(&path, "old").unwrap();
        drop(SummaryExport::stage(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        let total = tally(&[(0, 60, OK)]);
        let export = SummaryExport::stage(&path).unwrap();
        let classes = Classes::one(1);
        export.write(&summary(&total, &classes), &total, &classes, None).unwrap();
        let exported: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(exported["metrics"]["http_reqs"]["count"], 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn queries_are_there_if_there_were_any() {
        let kinds = [QueryScope::Tenant, QueryScope::Platform]
            .map(|scope| QueryKind { name: scope.name().to_owned(), scope });
        let mut asked = QueryTally::new(2);
        for (kind, took_us, is_wrong) in [(0, 10_000, false), (0, 30_000, true), (1, 500, false)] {
            asked.begin(kind, 0);
            asked.page(kind, 7, 100, took_us);
            let end = QueryEnd { is_answered: kind == 0, is_wrong, is_compared: false };
            asked.end(kind, end);
        }
        let (total, classes) = (Tally::new(1), Classes::one(1));
        let without = summary(&total, &classes);
        assert!(of_queries(&without, None).is_empty());
        let queries = Some(QuerySummary::new(String::new(), &asked, &kinds, 1));
        let histograms = QueryHistograms::new(&asked, &kinds, 1);
        let metrics = of_queries(&Summary { queries, ..without }, Some(&histograms));
        assert_eq!(metrics["queries"], share(2, 1));
        assert_eq!(metrics["queries.wrong"]["count"], 1);
        let tenant_ms = metrics["queries.tenant"]["max"].as_f64().unwrap();
        assert!((tenant_ms - 30.0).abs() < 0.1, "{tenant_ms}");
        assert_eq!(metrics["queries.complex"]["max"], 0.0);
    }

    #[test]
    fn what_cannot_be_written_is_told_before_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("no/such/k6.json");
        for path in [dir.path(), missing.as_path(), Path::new("/")] {
            let error = SummaryExport::stage(path).unwrap_err().to_string();
            assert!(error.starts_with("cannot write the summary to "), "{error}");
        }
    }
}
