//! Reads which events of a run the stream holds: as sets of sequence numbers, from message IDs
//! alone.

use std::collections::BTreeMap;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use events::identity::{Seq, TenantIndex};
use events::script::Script;
use events::timeline::UnixMicros;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use roaring::RoaringTreemap;
use runs::ranges::{RangeSet, TenantRanges};
use runs::report::fates::Forgotten;
use stores::bitmap::ranges;
use stores::jetstream::{
    ANSWER_TIMEOUT, AuditStream, ConsumerState, JetStreamError, NoConsumer, StreamState,
};
use stores::stored::Arrivals;
use uuid::Uuid;

use crate::compare::StreamMemory;
use crate::error::VerifyError;
use crate::eviction::Counters;
use crate::patience::Patience;

/// What the stream holds of a run.
#[derive(Debug, Clone)]
pub struct StreamArrivals {
    pub by_tenant: BTreeMap<TenantIndex, Arrivals>,
    /// Events whose messages the consumer was not given, or has not acknowledged.
    pub unread: TenantRanges,
    pub memory: StreamMemory,
    /// The counters of stream and consumer, or `None` without a consumer.
    pub counters: Option<Counters>,
    /// Details if the aggregator's consumer is missing, else `None`.
    pub no_consumer: Option<NoConsumer>,
    /// Number of messages that have no ID, or another ID than their event: their bodies had to be
    /// read.
    pub without_id: u64,
}

/// Which events to look for, and since when their messages may be in the stream.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'w> {
    pub script: &'w Script,
    /// By the clock of the sender.
    pub from: UnixMicros,
    /// Events that the stream should have been given. If one of them is not found, the whole stream
    /// is read, and the bodies of messages whose IDs do not identify an event.
    pub expected: &'w TenantRanges,
}

/// Reads the IDs of all messages since a time, and keeps those of the run.
///
/// If a stream deletes messages once they are read, a message that was read looks like one that
/// never came, and reading would disturb it. So such a stream is not read.
///
/// # Errors
///
/// Returns [`VerifyError`] if NATS does not answer, or a message is not delivered.
pub async fn read_stream(
    audit: &AuditStream,
    wanted: Wanted<'_>,
    patience: &mut Patience,
) -> Result<StreamArrivals, VerifyError> {
    let Wanted { script, from, expected } = wanted;
    let state = patience.ask(async || audit.read_state().await).await?;
    let mut collected = Collected { read_until: read_until(&state), ..Collected::default() };
    let mut is_holed = false;
    if state.keeps_what_is_read {
        let mut walk = Walk::since(from, state.last);
        walk_on(audit, &mut walk, &mut collected, script, patience).await?;
        is_holed = walk.is_holed;
        let first = walk.first.unwrap_or(state.last + 1);
        if state.first < first && collected.lacks(expected) {
            // The sender's clock may have been ahead, so older messages by our clock may belong to
            // the run.
            let mut walk = Walk::until(first - 1);
            walk_on(audit, &mut walk, &mut collected, script, patience).await?;
            is_holed |= walk.is_holed;
        }
    }
    let mut without_id: Vec<u64> = std::mem::take(&mut collected.without_id);
    let mut is_unnamed = false;
    if collected.lacks(expected) {
        let foreign: Vec<u64> = collected.foreign.iter().collect();
        if !are_ids_of_events(audit, &foreign, patience).await? {
            is_unnamed = foreign.len() > FOREIGN_BODIES_MAX;
            without_id.extend(foreign.into_iter().take(FOREIGN_BODIES_MAX));
        }
    }
    for some in without_id.chunks(BODIES_AT_ONCE) {
        for (sequence, body) in patience.ask(async || read_bodies(audit, some).await).await? {
            if let Some(id) = id_in_body(&body) {
                collected.insert(script, id, sequence);
            }
        }
    }
    let oldest = patience.ask(async || oldest(audit).await).await?;
    let memory = if !state.keeps_what_is_read {
        StreamMemory::Partial(Forgotten::Read)
    } else if oldest.is_evicted_since(since(from), collected.ahead) {
        StreamMemory::Partial(Forgotten::Evicted)
    } else if is_holed {
        StreamMemory::Partial(Forgotten::Deleted)
    } else if is_unnamed {
        StreamMemory::Partial(Forgotten::Unnamed)
    } else {
        StreamMemory::Whole
    };
    let unread = std::mem::take(&mut collected.unread);
    let counters = Counters::of(&state);
    let no_consumer = match state.consumer {
        Some(_) => None,
        None => Some(NoConsumer {
            name: audit.consumer().to_owned(),
            others: audit.read_consumers().await,
        }),
    };
    let (by_tenant, without_id) = (collected.finish(), without_id.len() as u64);
    Ok(StreamArrivals { by_tenant, unread, memory, counters, no_consumer, without_id })
}

async fn walk_on(
    audit: &AuditStream,
    walk: &mut Walk,
    collected: &mut Collected,
    script: &Script,
    patience: &mut Patience,
) -> Result<(), VerifyError> {
    let add = &mut |message: &Message, sequence| collected.add(script, message, sequence);
    patience.ask(async || walk.go_on(audit, add).await).await
}

/// Whether the IDs of foreign messages are the audit IDs of their events. A sample of them is
/// enough, because a sidecar sets the IDs of all its messages in the same way.
async fn are_ids_of_events(
    audit: &AuditStream,
    sequences: &[u64],
    patience: &mut Patience,
) -> Result<bool, VerifyError> {
    let step = (sequences.len() / SAMPLED_IDS).max(1);
    for sequence in sequences.iter().step_by(step) {
        let read = async || match audit.stream().get_raw_message(*sequence).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(audit.failed(error)),
        };
        let Some(message) = patience.ask(read).await? else { continue };
        let named = message.headers.get(NATS_MESSAGE_ID).map(|id| id.as_str().to_owned());
        let named = named.and_then(|id| Uuid::try_parse(&id).ok());
        if id_in_body(&message.payload) != named {
            return Ok(false);
        }
    }
    Ok(true)
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
    let mut walk = Walk::since(from, state.last);
    let find = |places: &mut BTreeMap<_, _>, message: &Message, sequence| {
        let located = id_in_headers(message).and_then(|id| script.locate(id));
        let is_wanted = |(tenant, seq): &(TenantIndex, Seq)| {
            wanted.get(*tenant).is_some_and(|seqs| seqs.contains(seq.0))
        };
        if let Some((tenant, seq)) = located.filter(is_wanted).filter(|_| places.len() < limit) {
            places.insert(sequence, (tenant, seq));
        }
    };
    let take = &mut |message: &Message, sequence| find(&mut places, message, sequence);
    patience.ask(async || walk.go_on(audit, take).await).await?;
    let first = walk.first.unwrap_or(state.last + 1);
    if state.first < first && places.len() < limit && (places.len() as u64) < wanted.count() {
        // As in `read_stream`, the sender's clock may have been ahead.
        let mut walk = Walk::until(first - 1);
        let take = &mut |message: &Message, sequence| find(&mut places, message, sequence);
        patience.ask(async || walk.go_on(audit, take).await).await?;
    }
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

/// The last message of the stream that the consumer has certainly received and acknowledged.
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
    /// `None` if the stream is empty.
    at: Option<DateTime<Utc>>,
}

impl Oldest {
    /// Whether messages of a run that began then may be gone. Sequence numbers begin at 1: what is
    /// gone was there before the oldest that is left. `from` is a time of the sender's clock, and
    /// `ahead` by how much that clock is ahead at least; `None` if no message of the run is left
    /// to tell.
    fn is_evicted_since(&self, from: DateTime<Utc>, ahead: Option<TimeDelta>) -> bool {
        let from = from - ahead.unwrap_or(UNTOLD_CLOCK_TOLERANCE);
        self.sequence > 1 && self.at.is_none_or(|at| at > from)
    }
}

async fn oldest(audit: &AuditStream) -> Result<Oldest, JetStreamError> {
    let state = audit.stream().get_info().await.map_err(|error| audit.failed(error))?.state;
    let at = (state.messages > 0).then_some(state.first_timestamp);
    Ok(Oldest { sequence: state.first_sequence, at })
}

/// A walk over the headers of a stream's messages, which can be continued after an interruption.
struct Walk {
    /// The time from which messages are read, or `None` to begin with the oldest message.
    from: Option<DateTime<Utc>>,
    /// Sequence number of the first message that was read.
    first: Option<u64>,
    /// Sequence number of the last message that was read; 0 before the first.
    at: u64,
    /// Sequence number of the last message to read.
    last: u64,
    /// Whether messages were missing between those that were read.
    is_holed: bool,
}

/// Returns the time since when messages of a run may have been taken, if the clocks differ.
fn since(from: UnixMicros) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(from).unwrap_or_default() - CLOCK_TOLERANCE
}

impl Walk {
    /// Reads messages from a time on, up to `last`.
    fn since(from: UnixMicros, last: u64) -> Self {
        Self { from: Some(since(from)), first: None, at: 0, last, is_holed: false }
    }

    /// Reads messages from the oldest one on, up to `last`.
    fn until(last: u64) -> Self {
        Self { from: None, first: None, at: 0, last, is_holed: false }
    }

    fn pass(&mut self, sequence: u64, is_last: bool) {
        self.is_holed |= self.first.is_some() && sequence > self.at + 1;
        self.is_holed |= is_last && sequence < self.last;
        self.first.get_or_insert(sequence);
        self.at = if is_last { self.last } else { sequence };
    }

    /// Passes messages with their sequence numbers to `take`, up to the last one.
    async fn go_on(
        &mut self,
        audit: &AuditStream,
        take: &mut impl FnMut(&Message, u64),
    ) -> Result<(), VerifyError> {
        let deliver_policy = match (self.at, self.from) {
            (0, Some(start_time)) => DeliverPolicy::ByStartTime { start_time },
            (0, None) => DeliverPolicy::All,
            (at, _) => DeliverPolicy::ByStartSequence { start_sequence: at + 1 },
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
                // A message was sent to us and did not arrive, so the result would be incomplete.
                return Err(silent());
            }
            if info.stream_sequence > last {
                // This message came while we read, or all messages that we wanted are gone.
                self.is_holed |= self.at < last;
                break;
            }
            take(&message, info.stream_sequence);
            self.pass(info.stream_sequence, info.pending == 0);
        }
        let name = &consumer.cached_info().name;
        // NATS would also delete the consumer by itself after a short time.
        audit.stream().delete_consumer(name).await.map_err(|error| audit.failed(error))?;
        Ok(())
    }
}

/// Reads the bodies of messages, except those that the stream has evicted meanwhile.
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
    /// Stream sequence numbers of messages without an ID.
    without_id: Vec<u64>,
    /// Stream sequence numbers of messages whose ID is not of the run.
    foreign: RoaringTreemap,
    /// By how much the sender's clock is ahead at least: the stream took an event before it was
    /// due. `None` before the first message of the run.
    ahead: Option<TimeDelta>,
    /// Messages of the run that were read.
    count: u64,
}

#[derive(Debug, Default)]
struct Sets {
    seqs: RoaringTreemap,
    repeated: RoaringTreemap,
    count: u64,
}

impl Collected {
    fn add(&mut self, script: &Script, message: &Message, stream_sequence: u64) {
        let Some(id) = id_in_headers(message) else {
            return self.without_id.push(stream_sequence);
        };
        let Some((tenant, seq)) = self.insert(script, id, stream_sequence) else {
            self.foreign.insert(stream_sequence);
            return;
        };
        self.count += 1;
        if self.count <= CLOCK_SAMPLES || self.count.is_multiple_of(CLOCK_SAMPLES) {
            self.compare_clocks(script, tenant, seq, message);
        }
    }

    /// Finds out how far the sender's clock is ahead. Messages that wait for the stream hide a part
    /// of it, so the largest difference counts.
    fn compare_clocks(&mut self, script: &Script, tenant: TenantIndex, seq: Seq, it: &Message) {
        let due = script.timeline(tenant).due(seq).ok().and_then(DateTime::from_timestamp_micros);
        let taken = it.info().ok().map(|info| info.published);
        if let Some((due, taken)) = due.zip(taken) {
            let ahead = self.ahead.unwrap_or_default().max(due - taken);
            self.ahead = Some(ahead);
        }
    }

    /// Whether one of the expected events was not found.
    fn lacks(&self, expected: &TenantRanges) -> bool {
        let is_lacking = |(tenant, seqs): (TenantIndex, &RangeSet)| {
            let found = self.tenants.get(&tenant).map(|sets| ranges(&sets.seqs));
            !seqs.difference(&found.unwrap_or_default()).is_empty()
        };
        expected.iter().any(is_lacking)
    }

    /// Returns which event of the run it is; `None` if it is none.
    fn insert(
        &mut self,
        script: &Script,
        id: Uuid,
        stream_sequence: u64,
    ) -> Option<(TenantIndex, Seq)> {
        let located = script.locate(id);
        if let Some((tenant, seq)) = located {
            if stream_sequence > self.read_until {
                self.unread.insert(tenant, seq.0..seq.0 + 1);
            }
            let sets = self.tenants.entry(tenant).or_default();
            sets.count += 1;
            if !sets.seqs.insert(seq.0) {
                sets.repeated.insert(seq.0);
            }
        }
        located
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
/// How many bodies are read to find out whether IDs are those of events.
const SAMPLED_IDS: usize = 100;
/// The most bodies that are read because IDs do not identify events.
const FOREIGN_BODIES_MAX: usize = 200_000;

/// How far the clocks of generator and NATS may differ.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(60);

/// So many messages tell how far the clocks differ, and then each of as many.
const CLOCK_SAMPLES: u64 = 64;

/// How much the clock of a sender may be ahead, in addition, if no message of the run is left.
const UNTOLD_CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    #[test]
    fn a_stream_has_forgotten_a_run_if_older_messages_are_gone() {
        let check = |sequence, oldest: Option<i64>, ahead: Option<i64>, expected| {
            let oldest = Oldest { sequence, at: oldest.map(minutes) };
            let evicted = oldest.is_evicted_since(minutes(60), ahead.map(TimeDelta::minutes));
            assert_eq!(evicted, expected, "{sequence}");
        };
        check(1, Some(70), Some(0), false);
        check(2, Some(70), Some(0), true);
        check(2, Some(59), Some(0), false);
        check(2, None, Some(0), true);
        // No message of the run is left that would show how far the clock is ahead.
        check(2, Some(55), None, true);
        check(2, Some(50), None, false);
        // The messages that are left of the run were taken five minutes before they were due.
        check(2, Some(56), Some(5), true);
        check(2, Some(54), Some(5), false);
    }

    #[test]
    fn a_walk_notices_what_is_missing_on_its_way() {
        let check = |sequences: &[u64], expected| {
            let mut walk = Walk::until(10);
            let (last, before) = sequences.split_last().unwrap();
            for sequence in before {
                walk.pass(*sequence, false);
            }
            walk.pass(*last, true);
            assert_eq!(walk.is_holed, expected, "{sequences:?}");
        };
        check(&[7, 8, 9, 10], false);
        check(&[7, 9, 10], true);
        check(&[7, 8, 9], true);
    }
}
