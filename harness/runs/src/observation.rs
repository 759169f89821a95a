//! Observations of the pipeline during a run, and the marks that the user set: the files
//! `observations.jsonl` and `marks.jsonl` of a run.

use std::ops::Range;

use edges::clock::milliseconds;
use events::event::MicroTime;
use events::timeline::UnixMicros;
use serde::{Deserialize, Serialize};

/// The state of the pipeline at one moment of a run: a line of `observations.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    pub at: MicroTime,
    /// `None` where the run does not go through a stream, or it did not answer.
    pub stream: Option<StreamSeen>,
    /// `None` where the table did not answer.
    pub table: Option<TableSeen>,
    pub freshness: Freshness,
    /// How far the clock of each server was ahead of the observer's.
    pub clocks: Vec<ClockOffset>,
    /// CPU and memory that the parts of the pipeline used since the last observation.
    pub resources: Vec<ResourceUse>,
    /// A lower bound for the events that were acknowledged since the watch began and are not in the
    /// stream. There may be more, because the stream may have taken other messages. `None` if it is
    /// not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_min: Option<u64>,
    /// What each sink of the Vectors holds. Sinks of a Vector that did not answer are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldSeen>,
}

/// What a sink of a Vector holds: events that it took and its target has not taken yet. They are in
/// its buffer, in batches, or in requests, including those that are tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSeen {
    /// Which Vector, like `vector 127.0.0.1:9598`.
    pub vector: String,
    /// The sink's ID there.
    pub sink: String,
    /// Like `nats` or `clickhouse`.
    pub kind: String,
    pub events: u64,
    /// Bytes in its buffer.
    pub buffered_bytes: u64,
    /// Events that it has dropped since it began, on purpose or not.
    pub discarded_events: u64,
}

/// Where the stream and the aggregator's consumer stood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSeen {
    pub messages: u64,
    pub bytes: u64,
    /// Sequence number of the oldest message that the stream holds.
    pub first: u64,
    /// Sequence number of the last message that the stream has taken.
    pub last: u64,
    /// `None` if there is no consumer of the name.
    pub consumer: Option<ConsumerSeen>,
}

/// Where the aggregator's consumer stood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerSeen {
    /// Sequence number, in the stream, of the last message that it was given.
    pub delivered: u64,
    /// Messages that it was given so far, those given again included.
    pub deliveries: u64,
    /// All messages up to this sequence number of the stream are acknowledged.
    pub ack_floor: u64,
    /// Messages that it has not been given.
    pub pending: u64,
    /// Messages that it has been given and has not acknowledged.
    pub unacknowledged: u64,
    /// Messages that it has been given again and has not acknowledged.
    pub redelivered: u64,
}

impl StreamSeen {
    /// Sequence numbers of the messages that the stream has evicted before the consumer was given
    /// them: as far as this single look proves it, because the stream was asked before the
    /// consumer.
    pub fn evicted_unread(&self) -> Range<u64> {
        let next = self.consumer.map_or(self.first, |consumer| consumer.delivered + 1);
        next..self.first.max(next)
    }
}

/// What the table held, of this run and of others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSeen {
    pub rows: u64,
    /// Active parts, and most of them in one partition.
    pub parts: u64,
    pub parts_of_a_partition_max: u64,
}

/// How long sampled events took to become visible in the table, in ms. Those that became visible
/// since the observation before count.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Freshness {
    /// From when each event was due.
    pub due_to_visible_ms: Vec<f64>,
    /// From when the webhook acknowledged it; less than 0 where clocks disagree, or the answer came
    /// late.
    pub acknowledged_to_visible_ms: Vec<f64>,
    /// Samples that are due and not visible yet.
    pub waiting: u64,
    /// How long the oldest of them has been due, in ms.
    pub oldest_ms: f64,
    /// `None` in what older versions wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Watched>,
}

/// Which samples were watched. With the plan and the ledger, this tells which samples were still
/// missing when the watch ended, however it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// When the watch began: what was due before is not watched.
    pub since: MicroTime,
    /// Until this moment the missing samples were certainly not in the table.
    pub absent_until: MicroTime,
    /// Tenant and sequence number of each sample that became visible, in the order of
    /// [`Freshness::due_to_visible_ms`].
    pub visible: Vec<(u16, u64)>,
}

/// How far a server's clock was ahead of the observer's, in ms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClockOffset {
    pub server: String,
    pub offset_ms: f64,
    /// Half of the time that the question took: the offset is right to within this.
    pub error_ms: f64,
}

impl ClockOffset {
    /// The offset that follows from an answer with the time of a server. The server may have read
    /// its clock at any moment between question and answer; the error covers that.
    pub fn new(
        server: &str,
        (asked, answered): (UnixMicros, UnixMicros),
        told: UnixMicros,
    ) -> Self {
        let middle = asked + (answered - asked) / 2;
        Self {
            server: server.to_owned(),
            offset_ms: milliseconds(told - middle),
            error_ms: milliseconds(answered - asked) / 2.0,
        }
    }
}

/// What one part of the pipeline used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceUse {
    /// Like `clickhouse`, `nats`, `relay` or `vector`.
    pub part: String,
    /// Cores kept busy, on average.
    pub cpu_cores: f64,
    pub memory_bytes: u64,
}

/// Something that happened while a run went on: a line of `marks.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub at: MicroTime,
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_was_not_given_to_the_consumer_is_evicted_unread() {
        let seen = |first, delivered| {
            let consumer = ConsumerSeen { delivered, ..ConsumerSeen::default() };
            StreamSeen { first, consumer: Some(consumer), ..StreamSeen::default() }
        };
        assert_eq!(seen(1, 0).evicted_unread(), 1..1, "a new stream");
        assert_eq!(seen(101, 100).evicted_unread(), 101..101, "all was read, and went");
        assert_eq!(seen(50, 100).evicted_unread(), 101..101);
        assert_eq!(seen(151, 100).evicted_unread(), 101..151);
        let without = StreamSeen { first: 9, ..StreamSeen::default() };
        assert!(without.evicted_unread().is_empty());
    }

    #[test]
    fn a_clock_is_compared_in_the_middle_of_the_question() {
        let offset = ClockOffset::new("x", (1_000_000, 1_004_000), 1_012_000);
        assert!((offset.offset_ms - 10.0).abs() < 1e-9, "{offset:?}");
        assert!((offset.error_ms - 2.0).abs() < 1e-9, "{offset:?}");
    }
}
