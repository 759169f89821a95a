//! The head of a page, and where the run was checked.

use edges::exit::Exit;
use plans::condition::Aggregation;
use plans::plan::Plan;
use plans::spec::{DeliveryPath, Span};
use runs::latency::percentiles;
use runs::report::verdict::Verdict;
use runs::report::{Report, ThresholdOutcome};

use super::fact::{Fact, bad, fact};
use crate::figures::{self, as_f64, counted, grouped, milliseconds};
use crate::records::RunRecords;
use crate::thresholds;

/// The verdict, large and first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) tone: &'static str,
    pub(crate) sign: &'static str,
    pub(crate) word: &'static str,
    pub(crate) sentence: String,
    pub(crate) exit_code: u8,
}

pub(super) fn outcome(report: &Report) -> Outcome {
    let exit = thresholds::exit(report);
    let of = |wanted| report.thresholds.iter().filter(|it| it.outcome == wanted).count() as u64;
    let all = report.thresholds.len() as u64;
    let (failed, passed) = (of(ThresholdOutcome::Failed), of(ThresholdOutcome::Passed));
    let acknowledged = counted(report.totals.acknowledged, "acknowledged event");
    let met = match (all, failed) {
        (0, _) => "Nothing else was asked of the run.".to_owned(),
        (_, 0) => format!("{passed} of {} met.", counted(all, "threshold")),
        _ => format!("{failed} of {} failed.", counted(all, "threshold")),
    };
    let (tone, sign, word, sentence) = match report.verdict {
        Verdict::Whole => {
            let (tone, sign) = match exit {
                Exit::Done => ("good", "✓"),
                _ => ("doubt", "!"),
            };
            let sentence = match report.totals.filtered {
                0 => format!("All {acknowledged} are stored, once and unchanged. {met}"),
                filtered => format!(
                    "All {acknowledged} are stored, once and unchanged, or dropped by design \
                     ({}). {met}",
                    grouped(filtered)
                ),
            };
            (tone, sign, "WHOLE", sentence)
        }
        Verdict::Lossy => ("bad", "✗", "LOSSY", format!("{} {met}", what_is_wrong(report))),
        Verdict::Unknown => {
            let sentence = format!("The {acknowledged} could not be checked in full. {met}");
            ("doubt", "?", "UNKNOWN", sentence)
        }
    };
    Outcome { tone, sign, word, sentence, exit_code: exit as u8 }
}

/// Says in a sentence what is proven to be wrong.
fn what_is_wrong(report: &Report) -> String {
    let totals = &report.totals;
    let of_them = counted(totals.acknowledged, "acknowledged event");
    let facts = [
        (totals.lost, "lost"),
        (totals.duplicated, "there more than once"),
        (totals.corrupted, "changed"),
        (totals.misplaced, "in another partition"),
        (totals.unexpected, "there though never sent"),
    ];
    let found = facts.into_iter().filter(|(count, _)| *count > 0);
    let found: Vec<_> = found.map(|(count, what)| format!("{} {what}", grouped(count))).collect();
    format!("Of {of_them}: {}.", found.join(", "))
}

pub(super) fn tiles(report: &Report, records: &RunRecords) -> Vec<Fact> {
    let totals = &report.totals;
    let of = |count: u64, of: u64| match of {
        0 => String::new(),
        _ => figures::share(as_f64(count) / as_f64(of)),
    };
    let end_to_end = records.end_to_end(Aggregation::Percentile(95.0)).map(|bounds| {
        let sign = if bounds.most > bounds.least { "≥ " } else { "" };
        format!("{sign}{}", milliseconds(bounds.least))
    });
    let due_to_visible = match records.awaited.len() {
        0 => "due to visible".to_owned(),
        awaited => format!("due to visible; {awaited} samples not seen"),
    };
    let webhook = records.latencies.as_ref().filter(|it| !it.sent_to_acknowledged.is_empty());
    let webhook = webhook.map(|it| percentiles(&it.sent_to_acknowledged).p95_ms);
    let lag = records.lags().map(|(_, lag)| lag).max();
    vec![
        fact(
            "acknowledged",
            grouped(totals.acknowledged),
            format!("{} of planned", of(totals.acknowledged, totals.planned)),
        ),
        fact(
            "stored",
            grouped(totals.stored),
            format!("{} of acknowledged", of(totals.stored, totals.acknowledged)),
        ),
        match totals.not_seen {
            0 => bad("lost", totals.lost),
            not_seen => Fact {
                note: format!("{} more not seen yet", grouped(not_seen)),
                ..bad("lost", totals.lost)
            },
        },
        bad("duplicated", totals.duplicated),
        bad(
            "changed, misplaced, unexpected",
            totals.corrupted + totals.misplaced + totals.unexpected,
        ),
        fact("webhook p95", webhook.map_or("–".to_owned(), milliseconds), "sent to acknowledged"),
        fact("end to end p95", end_to_end.unwrap_or_else(|| "–".to_owned()), due_to_visible),
        fact("lag, at most", lag.map_or("–".to_owned(), grouped), "messages not consumed"),
    ]
}

pub(super) fn facts(report: &Report, plan: &Plan) -> Vec<Fact> {
    let path = match report.path {
        DeliveryPath::Pipeline => "webhook, stream, table",
        DeliveryPath::Bulk => "straight into the table",
        DeliveryPath::Both => "older events into the table, newer ones through the pipeline",
    };
    let span = match plan.spec.span {
        Span::Live => figures::elapsed(edges::clock::seconds(report.end.0 - report.start.0)),
        Span::History { days, .. } => counted(u64::from(days), "day"),
    };
    let target = plan.spec.targets.webhook.clone().or_else(|| plan.spec.targets.clickhouse.clone());
    let mut facts = vec![
        fact("profile", report.profile.clone(), ""),
        fact("run", report.run_id.to_string(), ""),
        fact("start", figures::moment(report.start), ""),
        fact("planned for", span, ""),
        fact("way", path, ""),
        fact("checked", figures::moment(report.checked_at), ""),
    ];
    facts.extend(target.map(|target| fact("target", target, "")));
    if !plan.spec.scale.is_none() {
        facts.push(fact("scale", "other than the profile's: see run.json", ""));
    }
    facts
}

pub(super) fn environment(report: &Report) -> Vec<Fact> {
    let environment = &report.environment;
    let durations = &report.durations;
    let known = |text: &str| if text.is_empty() { "not known".to_owned() } else { text.to_owned() };
    let took = |seconds: f64| format!("{seconds:.1} s");
    let nats = environment.nats_version.as_deref().unwrap_or("");
    vec![
        fact("auditstorm", report.tool_version.clone(), ""),
        fact("ClickHouse", known(&environment.clickhouse_version), ""),
        fact("NATS", known(nats), ""),
        fact("checked on", known(&environment.operating_system), ""),
        fact("cores there", environment.cores.to_string(), ""),
        fact("table", report.table.name.clone(), report.table.engine.clone()),
        fact("rows of the run", grouped(report.table.rows), ""),
        fact("waited for stillness", took(durations.settle_s), ""),
        fact("read the stream", took(durations.stream_s), ""),
        fact("read the table", took(durations.table_s), ""),
        fact("compared contents", took(durations.content_s), ""),
        fact("followed losses up", took(durations.trace_s), ""),
    ]
}
