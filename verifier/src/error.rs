//! Why a run could not be verified. A loss is no error: it is a verdict.

use std::net::SocketAddr;
use std::path::PathBuf;

use archive::ArchiveError;
use edges::exit::Exit;
use plans::profile::ProfileError;
use queries::api::ApiError;
use queries::error::AskError;
use ready::read::ReadError;
use report::error::ShowError;
use runs::run_dir::RunDirError;
use stores::clickhouse::ClickHouseError;
use stores::jetstream::JetStreamError;

use crate::certificate::CertificateError;
use crate::changes::ChangesError;
use crate::http::HttpError;

/// Why a run could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
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
    #[error("no sandbox in {}", dir.display())]
    NoSandbox { dir: PathBuf },
    #[error("cannot write the output")]
    Output { source: std::io::Error },
    /// A store that was away for longer than it was to be waited for.
    #[error("asked {asked} times in vain")]
    Away { asked: u32, source: Box<VerifyError> },
    #[error("the stream {stream} fell silent while it was read, at message {at} of {last}")]
    StreamSilent { stream: String, at: u64, last: u64 },
    #[error("cannot save the progress of the check in {}", path.display())]
    Progress { path: PathBuf, source: std::io::Error },
    #[error(
        "the directories belong to {runs} runs, whose files would have the same names: name the \
         directories of one run, or leave out --out"
    )]
    OneOutput { runs: usize },
    #[error(
        "{address} is an archive, in which nothing can be written: name a directory with --out"
    )]
    NoOutput { address: String },
    #[error(
        "{address} is an archive, and results are written beside a run: fetch it first, with \
         `auditstorm-verifier fetch {address} DIR`"
    )]
    Archived { address: String },
    #[error(transparent)]
    QueryApi(#[from] ApiError),
    #[error("cannot read from the query API at {place}")]
    Reader { place: String, source: AskError },
    #[error(
        "the directories belong to {runs} runs, and only one can be read back at a time: name the \
         directories of one"
    )]
    OneRun { runs: usize },
    #[error(transparent)]
    Show(#[from] ShowError),
    #[error("cannot start")]
    Start { source: std::io::Error },
    #[error("stopped by the user before there was a verdict")]
    Stopped,
}

impl From<ReadError> for VerifyError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ClickHouse(error) => error.into(),
            ReadError::JetStream(error) => error.into(),
        }
    }
}

impl VerifyError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::ClickHouse(error) if error.is_usage() => Exit::Usage,
            Self::Http(HttpError::Address(_) | HttpError::NoAuthorities { .. })
            | Self::RunDir(_)
            | Self::Metrics { .. }
            | Self::Output { .. }
            | Self::Progress { .. }
            | Self::Profile(_)
            | Self::NoNatsUrl
            | Self::TooLong
            | Self::NoSandbox { .. }
            | Self::Certificate(_)
            | Self::Changes(_)
            | Self::OneOutput { .. }
            | Self::NoOutput { .. }
            | Self::Archived { .. }
            | Self::OneRun { .. }
            | Self::QueryApi(_)
            | Self::Show(_)
            | Self::Start { .. } => Exit::of_cause(self),
            Self::Archive(error) => error.exit(),
            Self::JetStream(error) => error.exit(),
            Self::ClickHouse(ClickHouseError::Answer { .. }) => Exit::Unknown,
            Self::ClickHouse(_)
            | Self::Http(_)
            | Self::StreamSilent { .. }
            | Self::Reader { .. } => Exit::Unreachable,
            Self::Stopped => Exit::Stopped,
            Self::Away { source, .. } => source.exit(),
        }
    }

    /// The error itself, however often it came.
    #[must_use]
    pub fn cause(self) -> Self {
        match self {
            Self::Away { source, .. } => *source,
            error => error,
        }
    }
}
