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
        demo bb218d5bbf2fec115840491f3de7d08ff417cb7e9b0be8d4518984fe61c8fb58
        smoke 64e1e64a51c60a84473131658100eafdebb1d1b1c9114736717a1d5234579abe
        baseline 4e17c590eb291ecdade6ddd158a66933128a1d05312f06ffe0c4f5bc45b75c13
        steady-state bb218d5bbf2fec115840491f3de7d08ff417cb7e9b0be8d4518984fe61c8fb58
        tenant-growth 22daddaf733cadcd9e7cabcb2478095f87f4a41952e9754f3ff4e72b792fbf78
        write-storm fc4a3ff80cca37f9a09f3b360a93b28b6609af03bbb505a9ed8b4d1f94412384
        peak-load fa058b2bd42f036ed3a26cb83e2e89ea60597d74ddb03b3984771ad9154e0f0e
        query-storm 5adb666cb7c18711eccbc6a39ea9a9d42b8b15f3efab93837019fd08cc345749
        stress 52f9131fb4b09070d38d840e5a00678759dbe91fcc0e75b24e996d97a6f843f7
        spike bb218d5bbf2fec115840491f3de7d08ff417cb7e9b0be8d4518984fe61c8fb58
        soak b5d531e1046050955896afe8a018f3c25e281f553bf58dcf89ded5379c4d8f19
        history-90d 734b64d4e208d0c330cafdd24ceac356701d671327eb67c46b110e6810ea97cc
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
