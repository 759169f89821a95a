//! Before a question is asked, the table says what it has of the answer.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::query_load::{PROFILE, count, lines, run, shown, victims};
use crate::stack::Stack;

/// The events that a fault has hidden.
fn hidden(stack: &Stack, fault: &str) -> BTreeSet<String> {
    let lines = victims(stack, fault);
    lines.iter().map(|line| line["auditID"].as_str().unwrap().to_owned()).collect()
}

/// The kinds of all that is wrong.
fn faults(wrong: &[Value]) -> BTreeSet<&str> {
    let faults = wrong.iter().flat_map(|it| it["faults"].as_object().unwrap().keys());
    faults.map(String::as_str).collect()
}

/// Runs the profile once more, with these flags, and with the table named or not.
fn run_again(stack: &Stack, out: &str, flags: &[&str], is_named: bool) -> (Value, String) {
    let path = stack.path("asked.yaml");
    let args = [&["run", path.to_str().unwrap(), "--json", "-v", "--out", out], flags].concat();
    let mut command = stack.command("auditstorm-generator", &args);
    if !is_named {
        command.env_remove("CLICKHOUSE_URL");
    }
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    (summary["queries"].clone(), told)
}

#[test]
fn an_answer_without_what_the_table_had_before_is_wrong_and_in_doubt_it_is_not() {
    let (stack, queries) = run(&["stale:3s"], PROFILE);
    assert!(count(&queries, "witnessed") > 20, "{queries}");
    let wrong = lines(&stack, "run/wrong-answers.jsonl");
    let overlooked = shown(&wrong, "overlooked");
    assert!(overlooked.len() > 20, "{} are found", overlooked.len());
    assert!(overlooked.is_subset(&hidden(&stack, "stale")));
    assert_eq!(faults(&wrong), BTreeSet::from(["overlooked"]));

    let (queries, _) = run_again(&stack, "unnamed", &[], false);
    assert_eq!(["witnessed", "wrong"].map(|name| count(&queries, name)), [0, 0], "{queries}");
    // Nobody knows what is behind a view, or who else answers.
    stack.ask("CREATE VIEW audit.shown AS SELECT * FROM audit.audit_logs");
    let (queries, told) = run_again(&stack, "view", &["--table", "audit.shown"], true);
    assert_eq!(["witnessed", "wrong"].map(|name| count(&queries, name)), [0, 0], "{queries}");
    assert!(told.contains("its engine is View: another server may answer"), "{told}");
}

#[test]
fn what_pages_leave_out_is_found_while_events_are_written() {
    let questions = "    - {name: pages, scope: tenant, range: 1h, limit: 7, pages: 6}\n";
    let profile = PROFILE.replace("thresholds:", &format!("  templates:\n{questions}thresholds:"));
    let profile = profile.replace("rate: 20/s, tenants: 10", "rate: 60/s, tenants: 3");
    let (stack, _) = run(&["paging:real"], &profile);
    let wrong = lines(&stack, "run/wrong-answers.jsonl");
    let overlooked = shown(&wrong, "overlooked");
    assert!(overlooked.len() > 20, "{} are found", overlooked.len());
    assert!(overlooked.is_subset(&hidden(&stack, "paging")));
    let of_paging = ["overlooked", "vanished", "repeated", "out_of_order", "endless"];
    assert!(faults(&wrong).is_subset(&BTreeSet::from(of_paging)), "{:?}", faults(&wrong));
}
