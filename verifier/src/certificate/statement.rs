//! What a certificate states about a run: a statement of in-toto. Pure.
//!
//! Its form is that of test results, which the specification lets producers extend:
//! in-toto/attestation, `spec/predicates/test-result.md`, version 0.1. What it has no words for is
//! in the field `auditstorm`.

use std::fmt::Write as _;

use events::identity::{RunMark, TenantIndex};
use plans::plan::Plan;
use runs::ranges::RangeSet;
use runs::report::fates::{Fates, Totals};
use runs::report::verdict::Verdict;
use runs::report::{Report, TenantReport, ThresholdOutcome};
use serde_json::{Value, json};

use super::merkle::Leaves;

/// What statements are of.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// Version of the field `auditstorm`.
const FORMAT: u32 = 1;

/// A run that can be certified, with the hash of its report's file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Certified<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) report: &'a Report,
    pub(crate) report_sha256: &'a str,
}

impl Certified<'_> {
    /// Says what keeps a report from being one of this plan: certificates are not made of files
    /// that contradict each other.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let Self { plan, report, .. } = self;
        if report.run_id != plan.spec.run_id {
            return Some(format!("it is of the run {}", report.run_id));
        }
        let tenants: Vec<TenantIndex> = plan.script.tenants().collect();
        let listed: Vec<TenantIndex> =
            report.tenants.iter().map(|it| TenantIndex(it.tenant)).collect();
        if tenants != listed {
            return Some("its tenants are not those of the plan".to_owned());
        }
        for it in &report.tenants {
            let planned = plan.script.timeline(TenantIndex(it.tenant)).count();
            if it.fates.planned != planned || !it.fates.add_up() {
                return Some(format!("the account of tenant {} does not add up", it.tenant));
            }
        }
        let fates: Vec<Fates> = report.tenants.iter().map(|it| it.fates.clone()).collect();
        let sums = Totals::of(&fates, report.totals.rows);
        (sums != report.totals).then(|| "its totals are not the sums of its tenants".to_owned())
    }

    /// Writes the statement.
    pub(crate) fn statement(&self) -> Value {
        let Self { plan, report, report_sha256 } = self;
        let plan_sha256 = hex(&plan.spec.sha256());
        let (passed, failed) = tests(report);
        let result = if failed.is_empty() { "PASSED" } else { "FAILED" };
        json!({
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "report.json", "digest": {"sha256": report_sha256}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "result": result,
                "configuration": [
                    {"name": "plan", "digest": {"sha256": plan_sha256}},
                    {
                        "name": format!("profile {}", plan.profile_name),
                        "digest": {"sha256": plan.spec.profile_sha256},
                    },
                ],
                "passedTests": passed,
                "failedTests": failed,
                "auditstorm": self.account(&plan_sha256),
            },
        })
    }

    fn account(&self, plan_sha256: &str) -> Value {
        let Self { plan, report, .. } = self;
        let mut leaves = Leaves::default();
        for it in &report.tenants {
            leaves.push(TenantIndex(it.tenant), &in_table(&it.fates));
        }
        let root = leaves.root(RunMark::of(plan.spec.run_id));
        json!({
            "format": FORMAT,
            "run_id": report.run_id,
            "seed": plan.spec.seed,
            "plan_sha256": plan_sha256,
            "profile": report.profile,
            "path": report.path,
            "start": report.start,
            "end": report.end,
            "checked_at": report.checked_at,
            "verdict": report.verdict,
            "reasons": report.reasons,
            "notes": report.notes,
            "not_excluded": report.doubts,
            "versions": {
                "run": plan.spec.tool_version,
                "verifier": report.tool_version,
                "clickhouse": report.environment.clickhouse_version,
                "nats": report.environment.nats_version,
            },
            "table": report.table,
            "stream": report.stream,
            "thresholds": report.thresholds,
            "stored_events": {
                "tree": "RFC 6962, SHA-256",
                "leaf": "the 16 bytes of the audit ID",
                "order": "tenant, seq",
                "count": leaves.count(),
                "root": hex(&root),
            },
            "totals": report.totals,
            "tenants": report.tenants.iter().map(tenant).collect::<Vec<_>>(),
        })
    }
}

/// All events of the run that the table has, whatever the sender was answered.
fn in_table(fates: &Fates) -> RangeSet {
    fates.stored.union(&fates.recovered).union(&fates.unexpected)
}

/// What passed, and what did not. What is not known has not passed.
fn tests(report: &Report) -> (Vec<String>, Vec<String>) {
    let verdict = (report.verdict == Verdict::Whole, WHOLE.to_owned());
    let thresholds = report.thresholds.iter().map(|it| {
        let name = format!("threshold: {} {}", it.metric, it.condition);
        (it.outcome == ThresholdOutcome::Passed, name)
    });
    let (passed, failed): (Vec<_>, Vec<_>) =
        std::iter::once(verdict).chain(thresholds).partition(|(has_passed, _)| *has_passed);
    let names = |tests: Vec<(bool, String)>| tests.into_iter().map(|(_, name)| name).collect();
    (names(passed), names(failed))
}

/// The name of the test that the verdict is.
const WHOLE: &str = "whole: every acknowledged event is stored once and unchanged";

fn tenant(it: &TenantReport) -> Value {
    let TenantReport { tenant, scope_type, scope_name, fates } = it;
    // The same counts as of all tenants together. Rows are not counted by tenant.
    let mut counts = serde_json::to_value(Totals::of(std::slice::from_ref(fates), 0))
        .expect("it has string keys");
    if let Some(fields) = counts.as_object_mut() {
        fields.remove("rows");
    }
    json!({
        "tenant": tenant,
        "scope_type": scope_type,
        "scope_name": scope_name,
        "totals": counts,
    })
}

/// Names every field in which a certificate differs from what its run says.
pub(crate) fn differences(certificate: &Value, run: &Value) -> Vec<String> {
    let mut found = Vec::new();
    differ("", certificate, run, &mut found);
    found
}

fn differ(path: &str, certificate: &Value, run: &Value, found: &mut Vec<String>) {
    match (certificate, run) {
        (Value::Object(one), Value::Object(other)) => {
            let dot = if path.is_empty() { "" } else { "." };
            for (name, value) in other {
                let path = format!("{path}{dot}{name}");
                match one.get(name) {
                    Some(certified) => differ(&path, certified, value, found),
                    None => found.push(format!("{path} is missing in the certificate")),
                }
            }
            let extra = one.keys().filter(|name| !other.contains_key(*name));
            let alone = |name| format!("{path}{dot}{name} is in the certificate alone");
            found.extend(extra.map(alone));
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (certified, value)) in one.iter().zip(other).enumerate() {
                differ(&format!("{path}[{index}]"), certified, value, found);
            }
        }
        (one, other) if one != other => found.push(format!(
            "{path} is {} in the certificate, and {} by the run",
            shown(one),
            shown(other)
        )),
        _ => {}
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
        other => {
            let text = other.to_string();
            let short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
            if short.len() < text.len() { format!("{short}…") } else { short }
        }
    }
}

const SHOWN_CHARS_MAX: usize = 200;

/// Writes bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes what is written to it");
        text
    })
}
