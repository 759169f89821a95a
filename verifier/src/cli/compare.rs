//! `compare`: compares a run with an earlier one.

use std::path::PathBuf;

use clap::Args;
use edges::exit::Exit;
use report::versus::Comparison;
use tell::output::{show, show_json};

use super::story::told;
use crate::error::VerifyError;

/// Decides whether a run is worse than an earlier one. The exit code is 5 if it is worse, 4 if it
/// may be worse (a change is larger than allowed, but there is too little data to tell it from
/// noise), and 2 if the runs cannot be compared.
///
/// A run is worse if it has 10 % fewer events a second, 20 % longer latencies, 15 % more CPU or
/// memory, or 1 percentage point more errors. A change only counts if it also exceeds the noise of
/// the seconds of both runs.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Run directory to compare with.
    base: PathBuf,
    /// Run directory to judge.
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
