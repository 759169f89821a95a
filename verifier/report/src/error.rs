//! Why runs cannot be shown.

use std::path::PathBuf;

use runs::report::ReportError;
use runs::run_dir::RunDirError;

/// Why runs cannot be shown, or compared.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("cannot write {}", path.display())]
    Unwritable { path: PathBuf, source: std::io::Error },
    #[error("line {line} of {} is no record of this version", path.display())]
    NoRecord { path: PathBuf, line: usize },
    #[error(
        "the histograms in {}, or in the timeline of another shard, are damaged",
        path.display()
    )]
    Damaged { path: PathBuf },
    #[error(
        "the run in {dir} has no report.json: reconcile it first, with \
         `auditstorm-verifier reconcile {dir}`",
        dir = dir.display()
    )]
    NotReconciled { dir: PathBuf },
    /// Two runs that cannot be compared, with all the reasons.
    #[error("these runs cannot be compared:\n  {}", reasons.join("\n  "))]
    Unlike { reasons: Vec<String> },
}
