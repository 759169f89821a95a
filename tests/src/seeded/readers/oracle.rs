//! Compares what was found at a reader with the sandbox's record of its faults. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

/// A fault of the reader that must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Paging,
    Scope,
    Leak,
    /// The replica never catches up.
    Stale,
    Reorder,
}

impl Fault {
    pub const ALL: [Self; 5] = [Self::Paging, Self::Scope, Self::Leak, Self::Stale, Self::Reorder];

    /// Findings that a fault may have for its consequence, beside those of its victims.
    fn consequences(self) -> &'static [&'static str] {
        match self {
            // A page may begin above the end of the one before, or have nothing left to show.
            Self::Paging => &["repeated", "ended_early", "out_of_order"],
            Self::Stale => &["ended_early"],
            Self::Scope | Self::Leak | Self::Reorder => &[],
        }
    }

    /// Findings of these consequences on single pages, without a walk to the end.
    fn consequences_on_pages(self) -> &'static [&'static str] {
        match self {
            Self::Paging => &["repeated", "out_of_order", "vanished"],
            _ => &[],
        }
    }
}

/// A scope, and an event that is asked for with it.
pub type Shown = (String, String);

/// Whom faults have hit, or whom somebody says that they have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Victims {
    pub leaked: BTreeSet<Shown>,
    pub unreachable: BTreeSet<Shown>,
    /// The event that comes too late, and the older one before it.
    pub exchanged: BTreeSet<(Shown, String)>,
    /// Scopes that nobody has, and that were shown events.
    pub strangers: BTreeSet<String>,
    /// Events that a page did not show though they were stored: those that paging left out, and
    /// those that were too new for a replica, even if it was late only for a moment.
    pub hidden: BTreeSet<Shown>,
    /// Events that the table has more than once. A page shows them again, and nobody asks then
    /// where they stand. That harms nobody.
    pub doubled: BTreeSet<String>,
}

/// The result of a readback.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The verdict; `none` if there is no result.
    pub verdict: String,
    pub kinds: BTreeSet<String>,
    pub victims: Victims,
    /// How many events must be readable, as the readback says.
    pub stored: u64,
    /// Events that were shown again.
    pub repeated: BTreeSet<String>,
    /// Whether another part than the right one is blamed.
    pub has_wrong_blame: bool,
}

/// When a run is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The table has events that are asked for.
    Stored,
    /// It has none of them yet. Some may come before the readback itself looks.
    TooEarly,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Victims {
    /// Reads lines of the sandbox's record. A replica that is late for a moment only hides events.
    pub fn of_record(lines: &[Value], faults: &[Fault]) -> Self {
        let mut victims = Self::default();
        for line in lines.iter().filter(|line| line["at"] == "query-api") {
            let shown = (text(&line["scope"]), text(&line["auditID"]));
            if line["fault"] == "paging" || line["fault"] == "stale" {
                victims.hidden.insert(shown.clone());
            }
            match line["fault"].as_str().unwrap_or_default() {
                "leak" => drop(victims.leaked.insert(shown)),
                "paging" => drop(victims.unreachable.insert(shown)),
                "stale" if faults.contains(&Fault::Stale) => {
                    victims.unreachable.insert(shown);
                }
                "reorder" => drop(victims.exchanged.insert((shown, text(&line["with"])))),
                "scope" => drop(victims.strangers.insert(shown.0)),
                _ => {}
            }
        }
        victims
    }

    /// Whether the event of a pair that comes too late may be one that is shown again.
    fn is_doubled(&self, ((_, late), _): &(Shown, String)) -> bool {
        self.doubled.contains(late)
    }

    /// Whether nobody was harmed whom a readback must tell of.
    pub fn is_empty(&self) -> bool {
        let Self { leaked, unreachable, exchanged, strangers, hidden: _, doubled: _ } = self;
        leaked.is_empty() && unreachable.is_empty() && exchanged.is_empty() && strangers.is_empty()
    }

    /// The kinds of findings that name these victims.
    fn kinds(&self) -> BTreeSet<&'static str> {
        let kinds = [
            (!self.leaked.is_empty(), "leaked"),
            (!self.unreachable.is_empty(), "unreachable"),
            (!self.exchanged.is_empty(), "out_of_order"),
            (!self.strangers.is_empty(), "scope_ignored"),
        ];
        kinds.into_iter().filter(|(is_there, _)| *is_there).map(|(_, kind)| kind).collect()
    }
}

impl Found {
    /// Reads `readback.json`.
    pub fn of(result: &Value, faults: &[Fault]) -> Self {
        let stored = result["totals"]["stored"].as_u64().unwrap_or_default();
        let mut found = Self { verdict: text(&result["verdict"]), stored, ..Self::default() };
        let by = if faults.contains(&Fault::Stale) { "reader" } else { "paging" };
        for finding in result["findings"].as_array().into_iter().flatten() {
            let kind = text(&finding["fault"]);
            let shown = (text(&finding["scope"]), text(&finding["audit_id"]));
            match kind.as_str() {
                "leaked" => drop(found.victims.leaked.insert(shown)),
                "unreachable" => {
                    found.has_wrong_blame |= finding["blame"] != by;
                    found.victims.unreachable.insert(shown);
                }
                "out_of_order" => {
                    found.victims.exchanged.insert((shown, text(&finding["beside"])));
                }
                "scope_ignored" => drop(found.victims.strangers.insert(shown.0)),
                "repeated" => drop(found.repeated.insert(shown.1)),
                _ => {}
            }
            found.kinds.insert(kind);
        }
        found
    }
}

/// What is false about a readback. Each begins with its kind.
pub fn violations(faults: &[Fault], when: When, record: &Victims, found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    // Of an empty table, nothing is proven: no scope is shown anything, rightly or wrongly.
    let is_nothing_there = when == When::TooEarly && found.stored == 0;
    if is_nothing_there && found.verdict == "unknown" && found.kinds.is_empty() {
        return wrong;
    }
    let due = record.kinds();
    let verdict = if due.is_empty() { "whole" } else { "lossy" };
    let consequences: BTreeSet<&str> =
        faults.iter().flat_map(|fault| fault.consequences()).copied().collect();
    // Pages that only show events again are a fault too.
    let may_be_lossy = found.kinds.iter().any(|kind| consequences.contains(kind.as_str()));
    if found.verdict != verdict && !(found.verdict == "lossy" && may_be_lossy) {
        wrong.push(format!("false_verdict: {} instead of {verdict}", found.verdict));
    }
    for kind in found.kinds.iter().map(String::as_str) {
        if !due.contains(kind) && !consequences.contains(kind) {
            wrong.push(format!("false_kind: {kind}"));
        }
    }
    let of = &found.victims;
    compare("leaked", &record.leaked, &of.leaked, &mut wrong);
    compare("unreachable", &record.unreachable, &of.unreachable, &mut wrong);
    compare("scope_ignored", &record.strangers, &of.strangers, &mut wrong);
    let (mut due, mut exchanged) = (record.exchanged.clone(), of.exchanged.clone());
    if consequences.contains("out_of_order") {
        // Of events that are shown again, nobody asks where they stand; and an event that a page
        // left out may come on a later one.
        let is_again = |((_, one), other): &(Shown, String)| {
            found.repeated.contains(one) || found.repeated.contains(other)
        };
        due.retain(|pair| exchanged.contains(pair) || !is_again(pair));
        exchanged.retain(|pair| due.contains(pair));
    }
    due.retain(|pair| exchanged.contains(pair) || !record.is_doubled(pair));
    compare("out_of_order", &due, &exchanged, &mut wrong);
    if found.has_wrong_blame {
        wrong.push("false_blame: for events that are not readable".to_owned());
    }
    wrong
}

/// Tells victims that were not found, and findings without a victim.
fn compare<T: Ord + std::fmt::Debug>(
    kind: &str,
    due: &BTreeSet<T>,
    found: &BTreeSet<T>,
    wrong: &mut Vec<String>,
) {
    let missed: Vec<&T> = due.difference(found).collect();
    let made_up: Vec<&T> = found.difference(due).collect();
    for (what, rest) in [("missed", missed), ("made_up", made_up)] {
        if let Some(first) = rest.first() {
            wrong.push(format!("{what}_{kind}: {} of {}, as {first:?}", rest.len(), due.len()));
        }
    }
}

/// What is false about the answers that were called wrong while events were written. Of harm that
/// was written down, not all need have come to anybody, unless all answers have come (`is_exact`).
pub fn load_violations(
    faults: &[Fault],
    record: &Victims,
    wrong_answers: &[Value],
    is_exact: bool,
) -> Vec<String> {
    let mut kinds = BTreeSet::new();
    let (mut leaked, mut exchanged) = (BTreeSet::new(), BTreeSet::new());
    let mut overlooked = BTreeSet::new();
    for answer in wrong_answers {
        kinds.extend(answer["faults"].as_object().into_iter().flatten().map(|(kind, _)| kind));
        let scope = text(&answer["question"]["scope"]);
        for event in answer["events"].as_array().into_iter().flatten() {
            let id = text(&event["audit_id"]);
            match event["fault"].as_str().unwrap_or_default() {
                "leaked" => drop(leaked.insert((scope.clone(), id))),
                "overlooked" => drop(overlooked.insert((scope.clone(), id))),
                "out_of_order" => {
                    exchanged.insert(((scope.clone(), id), text(&event["beside"])));
                }
                _ => {}
            }
        }
    }
    let mut wrong = Vec::new();
    let consequences: BTreeSet<&str> =
        faults.iter().flat_map(|fault| fault.consequences_on_pages()).copied().collect();
    for kind in kinds {
        let is_due = match kind.as_str() {
            "leaked" => faults.contains(&Fault::Leak),
            "out_of_order" => faults.contains(&Fault::Reorder),
            "overlooked" => !record.hidden.is_empty(),
            _ => false,
        };
        if !is_due && !consequences.contains(kind.as_str()) {
            wrong.push(format!("false_wrong: an answer is called {kind}"));
        }
    }
    let mut told = |kind: &str, due: &dyn std::fmt::Debug, is_so: bool| {
        if !is_so {
            wrong.push(format!("wrong_{kind}: not those of the record, {due:?}"));
        }
    };
    let missed: Vec<_> = record.leaked.difference(&leaked).take(3).collect();
    let made_up: Vec<_> = leaked.difference(&record.leaked).take(3).collect();
    told("leaked", &(&missed, &made_up), made_up.is_empty() && (missed.is_empty() || !is_exact));
    let made_up: Vec<_> = overlooked.difference(&record.hidden).take(3).collect();
    told("overlooked", &made_up, made_up.is_empty());
    if !consequences.contains("out_of_order") {
        let missed = record.exchanged.difference(&exchanged);
        let missed: Vec<_> = missed.filter(|pair| !record.is_doubled(pair)).take(3).collect();
        let made_up: Vec<_> = exchanged.difference(&record.exchanged).take(3).collect();
        let is_so = made_up.is_empty() && (missed.is_empty() || !is_exact);
        told("out_of_order", &(&missed, &made_up), is_so);
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Vec<Value> {
        let line = |fault: &str, id: &str| {
            json!({"fault": fault, "at": "query-api", "scope": "Project/a", "auditID": id,
                   "with": "older"})
        };
        vec![
            line("leak", "stranger"),
            line("paging", "gone"),
            line("reorder", "newer"),
            line("stale", "young"),
            json!({"fault": "scope", "at": "query-api", "request": "r", "scope": "Nowhere/x"}),
            json!({"fault": "error", "at": "query-api", "request": "r"}),
            json!({"fault": "drop", "at": "sidecar", "auditID": "dropped"}),
        ]
    }

    fn findings() -> Vec<Value> {
        let of = |fault: &str, id: &str| {
            json!({"fault": fault, "scope": "Project/a", "audit_id": id, "beside": "older",
                   "blame": "paging"})
        };
        vec![
            of("leaked", "stranger"),
            of("unreachable", "gone"),
            of("out_of_order", "newer"),
            json!({"fault": "scope_ignored", "scope": "Nowhere/x"}),
        ]
    }

    const FAULTS: [Fault; 4] = [Fault::Leak, Fault::Paging, Fault::Reorder, Fault::Scope];

    fn told(faults: &[Fault], findings: &[Value], verdict: &str) -> Vec<String> {
        let result = json!({"verdict": verdict, "findings": findings});
        let record = Victims::of_record(&record(), faults);
        let told = violations(faults, When::Stored, &record, &Found::of(&result, faults));
        told.iter().map(|it| it.split(':').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn exactly_the_victims_are_due() {
        assert_eq!(told(&FAULTS, &findings(), "lossy"), [""; 0]);
        assert_eq!(told(&FAULTS, &findings(), "whole"), ["false_verdict"]);
        let missed = ["missed_leaked", "missed_unreachable", "missed_scope_ignored"];
        for (at, missed) in
            [(0, missed[0]), (1, missed[1]), (2, "missed_out_of_order"), (3, missed[2])]
        {
            let mut findings = findings();
            let kind = findings.remove(at);
            assert_eq!(told(&FAULTS, &findings, "lossy"), [missed], "{kind}");
        }
        let mut more = findings();
        more.push(json!({"fault": "leaked", "scope": "Project/b", "audit_id": "stranger"}));
        assert_eq!(told(&FAULTS, &more, "lossy"), ["made_up_leaked"]);
        let mut other = findings();
        other.push(json!({"fault": "changed", "scope": "Project/a", "audit_id": "x"}));
        assert_eq!(told(&FAULTS, &other, "lossy"), ["false_kind"]);
        let mut blamed = findings();
        blamed[1]["blame"] = "reader".into();
        assert_eq!(told(&FAULTS, &blamed, "lossy"), ["false_blame"]);
    }

    #[test]
    fn without_a_victim_only_whole_is_right() {
        let whole = Found { verdict: "whole".to_owned(), ..Found::default() };
        assert_eq!(violations(&[], When::Stored, &Victims::default(), &whole), [""; 0]);
        for verdict in ["lossy", "unknown", "none"] {
            let found = Found { verdict: verdict.to_owned(), ..whole.clone() };
            let told = violations(&[Fault::Leak], When::Stored, &Victims::default(), &found);
            assert_eq!(told.len(), 1);
        }
        // The record of a replica that was late for a moment.
        assert!(!Victims::of_record(&record(), &FAULTS).unreachable.is_empty());
        let late = Victims::of_record(&record()[3..4], &[]);
        assert_eq!((late.hidden.len(), late.kinds().len()), (1, 0));
    }

    #[test]
    fn of_an_event_that_the_table_has_twice_nobody_asks_where_it_stands() {
        let mut record = Victims::of_record(&record()[2..3], &[Fault::Reorder]);
        let pair = record.exchanged.first().unwrap().clone();
        let found = |exchanged: &[(Shown, String)]| Found {
            verdict: "lossy".to_owned(),
            kinds: BTreeSet::from(["out_of_order".to_owned()]),
            victims: Victims {
                exchanged: exchanged.iter().cloned().collect(),
                ..Victims::default()
            },
            ..Found::default()
        };
        let told = |record: &Victims, exchanged: &[(Shown, String)]| {
            violations(&[Fault::Reorder], When::Stored, record, &found(exchanged)).len()
        };
        let load = |record: &Victims| load_violations(&[Fault::Reorder], record, &[], true).len();
        assert_eq!((told(&record, &[]), load(&record)), (1, 1));
        record.doubled.insert("older".to_owned());
        assert_eq!((told(&record, &[]), load(&record)), (1, 1));
        record.doubled.insert("newer".to_owned());
        assert_eq!((told(&record, &[]), load(&record)), (0, 0));
        assert_eq!(told(&record, &[pair]), 0);
    }

    #[test]
    fn before_anything_is_stored_unknown_is_right_too() {
        let check = |when, stored, verdict: &str, mistakes| {
            let result = json!({"verdict": verdict, "totals": {"stored": stored}});
            // The one page that a stranger was shown was empty.
            let record = Victims::of_record(&record()[4..5], &[Fault::Scope]);
            for (faults, record) in [(&[][..], Victims::default()), (&[Fault::Scope], record)] {
                let found = Found::of(&result, faults);
                let told = violations(faults, when, &record, &found);
                assert_eq!(!told.is_empty(), mistakes, "{when:?} {stored} {verdict}: {told:?}");
            }
        };
        check(When::TooEarly, 0, "unknown", false);
        check(When::TooEarly, 0, "lossy", true);
        check(When::TooEarly, 0, "none", true);
        check(When::TooEarly, 7, "unknown", true);
        check(When::Stored, 0, "unknown", true);
        check(When::Stored, 7, "unknown", true);
        // Events may have come just before the readback looked.
        let whole = Found { verdict: "whole".to_owned(), stored: 7, ..Found::default() };
        assert_eq!(violations(&[], When::TooEarly, &Victims::default(), &whole), [""; 0]);
    }

    #[test]
    fn an_answer_must_be_called_wrong_for_its_fault_alone() {
        let answer = |kind: &str, id: &str| {
            json!({"faults": {kind: 1}, "question": {"scope": "Project/a"},
                   "events": [{"fault": kind, "audit_id": id, "beside": "older"}]})
        };
        let record = Victims::of_record(&record(), &FAULTS);
        let faults = [Fault::Leak, Fault::Reorder];
        let check = |faults: &[Fault], answers: &[Value], is_exact, expected: &[&str]| {
            let told = load_violations(faults, &record, answers, is_exact);
            let told: Vec<&str> = told.iter().map(|it| it.split(':').next().unwrap()).collect();
            assert_eq!(told, expected, "{answers:?}");
        };
        let both = [answer("leaked", "stranger"), answer("out_of_order", "newer")];
        check(&faults, &both, true, &[]);
        check(&faults, &both[..1], true, &["wrong_out_of_order"]);
        check(&faults, &both[..1], false, &[]);
        check(&faults, &[answer("leaked", "own")], false, &["wrong_leaked"]);
        check(&[Fault::Leak], &both, true, &["false_wrong"]);
        check(&faults, &[answer("vanished", "x")], false, &["false_wrong"]);
        check(&[Fault::Paging], &[answer("vanished", "x")], false, &[]);
        for (hidden, told) in [("gone", &[][..]), ("young", &[]), ("other", &["wrong_overlooked"])]
        {
            check(&[Fault::Paging], &[answer("overlooked", hidden)], false, told);
        }
    }
}
