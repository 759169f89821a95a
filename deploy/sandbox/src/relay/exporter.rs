//! Serves the relay's metrics over HTTP, as Vector's `prometheus_exporter` does.

use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use hyper::header::CONTENT_TYPE;
use tokio::net::TcpListener;
use tokio::time::Instant;

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
    const TEXT: &str = "text/plain; version=0.0.4";
    // Vector labels every metric with the machine's name.
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let start = Instant::now();
    let metrics = move || {
        let (uptime, millis) = (start.elapsed().as_secs(), now().timestamp_millis());
        let text = text(&counters, places, &host, uptime, millis);
        ready(([(CONTENT_TYPE, TEXT)], text))
    };
    let pages = Router::new().route("/metrics", get(metrics));
    axum::serve(listener, pages).await.expect("the library goes on after every error");
}
