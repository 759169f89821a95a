//! Messages for the user, on stderr, beside the result.

use std::io;

use edges::exit::Exit;
use tell::output;

use crate::error::VerifyError;

/// Writes a message for the user.
pub(super) fn tell(line: &str) {
    output::tell(format_args!("auditstorm-verifier: {line}"));
}

/// Returns the exit code of a program after it has shown its result. If that failed, this reports
/// the error.
pub(super) fn told(shown: io::Result<()>, exit: Exit) -> Exit {
    match shown {
        Ok(()) => exit,
        Err(source) => {
            tell(&edges::exit::chain(&VerifyError::Output { source }));
            exit.untold()
        }
    }
}
