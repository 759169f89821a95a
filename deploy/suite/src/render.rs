//! Writes the report of a suite: a page for people, Markdown for comments, and JUnit for CI. Pure,
//! but for writing the files.

use askama::Template;
use capacity::judge::Verdict;
use capacity::units::EventsPerSecond;
use edges::exit::Exit;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use report::figures::{self, as_f64, grouped, milliseconds, moment};
use report::render::{STYLE, cell};
use runs::report::ThresholdOutcome;

use crate::budget::{Budget, share};
use crate::capacity::{CapacityResult, Cost, PartCost, PlateauResult};
use crate::compare::{Against, Compared, MeasureRow};
use crate::error::SuiteError;
use crate::recovery::Recovered;
use crate::results::{Checked, Measured, RunResult, ScenarioResult};
use crate::run::took;
use crate::step::exit_of;
use crate::suite_dir::SuiteDir;
use crate::summary::{REPORT_FILE, SuiteReport};

/// Writes all files of a report, each completely or not at all.
///
/// # Errors
///
/// Returns [`SuiteError::Io`] if one cannot be written.
pub(crate) fn write(dir: &SuiteDir, report: &SuiteReport) -> Result<(), SuiteError> {
    let mut json = serde_json::to_string_pretty(report).expect("it has string keys");
    json.push('\n');
    let view = View::new(report);
    dir.write(REPORT_FILE, json.as_bytes())?;
    dir.write("report.md", markdown(&view).as_bytes())?;
    dir.write("junit.xml", junit(report).as_bytes())?;
    dir.write(PAGE, html(&view).as_bytes())
}

pub(crate) const PAGE: &str = "report.html";

#[derive(Template)]
#[template(path = "suite.html")]
struct Html<'v> {
    v: &'v View,
    css: &'static str,
}

#[derive(Template)]
#[template(path = "suite.md", escape = "none")]
struct Markdown<'v> {
    v: &'v View,
}

fn html(view: &View) -> String {
    Html { v: view, css: STYLE }.render().expect("memory takes what is written to it")
}

pub(crate) fn markdown(view: &View) -> String {
    let text = Markdown { v: view }.render().expect("memory takes what is written to it");
    text.trim_end().to_owned() + "\n"
}

/// What the pages show.
#[derive(Debug)]
pub(crate) struct View {
    suite: String,
    word: &'static str,
    tone: &'static str,
    sentence: String,
    exit: u8,
    facts: Vec<(&'static str, String)>,
    scenarios: Vec<ScenarioView>,
    resources: Vec<[String; 6]>,
    capacity: Option<CapacityView>,
    budget: Option<BudgetView>,
    advice: Vec<(String, String)>,
    trend_heads: Vec<String>,
    trend: Vec<TrendRow>,
    steps: Vec<StepRow>,
}

#[derive(Debug)]
struct ScenarioView {
    name: String,
    word: &'static str,
    tone: &'static str,
    runs: Vec<RunView>,
    compared: Option<ComparedView>,
    /// What repetitions have in common: measure, least, median, most.
    spread: Vec<[String; 4]>,
}

#[derive(Debug)]
struct ComparedView {
    word: &'static str,
    tone: &'static str,
    note: String,
    rows: Vec<[String; 5]>,
}

#[derive(Debug)]
struct RunView {
    title: String,
    /// The address of its own page, seen from the suite's directory.
    link: Option<String>,
    reasons: Vec<String>,
    notes: Vec<String>,
    rows: Vec<TargetRow>,
}

/// A row of target, actual and status.
#[derive(Debug)]
struct TargetRow {
    what: String,
    target: String,
    /// Whether these two are names of the language of conditions.
    is_code: bool,
    actual: String,
    status: &'static str,
    tone: &'static str,
}

#[derive(Debug)]
struct CapacityView {
    sentence: String,
    notes: Vec<String>,
    plateaus: Vec<PlateauRow>,
    /// Part, events per CPU second, events a second and GiB.
    costs: Vec<[String; 3]>,
}

#[derive(Debug)]
struct PlateauRow {
    rate: String,
    duration: String,
    told: String,
    tone: &'static str,
    /// Stored a second, p95 from due to visible, p95 of the webhook.
    figures: [String; 3],
    link: Option<String>,
}

#[derive(Debug)]
struct BudgetView {
    sentence: String,
    tone: &'static str,
    burns: Vec<[String; 5]>,
}

#[derive(Debug)]
struct TrendRow {
    at: String,
    version: String,
    word: &'static str,
    tone: &'static str,
    cells: Vec<String>,
}

#[derive(Debug)]
struct StepRow {
    step: String,
    begun: String,
    took: String,
    attempts: u32,
    exit: u8,
    tone: &'static str,
}

/// The word for an exit code, and its tone.
pub(crate) fn word(exit: u8) -> (&'static str, &'static str) {
    match exit_of(exit) {
        Exit::Done => ("passed", "good"),
        Exit::Lossy => ("lossy", "bad"),
        Exit::Threshold => ("missed", "bad"),
        Exit::Unknown => ("unknown", "doubt"),
        Exit::Stopped => ("stopped", "doubt"),
        _ => ("not run", "doubt"),
    }
}

impl View {
    pub(crate) fn new(report: &SuiteReport) -> Self {
        let (word, tone) = word(report.exit);
        let place = if report.on_sandbox { "a sandbox on this machine" } else { "the pipeline" };
        let facts = vec![
            ("suite", report.suite.clone()),
            ("begun", moment(report.begun)),
            ("took", took(report.begun, report.ended)),
            ("ran on", place.to_owned()),
            ("scenarios", report.scenarios.len().to_string()),
            ("interrupted", report.interruptions.to_string()),
            ("version", report.tool_version.clone()),
            ("ID", report.suite_id.to_string()),
        ];
        Self {
            suite: report.suite.clone(),
            word,
            tone,
            sentence: report.sentence.clone(),
            exit: report.exit,
            facts,
            scenarios: report.scenarios.iter().map(ScenarioView::new).collect(),
            resources: resources(report),
            capacity: report.capacity.as_ref().map(CapacityView::new),
            budget: report.budget.as_ref().map(BudgetView::new),
            advice: report
                .advice
                .iter()
                .map(|it| (it.action.clone(), it.evidence.clone()))
                .collect(),
            trend_heads: report.scenarios.iter().map(|it| it.name.clone()).collect(),
            trend: trend(report),
            steps: report.steps.iter().map(StepRow::new).collect(),
        }
    }
}

impl ScenarioView {
    fn new(scenario: &ScenarioResult) -> Self {
        let (word, tone) = word(scenario.exit);
        let is_one = scenario.runs.len() == 1;
        let runs = scenario.runs.iter().map(|run| RunView::new(run, is_one)).collect();
        Self {
            name: scenario.name.clone(),
            word,
            tone,
            runs,
            compared: scenario.compared.as_ref().map(ComparedView::new),
            spread: spread(scenario),
        }
    }
}

/// Takes a figure from a run.
type Of<'a> = &'a dyn Fn(&Checked) -> Option<f64>;
/// Writes a figure with its unit.
type Say<'a> = &'a dyn Fn(f64) -> String;

/// How far the repetitions of a scenario are apart; nothing without repetitions.
fn spread(scenario: &ScenarioResult) -> Vec<[String; 4]> {
    let checked: Vec<&Checked> =
        scenario.runs.iter().filter_map(|run| run.checked.as_ref()).collect();
    let per_s = |rate: f64| format!("{}/s", figures::number(rate));
    let of_recovery = |run: &Checked| match run.recovery {
        Some(Recovered::After { seconds }) => Some(seconds * 1_000.0),
        _ => None,
    };
    let measures: [(&str, Say, Of); 4] = [
        ("acknowledged", &per_s, &|run| Some(run.measured.acknowledged_per_s)),
        ("webhook p95", &milliseconds, &|run| run.measured.webhook_p95_ms),
        ("due to visible p95", &milliseconds, &|run| run.measured.due_to_visible_p95_ms),
        ("recovery", &milliseconds, &of_recovery),
    ];
    let row = |(name, say, of): &(&str, Say, Of)| {
        let mut values: Vec<f64> = checked.iter().filter_map(|run| of(run)).collect();
        values.sort_unstable_by(f64::total_cmp);
        let (least, most) = (values.first()?, values.last()?);
        let median = values[values.len() / 2];
        Some([(*name).to_owned(), say(*least), say(median), say(*most)])
    };
    if checked.len() < 2 { Vec::new() } else { measures.iter().filter_map(row).collect() }
}

impl ComparedView {
    fn new(compared: &Compared) -> Self {
        let tone = match compared.outcome {
            Against::NoRegression => "good",
            Against::Regression => "bad",
            _ => "doubt",
        };
        let note = match (&compared.note, compared.bases.len()) {
            (Some(note), _) => note.clone(),
            (None, 1) => "with one earlier run".to_owned(),
            (None, bases) => format!("with {bases} earlier runs"),
        };
        let row = |it: &MeasureRow| {
            let MeasureRow { name, base, run, change, outcome } = it.clone();
            [name, base, run, change, outcome]
        };
        let rows = compared.measures.iter().map(row).collect();
        Self { word: compared.outcome.as_str(), tone, note, rows }
    }
}

impl RunView {
    fn new(run: &RunResult, is_only: bool) -> Self {
        let title = match (is_only, &run.checked) {
            (true, _) => String::new(),
            (false, _) => format!("Run {}: {}", run.repetition, word(run.exit).0),
        };
        let mut notes = run.notes.clone();
        if !run.interrupted.is_empty() {
            let dirs = run.interrupted.join(", ");
            notes.push(format!("interrupted before, and not counted: {dirs}"));
        }
        Self {
            title,
            link: run.dir.as_ref().map(|dir| format!("{dir}/report.html")),
            reasons: run.reasons.clone(),
            notes,
            rows: run.checked.as_ref().map_or_else(Vec::new, rows),
        }
    }
}

/// What was asked of a run, and what it did.
fn rows(run: &Checked) -> Vec<TargetRow> {
    let Measured { planned_per_s, acknowledged_per_s, saturated, .. } = run.measured;
    let per_s = |rate: f64| format!("{}/s", figures::number(rate));
    let totals = &run.totals;
    let row = |what: &str, target: String, actual: String, is_met: Option<bool>| {
        let (status, tone) = match is_met {
            Some(true) => ("passed", "good"),
            Some(false) => ("failed", "bad"),
            None => ("unknown", "doubt"),
        };
        let what = what.to_owned();
        TargetRow { what, target, is_code: false, actual, status, tone }
    };
    let of_verdict = match run.verdict {
        runs::report::verdict::Verdict::Whole => Some(true),
        runs::report::verdict::Verdict::Lossy => Some(false),
        runs::report::verdict::Verdict::Unknown => None,
    };
    let missing = totals.lost + totals.not_seen;
    let stored = grouped(totals.acknowledged.saturating_sub(missing));
    let stored = format!("{stored} of {}", grouped(totals.acknowledged));
    let mut rows = vec![
        row("every acknowledged event", "stored once, unchanged".to_owned(), stored, of_verdict),
        row(
            "load",
            per_s(planned_per_s),
            format!("{} acknowledged", per_s(acknowledged_per_s)),
            Some(!saturated),
        ),
    ];
    for it in &run.thresholds {
        let is_met = match it.outcome {
            ThresholdOutcome::Passed => Some(true),
            ThresholdOutcome::Failed => Some(false),
            ThresholdOutcome::Unknown => None,
        };
        let actual = it.measured.clone().unwrap_or_else(|| "no samples".to_owned());
        let of_threshold = row(&it.metric, it.condition.clone(), actual, is_met);
        rows.push(TargetRow { is_code: true, ..of_threshold });
    }
    let recovery = match run.recovery {
        Some(Recovered::After { seconds }) => (format!("{seconds:.1} s"), Some(true)),
        Some(Recovered::NotIn { seconds }) => (format!("not in {seconds:.1} s"), Some(false)),
        None => ("not watched".to_owned(), None),
    };
    rows.push(row("recovery", "nothing waits any more".to_owned(), recovery.0, recovery.1));
    rows
}

fn resources(report: &SuiteReport) -> Vec<[String; 6]> {
    let runs = report.scenarios.iter().flat_map(|scenario| {
        scenario.runs.iter().map(move |run| (scenario.name.clone(), run.checked.as_ref()))
    });
    let parts = runs.flat_map(|(name, checked)| {
        checked.into_iter().flat_map(|it| &it.resources).map(move |part| (name.clone(), part))
    });
    parts
        .map(|(name, part)| {
            [
                name,
                part.part.clone(),
                figures::cores(part.cpu_cores_avg),
                figures::cores(part.cpu_cores_peak),
                figures::bytes(part.memory_bytes_avg),
                figures::bytes(as_f64(part.memory_bytes_peak)),
            ]
        })
        .collect()
}

impl CapacityView {
    fn new(result: &CapacityResult) -> Self {
        let per_s = |rate: f64| EventsPerSecond(rate).to_string();
        let none = || "–".to_owned();
        let row = |it: &PlateauResult| {
            let confirms = if it.is_confirmation { ", to confirm" } else { "" };
            let ms = |value: Option<f64>| value.map_or_else(none, milliseconds);
            PlateauRow {
                rate: per_s(it.rate_per_s),
                duration: format!("{} s{confirms}", figures::number(it.duration_s)),
                told: it.told.clone(),
                tone: match it.verdict {
                    Verdict::Sustained => "good",
                    Verdict::NotSustained { .. } => "bad",
                    Verdict::NotKnown { .. } => "doubt",
                },
                figures: [
                    it.stored_per_s.map_or_else(none, per_s),
                    ms(it.due_to_visible_p95_ms),
                    ms(it.sent_to_acknowledged_p95_ms),
                ],
                link: it.dir.as_ref().map(|dir| format!("{dir}/report.html")),
            }
        };
        let part = |it: &PartCost| {
            [it.part.clone(), per_s(it.events_per_cpu_second), per_s(it.events_per_s_and_gib)]
        };
        let cost = result.cost.map(|it| {
            let Cost { per_million_events, per_month } = it;
            format!(
                "a million events cost {per_million_events:.4}, and a month at this rate \
                 {per_month:.2}, by the prices of the suite"
            )
        });
        Self {
            sentence: result.sentence.clone(),
            notes: result.bottleneck.clone().into_iter().chain(cost).collect(),
            plateaus: result.plateaus.iter().map(row).collect(),
            costs: result.costs.iter().map(part).collect(),
        }
    }
}

impl BudgetView {
    fn new(budget: &Budget) -> Self {
        let Budget { objective_milli_percent, acknowledged, allowed, lost, not_seen, burns } =
            budget;
        let percent = as_f64(*objective_milli_percent) / 1_000.0;
        let used = match share(*lost, *allowed) {
            Some(share) => format!("{:.1} % of the budget is used", share * 100.0),
            None if *lost == 0 => "the budget is no event, and none is lost".to_owned(),
            None => "the budget is no event".to_owned(),
        };
        let open = match not_seen {
            0 => String::new(),
            count => format!(" {} more were not seen, and may use up more.", grouped(*count)),
        };
        let sentence = format!(
            "{percent} % of {} acknowledged events must be stored, so {} may be lost. {} are lost: \
             {used}.{open}",
            grouped(*acknowledged),
            grouped(*allowed),
            grouped(*lost),
        );
        let tone = match (lost, not_seen) {
            (lost, _) if lost > allowed => "bad",
            (lost, open) if lost + open > *allowed => "doubt",
            _ => "good",
        };
        let row = |burn: &crate::budget::Burn| {
            let of = burn.of_budget.map_or("–".to_owned(), |it| format!("{:.1} %", it * 100.0));
            let (from, until) = (moment(burn.from), moment(burn.until));
            [burn.scenario.clone(), from, until, grouped(burn.events), of]
        };
        Self { sentence, tone, burns: burns.iter().map(row).collect() }
    }
}

fn trend(report: &SuiteReport) -> Vec<TrendRow> {
    let row = |it: &crate::summary::Earlier| {
        let cell = |scenario: &ScenarioResult| {
            let found = it.scenarios.iter().find(|other| other.name == scenario.name);
            let Some(found) = found else { return "–".to_owned() };
            let Measured { acknowledged_per_s, webhook_p95_ms, due_to_visible_p95_ms, .. } =
                found.measured;
            let ms = |value: Option<f64>| value.map_or("–".to_owned(), milliseconds);
            let rate = figures::number(acknowledged_per_s);
            let (webhook, visible) = (ms(webhook_p95_ms), ms(due_to_visible_p95_ms));
            format!("{rate}/s, {webhook}, {visible}, {} lost", grouped(found.lost))
        };
        let (word, tone) = word(it.exit);
        TrendRow {
            at: moment(it.begun),
            version: it.tool_version.clone(),
            word,
            tone,
            cells: report.scenarios.iter().map(cell).collect(),
        }
    };
    report.trend.iter().map(row).collect()
}

impl StepRow {
    fn new(step: &crate::summary::StepResult) -> Self {
        Self {
            step: step.step.clone(),
            begun: moment(step.begun),
            took: took(step.begun, step.ended),
            attempts: step.attempts,
            exit: step.exit,
            tone: word(step.exit).1,
        }
    }
}

/// Writes the report for CI: a test case for each run, and one for each of its thresholds.
fn junit(report: &SuiteReport) -> String {
    let mut all = quick_junit::Report::new("auditstorm-suite");
    if word(report.exit).0 == "not run" {
        let mut suite = TestSuite::new(report.suite.clone());
        suite.add_test_case(case(
            &report.suite,
            report.exit,
            std::slice::from_ref(&report.sentence),
        ));
        all.add_test_suite(suite);
    }
    if let Some(search) = &report.capacity {
        let mut suite = TestSuite::new(format!("{}.capacity", report.suite));
        let sentence = std::slice::from_ref(&search.sentence);
        suite.add_test_case(case("the highest sustained rate is found", search.exit, sentence));
        all.add_test_suite(suite);
    }
    for scenario in &report.scenarios {
        let mut suite = TestSuite::new(format!("{}.{}", report.suite, scenario.name));
        for run in &scenario.runs {
            let name = format!("{} run {}", scenario.name, run.repetition);
            suite.add_test_case(case(&name, run.exit, &run.reasons));
            let thresholds = run.checked.iter().flat_map(|it| &it.thresholds);
            for it in thresholds {
                let exit = match it.outcome {
                    ThresholdOutcome::Passed => Exit::Done,
                    ThresholdOutcome::Failed => Exit::Threshold,
                    ThresholdOutcome::Unknown => Exit::Unknown,
                };
                let measured = it.measured.clone().unwrap_or_else(|| "no samples".to_owned());
                let name = format!("{name}: {} {}", it.metric, it.condition);
                // Nobody asked for what is only published, so that it is unknown stops no gate.
                if exit == Exit::Unknown && it.is_default {
                    let mut skipped = TestCaseStatus::skipped();
                    skipped.set_message(measured);
                    suite.add_test_case(TestCase::new(name, skipped));
                } else {
                    suite.add_test_case(case(&name, exit as u8, &[format!("it was {measured}")]));
                }
            }
        }
        all.add_test_suite(suite);
    }
    all.to_string().expect("memory takes what is written to it")
}

fn case(name: &str, exit: u8, reasons: &[String]) -> TestCase {
    let kind = match exit_of(exit) {
        Exit::Done => return TestCase::new(name, TestCaseStatus::success()),
        Exit::Lossy | Exit::Threshold => NonSuccessKind::Failure,
        _ => NonSuccessKind::Error,
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(reasons.first().map_or("it was not run", String::as_str));
    if reasons.len() > 1 {
        status.set_description(reasons.join("\n"));
    }
    TestCase::new(name, status)
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;
    use crate::results::tests::scenario;
    use crate::summary::tests::report;

    fn example() -> SuiteReport {
        let mut unknown = scenario("odd", 500, 0);
        unknown.exit = 4;
        unknown.runs[0].exit = 4;
        unknown.runs[0].reasons = vec!["it was not run to its end".to_owned()];
        unknown.runs[0].checked = None;
        unknown.runs[0].interrupted = vec!["runs/odd-1".to_owned()];
        let mut one = scenario("one", 30_000, 0);
        let mut again = RunResult { repetition: 2, ..one.runs[0].clone() };
        again.checked.as_mut().unwrap().measured.acknowledged_per_s = 90.0;
        one.runs.push(again);
        report(vec![one, scenario("two", 20_000, 12), unknown])
    }

    #[test]
    fn the_short_form_says_it_all() {
        expect_file!["example.md"].assert_eq(&markdown(&View::new(&example())));
    }

    #[test]
    fn what_others_wrote_is_shown_and_never_obeyed() {
        let hostile = "<script>alert(1)</script>|`*";
        let mut report = example();
        report.suite = hostile.to_owned();
        report.sentence = hostile.to_owned();
        report.scenarios[0].name = hostile.to_owned();
        report.scenarios[1].runs[0].reasons = vec![hostile.to_owned()];
        report.advice[0].evidence = hostile.to_owned();
        let view = View::new(&report);
        let (page, short) = (html(&view), markdown(&view));
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.matches("&#60;script&#62;").count() >= 5, "{page}");
        assert!(!short.contains("<script>") && short.contains("\\|\\`\\*"), "{short}");
    }

    #[test]
    fn every_run_and_every_threshold_is_a_case() {
        let text = junit(&example());
        let again = quick_junit::Report::deserialize_from_str(&text).unwrap();
        let counts: Vec<_> = again
            .test_suites
            .iter()
            .map(|it| (it.name.as_str().to_owned(), it.tests, it.failures, it.errors))
            .collect();
        let named = |name: &str| name.to_owned();
        assert_eq!(
            counts,
            [
                (named("smoke.one"), 4, 0, 0),
                (named("smoke.two"), 2, 2, 0),
                (named("smoke.odd"), 1, 0, 1),
            ]
        );
    }
}
