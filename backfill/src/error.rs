//! Why a backfill cannot go on.

use std::io;

use harness::clickhouse::ClickHouseError;
use harness::exit::Exit;
use harness::profile::ProfileError;
use harness::run_dir::RunDirError;

use crate::export::ExportError;

/// Why a backfill cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("cannot insert chunk {chunk} of {chunks}; its {rows} events are unknown")]
    Insert { chunk: u32, chunks: usize, rows: u64, source: clickhouse::error::Error },
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
            | Self::Export(_)
            | Self::Ledger { .. }
            | Self::Start { .. } => Exit::Usage,
            Self::ClickHouse(_) | Self::Insert { .. } => Exit::Unreachable,
        }
    }
}
