//! The list of metrics: what is measured of a run. Pure.
//!
//! Each metric stands here once, with all that others need to know of it. Conditions, the live
//! screen, the lines, `/metrics`, reports, comparisons and the summary export go through the list.
//! So a new count needs an entry here, and one line where it is counted: `Tally::count`.

use std::fmt;

use crate::queries::QueryScope;

/// What a list says of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// As it is written. The name of a metric of one part of the pipeline ends with `<part>`.
    pub name: &'static str,
    pub source: Source,
    pub measure: Measure,
    /// What it is, in words. `docs/conditions.md` and the help texts of `/metrics` have them too.
    pub meaning: &'static str,
}

/// Who measures a metric, and how its samples come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The generator counts events in each second. Seconds add up.
    Events(Of),
    /// The generator counts something else in each second. Seconds add up.
    Counted,
    /// The generator notes one value in each second, the largest. Seconds do not add up.
    Level,
    /// The generator measures each acknowledged event.
    Latency,
    /// The generator counts queries and measures their answers, if anybody queries.
    Queries,
    /// `watch` sees it, once in each look at the pipeline.
    Watch,
    /// The verifier accounts for it, after the run.
    Account,
}

/// Of which events others are a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Planned,
    Attempted,
}

/// In what a metric is measured. It decides which aggregations and units a condition may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// In ms.
    Time,
    /// A count of events, or a share from 0 to 1.
    Events,
    /// A count of queries, or a share from 0 to 1.
    Queries,
    Messages,
    Requests,
    Cores,
    Bytes,
}

/// Over what a condition is asked. It decides which metrics there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// A whole run, after its end.
    Run,
    /// The last seconds of a run that goes on.
    Window,
}

/// Makes the type [`Metric`] and its entries from one list.
macro_rules! metrics {
    ($($variant:ident $(($part:ident))? = $name:literal $source:expr, $measure:ident,
       $meaning:literal;)*) => {
        /// What of a run is measured: [`Metric::entry`] says what each metric is.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric {
            $($variant $(($part))?,)*
        }

        impl Metric {
            /// All metrics, in the order in which they are shown. Metrics of one part of the
            /// pipeline have an empty part here.
            pub const ALL: [Self; [$($name),*].len()] =
                [$(Self::$variant $(($part::new()))?),*];

            pub fn entry(&self) -> Entry {
                use Of::{Attempted, Planned};
                use Source::{Account, Counted, Events, Latency, Level, Watch};

                match self {
                    $(Self::$variant { .. } => Entry {
                        name: $name,
                        source: $source,
                        measure: Measure::$measure,
                        meaning: $meaning,
                    },)*
                }
            }
        }
    };
}

metrics! {
    Planned = "planned" Events(Planned), Events, "became due";
    Attempted = "attempted" Events(Planned), Events, "a request was begun for them";
    Acknowledged = "acknowledged" Events(Attempted), Events, "the webhook answered 2xx for them";
    Refused = "refused" Events(Attempted), Events,
        "certainly not taken: no connection, or 400, 401, 403, 404, 405, 413, 415";
    Unknown = "unknown" Events(Attempted), Events, "sent, without an answer that settles it";
    Spoiled = "spoiled" Events(Attempted), Events,
        "acknowledged, but spoiled on purpose, so that nobody can be expected to store them";
    Unsent = "unsent" Events(Planned), Events, "given up before any byte left";
    Dropped = "dropped" Events(Planned), Events, "unsent because an API server's buffer was full";
    DueToAcknowledged = "due_to_acknowledged" Latency, Time,
        "from when an event was due to the answer that took it";
    SentToAcknowledged = "sent_to_acknowledged" Latency, Time,
        "from when a batch was sent (again, if it was) to the answer that took it";
    DueToSent = "due_to_sent" Latency, Time,
        "from when an event was due to when it was first sent";
    Lateness = "lateness" Level, Time,
        "the longest in a second that a batch waited for the generator itself";
    Blocked = "blocked" Level, Time,
        "the longest in a second that a batch waited for a free connection: for the target's \
         answers";
    Requests = "requests" Counted, Requests, "begun in a second";
    RequestBytes = "request_bytes" Counted, Bytes,
        "of the requests' bodies as they were sent in a second";
    Retries = "retries" Counted, Requests,
        "begun again for a batch that was sent before, in a second";
    RequestsInFlight = "requests_in_flight" Level, Requests,
        "without an answer at the end of a second";
    Queries = "queries" Source::Queries, Queries,
        "answered in time, with all their pages; of those that ended";
    QueriesWrong = "queries.wrong" Source::Queries, Queries,
        "answered wrongly: with events that must not be there, in a wrong order, or without some \
         that must be there; of those that ended";
    QueriesTenant = "queries.tenant" Source::Queries, Time,
        "from when a page of one tenant's events was to be asked for to its answer";
    QueriesPlatform = "queries.platform" Source::Queries, Time,
        "the same, of a page of the whole platform's events";
    QueriesComplex = "queries.complex" Source::Queries, Time,
        "the same, of a page that no index of the table helps much with";
    DueToVisible = "due_to_visible" Watch, Time,
        "from when an event was due until the table shows it, of the samples of `watch`";
    AcknowledgedToVisible = "acknowledged_to_visible" Watch, Time,
        "from the webhook's answer until the table shows the event, of the same samples";
    Ingested = "ingested" Account, Events, "stored, or filtered as declared; of the acknowledged";
    Lost = "lost" Account, Events, "proven lost; of the acknowledged";
    Duplicated = "duplicated" Account, Events, "there more than once; of the stored";
    Lag = "lag" Watch, Messages, "in the stream and not acknowledged by the consumer";
    Cpu(String) = "cpu.<part>" Watch, Cores,
        "cores that a part of the pipeline kept busy, as `cpu.nats`";
    Memory(String) = "memory.<part>" Watch, Bytes,
        "memory that a part of the pipeline had, as `memory.clickhouse`";
}

/// Names that metrics had before. They mean the same.
const EARLIER_NAMES: [(&str, Metric); 3] = [
    ("webhook", Metric::SentToAcknowledged),
    ("end_to_end", Metric::DueToVisible),
    ("freshness", Metric::AcknowledgedToVisible),
];

impl Metric {
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

    /// As it is written; see [`Entry::name`].
    pub fn name(&self) -> &'static str {
        self.entry().name
    }

    /// The name as words: `due to sent`.
    pub fn words(&self) -> String {
        self.to_string().replace('_', " ")
    }

    /// What it is, and of what it is a share.
    pub fn meaning(&self) -> String {
        let Entry { source, meaning, .. } = self.entry();
        match source {
            Source::Events(Of::Planned) if *self != Self::Planned => {
                format!("{meaning}; of the planned")
            }
            Source::Events(Of::Attempted) => format!("{meaning}; of the attempted"),
            _ => meaning.to_owned(),
        }
    }

    pub fn measure(&self) -> Measure {
        self.entry().measure
    }

    pub fn source(&self) -> Source {
        self.entry().source
    }

    /// The scope whose queries it is about, if it is about those of one.
    pub fn query_scope(&self) -> Option<QueryScope> {
        match self {
            Self::QueriesTenant => Some(QueryScope::Tenant),
            Self::QueriesPlatform => Some(QueryScope::Platform),
            Self::QueriesComplex => Some(QueryScope::Complex),
            _ => None,
        }
    }

    /// Whether there is one over a stretch: while a run goes on, only what was sent and asked is
    /// known.
    pub fn is_known_over(&self, stretch: Stretch) -> bool {
        stretch == Stretch::Run || !matches!(self.source(), Source::Watch | Source::Account)
    }

    /// The metrics that there are over a stretch.
    pub fn over(stretch: Stretch) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |metric| metric.is_known_over(stretch))
    }

    /// Whether a screen or a line has a count even if it is 0. Others are only there to be seen
    /// once something was counted.
    pub fn is_always_shown(&self) -> bool {
        use Metric::{Acknowledged, Attempted, Planned, Refused, Unknown};
        matches!(self, Planned | Attempted | Acknowledged | Refused | Unknown)
    }

    /// Those of what was sent that the generator counts, and whose seconds add up.
    pub fn counts() -> impl Iterator<Item = Self> {
        let is_count = |source| matches!(source, Source::Events(_) | Source::Counted);
        Self::ALL.into_iter().filter(move |metric| is_count(metric.source()))
    }

    /// Those of what was sent that come from one source.
    pub fn from(source: Source) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |metric| metric.source() == source)
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
            Self::Queries => "queries, or a share",
            Self::Messages => "messages",
            Self::Requests => "requests",
            Self::Cores => "cores",
            Self::Bytes => "bytes",
        }
    }
}
