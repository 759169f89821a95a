//! What the stream holds of a run: sets of sequence numbers, from message IDs alone.

use std::collections::BTreeMap;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};

use chrono::{DateTime, TimeDelta, Utc};
use events::identity::TenantIndex;
use events::script::Script;
use events::timeline::UnixMicros;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use harness::bitmap::ranges;
use harness::jetstream::{ANSWER_TIMEOUT, AuditStream};
use harness::stored::Arrivals;
use roaring::RoaringTreemap;
use uuid::Uuid;

use crate::compare::StreamMemory;
use crate::error::VerifyError;

/// What the stream holds of a run.
#[derive(Debug, Clone)]
pub struct StreamArrivals {
    pub by_tenant: BTreeMap<TenantIndex, Arrivals>,
    pub memory: StreamMemory,
    /// Messages without an ID of their own, whose bodies had to be read.
    pub without_id: u64,
}

/// Reads the IDs of all messages since `from`, and keeps those of the run.
///
/// # Errors
///
/// Returns [`VerifyError`] if NATS does not answer, or a message is not delivered.
pub async fn read_stream(
    audit: &AuditStream,
    script: &Script,
    from: UnixMicros,
) -> Result<StreamArrivals, VerifyError> {
    let state = audit.stream().get_info().await.map_err(|error| audit.failed(error))?.state;
    let from = DateTime::from_timestamp_micros(from).unwrap_or_default() - CLOCK_TOLERANCE;
    let mut collected = Collected::default();
    collect(audit, script, from, state.last_sequence, &mut collected).await?;
    // Sequence numbers begin at 1. What is gone was there before the oldest that is left.
    let evicted = state.first_sequence > 1 && (state.messages == 0 || state.first_timestamp > from);
    let memory = if evicted { StreamMemory::Evicted } else { StreamMemory::Whole };
    let without_id = collected.without_id.len() as u64;
    read_bodies(audit, script, &mut collected).await?;
    Ok(StreamArrivals { by_tenant: collected.finish(), memory, without_id })
}

async fn collect(
    audit: &AuditStream,
    script: &Script,
    from: DateTime<Utc>,
    last: u64,
    collected: &mut Collected,
) -> Result<(), VerifyError> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartTime { start_time: from },
        ack_policy: AckPolicy::None,
        headers_only: true,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: ANSWER_TIMEOUT,
        ..pull::Config::default()
    };
    let consumer =
        audit.stream().create_consumer(config).await.map_err(|error| audit.failed(error))?;
    if consumer.cached_info().num_pending == 0 {
        return Ok(());
    }
    let messages = consumer.stream().max_messages_per_batch(MESSAGES_AT_ONCE).messages().await;
    let mut messages = messages.map_err(|error| audit.failed(error))?;
    let (mut at, mut delivered) = (0, 0);
    while at < last {
        let silent = || VerifyError::StreamSilent { stream: audit.name().to_owned(), at, last };
        let next = tokio::time::timeout(ANSWER_TIMEOUT, messages.next()).await;
        let message = next.map_err(|_| silent())?.ok_or_else(silent)?;
        let message = message.map_err(|error| audit.failed(error))?;
        let info = message.info().map_err(|source| audit.failed(source))?;
        delivered += 1;
        if info.consumer_sequence != delivered {
            // One was sent to us and did not arrive: what is read would not be all.
            return Err(silent());
        }
        at = if info.pending == 0 { last } else { info.stream_sequence };
        collected.add(script, &message, info.stream_sequence);
    }
    let name = &consumer.cached_info().name;
    // It would also go by itself, soon.
    audit.stream().delete_consumer(name).await.map_err(|error| audit.failed(error))?;
    Ok(())
}

/// Reads the messages that bear no ID, as a sidecar without `message_id` writes them.
async fn read_bodies(
    audit: &AuditStream,
    script: &Script,
    collected: &mut Collected,
) -> Result<(), VerifyError> {
    let without_id = std::mem::take(&mut collected.without_id);
    let mut bodies = stream::iter(without_id)
        .map(|sequence| audit.stream().get_raw_message(sequence))
        .buffer_unordered(BODIES_AT_ONCE);
    while let Some(message) = bodies.try_next().await.map_err(|error| audit.failed(error))? {
        if let Some(id) = id_in_body(&message.payload) {
            collected.insert(script, id);
        }
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Collected {
    tenants: BTreeMap<TenantIndex, Sets>,
    /// Stream sequence numbers of the messages without an ID.
    without_id: Vec<u64>,
}

#[derive(Debug, Default)]
struct Sets {
    seqs: RoaringTreemap,
    repeated: RoaringTreemap,
    count: u64,
}

impl Collected {
    fn add(&mut self, script: &Script, message: &Message, stream_sequence: u64) {
        let id = message.headers.as_ref().and_then(|headers| headers.get(NATS_MESSAGE_ID));
        match id.and_then(|id| Uuid::try_parse(id.as_str()).ok()) {
            Some(id) => self.insert(script, id),
            None => self.without_id.push(stream_sequence),
        }
    }

    fn insert(&mut self, script: &Script, id: Uuid) {
        if let Some((tenant, seq)) = script.locate(id) {
            let sets = self.tenants.entry(tenant).or_default();
            sets.count += 1;
            if !sets.seqs.insert(seq.0) {
                sets.repeated.insert(seq.0);
            }
        }
    }

    fn finish(self) -> BTreeMap<TenantIndex, Arrivals> {
        let arrivals = |sets: Sets| Arrivals {
            seqs: ranges(&sets.seqs),
            repeated: ranges(&sets.repeated),
            count: sets.count,
        };
        self.tenants.into_iter().map(|(tenant, sets)| (tenant, arrivals(sets))).collect()
    }
}

/// Returns the `auditID` of an event.
fn id_in_body(body: &[u8]) -> Option<Uuid> {
    #[derive(serde::Deserialize)]
    struct Identified {
        #[serde(rename = "auditID")]
        audit_id: Uuid,
    }
    serde_json::from_slice::<Identified>(body).ok().map(|event| event.audit_id)
}

const MESSAGES_AT_ONCE: usize = 5_000;
const BODIES_AT_ONCE: usize = 64;

/// How far the clocks of generator and NATS may differ.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(60);
