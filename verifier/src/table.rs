//! What the table holds of a run: sets of sequence numbers, decoded by the server itself.

use std::collections::BTreeMap;

use events::identity::{LocationSql, TenantIndex};
use events::script::Script;
use harness::clickhouse::ClickHouse;
use harness::ranges::RangeSet;

use crate::bitmap::{take, take_set};
use crate::compare::Arrivals;
use crate::error::VerifyError;

/// Reads which events of a run the table has, by tenant. Tenants without any have none.
///
/// One pass over one column: the server turns each audit ID back into tenant and sequence number,
/// and answers with one compressed set for each tenant.
///
/// # Errors
///
/// Returns [`VerifyError`] if the server does not answer, or not as expected.
pub async fn read_arrivals(
    server: &ClickHouse,
    script: &Script,
) -> Result<BTreeMap<TenantIndex, Arrivals>, VerifyError> {
    let LocationSql { with, tenant, seq, is_ours } = script.mark().location_sql("audit_id");
    // Foreign rows get a group of their own: cheaper than to filter every column by them.
    let sql = format!(
        "WITH {with}, {is_ours} AS is_ours \
         SELECT if(is_ours, toUInt32({tenant}), {FOREIGN}) AS place, count(), \
         groupBitmapState(if(is_ours, {seq}, 0)) FROM {} GROUP BY place",
        server.table
    );
    let bytes = async { server.client.query_raw(&sql).fetch_bytes("RowBinary")?.collect().await };
    let bytes = bytes.await.map_err(|source| server.failed(source))?;
    let mut rest = &bytes[..];
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
    for (tenant, arrivals) in &mut by_tenant {
        if arrivals.count > arrivals.seqs.count() {
            arrivals.repeated = read_repeated(server, script, *tenant).await?;
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
) -> Result<RangeSet, VerifyError> {
    let LocationSql { with, tenant, seq, is_ours } = script.mark().location_sql("audit_id");
    let sql = format!(
        "WITH {with} SELECT {seq} AS seq FROM {} WHERE {is_ours} AND {tenant} = {} \
         GROUP BY seq HAVING count() > 1 ORDER BY seq",
        server.table, tenant_index.0
    );
    let seqs: Vec<u64> =
        server.client.query_raw(&sql).fetch_all().await.map_err(|source| server.failed(source))?;
    Ok(seqs.into_iter().collect())
}

/// Reads how many rows the table has in all: a sign of whether it still grows.
///
/// # Errors
///
/// Returns [`VerifyError`] if the server does not answer.
pub async fn read_rows(server: &ClickHouse) -> Result<u64, VerifyError> {
    let sql = format!("SELECT count() FROM {}", server.table);
    let rows = server.client.query_raw(&sql).fetch_one::<u64>().await;
    Ok(rows.map_err(|source| server.failed(source))?)
}
