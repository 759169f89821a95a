//! What is known of a pipeline before a run: plain data.

use std::time::Duration;

use runs::observation::ClockOffset;
use stores::survey::Survey;

use super::load::Load;
use crate::vector::VectorState;

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
    /// Somebody waits for its messages.
    pub(crate) is_read: bool,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VectorFacts {
    pub(crate) url: String,
    pub(crate) state: VectorState,
}
