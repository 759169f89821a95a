//! Why the generator cannot go on. A refused or unanswered batch is no error: it is an outcome.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use edges::exit::Exit;
use edges::files::TooFewFiles;
use load::webhook::WebhookError;
use plans::profile::ProfileError;
use queries::api::ApiError;
use queries::error::AskError;
use runs::report::ReportError;
use runs::run_dir::RunDirError;
use stores::clickhouse::ClickHouseError;

/// Why the generator cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(
        "the webhook has {addresses} addresses, but the profile only {connections} connections; \
         raise `send.connections`"
    )]
    TooFewConnections { addresses: usize, connections: u32 },
    #[error(transparent)]
    Files(#[from] TooFewFiles),
    #[error("the start is {late_s} s in the past; name a time that is still to come")]
    StartIsPast { late_s: i64 },
    #[error("the stages take more than ten years; lower --time-scale or --duration")]
    TooLong,
    #[error("the profile has {planned} events, which is less than the {asked} asked for")]
    TooFewEvents { planned: u64, asked: u64 },
    #[error(
        "the profile {profile} has queries, and nobody to ask: name the query API with --query-api \
         or QUERY_API_URL, or ask the table with --query-sql, or leave the queries out with \
         --no-queries"
    )]
    NoQueryDoor { profile: String },
    #[error(transparent)]
    HistoryReport(#[from] ReportError),
    #[error("{} is the report of another run: reconcile the history again", path.display())]
    OtherReport { path: PathBuf },
    #[error(transparent)]
    QueryApi(#[from] ApiError),
    #[error(transparent)]
    QueryTable(#[from] ClickHouseError),
    #[error("{place} does not answer queries; --no-queries leaves them out")]
    QueryProbe { place: String, source: AskError },
    #[error("cannot write to the run directory: nothing more was sent")]
    Ledger { source: io::Error },
    #[error("cannot start")]
    Start { source: io::Error },
    #[error("cannot serve metrics on {address}; is the port taken?")]
    Metrics { address: SocketAddr, source: io::Error },
    #[error("cannot write the summary to {}", path.display())]
    SummaryExport { path: PathBuf, source: io::Error },
    #[error("cannot write the output")]
    Output { source: io::Error },
}

impl GeneratorError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Webhook(error) => error.exit(),
            Self::QueryProbe { .. } => Exit::Unreachable,
            Self::QueryTable(error) if !error.is_usage() => Exit::Unreachable,
            Self::Profile(_)
            | Self::RunDir(_)
            | Self::TooFewConnections { .. }
            | Self::Files(_)
            | Self::StartIsPast { .. }
            | Self::TooLong
            | Self::TooFewEvents { .. }
            | Self::NoQueryDoor { .. }
            | Self::HistoryReport(_)
            | Self::OtherReport { .. }
            | Self::QueryApi(_)
            | Self::QueryTable(_)
            | Self::Ledger { .. }
            | Self::Start { .. }
            | Self::Metrics { .. }
            | Self::SummaryExport { .. }
            | Self::Output { .. } => Exit::of_cause(self),
        }
    }
}
