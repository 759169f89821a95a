//! One profile and seed, the same bytes: on every machine, in every run.

use assert_cmd::Command;
use expect_test::expect;
use plans::profile::BUILTIN;
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
        demo eb92f8932bb8fd85c7e4632b06afdf481b8d6dcfb7305be97488bba71286d7ca
        smoke e3b2620f8be159771a9a1985ee6c54536b420d3c7c9bea5de892601801318a6a
        baseline 8f1a3355e6c0750c1b957f5c32b6df67c86ccd6993bf0edf84ff5e7082617346
        steady-state eb92f8932bb8fd85c7e4632b06afdf481b8d6dcfb7305be97488bba71286d7ca
        tenant-growth dd6329d001db0d551623f1845dab21518accfef2c4f89c32ad777a65ff5abe9f
        write-storm f9adea0c4eed42d22914e501ca6fca857c7dc7133d3ed994b88641e024b60407
        peak-load 6027de1e7cc044953de9de00f4965d744cb84077ab17938d3c7c8e141b137574
        query-storm abd512fd5fe5f1caca32c58087c9231425144c9d1f8e75d5e5597f42e41d5776
        stress 0f53fe209fbb0cd6247aeeebb1c2c34ea9b26c68c821d5b71de404fcf2886508
        spike eb92f8932bb8fd85c7e4632b06afdf481b8d6dcfb7305be97488bba71286d7ca
        soak 8bb77e706d4eeb2ce95f3907ae9aeb7c0f745aca70218f033b86c09eaaa1bfb3
        history-90d 72dc94d5f4b71424b9b1f374e69093b88dd56e03a6afc07ebd3753fc3159543d
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
