//! Writes the report for CI, with a test case for each check. Pure.
//!
//! A check that failed is a failure. A check that could not be made is an error, so that a gate
//! stops; but if nobody asked for the check, it is skipped.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use runs::readback::Readback;
use runs::report::verdict::Verdict;
use runs::report::{Fault, Report, ThresholdOutcome};

use crate::figures::counted;

/// Writes a report as JUnit's XML.
pub(crate) fn junit(report: &Report, readback: Option<&Readback>) -> String {
    let mut all = quick_junit::Report::new("auditstorm");
    let mut suite = |name: &str, cases: Vec<TestCase>| {
        let mut suite = TestSuite::new(format!("{}.{name}", report.profile));
        suite.add_property(("run_id", report.run_id.to_string().as_str()));
        for mut case in cases {
            case.set_classname(format!("auditstorm.{}.{name}", report.profile));
            suite.add_test_case(case);
        }
        all.add_test_suite(suite);
    };
    suite("verdict", vec![verdict(report)]);
    suite("findings", findings(report));
    if !report.thresholds.is_empty() {
        suite("thresholds", thresholds(report));
    }
    if let Some(readback) = readback {
        suite("readback", vec![reader(readback)]);
    }
    all.to_string().expect("memory takes what is written to it")
}

fn verdict(report: &Report) -> TestCase {
    let reasons = report.reasons.join("\n");
    let status = match report.verdict {
        Verdict::Whole => TestCaseStatus::success(),
        Verdict::Lossy => told(NonSuccessKind::Failure, "the run is lossy", &reasons),
        Verdict::Unknown => told(NonSuccessKind::Error, "it could not be checked", &reasons),
    };
    TestCase::new("the run is whole", status)
}

fn reader(readback: &Readback) -> TestCase {
    let reasons = readback.reasons.join("\n");
    let status = match readback.verdict {
        Verdict::Whole => TestCaseStatus::success(),
        Verdict::Lossy => told(NonSuccessKind::Failure, "the reader is at fault", &reasons),
        Verdict::Unknown => told(NonSuccessKind::Error, "it could not be checked", &reasons),
    };
    TestCase::new("what is stored can be read", status)
}

fn findings(report: &Report) -> Vec<TestCase> {
    let totals = &report.totals;
    let in_stream = totals_of(report, Fault::DuplicatedInStream);
    let faults = [
        (Fault::Lost, totals.lost),
        (Fault::DuplicatedInStream, in_stream),
        (Fault::DuplicatedInTable, totals.duplicated.saturating_sub(in_stream)),
        (Fault::Corrupted, totals.corrupted),
        (Fault::Misplaced, totals.misplaced),
        (Fault::Unexpected, totals.unexpected),
    ];
    let case = |(fault, count): (Fault, u64)| {
        let name = fault.as_str();
        let found = format!("{} {name}", counted(count, "event"));
        let status = match (count, report.verdict) {
            (0, Verdict::Unknown) => {
                let mut skipped = TestCaseStatus::skipped();
                skipped.set_message("none was seen, but the run could not be checked in full");
                skipped
            }
            // If the run is whole, duplicates are rows that its table folds.
            (0, _) | (_, Verdict::Whole) => TestCaseStatus::success(),
            (_, Verdict::Unknown) => {
                told(NonSuccessKind::Error, &format!("{found}, as far as it was checked"), "")
            }
            _ => told(NonSuccessKind::Failure, &found, &listed(report, fault)),
        };
        TestCase::new(format!("no event is {name}"), status)
    };
    faults.map(case).into()
}

/// Counts the events that have a fault in the stream. The totals do not count these apart from
/// those in the table.
fn totals_of(report: &Report, fault: Fault) -> u64 {
    let of = |fates: &runs::report::fates::Fates| match fault {
        Fault::DuplicatedInStream => fates.duplicated_in_stream.count(),
        _ => 0,
    };
    report.tenants.iter().map(|tenant| of(&tenant.fates)).sum()
}

/// Lists the first events that have a fault.
fn listed(report: &Report, fault: Fault) -> String {
    let of_fault = report.findings.iter().filter(|finding| finding.fault == fault);
    let line =
        |it: &runs::report::Finding| format!("tenant {} seq {} {}", it.tenant, it.seq, it.audit_id);
    of_fault.take(LISTED_MAX).map(line).collect::<Vec<_>>().join("\n")
}

const LISTED_MAX: usize = 20;

fn thresholds(report: &Report) -> Vec<TestCase> {
    let case = |it: &runs::report::ThresholdResult| {
        let status = match (it.outcome, &it.measured) {
            (ThresholdOutcome::Passed, _) => TestCaseStatus::success(),
            (ThresholdOutcome::Failed, measured) => {
                let measured = measured.as_deref().unwrap_or_default();
                told(NonSuccessKind::Failure, &format!("it was {measured}"), "")
            }
            (ThresholdOutcome::Unknown, measured) => {
                let why = measured.as_ref().map_or_else(
                    || "there are no samples to tell by".to_owned(),
                    |measured| format!("it cannot be told: {measured}"),
                );
                if it.is_default {
                    let mut skipped = TestCaseStatus::skipped();
                    skipped.set_message(why);
                    skipped
                } else {
                    told(NonSuccessKind::Error, &why, "")
                }
            }
        };
        TestCase::new(format!("{} {}", it.metric, it.condition), status)
    };
    report.thresholds.iter().map(case).collect()
}

fn told(kind: NonSuccessKind, message: &str, detail: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message);
    if !detail.is_empty() {
        status.set_description(detail);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;
    use crate::render::view::reader::tests::example_readback;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Report), expected: &[&str]) {
        let mut report = example();
        change(&mut report);
        let text = junit(&report, None);
        let again = quick_junit::Report::deserialize_from_str(&text).unwrap();
        let cases = again.test_suites.iter().flat_map(|suite| &suite.test_cases);
        let told = cases.map(|case| {
            let (outcome, message) = match &case.status {
                TestCaseStatus::Success { .. } => ("ok".to_owned(), None),
                TestCaseStatus::NonSuccess { kind, message, .. } => {
                    (format!("{kind:?}"), message.as_ref())
                }
                TestCaseStatus::Skipped { message, .. } => ("skipped".to_owned(), message.as_ref()),
            };
            let message = message.map_or(String::new(), |it| format!(": {}", it.as_str()));
            format!("{}: {outcome}{message}", case.name.as_str())
        });
        let told: Vec<_> = told.collect();
        for line in expected {
            assert!(told.iter().any(|it| it == line), "{line} is not in {told:#?}");
        }
    }

    #[test]
    fn every_check_is_a_case() {
        check(
            |_| {},
            &[
                "the run is whole: Failure: the run is lossy",
                "no event is lost: Failure: 2 events lost",
                "no event is corrupted: ok",
                "sent_to_acknowledged p(95)<100ms: ok",
            ],
        );
    }

    #[test]
    fn what_could_not_be_checked_is_an_error_or_skipped_and_never_passes() {
        let unknown = |report: &mut Report| {
            report.verdict = Verdict::Unknown;
            report.thresholds[0].outcome = ThresholdOutcome::Unknown;
            report.thresholds[0].measured = None;
            report.thresholds[0].is_default = false;
        };
        check(
            unknown,
            &[
                "the run is whole: Error: it could not be checked",
                "no event is lost: Error: 2 events lost, as far as it was checked",
                "no event is corrupted: skipped: none was seen, but the run could not be checked \
                 in full",
                "sent_to_acknowledged p(95)<100ms: Error: there are no samples to tell by",
            ],
        );
        let open = |report: &mut Report| {
            report.thresholds[0].outcome = ThresholdOutcome::Unknown;
            report.thresholds[0].measured = Some("at least 4 s: 1 of 9 wait".to_owned());
            report.thresholds[0].is_default = false;
        };
        let told =
            "sent_to_acknowledged p(95)<100ms: Error: it cannot be told: at least 4 s: 1 of 9 wait";
        check(open, &[told]);
        let nobody_asked = |report: &mut Report| {
            report.thresholds[0].outcome = ThresholdOutcome::Unknown;
            report.thresholds[0].measured = None;
            report.thresholds[0].is_default = true;
        };
        check(
            nobody_asked,
            &["sent_to_acknowledged p(95)<100ms: skipped: there are no samples to tell by"],
        );
    }

    #[test]
    fn a_run_that_was_read_back_has_a_case_for_it() {
        let told = |verdict| {
            let mut readback = example_readback();
            readback.verdict = verdict;
            junit(&example(), Some(&readback))
        };
        assert!(told(Verdict::Whole).contains(r#"name="what is stored can be read""#));
        assert!(!told(Verdict::Whole).contains("the reader is at fault"));
        assert!(told(Verdict::Lossy).contains(r#"<failure message="the reader is at fault""#));
        assert!(told(Verdict::Unknown).contains(r#"<error message="it could not be checked""#));
    }

    #[test]
    fn names_with_signs_of_xml_are_escaped() {
        check(|report| report.profile = "<&\"".to_owned(), &["no event is unexpected: ok"]);
    }
}
