//! One profile and seed, the same bytes: on every machine, in every run.

use assert_cmd::Command;
use expect_test::expect;
use harness::profile::BUILTIN;
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
    let seen = BUILTIN.map(|(name, _)| {
        let events = if name == "smoke" { "6000" } else { "10000" };
        format!("{name} {}\n", fingerprint(&emit(&[name, "--events", events])))
    });
    expect![[r#"
        demo 8b95dbbccb72e2e4dc961ad4482b974373a1a10617f4258ada62fe9dd8f4eba6
        smoke b2439f49afab61d8e1d97d1b156842aa5926d693037554694fba375bc5394115
        baseline d1f0b5fda340c52e75e6884469eb53edfa4666a036182aba92faaa6d5776e92c
        steady-state 8b95dbbccb72e2e4dc961ad4482b974373a1a10617f4258ada62fe9dd8f4eba6
        tenant-growth 46da33ab052a27b2c3a088c5b7616f7b73f352f80bda2088c18081d6a76fcc33
        write-storm b40cd4698f5528d44344c511aa16a3b8f15a0973b71eeab570a22b9e3f7a8b20
        peak-load 11a09d09d8c1bccd0ecc8d011617a9970e682c69749af3871a7c043d0ca14d80
        query-storm 80b80cda7fb77cb84f5b488e3435f2c98eddc66d679c522ebc02ed11e11cbc41
        stress 9b4cec1bb767f1da12130235e118b4a31c02d294bac5c97792c87d97e0f6f6c2
        spike 8b95dbbccb72e2e4dc961ad4482b974373a1a10617f4258ada62fe9dd8f4eba6
        soak 127115edb6b07ea4cbc23a5624ece606db37eb0ddbd8aec21f7c4e777f955b1e
        history-90d 079071c29fc202360ff0d17ff6fa1f075164fdede23dfeb0b1d39467a6d4255b
    "#]]
    .assert_eq(&seen.concat());
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
