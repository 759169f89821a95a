//! NATS JetStream, for all programs: the stream between sidecar and aggregator, and the
//! aggregator's consumer.

mod error;
mod login;

use std::fmt;
use std::future::ready;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{ConsumerInfoErrorKind, GetStreamErrorKind};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, consumer, stream};
use chrono::{DateTime, Utc};
use clap::Args;
use futures_util::TryStreamExt as _;
use serde::Deserialize;

pub use self::error::{JetStreamError, NatsError};
pub use self::login::{ANSWER_TIMEOUT, NatsLogin};
use self::login::{Complaint, connect, read_domain};
use edges::clock::Clock;
use runs::observation::ClockOffset;

/// Flags that name the server, the stream and the consumer.
#[derive(Debug, Clone, Args)]
pub struct NatsArgs {
    /// Address of NATS, like `nats://host:4222`. Several of one cluster are separated by commas.
    /// Only needed for runs that go through the pipeline.
    #[arg(id = "nats", long, env = "NATS_URL", hide_env_values = true, value_name = "URL")]
    pub url: Option<String>,
    /// Name of the stream between sidecar and aggregator.
    #[arg(long, default_value = "AUDIT_EVENTS")]
    pub stream: String,
    /// Name of the aggregator's consumer.
    #[arg(long, default_value = "clickhouse-ingest")]
    pub consumer: String,
    /// `JetStream` domain of the stream, if it is reached through a leaf node.
    #[arg(id = "nats_domain", long = "nats-domain", env = "NATS_DOMAIN", value_name = "DOMAIN")]
    #[arg(hide_env_values = true, value_parser = read_domain)]
    pub domain: Option<String>,
    #[command(flatten)]
    pub login: NatsLogin,
}

/// The stream between sidecar and aggregator, and the consumer of the aggregator.
#[derive(Debug, Clone)]
pub struct AuditStream {
    context: jetstream::Context,
    stream: Stream,
    name: String,
    consumer: String,
    server_version: String,
    complaint: Complaint,
}

/// The state of a stream and of its consumer, without the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// Messages that the stream holds, read or not.
    pub messages: u64,
    /// Bytes of these messages, including what the server stores in addition.
    pub bytes: u64,
    /// Bytes at which the stream evicts its oldest messages; `None` if it has no such limit.
    pub bytes_max: Option<u64>,
    /// Sequence number of the oldest message that the stream holds.
    pub first: u64,
    /// Sequence number of the last message that the stream has taken.
    pub last: u64,
    /// The time in which a message with the same ID as an earlier one is ignored.
    pub duplicate_window: Duration,
    /// Whether messages stay until a limit is reached, read or not. Otherwise they are deleted once
    /// they are read.
    pub keeps_what_is_read: bool,
    /// `None` if there is no consumer of the name.
    pub consumer: Option<ConsumerState>,
}

/// How far a consumer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsumerState {
    /// Sequence number, in the stream, of the last message that it was given.
    pub delivered: u64,
    /// Messages that it was given so far, those given again included.
    pub deliveries: u64,
    /// All messages up to this sequence number of the stream are acknowledged.
    pub ack_floor: u64,
    /// Messages that it has not been given.
    pub pending: u64,
    /// Messages that it has been given and has not acknowledged.
    pub unacknowledged: u64,
    /// Messages that it has been given again and has not acknowledged.
    pub redelivered: u64,
    /// It gives out no messages until it is resumed.
    pub is_paused: bool,
    /// Somebody waits for its messages: a pull request, or a subscriber that it pushes to.
    pub is_asked: bool,
}

/// How far the stream and its consumer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Sequence number of the last message.
    pub last: u64,
    /// Messages that the consumer has not taken or not acknowledged; `None` if there is none.
    pub waiting: Option<u64>,
}

/// The name of a consumer that the stream does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoConsumer {
    pub name: String,
    /// The names of the consumers that it has, in alphabetical order; empty if they are not known.
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

/// The most consumers that are listed if the user has given a wrong name.
const NAMED_MAX: usize = 5;

impl AuditStream {
    /// Connects, and makes sure that the stream exists. A connection that is lost later is made
    /// again; requests without an answer fail meanwhile.
    ///
    /// # Errors
    ///
    /// Returns [`JetStreamError`] if NATS does not answer or has no such stream.
    pub async fn connect(url: &str, args: &NatsArgs) -> Result<Self, JetStreamError> {
        let (client, complaint) = connect(url, &args.login).await?;
        let server_version = client.server_info().version;
        let context = match &args.domain {
            Some(domain) => jetstream::with_domain(client, domain),
            None => jetstream::new(client),
        };
        let (name, consumer) = (args.stream.clone(), args.consumer.clone());
        let stream = context.get_stream(&name).await.map_err(|error| match error.kind() {
            GetStreamErrorKind::JetStream(told)
                if told.error_code() != ErrorCode::STREAM_NOT_FOUND =>
            {
                failed(&name, &complaint, error)
            }
            GetStreamErrorKind::Request => failed(&name, &complaint, error),
            _ => JetStreamError::NoStream { stream: name.clone(), source: error.into() },
        })?;
        Ok(Self { context, stream, name, consumer, server_version, complaint })
    }

    /// The stream itself, to read its messages.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The stream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the server that was connected to first.
    pub fn server_version(&self) -> String {
        self.server_version.clone()
    }

    /// The name of the aggregator's consumer.
    pub fn consumer(&self) -> &str {
        &self.consumer
    }

    /// The largest message that the server takes from any client, headers included.
    pub fn payload_bytes_max(&self) -> u64 {
        self.context.client().server_info().max_payload as u64
    }

    /// Reads how far stream and consumer are.
    ///
    /// # Errors
    ///
    /// Returns [`JetStreamError::Read`] if NATS does not answer.
    pub async fn read_position(&self) -> Result<Position, JetStreamError> {
        self.read_state().await.map(|state| state.position())
    }

    /// Reads the state of stream and consumer.
    ///
    /// # Errors
    ///
    /// Returns [`JetStreamError::Read`] if NATS does not answer.
    pub async fn read_state(&self) -> Result<StreamState, JetStreamError> {
        let info = self.stream.get_info().await.map_err(|error| self.failed(error))?;
        let consumer = self.read_consumer().await?;
        Ok(StreamState::new(&info.config, &info.state, consumer))
    }

    /// Reads the same, and the time of the server's clock. The stream is asked first. So a message
    /// that the stream had evicted by then, and that the consumer had not been given when it was
    /// asked, will never be given to it.
    ///
    /// # Errors
    ///
    /// Returns [`JetStreamError::Read`] if NATS does not answer.
    pub async fn read_timed_state(
        &self,
        clock: &Clock,
    ) -> Result<(StreamState, Option<ClockOffset>), JetStreamError> {
        let asked = clock.now();
        let subject = format!("STREAM.INFO.{}", self.name);
        let answer = self.context.request(subject, &()).await;
        let told: Response<Told> = answer.map_err(|error| self.failed(error))?;
        let answered = clock.now();
        let told = match told {
            Response::Ok(told) => told,
            Response::Err { error } => return Err(self.failed(error)),
        };
        let consumer = self.read_consumer().await?;
        let offset =
            told.ts.map(|ts| ClockOffset::new("nats", (asked, answered), ts.timestamp_micros()));
        Ok((StreamState::new(&told.config, &told.state, consumer), offset))
    }

    async fn read_consumer(&self) -> Result<Option<ConsumerState>, JetStreamError> {
        match self.stream.consumer_info(&self.consumer).await {
            Ok(info) => Ok(Some(ConsumerState::of(&info))),
            // A pipeline may consume under another name.
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Reads the names of the stream's consumers, in alphabetical order. Consumers that receive
    /// headers only are left out, because they are our own. The names only help a user who gave a
    /// wrong one, so the list is empty if NATS does not report them.
    pub async fn read_consumers(&self) -> Vec<String> {
        let consumers = self.stream.consumers();
        let foreign = consumers.try_filter(|it| ready(!it.config.headers_only));
        let mut names: Vec<String> =
            foreign.map_ok(|it| it.name).try_collect().await.unwrap_or_default();
        names.sort_unstable();
        names
    }

    /// Says that the stream could not be read.
    pub fn failed(&self, source: impl Into<NatsError>) -> JetStreamError {
        failed(&self.name, &self.complaint, source)
    }
}

/// A forbidden request gets no answer. The reason is in the error that the server sends separately.
fn failed(stream: &str, complaint: &Complaint, source: impl Into<NatsError>) -> JetStreamError {
    let stream = stream.to_owned();
    match complaint.get() {
        Some(told) => JetStreamError::Forbidden { stream, told },
        None => JetStreamError::Read { stream, source: source.into() },
    }
}

/// A server's answer about a stream, with the time.
#[derive(Debug, Deserialize)]
struct Told {
    config: stream::Config,
    state: stream::State,
    /// Servers before 2.10 do not send it.
    ts: Option<DateTime<Utc>>,
}

impl StreamState {
    fn new(
        config: &stream::Config,
        state: &stream::State,
        consumer: Option<ConsumerState>,
    ) -> Self {
        let limit = u64::try_from(config.max_bytes).unwrap_or(0);
        Self {
            messages: state.messages,
            bytes: state.bytes,
            bytes_max: (limit > 0).then_some(limit),
            first: state.first_sequence,
            last: state.last_sequence,
            duplicate_window: config.duplicate_window,
            keeps_what_is_read: config.retention == stream::RetentionPolicy::Limits,
            consumer,
        }
    }

    /// How far stream and consumer are.
    pub fn position(&self) -> Position {
        let waiting = self.consumer.map(|consumer| consumer.pending + consumer.unacknowledged);
        Position { last: self.last, waiting }
    }
}

impl ConsumerState {
    fn of(info: &consumer::Info) -> Self {
        Self {
            delivered: info.delivered.stream_sequence,
            deliveries: info.delivered.consumer_sequence,
            ack_floor: info.ack_floor.stream_sequence,
            pending: info.num_pending,
            unacknowledged: info.num_ack_pending as u64,
            redelivered: info.num_redelivered as u64,
            is_paused: info.paused,
            is_asked: info.num_waiting > 0 || info.push_bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_without_a_limit_has_none() {
        let check = |max_bytes, expected| {
            let told = told(max_bytes);
            assert_eq!(told.ts.map(|ts| ts.timestamp()), Some(1_767_225_600));
            let state = StreamState::new(&told.config, &told.state, None);
            assert_eq!(state.bytes_max, expected, "{max_bytes}");
        };
        check(-1, None);
        check(0, None);
        check(1 << 30, Some(1 << 30));
    }

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

    /// Makes a server's answer about a stream.
    fn told(max_bytes: i64) -> Told {
        let text = format!(
            r#"{{"config": {{"name": "A", "max_bytes": {max_bytes}, "retention": "limits",
            "max_consumers": -1, "max_msgs": -1, "max_msgs_per_subject": -1, "discard": "old",
            "max_age": 0, "storage": "file", "num_replicas": 1, "duplicate_window": 600000000000}},
            "created": "2026-01-01T00:00:00Z", "ts": "2026-01-01T00:00:00Z",
            "state": {{"messages": 3, "bytes": 900, "first_seq": 8, "last_seq": 10,
            "first_ts": "2026-01-01T00:00:00Z", "last_ts": "2026-01-01T00:00:00Z",
            "consumer_count": 0}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }
}
