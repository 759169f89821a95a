//! Reads the results that a check left in the directory of a run.

use std::path::Path;

use runs::report::{REPORT_FILE, Report};

use crate::error::ShowError;

/// Reads the report of a run.
///
/// # Errors
///
/// Returns [`ShowError`] if there is no report, or another version wrote it.
pub fn read_report(dir: &Path) -> Result<Report, ShowError> {
    let report = Report::read_if_any(&dir.join(REPORT_FILE))?;
    report.ok_or_else(|| ShowError::NotReconciled { dir: dir.to_owned() })
}
