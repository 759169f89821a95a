//! Checks whether a run meets the thresholds of its profile. Pure.

use edges::exit::Exit;
use plans::condition::Condition;
use plans::metric::{Metric, Source};
use plans::threshold::Threshold;
use runs::measured::{Sent, of_events, of_samples};
use runs::report::fates::Totals;
use runs::report::verdict::Verdict;
use runs::report::{Report, ThresholdOutcome, ThresholdResult};

use crate::bounds::Bounds;
use crate::figures::{self, as_f64};
use crate::records::RunRecords;

/// Measures what the thresholds need, and compares. If there are no samples, or if samples that
/// were never seen could change the result, the outcome is unknown, never passed.
pub fn evaluate(
    thresholds: &[Threshold],
    records: &RunRecords,
    totals: &Totals,
) -> Vec<ThresholdResult> {
    let result = |threshold: &Threshold| {
        let Threshold { condition, is_default } = threshold;
        let bounds = measure(condition, records, totals);
        ThresholdResult {
            metric: condition.metric.to_string(),
            condition: condition.asked(),
            measured: bounds.map(|bounds| say(bounds, condition, records, totals)),
            outcome: match bounds {
                None => ThresholdOutcome::Unknown,
                Some(bounds) => bounds.judge(condition),
            },
            is_default: *is_default,
        }
    };
    thresholds.iter().map(result).collect()
}

/// Writes what was measured. If samples or events that were not seen leave it open, this writes the
/// possible range.
fn say(bounds: Bounds, condition: &Condition, records: &RunRecords, totals: &Totals) -> String {
    let metric = &condition.metric;
    let figure = |value| figures::measured(value, condition.aggregation, metric.measure());
    let Bounds { least, most } = bounds;
    let range = match most {
        most if most <= least => return figure(least),
        // Nobody wrote down since when the samples waited, so the time may be anything.
        most if least.is_infinite() && most.is_infinite() => "not known".to_owned(),
        most if least.is_infinite() => format!("at most {}", figure(most)),
        most if most.is_infinite() => format!("at least {}", figure(least)),
        most => format!("{} to {}", figure(least), figure(most)),
    };
    let seen = match metric {
        Metric::Ingested | Metric::Lost => {
            let plural = if totals.not_seen == 1 { "event was" } else { "events were" };
            return format!("{range}: {} {plural} not seen yet", totals.not_seen);
        }
        Metric::AcknowledgedToVisible => records.freshness_ms().count(),
        _ => records.end_to_end_ms().count(),
    };
    let awaited = records.awaited.len();
    format!("{range}: {awaited} of {} samples were not visible yet", awaited + seen)
}

/// The exit code of a report. It follows from the verdict and, if that is whole, from the
/// thresholds. An unknown result of a default threshold, which the profile did not ask for, is no
/// failure.
pub fn exit(report: &Report) -> Exit {
    let any = |is: fn(&ThresholdResult) -> bool| report.thresholds.iter().any(is);
    match report.verdict {
        Verdict::Whole if any(|it| it.outcome == ThresholdOutcome::Failed) => Exit::Threshold,
        Verdict::Whole if any(|it| it.outcome == ThresholdOutcome::Unknown && !it.is_default) => {
            Exit::Unknown
        }
        verdict => verdict.exit(),
    }
}

fn measure(condition: &Condition, records: &RunRecords, totals: &Totals) -> Option<Bounds> {
    match &condition.metric {
        Metric::DueToVisible => records.end_to_end(condition.aggregation),
        Metric::AcknowledgedToVisible => records.freshness(condition.aggregation),
        // An event that was not seen yet may be stored in the end, or be lost.
        Metric::Ingested => {
            let stored = totals.stored + totals.filtered;
            events(condition, (stored, stored + totals.not_seen), totals.acknowledged)
        }
        Metric::Lost => {
            let most = totals.lost + totals.not_seen;
            events(condition, (totals.lost, most), totals.acknowledged)
        }
        _ => known(condition, records, totals).map(|value| Bounds { least: value, most: value }),
    }
}

/// Bounds for the number of events, or for the share that they are of others.
fn events(condition: &Condition, (least, most): (u64, u64), of: u64) -> Option<Bounds> {
    let measured = |count| of_events(condition.aggregation, count, of);
    Some(Bounds { least: measured(least)?, most: measured(most)? })
}

/// Measures a metric that does not depend on what was not seen.
fn known(condition: &Condition, records: &RunRecords, totals: &Totals) -> Option<f64> {
    let Condition { metric, aggregation, .. } = condition;
    let aggregation = *aggregation;
    let uses = |part: &str| {
        let of_part = move |name: &str| name == part;
        let all = records.observations.iter().flat_map(|seen| &seen.resources);
        all.filter(|it| of_part(&it.part)).cloned().collect::<Vec<_>>()
    };
    match metric {
        Metric::Duplicated => of_events(aggregation, totals.duplicated, totals.stored),
        Metric::Lag => {
            of_samples(aggregation, records.lags().map(|(_, lag)| as_f64(lag)).collect())
        }
        Metric::Cpu(part) => {
            of_samples(aggregation, uses(part).iter().map(|it| it.cpu_cores).collect())
        }
        Metric::Memory(part) => {
            let bytes = uses(part).iter().map(|it| as_f64(it.memory_bytes)).collect();
            of_samples(aggregation, bytes)
        }
        _ if metric.source() == Source::Queries => {
            records.queries.measure(metric, aggregation, records.shards)
        }
        _ => sent(records, totals).measure(metric, aggregation),
    }
}

/// What the generators' files and the account say of the events that were sent. `--abort-on`
/// measures the same, from the seconds alone. The account is more exact: after a kill of the
/// generator, seconds are missing.
fn sent<'a>(records: &'a RunRecords, totals: &Totals) -> Sent<'a> {
    let is_event = |metric: &Metric| matches!(metric.source(), Source::Events(_));
    let exact = Metric::counts().filter(is_event).filter_map(|metric| {
        let count = match metric {
            Metric::Planned => Some(totals.planned),
            Metric::Attempted => Some(totals.attempted),
            Metric::Acknowledged => Some(totals.acknowledged + totals.spoiled),
            Metric::Refused => Some(totals.refused),
            Metric::Unknown => Some(totals.unknown),
            Metric::Spoiled => Some(totals.spoiled),
            Metric::Unsent => Some(totals.unsent),
            Metric::Dropped => records.dropped(),
            // Only the seconds know it, and a generator that was killed did not write all of them.
            _ if !records.is_complete() => None,
            _ => return None,
        };
        Some((metric, count))
    });
    let (latencies, seconds) = (records.latencies.as_ref(), records.seconds.as_slice());
    Sent { latencies, seconds, exact: exact.collect() }
}

#[cfg(test)]
mod tests {
    use events::event::MicroTime;
    use plans::metric::Stretch;
    use plans::threshold::Thresholds;
    use runs::observation::{ConsumerSeen, Freshness, Observation, ResourceUse, StreamSeen};

    use super::*;
    use crate::awaited::Awaited;
    use crate::records::tests::records;

    fn observed() -> Vec<Observation> {
        let seen = |at_s: i64, lag: u64, visible_ms: &[f64]| Observation {
            at: MicroTime(at_s * 1_000_000),
            stream: Some(StreamSeen {
                consumer: Some(ConsumerSeen {
                    pending: lag,
                    unacknowledged: 1,
                    ..ConsumerSeen::default()
                }),
                ..StreamSeen::default()
            }),
            table: None,
            freshness: Freshness {
                due_to_visible_ms: visible_ms.to_vec(),
                acknowledged_to_visible_ms: visible_ms.iter().map(|ms| ms - 10.0).collect(),
                ..Freshness::default()
            },
            clocks: Vec::new(),
            resources: vec![ResourceUse {
                part: "nats".to_owned(),
                cpu_cores: 0.5,
                memory_bytes: 1 << 20,
            }],
            backlog_min: None,
            held: Vec::new(),
        };
        vec![seen(1, 10, &[1_000.0, 3_000.0]), seen(2, 900, &[2_000.0])]
    }

    const TOTALS: fn() -> Totals = || Totals {
        planned: 1_000,
        attempted: 900,
        unsent: 100,
        acknowledged: 800,
        refused: 90,
        unknown: 10,
        stored: 796,
        filtered: 2,
        lost: 2,
        duplicated: 1,
        ..Totals::default()
    };

    /// Evaluates one threshold that a profile asks for.
    fn evaluated(
        (metric, condition): (&str, &str),
        seen: &RunRecords,
        totals: &Totals,
    ) -> ThresholdResult {
        let metric = Metric::parse(metric, Stretch::Run).unwrap();
        let condition = Condition::parse_of(metric, condition).unwrap();
        let threshold = Threshold { condition, is_default: false };
        evaluate(&[threshold], seen, totals).remove(0)
    }

    #[track_caller]
    fn check(metric: &str, condition: &str, measured: Option<&str>, outcome: ThresholdOutcome) {
        let seen = records(Vec::new(), &[5_000, 50_000], observed());
        let result = evaluated((metric, condition), &seen, &TOTALS());
        assert_eq!(result.measured.as_deref(), measured);
        assert_eq!(result.outcome, outcome);
    }

    #[test]
    fn every_metric_is_measured_and_compared() {
        use ThresholdOutcome::{Failed, Passed, Unknown};
        check("sent_to_acknowledged", "p(95)<100ms", Some("50 ms"), Passed);
        check("sent_to_acknowledged", "med<5ms", Some("5 ms"), Failed);
        check("due_to_acknowledged", "max<100ms", Some("100 ms"), Failed);
        check("due_to_visible", "p(95)<2s", Some("3 s"), Failed);
        check("due_to_visible", "p(50)<=2s", Some("2 s"), Passed);
        check("acknowledged_to_visible", "avg<2s", Some("1.99 s"), Passed);
        check("ingested", "rate>99.9%", Some("99.75 %"), Failed);
        check("acknowledged", "rate>80%", Some("88.889 %"), Passed);
        check("refused", "rate<=10%", Some("10 %"), Passed);
        check("unknown", "count<10", Some("10"), Failed);
        check("unsent", "rate<1%", Some("10 %"), Failed);
        check("lost", "count==2", Some("2"), Passed);
        check("duplicated", "count<1", Some("1"), Failed);
        check("lag", "lag<1000", Some("901"), Passed);
        check("cpu.nats", "max<1", Some("0.5 cores"), Passed);
        check("memory.nats", "max<1MiB", Some("1 MiB"), Failed);
        check("memory.relay", "max<1MiB", None, Unknown);
        check("dropped", "count<1", None, Unknown);
    }

    #[test]
    fn samples_that_were_never_seen_count_as_long_as_they_have_waited() {
        use ThresholdOutcome::{Failed, Passed, Unknown};
        let mut seen = records(Vec::new(), &[], observed());
        let awaited = |due_ms, acknowledged_ms| Awaited { due: 0, due_ms, acknowledged_ms };
        seen.awaited = vec![awaited(19_800.0, 19_700.0), awaited(500.0, f64::NEG_INFINITY)];
        let check = |metric: &str, condition: &str, measured: &str, outcome| {
            let result = evaluated((metric, condition), &seen, &TOTALS());
            let wait = "2 of 5 samples were not visible yet";
            let expected = measured.replace("WAIT", wait);
            assert_eq!((result.measured.as_deref(), result.outcome), (Some(&*expected), outcome));
        };
        check("due_to_visible", "p(95)<10s", "at least 19.8 s: WAIT", Failed);
        check("due_to_visible", "p(95)<20s", "at least 19.8 s: WAIT", Unknown);
        check("due_to_visible", "p(60)<5s", "2 s to 3 s: WAIT", Passed);
        check("due_to_visible", "p(20)<=1s", "500 ms to 1 s: WAIT", Passed);
        check("acknowledged_to_visible", "p(80)<10s", "at least 2.99 s: WAIT", Unknown);
        check("acknowledged_to_visible", "avg<10s", "not known: WAIT", Unknown);
        check("acknowledged_to_visible", "max<10s", "at least 19.7 s: WAIT", Failed);
    }

    #[test]
    fn events_that_were_not_seen_yet_may_be_stored_or_lost() {
        use ThresholdOutcome::{Failed, Passed, Unknown};
        let seen = records(Vec::new(), &[], observed());
        let check = |metric: &str, condition: &str, measured: &str, outcome| {
            let totals = Totals {
                acknowledged: 1_000,
                stored: 995,
                lost: 1,
                not_seen: 4,
                ..Totals::default()
            };
            let result = evaluated((metric, condition), &seen, &totals);
            let expected = format!("{measured}: 4 events were not seen yet");
            assert_eq!((result.measured, result.outcome), (Some(expected), outcome));
        };
        check("ingested", "rate>99.8%", "99.5 % to 99.9 %", Unknown);
        check("ingested", "rate>=99.95%", "99.5 % to 99.9 %", Failed);
        check("ingested", "rate>99%", "99.5 % to 99.9 %", Passed);
        check("lost", "count<1", "1 to 5", Failed);
        check("lost", "count<2", "1 to 5", Unknown);
        check("lost", "count<6", "1 to 5", Passed);
    }

    #[test]
    fn nothing_passes_without_samples() {
        let nothing = records(Vec::new(), &[], Vec::new());
        let thresholds = Thresholds::of_run(None, true);
        let results = evaluate(&thresholds, &nothing, &Totals::default());
        assert!(results.iter().all(|it| it.outcome == ThresholdOutcome::Unknown), "{results:?}");
    }

    #[test]
    fn a_failed_threshold_and_one_that_was_asked_for_and_not_measured_have_exit_codes() {
        use ThresholdOutcome::{Failed, Passed, Unknown};
        let check = |verdict, thresholds: &[(ThresholdOutcome, bool)], expected| {
            let mut report = crate::example();
            report.verdict = verdict;
            let template = report.thresholds[0].clone();
            report.thresholds = thresholds
                .iter()
                .map(|&(outcome, is_default)| ThresholdResult {
                    outcome,
                    is_default,
                    ..template.clone()
                })
                .collect();
            assert_eq!(exit(&report), expected);
        };
        check(Verdict::Whole, &[(Passed, false)], Exit::Done);
        check(Verdict::Whole, &[(Unknown, true)], Exit::Done);
        check(Verdict::Whole, &[(Unknown, false)], Exit::Unknown);
        check(Verdict::Whole, &[(Unknown, false), (Failed, true)], Exit::Threshold);
        check(Verdict::Lossy, &[(Failed, false)], Exit::Lossy);
        check(Verdict::Unknown, &[(Failed, false)], Exit::Unknown);
    }
}
