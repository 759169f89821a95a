//! The facts about servers before anything is sent to them: plain data.

use std::time::Duration;

use events::timeline::UnixMicros;
use runs::observation::ClockOffset;
use stores::absent::AbsentRows;
use stores::bounds::SecondBounds;
use stores::sight::read::Standing;
use stores::survey::Survey;

/// All facts that were read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// `None` if no stream was read.
    pub stream: Option<StreamFacts>,
    /// Why the stream could not be read, if it should have been.
    pub unseen: Option<String>,
    /// The table, on each server.
    pub tables: Vec<TableFacts>,
    /// Empty if no Vector was asked.
    pub vectors: Vec<VectorFacts>,
    pub clocks: Vec<ClockOffset>,
    /// `None` if nobody will read events while they are sent, or afterwards.
    pub reader: Option<ReaderFacts>,
}

/// The query API that events will be read through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderFacts {
    pub url: String,
    /// Why it did not answer a question, if it did not.
    pub unanswered: Option<String>,
    /// Whether a scope of a type that nobody knows is shown events. `None` if the server has no
    /// event that could be shown.
    pub shows_strangers: Option<bool>,
    /// What ClickHouse does with the bounds that the API asks with.
    pub bounds: SecondBounds,
}

/// A stream: its limits and its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    pub name: String,
    pub subjects: Vec<String>,
    pub bytes: u64,
    /// `None` if there is no limit, as for the other limits.
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
    /// Zero if the stream does not look for repeated IDs.
    pub duplicate_window: Duration,
    pub consumers: usize,
    /// The names of the consumers, if the aggregator's is missing and NATS reports them.
    pub others: Vec<String>,
    /// Messages that were evicted before the consumer was given them.
    pub evicted_unread: u64,
    /// The name of the aggregator's consumer.
    pub consumer_name: String,
    /// `None` if the stream has no consumer of that name.
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
    /// Empty if it reads all subjects.
    pub filters: Vec<String>,
    pub is_paused: bool,
    /// A client waits for its messages.
    pub is_read: bool,
    /// The messages that it was not given yet, and those that it has not acknowledged.
    pub waiting: u64,
}

/// What one acknowledgement of a consumer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    Each,
    /// A message and all messages before it.
    AllBefore,
    None,
}

/// The table, and the settings of inserts by this account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    pub name: String,
    pub survey: Survey,
    /// Address of its server.
    pub url: String,
    /// The columns of events that it does not have.
    pub missing: Vec<&'static str>,
    /// The columns that nothing fills.
    pub unfilled: Vec<String>,
    pub settings: InsertSettings,
    pub parts_of_a_partition_max: u64,
    /// Its TTL and its detached parts.
    pub absent: AbsentRows,
    /// Which of the events that will be sent its TTL already deletes.
    pub deleted: Deleted,
    /// What may hide rows from this account, and limits that end its queries.
    pub standing: Standing,
    /// The copies that probes left behind, with their databases.
    pub copies: Vec<String>,
}

/// Which of the events that will be sent a TTL already deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// None of them, or there is no TTL.
    Nothing,
    /// Those whose requests were received before this time.
    Until(UnixMicros),
    /// Not known: its rules use other columns than the time.
    Untold,
}

/// How the server handles inserts of this account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InsertSettings {
    pub is_async: bool,
    /// An asynchronous insert is answered once it is in the table.
    pub waits_for_async: bool,
    /// The server ignores an insert that equals one of the last inserts.
    pub deduplicates: bool,
}

/// What the metrics of a Vector say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorFacts {
    pub url: String,
    /// Events that all its sinks hold.
    pub held_events: u64,
    /// Bytes in the buffers of all its sinks.
    pub buffered_bytes: u64,
    /// Events that it dropped unintentionally.
    pub discarded_events: u64,
    pub errors: u64,
}
