//! Reads the results that a check left in the directory of a run.

use std::io::ErrorKind;
use std::path::Path;

use runs::report::{REPORT_FILE, Report, ReportError};

use crate::error::ShowError;

/// Reads the report of a run.
///
/// # Errors
///
/// Returns [`ShowError`] if there is no report, or another version wrote it.
pub fn read_report(dir: &Path) -> Result<Report, ShowError> {
    Report::read(&dir.join(REPORT_FILE)).map_err(|error| match error {
        ReportError::Unreadable { source, .. } if source.kind() == ErrorKind::NotFound => {
            ShowError::NotReconciled { dir: dir.to_owned() }
        }
        error => error.into(),
    })
}
