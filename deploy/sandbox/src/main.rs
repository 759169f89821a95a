//! The program `auditstorm-sandbox`.

use std::process::ExitCode;

use auditstorm_sandbox::{Cli, run, say_error};
use clap::Parser;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
