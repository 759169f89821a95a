//! The account of a run that was read back: what all scopes showed together, and the verdict. Pure.

use std::collections::BTreeMap;

use runs::readback::{Blame, ReadFault, ReadFinding, ReadTotals, WalkKind, WalkTotals};
use runs::report::FINDINGS_MAX;
use runs::report::verdict::Verdict;

use super::unit::UnitResult;

/// What the verdict depends on beside the scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grounds {
    pub(crate) with_table: bool,
    /// Whether the run has ended in order, so that its ledger has all that was sent.
    pub(crate) is_closed: bool,
    /// Scopes that nothing was asked of, because the time was over.
    pub(crate) scopes_left: u64,
}

/// Adds up the scopes: walks with their faults, findings, and those that found no room.
pub(crate) fn add_up(
    units: &[UnitResult],
    totals: &mut ReadTotals,
) -> (Vec<WalkTotals>, Vec<ReadFinding>, u64) {
    let mut walks: BTreeMap<(WalkKind, u32), WalkTotals> = BTreeMap::new();
    let mut findings = Vec::new();
    let mut left_out = 0;
    for unit in units {
        totals.scopes_unread += u64::from(unit.unread.is_some());
        totals.stored += unit.stored;
        totals.readable += unit.readable;
        totals.not_stored += unit.not_stored;
        totals.late += unit.late;
        totals.foreign += unit.foreign;
        for one in &unit.walks {
            let all = walks.entry((one.walk, one.page_size)).or_insert_with(|| WalkTotals {
                walk: one.walk,
                page_size: one.page_size,
                pages: 0,
                stored: 0,
                shown: 0,
                faults: BTreeMap::new(),
            });
            all.pages += one.pages;
            all.stored += one.stored;
            all.shown += one.shown;
            for finding in &one.findings {
                *all.faults.entry(finding.fault).or_default() += 1;
                if findings.len() < FINDINGS_MAX {
                    findings.push(finding.clone());
                } else {
                    left_out += 1;
                }
            }
        }
    }
    (walks.into_values().rev().collect(), findings, left_out)
}

/// Judges: the verdict, and the reasons for it.
pub(crate) fn judge(
    units: &[UnitResult],
    totals: &ReadTotals,
    grounds: Grounds,
) -> (Verdict, Vec<String>) {
    let (mut wrong, mut open) = (Vec::new(), Vec::new());
    for fault in ReadFault::ALL {
        let all = || units.iter().flat_map(|unit| &unit.walks).flat_map(|walk| &walk.findings);
        let of_kind: Vec<&ReadFinding> = all().filter(|it| it.fault == fault).collect();
        if of_kind.is_empty() || !fault.is_of_reader() {
            continue;
        }
        match fault {
            ReadFault::Unreachable => unreachable(&of_kind, &mut wrong, &mut open),
            // Without the table, nobody knows whether it has such an event more than once.
            ReadFault::Repeated if !grounds.with_table => {
                let count = of_kind.len();
                open.push(format!(
                    "events that are shown more than once: {count}; name the table to learn \
                     whether it has them so"
                ));
            }
            _ => wrong.push(format!("{}: {}", in_words(fault), of_kind.len())),
        }
    }
    let unread: Vec<&str> = units.iter().filter_map(|unit| unit.unread.as_deref()).collect();
    if let Some(why) = unread.first() {
        let count = unread.len();
        open.push(format!(
            "scopes that could not be read to the end: {count}; of the first: {why}"
        ));
    }
    if grounds.scopes_left > 0 {
        open.push(format!(
            "scopes that were not read, as the time was over: {}",
            grounds.scopes_left
        ));
    }
    if !grounds.is_closed {
        open.push("the run's ledger is not closed: it may lack events that were sent".to_owned());
    }
    if totals.stored == 0 {
        open.push("no event of the scopes that were asked for is known to be stored".to_owned());
    }
    match (wrong.is_empty(), open.is_empty()) {
        (false, _) => (Verdict::Lossy, [wrong, open].concat()),
        (true, false) => (Verdict::Unknown, open),
        (true, true) => (Verdict::Whole, Vec::new()),
    }
}

/// Says who is to blame for events that walks did not show.
fn unreachable(findings: &[&ReadFinding], wrong: &mut Vec<String>, open: &mut Vec<String>) {
    let walks: BTreeMap<(WalkKind, u32), BTreeMap<Blame, u64>> =
        findings.iter().fold(BTreeMap::new(), |mut walks, finding| {
            let blames: &mut BTreeMap<Blame, u64> =
                walks.entry((finding.walk, finding.page_size)).or_default();
            *blames.entry(finding.blame.unwrap_or(Blame::Unknown)).or_default() += 1;
            walks
        });
    for ((walk, page_size), blames) in walks {
        for (blame, count) in blames {
            match (blame, walk) {
                (Blame::Paging, _) => wrong.push(format!(
                    "events lost in paging: {count}; the walk by windows shows them, the walk by \
                     cursor in pages of {page_size} does not"
                )),
                (Blame::Reader, WalkKind::Windows) => wrong.push(format!(
                    "events that are stored and cannot be read: {count}; no walk shows them"
                )),
                (Blame::Unknown, WalkKind::Windows) => open.push(format!(
                    "events that are acknowledged and cannot be read: {count}; name the table to \
                     learn whether it has them"
                )),
                // The walk by windows has said it.
                (Blame::Reader | Blame::Unknown, WalkKind::Cursor) => {}
            }
        }
    }
}

fn in_words(fault: ReadFault) -> &'static str {
    match fault {
        ReadFault::ScopeIgnored => "answers for which the server did not look at the scope",
        ReadFault::Leaked => "events of another tenant that are shown",
        ReadFault::EndedEarly => "walks that end before all events are shown",
        ReadFault::Endless => "walks that never end, because their pages lead back",
        ReadFault::Repeated => "events that are shown again",
        ReadFault::OutOfOrder => "events that come after older ones",
        ReadFault::OverLimit => "pages with more events than were asked for",
        ReadFault::OutsidePeriod => "events outside the period asked for",
        ReadFault::OutsideFilter => "events that the filter does not admit",
        ReadFault::Unreachable => "events that are not shown",
        ReadFault::Unplanned => "events that the plan does not have",
        ReadFault::Changed => "events that are shown otherwise than they were sent",
    }
}

/// Facts that are no fault of the reader.
pub(crate) fn notes(units: &[UnitResult], totals: &ReadTotals, errors: &[String]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |count: u64, what: &str, hint: &str| {
        if count > 0 {
            notes.push(format!("{what}: {count}{hint}"));
        }
    };
    let of_kind = |fault: ReadFault| {
        let all = units.iter().flat_map(|unit| &unit.walks).flat_map(|walk| &walk.findings);
        all.filter(|finding| finding.fault == fault).count() as u64
    };
    let told = "; `reconcile` says why";
    note(totals.not_stored, "acknowledged events that are not in the table", told);
    let otherwise = units.iter().map(|unit| unit.stored_otherwise).sum();
    note(otherwise, "stored events whose columns are not as sent, so that nobody finds them", told);
    let told = "; `reconcile --deep` says whether they are stored so";
    note(of_kind(ReadFault::Changed), in_words(ReadFault::Changed), told);
    note(of_kind(ReadFault::Unplanned), in_words(ReadFault::Unplanned), "");
    note(totals.late, "events that were shown only after some waiting", "");
    note(totals.not_asked, "stored events of tenants that were not asked for", "");
    note(totals.unanswered, "questions that had to be asked again", "");
    notes.extend(errors.iter().cloned());
    notes
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::readback::unit::WalkResult;

    const GROUNDS: Grounds = Grounds { with_table: true, is_closed: true, scopes_left: 0 };

    fn finding(fault: ReadFault, walk: WalkKind, blame: Option<Blame>) -> ReadFinding {
        let (scope, audit_id) = ("Project/a".to_owned(), Some(Uuid::nil()));
        ReadFinding {
            fault,
            walk,
            page_size: 100,
            scope,
            audit_id,
            beside: None,
            blame,
            tenant: None,
            run: None,
        }
    }

    fn unit(findings: Vec<ReadFinding>) -> UnitResult {
        let walk = WalkKind::Cursor;
        let walk = WalkResult { walk, page_size: 100, pages: 1, stored: 9, shown: 9, findings };
        UnitResult { stored: 9, walks: vec![walk], ..UnitResult::default() }
    }

    #[track_caller]
    fn check(unit: &UnitResult, grounds: Grounds, verdict: Verdict, reason: &str) {
        let units = std::slice::from_ref(unit);
        let mut totals = ReadTotals::default();
        let (walks, findings, left_out) = add_up(units, &mut totals);
        assert_eq!((walks.len(), left_out), (1, 0));
        assert_eq!(walks[0].faults.values().sum::<u64>(), findings.len() as u64);
        let (found, reasons) = judge(units, &totals, grounds);
        assert_eq!(found, verdict, "{reasons:?}");
        assert_eq!(reasons.is_empty(), reason.is_empty(), "{reasons:?}");
        assert!(reasons.first().is_none_or(|first| first.contains(reason)), "{reasons:?}");
    }

    #[test]
    fn every_fault_of_the_reader_makes_a_run_lossy() {
        for fault in ReadFault::ALL {
            let blame = (fault == ReadFault::Unreachable).then_some(Blame::Paging);
            let unit = unit(vec![finding(fault, WalkKind::Cursor, blame)]);
            let is_noted = matches!(fault, ReadFault::Changed | ReadFault::Unplanned);
            let expected = if is_noted { Verdict::Whole } else { Verdict::Lossy };
            check(&unit, GROUNDS, expected, if is_noted { "" } else { ": 1" });
        }
    }

    #[test]
    fn what_could_not_be_checked_is_unknown() {
        check(&unit(Vec::new()), GROUNDS, Verdict::Whole, "");
        let open = Grounds { is_closed: false, ..GROUNDS };
        check(&unit(Vec::new()), open, Verdict::Unknown, "ledger");
        let left = Grounds { scopes_left: 2, ..GROUNDS };
        check(&unit(Vec::new()), left, Verdict::Unknown, "not read, as the time was over: 2");
        let unread = UnitResult { unread: Some("status 503".to_owned()), ..unit(Vec::new()) };
        check(&unread, GROUNDS, Verdict::Unknown, "status 503");
        let empty = UnitResult { stored: 0, ..unit(Vec::new()) };
        check(&empty, GROUNDS, Verdict::Unknown, "no event");
        let blame = Some(Blame::Unknown);
        let missing = unit(vec![finding(ReadFault::Unreachable, WalkKind::Windows, blame)]);
        let blind = Grounds { with_table: false, ..GROUNDS };
        check(&missing, blind, Verdict::Unknown, "name the table");
        let twice = unit(vec![finding(ReadFault::Repeated, WalkKind::Cursor, None)]);
        check(&twice, blind, Verdict::Unknown, "more than once");
        check(&twice, GROUNDS, Verdict::Lossy, "shown again");
    }

    #[test]
    fn an_event_that_no_walk_shows_is_counted_once() {
        let blame = Some(Blame::Reader);
        let both = [WalkKind::Windows, WalkKind::Cursor];
        let lost = both.map(|walk| finding(ReadFault::Unreachable, walk, blame));
        let unit = unit(lost.to_vec());
        let (_, reasons) = judge(&[unit], &ReadTotals { stored: 9, ..Default::default() }, GROUNDS);
        assert_eq!(reasons, ["events that are stored and cannot be read: 1; no walk shows them"]);
    }
}
