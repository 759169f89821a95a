//! Conditions: what a run is asked, by `thresholds` and `--abort-on` alike. Pure.
//!
//! A condition is a metric, an aggregation, a comparator and a limit, like
//! `due_to_acknowledged p(95)<100ms`. There is one list of metrics ([`Metric::ALL`]), one parser
//! and one spelling in which conditions are told. Spellings of earlier versions are read where
//! they still mean the same; others get an error that says what to write.

use std::fmt;

/// Over what a condition is asked. It decides which metrics there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// A whole run, after its end.
    Run,
    /// The last seconds of a run that goes on.
    Window,
}

/// What of a run is measured. [`Metric::meaning`] says what each is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metric {
    SentToAcknowledged,
    DueToAcknowledged,
    DueToSent,
    Lateness,
    Acknowledged,
    Refused,
    Unknown,
    DueToVisible,
    AcknowledgedToVisible,
    Ingested,
    Lost,
    Duplicated,
    Unsent,
    Dropped,
    Lag,
    /// Of the part of the pipeline that is named.
    Cpu(String),
    /// Of the part of the pipeline that is named.
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
const SIZES: [Unit; 6] = [
    ONE,
    Unit("B", 1.0),
    Unit("KiB", 1_024.0),
    Unit("MiB", 1_048_576.0),
    Unit("GiB", 1_073_741_824.0),
    Unit("TiB", 1_099_511_627_776.0),
];

/// Names that metrics had before. They mean the same.
const EARLIER_NAMES: [(&str, Metric); 3] = [
    ("webhook", Metric::SentToAcknowledged),
    ("end_to_end", Metric::DueToVisible),
    ("freshness", Metric::AcknowledgedToVisible),
];

/// What stood before the comparator in earlier versions of `--abort-on`. It means the same.
const EARLIER_HEADS: [(&str, Metric, Aggregation); 4] = [
    ("acknowledged_rate", Metric::Acknowledged, Aggregation::Rate),
    ("refused_rate", Metric::Refused, Aggregation::Rate),
    ("unknown_rate", Metric::Unknown, Aggregation::Rate),
    ("lateness", Metric::Lateness, Aggregation::Max),
];

impl Metric {
    /// All of them. Those of a part of the pipeline have no name of one here.
    pub const ALL: [Self; 17] = [
        Self::SentToAcknowledged,
        Self::DueToAcknowledged,
        Self::DueToSent,
        Self::Lateness,
        Self::Acknowledged,
        Self::Refused,
        Self::Unknown,
        Self::DueToVisible,
        Self::AcknowledgedToVisible,
        Self::Ingested,
        Self::Lost,
        Self::Duplicated,
        Self::Unsent,
        Self::Dropped,
        Self::Lag,
        Self::Cpu(String::new()),
        Self::Memory(String::new()),
    ];

    /// Reads the name of a metric that there is over a stretch.
    ///
    /// # Errors
    ///
    /// Returns which metrics there are.
    pub fn parse(name: &str, stretch: Stretch) -> Result<Self, String> {
        let metric = Self::named(name)
            .ok_or_else(|| format!("{name:?} is no metric: write one of {}", names(stretch)))?;
        if !metric.is_known_over(stretch) {
            let those = names(stretch);
            return Err(format!("{metric} is not known while a run goes on: write one of {those}"));
        }
        Ok(metric)
    }

    fn named(name: &str) -> Option<Self> {
        match name.split_once('.') {
            Some(("cpu", part)) if is_part(part) => return Some(Self::Cpu(part.to_owned())),
            Some(("memory", part)) if is_part(part) => return Some(Self::Memory(part.to_owned())),
            _ => {}
        }
        let earlier = EARLIER_NAMES.iter().find(|(earlier, _)| *earlier == name);
        // No name has the brackets of `<part>`.
        let is_named = |metric: &Self| metric.name() == name && is_part(name);
        let now = || Self::ALL.into_iter().find(is_named);
        earlier.map(|(_, metric)| metric.clone()).or_else(now)
    }

    /// As it is written. That of a part of the pipeline ends with `<part>`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SentToAcknowledged => "sent_to_acknowledged",
            Self::DueToAcknowledged => "due_to_acknowledged",
            Self::DueToSent => "due_to_sent",
            Self::Lateness => "lateness",
            Self::Acknowledged => "acknowledged",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::DueToVisible => "due_to_visible",
            Self::AcknowledgedToVisible => "acknowledged_to_visible",
            Self::Ingested => "ingested",
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Unsent => "unsent",
            Self::Dropped => "dropped",
            Self::Lag => "lag",
            Self::Cpu(_) => "cpu.<part>",
            Self::Memory(_) => "memory.<part>",
        }
    }

    /// What it is, in words that `docs/conditions.md` has too.
    pub fn meaning(&self) -> &'static str {
        match self {
            Self::SentToAcknowledged => {
                "from when a batch was sent (again, if it was) to the answer that took it"
            }
            Self::DueToAcknowledged => "from when an event was due to the answer that took it",
            Self::DueToSent => "from when an event was due to when it was first sent",
            Self::Lateness => {
                "the longest in a second that a batch waited for the generator itself"
            }
            Self::Acknowledged => "taken by the webhook, spoiled ones too; of the attempted",
            Self::Refused => "certainly not taken; of the attempted",
            Self::Unknown => "sent, without an answer that settles it; of the attempted",
            Self::DueToVisible => {
                "from when an event was due until the table shows it, of the samples of `watch`"
            }
            Self::AcknowledgedToVisible => {
                "from the webhook's answer until the table shows the event, of the same samples"
            }
            Self::Ingested => "stored, or filtered as declared; of the acknowledged",
            Self::Lost => "proven lost; of the acknowledged",
            Self::Duplicated => "there more than once; of the stored",
            Self::Unsent => "given up before any byte left; of the planned",
            Self::Dropped => "unsent because an API server's buffer was full; of the planned",
            Self::Lag => "in the stream and not acknowledged by the consumer",
            Self::Cpu(_) => "cores that a part of the pipeline kept busy, as `cpu.nats`",
            Self::Memory(_) => "memory that a part of the pipeline had, as `memory.clickhouse`",
        }
    }

    pub fn measure(&self) -> Measure {
        match self {
            Self::SentToAcknowledged
            | Self::DueToAcknowledged
            | Self::DueToSent
            | Self::Lateness
            | Self::DueToVisible
            | Self::AcknowledgedToVisible => Measure::Time,
            Self::Acknowledged
            | Self::Refused
            | Self::Unknown
            | Self::Ingested
            | Self::Lost
            | Self::Duplicated
            | Self::Unsent
            | Self::Dropped => Measure::Events,
            Self::Lag => Measure::Messages,
            Self::Cpu(_) => Measure::Cores,
            Self::Memory(_) => Measure::Bytes,
        }
    }

    /// Whether there is one over a stretch: while a run goes on, only what was sent is known.
    pub fn is_known_over(&self, stretch: Stretch) -> bool {
        stretch == Stretch::Run
            || matches!(
                self,
                Self::SentToAcknowledged
                    | Self::DueToAcknowledged
                    | Self::DueToSent
                    | Self::Lateness
                    | Self::Acknowledged
                    | Self::Refused
                    | Self::Unknown
            )
    }

    /// The metrics that there are over a stretch.
    pub fn over(stretch: Stretch) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |metric| metric.is_known_over(stretch))
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(part) => write!(f, "cpu.{part}"),
            Self::Memory(part) => write!(f, "memory.{part}"),
            _ => f.write_str(self.name()),
        }
    }
}

fn names(stretch: Stretch) -> String {
    let names: Vec<_> = Metric::over(stretch).map(|metric| metric.name()).collect();
    names.join(", ")
}

fn is_part(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

impl Measure {
    /// The unit that it is told in.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Time => "ms",
            Self::Events => "events, or a share",
            Self::Messages => "messages",
            Self::Cores => "cores",
            Self::Bytes => "bytes",
        }
    }

    fn aggregations(self) -> &'static str {
        match self {
            Self::Events => "write rate or count",
            Self::Messages => "write p(95), min, avg, med or max, or lag<1000",
            Self::Time | Self::Cores | Self::Bytes => "write p(95), min, avg, med or max",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Time => "p(95)<100ms",
            Self::Events => "rate<0.1% or count<10",
            Self::Messages => "max<1000",
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
        matches!(self, Self::Rate | Self::Count) == (measure == Measure::Events)
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

    /// In ms, bytes, cores, messages or events; a share is from 0 to 1.
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
                (Self::in_one_of(&SIZES, text), "bytes, or a number with KiB, MiB, GiB or TiB")
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
