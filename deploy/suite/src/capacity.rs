//! What became of a search for the highest rate that a pipeline sustains.
//!
//! The next rate follows from the plateaus so far, so an interrupted search goes on where it was.

use std::path::Path;
use std::time::Duration;

use capacity::bottleneck::Bottleneck;
use capacity::judge::{Verdict, judge};
use capacity::plateau::Plateau;
use capacity::recorded::{Planned, Recorded, plateau};
use capacity::search::{Found, GaveUp, Step as SearchStep, Trial, next_of};
use capacity::units::EventsPerSecond;
use edges::clock::micros;
use edges::exit::Exit;
use report::error::ShowError;
use report::figures::as_f64;
use report::reconciled::read_report;
use report::records::RunRecords;
use runs::report::fates::Totals;
use runs::run_dir::RunDir;
use serde::{Deserialize, Serialize};

use crate::results::{PartUse, resources_between};
use crate::search::{Capacity, Prices};
use crate::step::{State, Step};
use crate::suite_dir::{SuiteDir, run_name};

/// What became of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CapacityResult {
    /// The highest sustained rate, in events a second; `None` if none was found.
    pub rate_per_s: Option<f64>,
    /// The answer in a sentence.
    pub sentence: String,
    /// Why events do not come through faster, if that is known.
    pub bottleneck: Option<String>,
    pub exit: u8,
    /// In the order in which they were tried.
    pub plateaus: Vec<PlateauResult>,
    /// What each part of the pipeline used at the highest sustained rate.
    pub costs: Vec<PartCost>,
    /// What a million events cost, and a month at this rate; `None` without prices.
    pub cost: Option<Cost>,
}

/// What became of a plateau.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlateauResult {
    /// The directory of its run, seen from the suite's; `None` if none was begun.
    pub dir: Option<String>,
    pub rate_per_s: f64,
    pub duration_s: f64,
    pub is_confirmation: bool,
    pub verdict: Verdict,
    /// The verdict and its reason in words.
    pub told: String,
    /// At which events reached the table.
    pub stored_per_s: Option<f64>,
    pub due_to_visible_p95_ms: Option<f64>,
    pub sent_to_acknowledged_p95_ms: Option<f64>,
}

/// How many events a part of the pipeline handles with what it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartCost {
    pub part: String,
    pub events_per_cpu_second: f64,
    pub events_per_s_and_gib: f64,
}

/// Costs in the currency of the prices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub per_million_events: f64,
    pub per_month: f64,
}

/// The name of the profile whose highest rate is searched.
pub(crate) const CAPACITY: &str = "capacity";

/// The name of a plateau's scenario: they count from 1.
pub(crate) fn plateau_name(number: usize) -> String {
    format!("{CAPACITY}-{number:02}")
}

/// Whether a scenario is a plateau: no other one has such a name in a suite with a search.
pub(crate) fn is_plateau(scenario: &str) -> bool {
    scenario.strip_prefix(CAPACITY).is_some_and(|rest| rest.starts_with('-'))
}

/// What is to be done next, and what was tried so far.
pub(crate) struct Searched {
    pub(crate) step: SearchStep,
    trials: Vec<Trial>,
    plateaus: Vec<PlateauResult>,
    judged: Vec<Judged>,
}

impl Searched {
    /// The number of the plateau that is next, from 1.
    pub(crate) fn number(&self) -> usize {
        self.trials.len() + 1
    }
}

/// What else is known of a plateau.
struct Judged {
    bottleneck: Option<String>,
    resources: Vec<PartUse>,
}

/// Reads all plateaus whose runs were checked, and says what is to be done next.
pub(crate) fn searched(dir: &SuiteDir, capacity: &Capacity) -> Searched {
    let options = capacity.options();
    let (mut trials, mut plateaus, mut judged) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let step = next_of(&options, &trials);
        let SearchStep::Try { rate, duration, is_confirmation } = step else {
            return Searched { step, trials, plateaus, judged };
        };
        let name = plateau_name(trials.len() + 1);
        let check = Step::Check { scenario: name.clone(), repetition: 1 };
        let load = Step::Load { scenario: name.clone(), repetition: 1 };
        let State::Ended(loaded) = dir.journal.state(&load) else {
            return Searched { step, trials, plateaus, judged };
        };
        let run = run_name(&name, 1, loaded.attempt);
        let is_begun = RunDir::is_one(&dir.path().join(&run));
        if is_begun && dir.journal.ended(&check).is_none() {
            return Searched { step, trials, plateaus, judged };
        }
        let of_run = Of { rate, duration, is_confirmation, warm_up: options.warm_up };
        // Of a run that cannot be read nothing is known, as if nobody had watched.
        let (plateau, resources) = read_plateau(&dir.path().join(&run), &of_run)
            .unwrap_or_else(|_| (empty(&of_run), vec![]));
        let judgement = judge(&options.judge, &plateau);
        plateaus.push(PlateauResult {
            dir: is_begun.then_some(run),
            rate_per_s: rate.0,
            duration_s: duration.as_secs_f64(),
            is_confirmation,
            told: told(&judgement.verdict),
            verdict: judgement.verdict.clone(),
            stored_per_s: judgement.stored.map(|it| it.0),
            due_to_visible_p95_ms: judgement.due_to_visible_p95_ms,
            sent_to_acknowledged_p95_ms: judgement.sent_to_acknowledged_p95_ms,
        });
        let bottleneck = judgement.bottleneck.as_ref().map(in_words);
        judged.push(Judged { bottleneck, resources });
        trials.push(Trial::new(&plateau, judgement));
    }
}

/// Which plateau it was to be.
struct Of {
    rate: EventsPerSecond,
    duration: Duration,
    is_confirmation: bool,
    warm_up: Duration,
}

fn empty(of: &Of) -> Plateau {
    Plateau {
        rate: of.rate,
        duration: of.duration,
        is_confirmation: of.is_confirmation,
        seconds: Vec::new(),
        looks: Vec::new(),
        lost_events: None,
        is_saturated: None,
    }
}

fn read_plateau(run: &Path, of: &Of) -> Result<(Plateau, Vec<PartUse>), ShowError> {
    let (dir, plan) = RunDir::open(run)?;
    let report = read_report(run)?;
    let records = RunRecords::read(&[dir], &plan)?;
    let recorded = Recorded {
        start: plan.start,
        seconds: &records.seconds,
        observations: &records.observations,
        lateness_max_ms: as_f64(plan.send.lateness_max_us.unsigned_abs()) / 1_000.0,
        shards: plan.spec.shards,
    };
    let from = plan.start + micros(of.warm_up);
    let until = from + micros(of.duration);
    let planned = Planned {
        from,
        until,
        rate: Some(of.rate),
        is_confirmation: of.is_confirmation,
        lost_events: proven_lost(&report.totals),
    };
    Ok((plateau(&recorded, &planned), resources_between(&records, from, until)))
}

/// How many events are lost for certain; `None` if it is not known whether any are, because some
/// are not seen yet.
fn proven_lost(totals: &Totals) -> Option<u64> {
    Some(totals.lost).filter(|lost| *lost > 0 || totals.not_seen == 0)
}

fn told(verdict: &Verdict) -> String {
    let list = |reasons: Vec<String>| reasons.join("; ");
    match verdict {
        Verdict::Sustained => "sustained".to_owned(),
        Verdict::NotSustained { failed } => {
            format!("not sustained: {}", list(failed.iter().map(ToString::to_string).collect()))
        }
        Verdict::NotKnown { missing } => {
            format!("not known: {}", list(missing.iter().map(ToString::to_string).collect()))
        }
    }
}

/// Why events did not come through faster.
fn in_words(bottleneck: &Bottleneck) -> String {
    let Bottleneck { hop, trend, since_s, passed, stream } = bottleneck;
    let slope = EventsPerSecond(trend.slope_per_s);
    let stream = stream.map_or_else(String::new, |it| {
        format!("; the stream held {:.1} s of events at its end", it.lasts_s)
    });
    format!(
        "What fell behind first is {hop} ({}): from second {since_s:.0} on its backlog grew by \
         {slope}, and it passed on {passed}{stream}",
        hop.between()
    )
}

impl CapacityResult {
    /// What became of a search. One that has not ended has no answer.
    pub(crate) fn new(dir: &SuiteDir, capacity: &Capacity) -> Self {
        let Searched { step, trials, plateaus, judged } = searched(dir, capacity);
        let (found, exit, sentence) = match step {
            SearchStep::Found(found) => (Some(found), Exit::Done, answer(found, &trials)),
            SearchStep::GaveUp { why, best } => (None, Exit::Unknown, gave_up(why, best)),
            SearchStep::Try { .. } => {
                (None, Exit::Unknown, "The search has not come to its end".to_owned())
            }
        };
        let above = found.and_then(|found| found.above);
        let resources = found.map_or(&[][..], |found| &judged[found.confirmed_by].resources[..]);
        let rate = found.map(|found| found.rate.0);
        Self {
            rate_per_s: rate,
            sentence,
            bottleneck: above.and_then(|above| judged[above].bottleneck.clone()),
            exit: exit as u8,
            costs: rate.map_or_else(Vec::new, |rate| part_costs(rate, resources)),
            cost: rate
                .zip(capacity.prices)
                .filter(|_| !resources.is_empty())
                .map(|(rate, prices)| cost(rate, resources, prices)),
            plateaus,
        }
    }
}

fn answer(found: Found, trials: &[Trial]) -> String {
    let rate = found.rate;
    match found.above {
        Some(above) => {
            let Trial { rate: above, verdict, .. } = &trials[above];
            let why = told(verdict);
            format!("The pipeline sustains {rate}. At {above}: {why}")
        }
        None => format!("The pipeline sustains {rate}, the highest rate that was to be tried"),
    }
}

fn gave_up(why: GaveUp, best: Option<EventsPerSecond>) -> String {
    let best = best.map_or(String::new(), |best| {
        format!("; the highest rate that was sustained, without confirmation, is {best}")
    });
    let why = match why {
        GaveUp::TooSlow => "Not even the lowest rate is sustained",
        GaveUp::NotJudged => "There is no answer, because plateaus could not be judged",
        GaveUp::Plateaus => "There is no answer after all plateaus that were allowed",
        GaveUp::Time => "There is no answer within the time that was allowed",
    };
    format!("{why}{best}")
}

fn part_costs(rate: f64, resources: &[PartUse]) -> Vec<PartCost> {
    let of = |part: &PartUse| PartCost {
        part: part.part.clone(),
        events_per_cpu_second: rate / part.cpu_cores_avg.max(f64::MIN_POSITIVE),
        events_per_s_and_gib: rate / (part.memory_bytes_avg / GIB).max(f64::MIN_POSITIVE),
    };
    resources.iter().filter(|it| it.cpu_cores_avg > 0.0).map(of).collect()
}

fn cost(rate: f64, resources: &[PartUse], prices: Prices) -> Cost {
    let cores: f64 = resources.iter().map(|it| it.cpu_cores_avg).sum();
    let gib: f64 = resources.iter().map(|it| it.memory_bytes_avg / GIB).sum();
    let per_month = cores * prices.core_hour * HOURS_OF_MONTH + gib * prices.gib_month;
    let events_of_month = rate * HOURS_OF_MONTH * 3_600.0;
    Cost { per_million_events: per_month / events_of_month * 1e6, per_month }
}

const GIB: f64 = 1_073_741_824.0;
const HOURS_OF_MONTH: f64 = 730.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Event;
    use crate::suite_dir::tests::suite_in;

    #[test]
    fn a_search_goes_on_where_it_was_and_gives_up_on_runs_of_which_nothing_is_known() {
        let place = tempfile::tempdir().unwrap();
        let text = "name: a\ncapacity: {profile: baseline, from: 700/s}\n";
        let mut dir = suite_in(place.path(), text, 1);
        let capacity = dir.suite.capacity.clone().unwrap();
        let mut numbers = Vec::new();
        loop {
            let searched = searched(&dir, &capacity);
            let SearchStep::Try { rate, .. } = searched.step else { break };
            assert!((rate.0 - 700.0).abs() < 1e-9, "it is tried again: {rate}");
            numbers.push(searched.number());
            let of = Step::Load { scenario: plateau_name(searched.number()), repetition: 1 };
            let attempt = dir.begin(2, &of).unwrap();
            assert_eq!(searched.number(), super::searched(&dir, &capacity).number());
            dir.note(3, Event::Ended { of, attempt, exit: 3, notes: Vec::new() }).unwrap();
        }
        assert_eq!(numbers, [1, 2, 3], "a few times");
        let result = CapacityResult::new(&dir, &capacity);
        assert_eq!((result.exit, result.rate_per_s), (4, None));
        assert!(result.sentence.contains("could not be judged"), "{}", result.sentence);
        assert!(result.plateaus[0].told.starts_with("not known: "), "{:?}", result.plateaus);
    }

    #[test]
    fn what_is_not_seen_yet_leaves_open_whether_anything_is_lost() {
        let of = |lost, not_seen| proven_lost(&Totals { lost, not_seen, ..Totals::default() });
        assert_eq!([of(0, 0), of(0, 1), of(3, 0), of(3, 1)], [Some(0), None, Some(3), Some(3)]);
    }

    #[test]
    fn costs_follow_from_what_the_parts_used() {
        let part = |cores: f64, gib: f64| PartUse {
            part: "nats".to_owned(),
            cpu_cores_avg: cores,
            cpu_cores_peak: cores,
            memory_bytes_avg: gib * GIB,
            memory_bytes_peak: 0,
        };
        let parts = [part(0.5, 2.0), part(1.5, 2.0)];
        let costs = part_costs(1_000.0, &parts);
        assert!((costs[0].events_per_cpu_second - 2_000.0).abs() < 1e-6, "{costs:?}");
        assert!((costs[1].events_per_s_and_gib - 500.0).abs() < 1e-6, "{costs:?}");
        let prices = Prices { core_hour: 0.05, gib_month: 1.75 };
        let all = cost(1_000.0, &parts, prices);
        assert!((all.per_month - 80.0).abs() < 1e-9, "{all:?}");
        assert!((all.per_million_events - 80.0 / 2_628.0).abs() < 1e-9, "{all:?}");
    }
}
