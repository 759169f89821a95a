//! `auditstorm-generator`: simulated control planes that post audit events on schedule.

use std::process::ExitCode;

use auditstorm_generator::cli;

fn main() -> ExitCode {
    cli::main().into()
}
