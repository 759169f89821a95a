//! `auditstorm-backfill`: seeds histories of audit events.

use std::process::ExitCode;

use auditstorm_backfill::cli;

fn main() -> ExitCode {
    cli::main().into()
}
