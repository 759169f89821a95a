//! The tables of the runs of a storm. Pure.

/// The most runs that go through one sandbox.
pub const RUNS_MAX: usize = 2;

/// The table that the pipeline writes, and one table for each history that is loaded straight into
/// it. The latter keep every row, so that no row that was sent twice is folded.
pub fn tables() -> impl Iterator<Item = String> {
    std::iter::once("audit_logs".to_owned()).chain((0..RUNS_MAX).map(|it| format!("plain_{it}")))
}
