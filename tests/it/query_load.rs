//! Users query while events are written, and every answer is checked.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::stack::Stack;

/// Ten tenants for some seconds, and eight users who hardly think.
pub(crate) const PROFILE: &str = "name: asked\nmix: cluster\n\
    stages: [{duration: 15s, rate: 20/s, tenants: 10}]\n\
    send: {batch_events: 50, batch_age: 200ms, lateness_max: 30s}\n\
    queries:\n  \
      stages: [{duration: 3s, users: 0 -> 8}, {duration: 12s, users: 8}]\n  \
      think_min: 50ms\n  think_max: 300ms\n\
    thresholds:\n  \
      queries: ['rate==100%']\n  queries.wrong: ['count==0']\n  \
      queries.tenant: ['p(95)<30s']\n  queries.platform: ['max<30s']\n";

/// Starts a pipeline whose query API has these faults, and runs the profile.
pub(crate) fn run(faults: &[&str], profile: &str) -> (Stack, Value) {
    let faults = faults.iter().flat_map(|fault| ["--fault", fault]);
    let flags: Vec<&str> = ["--query-api"].into_iter().chain(faults).collect();
    let stack = Stack::up(&flags);
    let path = stack.path("asked.yaml");
    fs::write(&path, profile).unwrap();
    stack.generate(path.to_str().unwrap(), "run");
    let summary = fs::read(stack.path("run/summary-0.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    (stack, summary["queries"].clone())
}

pub(crate) fn lines(stack: &Stack, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(stack.path(file)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn count(value: &Value, name: &str) -> u64 {
    value["counts"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// The events that show a fault, of all wrong answers.
pub(crate) fn shown(wrong: &[Value], fault: &str) -> BTreeSet<String> {
    let events = wrong.iter().flat_map(|wrong| wrong["events"].as_array().unwrap());
    let events = events.filter(|event| event["fault"] == fault);
    events.map(|event| event["audit_id"].as_str().unwrap().to_owned()).collect()
}

/// The victims of a fault of the query API.
pub(crate) fn victims(stack: &Stack, fault: &str) -> Vec<Value> {
    let lines = lines(stack, "sandbox/faults.jsonl").into_iter();
    lines.filter(|line| line["fault"] == fault).collect()
}

#[test]
fn answers_of_a_right_server_are_right_and_counts_add_up() {
    let (stack, queries) = run(&[], PROFILE);
    let all = ["asked", "answered", "failed", "wrong"].map(|name| count(&queries, name));
    let [asked, ..] = all;
    assert_eq!(all, [asked, asked, 0, 0], "{queries}");
    assert!(asked > 100 && count(&queries, "rows") > asked, "{queries}");
    assert!(count(&queries, "compared") == asked, "all answers of few users are: {queries}");
    assert!(count(&queries, "witnessed") * 4 > asked, "{queries}");
    assert!(!stack.path("run/wrong-answers.jsonl").exists());

    let records = lines(&stack, "run/queries-0.jsonl");
    let (histograms, seconds) = records.split_last().unwrap();
    assert!(histograms["histograms"]["tenant"].is_string());
    for name in ["asked", "answered", "pages", "rows", "bytes"] {
        let of_seconds: u64 = seconds.iter().map(|second| count(second, name)).sum();
        let of_kinds = queries["kinds"].as_array().unwrap().iter();
        assert_eq!(of_seconds, count(&queries, name), "{name}");
        assert_eq!(of_kinds.map(|kind| count(kind, name)).sum::<u64>(), of_seconds, "{name}");
    }
    // All users are there at the end, and none before its time.
    assert!(count(&seconds[0], "asked") < 20, "{}", seconds[0]);

    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["verdict"]), (0, &Value::from("whole")), "{report}");
    let thresholds = report["thresholds"].as_array().unwrap();
    assert_eq!(thresholds.len(), 4);
    assert!(thresholds.iter().all(|it| it["outcome"] == "passed"), "{thresholds:?}");
}

#[test]
fn events_of_others_and_a_wrong_order_are_found_and_written_down() {
    let (stack, queries) = run(&["leak:0.02", "reorder"], PROFILE);
    let wrong = lines(&stack, "run/wrong-answers.jsonl");
    assert!(count(&queries, "wrong") > 10, "{queries}");
    assert_eq!(count(&queries, "failed"), 0, "{queries}");
    let leaked: BTreeSet<String> = victims(&stack, "leak")
        .iter()
        .map(|line| line["auditID"].as_str().unwrap().to_owned())
        .collect();
    assert!(!leaked.is_empty());
    assert_eq!(shown(&wrong, "leaked"), leaked);
    assert!(!shown(&wrong, "out_of_order").is_empty());
    for answer in &wrong {
        let faults = answer["faults"].as_object().unwrap().keys();
        let others: Vec<_> =
            faults.filter(|it| !["leaked", "out_of_order"].contains(&it.as_str())).collect();
        assert!(others.is_empty(), "{answer}");
        assert!(answer["question"]["startTime"].is_string(), "{answer}");
        assert!(!answer["got"].as_array().unwrap().is_empty(), "{answer}");
    }
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["verdict"]), (5, &Value::from("whole")), "{report}");
}

#[test]
fn a_query_without_an_answer_has_failed_and_is_not_wrong() {
    let (stack, queries) = run(&["error:503:0.1"], PROFILE);
    let [asked, answered, failed, wrong] =
        ["asked", "answered", "failed", "wrong"].map(|name| count(&queries, name));
    assert_eq!((answered + failed, wrong), (asked, 0), "{queries}");
    assert!(failed > 0, "{queries}");
    assert_eq!(queries["failures"], serde_json::json!({ "503": failed }));
    let made = victims(&stack, "error").len() as u64;
    // Before the run, two questions make sure that the API answers, and are asked again.
    assert!((failed..=failed + 8).contains(&made), "{failed} of {made}");
    assert!(!stack.path("run/wrong-answers.jsonl").exists());
}

#[test]
fn queries_at_a_rate_go_to_the_table_with_questions_of_ones_own() {
    let profile = "name: asked\nstages: [{duration: 10s, rate: 20/s, tenants: 10}]\n\
        send: {batch_events: 50, batch_age: 200ms, lateness_max: 30s}\n\
        queries:\n  stages: [{duration: 10s, rate: 0/s -> 20/s}]\n  \
          scopes: {tenant: 1, platform: 1, complex: 0}\n  compare: 1\n  templates:\n  \
          - {name: writes, scope: platform, range: 1h, limit: 7, pages: 3,\n     \
             filter: {verb: {in: [create, update, delete]}, status: {below: 400}}}\n\
        thresholds: {}\n";
    let stack = Stack::up(&[]);
    let path = stack.path("asked.yaml");
    fs::write(&path, profile).unwrap();
    let path = path.to_str().unwrap();
    let refused = stack.run("auditstorm-generator", &["run", path, "--out", "none"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("--query-api") && told.contains("--no-queries"), "{told}");
    assert!(!stack.path("none").exists());

    let args = ["run", path, "--query-sql", "--json", "--out", "run"];
    let output = stack.run("auditstorm-generator", &args);
    assert!(output.status.success(), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let queries = &summary["queries"];
    let counts = ["asked", "answered", "failed", "wrong"].map(|name| count(queries, name));
    assert_eq!(counts, [100, 100, 0, 0], "{queries}");
    let kinds = queries["kinds"].as_array().unwrap();
    let writes = kinds.iter().find(|kind| kind["name"] == "writes").unwrap();
    assert!(count(writes, "pages") > count(writes, "asked"), "{writes}");
    assert!(count(writes, "rows") <= 7 * count(writes, "pages"), "{writes}");
    assert!(kinds.iter().all(|kind| kind["scope"] != "complex"), "{kinds:?}");

    let args = ["run", path, "--no-queries", "--json", "--out", "events"];
    let output = stack.run("auditstorm-generator", &args);
    assert!(output.status.success(), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary["queries"].is_null() && !stack.path("events/queries-0.jsonl").exists());
}
