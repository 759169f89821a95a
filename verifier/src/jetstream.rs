//! What the stream holds of a run: sets of sequence numbers, from message IDs alone.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, Message};
use chrono::{DateTime, TimeDelta, Utc};
use events::identity::TenantIndex;
use events::script::Script;
use events::timeline::UnixMicros;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use harness::bitmap::ranges;
use harness::stored::Arrivals;
use roaring::RoaringTreemap;
use uuid::Uuid;

use crate::compare::StreamMemory;
use crate::error::{NatsError, VerifyError};

/// The stream between sidecar and aggregator, and the consumer of the aggregator.
#[derive(Debug, Clone)]
pub struct AuditStream {
    stream: Stream,
    name: String,
    consumer: String,
}

/// Where the stream and its consumer stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Sequence number of the last message.
    pub last: u64,
    /// Messages that the consumer has not taken or not acknowledged; `None` if there is none.
    pub waiting: Option<u64>,
}

/// What the stream holds of a run.
#[derive(Debug, Clone)]
pub struct StreamArrivals {
    pub by_tenant: BTreeMap<TenantIndex, Arrivals>,
    pub memory: StreamMemory,
    /// Messages without an ID of their own, whose bodies had to be read.
    pub without_id: u64,
}

impl AuditStream {
    /// Connects and makes sure that the stream is there.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError`] if NATS does not answer or has no such stream.
    pub async fn connect(url: &str, name: &str, consumer: &str) -> Result<Self, VerifyError> {
        let unreachable =
            |source: NatsError| VerifyError::NatsUnreachable { url: url.to_owned(), source };
        let client = ConnectOptions::new()
            .connection_timeout(ANSWER_TIMEOUT)
            .request_timeout(Some(ANSWER_TIMEOUT))
            .max_reconnects(3)
            .connect(url)
            .await
            .map_err(|error| unreachable(error.into()))?;
        let stream = jetstream::new(client).get_stream(name).await.map_err(|error| {
            VerifyError::NoStream { stream: name.to_owned(), source: error.into() }
        })?;
        Ok(Self { stream, name: name.to_owned(), consumer: consumer.to_owned() })
    }

    /// Reads where stream and consumer stand.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError::StreamRead`] if NATS does not answer.
    pub async fn read_position(&self) -> Result<Position, VerifyError> {
        let info = self.stream.get_info().await.map_err(|error| self.failed(error))?;
        // A pipeline may consume under another name: then only stillness tells that it is done.
        let waiting = match self.stream.consumer_info(&self.consumer).await {
            Ok(info) => Some(info.num_pending + info.num_ack_pending as u64),
            Err(_) => None,
        };
        Ok(Position { last: info.state.last_sequence, waiting })
    }

    /// Reads the IDs of all messages since `from`, and keeps those of the run.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError`] if NATS does not answer, or a message is not delivered.
    pub async fn read_arrivals(
        &self,
        script: &Script,
        from: UnixMicros,
    ) -> Result<StreamArrivals, VerifyError> {
        let state = self.stream.get_info().await.map_err(|error| self.failed(error))?.state;
        let from = DateTime::from_timestamp_micros(from).unwrap_or_default() - CLOCK_TOLERANCE;
        let mut collected = Collected::default();
        self.collect(script, from, state.last_sequence, &mut collected).await?;
        // Sequence numbers begin at 1. What is gone was there before the oldest that is left.
        let evicted =
            state.first_sequence > 1 && (state.messages == 0 || state.first_timestamp > from);
        let memory = if evicted { StreamMemory::Evicted } else { StreamMemory::Whole };
        let without_id = collected.without_id.len() as u64;
        self.read_bodies(script, &mut collected).await?;
        Ok(StreamArrivals { by_tenant: collected.finish(), memory, without_id })
    }

    async fn collect(
        &self,
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
            self.stream.create_consumer(config).await.map_err(|error| self.failed(error))?;
        if consumer.cached_info().num_pending == 0 {
            return Ok(());
        }
        let messages = consumer.stream().max_messages_per_batch(MESSAGES_AT_ONCE).messages().await;
        let mut messages = messages.map_err(|error| self.failed(error))?;
        let (mut at, mut delivered) = (0, 0);
        while at < last {
            let silent = || VerifyError::StreamSilent { stream: self.name.clone(), at, last };
            let next = tokio::time::timeout(ANSWER_TIMEOUT, messages.next()).await;
            let message = next.map_err(|_| silent())?.ok_or_else(silent)?;
            let message = message.map_err(|error| self.failed(error))?;
            let info = message.info().map_err(|source| self.stream_read(source))?;
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
        self.stream.delete_consumer(name).await.map_err(|error| self.failed(error))?;
        Ok(())
    }

    /// Reads the messages that bear no ID, as a sidecar without `message_id` writes them.
    async fn read_bodies(
        &self,
        script: &Script,
        collected: &mut Collected,
    ) -> Result<(), VerifyError> {
        let without_id = std::mem::take(&mut collected.without_id);
        let mut bodies = stream::iter(without_id)
            .map(|sequence| self.stream.get_raw_message(sequence))
            .buffer_unordered(BODIES_AT_ONCE);
        while let Some(message) = bodies.try_next().await.map_err(|error| self.failed(error))? {
            if let Some(id) = id_in_body(&message.payload) {
                collected.insert(script, id);
            }
        }
        Ok(())
    }

    fn failed(&self, source: impl std::error::Error + Send + Sync + 'static) -> VerifyError {
        self.stream_read(source.into())
    }

    fn stream_read(&self, source: NatsError) -> VerifyError {
        VerifyError::StreamRead { stream: self.name.clone(), source }
    }
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

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const MESSAGES_AT_ONCE: usize = 5_000;
const BODIES_AT_ONCE: usize = 64;

/// How far the clocks of generator and NATS may differ.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(60);
