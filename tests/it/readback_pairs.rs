//! Reads runs back through a query API with two faults at once, and expects of each fault exactly
//! its victims.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::readback::{expect, findings, found, lines, read_back, stored, text, victims};
use crate::stack::Stack;

/// What is found because pages are the real server's, beside the events that they leave out: a page
/// may begin above the end of the one before, or have nothing left to show.
const OF_PAGING: [&str; 3] = ["repeated", "ended_early", "out_of_order"];

/// The kinds of all findings.
fn kinds(result: &Value) -> BTreeSet<&str> {
    findings(result).iter().map(|it| it["fault"].as_str().unwrap()).collect()
}

/// Expects that a run is lossy, by these kinds of findings, and by none but these and those others.
#[track_caller]
fn expect_lossy((code, result): &(i32, Value), faults: &[&str], others: &[&str]) {
    assert_eq!((*code, &result["verdict"]), (1, &"lossy".into()), "{result}");
    let kinds = kinds(result);
    assert!(faults.iter().all(|fault| kinds.contains(fault)), "{kinds:?}");
    let strange: Vec<_> = kinds.iter().filter(|it| !faults.contains(it)).collect();
    assert!(strange.iter().all(|it| others.contains(it)), "{strange:?}");
}

/// Expects that exactly the victims of a fault are found, and some.
#[track_caller]
fn expect_victims(stack: &Stack, result: &Value, fault: &str, of: &str) {
    let victims = victims(stack, fault);
    assert!(!victims.is_empty(), "nobody was hit by {fault}");
    assert_eq!(found(result, of), victims, "{fault}");
}

/// Pairs of neighbours: of the sandbox's record and of the findings.
fn exchanged(stack: &Stack, result: &Value) -> [BTreeSet<(String, String)>; 2] {
    let record = lines(stack, "reorder");
    let record = record.iter().map(|line| (text(&line["auditID"]), text(&line["with"])));
    let found = findings(result).iter().filter(|it| it["fault"] == "out_of_order");
    [record.collect(), found.map(|it| (text(&it["audit_id"]), text(&it["beside"]))).collect()]
}

#[track_caller]
fn expect_exchanged(stack: &Stack, result: &Value) {
    let [record, found] = exchanged(stack, result);
    assert!(!record.is_empty(), "nothing changed its place");
    assert_eq!(found, record);
}

/// How many questions had no answer for this reason.
fn unanswered(result: &Value, kind: &str) -> u64 {
    let errors = result["errors"].as_array().unwrap();
    let of_kind = errors.iter().find(|error| error["kind"] == kind);
    of_kind.map_or(0, |error| error["count"].as_u64().unwrap())
}

#[test]
fn events_of_others_between_own_ones_that_changed_places_hide_nothing() {
    let stack = stored(&["leak:0.1", "reorder"]);
    // Many small pages end with the same event of others, and do not lead back for all that.
    let result = read_back(&stack, &["--page-sizes", "10,100", "--tenants", "2"]);
    expect(&result, 1, "lossy", &["leaked", "out_of_order"]);
    expect_victims(&stack, &result.1, "leak", "leaked");
    expect_exchanged(&stack, &result.1);
    assert_eq!(result.1["totals"]["readable"], result.1["totals"]["stored"]);
}

#[test]
fn events_of_others_do_not_hide_what_the_cursor_leaves_out() {
    let stack = stored(&["paging:real", "leak:0.05"]);
    let result = read_back(&stack, &["--page-sizes", "100", "--tenants", "4"]);
    expect_lossy(&result, &["unreachable", "leaked"], &OF_PAGING);
    expect_victims(&stack, &result.1, "paging", "unreachable");
    expect_victims(&stack, &result.1, "leak", "leaked");
    let missing = findings(&result.1).iter().filter(|it| it["fault"] == "unreachable");
    assert!(missing.into_iter().all(|it| it["blame"] == "paging"), "{}", result.1["reasons"]);
}

#[test]
fn neighbours_that_changed_places_do_not_hide_what_the_cursor_leaves_out() {
    let stack = stored(&["paging:real", "reorder"]);
    let result = read_back(&stack, &["--page-sizes", "100", "--tenants", "4"]);
    expect_lossy(&result, &["unreachable", "out_of_order"], &OF_PAGING);
    expect_victims(&stack, &result.1, "paging", "unreachable");
    let [record, found] = exchanged(&stack, &result.1);
    assert!(found.is_subset(&record), "{:?}", found.difference(&record));
    // An event that is shown again is told to be that; nobody asks where it stands.
    let again = crate::readback::found(&result.1, "repeated");
    let again: BTreeSet<String> = again.into_iter().map(|(_, id)| id).collect();
    for (first, second) in record.difference(&found) {
        assert!(again.contains(first) || again.contains(second), "{first} and {second}");
    }
}

#[test]
fn what_is_not_readable_is_found_though_the_server_fails_now_and_then() {
    let stack = stored(&["stale:60m", "error:503:0.2"]);
    let args = ["--page-sizes", "300,1000", "--wait", "3s", "--tenants", "3"];
    let result = read_back(&stack, &args);
    expect(&result, 1, "lossy", &["unreachable", "ended_early"]);
    expect_victims(&stack, &result.1, "stale", "unreachable");
    let failed = lines(&stack, "error").len() as u64;
    assert!(failed > 0);
    assert_eq!(unanswered(&result.1, "status"), failed, "{}", result.1["errors"]);
}

#[test]
fn neighbours_that_changed_places_are_found_though_answers_come_late() {
    let stack = stored(&["slow:4s:0.1", "reorder"]);
    let args = ["--page-sizes", "100,300", "--tenants", "3", "--query-timeout", "3s"];
    let result = read_back(&stack, &args);
    expect(&result, 1, "lossy", &["out_of_order"]);
    expect_exchanged(&stack, &result.1);
    let late = lines(&stack, "slow").len() as u64;
    assert!(late > 0);
    // On a busy machine, others come late too.
    assert!(unanswered(&result.1, "timeout") >= late, "{}", result.1["errors"]);
}

#[test]
fn a_scope_that_nobody_looks_at_and_events_that_leak_are_told_apart() {
    let stack = stored(&["scope:open", "leak:0.02"]);
    let result = read_back(&stack, &["--page-sizes", "100"]);
    expect(&result, 1, "lossy", &["leaked", "scope_ignored"]);
    expect_victims(&stack, &result.1, "leak", "leaked");
    expect_open(&stack, &result.1);
}

/// Expects that the scope that nobody has was shown events, and no other.
#[track_caller]
fn expect_open(stack: &Stack, result: &Value) {
    let record: BTreeSet<String> =
        lines(stack, "scope").iter().map(|line| text(&line["scope"])).collect();
    let open = findings(result).iter().filter(|it| it["fault"] == "scope_ignored");
    let open: BTreeSet<String> = open.map(|it| text(&it["scope"])).collect();
    assert_eq!(open.len(), 1);
    assert_eq!(open, record);
}

#[test]
fn a_scope_that_nobody_looks_at_and_lost_events_are_told_apart() {
    let stack = stored(&["scope:open", "paging:real"]);
    let result = read_back(&stack, &["--page-sizes", "100", "--tenants", "4"]);
    expect_lossy(&result, &["unreachable", "scope_ignored"], &OF_PAGING);
    // What is not on the one page that nobody should be shown is missed by nobody.
    let mut victims = victims(&stack, "paging");
    victims.retain(|(scope, _)| scope != "platform");
    assert!(!victims.is_empty());
    assert_eq!(found(&result.1, "unreachable"), victims);
    expect_open(&stack, &result.1);
}

#[test]
fn a_replica_that_is_late_is_waited_for_though_events_of_others_are_shown() {
    let stack = stored(&["stale:20s", "leak:0.05"]);
    let result = read_back(&stack, &["--page-sizes", "100", "--tenants", "4"]);
    expect(&result, 1, "lossy", &["leaked"]);
    expect_victims(&stack, &result.1, "leak", "leaked");
    // On a busy machine, nothing may be hidden any more when the first question comes.
    let is_late = result.1["totals"]["late"] != 0;
    assert_eq!(is_late, !victims(&stack, "stale").is_empty(), "{}", result.1["totals"]);
    assert_eq!(result.1["totals"]["readable"], result.1["totals"]["stored"]);
}
