//! Why a backfill cannot go on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use edges::exit::Exit;
use edges::files::TooFewFiles;
use load::webhook::WebhookError;
use plans::profile::ProfileError;
use ready::read::ReadError;
use runs::run_dir::RunDirError;
use stores::clickhouse::{ClickHouseError, is_denial};
use stores::jetstream::JetStreamError;

use crate::export::ExportError;
use crate::insert::Failure;

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
    #[error(
        "--bulk-until-day {bulk_until} and --replay-from-day {replay_from} differ, so some days \
         would be sent twice or not at all; give only one of them, or the same number"
    )]
    Gap { bulk_until: u32, replay_from: u32 },
    #[error("a history cannot end in the future, at {now}; give an earlier --now")]
    EndsInFuture { now: String },
    #[error("{days} days before that moment is before 1970; give a later --now, or fewer --days")]
    BeginsTooEarly { days: u32 },
    #[error(
        "the clock of this machine has jumped back: it is {now}, and the history was planned at \
         {planned_at}; set it right and run again"
    )]
    ClockJumped { now: String, planned_at: String },
    #[error(
        "there is another history in {}: its {what} is {found}, not {given}; give the same flags \
         to go on with it, or name another directory",
        path.display()
    )]
    OtherHistory { path: PathBuf, what: &'static str, given: String, found: String },
    #[error(
        "cannot repair by the report {}: {fact}; `auditstorm-verifier reconcile` writes one",
        path.display()
    )]
    Report { path: PathBuf, fact: &'static str, source: Option<io::Error> },
    #[error("the load cannot work at {place}: {text}")]
    CannotWork { place: String, text: String },
    #[error("cannot insert {rows} rows at {url}{}", hint(source))]
    Insert { url: String, rows: u64, source: clickhouse::error::Error },
    #[error(
        "the server confirmed {rows} rows, but does not have them: it took them for a repetition \
         of earlier rows"
    )]
    Swallowed { rows: u64 },
    /// The account does not see all rows, and the hidden ones may be those in doubt.
    #[error(
        "the server at {url} took {taken} rows, this account ({user}) sees {seen}: rows that \
         it does not see must not be sent again, so nothing was sent; {what}; {remedy}"
    )]
    Unseen { url: String, user: String, taken: u64, seen: u64, what: String, remedy: String },
    #[error(
        "whether this account sees all rows of the table at {url} is not known, so nothing was \
         sent again: {what}; {remedy}"
    )]
    Hidden { url: String, what: String, remedy: String },
    #[error(
        "the table at {url} changes faster than its rows can be counted: whether this account \
         sees them all is not known, so nothing was sent again; run again when less is written to \
         it"
    )]
    Moving { url: String },
    #[error(
        "the server still works on an insert that was begun before; run again when \
         system.processes has no query named auditstorm-… any more"
    )]
    StillInserting,
    #[error(
        "a partition has {parts} parts, and the limit is {limit}: let the server merge, or raise \
         --parts-per-partition"
    )]
    PartsStay { parts: u64, limit: u64 },
    #[error("nothing could be inserted for {seconds} s; run again to go on where this ended")]
    NoProgress { seconds: u64, source: Option<Box<BackfillError>> },
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    JetStream(#[from] JetStreamError),
    #[error("the stream {stream} has no consumer {consumer}; name another with --consumer")]
    NoConsumer { stream: String, consumer: String },
    #[error(
        "the webhook has accepted nothing for {minutes} minutes, and refuses {events} events \
         ({outcome}); run again when it works"
    )]
    Refused { events: u64, minutes: u64, outcome: String },
    #[error(
        "nothing has moved in the pipeline for {minutes} minutes: {backlog} events are not in the \
         stream {stream} yet, and {lag} messages wait for the consumer {consumer}; is the \
         aggregator up?"
    )]
    Stalled { stream: String, consumer: String, backlog: u64, lag: u64, minutes: u64 },
    #[error(
        "{events} events were sent through the pipeline again and again, without an answer and \
         without arriving; run again when the webhook answers"
    )]
    StillDoubtful { events: u64 },
    #[error("the last days go through the pipeline: name its {what}")]
    NoPipeline { what: &'static str },
    #[error(transparent)]
    Files(#[from] TooFewFiles),
    #[error("cannot write to the run directory: nothing more was sent")]
    Ledger { source: io::Error },
    #[error("cannot serve metrics at {address}; give --metrics a free address")]
    Metrics { address: SocketAddr, source: io::Error },
    #[error("cannot start")]
    Start { source: io::Error },
    #[error("stopped by the user before anything was sent")]
    Stopped,
}

/// What to do about a failed insert.
fn hint(error: &clickhouse::error::Error) -> &'static str {
    match Failure::of(error) {
        _ if is_denial(error) => "; the account may not do that, see --clickhouse-user",
        Failure::NoSpace => "; free some space and run again to go on",
        _ => "; run again to go on where this ended",
    }
}

impl From<ReadError> for BackfillError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ClickHouse(error) => error.into(),
            ReadError::JetStream(error) => error.into(),
        }
    }
}

impl BackfillError {
    /// The run directory does not take what is to be written down.
    pub fn ledger(source: io::Error) -> Self {
        Self::Ledger { source }
    }

    /// The operating system refuses what any program needs.
    pub fn start(source: io::Error) -> Self {
        Self::Start { source }
    }

    /// The store that it is of, as users call it.
    pub fn server(&self) -> &str {
        match self {
            Self::Insert { url, .. }
            | Self::Moving { url }
            | Self::ClickHouse(
                ClickHouseError::Silent { url, .. } | ClickHouseError::Query { url, .. },
            ) => url,
            _ => "clickhouse",
        }
    }

    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::ClickHouse(error) if error.is_usage() => Exit::Usage,
            Self::Insert { source, .. } if is_denial(source) => Exit::Usage,
            Self::Profile(_)
            | Self::Export(_)
            | Self::NoConsumer { .. }
            | Self::NoPipeline { .. }
            | Self::Gap { .. }
            | Self::EndsInFuture { .. }
            | Self::BeginsTooEarly { .. }
            | Self::ClockJumped { .. }
            | Self::OtherHistory { .. }
            | Self::CannotWork { .. }
            | Self::Report { .. }
            | Self::RunDir(_)
            | Self::Metrics { .. }
            | Self::Ledger { .. }
            | Self::Files(_)
            | Self::Start { .. } => Exit::of_cause(self),
            Self::Stopped => Exit::Stopped,
            Self::Unseen { .. } | Self::Hidden { .. } | Self::Moving { .. } => Exit::Unknown,
            Self::Webhook(error) => error.exit(),
            Self::JetStream(error) => error.exit(),
            Self::ClickHouse(_)
            | Self::Insert { .. }
            | Self::Refused { .. }
            | Self::StillDoubtful { .. }
            | Self::Stalled { .. }
            | Self::Swallowed { .. }
            | Self::PartsStay { .. }
            | Self::StillInserting
            | Self::NoProgress { .. } => Exit::Unreachable,
        }
    }
}
