//! Compares stored rows with what was sent, column by column.
//!
//! Server and verifier each compute a digest of all columns for every tenant and stretch of
//! sequence numbers: the server from the rows, the verifier from the plan. Only if two digests
//! differ are the rows of a stretch examined one by one: first the digest of each row, then the
//! columns of some rows that differ. One query covers many stretches, and is limited to the time of
//! their rows.

use std::ops::Range;

use clickhouse::Row;
use events::event::MicroTime;
use events::identity::{LocationSql, Seq, TenantIndex};
use events::row::Columns;
use events::script::{DAY_US, Script};
use events::timeline::UnixMicros;
use rayon::prelude::*;
use runs::ranges::TenantRanges;
use runs::report::Difference;
use serde::Deserialize;
use stores::clickhouse::{ClickHouse, ClickHouseError, SCAN_TIMEOUT};
use stores::stored::{STRETCH_BITS, Stretch, Sums, received_sql};

use crate::digest::{TEXTS, digest, digest_sql, has_tenant, texts};
use crate::error::VerifyError;
use crate::expected::Expected;
use crate::patience::Patience;
use crate::scan::Holdings;
use crate::suspects::{Bounds, Suspect, groups, stretch_of, suspects, time_of, within};

/// Stored rows that differ from what was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Some of the differences, up to [`DIFFERENCES_MAX`].
    pub listed: Vec<Difference>,
    /// All events that differ, except those that only have a timestamp of another day.
    pub corrupted: TenantRanges,
    /// All events with a timestamp of another day, which are therefore in another partition.
    pub misplaced: TenantRanges,
    /// Stored events that were not examined one by one because there were more than
    /// [`LOOKED_AT_MAX`], although their stretches contain differences.
    pub not_looked_at: u64,
}

/// The most differences that are listed.
pub const DIFFERENCES_MAX: usize = 100_000;

/// The most rows that are examined one by one.
pub const LOOKED_AT_MAX: u64 = 20_000_000;

/// At most twenty queries of a million rows each, or of 4,096 stretches each, and some more if
/// suspects are far apart. The same number may be needed again for rows that have a timestamp of
/// another day.
const BOUNDS: Bounds =
    Bounds { rows: LOOKED_AT_MAX, rows_a_query: 1_000_000, stretches_a_query: 4_096, queries: 64 };

impl Differences {
    /// Adds differences.
    pub fn add(&mut self, found: impl IntoIterator<Item = Difference>) {
        for difference in found {
            let seqs = difference.seq..difference.seq + 1;
            let set = if is_of_another_day(&difference) {
                &mut self.misplaced
            } else {
                &mut self.corrupted
            };
            set.insert(TenantIndex(difference.tenant), seqs);
            if self.listed.len() < DIFFERENCES_MAX {
                self.listed.push(difference);
            }
        }
    }

    /// Adds the differences that were found in other rows.
    pub fn join(&mut self, other: Self) {
        self.corrupted.add(&other.corrupted);
        self.misplaced.add(&other.misplaced);
        self.not_looked_at += other.not_looked_at;
        let room = DIFFERENCES_MAX - self.listed.len();
        self.listed.extend(other.listed.into_iter().take(room));
    }

    /// Sorts the differences, and removes those of some events.
    pub fn finish(&mut self, left_out: &TenantRanges) {
        let is_left_out = |it: &Difference| {
            left_out.get(TenantIndex(it.tenant)).is_some_and(|seqs| seqs.contains(it.seq))
        };
        self.listed.retain(|difference| !is_left_out(difference));
        self.listed.sort();
        self.listed.dedup();
        self.corrupted.subtract(left_out);
        self.misplaced.subtract(left_out);
    }
}

fn is_of_another_day(it: &Difference) -> bool {
    it.column == "timestamp" && it.sent.get(..10) != it.stored.get(..10)
}

/// Compares the columns of every stored row of a run with the plan.
///
/// # Errors
///
/// Returns [`VerifyError`] if the server does not answer, or a file cannot be written.
pub async fn read_differences(
    server: &ClickHouse,
    expected: &mut Expected<'_>,
    held: &Holdings,
    patience: &mut Patience,
) -> Result<Differences, VerifyError> {
    let script = expected.script();
    let (suspects, not_looked_at) = tokio::task::block_in_place(|| {
        let digests = expected.digests(&held.by_tenant);
        within(suspects(script, &digests, held), BOUNDS)
    });
    let mut found = Found::default();
    let mut astray = Vec::new();
    for group in groups(suspects, BOUNDS) {
        let received = Some(time_of(&group));
        let rows = async || read_row_digests(server, script, &group, received.as_ref()).await;
        let rows = patience.ask(rows).await?;
        let sums = tokio::task::block_in_place(|| found.compare(script, &rows));
        astray.extend(group.into_iter().filter(|it| sums.get(&it.stretch) != Some(&it.digest)));
    }
    // Some rows of these stretches have a timestamp outside of the time that the plan gives them.
    let anywhere = |it: Suspect| Suspect { received: 0..0, ..it };
    for group in groups(astray.into_iter().map(anywhere).collect(), BOUNDS) {
        let rows = async || read_row_digests(server, script, &group, None).await;
        let rows = patience.ask(rows).await?;
        tokio::task::block_in_place(|| found.compare(script, &rows));
    }
    let Found { corrupted, misplaced, mut rows } = found;
    let mut differences = Differences { corrupted, misplaced, not_looked_at, listed: Vec::new() };
    rows.sort_by_key(|it| (it.timestamp_ms, it.tenant, it.seq));
    rows.dedup();
    for some in rows.chunks(IDS_A_QUERY) {
        if differences.listed.len() < DIFFERENCES_MAX {
            let read = async || read_columns(server, script, some).await;
            differences.add(patience.ask(read).await?);
        }
    }
    Ok(differences)
}

/// The text of a query may have 256 KiB, and each ID takes 39 bytes of it.
///
/// Source: ClickHouse, `max_query_size`.
const IDS_A_QUERY: usize = 4_000;

/// A row without its text columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Row, Deserialize)]
struct DigestRow {
    tenant: u16,
    seq: u64,
    timestamp_ms: i64,
    digest: u64,
}

/// Reads the digest of each row of some stretches. If `received` is given, only rows of that time
/// are read.
async fn read_row_digests(
    server: &ClickHouse,
    script: &Script,
    group: &[Suspect],
    received: Option<&Range<UnixMicros>>,
) -> Result<Vec<DigestRow>, ClickHouseError> {
    let LocationSql { with, tenant, seq, is_ours } = script.mark().location_sql("audit_id");
    let place = |(tenant, stretch): Stretch| u64::from(tenant) << TENANT_SHIFT | stretch;
    let places: Vec<_> = group.iter().map(|it| place(it.stretch).to_string()).collect();
    let time = received.map(|it| format!(" AND {}", received_sql(it))).unwrap_or_default();
    let sql = format!(
        "WITH {with} SELECT {tenant} AS tenant, {seq} AS seq, \
         toUnixTimestamp64Milli(timestamp) AS timestamp_ms, {} AS digest FROM {} \
         WHERE {is_ours} AND bitOr(bitShiftLeft(toUInt64({tenant}), {TENANT_SHIFT}), \
         bitShiftRight({seq}, {STRETCH_BITS})) IN ({}){time}",
        digest_sql(tenant, seq),
        server.source(),
        places.join(", ")
    );
    server.answer(SCAN_TIMEOUT, server.client.query_raw(&sql).fetch_all()).await
}

/// Tenant and number of a stretch are combined into one number, with the tenant in the upper bits.
const TENANT_SHIFT: u32 = 32;

/// Rows whose digests differ from what was sent.
#[derive(Debug, Default)]
struct Found {
    corrupted: TenantRanges,
    misplaced: TenantRanges,
    /// Some of the rows, up to [`DIFFERENCES_MAX`].
    rows: Vec<DigestRow>,
}

impl Found {
    /// Compares rows with the plan, and adds those that differ. Returns the sum of all digests for
    /// each stretch.
    fn compare(&mut self, script: &Script, rows: &[DigestRow]) -> Sums {
        let looks = |columns: &mut Columns, row: &DigestRow| Look::at(script, row, columns);
        let looks: Vec<Look> = rows.par_iter().map_init(Columns::default, looks).collect();
        let mut sums = Sums::new();
        for (row, look) in rows.iter().zip(looks) {
            let sum = sums.entry(stretch_of(row.tenant, row.seq)).or_default();
            *sum = sum.wrapping_add(row.digest);
            let (tenant, seqs) = (TenantIndex(row.tenant), row.seq..row.seq + 1);
            if look.is_misplaced {
                self.misplaced.insert(tenant, seqs.clone());
            }
            if look.is_corrupted {
                self.corrupted.insert(tenant, seqs);
            }
            let differs = look.is_misplaced || look.is_corrupted;
            if differs && self.rows.len() < DIFFERENCES_MAX {
                self.rows.push(*row);
            }
        }
        sums
    }
}

/// How a row differs from what was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    is_misplaced: bool,
    is_corrupted: bool,
}

impl Look {
    fn at(script: &Script, row: &DigestRow, columns: &mut Columns) -> Self {
        let (tenant, seq) = (TenantIndex(row.tenant), Seq(row.seq));
        // An event that the plan does not have is unexpected, not corrupted.
        let Some(Ok(facts)) = has_tenant(script, tenant).then(|| script.facts(tenant, seq)) else {
            return Self::default();
        };
        columns.fill(&facts);
        if digest(tenant, seq, columns) == row.digest {
            return Self::default();
        }
        let day = |milli: i64| milli.div_euclid(DAY_US / 1_000);
        let is_misplaced = day(columns.timestamp_ms) != day(row.timestamp_ms);
        if is_misplaced {
            // This shows whether only the timestamp differs.
            columns.timestamp_ms = row.timestamp_ms;
        }
        let is_corrupted = !is_misplaced || digest(tenant, seq, columns) != row.digest;
        Self { is_misplaced, is_corrupted }
    }
}

#[derive(Debug, Row, Deserialize)]
struct StoredRow {
    tenant: u16,
    seq: u64,
    timestamp_ms: i64,
    status_code: u16,
    texts: Vec<String>,
}

/// Reads the columns of some rows, which are sorted by time, and compares each row with the plan.
async fn read_columns(
    server: &ClickHouse,
    script: &Script,
    rows: &[DigestRow],
) -> Result<Vec<Difference>, ClickHouseError> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Vec::new()) };
    let micros = |milli: i64| milli.saturating_mul(1_000);
    let received = micros(first.timestamp_ms)..micros(last.timestamp_ms).saturating_add(1);
    let id = |row: &DigestRow| script.audit_id(TenantIndex(row.tenant), Seq(row.seq));
    let ids: Vec<_> = rows.iter().map(|row| format!("'{}'", id(row))).collect();
    let LocationSql { with, tenant, seq, .. } = script.mark().location_sql("audit_id");
    let sql = format!(
        "WITH {with} SELECT {tenant} AS tenant, {seq} AS seq, \
         toUnixTimestamp64Milli(timestamp) AS timestamp_ms, status_code, [{}] AS texts FROM {} \
         WHERE audit_id IN ({}) AND {}",
        TEXTS.map(|column| format!("toString({column})")).join(", "),
        server.source(),
        ids.join(", "),
        received_sql(&received)
    );
    let stored = server.client.query_raw(&sql).fetch_all();
    let rows: Vec<StoredRow> = server.answer(SCAN_TIMEOUT, stored).await?;
    let mut columns = Columns::default();
    let mut differences = Vec::new();
    for row in rows {
        let Ok(facts) = script.facts(TenantIndex(row.tenant), Seq(row.seq)) else { continue };
        columns.fill(&facts);
        differences.extend(differing(TenantIndex(row.tenant), &columns, &row));
    }
    Ok(differences)
}

fn differing(tenant: TenantIndex, columns: &Columns, row: &StoredRow) -> Vec<Difference> {
    let time = |milli: i64| {
        let text = serde_json::to_value(MicroTime(milli.saturating_mul(1_000)));
        text.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let numbers = [
        ("timestamp", time(columns.timestamp_ms), time(row.timestamp_ms)),
        ("status_code", columns.status_code.to_string(), row.status_code.to_string()),
    ];
    let texts = TEXTS
        .into_iter()
        .zip(texts(columns))
        .zip(&row.texts)
        .map(|((column, sent), stored)| (column, sent.to_owned(), stored.clone()));
    numbers
        .into_iter()
        .chain(texts)
        .filter(|(_, sent, stored)| sent != stored)
        .map(|(column, sent, stored)| Difference {
            tenant: tenant.0,
            seq: row.seq,
            column: column.to_owned(),
            sent,
            stored,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use plans::plan::Plan;
    use plans::spec::{RunOptions, Span};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_row_is_known_by_its_digest_to_be_corrupted_or_of_another_day_or_both() {
        let text = "name: x\nstages: [{duration: 10s, rate: 10/s, tenants: 2}]\n";
        let options = RunOptions::new(Uuid::from_u128(7), 1_760_000_000_000_000, Span::Live);
        let script = Plan::parse(text, "x", options).unwrap().script;
        let (tenant, day_ms) = (TenantIndex(1), 86_400_000);
        let row = |seq: u64, later_ms: i64, code: u16| {
            let mut columns = Columns::default();
            columns.fill(&script.facts(tenant, Seq(seq)).unwrap());
            columns.timestamp_ms += later_ms;
            columns.status_code += code;
            let digest = digest(tenant, Seq(seq), &columns);
            DigestRow { tenant: 1, seq, timestamp_ms: columns.timestamp_ms, digest }
        };
        let unplanned = DigestRow { seq: 5_000_000, ..row(0, 0, 0) };
        let foreign = DigestRow { tenant: 9, ..row(0, 0, 0) };
        let own = [row(0, 0, 0), row(1, 1, 0), row(2, 0, 1), row(3, day_ms, 0), row(4, day_ms, 1)];
        let mut found = Found::default();
        let sums = found.compare(&script, &[&own[..], &[unplanned, foreign]].concat());
        let set = |seqs: &[u64]| seqs.iter().copied().collect::<runs::ranges::RangeSet>();
        assert_eq!(found.corrupted.get(tenant), Some(&set(&[1, 2, 4])));
        assert_eq!(found.misplaced.get(tenant), Some(&set(&[3, 4])));
        assert_eq!(found.rows, own[1..]);
        assert_eq!(sums[&(1, 0)], own.iter().fold(0, |sum, it| it.digest.wrapping_add(sum)));
    }
}
