//! Thresholds: what is asked of a run, in k6's spelling. Pure.
//!
//! A metric has conditions like `p(95)<100ms`: an aggregation, a comparator and a limit. Which
//! aggregations and units a metric takes follows from what it counts; every mistake says so.

use std::collections::BTreeMap;
use std::fmt;

use garde::{Path, Validate};
use serde::{Deserialize, Serialize};

/// The thresholds of a profile as written: metrics with their conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thresholds(pub BTreeMap<String, Vec<String>>);

/// One condition that a run is to meet.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    pub metric: Metric,
    pub condition: Condition,
    /// Nobody wrote it: it is one of the published objectives.
    pub is_default: bool,
}

/// What of a run is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metric {
    /// From sending to the webhook's answer.
    Webhook,
    /// From when an event was due to the webhook's answer.
    DueToAcknowledged,
    /// From when an event was due until it is visible in the table.
    EndToEnd,
    /// From the webhook's answer until it is visible in the table.
    Freshness,
    /// Stored or filtered, of the acknowledged.
    Ingested,
    Acknowledged,
    Refused,
    Unknown,
    Unsent,
    Dropped,
    Lost,
    Duplicated,
    /// Messages in the stream that the consumer has not acknowledged.
    Lag,
    /// Cores that a part of the pipeline kept busy.
    Cpu(String),
    /// Memory of a part of the pipeline.
    Memory(String),
}

/// In what a metric is measured. It decides which aggregations and units a condition may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// In ms.
    Time,
    /// Events: a count, or a share from 0 to 1.
    Events,
    Messages,
    Cores,
    Bytes,
}

/// Like `p(95)<100ms`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub aggregation: Aggregation,
    pub comparator: Comparator,
    /// In ms, bytes, cores, messages or events; a share is from 0 to 1.
    pub limit: f64,
    text: String,
}

/// How many samples become one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aggregation {
    /// Above 0, at most 100.
    Percentile(f64),
    Min,
    Average,
    Median,
    Max,
    Rate,
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparator {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

/// The published objectives. They hold for a run whose profile says nothing of thresholds.
pub const OBJECTIVES: [(&str, &str); 4] = [
    ("ingested", "rate>=99.9%"),
    ("end_to_end", "p(95)<10s"),
    ("webhook", "p(95)<100ms"),
    ("lag", "max<1000"),
];

impl Thresholds {
    /// Returns the conditions that a run is to meet: those that are written or, where nothing is,
    /// the published objectives. A history has no schedule: of those, only what arrives counts.
    pub fn of_run(written: Option<&Self>, has_schedule: bool) -> Vec<Threshold> {
        let parsed = |metric: &str, condition: &str, is_default| {
            let metric = Metric::parse(metric).ok()?;
            let condition = Condition::parse(&metric, condition).ok()?;
            Some(Threshold { metric, condition, is_default })
        };
        match written {
            Some(Self(written)) => written
                .iter()
                .flat_map(|(metric, conditions)| conditions.iter().map(move |it| (metric, it)))
                .filter_map(|(metric, condition)| parsed(metric, condition, false))
                .collect(),
            None => OBJECTIVES
                .iter()
                .filter(|(metric, _)| has_schedule || *metric == "ingested")
                .filter_map(|(metric, condition)| parsed(metric, condition, true))
                .collect(),
        }
    }
}

impl Validate for Thresholds {
    type Context = ();

    fn validate_into(
        &self,
        _context: &(),
        parent: &mut dyn FnMut() -> Path,
        report: &mut garde::Report,
    ) {
        if self.0.values().map(Vec::len).sum::<usize>() > CONDITIONS_MAX {
            let message = format!("a profile has at most {CONDITIONS_MAX} conditions");
            report.append(parent(), garde::Error::new(message));
            return;
        }
        for (name, conditions) in &self.0 {
            let metric = match Metric::parse(name) {
                Ok(metric) => metric,
                Err(message) => {
                    report.append(parent().join(name), garde::Error::new(message));
                    continue;
                }
            };
            for (index, text) in conditions.iter().enumerate() {
                if let Err(message) = Condition::parse(&metric, text) {
                    let at = parent().join(name).join(index);
                    report.append(at, garde::Error::new(message));
                }
            }
        }
    }
}

const CONDITIONS_MAX: usize = 100;

/// The metrics that have one name; those of a part have its name behind a point.
const METRICS: [(&str, Metric); 13] = [
    ("webhook", Metric::Webhook),
    ("due_to_acknowledged", Metric::DueToAcknowledged),
    ("end_to_end", Metric::EndToEnd),
    ("freshness", Metric::Freshness),
    ("ingested", Metric::Ingested),
    ("acknowledged", Metric::Acknowledged),
    ("refused", Metric::Refused),
    ("unknown", Metric::Unknown),
    ("unsent", Metric::Unsent),
    ("dropped", Metric::Dropped),
    ("lost", Metric::Lost),
    ("duplicated", Metric::Duplicated),
    ("lag", Metric::Lag),
];

impl Metric {
    /// Reads the name of a metric.
    ///
    /// # Errors
    ///
    /// Returns which metrics there are.
    pub fn parse(name: &str) -> Result<Self, String> {
        if let Some((_, metric)) = METRICS.iter().find(|(known, _)| *known == name) {
            return Ok(metric.clone());
        }
        match name.split_once('.') {
            Some(("cpu", part)) if is_part(part) => Ok(Self::Cpu(part.to_owned())),
            Some(("memory", part)) if is_part(part) => Ok(Self::Memory(part.to_owned())),
            _ => Err(format!(
                "{name:?} is no metric: write one of {}, cpu.<part> or memory.<part>",
                METRICS.map(|(name, _)| name).join(", ")
            )),
        }
    }

    pub fn measure(&self) -> Measure {
        match self {
            Self::Webhook | Self::DueToAcknowledged | Self::EndToEnd | Self::Freshness => {
                Measure::Time
            }
            Self::Ingested
            | Self::Acknowledged
            | Self::Refused
            | Self::Unknown
            | Self::Unsent
            | Self::Dropped
            | Self::Lost
            | Self::Duplicated => Measure::Events,
            Self::Lag => Measure::Messages,
            Self::Cpu(_) => Measure::Cores,
            Self::Memory(_) => Measure::Bytes,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(part) => write!(f, "cpu.{part}"),
            Self::Memory(part) => write!(f, "memory.{part}"),
            plain => {
                let named = METRICS.iter().find(|(_, metric)| metric == plain);
                f.write_str(named.map_or("", |(name, _)| name))
            }
        }
    }
}

fn is_part(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

impl Condition {
    /// Reads a condition on a metric.
    ///
    /// # Errors
    ///
    /// Returns what is wrong, for the person who wrote it.
    pub fn parse(metric: &Metric, text: &str) -> Result<Self, String> {
        let measure = metric.measure();
        let at = text.find(['<', '>', '=']).ok_or_else(|| {
            format!("{text:?} is no condition: write it like {}", example(measure))
        })?;
        let (left, right) = (text[..at].trim(), &text[at..]);
        let (comparator, limit) = Comparator::parse(right)
            .ok_or_else(|| format!("{text:?} compares with none of <, <=, >, >= and =="))?;
        let aggregation = if left == metric.to_string() && measure == Measure::Messages {
            comparator.worst()
        } else {
            Aggregation::parse(left)
        };
        let aggregation = aggregation.filter(|it| it.suits(measure)).ok_or_else(|| {
            format!("{left:?} is nothing that {metric} has: {}", aggregations(measure))
        })?;
        let limit = limit_of(aggregation, measure, limit.trim())?;
        Ok(Self { aggregation, comparator, limit, text: text.trim().to_owned() })
    }

    /// Whether it holds of what was measured, in the unit of [`Condition::limit`].
    pub fn holds(&self, measured: f64) -> bool {
        match self.comparator {
            Comparator::Below => measured < self.limit,
            Comparator::AtMost => measured <= self.limit,
            Comparator::Above => measured > self.limit,
            Comparator::AtLeast => measured >= self.limit,
            // Equal as written: a share has more digits than anybody writes.
            Comparator::Equal => (measured - self.limit).abs() <= self.limit.abs() * 1e-9,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Comparator {
    /// Splits a comparator from what stands behind it.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let known = [
            ("<=", Self::AtMost),
            (">=", Self::AtLeast),
            ("==", Self::Equal),
            ("<", Self::Below),
            (">", Self::Above),
        ];
        let parsed = |(sign, comparator)| Some((comparator, text.strip_prefix(sign)?));
        known.into_iter().find_map(parsed)
    }

    /// What must be compared so that all samples are.
    fn worst(self) -> Option<Aggregation> {
        match self {
            Self::Below | Self::AtMost => Some(Aggregation::Max),
            Self::Above | Self::AtLeast => Some(Aggregation::Min),
            Self::Equal => None,
        }
    }
}

impl Aggregation {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "min" => Self::Min,
            "avg" => Self::Average,
            "med" => Self::Median,
            "max" => Self::Max,
            "rate" => Self::Rate,
            "count" => Self::Count,
            _ => {
                let percent = text.strip_prefix("p(")?.strip_suffix(')')?;
                let percent = number(percent.trim())?;
                (percent > 0.0 && percent <= 100.0).then_some(Self::Percentile(percent))?
            }
        })
    }

    fn suits(self, measure: Measure) -> bool {
        matches!(self, Self::Rate | Self::Count) == (measure == Measure::Events)
    }
}

fn aggregations(measure: Measure) -> &'static str {
    match measure {
        Measure::Events => "write rate or count",
        Measure::Messages => "write p(95), min, avg, med or max, or lag<1000",
        _ => "write p(95), min, avg, med or max",
    }
}

fn example(measure: Measure) -> &'static str {
    match measure {
        Measure::Time => "p(95)<100ms",
        Measure::Events => "rate<0.1% or count<10",
        Measure::Messages => "max<1000",
        Measure::Cores => "max<2",
        Measure::Bytes => "max<2GiB",
    }
}

/// Reads the limit behind a comparator, in the unit of [`Condition::limit`].
fn limit_of(aggregation: Aggregation, measure: Measure, text: &str) -> Result<f64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (value, unit) = (number(&text[..digits]), text[digits..].trim());
    let wrong = |how: &str| format!("{text:?} is no limit here: write {how}");
    let factor = |known: &[(&str, f64)]| {
        let found = known.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        Some(value? * found?)
    };
    match (aggregation, measure) {
        (Aggregation::Rate, _) => {
            let share = factor(&[("", 1.0), ("%", 0.01)]);
            let share = share.filter(|share| *share <= 1.0);
            share.ok_or_else(|| wrong("a share like 0.1%, or from 0 to 1"))
        }
        (_, Measure::Time) => {
            let units =
                [("µs", 1e-3), ("μs", 1e-3), ("us", 1e-3), ("ms", 1.0), ("s", 1e3), ("m", 6e4)];
            factor(&units).ok_or_else(|| wrong("a number with µs, ms, s or m, like 100ms"))
        }
        (_, Measure::Bytes) => {
            let units =
                [("", 1.0), ("KiB", 1_024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)];
            factor(&units).ok_or_else(|| wrong("bytes, or a number with KiB, MiB or GiB"))
        }
        _ => factor(&[("", 1.0)]).ok_or_else(|| wrong("a number without a unit")),
    }
}

/// Reads a plain decimal number. `f64` would take `inf` and `1e9` too, which nobody means.
fn number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_plain && text.len() <= 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(metric: &str, text: &str, expected: (Aggregation, Comparator, f64)) {
        let found = Condition::parse(&Metric::parse(metric).unwrap(), text).unwrap();
        assert_eq!((found.aggregation, found.comparator, found.limit), expected, "{text}");
        assert_eq!(found.to_string(), text.trim());
    }

    #[track_caller]
    fn check_wrong(metric: &str, text: &str, expected: &str) {
        let message = Condition::parse(&Metric::parse(metric).unwrap(), text).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn conditions_are_read_as_k6_writes_them() {
        use Aggregation::{Average, Count, Max, Median, Min, Percentile, Rate};
        use Comparator::{Above, AtLeast, AtMost, Below, Equal};
        check("webhook", "p(95)<100ms", (Percentile(95.0), Below, 100.0));
        check("webhook", " p(99.9) <= 250µs ", (Percentile(99.9), AtMost, 0.25));
        check("due_to_acknowledged", "p(99)<1s", (Percentile(99.0), Below, 1_000.0));
        check("end_to_end", "med<1.5m", (Median, Below, 90_000.0));
        check("freshness", "min>=0ms", (Min, AtLeast, 0.0));
        check("ingested", "rate>99.5%", (Rate, Above, 0.995));
        check("refused", "rate<0.25", (Rate, Below, 0.25));
        check("lost", "count==0", (Count, Equal, 0.0));
        check("lag", "max<1000", (Max, Below, 1_000.0));
        check("lag", "lag<1000", (Max, Below, 1_000.0));
        check("lag", "lag>=1", (Min, AtLeast, 1.0));
        check("cpu.nats", "avg<1.5", (Average, Below, 1.5));
        check("memory.clickhouse", "max<2GiB", (Max, Below, 2_147_483_648.0));
    }

    #[test]
    fn what_a_metric_cannot_have_is_refused_with_what_it_can() {
        check_wrong("webhook", "fast", "write it like p(95)<100ms");
        check_wrong("webhook", "p(95)=100ms", "none of <, <=, >, >= and ==");
        check_wrong("webhook", "rate<1%", "write p(95), min, avg, med or max");
        check_wrong("webhook", "p(101)<1s", "write p(95), min, avg, med or max");
        check_wrong("webhook", "p(95)<100", "a number with µs, ms, s or m");
        check_wrong("lost", "max<3", "write rate or count");
        check_wrong("lost", "rate<150%", "a share like 0.1%");
        check_wrong("lost", "count<3%", "a number without a unit");
        check_wrong("lag", "max<1e3", "a number without a unit");
        check_wrong("lag", "lag==3", "or lag<1000");
        check_wrong("memory.nats", "max<2GB", "KiB, MiB or GiB");
        for bad in ["latency", "cpu", "cpu.", "memory.a b", ""] {
            assert!(Metric::parse(bad).unwrap_err().contains("is no metric"), "{bad}");
        }
    }

    #[test]
    fn every_metric_is_called_as_it_is_written() {
        for name in METRICS.map(|(name, _)| name).into_iter().chain(["cpu.a", "memory.b-1"]) {
            assert_eq!(Metric::parse(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn a_condition_holds_or_does_not() {
        let holds =
            |text: &str, measured| Condition::parse(&Metric::Lost, text).unwrap().holds(measured);
        assert!(holds("count<10", 9.0) && !holds("count<10", 10.0));
        assert!(holds("count<=10", 10.0) && !holds("count<=10", 11.0));
        assert!(holds("count>10", 11.0) && !holds("count>10", 10.0));
        assert!(holds("count>=10", 10.0) && !holds("count>=10", 9.0));
        assert!(holds("count==0", 0.0) && !holds("count==0", 1.0));
        assert!(holds("rate==33.3%", 0.333));
    }

    #[test]
    fn what_nobody_wrote_is_the_published_objectives() {
        let metrics = |written: Option<&Thresholds>, has_schedule| -> Vec<String> {
            let thresholds = Thresholds::of_run(written, has_schedule);
            thresholds.iter().map(|it| format!("{} {}", it.metric, it.condition)).collect()
        };
        let live = ["ingested rate>=99.9%", "end_to_end p(95)<10s", "webhook p(95)<100ms"];
        assert_eq!(metrics(None, true)[..3], live);
        assert_eq!(metrics(None, true).len(), OBJECTIVES.len());
        assert_eq!(metrics(None, false), live[..1]);
        assert!(metrics(Some(&Thresholds::default()), true).is_empty());
    }
}
