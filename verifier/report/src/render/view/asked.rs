//! What was asked beside the events, and what the answers were worth.

use std::collections::BTreeMap;

use plans::queries::QueryScope;
use runs::queries::{KindSummary, QueryCounts, WrongAnswer};

use crate::figures::{counted, grouped, milliseconds, moment};
use crate::records::RunRecords;

/// The section about queries.
#[derive(Debug)]
pub(crate) struct AskedView {
    pub(crate) tone: &'static str,
    pub(crate) outcome: String,
    pub(crate) sentence: String,
    /// What else is to be known: that latencies are void, say.
    pub(crate) notes: Vec<String>,
    pub(crate) rows: Vec<AskedRow>,
    /// The first wrong answer that was written down, a fact a line.
    pub(crate) first_wrong: Vec<(&'static str, String)>,
}

/// Queries of one scope, or of one kind.
#[derive(Debug)]
pub(crate) struct AskedRow {
    pub(crate) name: String,
    pub(crate) is_scope: bool,
    /// Asked, answered, failed, wrong.
    pub(crate) counts: [String; 4],
    pub(crate) tone: &'static str,
    /// Median, p95, p99 and the longest; empty if no page came.
    pub(crate) latencies: [String; 4],
}

/// Puts the queries of a run into words; `None` if nobody has asked anything.
pub(super) fn asked(records: &RunRecords) -> Option<AskedView> {
    let counts = records.queries.counts;
    if counts.asked == 0 {
        return None;
    }
    let summaries = records.summaries.iter().filter_map(|summary| summary.queries.as_ref());
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    for summary in summaries.clone() {
        for (fault, count) in &summary.faults {
            *faults.entry(fault.as_str()).or_default() += count;
        }
    }
    let given_up = counts.asked.saturating_sub(counts.answered + counts.failed);
    let mut notes = Vec::new();
    let mut note = |is_so: bool, text: String| notes.extend(is_so.then_some(text));
    let failures = records.queries.failures.iter().map(|(cause, count)| (cause.as_str(), count));
    note(counts.failed > 0, format!("failed: {}", listed(failures)));
    note(given_up > 0, format!("{} ended with the run", queries(given_up)));
    note(!faults.is_empty(), format!("wrong: {}", listed(faults.iter().map(|it| (*it.0, it.1)))));
    note(records.queries.saturated, LATE.to_owned());
    let is_all = records.queries.ended == records.shards;
    note(!is_all, "not all generators have ended in order: scopes and kinds are left out".into());
    let kinds = summaries.filter(|_| is_all);
    Some(AskedView {
        tone: if counts.wrong > 0 { "bad" } else { "good" },
        outcome: match counts.wrong {
            0 => "nothing wrong".to_owned(),
            wrong => format!("{} wrong", grouped(wrong)),
        },
        sentence: sentence(&counts),
        notes,
        rows: rows(kinds.flat_map(|summary| &summary.kinds), records),
        first_wrong: records.wrong_answers.first().map(first_wrong).unwrap_or_default(),
    })
}

const LATE: &str = "the generator was late, so the latencies are its own, too";

fn sentence(counts: &QueryCounts) -> String {
    let QueryCounts { asked, answered, pages, rows, compared, .. } = *counts;
    format!(
        "{} asked, {} answered: {} with {}. All were checked, {} of them also for what must be \
         there.",
        queries(asked),
        grouped(answered),
        counted(pages, "page"),
        counted(rows, "event"),
        grouped(compared),
    )
}

fn queries(count: u64) -> String {
    if count == 1 { "1 query".to_owned() } else { format!("{} queries", grouped(count)) }
}

/// Like `timeout 3, 503 1`.
fn listed<'c>(counts: impl Iterator<Item = (&'c str, &'c u64)>) -> String {
    let all: Vec<_> = counts.map(|(name, count)| format!("{name} {}", grouped(*count))).collect();
    all.join(", ")
}

/// The scopes, and after each its kinds. Latencies of scopes are exact, of all shards together;
/// those of kinds are there if one shard alone has asked.
fn rows<'k>(kinds: impl Iterator<Item = &'k KindSummary>, records: &RunRecords) -> Vec<AskedRow> {
    let mut of_scope: BTreeMap<QueryScope, BTreeMap<&str, Vec<&KindSummary>>> = BTreeMap::new();
    for kind in kinds {
        of_scope.entry(kind.scope).or_default().entry(&kind.name).or_default().push(kind);
    }
    let row = |name: &str, is_scope, counts: QueryCounts, latencies: Option<[f64; 4]>| {
        let QueryCounts { asked, answered, failed, wrong, .. } = counts;
        AskedRow {
            name: name.to_owned(),
            is_scope,
            counts: [asked, answered, failed, wrong].map(grouped),
            tone: if wrong > 0 { "bad" } else { "" },
            latencies: latencies.map_or_else(Default::default, |it| it.map(milliseconds)),
        }
    };
    let sum = |parts: &mut dyn Iterator<Item = &&KindSummary>| {
        let mut all = QueryCounts::default();
        parts.for_each(|kind| all.add(&kind.counts));
        all
    };
    let mut rows = Vec::new();
    for (scope, kinds) in of_scope {
        let counts = sum(&mut kinds.values().flatten());
        let latencies = records.queries.latencies.get(&scope).filter(|it| !it.is_empty());
        let latencies = latencies.map(|it| {
            let at = |quantile| it.value_at_quantile(quantile);
            [at(0.5), at(0.95), at(0.99), it.max()].map(|us| crate::figures::as_f64(us) / 1_000.0)
        });
        rows.push(row(scope.name(), true, counts, latencies));
        for (name, parts) in kinds {
            let latencies = match parts[..] {
                [KindSummary { latency, counts, .. }] if counts.pages > 0 => {
                    Some([latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms])
                }
                _ => None,
            };
            rows.push(row(name, false, sum(&mut parts.iter()), latencies));
        }
    }
    rows
}

fn first_wrong(wrong: &WrongAnswer) -> Vec<(&'static str, String)> {
    let ids = wrong.events.iter().take(IDS_SHOWN).map(|event| match event.audit_id {
        Some(id) => format!("{} {id}", event.fault),
        None => event.fault.clone(),
    });
    let faults = wrong.faults.iter().map(|(fault, count)| (fault.as_str(), count));
    vec![
        ("asked", format!("{}, page {}", wrong.kind, wrong.page)),
        ("answered at", moment(wrong.at)),
        ("question", wrong.question.to_string()),
        ("wrong", listed(faults)),
        ("events", ids.collect::<Vec<_>>().join(", ")),
    ]
}

/// Events of the first wrong answer that are shown; its record has more.
const IDS_SHOWN: usize = 5;

#[cfg(test)]
pub(crate) mod tests {
    use events::event::MicroTime;
    use runs::queries::{
        QueryEnd, QueryHistograms, QueryKind, QuerySecond, QuerySummary, QueryTally, WrongEvent,
    };
    use uuid::Uuid;

    use super::*;

    /// Adds queries to a run: three of a tenant, of which one is wrong, and a failed one.
    pub(crate) fn add_queries(records: &mut RunRecords, lateness_us: i64) {
        let kind = |name: &str, scope| QueryKind { name: name.to_owned(), scope };
        let kinds = [kind("by-user", QueryScope::Tenant), kind("pods", QueryScope::Platform)];
        let mut tally = QueryTally::new(2);
        for (kind, took_us, is_wrong) in [(0, 10_000, false), (0, 20_000, true), (0, 0, false)] {
            tally.begin(kind, lateness_us);
            tally.page(kind, 1_000, 100, took_us);
            tally.end(kind, QueryEnd { is_answered: true, is_wrong, is_compared: is_wrong });
        }
        tally.begin(1, 0);
        tally.end(1, QueryEnd { is_answered: false, is_wrong: false, is_compared: false });
        tally.failures.insert("timeout".to_owned(), 1);
        tally.faults.insert("leaked".to_owned(), 1);
        for at in 1..=60 {
            let tally = if at == 30 { tally.clone() } else { QueryTally::new(2) };
            let second = QuerySecond::new(at * 1_000_000, &tally, &kinds);
            records.queries.add(&(serde_json::to_string(&second).unwrap() + "\n")).unwrap();
        }
        let last = QueryHistograms::new(&tally, &kinds, 1_000);
        records.queries.add(&serde_json::to_string(&last).unwrap()).unwrap();
        let summary = QuerySummary::new("http://api".to_owned(), &tally, &kinds, 1_000);
        records.summaries[0].queries = Some(summary);
        records.wrong_answers = vec![WrongAnswer {
            at: MicroTime(0),
            kind: "by-user".to_owned(),
            scope: QueryScope::Tenant,
            question: serde_json::json!({ "scope": "Project/<a>" }),
            page: 1,
            faults: BTreeMap::from([("leaked".to_owned(), 1)]),
            events: vec![WrongEvent {
                fault: "leaked".to_owned(),
                audit_id: Some(Uuid::from_u128(5)),
                beside: None,
            }],
            expected: Vec::new(),
            got: Vec::new(),
            got_count: 7,
        }];
    }

    #[test]
    fn queries_are_told_by_scope_and_kind_and_the_first_wrong_answer_with_its_question() {
        let mut records = crate::versus::side::tests::side(|_| (10, 5.0)).records;
        assert!(asked(&records).is_none());
        add_queries(&mut records, 0);
        let view = asked(&records).unwrap();
        assert_eq!((view.outcome.as_str(), view.tone), ("1 wrong", "bad"));
        assert!(view.sentence.starts_with("4 queries asked, 3 answered: 3 pages with 3,000 "));
        assert_eq!(view.notes, ["failed: timeout 1", "wrong: leaked 1"]);
        let told = |row: &AskedRow| format!("{} {}", row.name, row.counts.join(" "));
        let rows: Vec<String> = view.rows.iter().map(told).collect();
        assert_eq!(rows, ["tenant 3 3 0 1", "by-user 3 3 0 1", "platform 1 0 1 0", "pods 1 0 1 0"]);
        assert_eq!(view.rows[0].latencies[3], "20 ms");
        assert_eq!(view.rows[3].latencies, <[String; 4]>::default());
        assert!(view.first_wrong.iter().any(|(_, text)| text.contains("leaked 00000000")));
    }

    #[test]
    fn a_late_generator_and_a_killed_one_are_told() {
        let mut records = crate::versus::side::tests::side(|_| (10, 5.0)).records;
        add_queries(&mut records, 9_000);
        let notes = asked(&records).unwrap().notes;
        assert!(notes.iter().any(|note| note == LATE), "{notes:?}");
        records.shards = 2;
        let view = asked(&records).unwrap();
        assert!(view.rows.is_empty(), "{:?}", view.rows);
        assert!(view.notes.last().unwrap().starts_with("not all generators"), "{:?}", view.notes);
    }
}
