//! What reading the run back through the query API has shown.

use runs::readback::{ReadFinding, Readback, WalkTotals};
use runs::report::verdict::Verdict;

use crate::figures::{counted, grouped};

/// The section about the reader.
#[derive(Debug)]
pub(crate) struct ReaderView {
    pub(crate) tone: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) sentence: String,
    pub(crate) reasons: Vec<String>,
    pub(crate) walks: Vec<WalkRow>,
    pub(crate) findings: Vec<ReadFindingRow>,
    pub(crate) findings_left_out: Option<String>,
}

/// One way of reading, over all scopes.
#[derive(Debug)]
pub(crate) struct WalkRow {
    pub(crate) walk: String,
    pub(crate) pages: String,
    pub(crate) shown: String,
    pub(crate) stored: String,
    pub(crate) faults: String,
    pub(crate) tone: &'static str,
}

#[derive(Debug)]
pub(crate) struct ReadFindingRow {
    pub(crate) what: &'static str,
    pub(crate) walk: String,
    pub(crate) scope: String,
    pub(crate) audit_id: String,
}

const FINDINGS_SHOWN: usize = 50;

/// The tone in which a verdict is shown.
pub(super) fn tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Whole => "good",
        Verdict::Lossy => "bad",
        Verdict::Unknown => "doubt",
    }
}

pub(super) fn reader(readback: &Readback) -> ReaderView {
    let outcome = match readback.verdict {
        Verdict::Whole => "all of it",
        Verdict::Lossy => "not all, or not rightly",
        Verdict::Unknown => "unknown",
    };
    let totals = &readback.totals;
    let of_what = if readback.with_table { "stored" } else { "acknowledged" };
    let sentence = format!(
        "{} of {} could be read in every way, in {} asked of {}.",
        grouped(totals.readable),
        counted(totals.stored, &format!("{of_what} event")),
        counted(totals.questions, "question"),
        readback.server,
    );
    let shown = readback.findings.len().min(FINDINGS_SHOWN);
    let left_out = (readback.findings.len() - shown) as u64 + readback.findings_left_out;
    ReaderView {
        tone: tone(readback.verdict),
        outcome,
        sentence,
        reasons: readback.reasons.clone(),
        walks: readback.walks.iter().map(walk_row).collect(),
        findings: readback.findings[..shown].iter().map(finding_row).collect(),
        findings_left_out: (left_out > 0)
            .then(|| format!("and {} in readback.json", counted(left_out, "more finding"))),
    }
}

fn walk_row(it: &WalkTotals) -> WalkRow {
    let faults = it.faults.iter().filter(|(_, count)| **count > 0);
    let faults: Vec<_> =
        faults.map(|(fault, count)| format!("{} {}", grouped(*count), fault.as_str())).collect();
    WalkRow {
        walk: format!("{}, {} a page", it.walk.as_str(), grouped(it.page_size.into())),
        pages: grouped(it.pages),
        shown: grouped(it.shown),
        stored: grouped(it.stored),
        tone: if faults.is_empty() { "good" } else { "bad" },
        faults: if faults.is_empty() { "none".to_owned() } else { faults.join(", ") },
    }
}

fn finding_row(it: &ReadFinding) -> ReadFindingRow {
    ReadFindingRow {
        what: it.fault.as_str(),
        walk: format!("{}, {}", it.walk.as_str(), it.page_size),
        scope: [Some(it.scope.clone()), it.owner()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", "),
        audit_id: it.audit_id.map_or_else(|| "–".to_owned(), |id| id.to_string()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use edges::errors::ErrorCounts;
    use events::event::MicroTime;
    use runs::readback::{READBACK_FORMAT, ReadFault, ReadTotals, WalkKind};
    use uuid::Uuid;

    use super::*;

    /// A run of whose 900 stored events the pages leave out two.
    pub(crate) fn example_readback() -> Readback {
        let walk = |walk, page_size, shown, faults| WalkTotals {
            walk,
            page_size,
            pages: 10,
            stored: 900,
            shown,
            faults,
        };
        let unreachable = BTreeMap::from([(ReadFault::Unreachable, 2)]);
        let finding = |id| ReadFinding {
            fault: ReadFault::Unreachable,
            walk: WalkKind::Cursor,
            page_size: 100,
            scope: "Project/a|b".to_owned(),
            audit_id: Some(Uuid::from_u128(id)),
            beside: None,
            blame: None,
            tenant: None,
            run: None,
        };
        Readback {
            format: READBACK_FORMAT,
            tool_version: "0.1.0".to_owned(),
            verdict: Verdict::Lossy,
            reasons: vec!["2 stored events are not reachable by cursor".to_owned()],
            notes: Vec::new(),
            run_id: Uuid::from_u128(7),
            profile: "x".to_owned(),
            server: "http://api".to_owned(),
            with_table: true,
            began_at: MicroTime(0),
            ended_at: MicroTime(1),
            totals: ReadTotals {
                stored: 900,
                readable: 898,
                questions: 20,
                ..ReadTotals::default()
            },
            walks: vec![
                walk(WalkKind::Cursor, 100, 898, unreachable),
                walk(WalkKind::Windows, 1_000, 900, BTreeMap::new()),
            ],
            findings: vec![finding(1), finding(2)],
            findings_left_out: 3,
            errors: ErrorCounts::default(),
        }
    }

    #[test]
    fn walks_and_findings_are_put_into_words() {
        let view = reader(&example_readback());
        assert_eq!((view.tone, view.outcome), ("bad", "not all, or not rightly"));
        assert!(view.sentence.starts_with("898 of 900 stored events could be read"));
        let walks: Vec<_> = view.walks.iter().map(|it| (&*it.walk, &*it.faults)).collect();
        let expected =
            [("by cursor, 100 a page", "2 unreachable"), ("by windows, 1,000 a page", "none")];
        assert_eq!(walks, expected);
        assert_eq!(view.findings.len(), 2);
        assert_eq!(view.findings_left_out.as_deref(), Some("and 3 more findings in readback.json"));
    }
}
