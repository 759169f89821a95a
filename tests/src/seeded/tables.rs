//! The tables that runs of a storm end in. Pure.

/// Runs that go through one sandbox at most.
pub const RUNS_MAX: usize = 2;

/// The table that the pipeline writes, and one for each history that goes past it: they keep every
/// row that they are sent, so that nothing sent twice is folded away.
pub fn tables() -> impl Iterator<Item = String> {
    std::iter::once("audit_logs".to_owned()).chain((0..RUNS_MAX).map(|it| format!("plain_{it}")))
}
