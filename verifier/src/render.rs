//! Reports as files: a page for people, Markdown for comments, JUnit for CI.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use edges::exit::Exit;
use edges::staged::write_whole;
use plans::plan::Plan;
use runs::report::{REPORT_FILE, Report, ReportError};
use runs::run_dir::RunDir;
use tell::output::show;

use crate::cli::{tell, told};
use crate::earlier::Earlier;
use crate::error::VerifyError;
use crate::recorded::Recorded;
use crate::records::RunRecords;
use crate::thresholds;

mod chart;
pub(crate) mod figures;
mod junit;
mod page;
mod series;
mod view;

/// Writes report.html, report.md and junit.xml from report.json and the records of a run.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Directory of a run that was reconciled; of shards that had directories of their own, all.
    #[arg(required = true, value_name = "RUN")]
    dirs: Vec<PathBuf>,
    /// Where the files go, instead of the run's directories.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Does what the command line says.
///
/// # Errors
///
/// Returns [`VerifyError`] if the run was not reconciled by this version, or a file cannot be
/// read.
pub(crate) fn run(args: &ReportArgs) -> Result<Exit, VerifyError> {
    let runs = Recorded::open_all(&args.dirs)?;
    if args.out.is_some() && runs.len() > 1 {
        return Err(VerifyError::OneOutput { runs: runs.len() });
    }
    let mut exit = Exit::Done;
    for run in &runs {
        let own = || run.dirs.iter().map(RunDir::path).collect();
        let places = args.out.as_deref().map_or_else(own, |out| vec![out]);
        let earlier: Vec<_> =
            places.iter().map(|place| Earlier::set_aside(place, &FILES)).collect();
        let mut report = read_report(run.dirs[0].path())?;
        let mut records = RunRecords::read(&run.dirs, &run.plan)?;
        records.find_awaited(&run.plan, &report);
        for shard in &run.shards_missing {
            tell(&format!(
                "the seconds of shard {} are not shown; name its directory too",
                shard + 1
            ));
        }
        // What watched the run may have ended after it was reconciled.
        report.thresholds = thresholds::evaluate(&run.plan.thresholds, &records, &report.totals);
        for (place, earlier) in places.into_iter().zip(&earlier) {
            for (name, written) in write(place, &FILES, &report, &records, &run.plan) {
                match written {
                    Ok(path) => {
                        earlier.forget(name);
                        exit = told(show(format_args!("{}\n", path.display())), exit);
                    }
                    Err(error) => {
                        tell(&edges::exit::chain(&error));
                        exit = exit.untold();
                    }
                }
            }
        }
    }
    Ok(exit)
}

/// Reads the report of a run.
///
/// # Errors
///
/// Returns [`VerifyError`] if there is none, or it is of another version.
pub(crate) fn read_report(dir: &Path) -> Result<Report, VerifyError> {
    Report::read(&dir.join(REPORT_FILE)).map_err(|error| match error {
        ReportError::Unreadable { source, .. } if source.kind() == ErrorKind::NotFound => {
            VerifyError::NotReconciled { dir: dir.to_owned() }
        }
        error => error.into(),
    })
}

/// What became of a file: its path, or why it could not be written.
pub(crate) type Written = (&'static str, Result<PathBuf, VerifyError>);

/// Writes files of a report by their names, each whole. One that cannot be written does not keep
/// the others from it.
pub(crate) fn write(
    dir: &Path,
    names: &[&'static str],
    report: &Report,
    records: &RunRecords,
    plan: &Plan,
) -> Vec<Written> {
    if names.is_empty() {
        return Vec::new();
    }
    let view = view::View::new(report, records, plan);
    let text = |name| match name {
        PAGE => page::html(&view),
        MARKDOWN => page::markdown(&view),
        _ => junit::junit(report),
    };
    let write = |name: &'static str| {
        let path = dir.join(name);
        let written =
            fs::create_dir_all(dir).and_then(|()| write_whole(&path, text(name).as_bytes()));
        match written {
            Ok(()) => (name, Ok(path)),
            Err(source) => (name, Err(VerifyError::Unwritable { path, source })),
        }
    };
    names.iter().copied().map(write).collect()
}

const PAGE: &str = "report.html";
const MARKDOWN: &str = "report.md";

/// The names of all.
pub(crate) const FILES: [&str; 3] = [PAGE, MARKDOWN, "junit.xml"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::tests::side;

    #[test]
    fn a_file_that_cannot_be_written_does_not_keep_others_from_it() {
        let place = tempfile::tempdir().unwrap();
        let side = side(|_| (100, 20.0));
        let write = || write(place.path(), &FILES, &side.report, &side.records, &side.plan);
        assert!(write().iter().all(|(_, written)| written.is_ok()));
        fs::remove_file(place.path().join(MARKDOWN)).unwrap();
        fs::create_dir_all(place.path().join("report.md/full")).unwrap();
        fs::write(place.path().join("junit.xml"), "of before").unwrap();
        let failed: Vec<_> = write().into_iter().filter(|(_, it)| it.is_err()).collect();
        assert_eq!(failed.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [MARKDOWN]);
        let junit = fs::read_to_string(place.path().join("junit.xml")).unwrap();
        assert!(junit.contains("<testsuite"), "{junit}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3, "nothing else is left");
    }
}
