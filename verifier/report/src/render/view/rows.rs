//! The rows of a page's tables.

use std::cmp::Reverse;

use plans::metric::{Metric, Source};
use plans::spec::DeliveryPath;
use runs::latency::{Latencies, Percentiles, percentiles};
use runs::measured::of_second;
use runs::queries::QueryCounts;
use runs::readback::Readback;
use runs::report::cause::{Cause, Hop};
use runs::report::{
    Difference, Duplicates, Finding, Report, TenantReport, ThresholdOutcome, ThresholdResult,
};

use super::reader::tone;
use crate::figures::{self, as_f64, grouped, milliseconds, percent, shortened};
use crate::records::RunRecords;

#[derive(Debug)]
pub(crate) struct ThresholdRow {
    pub(crate) metric: String,
    pub(crate) condition: String,
    pub(crate) measured: String,
    pub(crate) tone: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) note: &'static str,
}

pub(super) fn threshold_rows(report: &Report) -> Vec<ThresholdRow> {
    let row = |it: &ThresholdResult| {
        let (tone, outcome) = match it.outcome {
            ThresholdOutcome::Passed => ("good", "met"),
            ThresholdOutcome::Failed => ("bad", "failed"),
            ThresholdOutcome::Unknown => ("doubt", "unknown"),
        };
        ThresholdRow {
            metric: it.metric.clone(),
            condition: it.condition.clone(),
            measured: it.measured.clone().unwrap_or_else(|| "no samples".to_owned()),
            tone,
            outcome,
            note: if it.is_default { "published objective" } else { "from the profile" },
        }
    };
    report.thresholds.iter().map(row).collect()
}

#[derive(Debug)]
pub(crate) struct AccountRow {
    pub(crate) depth: usize,
    pub(crate) name: &'static str,
    pub(crate) count: String,
    pub(crate) note: &'static str,
    pub(crate) tone: &'static str,
    /// Percent of the planned events.
    pub(crate) width: String,
}

impl AccountRow {
    pub(crate) fn markdown_indent(&self) -> String {
        "&emsp;".repeat(self.depth)
    }
}

pub(super) fn account(report: &Report, readback: Option<&Readback>) -> Vec<AccountRow> {
    let totals = &report.totals;
    let bad = |count: u64| if count > 0 { "bad" } else { "" };
    let doubt = |count: u64| if count > 0 { "doubt" } else { "" };
    let row = |depth, name, count: u64, tone, note| AccountRow {
        depth,
        name,
        count: grouped(count),
        note,
        tone,
        width: percent(count, totals.planned),
    };
    let mut rows = vec![
        row(0, "planned", totals.planned, "", ""),
        row(1, "unsent", totals.unsent, doubt(totals.unsent), "no byte of it left"),
        row(1, "attempted", totals.attempted, "", ""),
        row(2, "refused", totals.refused, doubt(totals.refused), "certainly not taken"),
        row(2, "unknown", totals.unknown, doubt(totals.unknown), "no answer that settles it"),
    ];
    if totals.unknown > 0 {
        rows.push(row(3, "recovered", totals.recovered, "", "stored all the same"));
        rows.push(row(3, "unresolved", totals.unresolved, "", "not stored"));
    }
    if totals.spoiled > 0 {
        rows.push(row(2, "spoiled", totals.spoiled, "", "sent with a fault on purpose"));
    }
    rows.push(row(2, "acknowledged", totals.acknowledged, "", ""));
    if report.path != DeliveryPath::Bulk {
        rows.push(row(3, "in stream", totals.in_stream, "", "seen there when it was checked"));
    }
    rows.push(row(3, "stored", totals.stored, "good", ""));
    if let Some(Readback { verdict, totals, .. }) = readback {
        let tone = tone(*verdict);
        rows.push(row(4, "readable", totals.readable, tone, "shown by the query API"));
    }
    if totals.repaired > 0 {
        rows.push(row(3, "repaired", totals.repaired, "", "sent again after they were lost"));
    }
    if totals.filtered > 0 {
        rows.push(row(3, "filtered", totals.filtered, "", "dropped by design"));
    }
    rows.push(row(3, "lost", totals.lost, bad(totals.lost), "acknowledged and not stored"));
    if totals.not_seen > 0 {
        rows.push(row(3, "not seen yet", totals.not_seen, "", "on their way, or hidden"));
    }
    for (name, count, note) in [
        ("duplicated", totals.duplicated, "there more than once"),
        ("corrupted", totals.corrupted, "stored, but not as sent"),
        ("misplaced", totals.misplaced, "stored with a timestamp of another day"),
        ("unexpected", totals.unexpected, "stored, but never sent"),
    ] {
        rows.push(row(0, name, count, bad(count), note));
    }
    rows
}

pub(super) fn duplicates(duplicates: Duplicates) -> &'static str {
    match duplicates {
        Duplicates::Visible => "The table has rows for the same event more than once.",
        Duplicates::NoneVisible => {
            "The table may fold equal rows, or shows those of other tables: duplicates that were \
             folded already do not show."
        }
        Duplicates::None => "The table folds nothing: there never were duplicates in it.",
    }
}

#[derive(Debug)]
pub(crate) struct HopRow {
    pub(crate) name: &'static str,
    pub(crate) count: String,
    /// Percent of all lost events.
    pub(crate) width: String,
    pub(crate) causes: String,
}

pub(super) fn hops(report: &Report) -> Vec<HopRow> {
    let hops = [Hop::BeforeStream, Hop::InStream, Hop::AfterStream, Hop::InTable, Hop::Unknown];
    let totals = &report.totals;
    let row = |hop: Hop| {
        let causes = || totals.lost_by_cause.iter().filter(|(it, _)| it.hop() == hop);
        let count = causes().map(|(_, count)| count).sum();
        let named = causes().filter(|(_, count)| **count > 0);
        let named: Vec<_> =
            named.map(|(it, n)| format!("{} {}", grouped(*n), it.as_str())).collect();
        let width = percent(count, totals.lost);
        HopRow { name: hop_name(hop), count: grouped(count), width, causes: named.join(", ") }
    };
    // The row for an unknown hop is shown only if the hop of some lost event is unknown.
    let is_shown = |hop: &Hop| {
        *hop != Hop::Unknown || totals.lost_by_cause.get(&Cause::Somewhere).is_some_and(|n| *n > 0)
    };
    hops.into_iter().filter(is_shown).map(row).collect()
}

pub(super) fn hop_name(hop: Hop) -> &'static str {
    match hop {
        Hop::BeforeStream => "between webhook and stream",
        Hop::InStream => "in the stream",
        Hop::AfterStream => "between stream and table",
        Hop::InTable => "in the table",
        Hop::Unknown => "somewhere",
    }
}

#[derive(Debug)]
pub(crate) struct LatencyRow {
    pub(crate) name: String,
    pub(crate) p50: String,
    pub(crate) p95: String,
    pub(crate) p99: String,
    pub(crate) p99_9: String,
    pub(crate) max: String,
}

pub(super) fn latencies(records: &RunRecords) -> Vec<LatencyRow> {
    let row = |name: String, it: Percentiles| LatencyRow {
        name,
        p50: milliseconds(it.p50_ms),
        p95: milliseconds(it.p95_ms),
        p99: milliseconds(it.p99_ms),
        p99_9: milliseconds(it.p99_9_ms),
        max: milliseconds(it.max_ms),
    };
    let rows = |of: &Latencies, class: &str| -> Vec<LatencyRow> {
        let of_metric = |metric: Metric| {
            let it = percentiles(of.of(&metric)?);
            Some(row(format!("{}{class}", metric.words()), it))
        };
        Metric::from(Source::Latency).filter_map(of_metric).collect()
    };
    let of_all = records.latencies.iter().flat_map(|all| rows(all, ""));
    let classes = records.classes.iter().filter(|_| records.classes.len() > 1);
    let classes = classes.filter(|_| records.latencies.is_some());
    let classes = classes.flat_map(|(name, of)| rows(of, &format!(", class {name}")));
    let asked = records.queries.latencies.iter().filter(|(_, it)| !it.is_empty());
    let asked = asked.map(|(scope, it)| row(format!("queries, {}", scope.name()), percentiles(it)));
    of_all.chain(classes).chain(asked).collect()
}

/// What the generators counted or noted once a second.
#[derive(Debug)]
pub(crate) struct SentRow {
    pub(crate) name: String,
    /// Empty of what does not add up.
    pub(crate) all: String,
    pub(crate) mean: String,
    pub(crate) most: String,
}

impl SentRow {
    /// Sums up what was counted second by second; nothing, if that was always 0.
    fn of(name: String, samples: Vec<f64>, say: impl Fn(f64) -> String) -> Option<Self> {
        let sum: f64 = samples.iter().sum();
        (sum > 0.0).then(|| Self {
            name,
            all: say(sum),
            mean: say(sum / as_f64(samples.len() as u64)),
            most: say(samples.into_iter().fold(0.0, f64::max)),
        })
    }
}

/// One row for each metric of the list that is known of every second and was not always 0.
pub(super) fn sent(records: &RunRecords) -> Vec<SentRow> {
    let row = |metric: Metric, adds_up: bool| {
        let samples = records.seconds.iter().filter_map(|second| of_second(&metric, second));
        let say = |value| figures::of_measure(value, metric.measure());
        let row = SentRow::of(metric.words(), samples.collect(), say)?;
        Some(SentRow { all: if adds_up { row.all } else { String::new() }, ..row })
    };
    let counts = Metric::counts().filter_map(|metric| row(metric, true));
    let levels = Metric::from(Source::Level).filter_map(|metric| row(metric, false));
    counts.chain(levels).chain(asked(records)).collect()
}

/// A count of queries, and what it is called.
type Named = (&'static str, fn(&QueryCounts) -> u64);

/// The rows of queries, if anybody asked.
fn asked(records: &RunRecords) -> Vec<SentRow> {
    let seconds = &records.queries.seconds;
    let row = |(name, count): Named| {
        let samples = seconds.values().map(|second| as_f64(count(second)));
        SentRow::of(name.to_owned(), samples.collect(), figures::number)
    };
    let rows: [Named; 6] = [
        ("queries asked", |it| it.asked),
        ("queries answered", |it| it.answered),
        ("queries failed", |it| it.failed),
        ("queries wrong", |it| it.wrong),
        ("query pages", |it| it.pages),
        ("query events", |it| it.rows),
    ];
    rows.into_iter().filter_map(row).collect()
}

#[derive(Debug)]
pub(crate) struct TenantRow {
    pub(crate) tenant: u16,
    pub(crate) scope: String,
    pub(crate) is_bad: bool,
    /// Formatted counts, in the order of [`TENANT_COLUMNS`].
    pub(crate) counts: Vec<String>,
}

/// The columns that a page shows for each tenant.
pub(crate) const TENANT_COLUMNS: [&str; 8] = [
    "planned",
    "acknowledged",
    "stored",
    "lost",
    "duplicated",
    "corrupted",
    "unexpected",
    "not acknowledged",
];

/// Returns the tenants with the most problems, and whether any tenant has one.
pub(super) fn tenants(tenants: &[TenantReport]) -> (Vec<TenantRow>, bool) {
    let bad = |it: &TenantReport| {
        let fates = &it.fates;
        fates.lost().count()
            + duplicated(it)
            + fates.corrupted.count()
            + fates.misplaced.count()
            + fates.unexpected.count()
    };
    let missed = |it: &TenantReport| {
        let settled = it.fates.acknowledged.count() + it.fates.spoiled.count();
        it.fates.planned.saturating_sub(settled)
    };
    let mut worst: Vec<_> = tenants.iter().map(|it| (bad(it), missed(it), it)).collect();
    worst.sort_by_key(|(bad, missed, it)| (Reverse(*bad), Reverse(*missed), it.tenant));
    let is_any_bad = worst.first().is_some_and(|(bad, ..)| *bad > 0);
    let row = |(bad, missed, it): &(u64, u64, &TenantReport)| {
        let fates = &it.fates;
        let counts = [
            fates.planned,
            fates.acknowledged.count(),
            fates.stored.count(),
            fates.lost().count(),
            duplicated(it),
            fates.corrupted.count(),
            fates.unexpected.count(),
            *missed,
        ];
        TenantRow {
            tenant: it.tenant,
            scope: format!("{} {}", it.scope_type, it.scope_name).trim().to_owned(),
            is_bad: *bad > 0,
            counts: counts.map(grouped).to_vec(),
        }
    };
    (worst.iter().take(TENANTS_MAX).map(row).collect(), is_any_bad)
}

fn duplicated(tenant: &TenantReport) -> u64 {
    tenant.fates.duplicated_in_stream.count() + tenant.fates.duplicated_in_table.count()
}

#[derive(Debug)]
pub(crate) struct FindingRow {
    pub(crate) what: &'static str,
    pub(crate) tenant: u16,
    pub(crate) seq: String,
    pub(crate) audit_id: String,
    pub(crate) due: String,
}

pub(super) fn findings(report: &Report) -> Vec<FindingRow> {
    let row = |it: &Finding| FindingRow {
        what: it.cause.map_or(it.fault.as_str(), Cause::as_str),
        tenant: it.tenant,
        seq: grouped(it.seq),
        audit_id: it.audit_id.to_string(),
        due: it.due.map_or("not planned".to_owned(), figures::moment),
    };
    report.findings.iter().take(FINDINGS_MAX).map(row).collect()
}

#[derive(Debug)]
pub(crate) struct DifferenceRow {
    pub(crate) tenant: u16,
    pub(crate) seq: String,
    pub(crate) column: String,
    pub(crate) sent: String,
    pub(crate) stored: String,
}

pub(super) fn differences(report: &Report) -> Vec<DifferenceRow> {
    let row = |it: &Difference| DifferenceRow {
        tenant: it.tenant,
        seq: grouped(it.seq),
        column: it.column.clone(),
        sent: shortened(&it.sent),
        stored: shortened(&it.stored),
    };
    report.differences.iter().take(FINDINGS_MAX).map(row).collect()
}

const TENANTS_MAX: usize = 200;

const FINDINGS_MAX: usize = 50;
