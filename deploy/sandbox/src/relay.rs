//! Stands in for Vector: a sidecar before NATS and an aggregator behind it, in one process.
//!
//! It does what the two Vectors of the pipeline do to an event, and can be told to misbehave. As
//! one process it is fast, and keeps what it holds in memory: killed, it loses that. As two it is
//! honest, see `honest`.

mod aggregator;
mod buffer;
mod corrupt;
mod counters;
mod exporter;
mod faults;
mod honest;
mod inserter;
mod metrics;
mod pace;
mod publisher;
mod retry;
mod rows;
mod sidecar;
mod storer;
mod transform;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::info;

use self::aggregator::{Aggregator, AggregatorOptions, Exit, Gatherer};
use self::counters::Counters;
use self::faults::Faults;
use self::inserter::InsertOptions;
use crate::clickhouse::ClickHouse;
use crate::error::SandboxError;
use crate::fault::{FaultKind, FaultPlan, Place};
use crate::stack::write_whole;

/// What the relay joins, and how.
#[derive(Debug)]
pub(crate) struct RelayOptions {
    /// `nats://…`
    pub(crate) nats: String,
    /// `ClickHouse`'s HTTP interface.
    pub(crate) clickhouse: SocketAddr,
    /// Where to listen; port 0 is any free one.
    pub(crate) listen: SocketAddr,
    /// Where to serve metrics; port 0 is any free one.
    pub(crate) metrics: SocketAddr,
    /// Where to write the addresses that the relay listens on, once it does: the webhook's and
    /// that of the metrics, one a line.
    pub(crate) address_file: PathBuf,
    /// Where to record victims.
    pub(crate) faults_file: PathBuf,
    /// How long a batch may wait for more events.
    pub(crate) batch_wait: Duration,
    /// Which part this process is, if the relay is honest. `None` means both parts, fast.
    pub(crate) part: Option<Place>,
    /// Where an honest part has its buffer.
    pub(crate) buffer: PathBuf,
    /// The longest wait of an honest part between two tries.
    pub(crate) retry_max: Duration,
    /// Ordered faults.
    pub(crate) plan: FaultPlan,
}

/// How long the relay may take to pass on what it holds, once it is told to stop.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// Relays events until SIGTERM, then passes on what it holds.
///
/// # Errors
///
/// Returns an error if NATS cannot be reached at first, or the relay could not pass on all it held
/// in memory; or if the buffer of an honest part fails.
pub(crate) async fn relay(options: RelayOptions) -> Result<(), SandboxError> {
    match options.part {
        None => fast(options).await,
        Some(Place::Sidecar) => honest::sidecar(options).await,
        Some(Place::Aggregator) => honest::aggregator(options).await,
    }
}

async fn fast(options: RelayOptions) -> Result<(), SandboxError> {
    /// How many requests may wait in the queue. Their bytes are bounded too, see
    /// `sidecar::ROOM_BYTES`.
    const QUEUED_REQUESTS_MAX: usize = 1024;
    /// Full batches that wait for `ClickHouse`, or for an ordered delay to pass.
    const QUEUED_BATCHES_MAX: usize = 16;

    let mut terminate = signal(SignalKind::terminate())
        .map_err(SandboxError::io("listen for SIGTERM in", &options.address_file))?;
    let context = jetstream_context(&options.nats).await?;
    let (address, listener) = bind(options.listen, &options.address_file).await?;
    let (metrics_address, metrics) = bind(options.metrics, &options.address_file).await?;

    let counters = Arc::new(Counters::default());
    let insert = InsertOptions {
        // Otherwise two equal rows in one INSERT become one, and the duplicate that was asked for
        // would be gone.
        keep_equal_rows: options.plan.orders(FaultKind::Duplicate, Place::Sidecar),
    };
    let aggregate =
        AggregatorOptions { batch_wait: options.batch_wait, hold_back: options.plan.delay() };
    let faults = Arc::new(Faults::open(options.plan, &options.faults_file)?);
    let (stop, stopped) = watch::channel(false);
    let (drain, drained) = watch::channel(false);
    let (queue, queued) = mpsc::channel(QUEUED_REQUESTS_MAX);
    let (batch_sender, batch_receiver) = mpsc::channel(QUEUED_BATCHES_MAX);

    let intake = sidecar::Intake::new(queue, Arc::clone(&faults), Arc::clone(&counters));
    let publish =
        publisher::publish(context.clone(), queued, Arc::clone(&faults), Arc::clone(&counters));
    let exit = Exit::Memory(Box::new(Gatherer::new(batch_sender, aggregate)));
    let aggregator = Aggregator::new(context, exit, faults, Arc::clone(&counters));
    let clickhouse = ClickHouse::at(options.clickhouse);
    let insert = inserter::insert(clickhouse, batch_receiver, Arc::clone(&counters), insert);

    tokio::spawn(exporter::serve(metrics, Arc::clone(&counters), BOTH));
    let serving = tokio::spawn(sidecar::serve(listener, intake, stopped));
    let publishing = tokio::spawn(publish);
    let aggregating = tokio::spawn(aggregator.run(drained));
    let inserting = tokio::spawn(insert);
    write_whole(&options.address_file, format!("{address}\n{metrics_address}\n"))?;
    info!("listening on {address}");

    terminate.recv().await;
    info!("stopping");
    let passed_on = timeout(DRAIN_LIMIT, async {
        // In the order in which events pass through the parts. A task can fail only by a panic,
        // which is in the log.
        stop.send_replace(true);
        drop(serving.await);
        drop(publishing.await);
        drain.send_replace(true);
        drop(aggregating.await);
        drop(inserting.await);
    });
    let in_time = passed_on.await.is_ok();
    info!("{}", counters.to_json());
    match counters.held() {
        0 if in_time => Ok(()),
        events => Err(SandboxError::Undrained { events, seconds: DRAIN_LIMIT.as_secs() }),
    }
}

const BOTH: &[Place] = &[Place::Sidecar, Place::Aggregator];

async fn bind(at: SocketAddr, file: &Path) -> Result<(SocketAddr, TcpListener), SandboxError> {
    let listener = TcpListener::bind(at).await;
    let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
    bound.map_err(SandboxError::io("listen for", file))
}

async fn jetstream_context(url: &str) -> Result<jetstream::Context, SandboxError> {
    const ACK_TIMEOUT: Duration = Duration::from_secs(10);
    let client = async_nats::connect(url).await.map_err(|error| SandboxError::Nats {
        action: "accept the relay",
        reason: error.to_string(),
    })?;
    Ok(jetstream::context::ContextBuilder::new()
        .ack_timeout(ACK_TIMEOUT)
        .backpressure_on_inflight(true)
        .build(client))
}
