//! Tests of the tester: every fault of the relay leads to exactly one kind of finding.

use std::collections::BTreeSet;

use crate::stack::{Stack, found};

const FINDINGS: [&str; 7] = [
    "never_in_stream",
    "consumed_not_stored",
    "somewhere",
    "duplicated_in_stream",
    "duplicated_in_table",
    "corrupted",
    "unexpected",
];

/// Runs a profile through faults, each with the finding that it must lead to. Expects the verifier
/// to name exactly the victims, at the right hop.
#[track_caller]
fn check(faults: &[(&str, &str)]) {
    let specs: Vec<String> = faults.iter().map(|(fault, _)| format!("{fault}:0.01")).collect();
    let faults_flags = specs.iter().flat_map(|spec| ["--fault", spec]);
    let flags: Vec<&str> = ["--relay", "honest"].into_iter().chain(faults_flags).collect();
    let stack = Stack::up(&flags);
    let profile = stack.profile(200, 5, 100);
    stack.generate(&profile, "run");
    // The sandbox stops merges, so duplicates stay in the table.
    let (code, report) = stack.reconcile_with("run", &["--duplicates", "physical"]);
    assert_eq!((code, &report["verdict"]), (1, &"lossy".into()), "{}", report["reasons"]);
    for finding in FINDINGS {
        let expected: BTreeSet<String> = faults
            .iter()
            .filter(|(_, expected)| *expected == finding)
            .flat_map(|(fault, _)| {
                let (kind, at) = fault.split_once(':').unwrap();
                stack.victims(kind, at)
            })
            .collect();
        assert_eq!(found(&report, finding), expected, "{finding}");
        let is_planted = faults.iter().any(|(_, expected)| *expected == finding);
        assert_eq!(expected.is_empty(), !is_planted, "{finding}: no victims, nothing is tested");
    }
    let lost = report["totals"]["lost"].as_u64().unwrap();
    assert_eq!(report["totals"]["stored"].as_u64().unwrap() + lost, 10_000);
}

#[test]
fn events_dropped_by_the_sidecar_never_are_in_the_stream() {
    check(&[("drop:sidecar", "never_in_stream")]);
}

#[test]
fn events_dropped_by_the_aggregator_are_consumed_and_not_stored() {
    check(&[("drop:aggregator", "consumed_not_stored")]);
}

#[test]
fn events_doubled_by_the_sidecar_are_duplicated_in_the_stream() {
    check(&[("duplicate:sidecar", "duplicated_in_stream")]);
}

#[test]
fn events_doubled_by_the_aggregator_are_duplicated_in_the_table() {
    check(&[("duplicate:aggregator", "duplicated_in_table")]);
}

#[test]
fn events_changed_by_the_aggregator_are_corrupted() {
    check(&[("corrupt:aggregator", "corrupted")]);
}

#[test]
fn a_duplicate_does_not_hide_a_loss() {
    check(&[("drop:sidecar", "never_in_stream"), ("duplicate:aggregator", "duplicated_in_table")]);
}

#[test]
fn losses_at_two_hops_are_told_apart() {
    check(&[("drop:sidecar", "never_in_stream"), ("drop:aggregator", "consumed_not_stored")]);
}
