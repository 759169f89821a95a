//! What a person is told beside the result.

use std::io;

use edges::exit::Exit;
use tell::output;

use crate::error::VerifyError;

/// Tells what a person should know beside the result.
pub(super) fn tell(line: &str) {
    output::tell(format_args!("auditstorm-verifier: {line}"));
}

/// How a program ends whose result was shown, or could not be, which is told.
pub(super) fn told(shown: io::Result<()>, exit: Exit) -> Exit {
    match shown {
        Ok(()) => exit,
        Err(source) => {
            tell(&edges::exit::chain(&VerifyError::Output { source }));
            exit.untold()
        }
    }
}
