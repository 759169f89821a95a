//! Where the steps of a suite run. The interface to the programs is what is documented of them:
//! command line, environment, exit code and run directory.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::SuiteError;

pub(crate) mod local;

/// A program with its arguments, and where its output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) program: Program,
    pub(crate) args: Vec<String>,
    /// The file of its standard output and standard error.
    pub(crate) log: PathBuf,
    /// The longest time that it may take. Then it is stopped.
    pub(crate) limit: Duration,
}

/// The programs that a suite starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Generator,
    Backfill,
    Verifier,
    Sandbox,
    Shell,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Generator => "auditstorm-generator",
            Self::Backfill => "auditstorm-backfill",
            Self::Verifier => "auditstorm-verifier",
            Self::Sandbox => "auditstorm-sandbox",
            Self::Shell => "sh",
        }
    }
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Code(u8),
    /// A signal ended it, which nobody here has sent.
    Signal(i32),
    /// It took longer than its limit, and was stopped.
    TooLong,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::TooLong => f.write_str("no end within its limit"),
        }
    }
}

impl Ending {
    /// The exit code, as a shell shows it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(255),
            Self::TooLong => 4,
        }
    }
}

/// A place where tasks run.
pub(crate) trait Executor {
    type Job: Job;

    /// Starts a task.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError`] if it cannot be started.
    fn start(&self, task: &Task) -> Result<Self::Job, SuiteError>;
}

/// A task that was started. It is stopped when it is dropped.
pub(crate) trait Job {
    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError`] if it cannot be waited for.
    async fn ended(&mut self) -> Result<Ending, SuiteError>;

    /// Asks it to end in order, and ends it if it does not.
    async fn stop(&mut self);
}
