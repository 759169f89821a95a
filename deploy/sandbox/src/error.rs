//! What can go wrong, and which exit code says so.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::fault_error::FaultError;

/// Why the sandbox cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The ordered faults do not fit together.
    #[error(transparent)]
    Fault(#[from] FaultError),

    /// Vector cannot be told to misbehave.
    #[error(
        "only the sandbox's own relay makes faults, but Vector was asked for; \
         leave out --vector (and VECTOR_BIN) or --fault"
    )]
    FaultsNeedRelay,

    /// Only an honest relay has disk buffers.
    #[error(
        "fault {fault} is one of disk buffers, and the fast relay has none; add --relay honest"
    )]
    FaultNeedsHonest {
        /// The fault as it is written.
        fault: String,
    },

    /// Faults of reading need a server that can make them.
    #[error(
        "fault {fault} is made by the sandbox's own query API, which was not asked for; \
         add --query-api without an address"
    )]
    FaultNeedsQueryApi {
        /// The fault as it is written.
        fault: String,
    },

    /// Vector needs no stand-in.
    #[error(
        "--relay is for the sandbox's own relay, but Vector was asked for; leave out one of them"
    )]
    RelayAndVector,

    /// A time that Vector cannot be told.
    #[error("Vector takes {flag} only in whole seconds, at least 1s; {given} ms are not")]
    WholeSeconds {
        /// The flag.
        flag: &'static str,
        /// What was given.
        given: u128,
    },

    /// A file with settings of the stream cannot be used.
    #[error("{} holds no settings of the stream: {reason}", path.display())]
    StreamFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The directory belongs to a running sandbox.
    #[error(
        "a sandbox already runs in {dir} as process {pid}; stop it with `down --dir {dir}`",
        dir = dir.display()
    )]
    Live {
        /// The directory asked for.
        dir: PathBuf,
        /// The process that owns it.
        pid: String,
    },

    /// A part was named, and is not there.
    #[error("no {part} at {}", path.display())]
    NotThere {
        /// The part's name.
        part: &'static str,
        /// Where it should have been.
        path: PathBuf,
    },

    /// A part was neither named, nor fetched, nor found on PATH.
    #[error(
        "no {part} in {} or on PATH: run `auditstorm-sandbox setup`, or name one with {flag} PATH",
        home.display()
    )]
    MissingPart {
        /// The part's name.
        part: &'static str,
        /// The folder of fetched parts.
        home: PathBuf,
        /// The flag that names the part.
        flag: &'static str,
    },

    /// No checksum is pinned for this machine.
    #[error(
        "no pinned {part} for {platform}: install one and name it with {flag} PATH, \
         or put it on PATH and run `up` without fetching it"
    )]
    UnsupportedPlatform {
        /// The part's name.
        part: &'static str,
        /// Operating system and processor.
        platform: String,
        /// The flag that names the part.
        flag: &'static str,
    },

    /// The program that fetches a part is not installed.
    #[error(
        "cannot fetch {part}: no `{tool}` on PATH; install it, or name the part with {flag} PATH"
    )]
    NoTool {
        /// `python3` or `npm`.
        tool: &'static str,
        /// The part's name.
        part: &'static str,
        /// The flag that names the part.
        flag: &'static str,
    },

    /// Fetching failed, most likely for want of a network.
    #[error("`{tool}` cannot fetch {part} (is there a network?):\n{detail}")]
    Fetch {
        /// `python3` or `npm`.
        tool: &'static str,
        /// The part's name.
        part: &'static str,
        /// The last lines that the tool wrote.
        detail: String,
    },

    /// What was fetched is not what was pinned.
    #[error(
        "checksum of {} differs: expected {expected}, got {got}; nothing was unpacked",
        file.display()
    )]
    Checksum {
        /// The archive.
        file: PathBuf,
        /// The pinned SHA-256.
        expected: String,
        /// The SHA-256 of what came.
        got: String,
    },

    /// An archive has the right checksum but not the expected contents, or cannot be read.
    #[error("cannot unpack {}: {reason}", file.display())]
    Archive {
        /// The archive.
        file: PathBuf,
        /// What was found instead.
        reason: &'static str,
    },

    /// A part ended though nobody asked it to.
    #[error("{part} ended by itself ({status}); the last lines of {}:\n{tail}", log.display())]
    PartDied {
        /// The part's name.
        part: &'static str,
        /// Exit code or signal.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The end of its log.
        tail: String,
    },

    /// A part runs but does not answer.
    #[error("{part} did not answer within {seconds} s; its log is {}", log.display())]
    PartSilent {
        /// The part's name.
        part: &'static str,
        /// How long was waited.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },

    /// `ClickHouse` cannot be reached.
    #[error("cannot reach ClickHouse: {0}")]
    ClickHouseUnreachable(String),

    /// `ClickHouse` answered with an error.
    #[error("ClickHouse refused with status {status}: {message}")]
    ClickHouseRefused {
        /// The HTTP status.
        status: u16,
        /// The text of the answer.
        message: String,
    },

    /// The engine in the library ended by itself.
    #[error("the ClickHouse library ended: {0}")]
    Engine(String),

    /// NATS did not do what was asked of it.
    #[error("NATS failed to {action}: {reason}")]
    Nats {
        /// A verb and its object.
        action: &'static str,
        /// What the client said.
        reason: String,
    },

    /// The relay was stopped and could not pass on all it held.
    #[error("the relay stopped with {events} events not passed on after {seconds} s")]
    Undrained {
        /// Events accepted and in neither store.
        events: u64,
        /// How long was waited.
        seconds: u64,
    },

    /// An order was given, and no sandbox runs there.
    #[error("no sandbox runs in {}", dir.display())]
    NotRunning {
        /// The directory asked for.
        dir: PathBuf,
    },

    /// A sandbox runs, and takes no orders: it is still starting, or about to end.
    #[error("the sandbox in {} takes no orders, because it is starting or stopping", dir.display())]
    NoOrders {
        /// The directory asked for.
        dir: PathBuf,
    },

    /// An order names a part that this sandbox does not have.
    #[error(
        "this sandbox has no {part} of its own (the fast relay is one process, named relay; \
         `up --relay honest` has two; `up --query-api` has a query API)"
    )]
    NoSuchPart {
        /// The part's name.
        part: &'static str,
    },

    /// The sandbox did not do what was ordered.
    #[error("{part} was not {done}: {why}")]
    NotDone {
        /// The part's name.
        part: &'static str,
        /// What should have been done to it.
        done: &'static str,
        /// What the sandbox said.
        why: String,
    },

    /// `down` found a process that outlives SIGKILL.
    #[error("process {0} does not end, not even after SIGKILL")]
    Unstoppable(i32),

    /// A guard found that who started it is already gone.
    #[error("the process {0} that asked for this one is gone")]
    Orphan(i32),

    /// A file or process operation failed.
    #[error("failed to {action} {}", path.display())]
    Io {
        /// A verb, as in "failed to …".
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl SandboxError {
    /// Wraps the failure of one operation on one path, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// The documented exit code: 2 for what the person must correct, 3 for what a part did, 6 for
    /// what this machine did.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Fault(_)
            | Self::FaultsNeedRelay
            | Self::FaultNeedsHonest { .. }
            | Self::FaultNeedsQueryApi { .. }
            | Self::RelayAndVector
            | Self::WholeSeconds { .. }
            | Self::StreamFile { .. }
            | Self::Live { .. }
            | Self::NotThere { .. } => 2,
            Self::Io { source, .. } => match source.kind() {
                ErrorKind::NotFound
                | ErrorKind::PermissionDenied
                | ErrorKind::AlreadyExists
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory => 3,
                _ => 6,
            },
            _ => 3,
        }
    }
}
