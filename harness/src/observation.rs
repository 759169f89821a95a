//! What was seen of the pipeline while a run went on, and what somebody marked: the files
//! `observations.jsonl` and `marks.jsonl` of a run.

use events::event::MicroTime;
use serde::{Deserialize, Serialize};

/// What was seen of the pipeline at one moment of a run: a line of `observations.jsonl`.
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
    /// What the parts of the pipeline used since the observation before.
    pub resources: Vec<ResourceUse>,
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
}

/// How far a server's clock was ahead of the observer's, in ms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClockOffset {
    pub server: String,
    pub offset_ms: f64,
    /// Half of the time that the question took: the offset is right to within this.
    pub error_ms: f64,
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
