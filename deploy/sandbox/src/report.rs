//! What a person reads: results on stdout, the story on stderr.

use std::io::Write;

/// Prints one line of the result. A reader that has gone away is no failure.
pub(crate) fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    // `head -1` may close the pipe early; the sandbox goes on all the same.
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

/// Tells what is going on.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}

/// Tells why the sandbox cannot go on, down to the first cause.
pub fn say_error(error: &dyn std::error::Error) {
    say(&format!("error: {}", with_causes(error)));
}

/// An error and all its causes, in one line if each of them is.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        line = format!("{line}: {source}");
        cause = source.source();
    }
    line
}
