//! The relay as two processes that hold events as Vector does.

use super::{Sandbox, children_of, command_of, event, run};

const STORED: &str = "SELECT uniqExact(audit_id) FROM audit.audit_logs";
/// Else rows that are stored twice would be folded, sooner or later.
const NO_MERGES: &str = "SYSTEM STOP MERGES audit.audit_logs";
const ROWS: &str = "SELECT count() FROM audit.audit_logs";

/// The gauge of what a part holds, before its sink.
const HELD: &str = "vector_buffer_events";

#[test]
fn what_either_part_holds_outlives_its_death_and_is_stored_once() {
    let stream = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(stream.path(), r#"{"duplicate_window": 90000000000}"#).unwrap();
    let file = stream.path().to_string_lossy().into_owned();
    let flags = ["--relay", "honest", "--retry-max", "1s", "--stream", &file];
    let mut sandbox = Sandbox::up(&flags);
    sandbox.ask(NO_MERGES);
    the_sidecar_keeps_its_events(&mut sandbox);
    the_aggregator_keeps_its_events(&mut sandbox);
    a_part_that_is_stopped_is_missed_by_nobody(&mut sandbox, &flags);
    assert_eq!(sandbox.ask(ROWS), sandbox.ask(STORED), "nothing was stored twice");
}

fn the_sidecar_keeps_its_events(sandbox: &mut Sandbox) {
    order(sandbox, &["stop", "nats"]);
    post(sandbox, 0..20);
    assert_eq!(sandbox.metric(HELD, "nats_jetstream"), [20]);
    a_part_that_cannot_start_ends_nothing(sandbox);
    order(sandbox, &["restart", "sidecar"]);
    assert_eq!(sandbox.metric(HELD, "nats_jetstream"), [20], "after its death");
    post(sandbox, 20..30);
    assert_eq!(sandbox.metric(HELD, "nats_jetstream"), [30]);
    order(sandbox, &["start", "nats"]);
    sandbox.wait_until("all are stored", |sandbox| sandbox.ask(STORED) == "27");
    sandbox.wait_until("nothing is held", holds_nothing);
    let sent = "vector_component_sent_events_total";
    assert_eq!(sandbox.metric(sent, "nats_jetstream"), [30]);
    // The last ten alone passed the webhook of this process, in one body.
    assert_eq!(sandbox.metric("vector_component_received_events_total", "webhook"), [1]);
    let monitor = sandbox.address("NATS_MONITOR_URL");
    let request = format!("GET /jsz?streams=1&config=1 HTTP/1.0\r\nHost: {monitor}\r\n\r\n");
    let (_, told) = super::exchange(&monitor, &request).unwrap();
    assert!(told.contains("\"duplicate_window\": 90000000000"), "{told}");
}

/// As a Vector that finds no NATS cannot.
fn a_part_that_cannot_start_ends_nothing(sandbox: &Sandbox) {
    let faults = sandbox.dir.path().join("faults.jsonl");
    order(sandbox, &["stop", "aggregator"]);
    std::fs::remove_file(&faults).unwrap();
    std::fs::create_dir(&faults).unwrap();
    let failed = run(&["start", "aggregator", "--dir", &sandbox.dir_text()]);
    let story = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(3), "{story}");
    assert!(story.contains("aggregator ended by itself"), "{story}");
    std::fs::remove_dir(&faults).unwrap();
    order(sandbox, &["start", "aggregator"]);
}

fn the_aggregator_keeps_its_events(sandbox: &mut Sandbox) {
    order(sandbox, &["stop", "clickhouse"]);
    post(sandbox, 30..50);
    let holds = |sandbox: &Sandbox| sandbox.metric(HELD, "clickhouse") == [18];
    sandbox.wait_until("the aggregator has all", holds);
    order(sandbox, &["restart", "vector-aggregator"]);
    assert!(holds(sandbox), "after its death: {:?}", sandbox.metric(HELD, "clickhouse"));
    order(sandbox, &["start", "clickhouse"]);
    sandbox.ask(NO_MERGES);
    sandbox.wait_until("all are stored", |sandbox| sandbox.ask(STORED) == "45");
    sandbox.wait_until("nothing is held", holds_nothing);
}

fn a_part_that_is_stopped_is_missed_by_nobody(sandbox: &mut Sandbox, flags: &[&str]) {
    order(sandbox, &["stop", "aggregator"]);
    // A second time is no failure.
    order(sandbox, &["stop", "aggregator"]);
    let pid = sandbox.child.id();
    let names: Vec<String> = children_of(pid).iter().map(|pid| command_of(*pid)).collect();
    assert!(names.len() == 3 && !names.iter().any(|it| it.contains("aggregator")), "{names:?}");
    post(sandbox, 50..60);
    sandbox.wait_until("all are in the stream", |sandbox| {
        sandbox.metric(HELD, "nats_jetstream") == [0]
    });
    assert_eq!(sandbox.ask(STORED), "45");
    // Both at once, one of which is down.
    order(sandbox, &["restart", "relay"]);
    sandbox.wait_until("all are stored", |sandbox| sandbox.ask(STORED) == "54");

    // What is held outlives the whole sandbox, too, also where a part is down.
    order(sandbox, &["stop", "clickhouse"]);
    post(sandbox, 60..70);
    sandbox
        .wait_until("the aggregator has all", |sandbox| sandbox.metric(HELD, "clickhouse") == [9]);
    let before = std::fs::read_to_string(sandbox.env_file()).unwrap();
    sandbox.child.kill().unwrap();
    sandbox.child.wait().unwrap();
    sandbox.start(flags);
    sandbox.ask(NO_MERGES);
    assert_eq!(std::fs::read_to_string(sandbox.env_file()).unwrap(), before);
    sandbox.wait_until("all are stored", |sandbox| sandbox.ask(STORED) == "63");
}

fn post(sandbox: &Sandbox, numbers: std::ops::Range<u32>) {
    let events: Vec<_> = numbers.map(event).collect();
    assert_eq!(sandbox.post(&events), 200);
}

fn holds_nothing(sandbox: &Sandbox) -> bool {
    [sandbox.metric(HELD, "nats_jetstream"), sandbox.metric(HELD, "clickhouse")] == [[0], [0]]
}

#[track_caller]
fn order(sandbox: &Sandbox, words: &[&str]) {
    let done = run(&[words, &["--dir", &sandbox.dir_text()]].concat());
    assert!(done.status.success(), "{done:?}");
}
