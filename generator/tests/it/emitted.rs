//! One profile and seed, the same bytes: on every machine, in every run.

use assert_cmd::Command;
use sha2::{Digest as _, Sha256};

fn emit(args: &[&str]) -> Vec<u8> {
    let mut command = Command::cargo_bin("auditstorm-generator").unwrap();
    let output = command.arg("emit").args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn fingerprint(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

#[test]
fn two_runs_emit_equal_bytes_and_another_seed_others() {
    let args = ["demo", "--events", "5000"];
    let first = emit(&args);
    assert_eq!(String::from_utf8_lossy(&first).lines().count(), 5_000);
    assert!(first == emit(&args), "two runs of one seed differ");
    assert!(first != emit(&[&args[..], &["--seed", "43"]].concat()));
}

/// A change of these is a change of every run that anyone has recorded: say why in its commit.
#[test]
fn the_first_ten_thousand_events_of_each_profile_are_known() {
    let check = |profile: &str, expected: &str| {
        let events = if profile == "smoke" { "6000" } else { "10000" };
        assert_eq!(fingerprint(&emit(&[profile, "--events", events])), expected, "{profile}");
    };
    check("demo", "49ff9796968d34c02cb53522678259ddf0491d9e66e08f0d29361fc072cbbd98");
    check("smoke", "5e80cd5dc1332b4c7de6d0c3afdaa391df216a32b5044408c8721458afcd39dd");
}

#[test]
fn events_come_in_the_order_of_their_due_times() {
    let bytes = emit(&["demo", "--events", "20000"]);
    let mut last = String::new();
    for line in String::from_utf8(bytes).unwrap().lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let at = event["stageTimestamp"].as_str().unwrap().to_owned();
        assert!(at >= last, "{at} after {last}");
        last = at;
    }
}
