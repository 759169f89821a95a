//! Why a backfill cannot go on.

use std::io;

use harness::clickhouse::ClickHouseError;
use harness::exit::Exit;
use harness::jetstream::JetStreamError;
use harness::profile::ProfileError;
use harness::run_dir::RunDirError;
use harness::webhook::WebhookError;

/// Why a backfill cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    #[error("cannot insert chunk {chunk} of {chunks}; its {rows} events are unknown")]
    Insert { chunk: u32, chunks: usize, rows: u64, source: clickhouse::error::Error },
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    JetStream(#[from] JetStreamError),
    #[error("the stream {stream} has no consumer {consumer}; name another with --consumer")]
    NoConsumer { stream: String, consumer: String },
    #[error(
        "the webhook has taken nothing for {minutes} minutes, and refuses {events} events \
         ({outcome}); run again when it is well"
    )]
    Refused { events: u64, minutes: u64, outcome: String },
    #[error(
        "nothing has moved in the pipeline for {minutes} minutes: {backlog} events are not in the \
         stream {stream} yet, and {lag} messages wait for the consumer {consumer}; is the \
         aggregator up?"
    )]
    Stalled { stream: String, consumer: String, backlog: u64, lag: u64, minutes: u64 },
    #[error("cannot write to the run directory: nothing more was sent")]
    Ledger { source: io::Error },
    #[error("cannot start")]
    Start { source: io::Error },
}

impl BackfillError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::ClickHouse(ClickHouseError::Url { .. } | ClickHouseError::NoTable { .. })
            | Self::Profile(_)
            | Self::RunDir(_)
            | Self::NoConsumer { .. }
            | Self::Ledger { .. }
            | Self::Start { .. } => Exit::Usage,
            Self::Webhook(error) => error.exit(),
            Self::JetStream(error) => error.exit(),
            Self::ClickHouse(_)
            | Self::Insert { .. }
            | Self::Refused { .. }
            | Self::Stalled { .. } => Exit::Unreachable,
        }
    }
}
