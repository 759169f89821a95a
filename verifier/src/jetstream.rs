//! What the stream holds of a run: sets of sequence numbers, from message IDs alone.

use std::collections::BTreeMap;
use std::fmt;
use std::future::ready;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use events::identity::{Seq, TenantIndex};
use events::script::Script;
use events::timeline::UnixMicros;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use harness::bitmap::ranges;
use harness::jetstream::{ANSWER_TIMEOUT, AuditStream, ConsumerState, JetStreamError, StreamState};
use harness::ranges::TenantRanges;
use harness::stored::Arrivals;
use roaring::RoaringTreemap;
use uuid::Uuid;

use crate::compare::StreamMemory;
use crate::error::VerifyError;
use crate::eviction::Counters;
use crate::patience::Patience;

/// What the stream holds of a run.
#[derive(Debug, Clone)]
pub struct StreamArrivals {
    pub by_tenant: BTreeMap<TenantIndex, Arrivals>,
    /// Events whose messages the consumer has not been given, or not acknowledged.
    pub unread: TenantRanges,
    pub memory: StreamMemory,
    /// How far stream and consumer were; `None` without a consumer.
    pub counters: Option<Counters>,
    /// `None` if the aggregator's consumer is there.
    pub no_consumer: Option<NoConsumer>,
    /// Messages without an ID of their own, whose bodies had to be read.
    pub without_id: u64,
}

/// A consumer that the stream does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoConsumer {
    pub name: String,
    /// Those that it has, in alphabetical order; none, if they are not known.
    pub others: Vec<String>,
}

impl fmt::Display for NoConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stream has no consumer {}", self.name)?;
        let named: Vec<&str> = self.others.iter().map(String::as_str).take(NAMED_MAX).collect();
        match self.others.len().saturating_sub(NAMED_MAX) {
            0 if named.is_empty() => Ok(()),
            0 => write!(f, ", but has {}", named.join(", ")),
            more => write!(f, ", but has {} and {more} more", named.join(", ")),
        }
    }
}

/// Reads the names of the stream's consumers, in alphabetical order, but of those that are given
/// no bodies: these are ours. They only help who has named a wrong one, and are none if NATS does
/// not tell them.
pub(crate) async fn read_consumers(audit: &AuditStream) -> Vec<String> {
    let consumers = audit.stream().consumers();
    let foreign = consumers.try_filter(|it| ready(!it.config.headers_only));
    let mut names: Vec<String> =
        foreign.map_ok(|it| it.name).try_collect().await.unwrap_or_default();
    names.sort_unstable();
    names
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
    patience: &mut Patience,
) -> Result<StreamArrivals, VerifyError> {
    let state = patience.ask(async || audit.read_state().await).await?;
    let mut collected = Collected { read_until: read_until(&state), ..Collected::default() };
    let mut walk = Walk::new(from, state.last);
    let add = &mut |message: &Message, sequence| collected.add(script, message, sequence);
    patience.ask(async || walk.go_on(audit, add).await).await?;
    // Sequence numbers begin at 1. What is gone was there before the oldest that is left.
    let is_younger = |first: DateTime<Utc>| first > walk.from;
    let oldest = patience.ask(async || oldest(audit).await).await?;
    let evicted = oldest.sequence > 1 && oldest.at.is_none_or(is_younger);
    let memory = if evicted { StreamMemory::Evicted } else { StreamMemory::Whole };
    let without_id = std::mem::take(&mut collected.without_id);
    for some in without_id.chunks(BODIES_AT_ONCE) {
        for (sequence, body) in patience.ask(async || read_bodies(audit, some).await).await? {
            if let Some(id) = id_in_body(&body) {
                collected.insert(script, id, sequence);
            }
        }
    }
    let unread = std::mem::take(&mut collected.unread);
    let counters = Counters::of(&state);
    let no_consumer = match state.consumer {
        Some(_) => None,
        None => Some(NoConsumer {
            name: audit.consumer().to_owned(),
            others: read_consumers(audit).await,
        }),
    };
    let (by_tenant, without_id) = (collected.finish(), without_id.len() as u64);
    Ok(StreamArrivals { by_tenant, unread, memory, counters, no_consumer, without_id })
}

/// Finds the messages of some events, up to `limit` of them, and reads their bodies.
///
/// # Errors
///
/// Returns [`VerifyError`] if NATS does not answer, or a message is not delivered.
pub async fn read_bodies_of(
    audit: &AuditStream,
    script: &Script,
    from: UnixMicros,
    wanted: &TenantRanges,
    limit: usize,
    patience: &mut Patience,
) -> Result<Vec<(TenantIndex, Seq, Bytes)>, VerifyError> {
    let state = patience.ask(async || audit.read_state().await).await?;
    let mut places = BTreeMap::new();
    let mut walk = Walk::new(from, state.last);
    let find = &mut |message: &Message, sequence| {
        let located = id_in_headers(message).and_then(|id| script.locate(id));
        let is_wanted = |(tenant, seq): &(TenantIndex, Seq)| {
            wanted.get(*tenant).is_some_and(|seqs| seqs.contains(seq.0))
        };
        if let Some((tenant, seq)) = located.filter(is_wanted).filter(|_| places.len() < limit) {
            places.insert(sequence, (tenant, seq));
        }
    };
    patience.ask(async || walk.go_on(audit, find).await).await?;
    let sequences: Vec<u64> = places.keys().copied().collect();
    let mut found = Vec::new();
    for some in sequences.chunks(BODIES_AT_ONCE) {
        for (sequence, body) in patience.ask(async || read_bodies(audit, some).await).await? {
            let (tenant, seq) = places[&sequence];
            found.push((tenant, seq, body));
        }
    }
    Ok(found)
}

/// The last message of the stream that the consumer surely was given and has acknowledged.
fn read_until(state: &StreamState) -> u64 {
    match state.consumer {
        None => 0,
        Some(ConsumerState { pending: 0, unacknowledged: 0, .. }) => u64::MAX,
        Some(ConsumerState { ack_floor, .. }) => ack_floor,
    }
}

/// The oldest message that a stream has.
struct Oldest {
    sequence: u64,
    /// `None` if there is none.
    at: Option<DateTime<Utc>>,
}

async fn oldest(audit: &AuditStream) -> Result<Oldest, JetStreamError> {
    let state = audit.stream().get_info().await.map_err(|error| audit.failed(error))?.state;
    let at = (state.messages > 0).then_some(state.first_timestamp);
    Ok(Oldest { sequence: state.first_sequence, at })
}

/// A walk over the headers of a stream's messages, which goes on where it was interrupted.
struct Walk {
    from: DateTime<Utc>,
    /// Sequence number of the last message that was read; 0 before the first.
    at: u64,
    /// Sequence number of the last message that is to be read.
    last: u64,
}

impl Walk {
    fn new(from: UnixMicros, last: u64) -> Self {
        let from = DateTime::from_timestamp_micros(from).unwrap_or_default() - CLOCK_TOLERANCE;
        Self { from, at: 0, last }
    }

    /// Passes messages on with their sequence numbers, up to the last.
    async fn go_on(
        &mut self,
        audit: &AuditStream,
        take: &mut impl FnMut(&Message, u64),
    ) -> Result<(), VerifyError> {
        let deliver_policy = match self.at {
            0 => DeliverPolicy::ByStartTime { start_time: self.from },
            at => DeliverPolicy::ByStartSequence { start_sequence: at + 1 },
        };
        let config = pull::Config {
            deliver_policy,
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
        let mut delivered = 0;
        while self.at < self.last {
            let (at, last) = (self.at, self.last);
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
            take(&message, info.stream_sequence);
            self.at = if info.pending == 0 { last } else { info.stream_sequence };
        }
        let name = &consumer.cached_info().name;
        // It would also go by itself, soon.
        audit.stream().delete_consumer(name).await.map_err(|error| audit.failed(error))?;
        Ok(())
    }
}

/// Reads the bodies of messages, but of those that the stream has evicted meanwhile.
async fn read_bodies(
    audit: &AuditStream,
    sequences: &[u64],
) -> Result<Vec<(u64, Bytes)>, JetStreamError> {
    let read = async |sequence: u64| match audit.stream().get_raw_message(sequence).await {
        Ok(message) => Ok(Some((sequence, message.payload))),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(audit.failed(error)),
    };
    let bodies =
        stream::iter(sequences.iter().copied().map(read)).buffer_unordered(REQUESTS_AT_ONCE);
    bodies.try_filter_map(async |body| Ok(body)).try_collect().await
}

fn id_in_headers(message: &Message) -> Option<Uuid> {
    let id = message.headers.as_ref().and_then(|headers| headers.get(NATS_MESSAGE_ID));
    id.and_then(|id| Uuid::try_parse(id.as_str()).ok())
}

#[derive(Debug, Default)]
struct Collected {
    tenants: BTreeMap<TenantIndex, Sets>,
    unread: TenantRanges,
    /// Sequence number of the last message that the consumer has read.
    read_until: u64,
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
        match id_in_headers(message) {
            Some(id) => self.insert(script, id, stream_sequence),
            None => self.without_id.push(stream_sequence),
        }
    }

    fn insert(&mut self, script: &Script, id: Uuid, stream_sequence: u64) {
        if let Some((tenant, seq)) = script.locate(id) {
            if stream_sequence > self.read_until {
                self.unread.insert(tenant, seq.0..seq.0 + 1);
            }
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
const BODIES_AT_ONCE: usize = 1_024;
const REQUESTS_AT_ONCE: usize = 64;
/// Consumers that are named to who has named a wrong one.
const NAMED_MAX: usize = 5;

/// How far the clocks of generator and NATS may differ.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_a_wrong_consumer_is_told_which_there_are() {
        let check = |others: usize, expected: &str| {
            let others = (1..=others).map(|number| format!("c{number}")).collect();
            let none = NoConsumer { name: "x".to_owned(), others };
            assert_eq!(none.to_string(), format!("the stream has no consumer x{expected}"));
        };
        check(0, "");
        check(1, ", but has c1");
        check(5, ", but has c1, c2, c3, c4, c5");
        check(7, ", but has c1, c2, c3, c4, c5 and 2 more");
    }
}
