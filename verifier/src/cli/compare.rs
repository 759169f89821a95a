//! `compare`: compares runs with earlier ones.

use std::path::{Path, PathBuf};

use archive::{Local, local};
use clap::Args;
use edges::exit::Exit;
use report::versus::Comparison;
use tell::output::{show, show_json};

use super::story::told;
use crate::error::VerifyError;

/// Decides whether a run is worse than earlier ones. The exit code is 5 if it is worse, 4 if it may
/// be worse (chance is not excluded, or there is too little data to tell), and 2 if the runs cannot
/// be compared.
///
/// A run is worse if it has 10 % fewer events a second, 20 % longer latencies, 15 % more CPU or
/// memory, or 1 percentage point more errors; if the change matters, which is a tenth of what the
/// profile or else the published objectives ask; and if it is more than noise.
///
/// Runs of the same code differ from each other. The more bases, the better this noise is known:
/// give the last five. With one base only large changes are more than noise. If a regression is
/// only suspected (4), run again and compare both: `compare --base A --base B RUN AGAIN`.
#[derive(Debug, Args)]
#[command(override_usage = "auditstorm-verifier compare [OPTIONS] BASE... RUN\n       \
    auditstorm-verifier compare [OPTIONS] --base BASE... RUN...")]
pub(super) struct CompareArgs {
    /// Run directories, or addresses of their archives, to compare with, and last the one to judge.
    /// With --base, all are to be judged.
    #[arg(value_name = "RUN", required = true)]
    dirs: Vec<PathBuf>,
    /// Run directory, or address of its archive, to compare with. May be given several times.
    #[arg(long = "base", value_name = "DIR")]
    bases: Vec<PathBuf>,
    /// Prints the comparison as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &CompareArgs) -> Result<Exit, VerifyError> {
    let last = args.dirs.len().saturating_sub(1);
    let (bases, runs) = match args.bases.as_slice() {
        [] => args.dirs.split_at(last),
        bases => (bases, args.dirs.as_slice()),
    };
    // They are fetched, where they are in an archive, and kept as long as they are needed.
    let fetched = |dirs: &[PathBuf]| -> Result<Vec<(PathBuf, Local)>, VerifyError> {
        dirs.iter().map(|dir| Ok((dir.clone(), local(dir)?))).collect()
    };
    let (bases, runs) = (fetched(bases)?, fetched(runs)?);
    let paths = |dirs: &[(PathBuf, Local)]| -> Vec<PathBuf> {
        dirs.iter().map(|(_, local)| local.path().to_owned()).collect()
    };
    let name_of = |path: &Path| {
        let named = bases.iter().chain(&runs).find(|(_, local)| local.path() == path);
        named.map_or_else(|| path.to_owned(), |(name, _)| name.clone())
    };
    let comparison = Comparison::of(&paths(&bases), &paths(&runs))?.named(name_of);
    let shown = if args.json { show_json(&comparison) } else { show(&comparison) };
    Ok(told(shown, comparison.outcome.exit()))
}
