//! The webhook: takes requests, splits them into events, and queues these for NATS.

use std::io::Read;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::header::CONTENT_ENCODING;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::buffer::Writer;
use super::counters::Counters;
use super::faults::Faults;
use super::transform::{Posted, flagged, split};
use crate::fault::{FaultKind, Place};

/// Serves the webhook until told to stop, then finishes the requests that have begun.
pub(super) async fn serve(
    listener: TcpListener,
    intake: Intake,
    mut stopped: watch::Receiver<bool>,
) {
    // Answers are small and should leave at once. If this cannot be set, they only leave a little
    // later.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let pages = Router::new()
        .route("/events", post(take))
        .route("/health", get(health))
        .with_state(Arc::new(intake));
    // If the sender is gone, that counts as the order.
    let told = async move { drop(stopped.wait_for(|stop| *stop).await) };
    let served = axum::serve(listener, pages).with_graceful_shutdown(told).await;
    served.expect("the library goes on after every error");
}

/// Success means that its events are queued, and no more than that.
async fn take(State(intake): State<Arc<Intake>>, request: Request) -> Result<(), Refusal> {
    intake.take(request).await
}

async fn health(State(intake): State<Arc<Intake>>) -> String {
    intake.counters.to_json().to_string()
}

type Refusal = (StatusCode, String);

/// One event on its way to NATS.
#[derive(Debug)]
pub(super) struct Queued {
    /// Its auditID, which is the message's too.
    pub(super) audit_id: Option<String>,
    /// Its JSON.
    pub(super) payload: Bytes,
    /// Its request's share of the queue, free again when all its events are taken.
    pub(super) _room: Arc<OwnedSemaphorePermit>,
}

/// Where requests go.
#[derive(Debug)]
pub(super) struct Intake {
    entrance: Entrance,
    faults: Arc<Faults>,
    counters: Arc<Counters>,
}

/// What is between the webhook and the publisher.
#[derive(Debug)]
enum Entrance {
    /// A queue in memory.
    Memory { queue: mpsc::Sender<Vec<Queued>>, room: Arc<Semaphore> },
    /// A buffer that outlives the process.
    Disk(Writer),
}

/// Bytes of events that wait for NATS; when they are this many, requests wait too.
const ROOM_BYTES: usize = 64 << 20;

/// Bytes of one body, as sent and as unpacked.
const BODY_BYTES_MAX: usize = 100 << 20;

impl Intake {
    /// An intake that puts events into `queue`, in memory.
    pub(super) fn new(
        queue: mpsc::Sender<Vec<Queued>>,
        faults: Arc<Faults>,
        counters: Arc<Counters>,
    ) -> Self {
        let entrance = Entrance::Memory { queue, room: Arc::new(Semaphore::new(ROOM_BYTES)) };
        Self { entrance, faults, counters }
    }

    /// An intake that puts events into a buffer on disk.
    pub(super) fn before(buffer: Writer, faults: Arc<Faults>, counters: Arc<Counters>) -> Self {
        Self { entrance: Entrance::Disk(buffer), faults, counters }
    }

    async fn take(&self, request: Request) -> Result<(), Refusal> {
        let body = read_body(request).await?;
        let events = split(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
        Counters::add(&self.counters.bodies, 1);
        let mut payloads = Vec::with_capacity(events.len());
        for Posted { audit_id, json } in events {
            if !self.faults.strike(FaultKind::Drop, Place::Sidecar, audit_id.as_deref()) {
                payloads.push((audit_id, Bytes::from(json)));
            }
        }
        let refused = |text: String| (StatusCode::SERVICE_UNAVAILABLE, text);
        match &self.entrance {
            Entrance::Memory { queue, room } => {
                let queued = self.queue(queue, room, payloads).await;
                queued.ok_or_else(|| refused(String::new()))
            }
            Entrance::Disk(buffer) => {
                let kept = self.keep(buffer, &payloads);
                kept.map_err(|error| refused(format!("the buffer takes nothing: {error}")))
            }
        }
    }

    /// Puts a request's events into the buffer on disk, all or none of them.
    fn keep(&self, buffer: &Writer, payloads: &[(Option<String>, Bytes)]) -> std::io::Result<()> {
        let is_twice =
            |id: Option<&str>| self.faults.strike(FaultKind::Duplicate, Place::Sidecar, id);
        let records: Vec<Vec<u8>> =
            payloads.iter().map(|(id, json)| flagged(is_twice(id.as_deref()), json)).collect();
        buffer.append(&records)?;
        self.counters.accepted.add(records.len(), records.iter().map(Vec::len).sum());
        Ok(())
    }

    /// Queues a request's events, all or none of them. Waits while there is no room.
    async fn queue(
        &self,
        queue: &mpsc::Sender<Vec<Queued>>,
        room: &Arc<Semaphore>,
        payloads: Vec<(Option<String>, Bytes)>,
    ) -> Option<()> {
        let bytes: usize = payloads.iter().map(|(_, payload)| payload.len()).sum();
        let share = u32::try_from(bytes.min(ROOM_BYTES)).expect("the room's size fits");
        let place = queue.reserve().await.ok()?;
        let room = Arc::clone(room).acquire_many_owned(share).await.ok()?;
        let room = Arc::new(room);
        self.counters.accepted.add(payloads.len(), bytes);
        let queued = payloads.into_iter().map(|(audit_id, payload)| {
            let room = Arc::clone(&room);
            Queued { audit_id, payload, _room: room }
        });
        place.send(queued.collect());
        Some(())
    }
}

async fn read_body(request: Request) -> Result<Bytes, Refusal> {
    let encoding = request.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_owned());
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            (StatusCode::PAYLOAD_TOO_LARGE, "body is too large".to_owned())
        } else {
            (StatusCode::BAD_REQUEST, format!("body is cut short: {error}"))
        }
    })?;
    match encoding.as_deref() {
        None | Some(b"identity") => Ok(body.to_bytes()),
        Some(b"gzip") => gunzip(&body.to_bytes()),
        Some(_) => {
            Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "gzip is the only encoding".to_owned()))
        }
    }
}

fn gunzip(packed: &[u8]) -> Result<Bytes, Refusal> {
    let mut body = Vec::new();
    let limit = BODY_BYTES_MAX as u64 + 1;
    match MultiGzDecoder::new(packed).take(limit).read_to_end(&mut body) {
        Ok(bytes) if bytes <= BODY_BYTES_MAX => Ok(Bytes::from(body)),
        Ok(_) => Err((StatusCode::PAYLOAD_TOO_LARGE, "unpacked body is too large".to_owned())),
        Err(error) => Err((StatusCode::BAD_REQUEST, format!("body is no gzip: {error}"))),
    }
}
