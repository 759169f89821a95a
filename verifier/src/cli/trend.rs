//! `trend`: shows many runs in one table.

use std::path::PathBuf;

use archive::{Local, local};
use clap::Args;
use edges::exit::Exit;
use report::trend::Trend;
use tell::output::{show, show_json};

use super::story::told;
use crate::error::VerifyError;

/// Prints a table of many runs, oldest first.
#[derive(Debug, Args)]
pub(super) struct TrendArgs {
    /// Run directories, or addresses of archived ones.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// Prints the table as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &TrendArgs) -> Result<Exit, VerifyError> {
    let locals: Vec<Local> = args.dirs.iter().map(local).collect::<Result<_, _>>()?;
    let dirs = locals.iter().map(Local::path).zip(args.dirs.iter().map(PathBuf::as_path));
    let trend = Trend::read_as(dirs)?;
    let shown = if args.json { show_json(&trend) } else { show(&trend) };
    Ok(told(shown, Exit::Done))
}
