//! `auditstorm-suite`: a whole performance test by one command.

use std::process::ExitCode;

use auditstorm_suite::cli;

fn main() -> ExitCode {
    cli::main().into()
}
