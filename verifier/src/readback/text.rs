//! Writes what reading back has shown for a terminal. Pure.

use std::fmt;

use runs::readback::{ReadFault, Readback, WalkTotals};

/// What reading back has shown, formatted for a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'r>(pub(crate) &'r Readback);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Readback { totals, .. } = self.0;
        writeln!(
            f,
            "run {} of profile {}, read from {}",
            self.0.run_id, self.0.profile, self.0.server
        )?;
        let of = if self.0.with_table { "stored" } else { "acknowledged" };
        writeln!(
            f,
            "  readable {} of {} {of} events in {} scopes",
            totals.readable, totals.stored, totals.scopes
        )?;
        self.0.walks.iter().try_for_each(|walk| fmt_walk(f, walk))?;
        writeln!(
            f,
            "  {} questions, {} without an answer; the slowest took {} ms",
            totals.questions, totals.unanswered, totals.slowest_ms
        )?;
        self.fmt_findings(f)?;
        writeln!(f, "\nverdict: {}", self.0.verdict.as_str())?;
        self.0.reasons.iter().try_for_each(|reason| writeln!(f, "  {reason}"))?;
        self.0.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}

fn fmt_walk(f: &mut fmt::Formatter<'_>, walk: &WalkTotals) -> fmt::Result {
    let way = match walk.walk {
        runs::readback::WalkKind::Cursor => {
            format!("{}, pages of {}", walk.walk.as_str(), walk.page_size)
        }
        runs::readback::WalkKind::Windows => walk.walk.as_str().to_owned(),
    };
    write!(f, "    {way:<30}{:>12} of {:<12}{} pages", walk.shown, walk.stored, walk.pages)?;
    for fault in ReadFault::ALL {
        if let Some(count) = walk.faults.get(&fault) {
            write!(f, ", {count} {}", fault.as_str())?;
        }
    }
    writeln!(f)
}

impl Text<'_> {
    /// Writes the first findings of each kind.
    fn fmt_findings(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in ReadFault::ALL {
            let of_kind = self.0.findings.iter().filter(|finding| finding.fault == fault);
            for finding in of_kind.take(FINDINGS_SHOWN) {
                write!(f, "  {}", fault.as_str())?;
                finding.audit_id.iter().try_for_each(|id| write!(f, " {id}"))?;
                finding.beside.iter().try_for_each(|id| write!(f, " behind {id}"))?;
                finding.owner().iter().try_for_each(|owner| write!(f, " {owner}"))?;
                writeln!(f, " in {}, {}", finding.scope, finding.walk.as_str())?;
            }
        }
        Ok(())
    }
}

/// Findings of one kind that are printed.
const FINDINGS_SHOWN: usize = 5;
