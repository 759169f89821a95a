//! Decides whether the report of a check agrees with the truth, which is known without the check.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One event of a run: its tenant and its sequence number.
pub type Event = (u16, u64);

/// Some events of a run.
pub type Events = BTreeSet<Event>;

/// The truth about a run in the end, when all parts are back and nothing is on its way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact that holds or not")]
pub struct Truth {
    /// The sets of the ledger.
    pub acknowledged: Events,
    pub unknown: Events,
    pub refused: Events,
    pub spoiled: Events,
    /// Whether the ledger was closed in order.
    pub is_closed: bool,
    pub is_saturated: bool,
    /// The number of rows of each event, as they are on disk.
    pub rows: BTreeMap<Event, u64>,
    /// How often the stream took each event in all.
    pub in_stream: BTreeMap<Event, u64>,
    /// Events that went straight into the table.
    pub bulk: Events,
    /// The events that faults have hit, according to the record of faults.
    pub dropped_before_stream: Events,
    pub dropped_after_stream: Events,
    pub corrupted: Events,
    /// Whether the table folds rows with equal keys.
    pub folds: bool,
    /// Whether the stream keeps messages that were consumed, and has evicted none.
    pub remembers: bool,
    /// Whether a fast relay was killed. It may have lost events that it had taken from the stream.
    pub lost_its_memory: bool,
    /// Whether the stream has evicted messages, which may not have been read.
    pub has_evicted: bool,
}

/// What counts as a duplicate in the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Physical,
    Logical,
}

/// When the check was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// While disturbances may last.
    Early,
    /// When nothing moves any more, by an account that sees all rows.
    Final,
}

/// The report of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Its exit code.
    pub code: i32,
    /// `whole`, `lossy` or `unknown`, or `None` if there is no verdict.
    pub verdict: Option<String>,
    pub reasons: Vec<String>,
    /// The lost events, by cause.
    pub lost: BTreeMap<String, Events>,
    pub corrupted: Events,
    pub duplicated: Events,
    pub unexpected: Events,
}

/// A check, with the facts that it is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub moment: Moment,
    pub counted: Counted,
    pub told: Told,
    /// What could not be excluded when the check was made. The verdict may only be *unknown* if
    /// there is something here.
    pub excuses: Vec<&'static str>,
    /// The events of faults that were on record when the check ended.
    pub struck: Events,
    /// The events that had a row when the check ended.
    pub stored: Events,
    /// Whether some event had several rows when the check ended.
    pub was_doubled: bool,
}

/// The ways in which a check or a sender can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// The verdict is whole, but the run is not.
    FalseWhole,
    /// The verdict is lossy, but nothing is lost, changed or duplicated, or that could not be
    /// known.
    FalseLossy,
    /// The verdict is unknown, but everything could be excluded.
    NeedlessUnknown,
    /// There is no verdict, although every server was up.
    NoVerdict,
    /// A finding names other events than those that were hit.
    WrongVictims,
    /// A loss is reported at a hop where it did not happen.
    WrongHop,
    /// An event that went straight into the table is there more than once.
    SentTwice,
    /// An event that was certainly not accepted is stored.
    RefusedAndStored,
    /// The exit code does not fit the report.
    ExitCode,
}

/// One mistake of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub broken: Broken,
    pub detail: String,
}

/// The excuse of a check that could not prove what is lost, because events could still be in a
/// buffer.
pub const UNPROVEN: &str = "buffers were not proven empty";

/// Lists where a check disagrees with the truth.
pub fn violations(truth: &Truth, check: &Check) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut broke = |broken, detail: String| found.push(Violation { broken, detail });
    let twice = truth.sent_twice();
    if !twice.is_empty() {
        broke(Broken::SentTwice, shown("went straight into the table several times", &twice));
    }
    let refused: Events =
        truth.refused.iter().filter(|it| truth.rows.contains_key(it)).copied().collect();
    if !refused.is_empty() {
        broke(Broken::RefusedAndStored, shown("were refused and are stored", &refused));
    }
    let told = &check.told;
    let expected_code = match told.verdict.as_deref() {
        Some("whole") => 0,
        Some("lossy") => 1,
        Some(_) => 4,
        None => told.code,
    };
    if told.code != expected_code {
        broke(Broken::ExitCode, format!("code {} with {:?}", told.code, told.verdict));
    }
    match told.verdict.as_deref() {
        Some("whole") => found.extend(check_whole(truth, check)),
        Some("lossy") => found.extend(check_lossy(truth, check)),
        None if !is_lawfully_silent(check) => {
            broke(Broken::NoVerdict, format!("code {}, story {:?}", told.code, told.reasons));
        }
        _ if check.excuses.is_empty() => {
            let detail = format!("code {}, reasons {:?}", told.code, told.reasons);
            broke(Broken::NeedlessUnknown, detail);
        }
        _ => {}
    }
    found.extend(check_hops(truth, told));
    found
}

impl Truth {
    /// Events that were acknowledged and are not stored.
    pub fn lost(&self) -> Events {
        self.acknowledged.iter().filter(|event| !self.rows.contains_key(event)).copied().collect()
    }

    /// Events that are stored differently from how they were sent.
    pub fn corrupted(&self) -> Events {
        self.corrupted.iter().filter(|event| self.rows.contains_key(event)).copied().collect()
    }

    /// Events that are stored and were never sent.
    pub fn unexpected(&self) -> Events {
        let was_sent = |event: &&Event| {
            [&self.acknowledged, &self.unknown, &self.spoiled].iter().any(|it| it.contains(event))
        };
        self.rows.keys().filter(|event| !was_sent(event)).copied().collect()
    }

    /// Returns the events whose duplicates a check must see, and those whose duplicates it may see.
    fn doubled(&self) -> (Events, Events) {
        let several = |counts: &BTreeMap<Event, u64>| {
            let several = counts.iter().filter(|(_, count)| **count > 1);
            several.map(|(event, _)| *event).filter(|it| !self.spoiled.contains(it)).collect()
        };
        let (rows, stream): (Events, Events) = (several(&self.rows), several(&self.in_stream));
        let all = &rows | &stream;
        (if self.remembers { all.clone() } else { rows }, all)
    }

    /// Events that went straight into the table and have more than one row there.
    pub fn sent_twice(&self) -> Events {
        let twice = self.bulk.iter().filter(|event| self.rows.get(event).is_some_and(|it| *it > 1));
        twice.copied().collect()
    }

    fn was_in_stream(&self, event: &Event) -> bool {
        self.in_stream.contains_key(event)
            || self.dropped_after_stream.contains(event)
            || self.corrupted.contains(event)
    }
}

/// Whether a check without a verdict is correct: only if a server was down for longer than the
/// check's patience.
fn is_lawfully_silent(check: &Check) -> bool {
    let Told { code, reasons, .. } = &check.told;
    let away = match silent_server(reasons) {
        Some("ClickHouse") => "ClickHouse was away",
        Some("NATS") => "NATS was away",
        _ => return false,
    };
    *code == 3 && check.excuses.contains(&away)
}

/// Which server did not answer, by the last line that a check printed before it gave up.
pub fn silent_server(story: &[String]) -> Option<&'static str> {
    let last = story.last().filter(|line| line.contains(" does not answer"))?;
    ["ClickHouse", "NATS"].into_iter().find(|name| last.contains(&format!(": {name} at ")))
}

fn check_whole(truth: &Truth, check: &Check) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut broke = |detail| found.push(Violation { broken: Broken::FalseWhole, detail });
    if !truth.is_closed {
        broke("the ledger was not closed".to_owned());
    }
    for (what, events) in [
        ("are lost", truth.lost()),
        ("are corrupted", truth.corrupted()),
        ("are unexpected", truth.unexpected()),
    ] {
        if !events.is_empty() {
            broke(shown(what, &events));
        }
    }
    let counts_rows = check.counted == Counted::Physical || !truth.folds;
    let doubled = if check.moment == Moment::Final { truth.doubled().0 } else { Events::new() };
    if counts_rows && !doubled.is_empty() && check.was_doubled {
        broke(shown("are there more than once", &doubled));
    }
    found
}

fn check_lossy(truth: &Truth, check: &Check) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut broke = |broken, detail| found.push(Violation { broken, detail });
    let told = &check.told;
    let (lost, corrupted) = (truth.lost(), truth.corrupted());
    let unexpected = truth.unexpected();
    let doubled = truth.doubled();
    let counts_rows = check.counted == Counted::Physical || !truth.folds;
    let is_doubled = counts_rows && (!doubled.1.is_empty() || check.was_doubled);
    if lost.is_empty() && corrupted.is_empty() && unexpected.is_empty() && !is_doubled {
        broke(Broken::FalseLossy, format!("nothing is; it says {:?}", told.reasons));
    }
    let told_lost: Events = told.lost.values().flatten().copied().collect();
    let is_claimed = told.reasons.iter().any(|it| it.contains("not stored") && !is_doubt(it));
    let not_yet: Events = (&told_lost - &lost).into_iter().collect();
    let logged = &truth.dropped_before_stream | &truth.dropped_after_stream;
    let too_early: Events = &(&(&told_lost & &lost) & &logged) - &check.struck;
    if is_claimed && !not_yet.is_empty() {
        broke(Broken::FalseLossy, shown("are called lost and came", &not_yet));
    }
    if is_claimed && !too_early.is_empty() {
        broke(Broken::FalseLossy, shown("are called lost and were still on their way", &too_early));
    }
    if check.moment == Moment::Final {
        // What could still be in a buffer need not be told.
        let is_proven = !check.excuses.contains(&UNPROVEN);
        let must_be_lost = if is_proven { lost.clone() } else { Events::new() };
        for (what, told, must, may) in [
            ("lost", &told_lost, &must_be_lost, &lost),
            ("corrupted", &told.corrupted, &corrupted, &corrupted),
            ("unexpected", &told.unexpected, &unexpected, &unexpected),
        ] {
            found.extend(wrong_victims(what, told, must, may));
        }
        found.extend(wrong_victims("duplicated", &told.duplicated, &doubled.0, &doubled.1));
    } else {
        let early = [("corrupted", &told.corrupted, &truth.corrupted)];
        found.extend(
            early
                .into_iter()
                .filter_map(|(what, told, may)| wrong_victims(what, told, &Events::new(), may)),
        );
    }
    found
}

fn is_doubt(reason: &str) -> bool {
    reason.contains("as far as it was checked")
}

/// Checks that the report has all events that it must have, and no others than it may have.
fn wrong_victims(what: &str, told: &Events, must: &Events, may: &Events) -> Option<Violation> {
    let (missing, strange) = (must - told, told - may);
    let detail = match (missing.is_empty(), strange.is_empty()) {
        (true, true) => return None,
        (false, _) => shown(&format!("are {what} and not told"), &missing),
        (true, false) => shown(&format!("are told to be {what} and are not"), &strange),
    };
    Some(Violation { broken: Broken::WrongVictims, detail })
}

/// Checks that reported hops are right, whatever the verdict is.
fn check_hops(truth: &Truth, told: &Told) -> Vec<Violation> {
    let wrong = told.lost.iter().filter_map(|(cause, events)| {
        let wrong: Events =
            events.iter().filter(|event| !is_possible(truth, cause, event)).copied().collect();
        let words = format!("are told to be {cause} and are not");
        let detail = shown(&words, &wrong);
        (!wrong.is_empty()).then_some(Violation { broken: Broken::WrongHop, detail })
    });
    wrong.collect()
}

/// Whether an event can be lost for this cause.
fn is_possible(truth: &Truth, cause: &str, event: &Event) -> bool {
    let was_there = truth.was_in_stream(event);
    let is_dropped_after = truth.dropped_after_stream.contains(event);
    match cause {
        "never_in_stream" => !was_there && !truth.bulk.contains(event),
        "evicted" => was_there && truth.has_evicted && !is_dropped_after,
        "consumed_not_stored" => {
            was_there && (is_dropped_after || truth.lost_its_memory || truth.has_evicted)
        }
        // A message that waits for the consumer is in the stream, whatever happens to it later.
        "not_consumed" => was_there,
        "swallowed" | "elsewhere" | "folded" => false,
        _ => true,
    }
}

fn shown(what: &str, events: &Events) -> String {
    let first: Vec<String> = events.iter().take(3).map(|it| format!("{}/{}", it.0, it.1)).collect();
    format!("{} events {what}, like {}", events.len(), first.join(" "))
}

impl Broken {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FalseWhole => "false_whole",
            Self::FalseLossy => "false_lossy",
            Self::NeedlessUnknown => "needless_unknown",
            Self::NoVerdict => "no_verdict",
            Self::WrongVictims => "wrong_victims",
            Self::WrongHop => "wrong_hop",
            Self::SentTwice => "sent_twice",
            Self::RefusedAndStored => "refused_and_stored",
            Self::ExitCode => "exit_code",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.broken.as_str(), self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(seqs: impl IntoIterator<Item = u64>) -> Events {
        seqs.into_iter().map(|seq| (0, seq)).collect()
    }

    /// Ten events, all of them acknowledged and stored once.
    fn whole() -> Truth {
        let counts: BTreeMap<Event, u64> = (0..10).map(|seq| ((0, seq), 1)).collect();
        Truth {
            acknowledged: events(0..10),
            is_closed: true,
            rows: counts.clone(),
            in_stream: counts,
            folds: true,
            remembers: true,
            ..Truth::default()
        }
    }

    /// The same, without some events that a fault after the stream dropped.
    fn lossy(lost: &[u64]) -> Truth {
        let mut truth = whole();
        for seq in lost {
            truth.rows.remove(&(0, *seq));
            truth.dropped_after_stream.insert((0, *seq));
        }
        truth
    }

    fn told(verdict: &str, lost: &[(&str, &[u64])]) -> Check {
        let code = match verdict {
            "whole" => 0,
            "lossy" => 1,
            _ => 4,
        };
        let lost: BTreeMap<String, Events> = lost
            .iter()
            .map(|(cause, seqs)| ((*cause).to_owned(), events(seqs.iter().copied())))
            .collect();
        let is_lossy = !lost.is_empty();
        let reasons = if is_lossy { vec!["1 acknowledged events are not stored"] } else { vec![] };
        Check {
            moment: Moment::Final,
            counted: Counted::Logical,
            told: Told {
                code,
                verdict: Some(verdict.to_owned()),
                reasons: reasons.into_iter().map(str::to_owned).collect(),
                lost,
                ..Told::default()
            },
            excuses: Vec::new(),
            struck: events(0..10),
            stored: Events::new(),
            was_doubled: false,
        }
    }

    #[track_caller]
    fn check(truth: &Truth, check: &Check, expected: &[Broken]) {
        let found = violations(truth, check);
        let kinds: Vec<Broken> = found.iter().map(|it| it.broken).collect();
        assert_eq!(kinds, expected, "{found:?}");
    }

    const AFTER: &str = "consumed_not_stored";

    #[test]
    fn what_is_so_may_be_told() {
        check(&whole(), &told("whole", &[]), &[]);
        check(&lossy(&[3, 4]), &told("lossy", &[(AFTER, &[3, 4])]), &[]);
        check(&lossy(&[3, 4]), &told("lossy", &[("somewhere", &[3, 4])]), &[]);
    }

    #[test]
    fn a_whole_run_that_is_called_lossy_and_a_lossy_one_that_is_called_whole_are_false() {
        check(&lossy(&[3]), &told("whole", &[]), &[Broken::FalseWhole]);
        let nothing = [Broken::FalseLossy, Broken::FalseLossy, Broken::WrongVictims];
        check(&whole(), &told("lossy", &[("somewhere", &[3])]), &nothing);
        let open = Truth { is_closed: false, ..whole() };
        check(&open, &told("whole", &[]), &[Broken::FalseWhole]);
        let corrupted = Truth { corrupted: events([3]), ..whole() };
        check(&corrupted, &told("whole", &[]), &[Broken::FalseWhole]);
    }

    #[test]
    fn an_unknown_needs_an_excuse() {
        check(&whole(), &told("unknown", &[]), &[Broken::NeedlessUnknown]);
        check(
            &whole(),
            &Check { excuses: vec!["clickhouse was away"], ..told("unknown", &[]) },
            &[],
        );
        let mut silent = told("unknown", &[]);
        silent.told = Told { code: 3, ..Told::default() };
        check(&whole(), &silent, &[Broken::NoVerdict]);
        silent.told.reasons = vec!["x: NATS at nats://a does not answer; is it up?".to_owned()];
        check(&whole(), &silent, &[Broken::NoVerdict]);
        silent.excuses = vec!["ClickHouse was away"];
        check(&whole(), &silent, &[Broken::NoVerdict]);
        silent.excuses = vec!["NATS was away"];
        check(&whole(), &silent, &[]);
    }

    #[test]
    fn a_loss_that_could_still_come_is_no_loss_even_if_it_is_lost_later() {
        let early = Check {
            moment: Moment::Early,
            struck: events([3]),
            ..told("lossy", &[(AFTER, &[3, 4])])
        };
        check(&lossy(&[3, 4]), &early, &[Broken::FalseLossy]);
        check(&lossy(&[3]), &early, &[Broken::FalseLossy, Broken::WrongHop]);
        check(&lossy(&[3, 4]), &Check { struck: events([3, 4]), ..early }, &[]);
    }

    #[test]
    fn a_finding_names_exactly_the_events_that_were_hit() {
        check(&lossy(&[3, 4]), &told("lossy", &[(AFTER, &[3])]), &[Broken::WrongVictims]);
        let truth = Truth { corrupted: events([5]), ..lossy(&[3]) };
        check(&truth, &told("lossy", &[(AFTER, &[3])]), &[Broken::WrongVictims]);
        let mut both = told("lossy", &[(AFTER, &[3])]);
        both.told.corrupted = events([5]);
        check(&truth, &both, &[]);
        both.told.unexpected = events([7]);
        check(&truth, &both, &[Broken::WrongVictims]);
    }

    #[test]
    fn a_loss_that_cannot_be_proven_need_not_be_told_beside_what_is_proven() {
        let truth = Truth { corrupted: events([5]), ..lossy(&[3]) };
        let mut blind = told("lossy", &[]);
        blind.told.corrupted = events([5]);
        check(&truth, &blind, &[Broken::WrongVictims]);
        blind.excuses = vec![UNPROVEN];
        check(&truth, &blind, &[]);
        blind.told.lost.insert("somewhere".to_owned(), events([4]));
        check(&truth, &blind, &[Broken::WrongVictims]);
    }

    #[test]
    fn a_hop_is_where_it_was() {
        let before = |seq| {
            let mut truth = lossy(&[seq]);
            truth.dropped_before_stream = std::mem::take(&mut truth.dropped_after_stream);
            truth.in_stream.remove(&(0, seq));
            truth
        };
        check(&before(3), &told("lossy", &[("never_in_stream", &[3])]), &[]);
        check(&before(3), &told("lossy", &[(AFTER, &[3])]), &[Broken::WrongHop]);
        check(&lossy(&[3]), &told("lossy", &[("never_in_stream", &[3])]), &[Broken::WrongHop]);
        check(&lossy(&[3]), &told("lossy", &[("evicted", &[3])]), &[Broken::WrongHop]);
        check(&lossy(&[3]), &told("lossy", &[("folded", &[3])]), &[Broken::WrongHop]);
    }

    #[test]
    fn a_duplicate_counts_as_the_check_was_told_to() {
        let mut truth = whole();
        truth.rows.insert((0, 3), 2);
        let seen = |counted, verdict| Check { counted, was_doubled: true, ..told(verdict, &[]) };
        check(&truth, &seen(Counted::Logical, "whole"), &[]);
        check(&truth, &seen(Counted::Physical, "whole"), &[Broken::FalseWhole]);
        let mut named = seen(Counted::Physical, "lossy");
        check(&truth, &named, &[Broken::WrongVictims]);
        named.told.duplicated = events([3]);
        check(&truth, &named, &[]);
        check(&truth, &Check { counted: Counted::Logical, ..named }, &[Broken::FalseLossy]);
        let plain = Truth { folds: false, ..truth.clone() };
        check(&plain, &seen(Counted::Logical, "whole"), &[Broken::FalseWhole]);
        let bulk = Truth { bulk: events(0..10), ..truth };
        check(&bulk, &seen(Counted::Logical, "whole"), &[Broken::SentTwice]);
    }

    #[test]
    fn the_exit_code_says_what_the_report_says() {
        let mut check_of = told("whole", &[]);
        check_of.told.code = 1;
        check(&whole(), &check_of, &[Broken::ExitCode]);
    }
}
