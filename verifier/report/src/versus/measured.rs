//! The measures by which two runs are compared: a value for each run, and its samples by second.
//! Pure.

use std::collections::BTreeMap;

use edges::clock::seconds;
use plans::condition::Aggregation;
use runs::latency::percentiles;
use runs::observation::Observation;
use runs::record::Second;

use crate::figures::as_f64;
use crate::records::RunRecords;
use crate::versus::side::Side;

/// A quantity by which two runs are compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measure {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) worse: Worse,
    /// The largest change for the worse that is allowed: a part of the base's value, or a
    /// difference for a share.
    pub(crate) allowed: f64,
    /// Smaller changes, in the unit of the measure, do not count.
    pub(crate) change_min: f64,
    pub(crate) statistic: Statistic,
    pub(crate) base: Measured,
    pub(crate) run: Measured,
}

/// The value of a measure in one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Measured {
    /// `None` if nobody measured it.
    pub(crate) value: Option<f64>,
    /// Whether the true value may be higher, because some samples were never seen.
    pub(crate) is_open: bool,
    /// Samples with their weights, by the second of the run that they belong to.
    pub(crate) by_second: BTreeMap<i64, Vec<(f64, f64)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    PerSecond,
    Milliseconds,
    Cores,
    Bytes,
    /// From 0 to 1. Changes are given in points.
    Share,
}

/// Which direction of a change is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worse {
    Less,
    More,
}

/// How samples are combined into a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Statistic {
    Mean,
    /// From 0 to 100.
    Percentile(f64),
}

/// Returns all measures by which two runs can be compared.
pub(crate) fn measures(base: &Side, run: &Side) -> Vec<Measure> {
    let rate = |name: &str, of: fn(&Side) -> Measured| Measure {
        name: name.to_owned(),
        unit: Unit::PerSecond,
        worse: Worse::Less,
        allowed: INGEST_ALLOWED,
        change_min: 0.0,
        statistic: Statistic::Mean,
        base: of(base),
        run: of(run),
    };
    let latency = |name: &str, statistic, of: &dyn Fn(&Side) -> Measured| Measure {
        name: name.to_owned(),
        unit: Unit::Milliseconds,
        worse: Worse::More,
        allowed: LATENCY_ALLOWED,
        change_min: LATENCY_MIN_MS,
        statistic,
        base: of(base),
        run: of(run),
    };
    let end_to_end = |percent| {
        let of = move |side: &Side| visible(&side.records, side, percent);
        let name = format!("end to end p{percent}");
        latency(&name, Statistic::Percentile(percent), &of)
    };
    let mut measures = vec![
        rate("acknowledged", acknowledged),
        rate("ingested", ingested),
        latency("webhook p95", Statistic::Mean, &|side| {
            webhook(side, |it| it.p95_ms, |it| it.sent_to_acknowledged.p95_ms)
        }),
        latency("webhook p99", Statistic::Mean, &|side| {
            webhook(side, |it| it.p99_ms, |it| it.sent_to_acknowledged.p99_ms)
        }),
        end_to_end(95.0),
        end_to_end(99.0),
        Measure {
            name: "errors".to_owned(),
            unit: Unit::Share,
            worse: Worse::More,
            allowed: ERRORS_ALLOWED,
            change_min: 0.0,
            statistic: Statistic::Mean,
            base: errors(base),
            run: errors(run),
        },
    ];
    let mut parts = [base, run].map(|side| side.records.parts()).concat();
    parts.sort_unstable();
    parts.dedup();
    for part in parts {
        measures.push(resource(part, "cpu", base, run));
        measures.push(resource(part, "memory", base, run));
    }
    measures
}

// The published criteria.
const INGEST_ALLOWED: f64 = 0.10;
const LATENCY_ALLOWED: f64 = 0.20;
const RESOURCES_ALLOWED: f64 = 0.15;
const ERRORS_ALLOWED: f64 = 0.01;

// Smaller changes are caused by timers and by other processes.
const LATENCY_MIN_MS: f64 = 1.0;
const CORES_MIN: f64 = 0.05;
const BYTES_MIN: f64 = 16_777_216.0;

const SECOND_US: i64 = 1_000_000;

/// Events acknowledged in each second.
fn acknowledged(side: &Side) -> Measured {
    let sample = |it: &Second| vec![(as_f64(it.acknowledged), 1.0)];
    mean_of_samples(of_seconds(side, sample))
}

/// Rows that were added to the table, for each second in which events were due.
pub(crate) fn ingested(side: &Side) -> Measured {
    let mut by_second = BTreeMap::new();
    for pair in side.records.observations.windows(2) {
        let [Some(before), Some(after)] = [&pair[0].table, &pair[1].table] else { continue };
        let elapsed = seconds(pair[1].at.0 - pair[0].at.0);
        let is_due = (side.plan.start..side.plan.end).contains(&pair[1].at.0);
        if elapsed > 0.0 && is_due {
            let rate = (as_f64(after.rows) - as_f64(before.rows)) / elapsed;
            by_second.insert(second_of(side, pair[1].at.0), vec![(rate, elapsed)]);
        }
    }
    mean_of_samples(by_second)
}

fn webhook(
    side: &Side,
    whole: fn(runs::latency::Percentiles) -> f64,
    of_second: fn(&Second) -> f64,
) -> Measured {
    let latencies =
        side.records.latencies.as_ref().filter(|it| !it.sent_to_acknowledged.is_empty());
    let sample = |it: &Second| match of_second(it) {
        // A second without answers has no latency.
        0.0 => Vec::new(),
        ms => vec![(ms, 1.0)],
    };
    Measured {
        value: latencies.map(|it| whole(percentiles(&it.sent_to_acknowledged))),
        by_second: of_seconds(side, sample),
        ..Measured::default()
    }
}

/// Times of sampled events until they were visible, by the second in which they were due. They are
/// not grouped by the second in which they became visible, because an aggregator stores in batches,
/// so that happens in few seconds. Samples that were never seen count with the time that they have
/// waited.
fn visible(records: &RunRecords, side: &Side, percent: f64) -> Measured {
    let mut by_second = BySecond::new();
    for seen in &records.observations {
        for ms in &seen.freshness.due_to_visible_ms {
            let due = seen.at.0 - whole_micros(*ms);
            by_second.entry(second_of(side, due)).or_default().push((*ms, 1.0));
        }
    }
    for it in &records.awaited {
        by_second.entry(second_of(side, it.due)).or_default().push((it.due_ms, 1.0));
    }
    let bounds = records.end_to_end(Aggregation::Percentile(percent));
    Measured {
        value: bounds.map(|bounds| bounds.least),
        is_open: bounds.is_some_and(|bounds| bounds.most > bounds.least),
        by_second,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a cast saturates")]
fn whole_micros(ms: f64) -> i64 {
    (ms * 1_000.0).round() as i64
}

/// Refused, unknown and lost events, as a share of those attempted. Lost events belong to no
/// second, so they change the value and add no noise.
fn errors(side: &Side) -> Measured {
    let totals = &side.report.totals;
    let wrong = totals.refused + totals.unknown + totals.lost;
    let value = (totals.attempted > 0).then(|| as_f64(wrong) / as_f64(totals.attempted));
    let sample = |it: &Second| match it.sent {
        0 => Vec::new(),
        sent => vec![(as_f64(it.refused + it.unknown) / as_f64(sent), as_f64(sent))],
    };
    Measured { value, by_second: of_seconds(side, sample), ..Measured::default() }
}

fn resource(part: &str, kind: &str, base: &Side, run: &Side) -> Measure {
    let of = |side: &Side| {
        mean_of_samples(of_observations(side, |seen| {
            let used = seen.resources.iter().filter(|it| it.part == part);
            let value = |it: &runs::observation::ResourceUse| match kind {
                "cpu" => it.cpu_cores,
                _ => as_f64(it.memory_bytes),
            };
            used.map(|it| (value(it), 1.0)).collect()
        }))
    };
    let (unit, change_min) = match kind {
        "cpu" => (Unit::Cores, CORES_MIN),
        _ => (Unit::Bytes, BYTES_MIN),
    };
    Measure {
        name: format!("{kind}.{part}"),
        unit,
        worse: Worse::More,
        allowed: RESOURCES_ALLOWED,
        change_min,
        statistic: Statistic::Mean,
        base: of(base),
        run: of(run),
    }
}

type BySecond = BTreeMap<i64, Vec<(f64, f64)>>;

fn of_seconds(side: &Side, sample: impl Fn(&Second) -> Vec<(f64, f64)>) -> BySecond {
    let seconds = side.records.seconds.iter();
    seconds.map(|it| (second_of(side, it.at.0), sample(it))).collect()
}

fn of_observations(side: &Side, samples: impl Fn(&Observation) -> Vec<(f64, f64)>) -> BySecond {
    let mut by_second = BySecond::new();
    for seen in &side.records.observations {
        by_second.entry(second_of(side, seen.at.0)).or_default().extend(samples(seen));
    }
    by_second
}

fn second_of(side: &Side, at: i64) -> i64 {
    (at - side.plan.start).div_euclid(SECOND_US)
}

fn mean_of_samples(by_second: BySecond) -> Measured {
    let samples: Vec<_> = by_second.values().flatten().copied().collect();
    Measured { value: mean(&samples), by_second, ..Measured::default() }
}

/// Weighted mean, or `None` without samples.
pub(crate) fn mean(samples: &[(f64, f64)]) -> Option<f64> {
    let weight: f64 = samples.iter().map(|(_, weight)| weight).sum();
    let sum: f64 = samples.iter().map(|(value, weight)| value * weight).sum();
    (weight > 0.0).then(|| sum / weight)
}
