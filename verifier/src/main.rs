//! `auditstorm-verifier`: says what became of a run's events, and judges.

use std::process::ExitCode;

use auditstorm_verifier::cli;

fn main() -> ExitCode {
    cli::main().into()
}
