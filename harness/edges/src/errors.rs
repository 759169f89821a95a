//! Counts errors that do not end a program: how often each kind came from each server, and the
//! text of the last one. Pure.
//!
//! A broken connection does not end a program, and neither does a query that is repeated. Such
//! errors are reported when the program ends, or when it gives up.

use std::error::Error;
use std::fmt;
use std::io;

use events::event::MicroTime;
use events::timeline::UnixMicros;
use serde::{Deserialize, Serialize};

use crate::exit::chain;
use crate::plain::plain;

/// One error, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneError {
    /// The server that it came from: host and port, or an address.
    pub server: String,
    /// The same text for all errors of one kind, like `connection refused`.
    pub kind: String,
    /// The error with all its causes.
    pub text: String,
}

/// Errors of one kind that came from one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    pub server: String,
    pub kind: String,
    pub count: u64,
    /// The text of the last one.
    pub last: String,
    /// The time of the last one.
    pub last_at: MicroTime,
}

/// Errors, counted by server and kind. The number of kinds is limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCounts(Vec<ErrorCount>);

impl OneError {
    /// Describes an error. Its kind is its innermost cause.
    pub fn of(server: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        Self { server: server.into(), kind: kind_of(error), text: chain(error) }
    }
}

impl fmt::Display for ErrorCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, kind, count, last, last_at } = self;
        let times = if *count == 1 { "once" } else { &format!("{count} times") };
        write!(f, "{server}: {kind}, {times}; the last at {last_at}: {last}")
    }
}

impl ErrorCounts {
    /// Counts an error.
    pub fn count(&mut self, error: OneError, at: UnixMicros) {
        let OneError { server, kind, text } = error;
        let (server, kind) = (short(&server, NAME_CHARS_MAX), short(&kind, NAME_CHARS_MAX));
        let (last, last_at) = (short(&text, TEXT_CHARS_MAX), MicroTime(at));
        self.add_one(ErrorCount { server, kind, count: 1, last, last_at });
    }

    /// Adds the errors of another part of the program.
    pub fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|one| self.add_one(one.clone()));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All kinds, the most frequent first.
    pub fn most_frequent(&self) -> Vec<&ErrorCount> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|one| std::cmp::Reverse(one.count));
        sorted
    }

    /// One line for each of the most frequent kinds.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.most_frequent().into_iter().take(LINES_MAX).map(ToString::to_string).collect();
        if let more @ 1.. = self.0.len().saturating_sub(LINES_MAX) {
            lines.push(format!("and {more} kinds more"));
        }
        lines
    }

    fn add_one(&mut self, one: ErrorCount) {
        let is_same =
            |known: &&mut ErrorCount| known.server == one.server && known.kind == one.kind;
        if let Some(known) = self.0.iter_mut().find(is_same) {
            known.count += one.count;
            if known.last_at.0 <= one.last_at.0 {
                (known.last, known.last_at) = (one.last, one.last_at);
            }
        } else if self.0.len() < KINDS_MAX || one.server == OTHERS {
            self.0.push(one);
        } else {
            let last = short(&format!("{}: {}", one.server, one.last), TEXT_CHARS_MAX);
            let (server, kind) = (OTHERS.to_owned(), OTHER_KINDS.to_owned());
            self.add_one(ErrorCount { server, kind, last, ..one });
        }
    }
}

/// The innermost cause of an error, without details that differ between errors of one kind.
fn kind_of(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&cause| cause.source());
    let bottom = causes.last().unwrap_or(error);
    match bottom.downcast_ref::<io::Error>() {
        Some(error) if error.raw_os_error().is_some() => error.kind().to_string(),
        _ => bottom.to_string(),
    }
}

fn short(text: &str, chars_max: usize) -> String {
    let text = plain(text);
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The most kinds that are kept apart. All others are counted together.
const KINDS_MAX: usize = 32;
const NAME_CHARS_MAX: usize = 100;
const TEXT_CHARS_MAX: usize = 400;
/// The most kinds that are printed.
const LINES_MAX: usize = 5;
const OTHERS: &str = "others";
const OTHER_KINDS: &str = "of other kinds";

#[cfg(test)]
mod tests {
    use super::*;

    fn error(server: &str, kind: &str, text: &str) -> OneError {
        OneError { server: server.to_owned(), kind: kind.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn errors_are_counted_by_server_and_kind_and_the_last_of_each_is_kept() {
        let mut errors = ErrorCounts::default();
        errors.count(error("a:1", "connection refused", "first"), 1_000_000);
        errors.count(error("b:1", "timed out", "slow"), 2_000_000);
        let mut later = ErrorCounts::default();
        later.count(error("a:1", "connection refused", "second"), 3_000_000);
        let mut other = later.clone();
        other.add(&errors);
        errors.add(&later);
        for errors in [&errors, &other] {
            assert_eq!(
                errors.lines(),
                [
                    "a:1: connection refused, 2 times; the last at \
                     1970-01-01T00:00:03.000000Z: second",
                    "b:1: timed out, once; the last at 1970-01-01T00:00:02.000000Z: slow",
                ]
            );
        }
        let json = serde_json::to_string(&errors).unwrap();
        assert_eq!(serde_json::from_str::<ErrorCounts>(&json).unwrap(), errors);
    }

    #[test]
    fn however_many_kinds_there_are_few_are_kept_and_none_goes_uncounted() {
        let mut errors = ErrorCounts::default();
        for number in 0..1_000 {
            errors.count(error(&format!("{number}:1"), "\u{1b}[2J", &"x".repeat(9_000)), number);
        }
        let (known, counted) = (errors.most_frequent(), errors.0.iter().map(|it| it.count));
        assert_eq!((known.len(), counted.sum::<u64>()), (KINDS_MAX + 1, 1_000));
        assert_eq!((known[0].server.as_str(), known[0].count), (OTHERS, 1_000 - 32));
        assert!(known[0].last.starts_with("999:1: xxx"), "{}", known[0].last);
        assert_eq!(known[1].kind, r"\u{1b}[2J");
        let longest = known.iter().map(|it| it.last.chars().count()).max();
        assert_eq!(longest, Some(TEXT_CHARS_MAX + 1));
        assert_eq!(errors.lines().last().unwrap(), "and 28 kinds more");
    }

    #[test]
    fn the_kind_of_an_error_is_what_is_at_its_bottom() {
        #[derive(Debug, thiserror::Error)]
        #[error("the server {url} does not answer")]
        struct Outer {
            url: &'static str,
            source: io::Error,
        }
        let check = |source: io::Error, kind| {
            let outer = Outer { url: "a:1", source };
            let error = OneError::of("a:1", &outer);
            assert_eq!(error.kind, kind);
            assert!(error.text.starts_with("the server a:1 does not answer: "), "{error:?}");
        };
        check(io::Error::from_raw_os_error(111), "connection refused");
        check(io::ErrorKind::TimedOut.into(), "timed out");
        check(io::Error::other("invalid peer certificate"), "invalid peer certificate");
    }
}
