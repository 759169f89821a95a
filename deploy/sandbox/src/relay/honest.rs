//! Sidecar and aggregator as two processes that hold and delay events as Vector does.
//!
//! Each has a disk buffer before its sink. An event is in it before the webhook's answer, or before
//! its message is acknowledged: where Vector holds some events in memory at that point and loses
//! them when it is killed, these lose none. The sidecar has one message in flight, failed requests
//! are tried again after waits that grow, and what is dropped is what Vector drops.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::info;

use super::aggregator::{Aggregator, AggregatorOptions, Exit};
use super::buffer::{self, Buffer};
use super::counters::{Amount, Counters};
use super::faults::Faults;
use super::inserter::InsertOptions;
use super::publisher::{Buffered, publish_buffered};
use super::sidecar::{Intake, serve};
use super::storer::{StoreOptions, store_buffered};
use super::{RelayOptions, bind, exporter};
use crate::clickhouse::ClickHouse;
use crate::error::SandboxError;
use crate::fault::{FaultKind, Place};
use crate::stack::write_whole;

/// The part before NATS, until SIGTERM.
///
/// # Errors
///
/// Returns an error if it cannot listen, or its buffer fails.
pub(super) async fn sidecar(options: RelayOptions) -> Result<(), SandboxError> {
    /// Vector's default, which the sidecar's configuration leaves as it is.
    const RETRY_MAX: Duration = Duration::from_secs(30);
    let (address, listener) = bind(options.listen, &options.address_file).await?;
    let (metrics_address, metrics) = bind(options.metrics, &options.address_file).await?;
    let counters = Arc::new(Counters::default());
    let Buffer { writer, reader, acknowledger } =
        open(&options, Place::Sidecar, &counters, |it| &it.accepted)?;
    let faults = Arc::new(Faults::open(options.plan, &options.faults_file)?);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(exporter::serve(metrics, Arc::clone(&counters), &[Place::Sidecar]));
    let intake = Intake::before(writer, faults, Arc::clone(&counters));
    let serving = tokio::spawn(serve(listener, intake, stopped));
    let context = jetstream::new(connect(&options.nats).await?);
    let publishing = publish_buffered(
        context,
        Buffered { reader, acknowledger },
        Arc::clone(&counters),
        options.retry_max.min(RETRY_MAX),
    );
    write_whole(&options.address_file, format!("{address}\n{metrics_address}\n"))?;
    info!("listening on {address}");
    let stop = async {
        stop.send_replace(true);
        // A task can fail only by a panic, which is in the log.
        drop(serving.await);
    };
    until_stopped(publishing, &options.buffer, stop, &counters).await
}

/// The part behind NATS, until SIGTERM.
///
/// # Errors
///
/// Returns an error if it cannot serve its metrics, or its buffer fails.
pub(super) async fn aggregator(options: RelayOptions) -> Result<(), SandboxError> {
    let (metrics_address, metrics) = bind(options.metrics, &options.address_file).await?;
    let counters = Arc::new(Counters::default());
    let Buffer { writer, reader, acknowledger } =
        open(&options, Place::Aggregator, &counters, |it| &it.gathered)?;
    let store = StoreOptions {
        batches: AggregatorOptions {
            batch_wait: options.batch_wait,
            hold_back: options.plan.delay(),
        },
        retry_max: options.retry_max,
        insert: InsertOptions {
            keep_equal_rows: options.plan.orders(FaultKind::Duplicate, Place::Sidecar),
        },
    };
    let faults = Arc::new(Faults::open(options.plan, &options.faults_file)?);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(exporter::serve(metrics, Arc::clone(&counters), &[Place::Aggregator]));
    let context = jetstream::new(connect(&options.nats).await?);
    let exit = Exit::Disk(writer);
    let aggregator = Aggregator::new(context, exit, faults, Arc::clone(&counters));
    let aggregating = tokio::spawn(aggregator.run(stopped.clone()));
    let clickhouse = ClickHouse::at(options.clickhouse);
    let counted = Arc::clone(&counters);
    let storing = store_buffered(clickhouse, reader, acknowledger, counted, store, stopped);
    write_whole(&options.address_file, format!("{metrics_address}\n"))?;
    info!("telling metrics on {metrics_address}");
    let stop = async {
        stop.send_replace(true);
        drop(aggregating.await);
    };
    until_stopped(storing, &options.buffer, stop, &counters).await
}

/// Opens the buffer, and counts what it held as entered.
fn open(
    options: &RelayOptions,
    part: Place,
    counters: &Counters,
    entered: impl FnOnce(&Counters) -> &Amount,
) -> Result<Buffer, SandboxError> {
    let (buffer, held) = buffer::open(&options.buffer, options.plan.kept_max(part))
        .map_err(SandboxError::io("open", &options.buffer))?;
    Counters::add(&counters.found, held.events);
    entered(counters).add(held.events, held.bytes);
    info!("found {} events in the buffer", held.events);
    Ok(buffer)
}

/// As Vector's clients do, this one goes on while NATS is not there yet.
async fn connect(url: &str) -> Result<async_nats::Client, SandboxError> {
    let connected = ConnectOptions::new().retry_on_initial_connect().connect(url).await;
    connected.map_err(|error| SandboxError::Nats {
        action: "accept the relay",
        reason: error.to_string(),
    })
}

/// Passes events on until SIGTERM, then for a while yet. What is left stays in the buffer.
async fn until_stopped(
    passing: impl Future<Output = io::Result<()>>,
    buffer: &Path,
    stop: impl Future<Output = ()>,
    counters: &Counters,
) -> Result<(), SandboxError> {
    /// As long as Vector is given.
    const DRAIN_LIMIT: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_millis(20);
    let mut terminate = signal(SignalKind::terminate())
        .map_err(SandboxError::io("listen for SIGTERM in", buffer))?;
    let drained = async {
        terminate.recv().await;
        info!("stopping");
        let empty = async {
            stop.await;
            while counters.held() > 0 {
                sleep(PAUSE).await;
            }
        };
        drop(timeout(DRAIN_LIMIT, empty).await);
        info!("{} events stay in the buffer: {}", counters.held(), counters.to_json());
    };
    tokio::select! {
        ended = passing => ended.map_err(SandboxError::io("use", buffer)),
        () = drained => Ok(()),
    }
}
