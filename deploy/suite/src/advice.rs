//! What to do next, by what was measured. Pure. Nothing is recommended without its evidence.

use report::figures;
use runs::report::cause::Hop;
use runs::report::{ThresholdOutcome, ThresholdResult};
use serde::{Deserialize, Serialize};

use crate::recovery::Recovered;
use crate::results::{Checked, Measured, ScenarioResult};

/// A recommendation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// What to do.
    pub action: String,
    /// Why: what was measured.
    pub evidence: String,
}

/// Returns recommendations, the most important first.
pub(crate) fn advice(scenarios: &[ScenarioResult]) -> Vec<Advice> {
    let mut all: Vec<(u32, Advice)> = Vec::new();
    for scenario in scenarios {
        for run in &scenario.runs {
            let Some(checked) = &run.checked else { continue };
            for (weight, advice) in of_run(&scenario.name, checked) {
                if !all.iter().any(|(_, it)| it.action == advice.action) {
                    all.push((weight, advice));
                }
            }
        }
    }
    all.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    all.into_iter().map(|(_, advice)| advice).collect()
}

fn of_run(name: &str, run: &Checked) -> Vec<(u32, Advice)> {
    let rules = [lost, not_seen, saturated, behind, fresh, webhook, parts, recovered];
    let found = rules.iter().filter_map(|rule| rule(run));
    let told = |(weight, action, evidence): Told| {
        (weight, Advice { action, evidence: format!("{name}: {evidence}") })
    };
    found.map(told).collect()
}

/// The weight, the action and the evidence.
type Told = (u32, String, String);

fn lost(run: &Checked) -> Option<Told> {
    let by_cause = run.totals.lost_by_cause.iter();
    let (cause, events) = by_cause.max_by_key(|(_, events)| **events)?;
    let action = match cause.hop() {
        Hop::BeforeStream => {
            "Find out what drops events between webhook and stream: give the sidecars a disk \
             buffer that blocks when it is full, and their NATS sink acknowledgements"
        }
        Hop::InStream => {
            "Give the stream more room or a faster consumer: it dropped messages that nobody had \
             read"
        }
        Hop::AfterStream => {
            "Give the aggregator a disk buffer that survives its pod: it had taken events from the \
             stream, and they are not in the table"
        }
        Hop::InTable => {
            "Look at the table's engine, sorting key and TTL: rows that were stored are gone"
        }
        Hop::Unknown => {
            "Keep the stream's messages until the run is checked, so that the hop can be named"
        }
    };
    let window = run.loss_windows.iter().max_by_key(|window| window.events);
    let when = window.map_or(String::new(), |window| {
        let marks: Vec<&str> = window.marks.iter().map(|mark| mark.text.as_str()).collect();
        let marked = if marks.is_empty() {
            String::new()
        } else {
            format!(", with mark {}", marks.join(", "))
        };
        format!("; most of them were due from {} on{marked}", figures::time_of_day(window.from))
    });
    let of = figures::grouped(run.totals.acknowledged);
    let evidence = format!("{} of {of} events lost{when}", figures::grouped(*events));
    Some((100, action.to_owned(), evidence))
}

fn not_seen(run: &Checked) -> Option<Told> {
    let count = run.totals.not_seen;
    let action = "Give the verifier the metrics of all Vectors (VECTOR_METRICS_URL) and more time, \
                  so that events that are still on their way can be told from lost ones";
    let evidence =
        format!("{} not seen, and not proven to be lost", figures::counted(count, "event"));
    (count > 0).then(|| (90, action.to_owned(), evidence))
}

fn saturated(run: &Checked) -> Option<Told> {
    let action = "Give the generator more CPU, or share the run among several machines: the load \
                  was not what the profile asks for";
    let evidence = "the generator was saturated".to_owned();
    run.measured.saturated.then(|| (80, action.to_owned(), evidence))
}

fn behind(run: &Checked) -> Option<Told> {
    let missed = missed(run, "lag")?;
    let action = "Make the aggregator faster (more replicas, larger inserts), or the load smaller: \
                  the consumer fell behind";
    let of_stream = match run.measured.stream_bytes_max {
        Some(bytes) => format!(", and the stream held {}", figures::bytes(figures::as_f64(bytes))),
        None => String::new(),
    };
    Some((70, action.to_owned(), format!("{missed}{of_stream}")))
}

fn fresh(run: &Checked) -> Option<Told> {
    let missed = missed(run, "due_to_visible")?;
    let Measured { lag_max, .. } = run.measured;
    let lag = lag_max.map_or(String::new(), |lag| format!("; the lag was {lag} at most"));
    let action = match lag_max {
        Some(lag) if lag < LAG_SMALL => {
            "Shorten the time for which the aggregator collects a batch: it decides how soon an \
             event is visible, because nothing waited before it"
        }
        _ => "Find out which part is too slow: events waited before the aggregator",
    };
    Some((60, action.to_owned(), format!("{missed}{lag}")))
}

fn webhook(run: &Checked) -> Option<Told> {
    let missed = missed(run, "sent_to_acknowledged")?;
    let action = "Give the sidecars more CPU or replicas: the webhook answers too slowly";
    Some((50, action.to_owned(), missed))
}

fn parts(run: &Checked) -> Option<Told> {
    let parts = run.measured.parts_of_a_partition_max.filter(|parts| *parts > PARTS_MANY)?;
    let action = "Insert fewer and larger batches: merges do not keep up with the parts";
    let evidence = format!("{parts} active parts in one partition; from 1,000 on, inserts wait");
    Some((40, action.to_owned(), evidence))
}

fn recovered(run: &Checked) -> Option<Told> {
    let Some(Recovered::NotIn { seconds }) = run.recovery else { return None };
    let action = "Find out what still waits after the load: the pipeline did not come to rest";
    let evidence = format!("something still waited {seconds:.1} s after the load");
    Some((30, action.to_owned(), evidence))
}

/// How a metric missed a threshold.
fn missed(run: &Checked, metric: &str) -> Option<String> {
    let is_it =
        |it: &&ThresholdResult| it.metric == metric && it.outcome == ThresholdOutcome::Failed;
    let missed = run.thresholds.iter().find(is_it)?;
    let measured = missed.measured.as_deref().unwrap_or("not measured");
    Some(format!("{metric} was {measured}, and {} is asked for", missed.condition))
}

/// Far below what a consumer has on its way at once.
const LAG_SMALL: u64 = 1_000;
/// Merges keep the parts of a partition far below this when inserts are large.
const PARTS_MANY: u64 = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::scenario;

    #[test]
    fn what_weighs_most_comes_first_and_each_has_its_evidence() {
        assert_eq!(advice(&[scenario("fine", 1_000, 0)]), []);
        let mut bad = scenario("bad", 1_000, 7);
        let run = bad.runs[0].checked.as_mut().unwrap();
        run.measured.parts_of_a_partition_max = Some(400);
        run.measured.lag_max = Some(5);
        run.thresholds.push(ThresholdResult {
            metric: "due_to_visible".to_owned(),
            condition: "p(95)<10s".to_owned(),
            measured: Some("12 s".to_owned()),
            outcome: ThresholdOutcome::Failed,
            is_default: true,
        });
        let found = advice(&[bad.clone(), bad]);
        let evidence: Vec<&str> = found.iter().map(|it| it.evidence.as_str()).collect();
        assert_eq!(
            evidence,
            [
                "bad: 7 of 1,000 events lost; most of them were due from 00:00:01 UTC on, with \
                 mark stop nats",
                "bad: due_to_visible was 12 s, and p(95)<10s is asked for; the lag was 5 at \
                 most",
                "bad: 400 active parts in one partition; from 1,000 on, inserts wait",
            ]
        );
        assert!(found[1].action.contains("collects a batch"), "{found:?}");
    }
}
