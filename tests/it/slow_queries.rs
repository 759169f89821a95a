//! The slowest queries of a run are kept, and what they cost is looked up in ClickHouse's own log.

use std::fs;

use serde_json::Value;

use crate::accounts::USERS;
use crate::stack::Stack;

/// Ten tenants for some seconds, and eight users who hardly think.
const PROFILE: &str = "name: asked\nmix: cluster\n\
    stages: [{duration: 15s, rate: 20/s, tenants: 10}]\n\
    send: {batch_events: 50, batch_age: 200ms, lateness_max: 30s}\n\
    queries: {stages: [{duration: 15s, users: 8}], think_min: 50ms, think_max: 300ms}\n\
    thresholds: {}\n";

/// What the fault makes a query wait for, in ms.
const SLOW_MS: f64 = 500.0;

fn read(stack: &Stack, file: &str) -> Value {
    let text = fs::read(stack.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    serde_json::from_slice(&text).unwrap()
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("no {name} in {value}"))
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

fn latencies_ms(slowest: &[Value]) -> Vec<f64> {
    slowest.iter().map(|query| query["latency_ms"].as_f64().unwrap()).collect()
}

/// Runs the profile with these flags. Returns the slowest queries of its summary.
fn run(stack: &Stack, out: &str, flags: &[&str]) -> Vec<Value> {
    let path = stack.path("asked.yaml");
    fs::write(&path, PROFILE).unwrap();
    let args = [&["run", path.to_str().unwrap(), "--out", out], flags].concat();
    let output = stack.run("auditstorm-generator", &args);
    assert!(output.status.success(), "{output:?}");
    let summary = read(stack, &format!("{out}/summary-0.json"));
    list(&summary["queries"], "slowest").to_vec()
}

/// Checks that a cost is that of the statement with which a query was asked.
fn check_cost(stack: &Stack, query: &Value, cost: &Value) {
    let logged = stack.ask(&format!(
        "SELECT query FROM system.query_log WHERE query_id = '{}' AND type = 'QueryFinish' \
         FORMAT TSVRaw",
        text(cost, "query_id")
    ));
    let question = &query["question"];
    let limit = question["limit"].as_u64().unwrap() + 1;
    assert!(logged.ends_with(&format!("LIMIT {limit}")), "{query}: {logged}");
    let (_, name) = text(question, "scope").split_once('/').unwrap_or_default();
    assert!(logged.contains(&format!("scope_name = '{name}'")) != name.is_empty(), "{logged}");
    for part in text(query, "filter_sql").split(" AND ") {
        let inside = part.split(" IN ").next().unwrap();
        assert!(logged.contains(inside), "{part} is not in {logged}");
    }
    let [rows, result_rows] = [&query["rows"], &cost["result_rows"]].map(|it| it.as_u64().unwrap());
    assert!((rows..=rows + 1).contains(&result_rows), "{query}: {cost}");
    let [read_rows, read_bytes, memory] =
        ["read_rows", "read_bytes", "memory_bytes"].map(|name| cost[name].as_u64().unwrap());
    assert!(read_rows >= result_rows && (read_bytes > 0) == (read_rows > 0), "{cost}");
    assert!(memory > 0, "{cost}");
    // Both clocks are one, and text of this form is in the order of time.
    assert!(text(cost, "started") >= text(query, "asked"), "{query}: {cost}");
}

#[test]
fn the_slowest_queries_are_known_with_what_they_cost_at_both_doors() {
    let stack = Stack::up(&["--query-api", "--fault", "slow:500ms:0.05"]);
    let slowest = run(&stack, "api", &[]);
    let latencies = latencies_ms(&slowest);
    assert_eq!(latencies.len(), 20);
    assert!(latencies.is_sorted_by(|one, other| one >= other), "{latencies:?}");
    let faults = fs::read_to_string(stack.path("sandbox/faults.jsonl")).unwrap();
    let made = faults.lines().filter(|line| line.contains("\"slow\"")).count();
    // Before the run, two questions make sure that the API answers.
    let hit = latencies.iter().filter(|latency| **latency >= SLOW_MS).count();
    assert!(made > 2 && hit >= (made - 2).min(20), "{made} were made slow: {latencies:?}");
    // A generator that is killed leaves the same.
    let records = fs::read_to_string(stack.path("api/queries-0.jsonl")).unwrap();
    let of_seconds = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_seconds: Vec<Value> =
        of_seconds.filter_map(|it| it["slowest"].as_array().cloned()).flatten().collect();
    assert!(slowest.iter().all(|query| of_seconds.contains(query)));
    assert!(of_seconds.len() < 75, "5 of each second at most, and fewer later");

    let (code, _) = stack.reconcile_with("api", &["--report"]);
    assert_eq!(code, 0);
    let costs = read(&stack, "api/query-costs.json");
    let queries = list(&costs, "queries");
    assert_eq!(queries.len(), 20);
    let mut sure = 0;
    for it in queries {
        assert!(it["query"]["query_id"].is_null(), "{it}");
        let found = list(it, "costs");
        assert!(!found.is_empty(), "not found: {it}, {}", costs["notes"]);
        assert_eq!(it["statements"], found.len());
        if let [cost] = found {
            check_cost(&stack, &it["query"], cost);
            sure += 1;
        }
    }
    assert!(sure >= 10, "{costs}");
    for page in ["api/report.md", "api/report.html"] {
        let page = fs::read_to_string(stack.path(page)).unwrap();
        assert!(page.contains("Slowest queries") && page.contains("in ClickHouse"), "{page}");
    }

    let slowest = run(&stack, "sql", &["--query-sql"]);
    let output = stack.run("auditstorm-verifier", &["reconcile", "sql", "--quiet", "8s"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("\nslowest queries\n"), "{told}");
    let costs = read(&stack, "sql/query-costs.json");
    assert_eq!(costs["notes"], serde_json::json!([]));
    for (it, query) in list(&costs, "queries").iter().zip(&slowest) {
        assert_eq!(it["query"]["query_id"], query["query_id"]);
        let [cost] = list(it, "costs") else { panic!("{it}") };
        assert_eq!(text(cost, "query_id"), text(query, "query_id"));
        check_cost(&stack, query, cost);
    }
    check_weak_account(&stack);
}

/// An account that may read the table and not the log gets a note, and its verdict; what was known
/// before is kept.
fn check_weak_account(stack: &Stack) {
    let before = read(stack, "sql/query-costs.json");
    fs::remove_file(stack.path("api/query-costs.json")).unwrap();
    fs::write(stack.path("sandbox/clickhouse/users.xml"), USERS).unwrap();
    stack.restart("clickhouse", "100ms");
    // The server makes the table of its log when it writes to it for the first time.
    stack.ask("SYSTEM FLUSH LOGS");
    let account = ["--clickhouse-user", "reader", "--clickhouse-password", "r", "--quiet", "8s"];
    let args = [&["reconcile", "api", "sql"], &account[..]].concat();
    let output = stack.run("auditstorm-verifier", &args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    let note = "note: the costs in ClickHouse are not known: user \"reader\" may not read the log";
    assert_eq!(told.matches(note).count(), 2, "{told}");
    let costs = read(stack, "api/query-costs.json");
    assert!(list(&costs, "queries").iter().all(|it| it["costs"] == serde_json::json!([])));
    assert_eq!(list(&read(stack, "sql/query-costs.json"), "queries"), list(&before, "queries"));
}
