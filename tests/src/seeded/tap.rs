//! Creates the stream with the settings of a storm, disturbs it, and records its messages.
//!
//! The stream republishes every message into a second stream, the tap, which evicts nothing. So it
//! is known for every event whether the stream ever had it, whatever happened to the message.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::{self, OrderedConfig};
use async_nats::jetstream::stream::{Config, Republish, RetentionPolicy, Stream};
use async_nats::jetstream::{self, consumer::PullConsumer};
use futures_util::StreamExt as _;
use serde_json::Value;
use uuid::Uuid;

use crate::stack::Stack;

/// How the stream keeps messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    Limits,
    Interest,
    WorkQueue,
}

/// The settings of stream and consumer in a storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamForm {
    pub retention: Retention,
    /// Time after which a message that was not acknowledged is delivered again.
    pub ack_wait: Duration,
}

/// How far the consumer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Messages that were not delivered to it.
    pub pending: u64,
    /// Messages that it has not acknowledged.
    pub unacknowledged: usize,
}

const STREAM: &str = "AUDIT_EVENTS";
const CONSUMER: &str = "clickhouse-ingest";
const TAP: &str = "TAP";

fn run_async<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

async fn context(stack: &Stack) -> jetstream::Context {
    jetstream::new(async_nats::connect(stack.address("NATS_URL")).await.unwrap())
}

/// The stream, or `None` while NATS is down.
async fn find_stream(stack: &Stack) -> Option<(jetstream::Context, Stream)> {
    let client = async_nats::connect(stack.address("NATS_URL")).await.ok()?;
    let context = jetstream::new(client);
    let stream = context.get_stream(STREAM).await.ok()?;
    Some((context, stream))
}

/// Creates stream, consumer and tap again, with the settings of a storm.
pub fn make(stack: &Stack, form: &StreamForm) {
    run_async(async {
        let context = context(stack).await;
        let old = context.get_stream(STREAM).await.unwrap();
        let consumer: PullConsumer = old.get_consumer(CONSUMER).await.unwrap();
        let consumer = consumer.cached_info().config.clone();
        let config = Config {
            retention: match form.retention {
                Retention::Limits => RetentionPolicy::Limits,
                Retention::Interest => RetentionPolicy::Interest,
                Retention::WorkQueue => RetentionPolicy::WorkQueue,
            },
            republish: Some(Republish {
                source: ">".to_owned(),
                destination: "tap.>".to_owned(),
                headers_only: false,
            }),
            ..old.cached_info().config.clone()
        };
        let tap = Config {
            name: TAP.to_owned(),
            subjects: vec!["tap.>".to_owned()],
            ..Config::default()
        };
        context.create_stream(tap).await.unwrap();
        context.delete_stream(STREAM).await.unwrap();
        let new = context.create_stream(config).await.unwrap();
        let config = pull::Config {
            durable_name: Some(CONSUMER.to_owned()),
            name: Some(CONSUMER.to_owned()),
            ack_wait: form.ack_wait,
            max_deliver: -1,
            max_ack_pending: consumer.max_ack_pending,
            filter_subject: consumer.filter_subject,
            ..pull::Config::default()
        };
        new.create_consumer(config).await.unwrap();
    });
}

/// Stops the delivery of messages to the aggregator's consumer, for years or until it is resumed.
/// This and the functions below return `None` while NATS is down.
pub fn pause(stack: &Stack) -> Option<()> {
    let late = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    run_async(async {
        let (_, stream) = find_stream(stack).await?;
        let paused = stream.pause_consumer(CONSUMER, late.into()).await.ok()?;
        assert!(paused.paused, "it said that it would");
        Some(())
    })
}

/// Resumes the delivery.
pub fn resume(stack: &Stack) -> Option<()> {
    run_async(async {
        let (_, stream) = find_stream(stack).await?;
        stream.resume_consumer(CONSUMER).await.ok().map(drop)
    })
}

/// Limits how many messages the stream keeps; -1 means no limit.
pub fn set_messages_max(stack: &Stack, messages: i64) -> Option<()> {
    run_async(async {
        let (context, stream) = find_stream(stack).await?;
        let config = Config { max_messages: messages, ..stream.cached_info().config.clone() };
        context.update_stream(config).await.ok().map(drop)
    })
}

/// Asks how far the consumer is. Returns `None` while NATS is down.
pub fn waiting(stack: &Stack) -> Option<Waiting> {
    run_async(async {
        let (_, stream) = find_stream(stack).await?;
        let mut consumer: PullConsumer = stream.get_consumer(CONSUMER).await.ok()?;
        let info = consumer.info().await.ok()?;
        Some(Waiting { pending: info.num_pending, unacknowledged: info.num_ack_pending })
    })
}

impl Waiting {
    pub fn is_nothing(self) -> bool {
        self.pending == 0 && self.unacknowledged == 0
    }
}

/// The audit IDs of all messages that the stream ever took.
pub fn taken(stack: &Stack) -> Vec<Uuid> {
    run_async(async {
        let tap = context(stack).await.get_stream(TAP).await.unwrap();
        let messages = tap.cached_info().state.messages;
        let reader = tap.create_consumer(OrderedConfig::default()).await.unwrap();
        let read = reader.messages().await.unwrap().take(usize::try_from(messages).unwrap());
        let ids = read.filter_map(async |message| audit_id(&message.unwrap().payload));
        ids.collect().await
    })
}

fn audit_id(payload: &[u8]) -> Option<Uuid> {
    let event: Value = serde_json::from_slice(payload).ok()?;
    event["auditID"].as_str()?.parse().ok()
}
