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
    /// This machine failed: a disk, a file, a port.
    Machine = 6,
    /// Stopped by the user.
    Stopped = 130,
}

impl Exit {
    /// How a program ends whose result could not be written down in full: what it found weighs
    /// more, and what is well is not well told.
    #[must_use]
    pub fn untold(self) -> Self {
        if self == Self::Done { Self::Machine } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An exit code, and what `--help` says of it.
pub type ExitLine = (Exit, &'static str);

pub const DONE: ExitLine = (Exit::Done, "done");
pub const LOSSY: ExitLine =
    (Exit::Lossy, "lossy: something acknowledged was lost, changed or doubled");
pub const USAGE: ExitLine = (Exit::Usage, "wrong usage or input");
pub const UNREACHABLE: ExitLine = (Exit::Unreachable, "a store or target does not answer");
pub const UNKNOWN: ExitLine = (
    Exit::Unknown,
    "unknown: it could not be checked, or a threshold of the profile's could not be judged",
);
pub const MACHINE: ExitLine =
    (Exit::Machine, "this machine failed: a disk, a file or a port; or a result could not be told");
pub const STOPPED: ExitLine = (Exit::Stopped, "stopped by the user");

/// All that a program can end with, for its own `--help`.
pub const EXIT_CODES: [ExitLine; 8] = [
    (Exit::Done, "done (verifier: whole)"),
    LOSSY,
    USAGE,
    (Exit::Unreachable, "a store or target does not answer (generator: or takes not one event)"),
    (
        Exit::Unknown,
        "unknown: it could not be checked, or a threshold of the profile's could not be judged\n\
         \x20      (compare: a change beyond what is allowed could not be judged)",
    ),
    (
        Exit::Threshold,
        "whole, but a threshold failed (generator: given up, as a condition of --abort-on held;\n\
         \x20      compare: a regression; preflight: there is a blocker)",
    ),
    MACHINE,
    STOPPED,
];

/// The list of exit codes as `--help` shows it: of a program, or of one of its commands.
pub fn exit_codes(lines: &[ExitLine]) -> String {
    let line = |(exit, text): &ExitLine| format!("\n  {:<5}{text}", *exit as u8);
    std::iter::once("Exit codes:".to_owned()).chain(lines.iter().map(line)).collect()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_listed_a_line_each() {
        assert_eq!(
            exit_codes(&[DONE, USAGE, STOPPED]),
            "Exit codes:\n  0    done\n  2    wrong usage or input\n  130  stopped by the user"
        );
    }
}
