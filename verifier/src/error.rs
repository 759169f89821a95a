//! Why a run could not be verified. Finding loss is no error: that is a verdict.

use std::net::SocketAddr;
use std::path::PathBuf;

use harness::clickhouse::ClickHouseError;
use harness::exit::Exit;
use harness::jetstream::JetStreamError;
use harness::profile::ProfileError;
use harness::run_dir::RunDirError;

use crate::changes::ChangesError;
use crate::http::HttpError;

/// Why a run could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error(transparent)]
    Changes(#[from] ChangesError),
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    #[error(transparent)]
    JetStream(#[from] JetStreamError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("events go through the pipeline: name its NATS with --nats or NATS_URL")]
    NoNatsUrl,
    #[error("the stages take more than ten years; lower --time-scale or --duration")]
    TooLong,
    #[error("cannot serve metrics on {address}; is the port taken?")]
    Metrics { address: SocketAddr, source: std::io::Error },
    #[error("cannot write the output")]
    Output { source: std::io::Error },
    #[error("the stream {stream} fell silent while it was read, at message {at} of {last}")]
    StreamSilent { stream: String, at: u64, last: u64 },
    #[error("cannot keep what was checked in {}", path.display())]
    Progress { path: PathBuf, source: std::io::Error },
    #[error("cannot start")]
    Start { source: std::io::Error },
    #[error("stopped by the user before there was a verdict")]
    Stopped,
}

impl VerifyError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::ClickHouse(error) if error.is_usage() => Exit::Usage,
            Self::Http(HttpError::Address { .. })
            | Self::RunDir(_)
            | Self::Profile(_)
            | Self::NoNatsUrl
            | Self::TooLong
            | Self::Metrics { .. }
            | Self::Output { .. }
            | Self::Changes(_)
            | Self::Progress { .. }
            | Self::Start { .. } => Exit::Usage,
            Self::JetStream(error) => error.exit(),
            Self::ClickHouse(ClickHouseError::Answer { .. }) => Exit::Unknown,
            Self::ClickHouse(_) | Self::Http(_) | Self::StreamSilent { .. } => Exit::Unreachable,
            Self::Stopped => Exit::Stopped,
        }
    }
}
