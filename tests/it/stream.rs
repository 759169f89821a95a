//! What is read of the stream and its consumer is what the server has.

use std::time::Duration;

use harness::jetstream::{AuditStream, JetStreamError, NatsArgs, NatsLogin};
use serde_json::json;

use crate::stack::Stack;

#[test]
fn the_state_of_stream_and_consumer_is_read() {
    let stack = Stack::up(&[]);
    let profile = stack.profile(50, 2, 20);
    stack.generate(&profile, "run");
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["reasons"]), (0, &json!([])));
    // Whoever names a wrong consumer is told, and the events are judged all the same.
    let (code, report) = stack.reconcile_with("run", &["--consumer", "another"]);
    assert_eq!((code, &report["verdict"]), (0, &json!("whole")));
    let told = "the stream has no consumer another, but has clickhouse-ingest: ";
    let reasons: Vec<&str> = report["reasons"][0].as_str().into_iter().collect();
    assert!(reasons.len() == 1 && reasons[0].starts_with(told), "{}", report["reasons"]);
    let args = |stream: &str, consumer: &str| NatsArgs {
        domain: None,
        url: None,
        stream: stream.to_owned(),
        consumer: consumer.to_owned(),
        login: NatsLogin::default(),
    };
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
}
