//! The stream: made as a storm wants it, disturbed, and listened to.
//!
//! What it takes it also republishes into a second stream, the tap, which forgets nothing: so it is
//! known of every event whether the stream ever had it, whatever became of the message.

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

/// What a storm wants of stream and consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamForm {
    pub retention: Retention,
    /// After this a message that was not acknowledged is given out again.
    pub ack_wait: Duration,
}

/// Where the consumer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Messages that it was not given.
    pub pending: u64,
    /// Messages that it did not acknowledge.
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

/// The stream; `None` while NATS is away.
async fn find_stream(stack: &Stack) -> Option<(jetstream::Context, Stream)> {
    let client = async_nats::connect(stack.address("NATS_URL")).await.ok()?;
    let context = jetstream::new(client);
    let stream = context.get_stream(STREAM).await.ok()?;
    Some((context, stream))
}

/// Makes stream and consumer anew, as a storm wants them, and the tap.
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

/// Stops the aggregator's consumer from being given messages, for years or until it goes on.
/// `None` while NATS is away, as of all that follows.
pub fn pause(stack: &Stack) -> Option<()> {
    let late = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    run_async(async {
        let (_, stream) = find_stream(stack).await?;
        let paused = stream.pause_consumer(CONSUMER, late.into()).await.ok()?;
        assert!(paused.paused, "it said that it would");
        Some(())
    })
}

/// Has it go on.
pub fn resume(stack: &Stack) -> Option<()> {
    run_async(async {
        let (_, stream) = find_stream(stack).await?;
        stream.resume_consumer(CONSUMER).await.ok().map(drop)
    })
}

/// Lets the stream keep so many messages at most; -1 is no limit.
pub fn set_messages_max(stack: &Stack, messages: i64) -> Option<()> {
    run_async(async {
        let (context, stream) = find_stream(stack).await?;
        let config = Config { max_messages: messages, ..stream.cached_info().config.clone() };
        context.update_stream(config).await.ok().map(drop)
    })
}

/// Asks where the consumer stands; `None` while NATS is away.
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

/// The auditIDs of all messages that the stream ever took.
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
