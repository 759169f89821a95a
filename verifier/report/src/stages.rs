//! Which rates a run has sustained, stage by stage, from its records. Pure.

use capacity::judge::{Judgement, judge};
use capacity::plateau::Plateau;
use capacity::ramp::{Slice, judge_ramp};
use capacity::recorded::{Planned, Recorded, plateau};
use capacity::rules::JudgeOptions;
use capacity::units::EventsPerSecond;
use events::timeline::{Stage, UnixMicros};
use plans::condition::{Aggregation, Comparator};
use plans::metric::Metric;
use plans::plan::Plan;
use plans::profile::Profile;
use plans::spec::{DeliveryPath, Span};
use runs::report::Report;

use crate::figures::as_f64;
use crate::records::RunRecords;

/// A stage of a run, judged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JudgedStage {
    /// From the start of the run.
    pub(crate) from_s: f64,
    pub(crate) until_s: f64,
    pub(crate) outcome: Outcome,
}

/// What a stage has shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// It had one rate.
    Flat { rate: EventsPerSecond, judgement: Box<Judgement> },
    /// Its rate moved.
    Ramp(Vec<Slice>),
}

/// Judges the stages of a live run that went through the pipeline. Stages without events are left
/// out. `None` of any other run.
pub(crate) fn stages(
    report: &Report,
    records: &RunRecords,
    plan: &Plan,
) -> Option<Vec<JudgedStage>> {
    if plan.spec.span != Span::Live || plan.path() != DeliveryPath::Pipeline {
        return None;
    }
    let profile = Profile::parse(&plan.spec.profile, "of the run").ok()?;
    let judging = Judging { report, records, plan, options: options(plan) };
    let mut from = plan.start;
    let mut judged = Vec::new();
    for stage in joined(plan.spec.scale.stages(&profile)) {
        let until = from + i64::try_from(stage.duration_us).unwrap_or(i64::MAX / 2);
        // What a stopped run did not come to is not judged.
        let is_sent = records.seconds.iter().any(|it| it.at.0 > from && it.planned > 0);
        if judging.planned(from, until) > 0 && (is_sent || records.seconds.is_empty()) {
            judged.push(judging.stage(&stage, from, until));
        }
        from = until;
    }
    Some(judged)
}

/// Stages that follow each other with the same rate are one plateau.
fn joined(stages: Vec<Stage>) -> Vec<Stage> {
    let mut joined: Vec<Stage> = Vec::new();
    for stage in stages {
        match joined.last_mut() {
            Some(last)
                if is_flat(last)
                    && is_flat(&stage)
                    && (last.rate_milli, last.tenants) == (stage.rate_milli, stage.tenants) =>
            {
                last.duration_us += stage.duration_us;
            }
            _ => joined.push(stage),
        }
    }
    joined
}

fn is_flat(stage: &Stage) -> bool {
    stage.rate_milli.0 == stage.rate_milli.1 && stage.tenants.0 == stage.tenants.1
}

/// The objectives are those of the profile, or the published ones.
fn options(plan: &Plan) -> JudgeOptions {
    let mut options = JudgeOptions::default();
    for threshold in &plan.thresholds {
        let condition = &threshold.condition;
        let is_p95 = condition.aggregation == Aggregation::Percentile(95.0);
        if !is_p95 || !matches!(condition.comparator, Comparator::Below | Comparator::AtMost) {
            continue;
        }
        let limit = std::time::Duration::from_secs_f64(condition.limit.value() / 1_000.0);
        match condition.metric {
            Metric::DueToVisible => options.due_to_visible_p95_max = limit,
            Metric::SentToAcknowledged => options.sent_to_acknowledged_p95_max = limit,
            _ => {}
        }
    }
    options
}

struct Judging<'r> {
    report: &'r Report,
    records: &'r RunRecords,
    plan: &'r Plan,
    options: JudgeOptions,
}

impl Judging<'_> {
    fn stage(&self, stage: &Stage, from: UnixMicros, until: UnixMicros) -> JudgedStage {
        let in_s = |at: UnixMicros| edges::clock::seconds(at - self.plan.start);
        let observed = self.observed(from, until);
        let outcome = if is_flat(stage) {
            let judgement = Box::new(judge(&self.options, &observed));
            Outcome::Flat { rate: observed.rate, judgement }
        } else {
            let moment = |at_s: f64| from + micros(at_s);
            let lost = |from_s, until_s| self.lost(moment(from_s), moment(until_s));
            Outcome::Ramp(judge_ramp(&self.options, &observed, self.ends(from, until), lost))
        };
        JudgedStage { from_s: in_s(from), until_s: in_s(until), outcome }
    }

    fn observed(&self, from: UnixMicros, until: UnixMicros) -> Plateau {
        let recorded = Recorded {
            start: self.plan.start,
            seconds: &self.records.seconds,
            observations: &self.records.observations,
            lateness_max_ms: edges::clock::milliseconds(self.plan.send.lateness_max_us),
            // The records have the sums of all shards.
            shards: 1,
        };
        let planned = Planned {
            from,
            until,
            rate: Some(self.rate(from, until)),
            is_confirmation: false,
            lost_events: self.lost(from, until),
        };
        plateau(&recorded, &planned)
    }

    /// Events that were due in this time and are lost. A period of losses that touches it counts
    /// in full; `None` if events are not seen yet, which may be of any time.
    fn lost(&self, from: UnixMicros, until: UnixMicros) -> Option<u64> {
        let windows = self.report.loss_windows.iter();
        let is_in = |from_us: i64, until_us: i64| from_us < until && until_us >= from;
        let lost = windows.filter(|it| is_in(it.from.0, it.until.0)).map(|it| it.events).sum();
        (lost > 0 || self.report.totals.not_seen == 0).then_some(lost)
    }

    /// The rates at the ends of a ramp, from the averages of its halves.
    fn ends(&self, from: UnixMicros, until: UnixMicros) -> (EventsPerSecond, EventsPerSecond) {
        let middle = from + (until - from) / 2;
        let (first, second) = (self.rate(from, middle).0, self.rate(middle, until).0);
        let half = (second - first) / 2.0;
        (EventsPerSecond((first - half).max(0.0)), EventsPerSecond((second + half).max(0.0)))
    }

    fn rate(&self, from: UnixMicros, until: UnixMicros) -> EventsPerSecond {
        let seconds = edges::clock::seconds(until - from).max(1e-6);
        EventsPerSecond(as_f64(self.planned(from, until)) / seconds)
    }

    fn planned(&self, from: UnixMicros, until: UnixMicros) -> u64 {
        let script = &self.plan.script;
        let due = |at| script.tenants().map(|it| script.timeline(it).count_before(at)).sum::<u64>();
        due(until) - due(from)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "some hours in µs")]
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}

#[cfg(test)]
pub(crate) mod tests {
    use capacity::judge::{Failure, Verdict};
    use events::event::MicroTime;
    use plans::spec::RunOptions;
    use runs::observation::{ConsumerSeen, Freshness, Observation, StreamSeen, TableSeen};
    use runs::report::LossWindow;
    use runs::report::cause::{Cause, Hop};
    use uuid::Uuid;

    use super::*;
    use crate::records::tests::{records, second};
    use crate::versus::side::Side;

    const SECOND_US: i64 = 1_000_000;

    /// A watched run whose aggregator stores at most so many events a second. The stream holds its
    /// last 8,600 messages.
    pub(crate) fn overtaken(stages: &str, limit: f64) -> Side {
        let text = format!("name: x\nstages: {stages}\n");
        let plan =
            Plan::parse(&text, "x", RunOptions::new(Uuid::from_u128(7), 0, Span::Live)).unwrap();
        let until_s = plan.end / SECOND_US;
        let timeline = plan.script.timeline(plan.script.tenants().next().unwrap());
        let (mut stored, mut seconds, mut observations) = (0.0, Vec::new(), vec![look(0, 0, 0)]);
        for at_s in 1..=until_s {
            let due = timeline.count_before(at_s * SECOND_US);
            seconds.push(second(at_s, due - timeline.count_before((at_s - 1) * SECOND_US), 5.0));
            stored = (stored + limit).min(as_f64(due));
            observations.push(look(at_s, due, whole(stored)));
        }
        let records = records(seconds, &[], observations);
        let mut report = crate::example();
        (report.totals.not_seen, report.totals.lost) = (0, 0);
        report.loss_windows.clear();
        Side { dir: "runs/x".into(), plan, report, records }
    }

    fn look(at_s: i64, come: u64, stored: u64) -> Observation {
        let messages = come.min(8_600);
        let consumer = ConsumerSeen { pending: 5, ..ConsumerSeen::default() };
        Observation {
            at: MicroTime(at_s * SECOND_US),
            stream: Some(StreamSeen {
                messages,
                bytes: messages * 1_000,
                first: come - messages,
                last: come,
                consumer: Some(consumer),
            }),
            table: Some(TableSeen { rows: stored, ..TableSeen::default() }),
            freshness: Freshness { due_to_visible_ms: vec![700.0; 10], ..Freshness::default() },
            clocks: Vec::new(),
            resources: Vec::new(),
            backlog_min: None,
            held: Vec::new(),
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
    fn whole(count: f64) -> u64 {
        count as u64
    }

    pub(crate) fn judged(side: &Side) -> Vec<JudgedStage> {
        stages(&side.report, &side.records, &side.plan).expect("a live run")
    }

    fn verdicts(side: &Side) -> Vec<Verdict> {
        let of = |stage: JudgedStage| match stage.outcome {
            Outcome::Flat { judgement, .. } => judgement.verdict,
            Outcome::Ramp(_) => panic!("it is flat"),
        };
        judged(side).into_iter().map(of).collect()
    }

    const TWO: &str = "[{duration: 3m, rate: 1000/s, tenants: 1}, \
                        {duration: 3m, rate: 900/s, tenants: 1}]";

    #[test]
    fn a_loss_fails_the_stages_in_whose_time_it_was_due() {
        let mut side = overtaken(TWO, 2_000.0);
        assert_eq!(verdicts(&side), [Verdict::Sustained, Verdict::Sustained]);
        side.report.loss_windows = vec![LossWindow {
            cause: Cause::NeverInStream,
            hop: Hop::BeforeStream,
            from: MicroTime(200 * SECOND_US),
            until: MicroTime(201 * SECOND_US),
            events: 4,
            marks: Vec::new(),
        }];
        let lost = Verdict::NotSustained { failed: vec![Failure::Lost { events: 4 }] };
        assert_eq!(verdicts(&side), [Verdict::Sustained, lost]);
        side.report.loss_windows.clear();
        side.report.totals.not_seen = 1;
        let is_open = |it: &Verdict| matches!(it, Verdict::NotKnown { .. });
        assert!(verdicts(&side).iter().all(is_open), "{:?}", verdicts(&side));
    }

    #[test]
    fn stages_with_the_same_rate_are_one_plateau_and_what_was_not_sent_is_none() {
        let same = "[{duration: 90s, rate: 1000/s, tenants: 1}, \
                     {duration: 90s, rate: 1000/s, tenants: 1}]";
        assert_eq!(verdicts(&overtaken(same, 2_000.0)), [Verdict::Sustained]);
        let mut stopped = overtaken(TWO, 2_000.0);
        stopped.records.seconds.truncate(180);
        assert_eq!(verdicts(&stopped), [Verdict::Sustained]);
    }

    #[test]
    fn objectives_of_the_profile_replace_the_published_ones() {
        let mut side = overtaken(TWO, 2_000.0);
        let text =
            format!("name: x\nstages: {TWO}\nthresholds: {{due_to_visible: ['p(95)<500ms']}}\n");
        let options = RunOptions::new(Uuid::from_u128(7), 0, Span::Live);
        side.plan = Plan::parse(&text, "x", options).unwrap();
        let stale = Failure::Stale { p95_ms: 700.0, max_ms: 500.0 };
        let failed = Verdict::NotSustained { failed: vec![stale] };
        assert_eq!(verdicts(&side), [failed.clone(), failed]);
    }

    #[test]
    fn a_history_has_no_stages() {
        let mut side = overtaken(TWO, 2_000.0);
        let span = Span::history(3, 1_000, 0);
        let options = RunOptions::new(Uuid::from_u128(7), 0, span);
        side.plan = Plan::parse(&side.plan.spec.profile.clone(), "x", options).unwrap();
        assert_eq!(stages(&side.report, &side.records, &side.plan), None);
    }
}
