//! The digest of a row's columns, as the server computes it, and as it follows from the plan.

use events::identity::{LocationSql, Seq, TenantIndex, int_hash_64};
use events::row::Columns;
use events::script::Script;
use stores::clickhouse::{ClickHouse, ClickHouseError};
use stores::stored::{Rows, Stored, read_stored_and_sum};
use xxhash_rust::xxh3::xxh3_64;

/// Reads the events of a run that some rows hold, and the digest of each stretch.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub(crate) async fn read_digested(
    server: &ClickHouse,
    script: &Script,
    rows: &Rows,
) -> Result<Stored, ClickHouseError> {
    let LocationSql { tenant, seq, .. } = script.mark().location_sql("audit_id");
    read_stored_and_sum(server, script, rows, &digest_sql(tenant, seq)).await
}

/// The text columns, in the order in which the digest takes them.
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

/// The digest of one row: a hash of tenant, sequence number and all columns. Each number is hashed
/// together with the hash before it. The hash of each text is rotated by a number of bits that
/// depends on the column. So a value in another row or column gives another digest.
pub(crate) fn digest_sql(tenant: &str, seq: &str) -> String {
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

/// With this step, no two of nine columns are rotated by the same number of bits.
const TURN_BITS: u32 = 7;

/// Computes the same digest from what was sent.
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

/// The texts of an event, in the order of [`TEXTS`].
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

/// Whether the run has a tenant with this index.
pub(crate) fn has_tenant(script: &Script, tenant: TenantIndex) -> bool {
    usize::from(tenant.0) < script.world().tenants().len()
}
