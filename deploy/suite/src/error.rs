//! Why a suite cannot be run.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use edges::exit::Exit;
use plans::profile::ProfileError;

/// Why a suite cannot be run. What its scenarios find is no error.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    #[error("there is no suite {name}: write the path of a YAML file, or one of: {known}")]
    NoSuchSuite { name: String, known: String },
    #[error("cannot read the suite {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the suite {origin} is empty")]
    Empty { origin: String },
    /// Every mistake with its line, column and field, and the lines around it.
    #[error("the suite {origin} is wrong:\n{mistakes}")]
    Invalid { origin: String, mistakes: String },
    #[error("scenario {scenario} has no profile that can be used")]
    Profile { scenario: String, source: ProfileError },
    #[error(
        "scenario {scenario} is told to `{order}`, which only a sandbox does: give --sandbox DIR, \
         or write a shell command in its place"
    )]
    NoSandbox { scenario: String, order: String },
    #[error("the search for the highest rate is impossible: {why}")]
    Search { why: String },
    #[error(
        "scenario {scenario} is told to `{order}` after {at}, when its load of {load_s} s is over"
    )]
    FaultTooLate { scenario: String, order: String, at: String, load_s: u64 },
    #[error(
        "scenario {scenario} has users who query, and there is no query API: set QUERY_API_URL, \
         give the sandbox --query-api, or write `queries: false`"
    )]
    NoQueryApi { scenario: String },
    #[error(
        "{} is not set, so there is no pipeline to test: set it to the address, or give \
         --sandbox DIR to start a pipeline on this machine",
        names.join(", ")
    )]
    NoPipeline { names: Vec<&'static str> },
    #[error(
        "there is no program {name} in {} or on PATH: build it, or give --programs DIR",
        folder.display()
    )]
    NoProgram { name: &'static str, folder: PathBuf },
    #[error(
        "{} holds another suite; name another directory, or continue that one with what it was \
         begun with: {difference}",
        dir.display()
    )]
    OtherSuite { dir: PathBuf, difference: &'static str },
    #[error("there is no suite in {}: it has no suite.json", dir.display())]
    NoSuite { dir: PathBuf },
    #[error("another process works on the suite in {}; wait for it, or stop it", dir.display())]
    Busy { dir: PathBuf },
    #[error(
        "another suite uses this pipeline now: two loads at once would disturb each other; wait \
         for it, or stop it (lock {})",
        lock.display()
    )]
    PipelineBusy { lock: PathBuf },
    #[error("{} is no record of this version", path.display())]
    NoRecord { path: PathBuf, source: Option<serde_json::Error> },
    #[error("cannot use {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot start {name}")]
    Start { name: String, source: io::Error },
    #[error("the sandbox did not start within {limit_s} s; its log is {}", log.display())]
    SandboxSilent { limit_s: u64, log: PathBuf },
    #[error("the sandbox ended with {ending}; its log is {}:\n{tail}", log.display())]
    SandboxEnded { ending: String, log: PathBuf, tail: String },
    #[error("parent process {parent} has ended already")]
    Orphan { parent: i32 },
    #[error("cannot show the result")]
    Output { source: io::Error },
}

impl SuiteError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Io { source, .. } | Self::Unreadable { source, .. } => Exit::of_io(source),
            Self::SandboxSilent { .. } | Self::SandboxEnded { .. } => Exit::Unreachable,
            Self::Busy { .. }
            | Self::PipelineBusy { .. }
            | Self::Start { .. }
            | Self::Orphan { .. }
            | Self::Output { .. } => Exit::Machine,
            Self::Profile { source, .. } => Exit::of_cause(source.source().unwrap_or(source)),
            _ => Exit::Usage,
        }
    }

    /// Makes the error of a file operation.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}
