//! Exit codes: one list for all binaries, part of the documented interface.

use std::process::ExitCode;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done; of a verifier: whole.
    Done = 0,
    /// Something acknowledged was lost, changed or doubled.
    Lossy = 1,
    /// A flag, profile or run directory is wrong.
    Usage = 2,
    /// A store or target does not answer, or a target takes not one event.
    Unreachable = 3,
    /// It could not be checked.
    Unknown = 4,
    /// What was asked for was not so: a condition of the user's made a generator give up, a
    /// threshold of a whole run failed, a run is worse than the one it was compared with, or
    /// something stands against a run before it is one.
    Threshold = 5,
    /// Stopped by the user.
    Stopped = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The list for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done (verifier: whole)
  1    lossy: something acknowledged was lost, changed or doubled
  2    wrong usage or input
  3    a store or target does not answer (generator: or takes not one event)
  4    unknown: it could not be checked, or a threshold of the profile's had no samples
       (compare: a change beyond what is allowed could not be told from noise)
  5    whole, but a threshold failed (generator: given up, as a condition of --abort-on held;
       compare: a regression; preflight: there is a blocker)
  130  stopped by the user";

/// Returns an error and its causes as one line: `cannot do this: because of that`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let fact = error.to_string();
        // Some libraries repeat their cause in their own message.
        if !text.ends_with(&fact) {
            text = format!("{text}: {fact}");
        }
        cause = error.source();
    }
    text
}
