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
        demo 257dcf8e2ec88cd0b6aaf50ee5acbe51dac2bd8548591e0484bf4ee44d326044
        smoke 704fecbecdd7a30b33ec370b403275d6abc0d2c783ed28b7108d7ba899c5a6cf
        baseline 63be6c5fd4288a903f7216167984382ecbebf22d820c2f198e7c8cb890cd9112
        steady-state 257dcf8e2ec88cd0b6aaf50ee5acbe51dac2bd8548591e0484bf4ee44d326044
        tenant-growth fa0c06dcad031464ee27b3f9a015fbab3ce3705a801d6f939dbfbfae1923066b
        write-storm a7decff70b5f11eb119be0f6e2d15d04783ebdb4ff7e1eff33065240dfcad587
        peak-load 2b016131ebbab16a2bef8e43263efdc0d54be68953b89fdedc4fcc99436068c6
        query-storm 591f3b698e47b56dfbf077ccaf5808e1dad093e60a0596cea8f481885024a0f1
        stress 46150547d1affb8b5d8aabfb57d094377523e0dc9cbbad041088f9ba91535ed0
        spike 257dcf8e2ec88cd0b6aaf50ee5acbe51dac2bd8548591e0484bf4ee44d326044
        soak 5f8fdf89db54a8203042ad5e8252c7a634b8c746a2675a33ac1ed33e0eae37b9
        history-90d 38662854e68cd46ab8160ce2f2ed97e578900bca8ace31091ca1a3a6f32afe0e
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
