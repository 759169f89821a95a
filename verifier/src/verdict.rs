//! Decides the verdict: whole, lossy or unknown. Pure.

use runs::report::doubt::Doubt;
use runs::report::fates::Totals;
use runs::report::verdict::Verdict;

use crate::content::LOOKED_AT_MAX;
use crate::evidence::Stillness;

/// What counts as a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CountedRows {
    /// All rows in the table, or messages in the stream, beyond the first one of an event.
    Physical,
    /// Only rows that are left after the table has folded rows with equal sorting keys (FINAL).
    Logical,
}

/// What influences a verdict in addition to the fates of the events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    pub stillness: Stillness,
    /// Whether the ledger was closed in order.
    pub ledger_closed: bool,
    /// The shards of the run that have no ledger, counted from 0.
    pub shards_missing: Vec<u32>,
    /// The doubts that keep missing events from being called lost.
    pub against_loss: Vec<Doubt>,
    /// The doubts about having seen all rows of the table.
    pub against_table: Vec<Doubt>,
    /// Whether the generator failed to keep its schedule; `None` if its summary is missing.
    pub saturated: Option<bool>,
    /// `Logical` only if it is certain that the table folds all duplicates. `None` if these count
    /// only if the table does not fold them, and nobody knows whether it does.
    pub counted: Option<CountedRows>,
    /// Whether every tenant's account adds up.
    pub accounts_add_up: bool,
    /// Stored events that were not examined, although their stretches differ from what was sent.
    pub not_looked_at: u64,
}

/// The verdict with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// The reasons, the most important first. A whole run has none.
    pub reasons: Vec<String>,
    /// Facts that are no fault under the chosen rule, but that the user should know.
    pub notes: Vec<String>,
}

/// Decides the verdict.
pub fn judge(totals: &Totals, evidence: &Evidence) -> Judgement {
    let mut doubts = doubts(totals, evidence);
    let mut proofs = Vec::new();
    let mut proof = |count: u64, is_proven: bool, fact: &str| match (count, is_proven) {
        (0, _) => {}
        (_, true) => proofs.push(format!("{count} {fact}")),
        (_, false) => doubts.push(format!("{count} {fact}, as far as it was checked")),
    };
    proof(totals.lost, true, "acknowledged events are not stored");
    proof(totals.corrupted, true, "stored events differ from what was sent");
    proof(totals.misplaced, true, "stored events have a timestamp of another day");
    // An event that is missing in an incomplete ledger may have been sent, so it is not unexpected.
    proof(totals.unexpected, evidence.ledger_closed, "stored events were never sent");
    let mut notes = Vec::new();
    match evidence.counted {
        Some(CountedRows::Physical) => proofs.extend(duplicates(totals, "")),
        Some(CountedRows::Logical) => notes.extend(duplicates(totals, "; the table folds them")),
        None => doubts.extend(duplicates(totals, UNTOLD)),
    }
    let verdict = match (proofs.is_empty(), doubts.is_empty()) {
        (true, true) => Verdict::Whole,
        (true, false) => Verdict::Unknown,
        (false, _) => Verdict::Lossy,
    };
    proofs.extend(doubts);
    Judgement { verdict, reasons: proofs, notes }
}

const UNTOLD: &str = "; whether the table folds them could not be found out: check again, with a \
                      larger --memory-limit or as an account without limits";

/// The doubts that keep a run from being called whole.
fn doubts(totals: &Totals, evidence: &Evidence) -> Vec<String> {
    let mut doubts = Vec::new();
    if totals.not_seen > 0 {
        doubts.push(format!("{} acknowledged events are not seen yet", totals.not_seen));
    }
    let against_loss = evidence.against_loss.iter().filter(|_| totals.not_seen > 0);
    let mut against: Vec<&Doubt> = against_loss.chain(&evidence.against_table).collect();
    against.sort_unstable();
    against.dedup();
    doubts.extend(against.iter().map(|Doubt { what, remedy, .. }| format!("{what}: {remedy}")));
    let mut doubt = |is_so: bool, reason: &str| {
        if is_so {
            doubts.push(reason.to_owned());
        }
    };
    match evidence.stillness {
        Stillness::Moving => {
            doubt(true, "the stream, the table or a Vector still moved at the deadline");
        }
        Stillness::Waiting { messages } if totals.not_seen == 0 => {
            doubt(true, &format!("{messages} messages still wait for the consumer"));
        }
        Stillness::Still | Stillness::Waiting { .. } => {}
    }
    for shard in &evidence.shards_missing {
        doubt(true, &format!("the ledger of shard {} is missing", shard + 1));
    }
    doubt(
        !evidence.ledger_closed && evidence.shards_missing.is_empty(),
        "the ledger was not closed: the run goes on, its writer was killed, or the file was cut",
    );
    doubt(
        evidence.saturated == Some(true),
        "the generator was saturated: it did not keep its schedule",
    );
    doubt(
        evidence.saturated.is_none() && evidence.ledger_closed,
        "the generator's summary is missing: whether it kept its schedule is not known",
    );
    doubt(!evidence.accounts_add_up, "the accounts do not add up: the ledger contradicts itself");
    let not_looked_at = evidence.not_looked_at;
    let text = format!(
        "{not_looked_at} stored events were not compared one by one, although they are among \
         events that differ from what was sent: the limit is {LOOKED_AT_MAX}"
    );
    doubt(not_looked_at > 0, &text);
    // A run of queries alone plans no events, and so none can be lost.
    doubt(
        totals.planned > 0 && totals.acknowledged == 0,
        "nothing was acknowledged: there is nothing to check",
    );
    doubts
}

/// Says where events were duplicated, and by what.
fn duplicates(totals: &Totals, end: &str) -> Vec<String> {
    let told = [
        (
            totals.duplicated_in_stream,
            "events are in the stream more than once: published again after its duplicate \
             window, or without an ID",
        ),
        (
            totals.duplicated_in_table,
            "events are in the table more than once, and in the stream once: delivered or \
             inserted again",
        ),
    ];
    let told = told.into_iter().filter(|(count, _)| *count > 0);
    told.map(|(count, fact)| format!("{count} {fact}{end}")).collect()
}

#[cfg(test)]
mod tests {
    use runs::report::doubt::Place;

    use super::*;

    const CLEAR: Evidence = Evidence {
        stillness: Stillness::Still,
        ledger_closed: true,
        shards_missing: Vec::new(),
        against_loss: Vec::new(),
        against_table: Vec::new(),
        saturated: Some(false),
        counted: Some(CountedRows::Physical),
        accounts_add_up: true,
        not_looked_at: 0,
    };

    #[track_caller]
    fn check(totals: Totals, evidence: &Evidence, expected: Verdict) {
        let totals = Totals { acknowledged: 10, ..totals };
        let Judgement { verdict, reasons, .. } = judge(&totals, evidence);
        assert_eq!(verdict, expected, "{reasons:?}");
        assert_eq!(reasons.is_empty(), verdict == Verdict::Whole);
    }

    #[test]
    fn a_run_is_whole_only_without_finding_and_without_doubt() {
        let clear = Totals::default;
        check(clear(), &CLEAR, Verdict::Whole);
        check(Totals { lost: 1, ..clear() }, &CLEAR, Verdict::Lossy);
        check(Totals { corrupted: 1, ..clear() }, &CLEAR, Verdict::Lossy);
        check(Totals { duplicated_in_table: 1, ..clear() }, &CLEAR, Verdict::Lossy);
        check(Totals { duplicated_in_stream: 1, ..clear() }, &CLEAR, Verdict::Lossy);
        let folding = Evidence { counted: Some(CountedRows::Logical), ..CLEAR };
        check(Totals { duplicated_in_table: 1, ..clear() }, &folding, Verdict::Whole);
        check(Totals { unexpected: 1, ..clear() }, &CLEAR, Verdict::Lossy);
        check(clear(), &Evidence { stillness: Stillness::Moving, ..CLEAR }, Verdict::Unknown);
        let hidden = Evidence { against_table: vec![doubt(Place::Table)], ..CLEAR };
        check(clear(), &hidden, Verdict::Unknown);
        let missing = Evidence { shards_missing: vec![1], ledger_closed: false, ..CLEAR };
        check(clear(), &missing, Verdict::Unknown);
        check(Totals { misplaced: 1, ..clear() }, &CLEAR, Verdict::Lossy);
        check(clear(), &Evidence { ledger_closed: false, ..CLEAR }, Verdict::Unknown);
        check(clear(), &Evidence { saturated: Some(true), ..CLEAR }, Verdict::Unknown);
        check(clear(), &Evidence { saturated: None, ..CLEAR }, Verdict::Unknown);
        check(clear(), &Evidence { accounts_add_up: false, ..CLEAR }, Verdict::Unknown);
        check(clear(), &Evidence { not_looked_at: 1, ..CLEAR }, Verdict::Unknown);
        let judgement = judge(&Totals { planned: 1, ..clear() }, &CLEAR);
        assert_eq!(judgement.verdict, Verdict::Unknown, "nothing was acknowledged");
        assert_eq!(judge(&clear(), &CLEAR).verdict, Verdict::Whole, "nothing was planned");
    }

    #[test]
    fn what_may_yet_arrive_is_not_lost_and_what_a_cut_ledger_forgot_is_not_unexpected() {
        let waiting = Evidence { stillness: Stillness::Waiting { messages: 3 }, ..CLEAR };
        check(Totals { not_seen: 3, ..Totals::default() }, &waiting, Verdict::Unknown);
        let buffered = Evidence { against_loss: vec![doubt(Place::Aggregator)], ..CLEAR };
        check(Totals { not_seen: 3, ..Totals::default() }, &buffered, Verdict::Unknown);
        check(Totals { not_seen: 3, lost: 1, ..Totals::default() }, &buffered, Verdict::Lossy);
        check(Totals::default(), &buffered, Verdict::Whole);
        let cut = Evidence { ledger_closed: false, ..CLEAR };
        check(Totals { unexpected: 3, ..Totals::default() }, &cut, Verdict::Unknown);
        check(Totals { lost: 3, ..Totals::default() }, &cut, Verdict::Lossy);
    }

    #[test]
    fn what_is_not_excluded_is_told_with_what_would_exclude_it() {
        let evidence = Evidence { against_loss: vec![doubt(Place::Aggregator)], ..CLEAR };
        let totals = Totals { acknowledged: 10, not_seen: 3, ..Totals::default() };
        let told = judge(&totals, &evidence).reasons;
        assert_eq!(told, ["3 acknowledged events are not seen yet", "it is dark: light it"]);
    }

    #[test]
    fn duplicates_that_the_table_folds_are_told_with_their_cause() {
        let totals = Totals {
            acknowledged: 10,
            duplicated: 3,
            duplicated_in_stream: 1,
            duplicated_in_table: 2,
            ..Totals::default()
        };
        let folding = Evidence { counted: Some(CountedRows::Logical), ..CLEAR };
        let notes = judge(&totals, &folding).notes;
        assert!(notes[0].starts_with("1 events are in the stream more than once"), "{notes:?}");
        assert!(notes[1].ends_with("; the table folds them"), "{notes:?}");
        assert!(judge(&totals, &CLEAR).notes.is_empty());
        let untold = judge(&totals, &Evidence { counted: None, ..CLEAR });
        assert_eq!(untold.verdict, Verdict::Unknown);
        assert!(untold.reasons[1].contains("could not be found out"), "{:?}", untold.reasons);
    }

    fn doubt(place: Place) -> Doubt {
        Doubt { place, what: "it is dark".to_owned(), remedy: "light it".to_owned() }
    }
}
