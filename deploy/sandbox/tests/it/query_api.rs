//! The query API as a client sees it, over real tables.

mod paged;
mod tenants;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::paged::{Story, loop_story, truth};
use self::tenants::{simulated, tenants};
use super::{Sandbox, exchange, http, run};

const EVENTS: &str = "auditlogqueries";
const FACETS: &str = "auditlogfacetsqueries";

/// The scope headers of a project.
fn project(name: &str) -> Vec<(&'static str, String)> {
    scope("Project", name)
}

fn scope(kind: &str, name: &str) -> Vec<(&'static str, String)> {
    let header = |part| match part {
        0 => "X-Remote-Extra-Iam.miloapis.com%2fparent-Type",
        _ => "X-Remote-Extra-Iam.miloapis.com%2fparent-Name",
    };
    vec![(header(0), kind.to_owned()), (header(1), name.to_owned())]
}

impl Sandbox {
    fn store(&self, events: &[Value]) {
        let rows = events.iter().map(|event| json!({ "event_json": event.to_string() }));
        let rows: Vec<String> = rows.map(|row| row.to_string()).collect();
        let insert = "INSERT INTO audit.audit_logs (event_json) FORMAT JSONEachRow";
        let body = format!("{insert}\n{}", rows.join("\n"));
        let answer = http(&self.address("CLICKHOUSE_URL"), "/", &body).unwrap();
        assert_eq!(answer.0, 200, "{}", answer.1);
    }

    fn query(&self, resource: &str, headers: &[(&str, String)], spec: &Value) -> (u16, Value) {
        let with_user =
            [&[("X-Remote-User", "alice@example.com".to_owned())][..], headers].concat();
        self.raw_query(resource, &with_user, spec)
    }

    fn raw_query(&self, resource: &str, headers: &[(&str, String)], spec: &Value) -> (u16, Value) {
        let address = self.address("QUERY_API_URL");
        let body = json!({ "metadata": { "name": "q" }, "spec": spec }).to_string();
        let headers: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let headers = headers.concat();
        let request = format!(
            "POST /apis/activity.miloapis.com/v1alpha1/{resource} HTTP/1.0\r\nHost: {address}\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, body) = exchange(&address, &request).unwrap();
        (status, serde_json::from_str(&body).unwrap())
    }

    /// The audit IDs of all pages, one list for each; stops when a page begins that was there.
    fn pages(&self, headers: &[(&str, String)], filter: &str, limit: usize) -> Vec<Vec<String>> {
        let mut spec = json!({
            "startTime": "2026-03-01T00:00:00Z",
            "endTime": "2026-03-08T00:00:00Z",
            "filter": filter,
            "limit": limit,
        });
        let mut pages = Vec::new();
        let mut seen = BTreeSet::new();
        loop {
            let (status, answer) = self.query(EVENTS, headers, &spec);
            assert_eq!(status, 201, "{answer}");
            pages.push(ids_of(&answer));
            let Some(next) = answer["status"]["continue"].as_str() else { return pages };
            let ends_anew = seen.insert(pages.last().unwrap().last().cloned());
            if !ends_anew {
                return pages;
            }
            spec["continue"] = next.into();
        }
    }
}

fn ids_of(answer: &Value) -> Vec<String> {
    let results = answer["status"]["results"].as_array().cloned().unwrap_or_default();
    results.iter().map(|event| event["auditID"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_event_is_shown_once_unless_pages_are_real() {
    let mut sandbox = Sandbox::up(&["--query-api"]);
    let burst = Story::burst("acme-shop");
    let looping = loop_story("loop-demo");
    sandbox.store(&burst.events);
    sandbox.store(&looping.events);
    let expected = truth(&burst.rows);
    for limit in [1, 7, 100, 1_000] {
        let pages = sandbox.pages(&project("acme-shop"), "", limit);
        assert_eq!(pages.concat(), expected, "limit {limit}");
        assert_eq!(pages.len(), expected.len().div_ceil(limit), "limit {limit}");
    }
    let all = sandbox.pages(&project("loop-demo"), "", 100);
    assert_eq!(all.concat(), truth(&looping.rows));
    // Other orders of other scopes.
    let everything: BTreeSet<String> =
        [&burst.rows, &looping.rows].into_iter().flatten().map(|row| row.id.clone()).collect();
    let users = "user.username != 'nobody'";
    for (headers, filter) in
        [(vec![], ""), (vec![], users), (scope("User", "u-1"), ""), (scope("User", "u-1"), users)]
    {
        let ids = sandbox.pages(&headers, filter, 97).concat();
        assert_eq!(ids.len(), everything.len(), "{headers:?} {filter}");
        assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), everything);
    }

    let down = run(&["down", "--dir", &sandbox.dir_text()]);
    assert!(down.status.success(), "{down:?}");
    sandbox.child.wait().unwrap();
    sandbox.start(&["--query-api", "--fault", "paging:real"]);
    for limit in [1, 7, 100, 1_000] {
        let pages = sandbox.pages(&project("acme-shop"), "", limit);
        assert_eq!(pages, simulated(&burst.rows, limit), "limit {limit}");
    }
    check_loops(&sandbox, &looping);
    check_victims(&sandbox, &burst);
}

/// What the real server does with 900 events of which one took five minutes.
fn check_loops(sandbox: &Sandbox, looping: &Story) {
    for (limit, shown, repeated) in [(50, 400, true), (100, 400, true), (133, 900, false)] {
        let pages = sandbox.pages(&project("loop-demo"), "", limit);
        assert_eq!(pages, simulated(&looping.rows, limit), "limit {limit}");
        let ids = pages.concat();
        let distinct: BTreeSet<&String> = ids.iter().collect();
        assert_eq!((distinct.len(), ids.len() > distinct.len()), (shown, repeated), "{limit}");
    }
    let ids = sandbox.pages(&project("loop-demo"), "", 200).concat();
    let distinct: BTreeSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (1_200, 900), "300 are shown again");
}

/// Exactly the events that no page showed are on record.
fn check_victims(sandbox: &Sandbox, burst: &Story) {
    let record = sandbox.dir.path().join("faults.jsonl");
    std::fs::write(&record, "").unwrap();
    let restarted = run(&["restart", "--dir", &sandbox.dir_text(), "query-api"]);
    assert!(restarted.status.success(), "{restarted:?}");
    let shown: BTreeSet<String> =
        sandbox.pages(&project("acme-shop"), "", 100).concat().into_iter().collect();
    let all: BTreeSet<String> = burst.rows.iter().map(|row| row.id.clone()).collect();
    let missing: BTreeSet<String> = all.difference(&shown).cloned().collect();
    assert!(missing.len() > 100, "only {} are missing", missing.len());
    assert_eq!(victims(sandbox, "paging"), missing);
}

fn victims(sandbox: &Sandbox, fault: &str) -> BTreeSet<String> {
    let lines = sandbox.faults().into_iter().filter(|line| line["fault"] == fault);
    lines
        .map(|line| {
            assert_eq!(line["at"], "query-api");
            let victim = line.get("auditID").unwrap_or(&line["request"]);
            victim.as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn pages_of_dense_and_sparse_tenants_are_those_of_the_rules_one_by_one() {
    let sandbox = Sandbox::up(&["--query-api", "--fault", "paging:real"]);
    let tenants = tenants(10);
    for tenant in &tenants {
        let events: Vec<Value> = (0..tenant.moments.len()).map(|n| tenant.event(n).0).collect();
        sandbox.store(&events);
    }
    for tenant in &tenants {
        let rows = tenant.rows();
        for limit in [100, 1_000] {
            let pages = sandbox.pages(&scope(tenant.kind, tenant.name), "", limit);
            assert!(pages == simulated(&rows, limit), "{} in pages of {limit}", tenant.name);
            let shown: BTreeSet<&String> = pages.iter().flatten().collect();
            // A page of 1,000 may end where a second does.
            let may_be_lossy = tenant.name != "sparse";
            assert!(may_be_lossy || shown.len() == rows.len(), "{limit}");
            assert!(!may_be_lossy || limit > 100 || shown.len() < rows.len(), "{}", tenant.name);
        }
    }
}

#[test]
fn events_that_nothing_tells_apart_are_shown_once_too() {
    let sandbox = Sandbox::up(&["--query-api"]);
    let mut events = Story::burst("acme-shop").events[..40].to_vec();
    for (n, event) in events.iter_mut().enumerate() {
        // No UUID, so all of them have the same one in the table.
        event["auditID"] = format!("id-{n}").into();
        event["user"]["username"] = format!("user-{n}").into();
        for time in ["requestReceivedTimestamp", "stageTimestamp"] {
            event[time] = "2026-03-01T12:00:00.000000Z".into();
        }
    }
    sandbox.store(&events);
    for limit in [1, 7, 39, 40] {
        let ids = sandbox.pages(&[], "", limit).concat();
        let distinct: BTreeSet<&String> = ids.iter().collect();
        assert_eq!((ids.len(), distinct.len()), (40, 40), "limit {limit}");
    }
}

#[test]
fn a_query_api_is_a_part_like_the_others() {
    let mut sandbox = Sandbox::up(&["--query-api"]);
    let spec = json!({ "startTime": "now-1h", "endTime": "now" });
    let before = sandbox.address("QUERY_API_URL");
    let (status, answer) = sandbox.raw_query(EVENTS, &[], &spec);
    assert_eq!((status, &answer["reason"]), (401, &json!("Unauthorized")));
    assert_eq!(sandbox.query(EVENTS, &[], &spec).0, 201);
    assert_eq!(sandbox.query("eventqueries", &[], &spec).0, 404);
    // A scope that is not known shows nothing, though the real server shows everything.
    let (status, answer) = sandbox.query(EVENTS, &scope("organization", "acme"), &spec);
    assert_eq!((status, &answer["reason"]), (403, &json!("Forbidden")));
    assert_eq!(sandbox.query(FACETS, &scope("Folder", "x"), &spec).0, 403);

    for (part, expected) in [("clickhouse", 503), ("query-api", 0)] {
        let order = |act| {
            let done = run(&[act, "--dir", &sandbox.dir_text(), part]);
            assert!(done.status.success(), "{done:?}");
        };
        order("stop");
        if expected == 503 {
            let (status, answer) = sandbox.query(EVENTS, &[], &spec);
            assert_eq!(status, 503);
            let message = answer["message"].as_str().unwrap();
            assert!(message.starts_with("Failed to execute query."), "{message}");
        } else {
            assert!(exchange(&before, "GET /readyz HTTP/1.0\r\n\r\n").is_none());
        }
        order("start");
        assert_eq!(sandbox.query(EVENTS, &[], &spec).0, 201, "{part}");
    }
    let metrics = exchange(&before, "GET /metrics HTTP/1.0\r\n\r\n").unwrap().1;
    assert!(metrics.contains("activity_clickhouse_query_total{status=\"success\"}"), "{metrics}");

    let down = run(&["down", "--dir", &sandbox.dir_text()]);
    assert!(down.status.success(), "{down:?}");
    sandbox.child.wait().unwrap();
    sandbox.start(&["--query-api"]);
    assert_eq!(sandbox.address("QUERY_API_URL"), before);
}

#[test]
fn facets_count_what_the_table_has() {
    let sandbox = Sandbox::up(&["--query-api"]);
    let burst = Story::burst("acme-shop");
    sandbox.store(&burst.events);
    let spec = json!({
        "timeRange": { "start": "2026-03-01T00:00:00Z", "end": "2026-03-08T00:00:00Z" },
        "facets": [{ "field": "verb" }, { "field": "responseStatus.code", "limit": 1 }],
    });
    let (status, answer) = sandbox.query(FACETS, &project("acme-shop"), &spec);
    assert_eq!(status, 201, "{answer}");
    let counts = &answer["status"]["facets"];
    let count = |verb| burst.events.iter().filter(|event| event["verb"] == verb).count();
    for value in counts[0]["values"].as_array().unwrap() {
        assert_eq!(value["count"], count(value["value"].as_str().unwrap()), "{value}");
    }
    assert_eq!(counts[1]["values"], json!([{ "value": "200", "count": burst.events.len() }]));
    let (_, nobody) = sandbox.query(FACETS, &project("nobody"), &spec);
    assert_eq!(nobody["status"]["facets"][0], json!({ "field": "verb" }));
}

#[test]
fn ordered_faults_of_reading_are_done_and_recorded() {
    let orders = ["leak:0.05", "reorder", "error:503:0.1", "slow:5ms:0.2", "scope:open"];
    let flags: Vec<&str> = orders.iter().flat_map(|order| ["--fault", order]).collect();
    let sandbox = Sandbox::up(&[&["--query-api", "--seed", "7"][..], &flags].concat());
    let burst = Story::burst("acme-shop");
    let other = loop_story("loop-demo");
    sandbox.store(&burst.events);
    sandbox.store(&other.events);
    let (mut spec, mut failed, mut shown) = (
        json!({
            "startTime": "2026-03-01T00:00:00Z", "endTime": "2026-03-08T00:00:00Z", "limit": 50,
        }),
        0,
        Vec::new(),
    );
    loop {
        let (status, answer) = sandbox.query(EVENTS, &project("acme-shop"), &spec);
        if status == 503 {
            failed += 1;
            continue;
        }
        let ids = ids_of(&answer);
        assert!(ids.len() <= 50);
        shown.extend(ids);
        let Some(next) = answer["status"]["continue"].as_str() else { break };
        spec["continue"] = next.into();
    }
    let own: BTreeSet<String> = burst.rows.iter().map(|row| row.id.clone()).collect();
    let foreign: BTreeSet<String> = shown.iter().filter(|id| !own.contains(*id)).cloned().collect();
    assert!(!foreign.is_empty(), "nothing was leaked");
    assert_eq!(victims(&sandbox, "leak"), foreign);
    assert_eq!(victims(&sandbox, "error").len(), failed);
    assert!(!victims(&sandbox, "reorder").is_empty());
    let own_shown: Vec<String> = shown.into_iter().filter(|id| own.contains(id)).collect();
    let expected = truth(&burst.rows);
    assert_ne!(own_shown, expected, "nothing changed its place");
    assert_eq!(own_shown.into_iter().collect::<BTreeSet<_>>(), own, "and nothing is lost");
    // A scope that is not known shows all, and that is on record too.
    assert!(victims(&sandbox, "scope").is_empty());
    let mut spec = spec;
    spec.as_object_mut().unwrap().remove("continue");
    let status = sandbox.query(EVENTS, &scope("Folder", "x"), &spec).0;
    assert!(matches!(status, 201 | 503));
    assert_eq!(victims(&sandbox, "scope").len(), usize::from(status == 201));
}

#[test]
fn a_stale_api_does_not_show_what_is_new() {
    let sandbox = Sandbox::up(&["--query-api", "--fault", "stale:5m"]);
    let now = "SELECT formatDateTime(now64(6) - INTERVAL 2 SECOND, '%Y-%m-%dT%H:%i:%S.%fZ')";
    let burst = Story::burst("acme-shop");
    let mut events = burst.events[..2].to_vec();
    events[0]["requestReceivedTimestamp"] = sandbox.ask(now).into();
    let old = "SELECT formatDateTime(now64(6) - INTERVAL 6 MINUTE, '%Y-%m-%dT%H:%i:%S.%fZ')";
    events[1]["requestReceivedTimestamp"] = sandbox.ask(old).into();
    sandbox.store(&events);
    let id = |index: usize| events[index]["auditID"].as_str().unwrap().to_owned();
    let spec = json!({ "startTime": "now-1h", "endTime": "now" });
    let (status, answer) = sandbox.query(EVENTS, &project("acme-shop"), &spec);
    assert_eq!((status, ids_of(&answer)), (201, vec![id(1)]), "{answer}");
    assert_eq!(victims(&sandbox, "stale"), BTreeSet::from([id(0)]));
}

#[test]
fn orders_that_do_not_fit_are_refused_and_an_address_is_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_string_lossy().into_owned();
    let check = |flags: &[&str], expected: &str| {
        let refused = run(&[&["up", "--dir", &dir][..], flags].concat());
        let story = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{story}");
        assert!(story.contains(expected), "{story}");
    };
    check(&["--fault", "paging:real"], "add --query-api without an address");
    check(&["--query-api", "http://127.0.0.1:9", "--fault", "reorder"], "add --query-api");
    check(&["--query-api", "--fault", "reorder", "--fault", "reorder"], "ordered twice");
    check(&["--query-api", "nonsense"], "is no address");
    let script = "test \"$QUERY_API_URL\" = https://api.example:6443";
    let words = ["--query-api", "https://api.example:6443/", "--", "sh", "-c", script];
    let done = run(&[&["up", "--dir", &dir][..], &words].concat());
    assert_eq!(done.status.code(), Some(0), "{done:?}");
}

#[test]
fn a_simulation_is_not_right_by_chance() {
    // The rules that are simulated lose rows at these limits, and none where each page is whole.
    let burst = Story::burst("p");
    for limit in [1, 7, 100] {
        let shown: BTreeSet<String> = simulated(&burst.rows, limit).concat().into_iter().collect();
        assert!(shown.len() < burst.rows.len(), "limit {limit}");
    }
    assert_eq!(simulated(&burst.rows, 1_000).concat(), truth(&burst.rows));
}
