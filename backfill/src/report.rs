//! What a backfill tells at its end.

use std::fmt;

use edges::errors::ErrorCounts;
use serde::Serialize;
use uuid::Uuid;

/// A backfill as a whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub run_id: Uuid,
    pub profile: String,
    /// The user stopped it before its end.
    pub stopped: bool,
    pub days: u32,
    pub planned: u64,
    /// Events that are known to have been taken, before and now.
    pub acknowledged: u64,
    /// Events that were taken before this process began.
    pub acknowledged_before: u64,
    pub bulk: BulkSummary,
    pub replay: ReplaySummary,
    /// Errors after which something was sent again, by server and kind.
    #[serde(skip_serializing_if = "ErrorCounts::is_empty")]
    pub errors: ErrorCounts,
    pub duration_s: f64,
}

/// What went straight into the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BulkSummary {
    pub planned: u64,
    /// Events inserted by this process.
    pub inserted: u64,
    /// Events in doubt that were looked up, and were in the table already.
    pub found: u64,
    pub inserts: u64,
    /// Inserts that failed: what they were of was looked up, and sent again if it was not there.
    pub failed_inserts: u64,
    /// Parts of the table when it was last looked at, a second before the end at most.
    pub parts: u64,
}

/// What went through the pipeline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ReplaySummary {
    /// Events that the webhook has acknowledged to this process.
    pub acknowledged: u64,
    /// Events in doubt that were looked up, and were in the table.
    pub found: u64,
}

impl fmt::Display for Summary {
    #[expect(clippy::cast_precision_loss, reason = "a rate for a person to read")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stopped {
            writeln!(f, "stopped by the user before the end; run the same command to continue\n")?;
        }
        writeln!(f, "run {} of profile {}", self.run_id, self.profile)?;
        writeln!(f, "  planned       {:>13}  events in {} days", self.planned, self.days)?;
        writeln!(f, "  acknowledged  {:>13}", self.acknowledged)?;
        if self.acknowledged_before > 0 {
            writeln!(f, "    before      {:>13}", self.acknowledged_before)?;
        }
        let BulkSummary { inserted, found, inserts, failed_inserts, parts, .. } = self.bulk;
        if self.bulk.planned > 0 {
            let now = "the table now has";
            writeln!(
                f,
                "    inserted    {inserted:>13}  by {inserts} inserts; {now} {parts} parts"
            )?;
        }
        if found > 0 {
            writeln!(f, "    found       {found:>13}  in doubt, and in the table already")?;
        }
        let ReplaySummary { acknowledged, found } = self.replay;
        if acknowledged + found > 0 {
            writeln!(f, "    replayed    {acknowledged:>13}  through the pipeline")?;
        }
        if found > 0 {
            writeln!(f, "    found       {found:>13}  in doubt, and come through all the same")?;
        }
        if failed_inserts > 0 {
            writeln!(f, "  {failed_inserts} inserts failed; nothing of them was sent twice")?;
        }
        self.errors.lines().iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        let rate = (inserted + acknowledged) as f64 / self.duration_s.max(0.001);
        writeln!(f, "{:.1} s, {rate:.0} events/s", self.duration_s)
    }
}
