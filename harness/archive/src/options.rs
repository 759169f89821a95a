//! Limits of an upload or a download.

use std::time::Duration;

/// Limits of an upload or a download. The default ones suit runs of any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many files are on their way at once.
    pub lanes: usize,
    /// Files longer than this go in parts of this length. Stores refuse parts below 5 MiB.
    pub part_bytes: usize,
    /// Longest time that a request may take, and that nothing may come of an answer.
    pub request: Duration,
    /// Longest time that a request is tried again for, after errors that may pass.
    pub patience: Duration,
    /// Longest time that all of it may take.
    pub total: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lanes: 4,
            part_bytes: 8 << 20,
            request: Duration::from_mins(1),
            patience: Duration::from_mins(2),
            total: Duration::from_hours(1),
        }
    }
}
