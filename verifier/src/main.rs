//! `auditstorm-verifier`: reports what became of the events of a run, and gives a verdict.

use std::process::ExitCode;

use auditstorm_verifier::cli;

fn main() -> ExitCode {
    cli::main().into()
}
