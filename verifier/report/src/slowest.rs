//! The slowest queries of a run, and what they cost in ClickHouse, in words. Pure.

use std::fmt;

use runs::query_costs::{CostedQuery, StatementCost};
use runs::slow_queries::SlowQuery;

use crate::columns::{Left, Right, aligned};
use crate::figures::{as_f64, bytes, grouped, milliseconds, moment};
use crate::records::RunRecords;

/// The slowest queries of a run, the slowest first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SlowestView {
    /// What is not known of their costs, and why.
    pub(crate) notes: Vec<String>,
    pub(crate) rows: Vec<SlowRow>,
}

/// One page of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SlowRow {
    pub(crate) latency: String,
    /// What is special about it: that it failed, or waited for the generator.
    pub(crate) note: String,
    pub(crate) tone: &'static str,
    pub(crate) in_clickhouse: String,
    pub(crate) read_rows: String,
    pub(crate) read_bytes: String,
    pub(crate) memory: String,
    pub(crate) projections: String,
    pub(crate) kind: String,
    pub(crate) scope: String,
    pub(crate) filter: String,
    pub(crate) asked: String,
}

/// Puts the slowest queries into words; `None` if nobody has asked anything.
pub(crate) fn slowest(records: &RunRecords) -> Option<SlowestView> {
    let queries = records.queries.slowest.queries();
    if queries.is_empty() {
        return None;
    }
    let costs = records.costs.as_ref();
    let nobody_asked = || vec![NOT_LOOKED_UP.to_owned()];
    let row = |query| slow_row(query, costs.and_then(|costs| costs.of(query)));
    Some(SlowestView {
        notes: costs.map_or_else(nobody_asked, |costs| costs.notes.clone()),
        rows: queries.iter().map(row).collect(),
    })
}

const NOT_LOOKED_UP: &str =
    "the costs in ClickHouse are not known: `auditstorm-verifier reconcile` looks them up";

fn slow_row(query: &SlowQuery, costed: Option<&CostedQuery>) -> SlowRow {
    let costs = costed.map_or(&[][..], |it| &it.costs);
    let range = |of: fn(&StatementCost) -> u64, shown: &dyn Fn(u64) -> String| {
        let (least, most) = (costs.iter().map(of).min(), costs.iter().map(of).max());
        match (least, most) {
            (Some(least), Some(most)) if shown(least) == shown(most) => shown(most),
            (Some(least), Some(most)) => format!("{} to {}", shown(least), shown(most)),
            _ => "–".to_owned(),
        }
    };
    let sized = |count: u64| bytes(as_f64(count));
    let of = match costed.map_or(0, |it| it.statements) {
        0 | 1 => String::new(),
        several => format!(" (one of {several})"),
    };
    let time = range(|it| it.duration_ms, &|ms| milliseconds(as_f64(ms)));
    SlowRow {
        latency: milliseconds(query.latency_ms),
        note: note(query, costs),
        tone: if query.failure.is_some() { "bad" } else { "" },
        in_clickhouse: format!("{time}{of}"),
        read_rows: range(|it| it.read_rows, &grouped),
        read_bytes: range(|it| it.read_bytes, &sized),
        memory: range(|it| it.memory_bytes, &sized),
        projections: projections(costs),
        kind: format!("{}, page {}", query.kind, query.page),
        scope: query.asks("scope").to_owned(),
        filter: query.asks("filter").to_owned(),
        asked: moment(query.asked),
    }
}

fn note(query: &SlowQuery, costs: &[StatementCost]) -> String {
    let failed = query.failure.iter().map(|cause| format!("failed: {cause}"));
    let codes = costs.iter().filter_map(|it| it.error_code);
    let codes = codes.take(1).map(|code| format!("ClickHouse: code {code}"));
    let waited = (query.waited_ms >= WAITED_MS_MIN)
        .then(|| format!("waited {} before it was asked", milliseconds(query.waited_ms)));
    failed.chain(codes).chain(waited).collect::<Vec<_>>().join(", ")
}

/// Shorter waits are usual, and nothing to tell.
const WAITED_MS_MIN: f64 = 10.0;

fn projections(costs: &[StatementCost]) -> String {
    let mut names: Vec<String> = costs
        .iter()
        .map(|it| if it.projections.is_empty() { "none".into() } else { it.projections.join(", ") })
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "–".to_owned() } else { names.join(" or ") }
}

/// The slowest queries, as a table for a terminal.
#[derive(Debug, Clone, Copy)]
pub struct SlowestText<'r>(pub &'r RunRecords);

impl fmt::Display for SlowestText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(SlowestView { notes, rows }) = slowest(self.0) else { return Ok(()) };
        let heads = [
            ("latency", Right),
            ("in ClickHouse", Right),
            ("rows read", Right),
            ("bytes read", Right),
            ("memory", Right),
            ("projection", Left),
            ("kind", Left),
            ("scope", Left),
            ("filter", Left),
            ("", Left),
        ];
        let row = |it: SlowRow| {
            [
                it.latency,
                it.in_clickhouse,
                it.read_rows,
                it.read_bytes,
                it.memory,
                it.projections,
                it.kind,
                it.scope,
                it.filter,
                it.note,
            ]
        };
        let shown = rows.into_iter().take(SHOWN).map(row);
        writeln!(f, "\nslowest queries")?;
        aligned(heads, shown).lines().try_for_each(|line| writeln!(f, "  {line}"))?;
        notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}

/// Queries that a terminal shows. Pages show all.
const SHOWN: usize = 5;

#[cfg(test)]
pub(crate) mod tests {
    use events::event::MicroTime;
    use plans::queries::QueryScope;
    use runs::query_costs::{QUERY_COSTS_FORMAT, QueryCosts};
    use uuid::Uuid;

    use super::*;
    use crate::records::tests::records;

    fn slow(latency_ms: f64, failure: Option<&str>) -> SlowQuery {
        SlowQuery {
            asked: MicroTime(1_000_000),
            latency_ms,
            waited_ms: 1.0,
            kind: "deletions".to_owned(),
            scope: QueryScope::Tenant,
            question: serde_json::json!({ "scope": "Project/a|b", "filter": "verb == 'delete'" }),
            filter_sql: "verb = 'delete'".to_owned(),
            page: 1,
            after: None,
            failure: failure.map(str::to_owned),
            rows: 7,
            bytes: 100,
            query_id: None,
        }
    }

    fn cost(duration_ms: u64, projections: &[&str]) -> StatementCost {
        StatementCost {
            query_id: "q".to_owned(),
            started: MicroTime(1_000_100),
            duration_ms,
            read_rows: duration_ms * 1_000,
            read_bytes: 2_048,
            memory_bytes: 3 << 20,
            result_rows: 7,
            projections: projections.iter().map(|it| (*it).to_owned()).collect(),
            error_code: None,
        }
    }

    /// A run with a query that took long in ClickHouse, one that is one of two, and one that failed
    /// and is in no log.
    pub(crate) fn example_records() -> RunRecords {
        let all = [
            (slow(30_000.0, Some("timeout")), Vec::new()),
            (slow(1_234.0, None), vec![cost(1_200, &["audit.p"])]),
            (
                SlowQuery { page: 2, waited_ms: 400.0, ..slow(900.0, None) },
                vec![cost(12, &[]), cost(14, &["audit.p"])],
            ),
        ];
        // They are told apart by when they were asked.
        let all: Vec<_> = (0..)
            .zip(all)
            .map(|(n, (query, costs))| (SlowQuery { asked: MicroTime(n), ..query }, costs))
            .collect();
        let mut records = records(Vec::new(), &[], Vec::new());
        for (query, _) in &all {
            records.queries.slowest.add(std::slice::from_ref(query));
        }
        let costed = |(query, costs): (SlowQuery, Vec<StatementCost>)| CostedQuery {
            query,
            statements: costs.len() as u64,
            costs,
        };
        records.costs = Some(QueryCosts {
            format: QUERY_COSTS_FORMAT,
            tool_version: String::new(),
            run_id: Uuid::nil(),
            server: String::new(),
            read_at: MicroTime(0),
            notes: vec!["1 of 3 are not in the log".to_owned()],
            queries: all.into_iter().map(costed).collect(),
        });
        records
    }

    #[test]
    fn costs_stand_beside_latencies_and_what_is_not_sure_is_a_range() {
        let view = slowest(&example_records()).unwrap();
        let told = |row: &SlowRow| {
            [&row.latency, &row.in_clickhouse, &row.read_rows, &row.projections, &row.note]
                .map(String::as_str)
                .join(" | ")
        };
        let rows: Vec<String> = view.rows.iter().map(told).collect();
        let expected = [
            "30 s | – | – | – | failed: timeout",
            "1.23 s | 1.2 s | 1,200,000 | audit.p | ",
            "900 ms | 12 ms to 14 ms (one of 2) | 12,000 to 14,000 | audit.p or none | \
             waited 400 ms before it was asked",
        ];
        assert_eq!(rows, expected);
        assert_eq!(view.notes, ["1 of 3 are not in the log"]);
        let text = SlowestText(&example_records()).to_string();
        assert!(text.contains("\n  note: 1 of 3 are not in the log\n"), "{text}");
        assert!(text.contains("Project/a|b  verb == 'delete'  failed: timeout"), "{text}");
    }

    #[test]
    fn a_run_whose_costs_nobody_has_looked_up_says_so_and_one_without_queries_nothing() {
        let mut records = example_records();
        records.costs = None;
        let view = slowest(&records).unwrap();
        assert_eq!((view.rows.len(), &view.notes[..]), (3, &[NOT_LOOKED_UP.to_owned()][..]));
        let nothing = crate::records::tests::records(Vec::new(), &[], Vec::new());
        assert_eq!(slowest(&nothing), None);
        assert_eq!(SlowestText(&nothing).to_string(), "");
    }
}
