//! Serves the relay's metrics over HTTP, as Vector's `prometheus_exporter` does.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::counters::Counters;
use super::metrics::text;
use crate::clock::now;
use crate::fault::Place;

/// Serves `/metrics` as long as the process lives: also while it drains.
pub(super) async fn serve(
    listener: TcpListener,
    counters: Arc<Counters>,
    places: &'static [Place],
) {
    let exporter = Exporter { counters, places, host: host(), start: Instant::now() };
    let exporter = Arc::new(exporter);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let exporter = Arc::clone(&exporter);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let response = exporter.answer(&request);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service);
                    if let Err(error) = connection.await {
                        debug!("a connection for metrics broke: {error}");
                    }
                });
            }
            Err(error) => {
                // Most likely no file descriptor is left; some connection must end first.
                warn!("cannot accept a connection for metrics: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}

struct Exporter {
    counters: Arc<Counters>,
    places: &'static [Place],
    host: String,
    start: Instant,
}

impl Exporter {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        const TEXT: &str = "text/plain; version=0.0.4";
        if (request.method(), request.uri().path()) != (&Method::GET, "/metrics") {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
        let uptime = self.start.elapsed().as_secs();
        let millis = now().timestamp_millis();
        let text = text(&self.counters, self.places, &self.host, uptime, millis);
        let response = Response::builder().header(CONTENT_TYPE, TEXT);
        response.body(Full::from(text)).expect("a constant header makes a response")
    }
}

/// The machine's name, with which Vector labels every metric.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
