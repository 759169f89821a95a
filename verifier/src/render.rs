//! Reports as files: a page for people, Markdown for comments, JUnit for CI.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use harness::exit::Exit;
use harness::plan::Plan;
use harness::run_dir::RunDir;

use crate::cli::tell;
use crate::error::VerifyError;
use crate::recorded::Recorded;
use crate::records::{self, RunRecords};
use crate::report::{REPORT_FORMAT, Report};
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
/// Returns [`VerifyError`] if the run was not reconciled by this version, or a file cannot be read
/// or written.
#[expect(clippy::print_stdout, reason = "the files' paths are the result")]
pub(crate) fn run(args: &ReportArgs) -> Result<Exit, VerifyError> {
    let runs = Recorded::open_all(&args.dirs)?;
    if args.out.is_some() && runs.len() > 1 {
        return Err(VerifyError::OneOutput { runs: runs.len() });
    }
    for run in &runs {
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
        let own = || run.dirs.iter().map(RunDir::path).collect();
        for out in args.out.as_deref().map_or_else(own, |out| vec![out]) {
            for path in write(out, Files::All, &report, &records, &run.plan)? {
                println!("{}", path.display());
            }
        }
    }
    Ok(Exit::Done)
}

/// What a report of any version begins with.
#[derive(Debug, serde::Deserialize)]
struct Head {
    format: u32,
}

/// Reads the report of a run.
///
/// # Errors
///
/// Returns [`VerifyError`] if there is none, or it is of another version.
pub(crate) fn read_report(dir: &Path) -> Result<Report, VerifyError> {
    let path = dir.join("report.json");
    let Some(text) = records::read(&path)? else {
        return Err(VerifyError::NotReconciled { dir: dir.to_owned() });
    };
    let not_a_report = |source| VerifyError::NotAReport { path: path.clone(), source };
    let Head { format } = serde_json::from_str(&text).map_err(not_a_report)?;
    if format != REPORT_FORMAT {
        return Err(VerifyError::OtherReportFormat { path, format });
    }
    serde_json::from_str(&text).map_err(not_a_report)
}

/// Which files of a report are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    All,
    /// Those that an earlier report has left: they must not contradict this one.
    ThoseThere,
}

/// Writes files of a report, each whole, and returns their paths.
///
/// # Errors
///
/// Returns [`VerifyError::Unwritable`] if the file system refuses.
pub(crate) fn write(
    dir: &Path,
    files: Files,
    report: &Report,
    records: &RunRecords,
    plan: &Plan,
) -> Result<Vec<PathBuf>, VerifyError> {
    let is_wanted = |name: &&str| files == Files::All || dir.join(name).exists();
    let names: Vec<&str> = FILES.into_iter().filter(is_wanted).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let view = view::View::new(report, records, plan);
    let text = |name| match name {
        PAGE => page::html(&view),
        MARKDOWN => page::markdown(&view),
        _ => junit::junit(report),
    };
    names.into_iter().map(|name| write_whole(dir, name, &text(name))).collect()
}

const PAGE: &str = "report.html";
const MARKDOWN: &str = "report.md";
const FILES: [&str; 3] = [PAGE, MARKDOWN, "junit.xml"];

/// Writes a file beside its place and moves it there: a crash leaves the old one or the new one.
fn write_whole(dir: &Path, name: &str, text: &str) -> Result<PathBuf, VerifyError> {
    let path = dir.join(name);
    let write = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let staged = dir.join(format!(".{name}.{}", std::process::id()));
        let mut file = fs::File::create(&staged)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&staged, &path)
    };
    match write() {
        Ok(()) => Ok(path),
        Err(source) => Err(VerifyError::Unwritable { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::tests::side;

    #[test]
    fn what_an_earlier_report_has_left_is_written_anew_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let side = side(|_| (100, 20.0));
        let write = |files| {
            let paths = write(place.path(), files, &side.report, &side.records, &side.plan);
            paths.unwrap().iter().map(|path| path.file_name().unwrap().to_owned()).collect()
        };
        let none: Vec<std::ffi::OsString> = write(Files::ThoseThere);
        assert!(none.is_empty() && fs::read_dir(place.path()).unwrap().next().is_none());
        fs::write(place.path().join("junit.xml"), "of before").unwrap();
        assert_eq!(write(Files::ThoseThere), ["junit.xml"]);
        let junit = fs::read_to_string(place.path().join("junit.xml")).unwrap();
        assert!(junit.contains("<testsuite"), "{junit}");
        assert_eq!(write(Files::All), FILES);
        assert_eq!(write(Files::ThoseThere), FILES);
    }
}
