//! `report`: writes the pages of runs.

use std::path::PathBuf;

use archive::{Local, local};
use clap::Args;
use edges::exit::{Exit, chain};
use tell::output::show;

use super::story::{tell, told};
use crate::error::VerifyError;
use crate::pages::write_pages;
use crate::recorded::Recorded;

/// Writes report.html, report.md and junit.xml from report.json and the records of a run.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Directory of a reconciled run, or address of its archive. If each shard has its own
    /// directory, name all of them.
    #[arg(required = true, value_name = "RUN")]
    dirs: Vec<PathBuf>,
    /// Directory for the files [default: the run directories]. An archive needs one.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &ReportArgs) -> Result<Exit, VerifyError> {
    let locals: Vec<Local> = args.dirs.iter().map(local).collect::<Result<_, _>>()?;
    let fetched = locals.iter().zip(&args.dirs).find(|(local, _)| local.is_fetched());
    if let (Some((_, address)), None) = (fetched, &args.out) {
        return Err(VerifyError::NoOutput { address: address.display().to_string() });
    }
    let dirs: Vec<PathBuf> = locals.iter().map(|local| local.path().to_owned()).collect();
    let runs = Recorded::open_all(&dirs)?;
    if args.out.is_some() && runs.len() > 1 {
        return Err(VerifyError::OneOutput { runs: runs.len() });
    }
    let mut exit = Exit::Done;
    for run in &runs {
        for (_, written) in write_pages(run, args.out.as_deref(), tell)? {
            match written {
                Ok(path) => exit = told(show(format_args!("{}\n", path.display())), exit),
                Err(error) => {
                    tell(&chain(&error));
                    exit = exit.untold();
                }
            }
        }
    }
    Ok(exit)
}
