//! What a page says, in the words and numbers that it shows. Pure.

use events::event::MicroTime;
use events::timeline::UnixMicros;
use harness::exit::Exit;
use harness::latency::{Latencies, percentiles};
use harness::plan::{DeliveryPath, Plan, Span};

use crate::cause::{Cause, Hop};
use crate::records::RunRecords;
use crate::render::chart::{
    Chart, TimeAxis, Unit, ValueScale, Width, distribution, over_time, series_class,
};
use crate::render::figures::{self, as_f64, counted, grouped, milliseconds};
use crate::render::series::{Lens, Series, bands};
use crate::report::{Duplicates, LossWindow, Report, TenantReport, ThresholdOutcome};
use crate::thresholds;
use crate::verdict::Verdict;

/// A report as it is shown.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) outcome: Outcome,
    pub(crate) title: String,
    pub(crate) reasons: Vec<String>,
    pub(crate) tiles: Vec<Fact>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) thresholds: Vec<ThresholdRow>,
    pub(crate) account: Vec<AccountRow>,
    pub(crate) table_note: &'static str,
    pub(crate) hops: Vec<HopRow>,
    pub(crate) windows: Vec<WindowRow>,
    pub(crate) windows_left_out: Option<String>,
    pub(crate) latencies: Vec<LatencyRow>,
    pub(crate) cards: Vec<Card>,
    pub(crate) marks: Vec<MarkRow>,
    pub(crate) tenants: Vec<TenantRow>,
    pub(crate) tenants_all: String,
    pub(crate) tenants_left_out: Option<String>,
    pub(crate) is_any_tenant_bad: bool,
    pub(crate) findings: Vec<FindingRow>,
    pub(crate) findings_left_out: Option<String>,
    pub(crate) differences: Vec<DifferenceRow>,
    pub(crate) differences_left_out: Option<String>,
    pub(crate) environment: Vec<Fact>,
}

/// The answer, loud and first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) tone: &'static str,
    pub(crate) sign: &'static str,
    pub(crate) word: &'static str,
    pub(crate) sentence: String,
    pub(crate) exit_code: u8,
}

#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) note: String,
    pub(crate) tone: &'static str,
}

#[derive(Debug)]
pub(crate) struct ThresholdRow {
    pub(crate) metric: String,
    pub(crate) condition: String,
    pub(crate) measured: String,
    pub(crate) tone: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) note: &'static str,
}

#[derive(Debug)]
pub(crate) struct AccountRow {
    pub(crate) depth: usize,
    pub(crate) name: &'static str,
    pub(crate) count: String,
    pub(crate) note: &'static str,
    pub(crate) tone: &'static str,
    /// Percent of what was planned.
    pub(crate) width: String,
}

impl AccountRow {
    pub(crate) fn markdown_indent(&self) -> String {
        "&emsp;".repeat(self.depth)
    }
}

#[derive(Debug)]
pub(crate) struct HopRow {
    pub(crate) name: &'static str,
    pub(crate) count: String,
    /// Percent of all that is lost.
    pub(crate) width: String,
    pub(crate) causes: String,
}

#[derive(Debug)]
pub(crate) struct WindowRow {
    pub(crate) cause: &'static str,
    pub(crate) hop: &'static str,
    pub(crate) from: String,
    pub(crate) until: String,
    pub(crate) events: String,
    pub(crate) marks: String,
}

#[derive(Debug)]
pub(crate) struct LatencyRow {
    pub(crate) name: String,
    pub(crate) p50: String,
    pub(crate) p95: String,
    pub(crate) p99: String,
    pub(crate) p99_9: String,
    pub(crate) max: String,
}

/// A chart with what belongs to it, or why there is none.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) title: &'static str,
    pub(crate) explanation: &'static str,
    pub(crate) legend: Vec<Legend>,
    pub(crate) svgs: Vec<String>,
    pub(crate) missing: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Legend {
    pub(crate) class: String,
    pub(crate) name: String,
}

#[derive(Debug)]
pub(crate) struct MarkRow {
    pub(crate) number: usize,
    pub(crate) elapsed: String,
    pub(crate) at: String,
    pub(crate) text: String,
}

#[derive(Debug)]
pub(crate) struct TenantRow {
    pub(crate) tenant: u16,
    pub(crate) scope: String,
    pub(crate) is_bad: bool,
    /// In the order of [`TENANT_COLUMNS`].
    pub(crate) counts: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct FindingRow {
    pub(crate) what: &'static str,
    pub(crate) tenant: u16,
    pub(crate) seq: String,
    pub(crate) audit_id: String,
    pub(crate) due: String,
}

#[derive(Debug)]
pub(crate) struct DifferenceRow {
    pub(crate) tenant: u16,
    pub(crate) seq: String,
    pub(crate) column: String,
    pub(crate) sent: String,
    pub(crate) stored: String,
}

/// What a page tells of each tenant.
pub(crate) const TENANT_COLUMNS: [&str; 8] = [
    "planned",
    "acknowledged",
    "stored",
    "lost",
    "duplicated",
    "corrupted",
    "unexpected",
    "not acknowledged",
];

const TENANTS_MAX: usize = 200;
const FINDINGS_MAX: usize = 50;
const WINDOWS_MAX: usize = 50;
const MARKS_MAX: usize = 50;
const TEXT_CHARS_MAX: usize = 300;
/// Bands of the latency histogram in which latencies differ by a factor of ten.
const BANDS_A_DECADE: i32 = 12;

impl View {
    /// Says what a report and the records of its run say. The thresholds are those of the report.
    pub(crate) fn new(report: &Report, records: &RunRecords, plan: &Plan) -> Self {
        let scene = Scene::new(report, records, plan);
        let outcome = outcome(report);
        let left_out = |shown: usize, all: u64, what: &str| {
            let more = all.saturating_sub(shown as u64);
            (more > 0).then(|| format!("and {} in report.json", counted(more, what)))
        };
        let (tenants, is_any_tenant_bad) = tenants(&report.tenants);
        let findings = findings(report);
        let findings_all = report.findings.len() as u64 + report.findings_left_out;
        let differences = differences(report);
        let windows: Vec<_> = report.loss_windows.iter().take(WINDOWS_MAX).collect();
        Self {
            title: format!("{}: {}", report.profile, outcome.word.to_lowercase()),
            outcome,
            reasons: report.reasons.clone(),
            tiles: tiles(report, records),
            facts: facts(report, plan),
            thresholds: threshold_rows(report),
            account: account(report),
            table_note: duplicates(report.table.duplicates),
            hops: hops(report),
            windows_left_out: left_out(
                windows.len(),
                report.loss_windows.len() as u64,
                "more loss window",
            ),
            windows: windows.into_iter().map(|it| scene.window(it)).collect(),
            latencies: latencies(records),
            cards: scene.cards(),
            marks: scene.marks(),
            tenants_all: counted(report.tenants.len() as u64, "tenant"),
            tenants_left_out: left_out(tenants.len(), report.tenants.len() as u64, "more tenant"),
            tenants,
            is_any_tenant_bad,
            findings_left_out: left_out(findings.len(), findings_all, "more finding"),
            findings,
            differences_left_out: left_out(
                differences.len(),
                report.differences.len() as u64,
                "more difference",
            ),
            differences,
            environment: environment(report),
        }
    }
}

fn outcome(report: &Report) -> Outcome {
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

/// What is proven, in a sentence.
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

fn fact(name: &'static str, value: impl Into<String>, note: impl Into<String>) -> Fact {
    Fact { name, value: value.into(), note: note.into(), tone: "" }
}

/// A count of what should not be.
fn bad(name: &'static str, count: u64) -> Fact {
    Fact { tone: if count > 0 { "bad" } else { "good" }, ..fact(name, grouped(count), "") }
}

fn tiles(report: &Report, records: &RunRecords) -> Vec<Fact> {
    let totals = &report.totals;
    let of = |count: u64, of: u64| match of {
        0 => String::new(),
        _ => figures::share(as_f64(count) / as_f64(of)),
    };
    let sampled = |samples: Vec<f64>| {
        use harness::threshold::Aggregation::Percentile;
        thresholds::of_samples(Percentile(95.0), samples).map_or("–".to_owned(), milliseconds)
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
        bad("lost", totals.lost),
        bad("duplicated", totals.duplicated),
        bad(
            "changed, misplaced, unexpected",
            totals.corrupted + totals.misplaced + totals.unexpected,
        ),
        fact("webhook p95", webhook.map_or("–".to_owned(), milliseconds), "sent to acknowledged"),
        fact("end to end p95", sampled(records.end_to_end_ms().collect()), "due to visible"),
        fact("lag, at most", lag.map_or("–".to_owned(), grouped), "messages not consumed"),
    ]
}

fn facts(report: &Report, plan: &Plan) -> Vec<Fact> {
    let path = match report.path {
        DeliveryPath::Pipeline => "webhook, stream, table",
        DeliveryPath::Bulk => "straight into the table",
        DeliveryPath::Both => "older events into the table, newer ones through the pipeline",
    };
    let span = match plan.spec.span {
        Span::Live => figures::elapsed(harness::clock::seconds(report.end.0 - report.start.0)),
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

fn threshold_rows(report: &Report) -> Vec<ThresholdRow> {
    let row = |it: &crate::report::ThresholdResult| {
        let (tone, outcome) = match it.outcome {
            ThresholdOutcome::Passed => ("good", "met"),
            ThresholdOutcome::Failed => ("bad", "failed"),
            ThresholdOutcome::Unknown => ("doubt", "unknown"),
        };
        ThresholdRow {
            metric: it.metric.clone(),
            condition: it.condition.clone(),
            measured: it.measured.clone().unwrap_or_else(|| "no samples".to_owned()),
            tone,
            outcome,
            note: if it.is_default { "published objective" } else { "from the profile" },
        }
    };
    report.thresholds.iter().map(row).collect()
}

fn account(report: &Report) -> Vec<AccountRow> {
    let totals = &report.totals;
    let bad = |count: u64| if count > 0 { "bad" } else { "" };
    let doubt = |count: u64| if count > 0 { "doubt" } else { "" };
    let row = |depth, name, count: u64, tone, note| AccountRow {
        depth,
        name,
        count: grouped(count),
        note,
        tone,
        width: percent(count, totals.planned),
    };
    let mut rows = vec![
        row(0, "planned", totals.planned, "", ""),
        row(1, "unsent", totals.unsent, doubt(totals.unsent), "no byte of it left"),
        row(1, "attempted", totals.attempted, "", ""),
        row(2, "refused", totals.refused, doubt(totals.refused), "certainly not taken"),
        row(2, "unknown", totals.unknown, doubt(totals.unknown), "no answer that settles it"),
    ];
    if totals.unknown > 0 {
        rows.push(row(3, "recovered", totals.recovered, "", "stored all the same"));
        rows.push(row(3, "unresolved", totals.unresolved, "", "not stored"));
    }
    if totals.spoiled > 0 {
        rows.push(row(2, "spoiled", totals.spoiled, "", "sent as a bad client sends"));
    }
    rows.push(row(2, "acknowledged", totals.acknowledged, "", ""));
    if report.path != DeliveryPath::Bulk {
        rows.push(row(3, "in stream", totals.in_stream, "", "seen there when it was checked"));
    }
    rows.push(row(3, "stored", totals.stored, "good", ""));
    if totals.repaired > 0 {
        rows.push(row(3, "repaired", totals.repaired, "", "sent again after they were lost"));
    }
    if totals.filtered > 0 {
        rows.push(row(3, "filtered", totals.filtered, "", "dropped by design"));
    }
    rows.push(row(3, "lost", totals.lost, bad(totals.lost), "acknowledged and not stored"));
    for (name, count, note) in [
        ("duplicated", totals.duplicated, "there more than once"),
        ("corrupted", totals.corrupted, "stored, but not as sent"),
        ("misplaced", totals.misplaced, "stored with a timestamp of another day"),
        ("unexpected", totals.unexpected, "stored, but never sent"),
    ] {
        rows.push(row(0, name, count, bad(count), note));
    }
    rows
}

fn duplicates(duplicates: Duplicates) -> &'static str {
    match duplicates {
        Duplicates::Visible => "The table has rows for the same event more than once.",
        Duplicates::NoneVisible => {
            "The table folds equal rows at inserts and merges: duplicates that it has folded \
             already do not show."
        }
        Duplicates::None => "The table folds nothing: there never were duplicates in it.",
    }
}

fn hops(report: &Report) -> Vec<HopRow> {
    let hops = [Hop::BeforeStream, Hop::InStream, Hop::AfterStream, Hop::InTable, Hop::Unknown];
    let totals = &report.totals;
    let row = |hop: Hop| {
        let causes = || totals.lost_by_cause.iter().filter(|(it, _)| it.hop() == hop);
        let count = causes().map(|(_, count)| count).sum();
        let named = causes().filter(|(_, count)| **count > 0);
        let named: Vec<_> =
            named.map(|(it, n)| format!("{} {}", grouped(*n), it.as_str())).collect();
        let width = percent(count, totals.lost);
        HopRow { name: hop_name(hop), count: grouped(count), width, causes: named.join(", ") }
    };
    // Where nothing is lost past all hops, nobody needs to know of that.
    let is_shown = |hop: &Hop| {
        *hop != Hop::Unknown || totals.lost_by_cause.get(&Cause::Somewhere).is_some_and(|n| *n > 0)
    };
    hops.into_iter().filter(is_shown).map(row).collect()
}

fn hop_name(hop: Hop) -> &'static str {
    match hop {
        Hop::BeforeStream => "between webhook and stream",
        Hop::InStream => "in the stream",
        Hop::AfterStream => "between stream and table",
        Hop::InTable => "in the table",
        Hop::Unknown => "somewhere",
    }
}

fn latencies(records: &RunRecords) -> Vec<LatencyRow> {
    let rows = |of: &Latencies, class: &str| {
        [
            ("due to acknowledged", &of.due_to_acknowledged),
            ("sent to acknowledged", &of.sent_to_acknowledged),
            ("due to sent", &of.due_to_sent),
        ]
        .map(|(name, histogram)| {
            let it = percentiles(histogram);
            LatencyRow {
                name: format!("{name}{class}"),
                p50: milliseconds(it.p50_ms),
                p95: milliseconds(it.p95_ms),
                p99: milliseconds(it.p99_ms),
                p99_9: milliseconds(it.p99_9_ms),
                max: milliseconds(it.max_ms),
            }
        })
    };
    let Some(all) = &records.latencies else { return Vec::new() };
    let classes = records.classes.iter().filter(|_| records.classes.len() > 1);
    let classes = classes.flat_map(|(name, of)| rows(of, &format!(", class {name}")));
    rows(all, "").into_iter().chain(classes).collect()
}

/// What the charts of a page have in common.
struct Scene<'r> {
    lens: Lens<'r>,
    axis: TimeAxis,
    report: &'r Report,
    is_live: bool,
}

impl<'r> Scene<'r> {
    fn new(report: &'r Report, records: &'r RunRecords, plan: &Plan) -> Self {
        let is_live = plan.spec.span == Span::Live;
        let first = records.seconds.first().map(|second| second.at.0 - 1_000_000);
        let seen = records.observations.first().map(|seen| seen.at.0);
        // A history is due long before anything of it is recorded.
        let origin: UnixMicros = match (is_live, first.into_iter().chain(seen).min()) {
            (false, Some(at)) => at,
            _ => plan.start,
        };
        let lens = Lens { records, origin };
        let span = lens.span();
        let losses = report.loss_windows.iter().filter(|_| is_live).map(|window| {
            (lens.elapsed(window.from.0).max(span.0), lens.elapsed(window.until.0).min(span.1))
        });
        let losses = losses.collect();
        let mut scene =
            Self { lens, axis: TimeAxis { span, marks: Vec::new(), losses }, report, is_live };
        let marks = scene.all_marks().iter().take(MARKS_MAX);
        let marks: Vec<f64> = marks.map(|mark| scene.lens.elapsed(mark.at.0)).collect();
        for at in &marks {
            scene.axis.span = (scene.axis.span.0.min(*at), scene.axis.span.1.max(*at));
        }
        scene.axis.marks = marks;
        scene
    }

    /// Marks that were set since the report was written count too.
    fn all_marks(&self) -> &'r [harness::observation::Mark] {
        let recorded = &self.lens.records.marks;
        if recorded.is_empty() { &self.report.marks } else { recorded }
    }

    fn window(&self, window: &LossWindow) -> WindowRow {
        let at = |at: MicroTime| {
            if !self.is_live {
                return figures::moment(at);
            }
            let elapsed = figures::elapsed(self.lens.elapsed(at.0));
            format!("{elapsed} ({})", figures::time_of_day(at))
        };
        let marks: Vec<_> = window.marks.iter().map(|mark| shortened(&mark.text)).collect();
        WindowRow {
            cause: window.cause.as_str(),
            hop: hop_name(window.hop),
            from: at(window.from),
            until: at(window.until),
            events: grouped(window.events),
            marks: marks.join("; "),
        }
    }

    fn marks(&self) -> Vec<MarkRow> {
        let marks = self.all_marks().iter().take(MARKS_MAX).enumerate();
        let row = |(index, mark): (usize, &harness::observation::Mark)| MarkRow {
            number: index + 1,
            elapsed: figures::elapsed(self.lens.elapsed(mark.at.0)),
            at: figures::moment(mark.at),
            text: shortened(&mark.text),
        };
        marks.map(row).collect()
    }

    fn cards(&self) -> Vec<Card> {
        let (lens, watched) = (&self.lens, self.unwatched());
        let unsent = self.unsent();
        vec![
            self.card(
                "Rate against plan",
                "Events a second, each in the second in which it was due or acknowledged.",
                (Unit::Count, ValueScale::Linear, lens.rates()),
                unsent.clone(),
            ),
            self.card(
                "Webhook latency",
                "From sending to the webhook's answer, for each second, on a logarithmic scale.",
                (Unit::Milliseconds, ValueScale::Logarithmic, lens.latencies()),
                unsent,
            ),
            self.distribution(),
            self.card(
                "From due to visible in the table",
                "Of sampled events, as seen while the run was watched.",
                (Unit::Milliseconds, ValueScale::Linear, lens.end_to_end()),
                watched.clone(),
            ),
            self.card(
                "Lag",
                "Messages in the stream that the consumer has not acknowledged.",
                (Unit::Count, ValueScale::Linear, lens.lag()),
                watched.clone(),
            ),
            self.card(
                "CPU of the parts",
                "Cores kept busy.",
                (Unit::Cores, ValueScale::Linear, lens.cpu()),
                watched.clone(),
            ),
            self.card(
                "Memory of the parts",
                "Resident memory.",
                (Unit::Bytes, ValueScale::Linear, lens.memory()),
                watched,
            ),
        ]
    }

    fn card(
        &self,
        title: &'static str,
        explanation: &'static str,
        (unit, scale, series): (Unit, ValueScale, Vec<Series>),
        missing: Option<String>,
    ) -> Card {
        let series: Vec<_> = series.into_iter().filter(|it| !it.points.is_empty()).collect();
        let nothing = "What watched the run did not see this.";
        let missing = missing.or_else(|| series.is_empty().then(|| nothing.to_owned()));
        let chart = Chart { title, unit, scale, series };
        let draw = |width| over_time(&chart, &self.axis, width);
        let svgs = match missing {
            None => [Width::Wide, Width::Narrow].map(draw).to_vec(),
            Some(_) => Vec::new(),
        };
        Card { title, explanation, legend: legend(&chart), svgs, missing }
    }

    fn distribution(&self) -> Card {
        let latencies = self.lens.records.latencies.as_ref();
        let latencies = latencies.filter(|it| !it.sent_to_acknowledged.is_empty());
        let series = |name: &str, histogram| Series {
            name: name.to_owned(),
            points: bands(histogram, BANDS_A_DECADE),
        };
        let chart = Chart {
            title: "Latencies, how often",
            unit: Unit::Share,
            scale: ValueScale::Linear,
            series: latencies.map_or(Vec::new(), |it| {
                vec![
                    series("sent to acknowledged", &it.sent_to_acknowledged),
                    series("due to acknowledged", &it.due_to_acknowledged),
                ]
            }),
        };
        let missing = latencies.is_none().then(|| match self.unsent() {
            Some(why) => why,
            None => "Not all generators have ended in order and written their histograms.".into(),
        });
        let draw = |width| distribution(&chart, BANDS_A_DECADE, width);
        let svgs = match missing {
            None => [Width::Wide, Width::Narrow].map(draw).to_vec(),
            Some(_) => Vec::new(),
        };
        Card {
            title: chart.title,
            explanation: "Share of the acknowledged events, by latency on a logarithmic scale.",
            legend: legend(&chart),
            svgs,
            missing,
        }
    }

    /// Why there is nothing that only a generator writes.
    fn unsent(&self) -> Option<String> {
        let why = match (self.lens.records.seconds.is_empty(), self.is_live) {
            (false, _) => return None,
            (true, true) => "No generator has written a timeline into this directory.",
            (true, false) => "A load of a history has no schedule, and records no seconds.",
        };
        Some(why.to_owned())
    }

    /// Why there is nothing that only `watch` writes.
    fn unwatched(&self) -> Option<String> {
        let is_empty = self.lens.records.observations.is_empty();
        is_empty.then(|| {
            "Nobody watched the run: start `auditstorm-verifier watch RUN` beside the generator."
                .to_owned()
        })
    }
}

fn legend(chart: &Chart) -> Vec<Legend> {
    let named = chart.series.iter().enumerate();
    named.map(|(index, it)| Legend { class: series_class(index), name: it.name.clone() }).collect()
}

/// Returns the tenants to whom most happened, and whether anything bad happened to any.
fn tenants(tenants: &[TenantReport]) -> (Vec<TenantRow>, bool) {
    let bad = |it: &TenantReport| {
        let fates = &it.fates;
        fates.lost().count()
            + duplicated(it)
            + fates.corrupted.count()
            + fates.misplaced.count()
            + fates.unexpected.count()
    };
    let missed = |it: &TenantReport| {
        let settled = it.fates.acknowledged.count() + it.fates.spoiled.count();
        it.fates.planned.saturating_sub(settled)
    };
    let mut worst: Vec<_> = tenants.iter().map(|it| (bad(it), missed(it), it)).collect();
    worst.sort_by_key(|(bad, missed, it)| {
        (std::cmp::Reverse(*bad), std::cmp::Reverse(*missed), it.tenant)
    });
    let is_any_bad = worst.first().is_some_and(|(bad, ..)| *bad > 0);
    let row = |(bad, missed, it): &(u64, u64, &TenantReport)| {
        let fates = &it.fates;
        let counts = [
            fates.planned,
            fates.acknowledged.count(),
            fates.stored.count(),
            fates.lost().count(),
            duplicated(it),
            fates.corrupted.count(),
            fates.unexpected.count(),
            *missed,
        ];
        TenantRow {
            tenant: it.tenant,
            scope: format!("{} {}", it.scope_type, it.scope_name).trim().to_owned(),
            is_bad: *bad > 0,
            counts: counts.map(grouped).to_vec(),
        }
    };
    (worst.iter().take(TENANTS_MAX).map(row).collect(), is_any_bad)
}

fn duplicated(tenant: &TenantReport) -> u64 {
    tenant.fates.duplicated_in_stream.count() + tenant.fates.duplicated_in_table.count()
}

fn findings(report: &Report) -> Vec<FindingRow> {
    let row = |it: &crate::report::Finding| FindingRow {
        what: it.cause.map_or(it.fault.as_str(), Cause::as_str),
        tenant: it.tenant,
        seq: grouped(it.seq),
        audit_id: it.audit_id.to_string(),
        due: it.due.map_or("not planned".to_owned(), figures::moment),
    };
    report.findings.iter().take(FINDINGS_MAX).map(row).collect()
}

fn differences(report: &Report) -> Vec<DifferenceRow> {
    let row = |it: &crate::content::Difference| DifferenceRow {
        tenant: it.tenant,
        seq: grouped(it.seq),
        column: it.column.clone(),
        sent: shortened(&it.sent),
        stored: shortened(&it.stored),
    };
    report.differences.iter().take(FINDINGS_MAX).map(row).collect()
}

fn environment(report: &Report) -> Vec<Fact> {
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

/// A part of a whole in percent, for the width of a bar.
fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "0".to_owned(),
        _ => format!("{:.2}", as_f64(part) / as_f64(whole) * 100.0),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}
