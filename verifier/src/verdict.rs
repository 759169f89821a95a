//! The judgement: whole, lossy or unknown. Pure.

use harness::exit::Exit;
use serde::{Deserialize, Serialize};

use crate::compare::Totals;
use crate::settle::Stillness;

/// What a run's events prove about the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every acknowledged event is stored once and unchanged, and nothing else is.
    Whole,
    /// It could not be checked.
    Unknown,
    /// Something acknowledged was lost, changed or doubled, or something else is stored.
    Lossy,
}

impl Verdict {
    pub fn exit(self) -> Exit {
        match self {
            Self::Whole => Exit::Done,
            Self::Unknown => Exit::Unknown,
            Self::Lossy => Exit::Lossy,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Unknown => "unknown",
            Self::Lossy => "lossy",
        }
    }
}

/// Which rows of an event count as its duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CountedRows {
    /// All rows that the table has, or messages that the stream has, beyond the first.
    Physical,
    /// Those that are left once the table has folded rows with equal sorting keys.
    Logical,
}

/// What bears on a verdict besides the fates of the events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    pub stillness: Stillness,
    /// The ledger was closed in order.
    pub ledger_closed: bool,
    /// Shards of the run that have no ledger, counted from 0.
    pub shards_missing: Vec<u32>,
    /// The table did not change while it was read.
    pub is_steady: bool,
    /// Whether the generator kept its schedule; `None` where its summary is missing.
    pub saturated: Option<bool>,
    /// Logical only if the table surely folds all that is there more than once.
    pub counted: CountedRows,
    /// Every tenant's account adds up.
    pub accounts_add_up: bool,
}

/// Judges. Returns the verdict and its reasons, the weightiest first; a whole run has none.
pub fn judge(totals: &Totals, evidence: &Evidence) -> (Verdict, Vec<String>) {
    let mut doubts = Vec::new();
    let mut doubt = |is_so: bool, reason: &str| {
        if is_so {
            doubts.push(reason.to_owned());
        }
    };
    let is_still = evidence.stillness == Stillness::Still && evidence.is_steady;
    match evidence.stillness {
        Stillness::Still => {}
        Stillness::Moving => doubt(true, "stream or table still moved at the deadline"),
        Stillness::Waiting { messages } => {
            doubt(true, &format!("{messages} messages still wait for the consumer"));
        }
    }
    doubt(!evidence.is_steady, "the table changed while it was read");
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
    doubt(totals.acknowledged == 0, "nothing was acknowledged: there is nothing to check");

    let mut proofs = Vec::new();
    let mut proof = |count: u64, is_proven: bool, fact: &str| match (count, is_proven) {
        (0, _) => {}
        (_, true) => proofs.push(format!("{count} {fact}")),
        (_, false) => doubts.push(format!("{count} {fact}, as far as it was checked")),
    };
    // What is still on its way is not lost yet; what a cut ledger forgot was not unexpected.
    proof(totals.lost, is_still, "acknowledged events are not stored");
    proof(totals.corrupted, true, "stored events differ from what was sent");
    proof(totals.misplaced, true, "stored events have a timestamp of another day");
    let duplicated = match evidence.counted {
        CountedRows::Physical => totals.duplicated,
        CountedRows::Logical => 0,
    };
    proof(duplicated, true, "events are there more than once");
    proof(totals.unexpected, evidence.ledger_closed, "stored events were never sent");

    let verdict = match (proofs.is_empty(), doubts.is_empty()) {
        (true, true) => Verdict::Whole,
        (true, false) => Verdict::Unknown,
        (false, _) => Verdict::Lossy,
    };
    proofs.extend(doubts);
    (verdict, proofs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAR: Evidence = Evidence {
        stillness: Stillness::Still,
        ledger_closed: true,
        shards_missing: Vec::new(),
        is_steady: true,
        saturated: Some(false),
        counted: CountedRows::Physical,
        accounts_add_up: true,
    };

    #[track_caller]
    fn check(totals: Totals, evidence: &Evidence, expected: Verdict) {
        let totals = Totals { acknowledged: 10, ..totals };
        let (verdict, reasons) = judge(&totals, evidence);
        assert_eq!(verdict, expected, "{reasons:?}");
        assert_eq!(reasons.is_empty(), verdict == Verdict::Whole);
    }

    #[test]
    fn a_run_is_whole_only_without_finding_and_without_doubt() {
        let clear = Totals::default;
        check(clear(), &CLEAR, Verdict::Whole);
        check(Totals { lost: 1, ..clear() }, &CLEAR, Verdict::Lossy);
        check(Totals { corrupted: 1, ..clear() }, &CLEAR, Verdict::Lossy);
        check(Totals { duplicated: 1, ..clear() }, &CLEAR, Verdict::Lossy);
        let folding = Evidence { counted: CountedRows::Logical, ..CLEAR };
        check(Totals { duplicated: 1, ..clear() }, &folding, Verdict::Whole);
        check(Totals { unexpected: 1, ..clear() }, &CLEAR, Verdict::Lossy);
        check(clear(), &Evidence { stillness: Stillness::Moving, ..CLEAR }, Verdict::Unknown);
        check(clear(), &Evidence { is_steady: false, ..CLEAR }, Verdict::Unknown);
        let missing = Evidence { shards_missing: vec![1], ledger_closed: false, ..CLEAR };
        check(clear(), &missing, Verdict::Unknown);
        check(Totals { misplaced: 1, ..clear() }, &CLEAR, Verdict::Lossy);
        check(clear(), &Evidence { ledger_closed: false, ..CLEAR }, Verdict::Unknown);
        check(clear(), &Evidence { saturated: Some(true), ..CLEAR }, Verdict::Unknown);
        check(clear(), &Evidence { saturated: None, ..CLEAR }, Verdict::Unknown);
        check(clear(), &Evidence { accounts_add_up: false, ..CLEAR }, Verdict::Unknown);
        let (verdict, _) = judge(&clear(), &CLEAR);
        assert_eq!(verdict, Verdict::Unknown, "nothing was acknowledged");
    }

    #[test]
    fn what_may_yet_arrive_is_not_lost_and_what_a_cut_ledger_forgot_is_not_unexpected() {
        let waiting = Evidence { stillness: Stillness::Waiting { messages: 3 }, ..CLEAR };
        check(Totals { lost: 3, ..Totals::default() }, &waiting, Verdict::Unknown);
        let cut = Evidence { ledger_closed: false, ..CLEAR };
        check(Totals { unexpected: 3, ..Totals::default() }, &cut, Verdict::Unknown);
        check(Totals { lost: 3, ..Totals::default() }, &cut, Verdict::Lossy);
    }
}
