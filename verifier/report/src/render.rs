//! Writes reports as files: a page for people, Markdown for comments, and JUnit for CI.

use std::fs;
use std::path::{Path, PathBuf};

use edges::staged::write_whole;
use plans::plan::Plan;
use runs::report::Report;

use crate::error::ShowError;
use crate::records::RunRecords;

mod chart;
mod junit;
mod page;
mod series;
mod view;

pub use page::cell;

/// The style of all pages.
pub const STYLE: &str = include_str!("../templates/report.css");

/// The name of a file, and its path or the reason why it could not be written.
pub type Written = (&'static str, Result<PathBuf, ShowError>);

/// Writes the named files of a report, each completely or not at all. If one cannot be written, the
/// others still are.
pub fn write(
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
        _ => junit::junit(report, records.readback.as_ref()),
    };
    let write = |name: &'static str| {
        let path = dir.join(name);
        let written =
            fs::create_dir_all(dir).and_then(|()| write_whole(&path, text(name).as_bytes()));
        match written {
            Ok(()) => (name, Ok(path)),
            Err(source) => (name, Err(ShowError::Unwritable { path, source })),
        }
    };
    names.iter().copied().map(write).collect()
}

const PAGE: &str = "report.html";
const MARKDOWN: &str = "report.md";

/// The names of all files.
pub const FILES: [&str; 3] = [PAGE, MARKDOWN, "junit.xml"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::side::tests::side;

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
