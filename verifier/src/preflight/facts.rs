//! What is known of a pipeline before a run: plain data.

use std::time::Duration;

use harness::observation::ClockOffset;
use harness::survey::Survey;

use super::load::Load;

/// All that advice follows from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    pub(crate) load: Load,
    pub(crate) stream: StreamFacts,
    /// Name of the aggregator's consumer.
    pub(crate) consumer_name: String,
    /// `None` if there is no consumer of the name.
    pub(crate) consumer: Option<ConsumerFacts>,
    pub(crate) table: TableFacts,
    /// By address; none, if no Vector was asked.
    pub(crate) vectors: Vec<VectorFacts>,
    pub(crate) clocks: Vec<ClockOffset>,
    /// Days of a history that goes through the pipeline; 0 if there is none.
    pub(crate) history_days: u32,
}

/// A stream: its limits, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamFacts {
    pub(crate) name: String,
    pub(crate) subjects: Vec<String>,
    pub(crate) bytes: u64,
    /// `None` without a limit; so are all others.
    pub(crate) bytes_max: Option<u64>,
    pub(crate) messages_max: Option<u64>,
    pub(crate) age_max: Option<Duration>,
    pub(crate) message_bytes_max: Option<u64>,
    /// The largest message that the server takes.
    pub(crate) payload_bytes_max: u64,
    pub(crate) when_full: WhenFull,
    pub(crate) keeps: Keeps,
    pub(crate) storage: Storage,
    pub(crate) replicas: usize,
    /// Zero if it takes messages with the same ID again.
    pub(crate) duplicate_window: Duration,
    pub(crate) consumers: usize,
    /// Their names, if the aggregator's is not among them and NATS tells them.
    pub(crate) others: Vec<String>,
    /// Messages that were evicted before the consumer was given them.
    pub(crate) evicted_unread: u64,
}

/// What a full stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    EvictsOld,
    RefusesNew,
}

/// How long a stream keeps a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Until a limit is reached.
    ToItsLimits,
    /// Until it is acknowledged.
    UntilRead,
}

/// Where a stream keeps messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    File,
    Memory,
}

/// The aggregator's consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerFacts {
    pub(crate) acks: Acks,
    pub(crate) ack_wait: Duration,
    pub(crate) ack_pending_max: Option<u64>,
    pub(crate) deliveries_max: Option<u64>,
    /// Empty, if it reads all subjects.
    pub(crate) filters: Vec<String>,
    pub(crate) is_paused: bool,
    /// Messages that it has not been given, and those that it has not acknowledged.
    pub(crate) waiting: u64,
}

/// What a consumer acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acks {
    Each,
    /// One message, and all before it.
    AllBefore,
    None,
}

/// The table, and what settings an insert of this account would have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableFacts {
    pub(crate) name: String,
    pub(crate) survey: Survey,
    /// Columns of an event that it lacks.
    pub(crate) missing: Vec<&'static str>,
    pub(crate) settings: InsertSettings,
    pub(crate) parts_of_a_partition_max: u64,
}

/// What the server does with inserts of this account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InsertSettings {
    pub(crate) is_async: bool,
    /// An asynchronous insert is answered once it is in the table.
    pub(crate) waits_for_async: bool,
    /// Inserts that are sent again are looked for among the last ones.
    pub(crate) deduplicates: bool,
}

/// What a Vector says of itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VectorFacts {
    pub(crate) url: String,
    pub(crate) buffered_events: f64,
    pub(crate) buffered_bytes: f64,
    /// Events that it dropped, and not because it was told to.
    pub(crate) discarded: f64,
    pub(crate) errors: f64,
}

impl VectorFacts {
    /// Reads metrics in the text format of Prometheus. Names differ from version to version.
    pub(crate) fn parse(url: &str, text: &str) -> Self {
        let sum = |names: &[&str]| -> f64 {
            let samples = text.lines().filter(|line| !line.starts_with('#'));
            let of_names = samples.filter(|line| {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                let name = name.strip_prefix("vector_").unwrap_or(name);
                // What a filter drops is what it is for.
                names.contains(&name) && !line.contains("intentional=\"true\"")
            });
            of_names.filter_map(sample_value).filter(|value| value.is_finite()).sum()
        };
        Self {
            url: url.to_owned(),
            buffered_events: sum(&["buffer_events", "buffer_size_events"]),
            buffered_bytes: sum(&["buffer_byte_size", "buffer_size_bytes"]),
            discarded: sum(&["component_discarded_events_total", "buffer_discarded_events_total"]),
            errors: sum(&["component_errors_total"]),
        }
    }
}

/// The value of a line like `name{labels} value` or `name{labels} value time`.
fn sample_value(line: &str) -> Option<f64> {
    let rest = line.rsplit_once('}').map_or_else(|| line.split_once(' '), Some)?.1;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_tells_what_it_holds_and_dropped() {
        let text = "# TYPE vector_buffer_events gauge\n\
            vector_buffer_events{component_id=\"nats\",stage=\"0\"} 12 1790000000000\n\
            vector_buffer_events{component_id=\"a} b\"} 3\n\
            vector_buffer_byte_size{component_id=\"nats\"} 4096\n\
            vector_component_discarded_events_total{intentional=\"true\"} 900\n\
            vector_component_discarded_events_total{intentional=\"false\"} 7\n\
            component_errors_total 2\n\
            vector_buffer_max_event_size 500\n\
            vector_utilization NaN\n";
        let facts = VectorFacts::parse("x", text);
        let expected = VectorFacts {
            url: "x".to_owned(),
            buffered_events: 15.0,
            buffered_bytes: 4096.0,
            discarded: 7.0,
            errors: 2.0,
        };
        assert_eq!(facts, expected);
    }
}
