//! What became of each scenario, read from the directories of its runs.

use std::path::Path;

use edges::clock::seconds;
use edges::exit::Exit;
use events::event::MicroTime;
use events::timeline::UnixMicros;
use plans::plan::Plan;
use report::error::ShowError;
use report::figures::as_f64;
use report::reconciled::read_report;
use report::records::RunRecords;
use runs::latency::percentiles;
use runs::observation::Observation;
use runs::report::cause::Hop;
use runs::report::fates::Totals;
use runs::report::verdict::Verdict;
use runs::report::{LossWindow, Report, ThresholdOutcome, ThresholdResult};
use runs::run_dir::RunDir;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::compare::{Compared, compared};
use crate::recovery::{Recovered, Waiting, recovery};
use crate::step::{Journal, State, Step, exit_of, worst};
use crate::suite::{Compare, Scenario, Suite};
use crate::suite_dir::{SuiteDir, run_name};

/// A scenario, with all of its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScenarioResult {
    pub name: String,
    /// The worst exit code of its runs.
    pub exit: u8,
    pub runs: Vec<RunResult>,
    /// How it compares with earlier runs; `None` if the suite does not ask for it, or no run was
    /// checked.
    pub compared: Option<Compared>,
}

/// A repetition of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    pub repetition: u32,
    /// The directory of the run, seen from the suite's; `None` if no run was begun.
    pub dir: Option<String>,
    /// The directories of loads that were interrupted. They are no part of the result.
    pub interrupted: Vec<String>,
    pub exit: u8,
    /// Why it is not passed, the most important first.
    pub reasons: Vec<String>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// What the check found; `None` if there was none.
    pub checked: Option<Checked>,
}

/// What the check of a run found, and what was measured during the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    pub run_id: Uuid,
    pub profile: String,
    pub verdict: Verdict,
    pub start: MicroTime,
    pub end: MicroTime,
    pub totals: Totals,
    pub thresholds: Vec<ThresholdResult>,
    pub loss_windows: Vec<LossWindow>,
    pub measured: Measured,
    /// How long the pipeline took to recover after the load; `None` if nobody watched it.
    pub recovery: Option<Recovered>,
    /// What the parts of the pipeline used.
    pub resources: Vec<PartUse>,
}

/// The figures of a run by which runs are set side by side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Events a second, over the load.
    pub planned_per_s: f64,
    pub acknowledged_per_s: f64,
    pub webhook_p95_ms: Option<f64>,
    /// From when an event was due until the table showed it. A lower bound if samples were never
    /// seen.
    pub due_to_visible_p95_ms: Option<f64>,
    /// The most messages that the consumer had not acknowledged.
    pub lag_max: Option<u64>,
    /// The most bytes that the stream held.
    pub stream_bytes_max: Option<u64>,
    /// The most active parts in one partition of the table.
    pub parts_of_a_partition_max: Option<u64>,
    pub saturated: bool,
}

/// What a part of the pipeline used while it was watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartUse {
    pub part: String,
    /// Cores kept busy.
    pub cpu_cores_avg: f64,
    pub cpu_cores_peak: f64,
    pub memory_bytes_avg: f64,
    pub memory_bytes_peak: u64,
}

/// Reads what became of all scenarios of a suite.
pub(crate) fn results(dir: &SuiteDir) -> Vec<ScenarioResult> {
    let of = |scenario: &Scenario| {
        let runs: Vec<RunResult> = dir
            .repetitions(scenario)
            .map(|repetition| run_result(dir, scenario, repetition))
            .collect();
        let compared = compared(dir, scenario);
        let asked = compared.as_ref().filter(|_| dir.suite.compare == Compare::Gate);
        let against = asked.map(|it| it.outcome.exit());
        let exit = worst(runs.iter().map(|run| exit_of(run.exit)).chain(against)) as u8;
        ScenarioResult { name: scenario.name().to_owned(), exit, runs, compared }
    };
    dir.suite.scenarios.iter().map(of).collect()
}

fn run_result(dir: &SuiteDir, scenario: &Scenario, repetition: u32) -> RunResult {
    let name = scenario.name().to_owned();
    let load = Step::Load { scenario: name.clone(), repetition };
    let check = Step::Check { scenario: name.clone(), repetition };
    let readback = Step::Readback { scenario: name.clone(), repetition };
    let journal = &dir.journal;
    let (attempt, interrupted) = match journal.state(&load) {
        State::Fresh => (None, 0),
        State::Interrupted { attempts } => (None, attempts),
        State::Ended(ended) => (Some(ended.attempt), ended.attempt - 1),
    };
    let named = |attempt| run_name(&name, repetition, attempt);
    let mut found = Findings::default();
    if attempt.is_none() {
        found.add(Exit::Unknown, "it was not run to its end".to_owned());
    }
    for step in [&load, &readback, &check] {
        found.add_step(journal, step);
    }
    for attempt in 1..=interrupted {
        let leftover = Step::Leftover { scenario: name.clone(), repetition, attempt };
        if journal.ended(&leftover).is_some_and(|it| exit_of(it.exit) == Exit::Lossy) {
            let dir = named(attempt);
            found.add(Exit::Lossy, format!("events of the interrupted load {dir} are lost"));
        }
    }
    let run = attempt.map(named).filter(|run| RunDir::is_one(&dir.path().join(run)));
    let read = run.as_ref().map(|run| read_checked(&dir.path().join(run)));
    let checked = match read {
        Some(Ok(checked)) => {
            found.judge(&checked, scenario, &dir.suite);
            Some(checked)
        }
        Some(Err(error)) => {
            found.add(Exit::Unknown, edges::exit::chain(&error));
            None
        }
        None => None,
    };
    RunResult {
        repetition,
        dir: run,
        interrupted: (1..=interrupted).map(named).collect(),
        exit: worst(found.reasons.iter().map(|(exit, _)| *exit)) as u8,
        reasons: found.by_weight(),
        notes: found.notes,
        checked,
    }
}

/// What stands against a run.
#[derive(Default)]
struct Findings {
    reasons: Vec<(Exit, String)>,
    notes: Vec<String>,
}

impl Findings {
    fn add(&mut self, exit: Exit, reason: String) {
        self.reasons.push((exit, reason));
    }

    /// Adds how a step ended. What the check of a run found is told by its report.
    fn add_step(&mut self, journal: &Journal, step: &Step) {
        let Some(ended) = journal.ended(step) else { return };
        match (step, exit_of(ended.exit)) {
            (_, Exit::Done) => {
                for note in ended.notes {
                    // A fault that was not done is a test that was not made.
                    self.add(Exit::Unknown, note);
                }
            }
            (Step::Check { .. }, Exit::Lossy | Exit::Threshold | Exit::Unknown) => {}
            (Step::Readback { .. }, exit @ (Exit::Lossy | Exit::Unknown)) => {
                let word = if exit == Exit::Lossy { "at fault" } else { "not known" };
                self.add(exit, format!("reading it back: the reader is {word}"));
            }
            (Step::Load { .. }, Exit::Threshold) => {
                self.add(Exit::Threshold, "the load was given up early".to_owned());
            }
            (_, exit) => ended.notes.into_iter().for_each(|note| self.add(exit, note)),
        }
    }

    fn judge(&mut self, checked: &Checked, scenario: &Scenario, suite: &Suite) {
        let is_allowed = may_lose(checked, &scenario.may_lose);
        match checked.verdict {
            Verdict::Whole => {}
            Verdict::Lossy if is_allowed => {
                let lost = report::figures::counted(checked.totals.lost, "event");
                self.notes.push(format!("{lost} lost where this pipeline may lose them"));
            }
            verdict => self.add(verdict.exit(), told(checked)),
        }
        for missed in &checked.thresholds {
            let ThresholdResult { metric, condition, measured, outcome, is_default } = missed;
            let measured = measured.as_deref().unwrap_or("no samples");
            let of_loss = is_allowed && matches!(metric.as_str(), "ingested" | "lost");
            match outcome {
                ThresholdOutcome::Passed => {}
                ThresholdOutcome::Failed if of_loss => {}
                ThresholdOutcome::Failed => {
                    let text = format!("{metric} {condition} is not met: it was {measured}");
                    self.add(Exit::Threshold, text);
                }
                ThresholdOutcome::Unknown if *is_default && checked.verdict == Verdict::Whole => {
                    self.notes.push(format!("{metric} {condition} is not known: {measured}"));
                }
                ThresholdOutcome::Unknown => {
                    let text = format!("{metric} {condition} is not known: {measured}");
                    self.add(Exit::Unknown, text);
                }
            }
        }
        let limit_s = as_f64(suite.recovery.within.get().us()) / 1e6;
        match checked.recovery {
            Some(Recovered::After { seconds }) if seconds > limit_s => {
                let text =
                    format!("it recovered after {seconds:.1} s, and {limit_s} s are allowed");
                self.add(Exit::Threshold, text);
            }
            Some(Recovered::NotIn { seconds }) if seconds >= limit_s => {
                let text = format!("it had not recovered {seconds:.1} s after the load");
                self.add(Exit::Threshold, text);
            }
            Some(Recovered::NotIn { seconds }) => {
                let text =
                    format!("it was not watched until it had recovered: {seconds:.1} s only");
                self.add(Exit::Unknown, text);
            }
            None => self.notes.push("nobody watched how long it took to recover".to_owned()),
            Some(Recovered::After { .. }) => {}
        }
    }

    /// The reasons, the most important first.
    fn by_weight(&self) -> Vec<String> {
        let mut left: Vec<&(Exit, String)> = self.reasons.iter().collect();
        let mut sorted = Vec::new();
        while !left.is_empty() {
            let heaviest = worst(left.iter().map(|(exit, _)| *exit));
            sorted.extend(left.iter().filter(|(exit, _)| *exit == heaviest).map(|it| it.1.clone()));
            left.retain(|(exit, _)| *exit != heaviest);
        }
        sorted
    }
}

/// Whether events were lost, nothing else is wrong, and each was lost at a hop where it may be.
fn may_lose(checked: &Checked, hops: &[Hop]) -> bool {
    let Totals { lost, duplicated, corrupted, misplaced, unexpected, .. } = checked.totals;
    let is_all = duplicated + corrupted + misplaced + unexpected == 0;
    let causes = &checked.totals.lost_by_cause;
    let are_known = causes.values().sum::<u64>() == lost;
    lost > 0 && is_all && are_known && causes.keys().all(|cause| hops.contains(&cause.hop()))
}

fn told(checked: &Checked) -> String {
    let Totals { acknowledged, lost, not_seen, .. } = checked.totals;
    let grouped = report::figures::grouped;
    match checked.verdict {
        Verdict::Lossy => {
            format!("lossy: {} of {} events lost", grouped(lost), grouped(acknowledged))
        }
        _ => format!("unknown: {} of {} events not seen", grouped(not_seen), grouped(acknowledged)),
    }
}

/// Reads what the check of a run found, and what was measured.
fn read_checked(dir: &Path) -> Result<Checked, ShowError> {
    let report = read_report(dir)?;
    let (run, plan) = RunDir::open(dir)?;
    let mut records = RunRecords::read(&[run], &plan)?;
    records.find_awaited(&plan, &report);
    Ok(Checked::new(report, &records, &plan))
}

impl Checked {
    fn new(report: Report, records: &RunRecords, plan: &Plan) -> Self {
        let waiting = match report.totals.lost {
            0 => Waiting::Samples,
            _ => Waiting::NoSamples,
        };
        Self {
            run_id: report.run_id,
            profile: report.profile,
            verdict: report.verdict,
            start: report.start,
            end: report.end,
            measured: Measured::new(&report.totals, records, plan),
            totals: report.totals,
            thresholds: report.thresholds,
            loss_windows: report.loss_windows,
            recovery: recovery(plan.end, &records.observations, waiting),
            resources: resources(records),
        }
    }
}

impl Measured {
    fn new(totals: &Totals, records: &RunRecords, plan: &Plan) -> Self {
        let load_s = seconds(plan.end - plan.start).max(f64::MIN_POSITIVE);
        let webhook = records.latencies.as_ref().map(|it| &it.sent_to_acknowledged);
        let stream = |seen: &Observation| seen.stream.map(|stream| stream.bytes);
        let parts = |seen: &Observation| seen.table.map(|table| table.parts_of_a_partition_max);
        Self {
            planned_per_s: as_f64(totals.planned) / load_s,
            acknowledged_per_s: as_f64(totals.acknowledged) / load_s,
            webhook_p95_ms: webhook.filter(|it| !it.is_empty()).map(|it| percentiles(it).p95_ms),
            due_to_visible_p95_ms: records.due_to_visible_p95_ms(),
            lag_max: records.lags().map(|(_, lag)| lag).max(),
            stream_bytes_max: records.observations.iter().filter_map(stream).max(),
            parts_of_a_partition_max: records.observations.iter().filter_map(parts).max(),
            saturated: records.summaries.iter().any(|summary| summary.saturated),
        }
    }
}

fn resources(records: &RunRecords) -> Vec<PartUse> {
    resources_between(records, UnixMicros::MIN, UnixMicros::MAX)
}

/// What the parts used from one moment to another.
pub(crate) fn resources_between(
    records: &RunRecords,
    from: UnixMicros,
    until: UnixMicros,
) -> Vec<PartUse> {
    let of = |part: &str| {
        let seen = records.observations.iter();
        let seen = seen.filter(|seen| (from..=until).contains(&seen.at.0));
        let uses = seen.flat_map(|seen| &seen.resources);
        let uses: Vec<_> = uses.filter(|it| it.part == part).collect();
        let count = as_f64(uses.len() as u64).max(1.0);
        PartUse {
            part: part.to_owned(),
            cpu_cores_avg: uses.iter().map(|it| it.cpu_cores).sum::<f64>() / count,
            cpu_cores_peak: uses.iter().map(|it| it.cpu_cores).fold(0.0, f64::max),
            memory_bytes_avg: uses.iter().map(|it| as_f64(it.memory_bytes)).sum::<f64>() / count,
            memory_bytes_peak: uses.iter().map(|it| it.memory_bytes).max().unwrap_or(0),
        }
    };
    records.parts().into_iter().map(of).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use runs::observation::Mark;
    use runs::report::cause::Cause;

    use super::*;

    /// A scenario with one run, some of whose events were lost in the stream.
    pub(crate) fn scenario(name: &str, acknowledged: u64, lost: u64) -> ScenarioResult {
        let second = |second: i64| MicroTime(second * 1_000_000);
        let mark = Mark { at: second(1), text: "stop nats".to_owned() };
        let window = LossWindow {
            cause: Cause::Evicted,
            hop: Hop::InStream,
            from: second(1),
            until: second(2),
            events: lost,
            marks: vec![mark],
        };
        let lost_by_cause = BTreeMap::from([(Cause::Evicted, lost)]);
        let stored = acknowledged - lost;
        let (verdict, outcome) = match lost {
            0 => (Verdict::Whole, ThresholdOutcome::Passed),
            _ => (Verdict::Lossy, ThresholdOutcome::Failed),
        };
        let checked = Checked {
            run_id: Uuid::nil(),
            profile: "smoke".to_owned(),
            verdict,
            start: second(0),
            end: second(10),
            totals: Totals {
                planned: acknowledged,
                attempted: acknowledged,
                acknowledged,
                stored,
                lost,
                lost_by_cause: lost_by_cause.into_iter().filter(|it| it.1 > 0).collect(),
                ..Totals::default()
            },
            thresholds: vec![ThresholdResult {
                metric: "ingested".to_owned(),
                condition: "rate>=99.9%".to_owned(),
                measured: Some("99.97 %".to_owned()),
                outcome,
                is_default: true,
            }],
            loss_windows: Some(window).filter(|it| it.events > 0).into_iter().collect(),
            measured: Measured { acknowledged_per_s: 100.0, ..Measured::default() },
            recovery: Some(Recovered::After { seconds: 2.5 }),
            resources: vec![PartUse {
                part: "nats".to_owned(),
                cpu_cores_avg: 0.2,
                cpu_cores_peak: 0.5,
                memory_bytes_avg: 1e7,
                memory_bytes_peak: 20_000_000,
            }],
        };
        let exit = verdict.exit() as u8;
        let run = RunResult {
            repetition: 1,
            dir: Some(format!("runs/{name}-1")),
            interrupted: Vec::new(),
            exit,
            reasons: if lost == 0 { Vec::new() } else { vec![told(&checked)] },
            notes: Vec::new(),
            checked: Some(checked),
        };
        ScenarioResult { name: name.to_owned(), exit, runs: vec![run], compared: None }
    }

    fn suite(text: &str) -> Suite {
        Suite::parse(text, "test").unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    fn check(fields: &str, change: impl FnOnce(&mut Checked), expected: Exit, reason: &str) {
        let text =
            format!("name: a\nscenarios: [{{profile: smoke{fields}}}]\nrecovery: {{within: 1m}}\n");
        let suite = suite(&text);
        let mut checked = scenario("smoke", 1_000, 0).runs.remove(0).checked.unwrap();
        change(&mut checked);
        let mut found = Findings::default();
        found.judge(&checked, &suite.scenarios[0], &suite);
        assert_eq!(worst(found.reasons.iter().map(|(exit, _)| *exit)), expected);
        let reasons = found.by_weight().join("; ");
        assert!(reasons.contains(reason), "{reasons}");
    }

    fn lose(checked: &mut Checked) {
        *checked = scenario("smoke", 1_000, 7).runs.remove(0).checked.unwrap();
    }

    #[test]
    fn a_run_is_judged_by_its_verdict_its_thresholds_and_its_recovery() {
        check("", |_| {}, Exit::Done, "");
        check("", lose, Exit::Lossy, "lossy: 7 of 1,000 events lost");
        let slow = |it: &mut Checked| it.recovery = Some(Recovered::After { seconds: 61.0 });
        check("", slow, Exit::Threshold, "it recovered after 61.0 s, and 60 s are allowed");
        let never = |it: &mut Checked| it.recovery = Some(Recovered::NotIn { seconds: 60.5 });
        check("", never, Exit::Threshold, "it had not recovered 60.5 s after the load");
        let unwatched = |it: &mut Checked| it.recovery = Some(Recovered::NotIn { seconds: 5.0 });
        check("", unwatched, Exit::Unknown, "not watched until it had recovered");
        let missed = |it: &mut Checked| it.thresholds[0].outcome = ThresholdOutcome::Failed;
        check("", missed, Exit::Threshold, "ingested rate>=99.9% is not met");
    }

    #[test]
    fn what_a_pipeline_may_lose_is_no_fault_there_and_one_elsewhere() {
        check(", may_lose: [in_stream]", lose, Exit::Done, "");
        check(", may_lose: [after_stream]", lose, Exit::Lossy, "7 of 1,000");
        let more = |it: &mut Checked| {
            lose(it);
            it.totals.corrupted = 1;
        };
        check(", may_lose: [in_stream]", more, Exit::Lossy, "");
        let nowhere = |it: &mut Checked| {
            lose(it);
            it.totals.lost_by_cause.clear();
        };
        check(", may_lose: [in_stream]", nowhere, Exit::Lossy, "");
    }

    #[test]
    fn the_heaviest_reason_comes_first() {
        let mut found = Findings::default();
        found.add(Exit::Unknown, "u".to_owned());
        found.add(Exit::Threshold, "t".to_owned());
        found.add(Exit::Lossy, "l".to_owned());
        assert_eq!(found.by_weight(), ["l", "t", "u"]);
    }
}
