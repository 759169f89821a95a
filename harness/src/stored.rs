//! What the table holds of a run: sets of sequence numbers, decoded by the server itself.

use std::collections::BTreeMap;
use std::ops::Range;

use events::identity::{LocationSql, TenantIndex};
use events::script::Script;
use events::timeline::UnixMicros;

use crate::bitmap::{BitmapError, take, take_set};
use crate::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT, SCAN_TIMEOUT};
use crate::ranges::RangeSet;

/// What one store holds of a tenant's events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrivals {
    pub seqs: RangeSet,
    /// Those of `seqs` that it holds more than once.
    pub repeated: RangeSet,
    /// Messages or rows, repeated ones included.
    pub count: u64,
}

/// Reads which events of a run the table has, by tenant. Tenants without any have none. With
/// `received`, it looks only at events whose requests were received then, and not for those that
/// the table has more than once.
///
/// One pass over one column: the server turns each audit ID back into tenant and sequence number,
/// and answers with one compressed set for each tenant.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer, or not as expected.
pub async fn read_stored(
    server: &ClickHouse,
    script: &Script,
    received: Option<&Range<UnixMicros>>,
) -> Result<BTreeMap<TenantIndex, Arrivals>, ClickHouseError> {
    let LocationSql { with, tenant, seq, is_ours } = script.mark().location_sql("audit_id");
    let condition = received.map(|received| format!("WHERE {}", received_sql(received)));
    let condition = condition.unwrap_or_default();
    // Foreign rows get a group of their own: cheaper than to filter every column by them.
    let sql = format!(
        "WITH {with}, {is_ours} AS is_ours \
         SELECT if(is_ours, toUInt32({tenant}), {FOREIGN}) AS place, count(), \
         groupBitmapState(if(is_ours, {seq}, 0)) FROM {} {condition} GROUP BY place",
        server.source()
    );
    let bytes = async { server.client.query_raw(&sql).fetch_bytes("RowBinary")?.collect().await };
    let bytes = server.answer(SCAN_TIMEOUT, bytes).await?;
    let parsed = parse(&bytes);
    let mut by_tenant = parsed
        .map_err(|BitmapError(fact)| ClickHouseError::Answer { url: server.url.clone(), fact })?;
    for (tenant, arrivals) in &mut by_tenant {
        // Who asks for some alone does not ask how often.
        if received.is_none() && arrivals.count > arrivals.seqs.count() {
            arrivals.repeated = read_repeated(server, script, *tenant).await?;
        }
    }
    Ok(by_tenant)
}

/// Returns the condition that a request was received then, by the server's own index.
pub fn received_sql(received: &Range<UnixMicros>) -> String {
    let moment = |at: UnixMicros| format!("fromUnixTimestamp64Milli({}, 'UTC')", at / 1_000);
    // Stored times are whole milliseconds, rounded down.
    let (from, until) = (moment(received.start), moment(received.end + 999));
    format!("timestamp >= {from} AND timestamp < {until}")
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<TenantIndex, Arrivals>, BitmapError> {
    let mut rest = bytes;
    let mut by_tenant = BTreeMap::new();
    while !rest.is_empty() {
        let place = take(&mut rest, 4)?.try_into().map(u32::from_le_bytes).expect("four bytes");
        let count = take(&mut rest, 8)?.try_into().map(u64::from_le_bytes).expect("eight bytes");
        let seqs = take_set(&mut rest)?;
        if let Ok(tenant) = u16::try_from(place) {
            let arrivals = Arrivals { seqs, repeated: RangeSet::new(), count };
            by_tenant.insert(TenantIndex(tenant), arrivals);
        }
    }
    Ok(by_tenant)
}

/// Stands for no tenant of this run: one more than the highest index.
const FOREIGN: u32 = 1 << 16;

/// Reads which events of a tenant the table has more than once.
async fn read_repeated(
    server: &ClickHouse,
    script: &Script,
    tenant_index: TenantIndex,
) -> Result<RangeSet, ClickHouseError> {
    let LocationSql { with, tenant, seq, is_ours } = script.mark().location_sql("audit_id");
    let sql = format!(
        "WITH {with} SELECT {seq} AS seq FROM {} WHERE {is_ours} AND {tenant} = {} \
         GROUP BY seq HAVING count() > 1 ORDER BY seq",
        server.source(),
        tenant_index.0
    );
    let seqs = server.client.query_raw(&sql).fetch_all::<u64>();
    let seqs = server.answer(SCAN_TIMEOUT, seqs).await?;
    Ok(seqs.into_iter().collect())
}

/// Reads how many rows the table has in all: a sign of whether it still grows.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn read_rows(server: &ClickHouse) -> Result<u64, ClickHouseError> {
    let sql = format!("SELECT count() FROM {}", server.table);
    server.answer(QUERY_TIMEOUT, server.client.query_raw(&sql).fetch_one::<u64>()).await
}
