//! Whether stored rows are what was sent, column by column.
//!
//! Server and verifier each compute a digest of all columns for every tenant and stretch of
//! sequence numbers, the one from the rows, the other from the plan. Only where two digests
//! differ are rows fetched and compared one by one.

use std::collections::BTreeMap;

use clickhouse::Row;
use events::event::MicroTime;
use events::identity::{LocationSql, Seq, TenantIndex, int_hash_64};
use events::row::Columns;
use events::script::Script;
use harness::clickhouse::{ClickHouse, ClickHouseError, SCAN_TIMEOUT};
use harness::ranges::TenantRanges;
use harness::stored::{Arrivals, Rows, STRETCH_BITS, Stretch, Sums, read_stored_and_sum};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::VerifyError;
use crate::expected::Expected;
use crate::patience::Patience;
use crate::scan::Holdings;

/// A stored row that differs from what was sent, in one column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Difference {
    pub tenant: u16,
    pub seq: u64,
    pub column: String,
    pub sent: String,
    pub stored: String,
}

/// Stored rows that differ from what was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Some of the differences, up to [`DIFFERENCES_MAX`].
    pub listed: Vec<Difference>,
    /// All events that have one, but in the day of their timestamp.
    pub corrupted: TenantRanges,
    /// All events whose timestamp is of another day: they are in another partition.
    pub misplaced: TenantRanges,
}

/// Most differences that are listed.
pub const DIFFERENCES_MAX: usize = 100_000;

impl Differences {
    /// Adds what was found.
    pub fn add(&mut self, found: impl IntoIterator<Item = Difference>) {
        for difference in found {
            let seqs = difference.seq..difference.seq + 1;
            let set = if difference.is_of_another_day() {
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

    /// Puts them into order, and leaves out those of some events.
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

impl Difference {
    fn is_of_another_day(&self) -> bool {
        self.column == "timestamp" && self.sent.get(..10) != self.stored.get(..10)
    }
}

/// Compares the columns of every stored row of a run with what the plan says of it.
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
    let digests = tokio::task::block_in_place(|| expected.digests(&held.by_tenant));
    let mut differences = Differences::default();
    for (stretch, digest) in &held.digests {
        if digests.get(stretch) != Some(digest) {
            let read = async || read_rows(server, expected.script(), *stretch).await;
            differences.add(patience.ask(read).await?);
        }
    }
    Ok(differences)
}

/// Reads what some rows hold of a run, and the digest of each stretch of them.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn read_digested(
    server: &ClickHouse,
    script: &Script,
    rows: &Rows,
) -> Result<(BTreeMap<TenantIndex, Arrivals>, Sums), ClickHouseError> {
    let LocationSql { tenant, seq, .. } = script.mark().location_sql("audit_id");
    read_stored_and_sum(server, script, rows, &digest_sql(tenant, seq)).await
}

/// The text columns, in the order of the digest.
pub(crate) const TEXTS: [&str; 9] = [
    "scope_type",
    "scope_name",
    "user",
    "user_uid",
    "verb",
    "api_group",
    "resource",
    "namespace",
    "resource_name",
];

/// The digest of one row: a hash of where it belongs and of all its columns. Numbers are hashed
/// one into the other; the hash of each text is turned by as many bits as its place says. So a
/// value counts only in its own row and column.
fn digest_sql(tenant: &str, seq: &str) -> String {
    let time = "reinterpretAsUInt64(toUnixTimestamp64Milli(timestamp))";
    let start = format!("bitXor(bitShiftLeft(toUInt64({tenant}), 48), {seq})");
    let numbers = [time, "toUInt64(status_code)"]
        .iter()
        .fold(start, |all, number| format!("bitXor(intHash64({all}), {number})"));
    let texts = (1..).zip(TEXTS).fold(format!("intHash64({numbers})"), |all, (place, column)| {
        format!("bitXor({all}, bitRotateLeft(xxh3({column}), {}))", place * TURN_BITS)
    });
    format!("intHash64({texts})")
}

/// No two of nine columns are turned alike.
const TURN_BITS: u32 = 7;

pub(crate) fn digest(tenant: TenantIndex, seq: Seq, columns: &Columns) -> u64 {
    let start = u64::from(tenant.0) << 48 ^ seq.0;
    let numbers = [columns.timestamp_ms.cast_unsigned(), u64::from(columns.status_code)]
        .into_iter()
        .fold(start, |all, number| int_hash_64(all) ^ number);
    let texts = (1..).zip(texts(columns)).fold(int_hash_64(numbers), |all, (place, text)| {
        all ^ xxh3_64(text.as_bytes()).rotate_left(place * TURN_BITS)
    });
    int_hash_64(texts)
}

pub(crate) fn texts(columns: &Columns) -> [&str; 9] {
    [
        columns.scope_type,
        &columns.scope_name,
        &columns.user,
        &columns.user_uid,
        columns.verb,
        columns.api_group,
        columns.resource,
        &columns.namespace,
        &columns.resource_name,
    ]
}

#[derive(Debug, Row, Deserialize)]
struct StoredRow {
    seq: u64,
    timestamp_ms: i64,
    status_code: u16,
    texts: Vec<String>,
}

/// Fetches the rows of a stretch and compares each with the plan.
async fn read_rows(
    server: &ClickHouse,
    script: &Script,
    (tenant_index, stretch): Stretch,
) -> Result<Vec<Difference>, ClickHouseError> {
    let tenant_index = TenantIndex(tenant_index);
    if !has_tenant(script, tenant_index) {
        return Ok(Vec::new());
    }
    let LocationSql { with, tenant, seq, is_ours } = script.mark().location_sql("audit_id");
    let sql = format!(
        "WITH {with} SELECT {seq} AS seq, toUnixTimestamp64Milli(timestamp) AS timestamp_ms, \
         status_code, [{}] AS texts FROM {} \
         WHERE {is_ours} AND {tenant} = {} AND bitShiftRight({seq}, {STRETCH_BITS}) = {stretch}",
        TEXTS.map(|column| format!("toString({column})")).join(", "),
        server.source(),
        tenant_index.0
    );
    let stored = server.client.query_raw(&sql).fetch_all();
    let rows: Vec<StoredRow> = server.answer(SCAN_TIMEOUT, stored).await?;
    let mut columns = Columns::default();
    let mut differences = Vec::new();
    for row in rows {
        // An event that the plan does not have is unexpected, not corrupted.
        let Ok(facts) = script.facts(tenant_index, Seq(row.seq)) else { continue };
        columns.fill(&facts);
        differences.extend(differing(tenant_index, &columns, &row));
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

pub(crate) fn has_tenant(script: &Script, tenant: TenantIndex) -> bool {
    usize::from(tenant.0) < script.world().tenants().len()
}
