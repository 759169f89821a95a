//! Writes a report as text: the conservation table, the first findings, and the verdict. Pure.

use std::fmt;

use runs::report::cause::Cause;
use runs::report::{Difference, Finding, Report, ThresholdOutcome, ThresholdResult};

/// A report, formatted for a terminal.
#[derive(Debug, Clone, Copy)]
pub struct Text<'r>(pub &'r Report);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.0.totals;
        writeln!(f, "run {} of profile {}", self.0.run_id, self.0.profile)?;
        let mut line =
            |name: &str, count: u64, note: &str| writeln!(f, "  {name:<42}{count:>14}{note}");
        line("planned", totals.planned, "")?;
        line("  unsent", totals.unsent, "")?;
        line("  attempted", totals.attempted, "")?;
        line("    refused", totals.refused, "")?;
        line("    unknown", totals.unknown, "")?;
        if totals.unknown > 0 {
            line("      recovered", totals.recovered, "  stored all the same")?;
            line("      unresolved", totals.unresolved, "  not stored")?;
        }
        if totals.spoiled > 0 {
            line("    spoiled", totals.spoiled, "  sent with a fault on purpose")?;
        }
        line("    acknowledged", totals.acknowledged, "")?;
        match self.0.stream.map(|stream| stream.forgotten) {
            None => {}
            Some(None) => line("      in stream", totals.in_stream, "")?,
            Some(Some(why)) => {
                let note = format!("  it does not have everything any more: {}", why.as_str());
                line("      in stream", totals.in_stream, &note)?;
            }
        }
        line("      stored", totals.stored, "")?;
        if totals.repaired > 0 {
            line("      repaired", totals.repaired, "  sent again, after they had been lost")?;
        }
        if totals.filtered > 0 {
            line("      filtered", totals.filtered, "  dropped by design")?;
        }
        line("      lost", totals.lost, "")?;
        for (cause, count) in &totals.lost_by_cause {
            line(&format!("        {}", cause.as_str()), *count, "")?;
        }
        if totals.not_seen > 0 {
            line("      not seen yet", totals.not_seen, "  on their way, or hidden")?;
        }
        for (cause, count) in &totals.not_seen_by_cause {
            line(&format!("        {}", cause.last_seen()), *count, "")?;
        }
        line("duplicated", totals.duplicated, "")?;
        line("corrupted", totals.corrupted, "")?;
        if totals.misplaced > 0 {
            line("misplaced", totals.misplaced, "  with a timestamp of another day")?;
        }
        line("unexpected", totals.unexpected, "")?;
        self.fmt_findings(f)?;
        writeln!(f, "\nverdict: {}", self.0.verdict.as_str())?;
        self.0.reasons.iter().try_for_each(|reason| writeln!(f, "  {reason}"))?;
        self.0.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))?;
        if totals.unsent > 0 {
            let unsent = totals.unsent;
            writeln!(
                f,
                "  {unsent} planned events were never sent: the run did not reach its end"
            )?;
        }
        self.fmt_thresholds(f)
    }
}

impl Text<'_> {
    /// Writes the thresholds that the run does not meet, or that could not be measured.
    fn fmt_thresholds(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for it in &self.0.thresholds {
            let measured = it.measured.as_deref().unwrap_or("there are no samples");
            let outcome = match (it.outcome, it.is_default) {
                (ThresholdOutcome::Failed, true) => "failed, a published objective",
                (ThresholdOutcome::Failed, false) => "failed",
                (ThresholdOutcome::Unknown, false) => "unknown",
                // This is the usual case: nobody watched the run.
                (ThresholdOutcome::Unknown, true) if it.measured.is_none() => continue,
                (ThresholdOutcome::Unknown, true) => "unknown, a published objective",
                (ThresholdOutcome::Passed, _) => continue,
            };
            let ThresholdResult { metric, condition, .. } = it;
            writeln!(f, "  threshold {metric} {condition}: {measured}: {outcome}")?;
        }
        Ok(())
    }

    fn fmt_findings(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.findings.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n  {:<34}tenant         seq  audit ID and due time", "finding")?;
        for finding in self.0.findings.iter().take(FINDINGS_SHOWN) {
            let Finding { fault, cause, tenant, seq, audit_id, due } = finding;
            let due = due.and_then(|due| serde_json::to_value(due).ok());
            let due = due.as_ref().and_then(|due| due.as_str()).unwrap_or("not planned");
            let fault = cause.map_or(fault.as_str(), Cause::as_str);
            writeln!(f, "  {fault:<34}{tenant:>6}{seq:>12}  {audit_id}  {due}")?;
        }
        let more =
            self.0.findings.len().saturating_sub(FINDINGS_SHOWN) as u64 + self.0.findings_left_out;
        if more > 0 {
            writeln!(f, "  and {more} more; all are in report.json")?;
        }
        for Difference { tenant, seq, column, sent, stored } in
            self.0.differences.iter().take(FINDINGS_SHOWN)
        {
            writeln!(f, "  tenant {tenant} seq {seq}: {column} was {sent:?}, is {stored:?}")?;
        }
        Ok(())
    }
}

const FINDINGS_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn what_is_not_met_and_what_was_never_sent_is_told_beside_the_verdict() {
        let mut report = example();
        let told = Text(&report).to_string();
        let (_, verdict) = told.split_once("verdict: ").unwrap();
        assert_eq!(verdict.lines().filter(|line| line.contains("threshold")).count(), 0, "{told}");
        report.totals.unsent = 7;
        report.thresholds[0].outcome = ThresholdOutcome::Failed;
        let told = Text(&report).to_string();
        let ThresholdResult { metric, condition, .. } = &report.thresholds[0];
        assert!(told.contains(&format!("\n  threshold {metric} {condition}: ")), "{told}");
        assert!(told.contains("\n  7 planned events were never sent"), "{told}");
    }
}
