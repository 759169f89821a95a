//! Certificates, as users write and check them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};
use serde_json::Value;

use crate::stack::{Stack, program};

/// Writes a pair of keys as openssl does, too.
fn make_keys(kind: &'static SignatureAlgorithm, dir: &Path) {
    let pair = KeyPair::generate_for(kind).unwrap();
    fs::write(dir.join("key.pem"), pair.serialize_pem()).unwrap();
    fs::write(dir.join("pub.pem"), pair.public_key_pem()).unwrap();
}

fn run(args: &[&str], dir: &Path) -> Output {
    Command::new(program("auditstorm-verifier")).args(args).current_dir(dir).output().unwrap()
}

#[track_caller]
fn told(output: &Output, code: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let told = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    told
}

#[test]
fn a_run_is_certified_and_the_certificate_fits_no_other_run() {
    let stack = Stack::up(&[]);
    let text = "name: small\nstages: [{duration: 2s, rate: 100/s, tenants: 5}]\nthresholds: {}\n";
    fs::write(stack.path("small.yaml"), text).unwrap();
    for name in ["run", "other"] {
        stack.generate("small.yaml", name);
        assert_eq!(stack.reconcile(name).0, 0);
    }
    let dir = stack.path("");
    for kind in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256] {
        make_keys(kind, &dir);
        let args = ["certify", "run", "--key", "key.pem", "--out", "certificate.json"];
        told(&run(&args, &dir), 0);
        let check = |name: &str| {
            run(&["certify", name, "--verify", "certificate.json", "--key", "pub.pem"], &dir)
        };
        assert!(told(&check("run"), 0).contains("certifies the verdict whole of the run"));
        let other = told(&check("other"), 5);
        for expected in ["subject[0].digest.sha256", "plan_sha256", "stored_events.root"] {
            assert!(other.contains(expected), "{other}");
        }
        make_keys(kind, &dir);
        assert!(told(&check("run"), 5).contains("is not signed by this key"));
    }
    let statement = run(&["certify", "run", "--unsigned-statement"], &dir);
    let value: Value = serde_json::from_slice(&statement.stdout).unwrap();
    assert_eq!(value["predicate"]["result"], "PASSED");
    assert_eq!(value["predicate"]["auditstorm"]["stored_events"]["count"], 1_000);
    fs::write(dir.join("statement.json"), &statement.stdout).unwrap();
    let args = ["certify", "run", "--unsigned-statement", "--verify", "statement.json"];
    told(&run(&args, &dir), 0);
    assert!(told(&run(&["certify", "run"], &dir), 2).contains("--key"));
    fs::remove_file(dir.join("run/report.json")).unwrap();
    let refused = told(&run(&["certify", "run", "--key", "key.pem"], &dir), 2);
    assert!(refused.contains("reconcile it first"), "{refused}");
}
