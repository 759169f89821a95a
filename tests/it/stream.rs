//! The verifier reads from the stream and its consumer exactly what the server has.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::{self, Context, stream};
use auditstorm_verifier::compare::StreamMemory;
use auditstorm_verifier::jetstream::{StreamArrivals, Wanted, read_stream};
use auditstorm_verifier::patience::Patience;
use edges::clock::Clock;
use edges::shutdown::Shutdown;
use events::timeline::UnixMicros;
use plans::plan::Plan;
use runs::ranges::{RangeSet, TenantRanges};
use runs::report::fates::Forgotten;
use runs::run_dir::RunDir;
use serde_json::json;
use stores::jetstream::{AuditStream, JetStreamError, NatsArgs, NatsLogin};
use uuid::Uuid;

use crate::stack::Stack;

#[test]
fn the_state_of_stream_and_consumer_is_read() {
    let stack = Stack::up(&[]);
    let profile = stack.profile(50, 2, 20);
    stack.generate(&profile, "run");
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["reasons"]), (0, &json!([])));
    // If the user names a wrong consumer, the report says so, and the events are judged all the
    // same.
    let (code, report) = stack.reconcile_with("run", &["--consumer", "another"]);
    assert_eq!((code, &report["verdict"]), (0, &json!("whole")));
    let told = "the stream has no consumer another, but has clickhouse-ingest: ";
    let reasons: Vec<&str> = report["reasons"][0].as_str().into_iter().collect();
    assert!(reasons.len() == 1 && reasons[0].starts_with(told), "{}", report["reasons"]);
    let url = stack.address("NATS_URL");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let own = args("AUDIT_EVENTS", "clickhouse-ingest");
        let state = AuditStream::connect(url, &own).await.unwrap().read_state().await.unwrap();
        assert_eq!((state.messages, state.first, state.last), (1_000, 1, 1_000));
        assert!(state.bytes > 500_000, "{state:?}");
        assert_eq!(state.bytes_max, Some(1 << 30));
        assert_eq!(state.duplicate_window, Duration::from_mins(10));
        let consumer = state.consumer.unwrap();
        assert_eq!((consumer.ack_floor, consumer.pending, consumer.unacknowledged), (1_000, 0, 0));
        assert_eq!(state.position().waiting, Some(0));

        let other = args("AUDIT_EVENTS", "another");
        let state = AuditStream::connect(url, &other).await.unwrap().read_state().await.unwrap();
        assert_eq!((state.last, state.consumer), (1_000, None));

        let none = AuditStream::connect(url, &args("NONE", "another")).await;
        assert!(matches!(none, Err(JetStreamError::NoStream { .. })));
    });
    tokio::runtime::Runtime::new().unwrap().block_on(what_a_stream_remembers(&stack));
}

fn args(stream: &str, consumer: &str) -> NatsArgs {
    NatsArgs {
        domain: None,
        url: None,
        stream: stream.to_owned(),
        consumer: consumer.to_owned(),
        login: NatsLogin::default(),
    }
}

/// Reads a stream as if the sender's clock were ahead by this much. Also returns how many events of
/// the run were found.
async fn read(
    stack: &Stack,
    stream: &str,
    plan: &Plan,
    ahead: UnixMicros,
    expected: &TenantRanges,
) -> (u64, StreamArrivals) {
    let url = stack.address("NATS_URL");
    let audit = AuditStream::connect(url, &args(stream, "clickhouse-ingest")).await.unwrap();
    let (_stop, shutdown) = Shutdown::manual();
    let limit = Duration::from_secs(5);
    let mut patience = Patience::new(Clock::system(), shutdown, limit, |_| {});
    let wanted = Wanted { script: &plan.script, from: plan.start + ahead, expected };
    let arrivals = read_stream(&audit, wanted, &mut patience).await.unwrap();
    (arrivals.by_tenant.values().map(|it| it.seqs.count()).sum(), arrivals)
}

async fn what_a_stream_remembers(stack: &Stack) {
    const FIVE_MINUTES: UnixMicros = 300_000_000;
    let (_, plan) = RunDir::open(&stack.path("run")).unwrap();
    let (mut all, nothing) = (TenantRanges::new(), TenantRanges::new());
    for tenant in plan.script.tenants() {
        all.insert_all(tenant, &RangeSet::of(0..plan.script.timeline(tenant).count()));
    }
    let whole = StreamMemory::Whole;
    let forgotten = StreamMemory::Partial;
    // If the clock is ahead, messages seem older than the run. They are only read if events are
    // missing.
    let (found, _) = read(stack, "AUDIT_EVENTS", &plan, FIVE_MINUTES, &nothing).await;
    assert_eq!(found, 0);
    let (found, told) = read(stack, "AUDIT_EVENTS", &plan, FIVE_MINUTES, &all).await;
    assert_eq!((found, told.memory), (1_000, whole));

    let context = jetstream::new(async_nats::connect(stack.address("NATS_URL")).await.unwrap());
    let limits = stream::RetentionPolicy::Limits;
    // The IDs of messages need not be those of their events.
    let renamed = republish(&context, "RENAMED", limits).await;
    let (found, told) = read(stack, "RENAMED", &plan, 0, &nothing).await;
    assert_eq!((found, told.without_id), (0, 0));
    let (found, told) = read(stack, "RENAMED", &plan, 0, &all).await;
    assert_eq!((found, told.without_id, told.memory), (1_000, 1_000, whole));
    // One message among them is deleted, so a missing event may have been in it.
    assert!(renamed.delete_message(500).await.unwrap());
    let (found, told) = read(stack, "RENAMED", &plan, 0, &all).await;
    assert_eq!((found, told.memory), (999, forgotten(Forgotten::Deleted)));
    // The oldest messages are deleted.
    renamed.purge().sequence(300).await.unwrap();
    let (found, told) = read(stack, "RENAMED", &plan, 0, &all).await;
    assert_eq!((found, told.memory), (700, forgotten(Forgotten::Evicted)));
    // Only one foreign message is left, so no message shows that the sender's clock was ahead.
    let other = context.publish("RENAMED", "{}".into()).await.unwrap();
    renamed.purge().sequence(other.await.unwrap().sequence).await.unwrap();
    let (found, told) = read(stack, "RENAMED", &plan, FIVE_MINUTES, &all).await;
    assert_eq!((found, told.memory), (0, forgotten(Forgotten::Evicted)));
    // These streams allow no second consumer. A message that is missing there was read, or never
    // came.
    for (name, kind) in [
        ("QUEUE", stream::RetentionPolicy::WorkQueue),
        ("INTEREST", stream::RetentionPolicy::Interest),
    ] {
        republish(&context, name, kind).await;
        let (found, told) = read(stack, name, &plan, 0, &all).await;
        assert_eq!((found, told.memory), (0, forgotten(Forgotten::Read)), "{name}");
    }
}

/// Makes a stream with the same events, but with other message IDs.
async fn republish(
    context: &Context,
    name: &str,
    retention: stream::RetentionPolicy,
) -> stream::Stream {
    let config = stream::Config {
        name: name.to_owned(),
        subjects: vec![name.to_owned()],
        retention,
        ..stream::Config::default()
    };
    let made = context.create_stream(config).await.unwrap();
    let original = context.get_stream("AUDIT_EVENTS").await.unwrap();
    let mut acks = Vec::new();
    for sequence in 1..=1_000 {
        let message = original.get_raw_message(sequence).await.unwrap();
        let mut headers = HeaderMap::new();
        let id = Uuid::from_u128(u128::from(sequence) << 64 | 0x4000_8000_0000_0000_0000);
        headers.insert(NATS_MESSAGE_ID, id.to_string());
        let sent = context.publish_with_headers(name.to_owned(), headers, message.payload);
        acks.push(sent.await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
    made
}
