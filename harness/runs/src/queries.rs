//! What a run's queries were and how they ended: counts of a lane, records of seconds, a summary.
//!
//! They have files of their own: a query has other outcomes than an event.

use std::collections::BTreeMap;
use std::fmt;

use edges::clock::milliseconds;
use edges::errors::ErrorCounts;
use events::event::MicroTime;
use events::timeline::UnixMicros;
use hdrhistogram::Histogram;
use plans::queries::QueryScope;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::latency::{Percentiles, decoded, empty, encoded, percentiles, record};
use crate::slow_queries::{SlowQuery, Slowest};

/// What a kind of question is called, and whose events it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryKind {
    pub name: String,
    pub scope: QueryScope,
}

/// Counts of queries, over a stretch of time. A query is a question with all the pages of its
/// answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryCounts {
    /// Queries that were begun.
    pub asked: u64,
    /// Those of which all pages came.
    pub answered: u64,
    /// Those of which a page did not come.
    pub failed: u64,
    /// Those in which something is wrong, in the pages that came.
    pub wrong: u64,
    /// Pages that came.
    pub pages: u64,
    /// Events in them.
    pub rows: u64,
    /// Bytes of the answers.
    pub bytes: u64,
    /// Those that were searched for what must be there: what the same user saw before, and what a
    /// check of an earlier run saw in the table.
    pub compared: u64,
    /// Those of them that were searched, too, for what the table had before they were asked.
    #[serde(default)]
    pub witnessed: u64,
}

/// How a query ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryEnd {
    /// All its pages came.
    pub is_answered: bool,
    /// Something is wrong in those that came.
    pub is_wrong: bool,
    /// They were searched for what must be there.
    pub is_compared: bool,
}

impl QueryCounts {
    pub fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.answered += other.answered;
        self.failed += other.failed;
        self.wrong += other.wrong;
        self.pages += other.pages;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.compared += other.compared;
        self.witnessed += other.witnessed;
    }
}

/// Counts of one kind of question.
#[derive(Debug, Clone)]
pub struct KindTally {
    pub counts: QueryCounts,
    /// From when a page was to be asked for to its answer, in µs.
    pub latency: Histogram<u64>,
}

/// Counts of all kinds of questions, of a lane or of all, over a stretch of time.
#[derive(Debug, Clone)]
pub struct QueryTally {
    /// By the index of the kind.
    pub kinds: Vec<KindTally>,
    /// Failed queries by cause.
    pub failures: BTreeMap<String, u64>,
    /// Wrong pages by what is wrong. A page may have several faults.
    pub faults: BTreeMap<String, u64>,
    /// Why queries failed, in words.
    pub errors: ErrorCounts,
    /// Queries that were begun and have not ended.
    pub in_flight: u64,
    /// The longest that a query waited for the generator itself, in µs.
    pub lateness_max_us: i64,
    /// Wrong answers, at most [`WRONG_ANSWERS_MAX`]. Sums have none.
    pub wrong_answers: Vec<WrongAnswer>,
    /// The slowest pages.
    pub slowest: Slowest,
}

impl KindTally {
    fn new() -> Self {
        Self { counts: QueryCounts::default(), latency: empty() }
    }

    fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.latency.add(&other.latency).expect("it grows as far as an hour");
    }

    /// Adds up counts and latencies.
    pub fn sum<'t>(tallies: impl IntoIterator<Item = &'t Self>) -> Self {
        let mut sum = Self::new();
        tallies.into_iter().for_each(|tally| sum.add(tally));
        sum
    }
}

impl QueryTally {
    /// Starts with nothing counted.
    pub fn new(kinds: usize) -> Self {
        Self::with_kinds(vec![KindTally::new(); kinds])
    }

    fn with_kinds(kinds: Vec<KindTally>) -> Self {
        Self {
            kinds,
            failures: BTreeMap::new(),
            faults: BTreeMap::new(),
            errors: ErrorCounts::default(),
            in_flight: 0,
            lateness_max_us: 0,
            wrong_answers: Vec::new(),
            slowest: Slowest::of_second(),
        }
    }

    /// Counts a query that is begun.
    pub fn begin(&mut self, kind: usize, late_us: i64) {
        self.kinds[kind].counts.asked += 1;
        self.in_flight += 1;
        self.lateness_max_us = self.lateness_max_us.max(late_us);
    }

    /// Counts a page that came.
    pub fn page(&mut self, kind: usize, rows: u64, bytes: u64, took_us: i64) {
        let KindTally { counts, latency } = &mut self.kinds[kind];
        counts.pages += 1;
        counts.rows += rows;
        counts.bytes += bytes;
        record(latency, took_us);
    }

    /// Counts a query whose pages were searched for what the table had before.
    pub fn witness(&mut self, kind: usize) {
        self.kinds[kind].counts.witnessed += 1;
    }

    /// Counts how a query ended.
    pub fn end(&mut self, kind: usize, end: QueryEnd) {
        self.in_flight -= 1;
        let counts = &mut self.kinds[kind].counts;
        counts.answered += u64::from(end.is_answered);
        counts.failed += u64::from(!end.is_answered);
        counts.wrong += u64::from(end.is_wrong);
        counts.compared += u64::from(end.is_compared);
    }

    pub fn add(&mut self, other: &Self) {
        for (sum, kind) in self.kinds.iter_mut().zip(&other.kinds) {
            sum.add(kind);
        }
        for (sums, counts) in
            [(&mut self.failures, &other.failures), (&mut self.faults, &other.faults)]
        {
            for (name, count) in counts {
                *sums.entry(name.clone()).or_default() += count;
            }
        }
        self.errors.add(&other.errors);
        self.in_flight += other.in_flight;
        self.lateness_max_us = self.lateness_max_us.max(other.lateness_max_us);
        self.slowest.add(other.slowest.queries());
    }

    /// Starts a new stretch of time. What is in flight goes on.
    pub fn restart(&mut self) {
        let mut kinds = std::mem::take(&mut self.kinds);
        for kind in &mut kinds {
            kind.counts = QueryCounts::default();
            kind.latency.reset();
        }
        *self = Self { in_flight: self.in_flight, ..Self::with_kinds(kinds) };
    }

    /// Whether a query waited for the generator itself for longer than is allowed.
    pub fn is_saturated(&self, lateness_allowed_us: i64) -> bool {
        self.lateness_max_us > lateness_allowed_us
    }

    /// The counts of all kinds together.
    pub fn counts(&self) -> QueryCounts {
        let mut all = QueryCounts::default();
        self.kinds.iter().for_each(|kind| all.add(&kind.counts));
        all
    }

    /// The counts and latencies of one scope.
    pub fn of_scope(&self, scope: QueryScope, kinds: &[QueryKind]) -> KindTally {
        let of_scope = self.kinds.iter().zip(kinds).filter(|(_, kind)| kind.scope == scope);
        KindTally::sum(of_scope.map(|(tally, _)| tally))
    }
}

/// The most wrong answers of a run that are written down; all are counted.
pub const WRONG_ANSWERS_MAX: usize = 1_000;

/// The most events of a wrong answer that are written down, of each list.
pub const IDS_MAX: usize = 100;

/// A page that was wrong, with what proves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WrongAnswer {
    /// When the page came.
    pub at: MicroTime,
    /// The kind of question.
    pub kind: String,
    pub scope: QueryScope,
    /// The question, so that it can be asked again.
    pub question: serde_json::Value,
    /// The number of the page, from 1.
    pub page: u32,
    /// How often each fault was found in it.
    pub faults: BTreeMap<String, u64>,
    /// The events that show the faults, as far as they are written down.
    pub events: Vec<WrongEvent>,
    /// Events that should be on the page and are not, as far as they are written down.
    pub expected: Vec<Uuid>,
    /// What is on the page, as far as it is written down.
    pub got: Vec<Uuid>,
    /// How many events are on the page.
    pub got_count: u64,
}

/// An event that shows a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongEvent {
    pub fault: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_id: Option<Uuid>,
    /// Another event that is part of it: for one out of order, the older one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Uuid>,
}

/// The queries of one second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuerySecond {
    /// When the second ended.
    pub at: MicroTime,
    pub counts: QueryCounts,
    /// Queries that had not ended at its end.
    pub in_flight: u64,
    /// The longest that a query waited for the generator itself.
    pub lateness_max_ms: f64,
    /// Latencies of pages, by scope.
    pub latencies: BTreeMap<String, Percentiles>,
    /// Failed queries by cause.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u64>,
    /// Pages that ended in it, and were among the slowest of the shard up to then. The slowest of
    /// a run are the slowest of all these, even if the generator was killed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slowest: Vec<SlowQuery>,
}

impl QuerySecond {
    pub fn new(now: UnixMicros, tally: &QueryTally, kinds: &[QueryKind]) -> Self {
        let of_scope = |scope: QueryScope| {
            let latency = tally.of_scope(scope, kinds).latency;
            (!latency.is_empty()).then(|| (scope.name().to_owned(), percentiles(&latency)))
        };
        Self {
            at: MicroTime(now),
            counts: tally.counts(),
            in_flight: tally.in_flight,
            lateness_max_ms: milliseconds(tally.lateness_max_us),
            latencies: QueryScope::ALL.into_iter().filter_map(of_scope).collect(),
            failures: tally.failures.clone(),
            slowest: tally.slowest.queries().to_vec(),
        }
    }
}

/// All latencies of a run's pages by scope, in a form that can be added to others. It is the last
/// line of the record of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryHistograms {
    pub histograms: BTreeMap<String, String>,
    /// The generator was late by more than the profile allows: the latencies are void.
    #[serde(default)]
    pub saturated: bool,
}

impl QueryHistograms {
    pub fn new(total: &QueryTally, kinds: &[QueryKind], lateness_allowed_us: i64) -> Self {
        let of_scope = |scope: QueryScope| {
            (scope.name().to_owned(), encoded(&total.of_scope(scope, kinds).latency))
        };
        Self {
            histograms: QueryScope::ALL.into_iter().map(of_scope).collect(),
            saturated: total.is_saturated(lateness_allowed_us),
        }
    }

    /// The latencies of a scope in µs, if they are not damaged.
    pub fn of(&self, scope: QueryScope) -> Option<Histogram<u64>> {
        decoded(self.histograms.get(scope.name())?)
    }
}

/// The queries of a run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuerySummary {
    /// Whom they asked, without secrets.
    pub target: String,
    pub counts: QueryCounts,
    /// The longest that a query waited for the generator itself.
    pub lateness_max_ms: f64,
    /// The generator was late by more than the profile allows: what the latencies say about the
    /// target is void.
    pub saturated: bool,
    /// Failed queries by cause.
    pub failures: BTreeMap<String, u64>,
    /// Wrong pages by what is wrong. A page may have several faults.
    pub faults: BTreeMap<String, u64>,
    /// Why queries failed, in words.
    #[serde(default, skip_serializing_if = "ErrorCounts::is_empty")]
    pub errors: ErrorCounts,
    pub scopes: BTreeMap<String, KindSummary>,
    pub kinds: Vec<KindSummary>,
    /// The slowest pages, the slowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slowest: Vec<SlowQuery>,
}

/// Queries of one kind, or of one scope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindSummary {
    pub name: String,
    pub scope: QueryScope,
    pub counts: QueryCounts,
    /// From when a page was to be asked for to its answer.
    pub latency: Percentiles,
}

impl QuerySummary {
    pub fn new(
        target: String,
        total: &QueryTally,
        kinds: &[QueryKind],
        lateness_allowed_us: i64,
    ) -> Self {
        let summary = |name: &str, scope, tally: &KindTally| KindSummary {
            name: name.to_owned(),
            scope,
            counts: tally.counts,
            latency: percentiles(&tally.latency),
        };
        let of_scope = |scope: QueryScope| {
            let tally = total.of_scope(scope, kinds);
            (scope.name().to_owned(), summary(scope.name(), scope, &tally))
        };
        let of_kind = |(kind, tally): (&QueryKind, &KindTally)| {
            (tally.counts.asked > 0).then(|| summary(&kind.name, kind.scope, tally))
        };
        Self {
            target,
            counts: total.counts(),
            lateness_max_ms: milliseconds(total.lateness_max_us),
            saturated: total.is_saturated(lateness_allowed_us),
            failures: total.failures.clone(),
            faults: total.faults.clone(),
            errors: total.errors.clone(),
            scopes: QueryScope::ALL.into_iter().map(of_scope).collect(),
            kinds: kinds.iter().zip(&total.kinds).filter_map(of_kind).collect(),
            slowest: total.slowest.queries().to_vec(),
        }
    }

    /// Whether queries were asked, and none was answered.
    pub fn is_all_in_vain(&self) -> bool {
        self.counts.asked > 0 && self.counts.answered == 0
    }
}

impl fmt::Display for QuerySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, .. } = self;
        if self.saturated {
            let late = self.lateness_max_ms;
            writeln!(f, "QUERIES WERE SATURATED: they were asked up to {late:.0} ms late")?;
        }
        writeln!(f, "queries to {}", self.target)?;
        writeln!(f, "  asked         {:>12}", counts.asked)?;
        writeln!(f, "  answered      {:>12}", counts.answered)?;
        writeln!(f, "  failed        {:>12}", counts.failed)?;
        for (cause, count) in &self.failures {
            writeln!(f, "    {cause}: {count}")?;
        }
        let given_up = counts.asked.saturating_sub(counts.answered + counts.failed);
        if given_up > 0 {
            writeln!(f, "  given up      {given_up:>12}")?;
        }
        writeln!(f, "  wrong         {:>12}", counts.wrong)?;
        for (fault, count) in &self.faults {
            writeln!(f, "    {fault}: {count}")?;
        }
        let QueryCounts { pages, rows, bytes, compared, .. } = counts;
        writeln!(f, "{pages} pages with {rows} events, {bytes} bytes")?;
        writeln!(f, "all answers checked, {compared} of them also for what must be there")?;
        writeln!(
            f,
            "of                               asked  answered    failed     wrong   p50 ms    \
             p95 ms    p99 ms    max ms"
        )?;
        for scope in QueryScope::ALL {
            let of_scope = self.scopes.get(scope.name());
            let Some(summary) = of_scope.filter(|it| it.counts.asked > 0) else { continue };
            write!(f, "  {summary}")?;
            for kind in self.kinds.iter().filter(|kind| kind.scope == scope) {
                write!(f, "    {kind}")?;
            }
        }
        if !self.slowest.is_empty() {
            writeln!(f, "slowest pages, in ms")?;
            self.slowest.iter().take(SLOWEST_SHOWN).try_for_each(|it| writeln!(f, "  {it}"))?;
        }
        if !self.errors.is_empty() {
            writeln!(f, "queries without an answer")?;
            self.errors.lines().iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        Ok(())
    }
}

/// Slow pages that a summary tells in words; its JSON has all that are kept.
const SLOWEST_SHOWN: usize = 3;

impl fmt::Display for KindSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QueryCounts { asked, answered, failed, wrong, .. } = self.counts;
        let Percentiles { p50_ms, p95_ms, p99_ms, max_ms, .. } = self.latency;
        // What is indented deeper has less room for its name.
        let width = if self.name == self.scope.name() { 28 } else { 26 };
        writeln!(
            f,
            "{:<width$}{asked:>8}{answered:>10}{failed:>10}{wrong:>10}{p50_ms:>9.1} {p95_ms:>9.1} \
             {p99_ms:>9.1} {max_ms:>9.1}",
            self.name
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn kinds() -> Vec<QueryKind> {
        let kind = |name: &str, scope| QueryKind { name: name.to_owned(), scope };
        vec![
            kind("deletions", QueryScope::Tenant),
            kind("by-user", QueryScope::Tenant),
            kind("pods", QueryScope::Platform),
        ]
    }

    fn end(is_answered: bool, is_wrong: bool) -> QueryEnd {
        QueryEnd { is_answered, is_wrong, is_compared: is_wrong }
    }

    /// Six queries: four answered, of which one wrongly, one failed, and one on its way.
    pub(crate) fn tally() -> QueryTally {
        let mut tally = QueryTally::new(3);
        for (kind, took_us) in [(0, 10_000), (1, 20_000), (1, 30_000), (2, 500_000)] {
            tally.begin(kind, 300);
            tally.page(kind, 7, 100, took_us);
            tally.end(kind, end(true, took_us == 20_000));
        }
        tally.begin(2, 90_000);
        tally.end(2, end(false, false));
        tally.failures.insert("503".to_owned(), 1);
        tally.faults.insert("order".to_owned(), 1);
        tally.begin(0, 0);
        tally
    }

    #[test]
    fn counts_add_up_over_kinds_scopes_and_seconds() {
        let mut total = QueryTally::new(3);
        let mut tally = tally();
        total.add(&tally);
        tally.restart();
        assert_eq!((tally.in_flight, tally.counts()), (1, QueryCounts::default()));
        tally.end(0, end(true, false));
        total.in_flight = 0;
        total.add(&tally);
        let QueryCounts { asked, answered, failed, wrong, pages, rows, bytes, .. } = total.counts();
        assert_eq!((asked, answered, failed, wrong, total.in_flight), (6, 5, 1, 1, 0));
        assert_eq!((pages, rows, bytes), (4, 28, 400));
        let tenant = total.of_scope(QueryScope::Tenant, &kinds());
        assert_eq!((tenant.counts.asked, tenant.latency.len()), (4, 3));
        assert_eq!(total.of_scope(QueryScope::Complex, &kinds()).counts.asked, 0);
        assert_eq!(total.lateness_max_us, 90_000);
    }

    #[test]
    fn the_summary_tells_what_was_asked_by_scope_and_kind() {
        let summary = QuerySummary::new("http://api".to_owned(), &tally(), &kinds(), 1_000_000);
        let text = summary.to_string();
        for line in [
            "  asked                    6",
            "  given up                 1",
            "    503: 1",
            "    order: 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains("\n  tenant "), "{text}");
        assert!(text.contains("\n    by-user "), "{text}");
        assert!(!text.contains("complex") && !text.contains("SATURATED"), "{text}");
        let late = QuerySummary::new(String::new(), &tally(), &kinds(), 10_000);
        assert!(late.to_string().starts_with("QUERIES WERE SATURATED"), "{late}");
        let again: QuerySummary =
            serde_json::from_str(&serde_json::to_string(&summary).unwrap()).unwrap();
        assert_eq!(again, summary);
    }
}
