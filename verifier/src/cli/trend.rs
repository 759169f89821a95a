//! `trend`: shows many runs in one table.

use std::path::PathBuf;

use clap::Args;
use edges::exit::Exit;
use report::trend::Trend;
use tell::output::{show, show_json};

use super::story::told;
use crate::error::VerifyError;

/// Prints a table of many runs, oldest first.
#[derive(Debug, Args)]
pub(super) struct TrendArgs {
    /// Run directories.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// Prints the table as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &TrendArgs) -> Result<Exit, VerifyError> {
    let trend = Trend::read(&args.dirs)?;
    let shown = if args.json { show_json(&trend) } else { show(&trend) };
    Ok(told(shown, Exit::Done))
}
