//! A disk buffer of Vector can keep its last events until others follow or it is restarted. They
//! are late, not lost, however long it takes.

use serde_json::Value;

use crate::stack::Stack;

/// Sends two hundred events, of which a part keeps the last three.
fn sent_through(fault: &str) -> Stack {
    let stack = Stack::up(&["--relay", "honest", "--fault", fault]);
    let profile = stack.profile(10, 2, 50);
    stack.generate(&profile, "run");
    stack
}

/// Checks a run for some seconds. `flags` say where the metrics are, if at all.
fn check(stack: &Stack, flags: &[&str]) -> Value {
    let flags = [&["--quiet", "3s", "--wait", "12s"], flags].concat();
    let (_, report) = stack.reconcile_with("run", &flags);
    report
}

#[track_caller]
fn expect_unknown(report: &Value, doubt: &str) {
    assert_eq!(report["verdict"], "unknown", "{report}");
    assert_eq!((&report["totals"]["lost"], &report["totals"]["not_seen"]), (&0.into(), &3.into()));
    let doubts = report["doubts"].to_string();
    assert!(doubts.contains(doubt), "{doubts}");
}

#[test]
fn events_that_a_sidecar_keeps_are_not_seen_until_another_event_follows() {
    let stack = sent_through("keep-last:sidecar:3");
    let report = check(&stack, &[]);
    expect_unknown(&report, "still holds 3 events");
    expect_unknown(&report, "send one more event through it, or restart it");
    expect_unknown(&check(&stack, &["--vector-metrics", ""]), "no metrics say how many events");

    stack.generate(&stack.profile(10, 1, 50), "more");
    assert_eq!(check(&stack, &[])["verdict"], "whole");
}

#[test]
fn events_that_an_aggregator_keeps_are_not_seen_until_it_is_restarted() {
    let stack = sent_through("keep-last:aggregator:3");
    expect_unknown(&check(&stack, &[]), "the aggregator at");
    expect_unknown(&check(&stack, &["--vector-metrics", ""]), "no metrics say how many events");

    stack.restart("aggregator", "0s");
    assert_eq!(check(&stack, &[])["verdict"], "whole");
}

#[test]
fn a_fast_relay_has_no_disk_buffer_that_could_keep_events() {
    let dir = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(crate::stack::program("auditstorm-sandbox"))
        .args(["up", "--fault", "keep-last:sidecar:3", "--dir"])
        .arg(dir.path().join("sandbox"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("add --relay honest"), "{said}");
}
