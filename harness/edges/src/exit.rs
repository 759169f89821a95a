//! Exit codes: one list for all binaries, part of the documented interface.

use std::io;
use std::process::ExitCode;

use crate::plain::said;

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
    /// A store or target does not answer, or a target accepts no event.
    Unreachable = 3,
    /// It could not be checked.
    Unknown = 4,
    /// A condition was not met: a condition of the user's made a generator give up, a threshold of
    /// a whole run failed, a run is worse than the one it was compared with, or something stands
    /// against a run before it is one.
    Threshold = 5,
    /// This machine failed: a full disk, no more files, a busy port.
    Machine = 6,
    /// Stopped by the user.
    Stopped = 130,
}

impl Exit {
    /// The exit code of a program whose result could not be written completely. A finding keeps its
    /// code, because it matters more; a good result becomes a failure of the machine.
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

impl Exit {
    /// The exit code for an error of the operating system. A file that is missing, or is of the
    /// wrong kind, is wrong input. A full disk or a busy port is a failure of this machine.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof => Self::Usage,
            _ => Self::Machine,
        }
    }

    /// The same for an error that has an error of the operating system among its causes. Any other
    /// error means wrong input.
    pub fn of_cause(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut causes = std::iter::successors(Some(error), |error| error.source());
        causes.find_map(|cause| cause.downcast_ref::<io::Error>()).map_or(Self::Usage, Self::of_io)
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
    "unknown: it could not be checked, or a threshold of the profile could not be judged",
);
pub const MACHINE: ExitLine = (
    Exit::Machine,
    "this machine failed: disk, files, ports, memory, names; or a result could not be shown",
);
pub const STOPPED: ExitLine = (Exit::Stopped, "stopped by the user");

/// All that a program can end with, for its own `--help`.
pub const EXIT_CODES: [ExitLine; 8] = [
    (Exit::Done, "done (verifier: whole)"),
    LOSSY,
    USAGE,
    (Exit::Unreachable, "a store or target does not answer (generator: or accepts no event)"),
    (
        Exit::Unknown,
        "unknown: it could not be checked, or a threshold of the profile could not be judged\n\
         \x20      (compare: a change beyond what is allowed could not be judged)",
    ),
    (
        Exit::Threshold,
        "whole, but a threshold failed (generator: stopped, as a condition of --abort-on held;\n\
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

/// Returns an error and its causes as one line: `cannot do this: because of that`. What is in it of
/// a server's words, or of names, is fit for a terminal.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = said(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let fact = said(&error.to_string());
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
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_this_machine_does_is_told_from_what_is_named_wrong() {
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::NOTDIR, Errno::ISDIR, Errno::EXIST] {
            assert_eq!(Exit::of_io(&errno.into()), Exit::Usage, "{errno}");
        }
        for errno in [
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::ROFS,
            Errno::IO,
            Errno::MFILE,
            Errno::ADDRINUSE,
            Errno::NOMEM,
        ] {
            assert_eq!(Exit::of_io(&errno.into()), Exit::Machine, "{errno}");
        }
    }

    #[test]
    fn causes_follow_and_hold_nothing_that_a_terminal_obeys() {
        let inner = io::Error::other("<html><body>\u{1b}[2JLog in</body></html>");
        let outer = io::Error::other(inner);
        let text = chain(&outer);
        assert!(text.ends_with(r#"a page that says "\u{1b}[2JLog in""#), "{text}");
    }

    #[test]
    fn codes_are_listed_a_line_each() {
        assert_eq!(
            exit_codes(&[DONE, USAGE, STOPPED]),
            "Exit codes:\n  0    done\n  2    wrong usage or input\n  130  stopped by the user"
        );
    }
}
