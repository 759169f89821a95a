//! Hands queued events to NATS until it has them.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::buffer::{Acknowledger, Reader, Record};
use super::counters::Counters;
use super::faults::Faults;
use super::retry::Backoff;
use super::sidecar::Queued;
use super::transform::{audit_id_in, unflagged};
use crate::fault::{FaultKind, Place};

/// Publishes all that is queued, until the queue is closed and empty.
pub(super) async fn publish(
    context: Context,
    queue: mpsc::Receiver<Vec<Queued>>,
    faults: Arc<Faults>,
    counters: Arc<Counters>,
) {
    /// Messages that wait for an answer of NATS.
    const IN_FLIGHT_MAX: usize = 1000;
    let requests = stream::unfold(queue, async |mut queue| {
        queue.recv().await.map(|events| (stream::iter(events), queue))
    });
    requests
        .flatten()
        .for_each_concurrent(IN_FLIGHT_MAX, async |event| {
            Counters::add(&counters.begun, 1);
            let is_taken = publish_until_taken(&context, &event, event.audit_id.as_deref()).await;
            if is_taken
                && faults.strike(FaultKind::Duplicate, Place::Sidecar, event.audit_id.as_deref())
            {
                // With the same ID JetStream would drop the second message, so that one has no ID.
                publish_until_taken(&context, &event, None).await;
            }
            let gone = if is_taken { &counters.published } else { &counters.oversized };
            gone.add(1, event.payload.len());
        })
        .await;
}

/// The buffer from which a patient publisher reads, and in which it notes what NATS has.
pub(super) struct Buffered {
    /// Where events come from.
    pub(super) reader: Reader,
    /// Where those that NATS has are noted.
    pub(super) acknowledger: Acknowledger,
}

/// Publishes what is in a buffer as Vector's sink does: one message at a time, tried again until
/// NATS has it, with waits of up to `retry_max` in between. An event that is too large for NATS
/// holds up all events behind it.
///
/// # Errors
///
/// Returns an error if the buffer fails.
pub(super) async fn publish_buffered(
    context: Context,
    mut buffer: Buffered,
    counters: Arc<Counters>,
    retry_max: Duration,
) -> std::io::Result<()> {
    for draw in 0.. {
        let Record { payload, end } = buffer.reader.next().await?;
        Counters::add(&counters.begun, 1);
        let (is_twice, json) = unflagged(&payload);
        let id = audit_id_in(json);
        let json = Bytes::copy_from_slice(json);
        let backoff = || Backoff::new(retry_max, draw);
        publish_patiently(&context, &json, id.as_deref(), backoff()).await;
        if is_twice {
            publish_patiently(&context, &json, None, backoff()).await;
        }
        buffer.acknowledger.acknowledge(end)?;
        counters.published.add(1, payload.len());
    }
    Ok(())
}

async fn publish_patiently(
    context: &Context,
    json: &Bytes,
    id: Option<&str>,
    mut backoff: Backoff,
) {
    /// Vector's `request.timeout_secs`.
    const LIMIT: Duration = Duration::from_mins(1);
    loop {
        let why = match timeout(LIMIT, publish_once(context, json, id)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer within a minute".to_owned(),
        };
        let pause = backoff.next();
        warn!("NATS did not take an event, trying again in {} ms: {why}", pause.as_millis());
        sleep(pause).await;
    }
}

/// The subject of every audit event.
const SUBJECT: &str = "audit.k8s.activity";

/// Tries for ever, always with the same id: `JetStream` drops what it has already. An event that is
/// too large for NATS is given up, because NATS will never take it; then this returns false.
async fn publish_until_taken(context: &Context, event: &Queued, id: Option<&str>) -> bool {
    const FIRST_PAUSE: Duration = Duration::from_millis(100);
    const PAUSE_MAX: Duration = Duration::from_secs(5);
    let mut pause = FIRST_PAUSE;
    while let Err(error) = publish_once(context, &event.payload, id).await {
        if error.kind() == PublishErrorKind::MaxPayloadExceeded {
            warn!("an event of {} bytes is dropped: {error}", event.payload.len());
            return false;
        }
        if pause == FIRST_PAUSE {
            warn!("NATS did not take an event, trying again: {error}");
        }
        sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 2);
    }
    true
}

async fn publish_once(
    context: &Context,
    json: &Bytes,
    id: Option<&str>,
) -> Result<(), PublishError> {
    let message = PublishMessage::build().payload(json.clone());
    let message = match id {
        Some(id) => message.message_id(id),
        None => message,
    };
    context.send_publish(SUBJECT, message).await?.await.map(drop)
}
