//! Conditions: what a run is asked, by `thresholds` and `--abort-on` alike. Pure.
//!
//! A condition is a metric, an aggregation, a comparator and a limit, like
//! `due_to_acknowledged p(95)<100ms`. There is one list of metrics ([`Metric::ALL`]), one parser
//! and one spelling in which conditions are told. Spellings of earlier versions are read where
//! they still mean the same; others get an error that says what to write.

use std::fmt;

use crate::metric::{Measure, Metric, Stretch};
use crate::quantity::SIZES;

/// Like `due_to_acknowledged p(95)<100ms`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub metric: Metric,
    pub aggregation: Aggregation,
    pub comparator: Comparator,
    pub limit: Limit,
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

/// What is compared with: a number, and how it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    value: f64,
    text: String,
}

/// A unit's sign, and how much of the measure one is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit(&'static str, f64);

pub(crate) const ONE: Unit = Unit("", 1.0);
pub(crate) const PERCENT: Unit = Unit("%", 0.01);
pub(crate) const MILLISECONDS: Unit = Unit("ms", 1.0);
pub(crate) const SECONDS: Unit = Unit("s", 1e3);

const SHARES: [Unit; 2] = [ONE, PERCENT];
const TIMES: [Unit; 8] = [
    Unit("µs", 1e-3),
    Unit("μs", 1e-3),
    Unit("us", 1e-3),
    MILLISECONDS,
    SECONDS,
    Unit("m", 6e4),
    Unit("h", 3.6e6),
    Unit("d", 8.64e7),
];

#[expect(clippy::cast_precision_loss, reason = "powers of two are exact in an f64")]
fn sizes() -> [Unit; 6] {
    SIZES.map(|(sign, size)| Unit(sign, size as f64))
}

/// What stood before the comparator in earlier versions of `--abort-on`. It means the same.
const EARLIER_HEADS: [(&str, Metric, Aggregation); 4] = [
    ("acknowledged_rate", Metric::Acknowledged, Aggregation::Rate),
    ("refused_rate", Metric::Refused, Aggregation::Rate),
    ("unknown_rate", Metric::Unknown, Aggregation::Rate),
    ("lateness", Metric::Lateness, Aggregation::Max),
];

impl Measure {
    fn aggregations(self) -> &'static str {
        match self {
            Self::Events | Self::Queries => "write rate or count",
            Self::Messages => "write p(95), min, avg, med or max, or lag<1000",
            Self::Time | Self::Requests | Self::Cores | Self::Bytes => {
                "write p(95), min, avg, med or max"
            }
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Time => "p(95)<100ms",
            Self::Events | Self::Queries => "rate<0.1% or count<10",
            Self::Messages | Self::Requests => "max<1000",
            Self::Cores => "max<2",
            Self::Bytes => "max<2GiB",
        }
    }
}

impl Condition {
    /// Reads a whole condition, like `due_to_acknowledged p(95)<100ms`.
    ///
    /// # Errors
    ///
    /// Returns what is wrong and what to write, for the person who wrote it.
    pub fn parse(text: &str, stretch: Stretch) -> Result<Self, String> {
        let (head, tail) = halves(text).ok_or_else(|| no_condition(text, EXAMPLE))?;
        let earlier = EARLIER_HEADS.iter().find(|(earlier, ..)| *earlier == head);
        if let Some((_, metric, aggregation)) = earlier {
            return Self::compare(metric.clone(), Some(*aggregation), head, tail);
        }
        if let Some(percent) = bare_percentile(head) {
            return Err(format!(
                "{head:?} does not say which latency: write due_to_acknowledged \
                 p({percent}){tail}, which it meant, or sent_to_acknowledged p({percent}){tail} \
                 for the time of the webhook alone"
            ));
        }
        match head.split_once(char::is_whitespace) {
            Some((name, aggregation)) => {
                Self::of(Metric::parse(name, stretch)?, aggregation.trim(), tail)
            }
            None => Self::of(Metric::parse(head, stretch)?, head, tail),
        }
    }

    /// Reads what is asked of a metric, like `p(95)<100ms`.
    ///
    /// # Errors
    ///
    /// Returns what is wrong and what to write, for the person who wrote it.
    pub fn parse_of(metric: Metric, text: &str) -> Result<Self, String> {
        let (head, tail) =
            halves(text).ok_or_else(|| no_condition(text, metric.measure().example()))?;
        Self::of(metric, head, tail)
    }

    fn of(metric: Metric, head: &str, tail: &str) -> Result<Self, String> {
        Self::compare(metric, Aggregation::parse(head), head, tail)
    }

    fn compare(
        metric: Metric,
        aggregation: Option<Aggregation>,
        head: &str,
        tail: &str,
    ) -> Result<Self, String> {
        let measure = metric.measure();
        let (comparator, limit) = Comparator::parse(tail)
            .ok_or_else(|| format!("{tail:?} begins with none of <, <=, >, >= and =="))?;
        let is_bare_lag = metric == Metric::Lag && head == metric.name();
        let aggregation = if is_bare_lag { comparator.worst() } else { aggregation };
        let aggregation = aggregation.filter(|it| it.suits(measure)).ok_or_else(|| {
            format!("{head:?} is nothing that {metric} has: {}", measure.aggregations())
        })?;
        let limit = Limit::parse(limit.trim(), aggregation, measure)?;
        Ok(Self { metric, aggregation, comparator, limit })
    }

    /// What is asked of the metric, without its name: `p(95)<100ms`.
    pub fn asked(&self) -> String {
        let Self { aggregation, comparator, limit, .. } = self;
        format!("{aggregation}{comparator}{limit}")
    }

    /// Whether it holds of what was measured, in the unit of [`Limit::value`].
    pub fn holds(&self, measured: f64) -> bool {
        let limit = self.limit.value();
        match self.comparator {
            Comparator::Below => measured < limit,
            Comparator::AtMost => measured <= limit,
            Comparator::Above => measured > limit,
            Comparator::AtLeast => measured >= limit,
            // Equal as written: a share has more digits than anybody writes.
            Comparator::Equal => (measured - limit).abs() <= limit.abs() * 1e-9,
        }
    }
}

const EXAMPLE: &str = "due_to_acknowledged p(95)<100ms or acknowledged rate>=99%";

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.metric, self.asked())
    }
}

/// What stands before the comparator, and the rest.
fn halves(text: &str) -> Option<(&str, &str)> {
    let (head, tail) = text.split_at(text.find(['<', '>', '='])?);
    Some((head.trim(), tail.trim()))
}

fn no_condition(text: &str, example: &str) -> String {
    format!("{text:?} is no condition: write it like {example}")
}

/// The percentile of `p95`, which `--abort-on` had before.
fn bare_percentile(head: &str) -> Option<&str> {
    head.strip_prefix('p').filter(|percent| number(percent).is_some())
}

impl Comparator {
    const ALL: [Self; 5] = [Self::AtMost, Self::AtLeast, Self::Equal, Self::Below, Self::Above];

    /// Splits a comparator from what stands behind it.
    fn parse(text: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|it| Some((it, text.strip_prefix(it.sign())?)))
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Equal => "==",
        }
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

impl fmt::Display for Comparator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sign())
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
        let is_counted = matches!(measure, Measure::Events | Measure::Queries);
        matches!(self, Self::Rate | Self::Count) == is_counted
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Percentile(percent) => return write!(f, "p({percent})"),
            Self::Min => "min",
            Self::Average => "avg",
            Self::Median => "med",
            Self::Max => "max",
            Self::Rate => "rate",
            Self::Count => "count",
        })
    }
}

impl Limit {
    pub(crate) fn new(number: f64, Unit(sign, size): Unit) -> Self {
        Self { value: number * size, text: format!("{number}{sign}") }
    }

    /// In ms, bytes, cores, messages, events or queries; a share is from 0 to 1.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Reads what stands behind a comparator.
    fn parse(text: &str, aggregation: Aggregation, measure: Measure) -> Result<Self, String> {
        let (limit, how) = match (aggregation, measure) {
            (Aggregation::Rate, _) => {
                let share = Self::in_one_of(&SHARES, text).filter(|share| share.value <= 1.0);
                (share, "a share like 0.1%, or from 0 to 1")
            }
            (_, Measure::Time) => {
                (Self::sum_of(&TIMES, text), "a number with µs, ms, s, m, h or d, like 100ms")
            }
            (_, Measure::Bytes) => {
                (Self::in_one_of(&sizes(), text), "bytes, or a number with KiB, MiB, GiB or TiB")
            }
            _ => (Self::in_one_of(&[ONE], text), "a number without a unit"),
        };
        limit.ok_or_else(|| format!("{text:?} is no limit here: write {how}"))
    }

    /// A number with a unit, or none.
    fn in_one_of(units: &[Unit], text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !is_of_number(c)).unwrap_or(text.len());
        let (value, sign) = (number(&text[..digits])?, text[digits..].trim());
        let unit = units.iter().find(|unit| unit.0 == sign)?;
        Some(Self::new(value, *unit))
    }

    /// One or several numbers with units, like `1h30m`.
    fn sum_of(units: &[Unit], text: &str) -> Option<Self> {
        let mut sum: Option<Self> = None;
        let mut rest = text;
        while !rest.is_empty() {
            let sign = rest.find(|c: char| !is_of_number(c))?;
            let end = rest[sign..].find(is_of_number).map_or(rest.len(), |length| sign + length);
            let part = Self::in_one_of(units, &rest[..end])?;
            sum = Some(match sum {
                Some(sum) => Self { value: sum.value + part.value, text: sum.text + &part.text },
                None => part,
            });
            rest = &rest[end..];
        }
        sum
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}

/// Reads a plain decimal number. `f64` would take `inf` and `1e9` too, which nobody means.
fn number(text: &str) -> Option<f64> {
    let is_short = text.trim_start_matches('0').len() <= DIGITS_MAX;
    text.parse().ok().filter(|_| is_short && text.chars().all(is_of_number))
}

/// As many digits as an `f64` gives back as they were.
const DIGITS_MAX: usize = 15;

#[cfg(test)]
mod tests;
