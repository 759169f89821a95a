//! Users ask for the events of an earlier run, which the table has too.

use std::collections::BTreeSet;
use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::query_load::{count, lines, shown, victims};
use crate::stack::Stack;

/// Eight users who hardly think, and no event.
const ALONE: &str = "name: alone\nmix: cluster\n\
    stages: [{duration: 8s, rate: 0/s, tenants: 1}]\n\
    send: {lateness_max: 30s}\n\
    queries:\n  stages: [{duration: 8s, users: 8}]\n  think_min: 50ms\n  think_max: 300ms\n\
    thresholds:\n  queries: ['rate==100%']\n  queries.wrong: ['count==0']\n";

/// The same users beside events.
const BESIDE: &str = "name: beside\nmix: cluster\n\
    stages: [{duration: 8s, rate: 20/s, tenants: 5}]\n\
    send: {batch_events: 50, batch_age: 200ms, lateness_max: 30s}\n\
    queries:\n  stages: [{duration: 8s, users: 8}]\n  think_min: 50ms\n  think_max: 300ms\n";

/// Starts a pipeline whose table has a history of eight days, up to last midnight.
fn up(flags: &[&str]) -> Stack {
    let stack = Stack::up(&[&["--query-api"], flags].concat());
    let history = ["run", "history-90d", "--events", "20000", "--days", "8", "--out", "history"];
    let loaded = stack.run("auditstorm-backfill", &history);
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    stack
}

/// Runs a profile beside the history.
fn run(stack: &Stack, profile: &str, out: &str, flags: &[&str]) -> Output {
    let path = stack.path("asked.yaml");
    fs::write(&path, profile).unwrap();
    let args = ["run", path.to_str().unwrap(), "--history", "history", "--out", out];
    stack.run("auditstorm-generator", &[&args, flags].concat())
}

/// What the summary of a run says of its queries.
fn queries(stack: &Stack, out: &str) -> Value {
    let summary = fs::read(stack.path(&format!("{out}/summary-0.json"))).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    summary["queries"].clone()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn answers_must_have_what_a_check_saw_of_a_history() {
    let stack = up(&[]);
    let unchecked = run(&stack, ALONE, "unchecked", &[]);
    assert_eq!(unchecked.status.code(), Some(0), "{}", told(&unchecked));
    assert!(told(&unchecked).contains("nobody has checked this history"), "{}", told(&unchecked));
    assert_eq!(stack.reconcile("history").0, 0);

    let right = run(&stack, ALONE, "right", &[]);
    assert_eq!(right.status.code(), Some(0), "{}", told(&right));
    let all = queries(&stack, "right");
    let [asked, answered, wrong, rows] =
        ["asked", "answered", "wrong", "rows"].map(|name| count(&all, name));
    assert_eq!((answered, wrong), (asked, 0), "{all}");
    assert!(rows > asked && count(&all, "compared") * 10 > asked * 9, "{all}");
    // No event was planned, so none can be lost, and the queries alone decide.
    let (code, report) = stack.reconcile("right");
    assert_eq!((code, &report["verdict"]), (0, &Value::from("whole")), "{report}");
    assert_eq!(report["thresholds"].as_array().unwrap().len(), 2);

    let victims = "cityHash64(audit_id) % 5 = 0";
    let ids = format!("SELECT toString(audit_id) FROM audit.audit_logs WHERE {victims}");
    let deleted: BTreeSet<String> = stack.ask(&ids).lines().map(str::to_owned).collect();
    stack.ask(&format!(
        "ALTER TABLE audit.audit_logs DELETE WHERE {victims} SETTINGS mutations_sync = 2"
    ));
    assert_eq!(run(&stack, ALONE, "lacking", &[]).status.code(), Some(0));
    let wrong = lines(&stack, "lacking/wrong-answers.jsonl");
    let missing = shown(&wrong, "missing");
    assert!(missing.len() > 100 && missing.is_subset(&deleted), "{} found", missing.len());
    let faults = wrong.iter().flat_map(|it| it["faults"].as_object().unwrap().keys());
    assert!(faults.into_iter().all(|fault| fault == "missing"), "{wrong:?}");
    assert!(count(&queries(&stack, "lacking"), "wrong") > 10);
}

#[test]
fn events_of_a_history_that_are_shown_to_another_tenant_are_found() {
    let stack = up(&["--fault", "leak:0.1"]);
    assert_eq!(run(&stack, ALONE, "run", &[]).status.code(), Some(0));
    let leaked: BTreeSet<String> = victims(&stack, "leak")
        .iter()
        .map(|line| line["auditID"].as_str().unwrap().to_owned())
        .collect();
    assert!(leaked.len() > 10, "{} leaked", leaked.len());
    assert_eq!(shown(&lines(&stack, "run/wrong-answers.jsonl"), "leaked"), leaked);
}

#[test]
fn a_history_that_is_none_is_refused_before_anything_is_sent() {
    let stack = up(&[]);
    let refused = |flags: &[&str], part: &str| {
        let output = run(&stack, BESIDE, "none", flags);
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(told(&output).contains(part), "{}", told(&output));
        assert!(!stack.path("none").exists());
    };
    refused(&["--history", "elsewhere"], "there is no run in elsewhere");
    refused(&["--no-queries"], "--no-queries");
    assert_eq!(run(&stack, BESIDE, "other", &[]).status.code(), Some(0));
    stack.reconcile("other");
    fs::copy(stack.path("other/report.json"), stack.path("history/report.json")).unwrap();
    refused(&[], "report.json is the report of another run");
    fs::write(stack.path("history/report.json"), "{").unwrap();
    refused(&[], "report.json is no report");
}
