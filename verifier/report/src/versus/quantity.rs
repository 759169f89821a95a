//! What runs are compared by, and how much of a change of each is allowed. Pure.

use std::fmt;

use plans::condition::{Aggregation, Comparator, Condition};
use plans::metric::Metric;
use plans::plan::Plan;
use plans::threshold::Thresholds;
use serde::{Serialize, Serializer};

use crate::figures::as_f64;

/// A quantity by which runs are compared, in the order in which they are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// Acknowledged events a second.
    Acknowledged,
    /// Events a second that the table took.
    Ingested,
    /// A percentile of the latency of the webhook.
    Webhook(u8),
    /// A percentile of the time from when an event was due until it was visible.
    EndToEnd(u8),
    /// The share of the attempted events that were refused, unknown or lost.
    Errors,
    /// What a part of the pipeline used.
    Used(String, Resource),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    Cpu,
    Memory,
}

/// The unit of a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
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

impl Quantity {
    /// Those that every run may have. Which parts used what, only a run says.
    pub(crate) const OF_ALL: [Self; 7] = [
        Self::Acknowledged,
        Self::Ingested,
        Self::Webhook(95),
        Self::Webhook(99),
        Self::EndToEnd(95),
        Self::EndToEnd(99),
        Self::Errors,
    ];

    pub fn unit(&self) -> Unit {
        match self {
            Self::Acknowledged | Self::Ingested => Unit::PerSecond,
            Self::Webhook(_) | Self::EndToEnd(_) => Unit::Milliseconds,
            Self::Errors => Unit::Share,
            Self::Used(_, Resource::Cpu) => Unit::Cores,
            Self::Used(_, Resource::Memory) => Unit::Bytes,
        }
    }

    pub(crate) fn worse(&self) -> Worse {
        match self.unit() {
            Unit::PerSecond => Worse::Less,
            _ => Worse::More,
        }
    }

    /// The largest change for the worse that is allowed, by the published criteria: a part of the
    /// base's value, or a difference for a share.
    pub(crate) fn allowed(&self) -> f64 {
        match self.unit() {
            Unit::PerSecond => 0.10,
            Unit::Milliseconds => 0.20,
            Unit::Cores | Unit::Bytes => 0.15,
            Unit::Share => 0.01,
        }
    }

    /// The smallest change, in the unit of the quantity, that matters to the runs of a plan.
    ///
    /// It is a tenth of what the profile asks: if p95 must stay below 100 ms, nobody suffers from
    /// one of 3 ms instead of 1 ms. Where the profile asks nothing, the published objectives hold.
    /// Of a rate, the plan itself is what is asked, and a twentieth of it matters. Below
    /// all this there is a least change, because timers and other processes cause smaller ones.
    pub fn floor(&self, plan: &Plan) -> f64 {
        let part_of = |metric: &Metric, percent: f64, least: f64| {
            let objective = objective(plan, metric, percent);
            objective.map_or(least, |limit| least.max(limit * OBJECTIVE_PART))
        };
        match self {
            Self::Acknowledged | Self::Ingested => {
                let planned = as_f64(plan.script.planned());
                let seconds = edges::clock::seconds(plan.end - plan.start);
                planned / seconds.max(1.0) * RATE_PART
            }
            Self::Webhook(percent) => {
                part_of(&Metric::SentToAcknowledged, f64::from(*percent), LATENCY_MIN_MS)
            }
            Self::EndToEnd(percent) => {
                part_of(&Metric::DueToVisible, f64::from(*percent), LATENCY_MIN_MS)
            }
            // What is allowed is a difference already.
            Self::Errors => 0.0,
            Self::Used(part, Resource::Cpu) => part_of(&Metric::Cpu(part.clone()), 50.0, CORES_MIN),
            Self::Used(part, Resource::Memory) => {
                part_of(&Metric::Memory(part.clone()), 50.0, BYTES_MIN)
            }
        }
    }
}

const OBJECTIVE_PART: f64 = 0.10;
const RATE_PART: f64 = 0.05;
const LATENCY_MIN_MS: f64 = 1.0;
const CORES_MIN: f64 = 0.05;
const BYTES_MIN: f64 = 16_777_216.0;

/// The upper limit that a run has for a metric: of conditions on several percentiles, the one on
/// the nearest.
fn objective(plan: &Plan, metric: &Metric, percent: f64) -> Option<f64> {
    let nearest = |conditions: &mut dyn Iterator<Item = &Condition>| {
        let limits = conditions.filter(|it| it.metric == *metric).filter(|it| is_upper(it));
        let distance = |it: &&Condition| (percent_of(it.aggregation) - percent).abs();
        let nearest = limits.min_by(|one, other| distance(one).total_cmp(&distance(other)));
        nearest.map(|it| it.limit.value())
    };
    let own = nearest(&mut plan.thresholds.iter().map(|it| &it.condition));
    let published = Thresholds::of_run(None, true);
    own.or_else(|| nearest(&mut published.iter().map(|it| &it.condition)))
}

fn is_upper(condition: &Condition) -> bool {
    matches!(condition.comparator, Comparator::Below | Comparator::AtMost)
}

fn percent_of(aggregation: Aggregation) -> f64 {
    match aggregation {
        Aggregation::Percentile(percent) => percent,
        Aggregation::Min => 0.0,
        Aggregation::Max => 100.0,
        Aggregation::Average | Aggregation::Median | Aggregation::Rate | Aggregation::Count => 50.0,
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acknowledged => f.write_str("acknowledged"),
            Self::Ingested => f.write_str("ingested"),
            Self::Webhook(percent) => write!(f, "webhook p{percent}"),
            Self::EndToEnd(percent) => write!(f, "end to end p{percent}"),
            Self::Errors => f.write_str("errors"),
            Self::Used(part, Resource::Cpu) => write!(f, "cpu.{part}"),
            Self::Used(part, Resource::Memory) => write!(f, "memory.{part}"),
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use plans::spec::{RunOptions, Span};
    use uuid::Uuid;

    use super::*;

    #[track_caller]
    fn check(thresholds: &str, quantity: &Quantity, expected: f64) {
        let text = format!(
            "name: x\nstages: [{{duration: 30s, rate: 20/s, tenants: 10}}]\n{thresholds}\n"
        );
        let options = RunOptions::new(Uuid::from_u128(7), 0, Span::Live);
        let plan = Plan::parse(&text, "x", options).unwrap();
        let found = quantity.floor(&plan);
        assert!((found - expected).abs() < 1e-9, "{thresholds} {quantity}: {found}");
    }

    #[test]
    fn what_matters_is_a_tenth_of_what_is_asked() {
        let cpu = Quantity::Used("nats".to_owned(), Resource::Cpu);
        check("", &Quantity::Webhook(95), 10.0);
        check("", &Quantity::Webhook(99), 10.0);
        check("", &Quantity::EndToEnd(95), 1_000.0);
        check("thresholds: {}", &Quantity::EndToEnd(95), 1_000.0);
        let both = "thresholds: {webhook: [p(95)<40ms, max<2s, p(95)>3ms]}";
        check(both, &Quantity::Webhook(95), 4.0);
        check(both, &Quantity::Webhook(99), 200.0);
        check("thresholds: {webhook: [p(99)<5ms]}", &Quantity::Webhook(95), 1.0);
        check("", &cpu, 0.05);
        check("thresholds: {cpu.nats: [avg<2]}", &cpu, 0.2);
        check("thresholds: {cpu.clickhouse: [avg<2]}", &cpu, 0.05);
        check("", &Quantity::Acknowledged, 10.0);
        check("", &Quantity::Errors, 0.0);
    }
}
