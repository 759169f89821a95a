//! `compare`: compares a run with an earlier one.

use std::path::PathBuf;

use clap::Args;
use edges::exit::Exit;
use report::versus::Comparison;
use tell::output::{show, show_json};

use super::story::told;
use crate::error::VerifyError;

/// Says whether a run is worse than an earlier one: exit code 5 if it is, 4 if it may be (a change
/// is larger than allowed, but there is too little to tell it from noise), 2 if the two cannot be
/// compared.
///
/// Counts as worse: 10 % fewer events a second, 20 % longer latencies, 15 % more CPU or memory,
/// 1 point more errors; each only if it also exceeds the noise of the seconds of both runs.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Directory of the run to compare with.
    base: PathBuf,
    /// Directory of the run to judge.
    run: PathBuf,
    /// Prints the comparison as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &CompareArgs) -> Result<Exit, VerifyError> {
    let comparison = Comparison::of(&args.base, &args.run)?;
    let shown = if args.json { show_json(&comparison) } else { show(&comparison) };
    Ok(told(shown, comparison.exit()))
}
