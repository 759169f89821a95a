//! Measures how fast the IDs of a stream's messages are read, compared with a bare consumer that
//! only receives headers.
//!
//! It runs inside a sandbox, whose addresses are in the environment, and publishes the messages to
//! a stream of its own. Prints `bench scan-stream …`. `AUDITSTORM_BENCH_ROWS` sets the number of
//! messages.
#![expect(clippy::print_stdout, reason = "the figures are the result")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends there")]

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, Context, stream};
use auditstorm_verifier::jetstream::{Wanted, read_stream};
use auditstorm_verifier::patience::Patience;
use bytes::Bytes;
use edges::clock::Clock;
use edges::shutdown::Shutdown;
use futures_util::StreamExt as _;
use plans::plan::Plan;
use plans::spec::{RunOptions, Span};
use runs::ranges::TenantRanges;
use stores::jetstream::{AuditStream, NatsArgs, NatsLogin};
use uuid::Uuid;

const ROUNDS: usize = 7;
const BAR: f64 = 0.8;
const STREAM: &str = "BENCH";

fn main() {
    let messages = std::env::var("AUDITSTORM_BENCH_ROWS").map_or(500_000, |it| it.parse().unwrap());
    let url = std::env::var("NATS_URL").unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let clock = Clock::system();
        let plan = plan(&clock, messages);
        let context = jetstream::new(async_nats::connect(&url).await.unwrap());
        let published = publish(&context, &plan).await;
        let args = NatsArgs {
            domain: None,
            url: None,
            stream: STREAM.to_owned(),
            consumer: "none".to_owned(),
            login: NatsLogin::default(),
        };
        let audit = AuditStream::connect(&url, &args).await.unwrap();
        let (_stop, shutdown) = Shutdown::manual();
        let limit = Duration::from_secs(10);
        let mut patience = Patience::new(clock, shutdown, limit, |_| {});
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let begun = clock.now();
            assert_eq!(count(&audit, published).await, published);
            let between = clock.now();
            let expected = TenantRanges::new();
            let wanted = Wanted { script: &plan.script, from: plan.start, expected: &expected };
            let read = read_stream(&audit, wanted, &mut patience).await.unwrap();
            let ended = clock.now();
            let found: u64 = read.by_tenant.values().map(|arrivals| arrivals.seqs.count()).sum();
            assert_eq!(found, published);
            peer.push(rate(published, between - begun));
            ours.push(rate(published, ended - between));
        }
        context.delete_stream(STREAM).await.unwrap();
        let (ours, peer) = (median(ours), median(peer));
        let ratio = ours / peer;
        let verdict = if ratio >= BAR { "ok" } else { "short" };
        println!(
            "bench scan-stream ours={ours:.0} messages/s peer=headers-only:{peer:.0} messages/s \
             ratio={ratio:.3} bar={BAR} {verdict}"
        );
    });
}

/// Makes a run of this many events of a hundred tenants.
fn plan(clock: &Clock, events: u64) -> Plan {
    let text = format!(
        "name: bench\nstages: [{{duration: 100s, rate: {}/s, tenants: 100}}]\n",
        (events / 10_000).max(1)
    );
    let options = RunOptions::new(Uuid::from_u128(7), clock.now(), Span::Live);
    Plan::parse(&text, "of the bench", options).unwrap()
}

/// Publishes the IDs of all events of a plan, with bodies as large as events.
async fn publish(context: &Context, plan: &Plan) -> u64 {
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["bench.audit".to_owned()],
        ..stream::Config::default()
    };
    context.create_stream(config).await.unwrap();
    let body = Bytes::from(vec![b'x'; 1_300]);
    let mut acks = futures_util::stream::FuturesUnordered::new();
    let mut published = 0;
    for tenant in plan.script.tenants() {
        for seq in 0..plan.script.timeline(tenant).count() {
            let mut headers = HeaderMap::new();
            let id = plan.script.audit_id(tenant, events::identity::Seq(seq)).to_string();
            headers.insert(NATS_MESSAGE_ID, id.as_str());
            let sent = context.publish_with_headers("bench.audit", headers, body.clone());
            acks.push(sent.await.unwrap().into_future());
            published += 1;
            if acks.len() == 1_000 {
                acks.next().await.unwrap().unwrap();
            }
        }
    }
    while let Some(ack) = acks.next().await {
        ack.unwrap();
    }
    published
}

/// Receives the headers of all messages, and ignores them.
async fn count(audit: &AuditStream, last: u64) -> u64 {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::None,
        headers_only: true,
        memory_storage: true,
        ..pull::Config::default()
    };
    let consumer = audit.stream().create_consumer(config).await.unwrap();
    let mut messages = consumer.stream().max_messages_per_batch(5_000).messages().await.unwrap();
    let mut received = 0;
    while received < last {
        messages.next().await.unwrap().unwrap();
        received += 1;
    }
    audit.stream().delete_consumer(&consumer.cached_info().name).await.unwrap();
    received
}

#[expect(clippy::cast_precision_loss, reason = "counts and times here are exact in an f64")]
fn rate(messages: u64, micros: i64) -> f64 {
    messages as f64 / (micros as f64 / 1e6)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
