//! An export with a run directory, so that the verifier can check the rows once the file is loaded.

use std::fmt;
use std::path::{Path, PathBuf};

use edges::clock::{Clock, seconds};
use edges::shutdown::Shutdown;
use events::script::DAY_US;
use runs::ledger::Settlement;
use serde::Serialize;
use uuid::Uuid;

use crate::chunk::chunks;
use crate::error::BackfillError;
use crate::export::{CHUNK_ROWS, Exported, export};
use crate::history::Recorded;

/// An export as a whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileReport {
    pub run_id: Uuid,
    pub profile: String,
    pub file: PathBuf,
    /// The user stopped it before its end: there is no file.
    pub stopped: bool,
    pub planned: u64,
    /// Events that are in the file.
    pub written: u64,
    pub bytes: u64,
    pub days: i64,
    pub duration_s: f64,
}

/// Writes the history of a plan to a file and records it in a run directory, as one that was
/// acknowledged: once the file is loaded, the run can be reconciled. Calls `each` with the number
/// of rows of every piece that is written.
///
/// # Errors
///
/// Returns [`BackfillError`] if there is no file, or no record of it.
pub fn export_recorded(
    recorded: &Recorded,
    path: &Path,
    shutdown: &Shutdown,
    clock: Clock,
    each: impl FnMut(u64),
) -> Result<FileReport, BackfillError> {
    let begun = clock.now();
    let Recorded { plan, dir, ledger, .. } = recorded;
    let whole = plan.start..plan.end;
    ledger.reserve(&whole).map_err(BackfillError::ledger)?;
    let result = export(plan, path, &chunks(&plan.script, &whole, CHUNK_ROWS), shutdown, each);
    let settlement = match result {
        Ok(Exported::Whole(_)) => Settlement::Acknowledged,
        // Without a file there is nothing to load, so nothing is acknowledged.
        Ok(Exported::Stopped) | Err(_) => Settlement::Refused,
    };
    ledger.settle_slice(&whole, settlement).map_err(BackfillError::ledger)?;
    ledger.close().map_err(BackfillError::ledger)?;
    let (written, bytes, stopped) = match result? {
        Exported::Whole(summary) => (summary.rows, summary.bytes, false),
        Exported::Stopped => (0, 0, true),
    };
    let report = FileReport {
        run_id: plan.spec.run_id,
        profile: plan.profile_name.clone(),
        file: path.to_owned(),
        stopped,
        planned: plan.script.planned(),
        written,
        bytes,
        days: (plan.end - plan.start) / DAY_US,
        duration_s: seconds(clock.now() - begun),
    };
    dir.write_json("summary-0.json", &report)?;
    Ok(report)
}

impl fmt::Display for FileReport {
    #[expect(clippy::cast_precision_loss, reason = "figures for a person to read")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stopped {
            writeln!(f, "stopped by the user before its end: there is no file\n")?;
        }
        writeln!(f, "run {} of profile {}", self.run_id, self.profile)?;
        writeln!(f, "  planned       {:>12}", self.planned)?;
        writeln!(f, "  written       {:>12}", self.written)?;
        let (mb, rate) =
            (self.bytes as f64 / 1e6, self.written as f64 / self.duration_s.max(0.001));
        writeln!(
            f,
            "{} days in {}, {mb:.1} MB, {:.1} s, {rate:.0} events/s",
            self.days,
            self.file.display(),
            self.duration_s
        )
    }
}
