//! What a backfill tells at its end.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

/// A backfill as a whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub run_id: Uuid,
    pub profile: String,
    /// The user stopped the run before its end.
    pub stopped: bool,
    pub planned: u64,
    pub acknowledged: u64,
    pub chunks: usize,
    pub days: u32,
    pub duration_s: f64,
}

impl fmt::Display for Summary {
    #[expect(clippy::cast_precision_loss, reason = "a rate for a person to read")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stopped {
            writeln!(f, "stopped by the user before its end\n")?;
        }
        writeln!(f, "run {} of profile {}", self.run_id, self.profile)?;
        writeln!(f, "  planned       {:>12}", self.planned)?;
        writeln!(f, "  acknowledged  {:>12}", self.acknowledged)?;
        let rate = self.acknowledged as f64 / self.duration_s.max(0.001);
        writeln!(
            f,
            "{} days in {} inserts, {:.1} s, {rate:.0} events/s",
            self.days, self.chunks, self.duration_s
        )
    }
}
