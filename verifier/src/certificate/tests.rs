//! Tests of certificates.

use std::path::Path;

use plans::spec::{RunOptions, Span};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};
use runs::ranges::RangeSet;
use runs::report::fates::{Fates, Totals};
use runs::report::verdict::Verdict;
use runs::report::{TenantReport, ThresholdOutcome, ThresholdResult};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

/// A run of two tenants with 100 events each, of which one is lost.
fn run(dir: &Path, verdict: Verdict) {
    let text = "name: small\nstages: [{duration: 10s, rate: 10/s, tenants: 2}]\n";
    let options = RunOptions::new(Uuid::from_u128(7), 1_790_000_000_000_000, Span::Live);
    let plan = Plan::parse(text, "small", options).unwrap();
    RunDir::create(dir, &plan.spec).unwrap();
    let all: RangeSet = RangeSet::of(0..100);
    let whole = Fates {
        planned: 100,
        attempted: all.clone(),
        acknowledged: all.clone(),
        stored: all.clone(),
        ..Fates::default()
    };
    let mut lossy = whole.clone();
    if verdict != Verdict::Whole {
        let lost = RangeSet::of(17..18);
        lossy.stored = lossy.stored.difference(&lost);
        let by_cause = [(runs::report::cause::Cause::NeverInStream, lost)].into();
        match verdict {
            Verdict::Lossy => lossy.lost = by_cause,
            _ => lossy.not_seen = by_cause,
        }
    }
    let fates = vec![whole, lossy];
    let totals = Totals::of(&fates, 199);
    let tenants: Vec<TenantReport> = plan
        .script
        .tenants()
        .zip(fates)
        .map(|(tenant, fates)| TenantReport::new(&plan, tenant, fates))
        .collect();
    let guide = include_str!("../../../docs/report.md");
    let example = guide.split("```json").nth(1).unwrap().split("```").next().unwrap();
    let example: Report = serde_json::from_str(example).unwrap();
    let threshold = |condition: &str, outcome| ThresholdResult {
        metric: "ingested".to_owned(),
        condition: condition.to_owned(),
        measured: Some("99.5 %".to_owned()),
        outcome,
        is_default: false,
    };
    let run_id = plan.spec.run_id;
    let thresholds = vec![threshold("rate>=99%", ThresholdOutcome::Passed)];
    let findings = Vec::new();
    let report = Report { verdict, run_id, totals, tenants, thresholds, findings, ..example };
    fs::write(dir.join("report.json"), serde_json::to_vec_pretty(&report).unwrap()).unwrap();
}

/// Writes a new pair of keys.
fn write_keys(dir: &Path, kind: &'static SignatureAlgorithm) {
    let pair = KeyPair::generate_for(kind).unwrap();
    fs::write(dir.join("key.pem"), pair.serialize_pem()).unwrap();
    fs::write(dir.join("pub.pem"), pair.public_key_pem()).unwrap();
}

fn certified(verdict: Verdict) -> (TempDir, CheckedRun) {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), verdict);
    write_keys(dir.path(), &PKCS_ED25519);
    let checked = CheckedRun::read(dir.path()).unwrap();
    (dir, checked)
}

/// The paths of all values that hold no others.
fn leaves(path: &str, value: &Value, all: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, value)| leaves(&format!("{path}/{name}"), value, all));
        }
        Value::Array(items) if !items.is_empty() => {
            let numbered = items.iter().enumerate();
            numbered.for_each(|(index, value)| leaves(&format!("{path}/{index}"), value, all));
        }
        _ => all.push(path.to_owned()),
    }
}

/// Another value of the same kind.
fn other(value: &Value) -> Value {
    match value {
        Value::Null => json!("something"),
        Value::Bool(is) => json!(!is),
        Value::Number(number) => json!(number.as_f64().unwrap() + 1.0),
        Value::String(text) => json!(format!("{text}x")),
        Value::Array(_) => json!(["something"]),
        Value::Object(_) => json!({"something": 1}),
    }
}

#[test]
fn a_certificate_states_what_the_check_found_and_fits_its_run() {
    for (verdict, result, count, failed) in [
        (Verdict::Whole, "PASSED", 200, 0),
        (Verdict::Lossy, "FAILED", 199, 1),
        (Verdict::Unknown, "FAILED", 199, 1),
    ] {
        let (dir, run) = certified(verdict);
        let file = dir.path().join("certificate.json");
        fs::write(&file, run.certificate(&dir.path().join("key.pem")).unwrap()).unwrap();
        let check = run.check(&file, &dir.path().join("pub.pem")).unwrap();
        assert_eq!(check.faults, Vec::<String>::new());
        assert!(check.to_string().contains(verdict.as_str()), "{check}");
        let statement: Value = serde_json::from_slice(&run.statement()).unwrap();
        let predicate = &statement["predicate"];
        assert_eq!(predicate["result"], result);
        assert_eq!(predicate["failedTests"].as_array().unwrap().len(), failed);
        let account = &predicate["auditstorm"];
        assert_eq!(account["verdict"], verdict.as_str());
        assert_eq!(account["stored_events"]["count"], count);
        assert_eq!(account["tenants"][1]["totals"]["stored"], count - 100);
        assert_eq!(account["not_excluded"].as_array().unwrap().len(), run.report.doubts.len());
    }
}

#[test]
fn every_field_that_is_changed_is_named() {
    let (dir, run) = certified(Verdict::Lossy);
    let right: Value = serde_json::from_slice(&run.statement()).unwrap();
    let mut paths = Vec::new();
    leaves("", &right, &mut paths);
    assert!(paths.len() > 100, "{paths:?}");
    let key = SigningKey::read(&dir.path().join("key.pem")).unwrap();
    let file = dir.path().join("certificate.json");
    for path in paths {
        let mut wrong = right.clone();
        let value = wrong.pointer_mut(&path).unwrap();
        *value = other(value);
        let payload = wrong.to_string().into_bytes();
        let name = path.rsplit('/').find(|part| part.parse::<u64>().is_err()).unwrap();
        // Whoever has the key can sign anything, but the run's directory says otherwise.
        let signature = key.sign(&signed_bytes(PAYLOAD_TYPE, &payload)).unwrap();
        let envelope = Envelope::new(&payload, key.id(), &signature);
        fs::write(&file, serde_json::to_vec(&envelope).unwrap()).unwrap();
        let check = run.check(&file, &dir.path().join("pub.pem")).unwrap();
        assert_eq!(check.faults.len(), 1, "{path}: {check}");
        assert!(check.faults[0].contains(name), "{path}: {check}");
        // Without the key, the signature is wrong too.
        let old = key.sign(&signed_bytes(PAYLOAD_TYPE, right.to_string().as_bytes())).unwrap();
        let envelope = Envelope::new(&payload, key.id(), &old);
        fs::write(&file, serde_json::to_vec(&envelope).unwrap()).unwrap();
        let check = run.check(&file, &dir.path().join("pub.pem")).unwrap();
        assert_eq!(check.faults.len(), 2, "{path}: {check}");
        assert!(check.faults[0].contains("not signed by this key"), "{check}");
    }
}

#[test]
fn fields_that_are_left_out_or_added_are_named() {
    let (dir, run) = certified(Verdict::Whole);
    let file = dir.path().join("statement.json");
    let right: Value = serde_json::from_slice(&run.statement()).unwrap();
    let check = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut wrong = right.clone();
        change(&mut wrong);
        fs::write(&file, wrong.to_string()).unwrap();
        let check = run.check_statement(&file).unwrap();
        assert_eq!(check.faults.len(), 1, "{check}");
        assert!(check.faults[0].contains(expected), "{check}");
    };
    check(
        &|it| drop(it["predicate"].as_object_mut().unwrap().remove("result")),
        "predicate.result is missing in the certificate",
    );
    check(&|it| it["predicate"]["more"] = json!(1), "predicate.more is in the certificate alone");
    check(
        &|it| drop(it["predicate"]["auditstorm"]["tenants"].as_array_mut().unwrap().pop()),
        "tenants is a list of 1 in the certificate, and a list of 2 by the run",
    );
    fs::write(&file, run.statement()).unwrap();
    assert!(run.check_statement(&file).unwrap().faults.is_empty());
}

#[test]
fn a_report_that_was_changed_later_is_noticed() {
    let (dir, run) = certified(Verdict::Lossy);
    let file = dir.path().join("certificate.json");
    fs::write(&file, run.certificate(&dir.path().join("key.pem")).unwrap()).unwrap();
    let path = dir.path().join("report.json");
    let text = fs::read_to_string(&path).unwrap();
    // Another verdict, as nobody found it.
    fs::write(&path, text.replacen("\"lossy\"", "\"whole\"", 1)).unwrap();
    let check = CheckedRun::read(dir.path()).unwrap();
    let check = check.check(&file, &dir.path().join("pub.pem")).unwrap();
    let told = check.to_string();
    for expected in ["subject[0].digest.sha256", "predicate.result", "auditstorm.verdict"] {
        assert!(told.contains(expected), "{told}");
    }
    // Counts that do not add up are not certified at all.
    fs::write(&path, text.replacen("\"stored\": 199", "\"stored\": 200", 1)).unwrap();
    let error = CheckedRun::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("totals are not the sums"), "{error}");
    fs::write(&path, text.replacen("\"planned\": 100", "\"planned\": 101", 1)).unwrap();
    let error = CheckedRun::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("does not add up"), "{error}");
    fs::remove_file(&path).unwrap();
    let error = CheckedRun::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("reconcile it first"), "{error}");
}

#[test]
fn keys_of_other_kinds_are_refused_with_what_to_do() {
    let (dir, run) = certified(Verdict::Whole);
    let path = dir.path().join("other.pem");
    for (text, expected) in [
        ("", "-----BEGIN PRIVATE KEY-----"),
        ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "pkcs8 -topk8"),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "--unsigned-statement",
        ),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "neither Ed25519 nor"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "BEGIN PRIVATE KEY"),
    ] {
        fs::write(&path, text).unwrap();
        let error = run.certificate(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let certificate = dir.path().join("certificate.json");
    fs::write(&certificate, run.certificate(&dir.path().join("key.pem")).unwrap()).unwrap();
    let error = run.check(&certificate, &dir.path().join("key.pem")).unwrap_err().to_string();
    assert!(error.contains("-----BEGIN PUBLIC KEY-----"), "{error}");
    let error = run.check(&dir.path().join("run.json"), &dir.path().join("pub.pem")).unwrap_err();
    assert!(error.to_string().contains("is no certificate"), "{error}");
}

#[test]
fn both_kinds_of_keys_sign_and_no_other_key_verifies() {
    let (dir, run) = certified(Verdict::Whole);
    for kind in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256] {
        write_keys(dir.path(), kind);
        let file = dir.path().join("certificate.json");
        fs::write(&file, run.certificate(&dir.path().join("key.pem")).unwrap()).unwrap();
        let check = || run.check(&file, &dir.path().join("pub.pem")).unwrap();
        assert_eq!(check().faults, Vec::<String>::new());
        write_keys(dir.path(), kind);
        assert!(check().faults[0].contains("not signed by this key"), "{}", check());
    }
}
