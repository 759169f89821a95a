//! What a run says of each quantity: a value, and its samples by second. Pure.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use edges::clock::milliseconds;
use plans::condition::Aggregation;
use plans::spec::Span;
use runs::latency::percentiles;
use runs::measured::of_samples;
use runs::observation::ResourceUse;
use runs::record::Second;

use crate::figures::as_f64;
use crate::rates::{acknowledged_per_s, ingested_per_s};
use crate::versus::quantity::{Quantity, Resource};
use crate::versus::side::Side;

/// The value of a quantity in one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// `None` if nobody measured it.
    pub value: Option<f64>,
    /// Whether the true value may be higher, because some samples were never seen.
    pub is_open: bool,
    /// How far off the value may be because this machine was too busy, in the same unit.
    pub error: f64,
    /// Samples with their weights, by the second of the run that they belong to.
    pub by_second: BTreeMap<i64, Vec<(f64, f64)>>,
}

/// How samples are combined into a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Statistic {
    Mean,
    /// From 0 to 100.
    Percentile(f64),
    /// The value is a count of the whole run. Its samples only show that somebody looked.
    Total,
}

impl Statistic {
    pub(crate) fn of(quantity: &Quantity) -> Self {
        match quantity {
            Quantity::EndToEnd(percent) => Self::Percentile(f64::from(*percent)),
            Quantity::Ingested => Self::Total,
            _ => Self::Mean,
        }
    }
}

/// Returns the quantities that a run may have, in order.
pub(crate) fn quantities(side: &Side) -> Vec<Quantity> {
    let used = side.records.parts().into_iter().flat_map(|part| {
        [Resource::Cpu, Resource::Memory].map(|it| Quantity::Used(part.to_owned(), it))
    });
    Quantity::OF_ALL.into_iter().chain(used).collect()
}

/// Measures a quantity of a run.
pub(crate) fn measured(quantity: &Quantity, side: &Side) -> Measured {
    match quantity {
        Quantity::Acknowledged => acknowledged(side),
        Quantity::Ingested => ingested(side),
        Quantity::Webhook(percent) => webhook(side, *percent),
        Quantity::EndToEnd(percent) => visible(side, f64::from(*percent)),
        Quantity::Errors => errors(side),
        Quantity::Used(part, resource) => used(side, part, *resource),
    }
}

const SECOND_US: i64 = 1_000_000;

/// Events acknowledged in each second in which some were due.
fn acknowledged(side: &Side) -> Measured {
    let (plan, seconds) = (&side.plan, &side.records.seconds);
    let due = seconds.iter().filter(|it| plan.spec.span != Span::Live || it.at.0 <= plan.end);
    let sample = |it: &Second| (second_of(side, it.at.0), vec![(as_f64(it.acknowledged), 1.0)]);
    let of_samples = mean_of_samples(due.map(sample).collect());
    let value = acknowledged_per_s(plan, seconds).or(of_samples.value);
    Measured { value, ..of_samples }
}

/// Rows that the table took at each look at which events were due.
fn ingested(side: &Side) -> Measured {
    let due = due(side);
    let mut by_second = BySecond::new();
    for pair in side.records.observations.windows(2) {
        let [Some(before), Some(after)] = [&pair[0].table, &pair[1].table] else { continue };
        if due.contains(&pair[1].at.0) {
            let rows = as_f64(after.rows) - as_f64(before.rows);
            by_second.insert(second_of(side, pair[1].at.0), vec![(rows, 1.0)]);
        }
    }
    let totals = &side.report.totals;
    let stored = totals.stored + totals.recovered;
    let value = ingested_per_s(&side.plan, &side.records.observations, stored);
    Measured { value, error: strain(side), by_second, ..Measured::default() }
}

fn webhook(side: &Side, percent: u8) -> Measured {
    let latencies = side.records.latencies.as_ref();
    let latencies = latencies.filter(|it| !it.sent_to_acknowledged.is_empty());
    let of = |it: &runs::latency::Percentiles| match percent {
        95 => it.p95_ms,
        _ => it.p99_ms,
    };
    let sample = |it: &Second| match of(&it.sent_to_acknowledged) {
        // A second without answers has no latency.
        0.0 => Vec::new(),
        ms => vec![(ms, 1.0)],
    };
    let value = latencies.map(|it| of(&percentiles(&it.sent_to_acknowledged)));
    Measured {
        value,
        error: strain(side).max(lateness(side, f64::from(percent))),
        by_second: of_seconds(side, sample),
        ..Measured::default()
    }
}

/// 0, or infinite if this machine was so busy that the generator was late by a fiftieth of what
/// makes a run saturated, in one of twenty seconds: then nobody on it got the CPU that they needed.
fn strain(side: &Side) -> f64 {
    let is_late = lateness(side, 95.0) * 50.0 > milliseconds(side.plan.send.lateness_max_us);
    if is_late { f64::INFINITY } else { 0.0 }
}

/// How late the generator itself was in all seconds but the worst, in ms.
fn lateness(side: &Side, percent: f64) -> f64 {
    let seconds = side.records.seconds.iter().map(|it| it.lateness_max_ms).collect();
    of_samples(Aggregation::Percentile(percent), seconds).unwrap_or(0.0)
}

/// Times of sampled events until they were visible, by the second in which they were due. They are
/// not grouped by the second in which they became visible, because an aggregator stores in batches,
/// so that happens in few seconds. Samples that were never seen count with the time that they have
/// waited.
fn visible(side: &Side, percent: f64) -> Measured {
    let records = &side.records;
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
    let value = bounds.map(|bounds| bounds.least);
    Measured {
        value,
        is_open: bounds.is_some_and(|bounds| bounds.most > bounds.least),
        error: strain(side).max(lateness(side, percent)),
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

/// What a part used while events were due. How long somebody watched an idle pipeline before and
/// after that says nothing of it.
fn used(side: &Side, part: &str, resource: Resource) -> Measured {
    let due = due(side);
    let mut by_second = BySecond::new();
    for seen in side.records.observations.iter().filter(|it| due.contains(&it.at.0)) {
        let value = |it: &ResourceUse| match resource {
            Resource::Cpu => it.cpu_cores,
            Resource::Memory => as_f64(it.memory_bytes),
        };
        let of_part = seen.resources.iter().filter(|it| it.part == part);
        let samples = by_second.entry(second_of(side, seen.at.0)).or_default();
        samples.extend(of_part.map(|it| (value(it), 1.0)));
    }
    let of_samples = mean_of_samples(by_second);
    let error = match resource {
        Resource::Cpu => strain(side),
        Resource::Memory => 0.0,
    };
    Measured { error, ..of_samples }
}

type BySecond = BTreeMap<i64, Vec<(f64, f64)>>;

/// The time in which events are due. Those of a history are loaded whenever it is.
fn due(side: &Side) -> RangeInclusive<i64> {
    match side.plan.spec.span {
        Span::Live => side.plan.start..=side.plan.end,
        Span::History { .. } => i64::MIN..=i64::MAX,
    }
}

fn of_seconds(side: &Side, sample: impl Fn(&Second) -> Vec<(f64, f64)>) -> BySecond {
    let seconds = side.records.seconds.iter();
    seconds.map(|it| (second_of(side, it.at.0), sample(it))).collect()
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
