//! What is known of servers before anything is sent to them: plain data.

use std::time::Duration;

use events::timeline::UnixMicros;
use runs::observation::ClockOffset;
use stores::absent::AbsentRows;
use stores::sight::read::Standing;
use stores::survey::Survey;

/// All that was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// `None` if no stream was looked at.
    pub stream: Option<StreamFacts>,
    /// Why no stream was looked at, where one should have been.
    pub unseen: Option<String>,
    /// The table, on each server.
    pub tables: Vec<TableFacts>,
    /// By address; none, if no Vector was asked.
    pub vectors: Vec<VectorFacts>,
    pub clocks: Vec<ClockOffset>,
}

/// A stream: its limits, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    pub name: String,
    pub subjects: Vec<String>,
    pub bytes: u64,
    /// `None` without a limit; so are all others.
    pub bytes_max: Option<u64>,
    pub messages_max: Option<u64>,
    pub age_max: Option<Duration>,
    pub message_bytes_max: Option<u64>,
    /// The largest message that the server takes.
    pub payload_bytes_max: u64,
    pub when_full: WhenFull,
    pub keeps: Keeps,
    pub storage: Storage,
    pub replicas: usize,
    /// Zero if it takes messages with the same ID again.
    pub duplicate_window: Duration,
    pub consumers: usize,
    /// Their names, if the aggregator's is not among them and NATS tells them.
    pub others: Vec<String>,
    /// Messages that were evicted before the consumer was given them.
    pub evicted_unread: u64,
    /// Name of the aggregator's consumer.
    pub consumer_name: String,
    /// `None` if there is no consumer of the name.
    pub consumer: Option<ConsumerFacts>,
}

/// What a full stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    EvictsOld,
    RefusesNew,
}

/// How long a stream keeps a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Until a limit is reached.
    ToItsLimits,
    /// Until it is acknowledged.
    UntilRead,
}

/// Where a stream keeps messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    File,
    Memory,
}

/// The aggregator's consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerFacts {
    pub acks: Acks,
    pub ack_wait: Duration,
    pub ack_pending_max: Option<u64>,
    pub deliveries_max: Option<u64>,
    /// Empty, if it reads all subjects.
    pub filters: Vec<String>,
    pub is_paused: bool,
    /// Somebody waits for its messages.
    pub is_read: bool,
    /// Messages that it has not been given, and those that it has not acknowledged.
    pub waiting: u64,
}

/// What a consumer acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    Each,
    /// One message, and all before it.
    AllBefore,
    None,
}

/// The table, and what settings an insert of this account would have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    pub name: String,
    pub survey: Survey,
    /// Address of its server.
    pub url: String,
    /// Columns of an event that it lacks.
    pub missing: Vec<&'static str>,
    /// Columns that stay empty.
    pub unfilled: Vec<String>,
    pub settings: InsertSettings,
    pub parts_of_a_partition_max: u64,
    /// Its TTL, and what is detached.
    pub absent: AbsentRows,
    /// What its TTL deletes by now, of what is to be sent.
    pub deleted: Deleted,
    /// What may be in the way of this account.
    pub standing: Standing,
    /// Copies that probes have left, with their database.
    pub copies: Vec<String>,
}

/// What a TTL deletes by now, of what is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Nothing yet, or there is no TTL.
    Nothing,
    /// Rows of requests that were received before.
    Until(UnixMicros),
    /// Its rules are of other columns than the time.
    Untold,
}

/// What the server does with inserts of this account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InsertSettings {
    pub is_async: bool,
    /// An asynchronous insert is answered once it is in the table.
    pub waits_for_async: bool,
    /// Inserts that are sent again are looked for among the last ones.
    pub deduplicates: bool,
}

/// What a Vector says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorFacts {
    pub url: String,
    /// Events that all its sinks hold.
    pub held_events: u64,
    /// Bytes in the buffers of all its sinks.
    pub buffered_bytes: u64,
    /// Events that it dropped, and not because it was told to.
    pub discarded_events: u64,
    pub errors: u64,
}
