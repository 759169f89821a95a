//! Metrics over HTTP, as Prometheus scrapes them.
//!
//! A program registers its metrics, typed, in a [`Registry`], and a [`MetricsServer`] answers
//! `GET /metrics` until it is dropped: in OpenMetrics for whoever asks for it, as Prometheus does,
//! and in the plain text format 0.0.4 for all others.

use std::fmt;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use hdrhistogram::Histogram;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use procfs::process::Process;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry, Unit};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Serves a registry until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl MetricsServer {
    /// Binds the address, and serves the registry at `/metrics` from now on.
    ///
    /// Port 0 takes a free port: [`MetricsServer::address`] tells which.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if the address cannot be bound.
    pub async fn start(address: SocketAddr, registry: Registry) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { address, task: tokio::spawn(serve(listener, pages(registry))) })
    }

    /// The address that is really bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns a registry that has the process's own CPU time and memory. A program registers its own
/// metrics in a part of it with the program's prefix.
pub fn process_registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(OwnUse));
    registry
}

/// Registers the program's version.
pub fn register_build(registry: &mut Registry, version: &'static str) {
    let build = Family::<VersionLabel, Gauge>::default();
    build.get_or_create(&VersionLabel { version }).set(1);
    registry.register("build_info", "Always 1, with the version", build);
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

/// Registers metrics. A registered handle shares its value with the handle that the program
/// changes.
#[derive(Debug)]
pub struct Adder<'r>(&'r mut Registry);

impl<'r> Adder<'r> {
    pub fn to(registry: &'r mut Registry) -> Self {
        Self(registry)
    }

    pub fn metric(&mut self, name: &str, help: &str, metric: &(impl Metric + Clone)) {
        self.0.register(name, help, metric.clone());
    }

    pub fn seconds(&mut self, name: &str, help: &str, metric: &(impl Metric + Clone)) {
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
    }

    pub fn bytes(&mut self, name: &str, help: &str, metric: &(impl Metric + Clone)) {
        self.0.register_with_unit(name, help, Unit::Bytes, metric.clone());
    }
}

/// A histogram of latencies in seconds, from 1 ms to a minute, filled from HDR histograms.
/// Clones share their values.
#[derive(Debug, Clone, Default)]
pub struct LatencyBuckets(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// By bucket, not added up.
    buckets: [u64; BUCKETS_UP_TO_US.len()],
    /// Longer than the last bound.
    rest: u64,
    sum_s: f64,
}

impl LatencyBuckets {
    /// Adds all values of a histogram in µs.
    pub fn add(&self, histogram: &Histogram<u64>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for step in histogram.iter_recorded() {
            let (value_us, times) = (step.value_iterated_to(), step.count_at_value());
            let least_us = histogram.lowest_equivalent(value_us);
            match BUCKETS_UP_TO_US.iter().position(|up_to_us| least_us <= *up_to_us) {
                Some(bucket) => counts.buckets[bucket] += times,
                None => counts.rest += times,
            }
            counts.sum_s += seconds(histogram.median_equivalent(value_us)) * as_f64(times);
        }
    }
}

impl TypedMetric for LatencyBuckets {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for LatencyBuckets {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bounds = BUCKETS_UP_TO_US.iter().map(|up_to_us| seconds(*up_to_us));
        let mut buckets: Vec<(f64, u64)> = bounds.zip(counts.buckets).collect();
        buckets.push((f64::INFINITY, counts.rest));
        let count = counts.buckets.iter().sum::<u64>() + counts.rest;
        encoder.encode_histogram::<NoLabelSet>(counts.sum_s, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// CPU time and memory of this process, read at each scrape, under the names that all Prometheus
/// clients use.
#[derive(Debug)]
struct OwnUse;

impl Collector for OwnUse {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu = Duration::try_from(time).unwrap_or_default();
        let cpu = ConstCounter::new(cpu.as_secs_f64());
        let help = "CPU time that the process has used.";
        let unit = Some(&Unit::Seconds);
        let metric = encoder.encode_descriptor("process_cpu", help, unit, cpu.metric_type())?;
        cpu.encode(metric)?;
        let Some(memory_bytes) = resident_memory_bytes() else { return Ok(()) };
        let memory = ConstGauge::new(memory_bytes);
        let (name, help) = ("process_resident_memory", "Memory of the process that is in RAM.");
        let unit = Some(&Unit::Bytes);
        let metric = encoder.encode_descriptor(name, help, unit, memory.metric_type())?;
        memory.encode(metric)
    }
}

/// `None` where the machine does not tell.
fn resident_memory_bytes() -> Option<u64> {
    let status = Process::myself().and_then(|own| own.status()).ok()?;
    Some(status.vmrss? * 1024)
}

/// Accepts connections for good, a bounded number of them at a time. The loop of axum has no limit
/// of connections, nor of the time that one may take to ask.
async fn serve(listener: TcpListener, pages: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    let connection = serve_connection(stream, pages.clone());
                    connections.spawn(tokio::time::timeout(CONNECTION_TIMEOUT, connection));
                }
                // An error like too many open files goes away by itself.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers one request. A connection is for one, so that none is held idle.
async fn serve_connection(stream: TcpStream, pages: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages));
    // A client that goes away, or talks nonsense, is its own concern.
    served.await.ok();
}

fn pages(registry: Registry) -> Router {
    let registry = Arc::new(registry);
    let metrics = move |headers: HeaderMap| ready(metrics(&headers, &registry));
    Router::new().route("/metrics", get(metrics))
}

fn metrics(headers: &HeaderMap, registry: &Registry) -> impl IntoResponse + use<> {
    let is_open = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/openmetrics-text"));
    let mut text = String::new();
    text::encode(&mut text, registry).expect("a string takes what is written to it");
    if is_open {
        ([(CONTENT_TYPE, OPEN_METRICS)], text)
    } else {
        ([(CONTENT_TYPE, PLAIN)], plain(&text))
    }
}

/// Rewrites OpenMetrics in the older text format: there, a counter's name has its `_total` in
/// HELP and TYPE too, and there are neither units nor an end mark.
///
/// Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
fn plain(open_metrics: &str) -> String {
    let mut plain = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", _, text] => help = Some(text),
            ["#", "TYPE", name, kind] => {
                let suffix = if kind == "counter" { "_total" } else { "" };
                if let Some(help) = help.take() {
                    plain.extend(["# HELP ", name, suffix, " ", help, "\n"]);
                }
                plain.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            ["#", "UNIT", ..] | ["#", "EOF"] => {}
            _ => plain.extend([line, "\n"]),
        }
    }
    plain
}

fn seconds(micros: u64) -> f64 {
    as_f64(micros) / 1_000_000.0
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, far above an hour in µs")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

/// 1 ms to 60 s.
const BUCKETS_UP_TO_US: [u64; 16] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 20_000_000, 30_000_000, 60_000_000,
];
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
const CONNECTIONS_MAX: usize = 16;
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use expect_test::expect;
    use http_body_util::BodyExt as _;
    use hyper::service::Service as _;
    use hyper::{Method, Request};
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use runs::latency::{Latencies, record};

    fn registry() -> Registry {
        let mut registry = Registry::with_prefix("x");
        let events: Counter = Counter::default();
        events.inc_by(7);
        registry.register("events", "What happened", events);
        let latency = LatencyBuckets::default();
        let mut histogram = Latencies::new().due_to_sent;
        for micros in [900, 1_000, 1_001, 2_500, 400_000_000] {
            record(&mut histogram, micros);
        }
        latency.add(&histogram);
        latency.add(&histogram);
        registry.register_with_unit("wait", "How long it took", Unit::Seconds, latency);
        registry
    }

    /// Status, kind and text of the answer to a request.
    async fn asked(method: Method, uri: &str, accept: &str) -> (u16, String, String) {
        let request = Request::builder().method(method).uri(uri).header(ACCEPT, accept);
        let service = TowerToHyperService::new(pages(registry()));
        let response = service.call(request.body(Body::empty()).unwrap()).await.unwrap();
        let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap());
        let (status, kind) = (response.status().as_u16(), kind.unwrap_or_default().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn who_asks_for_open_metrics_gets_it() {
        let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        let (status, kind, text) = asked(Method::GET, "/metrics", accept).await;
        assert_eq!((status, kind.as_str()), (200, OPEN_METRICS));
        expect![[r##"
            # HELP x_events What happened.
            # TYPE x_events counter
            x_events_total 7
            # HELP x_wait_seconds How long it took.
            # TYPE x_wait_seconds histogram
            # UNIT x_wait_seconds seconds
            x_wait_seconds_sum 799.812148
            x_wait_seconds_count 10
            x_wait_seconds_bucket{le="0.001"} 4
            x_wait_seconds_bucket{le="0.0025"} 8
        "##]]
        .assert_eq(&text.split_inclusive('\n').take(10).collect::<String>());
        assert!(text.ends_with("{le=\"60.0\"} 8\nx_wait_seconds_bucket{le=\"+Inf\"} 10\n# EOF\n"));
    }

    #[tokio::test]
    async fn all_others_get_the_plain_text() {
        let (status, kind, text) = asked(Method::GET, "/metrics", "*/*").await;
        assert_eq!((status, kind.as_str()), (200, PLAIN));
        expect![[r#"
            # HELP x_events_total What happened.
            # TYPE x_events_total counter
            x_events_total 7
            # HELP x_wait_seconds How long it took.
            # TYPE x_wait_seconds histogram
            x_wait_seconds_sum 799.812148
        "#]]
        .assert_eq(&text.split_inclusive('\n').take(6).collect::<String>());
        assert!(text.ends_with("le=\"+Inf\"} 10\n"));
    }

    #[tokio::test]
    async fn nothing_else_is_answered() {
        assert_eq!(asked(Method::GET, "/", "*/*").await.0, 404);
        assert_eq!(asked(Method::GET, "/metrics/", "*/*").await.0, 404);
        assert_eq!(asked(Method::POST, "/metrics", "*/*").await.0, 405);
    }

    #[tokio::test]
    async fn a_server_answers_once_a_connection_and_stops_when_dropped() {
        let server =
            MetricsServer::start(([127, 0, 0, 1], 0).into(), process_registry()).await.unwrap();
        let address = server.address();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\nprocess_cpu_seconds_total "), "{answer}");
        assert!(answer.contains("\nprocess_resident_memory_bytes "), "{answer}");
        drop(server);
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn beyond_the_limit_a_client_waits_until_another_leaves() {
        let server =
            MetricsServer::start(([127, 0, 0, 1], 0).into(), Registry::default()).await.unwrap();
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(server.address()).await.unwrap());
        }
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        silent.pop();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }

    #[test]
    fn families_of_latencies_have_a_histogram_for_each_label() {
        let family = Family::<Vec<(String, String)>, LatencyBuckets>::default();
        for class in ["calm", "busy"] {
            let _histogram = family.get_or_create(&vec![("class".to_owned(), class.to_owned())]);
        }
        let mut registry = Registry::default();
        registry.register("wait", "How long", family);
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("wait_bucket{le=\"+Inf\",class=\"calm\"} 0"), "{text}");
        assert!(text.contains("wait_count{class=\"busy\"} 0"), "{text}");
    }
}
