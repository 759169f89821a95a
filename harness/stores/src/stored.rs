//! Reads which events of a run the table has: as sets of sequence numbers, which the server itself
//! decodes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use events::identity::{LocationSql, TenantIndex};
use events::script::Script;
use events::timeline::UnixMicros;
use serde::{Deserialize, Serialize};

use crate::bitmap::{BitmapError, take, take_number, take_set};
use crate::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT, SCAN_TIMEOUT};
use crate::sight::read::SERVER_SQL;
use runs::ranges::RangeSet;

/// What one store holds of a tenant's events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrivals {
    pub seqs: RangeSet,
    /// The events in `seqs` that the store holds more than once.
    pub repeated: RangeSet,
    /// Number of messages or rows, including repeated ones.
    pub count: u64,
}

/// Which rows of a table are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    All,
    /// Rows of requests that were received in this period. Whether there are duplicates is not
    /// asked.
    Received(Range<UnixMicros>),
    /// Rows of some partitions, by their IDs.
    Partitions(Vec<String>),
}

impl Rows {
    /// The FROM clause of a query for these rows. No other condition may follow it.
    pub fn source(&self, server: &ClickHouse) -> String {
        match self {
            Self::All => server.source(),
            Self::Received(received) => {
                format!("{} WHERE {}", server.source(), received_sql(received))
            }
            Self::Partitions(partitions) => server.source_of_partitions(partitions),
        }
    }
}

impl Arrivals {
    /// Adds what another part of the same store holds.
    pub fn add(&mut self, other: &Self) {
        let both = self.seqs.intersection(&other.seqs);
        self.repeated = self.repeated.union(&other.repeated).union(&both);
        self.seqs = self.seqs.union(&other.seqs);
        self.count += other.count;
    }
}

/// Some consecutive events of a tenant: its index, and the sequence number by
/// 2^[`STRETCH_BITS`].
pub type Stretch = (u16, u64);

/// A sum for each stretch, modulo 2^64.
pub type Sums = BTreeMap<Stretch, u64>;

/// The contents of some rows of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The events of the run, by tenant. Tenants without events are left out.
    pub by_tenant: BTreeMap<TenantIndex, Arrivals>,
    pub sums: Sums,
    /// All rows that were read, including those of other runs.
    pub rows: u64,
    /// The servers that answered.
    pub servers: BTreeSet<String>,
}

/// Events of a stretch, as a power of two: few enough to fetch, enough to make sums few.
pub const STRETCH_BITS: u32 = 14;

/// Reads which events of a run the table has, by tenant. Tenants without events are left out.
///
/// One pass over one column: the server turns each audit ID back into tenant and sequence number,
/// and answers with one compressed set for each stretch.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer, or not as expected.
pub async fn read_stored(
    server: &ClickHouse,
    script: &Script,
    rows: &Rows,
) -> Result<BTreeMap<TenantIndex, Arrivals>, ClickHouseError> {
    Ok(read_stored_and_sum(server, script, rows, "toUInt64(0)").await?.by_tenant)
}

/// Reads the same, and for each stretch the sum of a `UInt64` over the table's rows, modulo 2^64.
/// The expression for it may use those of [`events::identity::RunMark::location_sql`].
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer, or not as expected.
pub async fn read_stored_and_sum(
    server: &ClickHouse,
    script: &Script,
    rows: &Rows,
    summand: &str,
) -> Result<Stored, ClickHouseError> {
    let LocationSql { with, tenant, seq, is_ours } = script.mark().location_sql("audit_id");
    let source = rows.source(server);
    // Grouping by one number is much faster than by two. Foreign rows get a group of their own,
    // which is cheaper than filtering them out of every column.
    let sql = format!(
        "WITH {with}, bitShiftLeft(toUInt64({tenant}), {TENANT_SHIFT}) AS tenant_part, \
         bitOr(tenant_part, bitShiftRight({seq}, {STRETCH_BITS})) AS own \
         SELECT if({is_ours}, own, {FOREIGN}) AS place, count(), sumWithOverflow({summand}), \
         groupBitmapState(toUInt16(bitAnd({seq}, {SEQ_MASK}))), \
         assumeNotNull((SELECT {SERVER_SQL})) \
         FROM {source} GROUP BY place"
    );
    let bytes = async { server.client.query_raw(&sql).fetch_bytes("RowBinary")?.collect().await };
    let bytes = server.answer(SCAN_TIMEOUT, bytes).await?;
    let parsed = parse(&bytes);
    let mut stored = parsed
        .map_err(|BitmapError(fact)| ClickHouseError::Answer { url: server.url.clone(), fact })?;
    if !matches!(rows, Rows::Received(_)) {
        for tenants in with_repetitions(&stored.by_tenant) {
            for (tenant, seq) in read_repeated(server, script, &tenants, &source).await? {
                let arrivals = stored.by_tenant.entry(TenantIndex(tenant)).or_default();
                arrivals.repeated.insert(seq..seq + 1);
            }
        }
    }
    Ok(stored)
}

/// Groups the tenants that have duplicates. A group is as large as the server can count one by one
/// with little memory. Each group needs a pass over the rows, so there should be few.
fn with_repetitions(by_tenant: &BTreeMap<TenantIndex, Arrivals>) -> Vec<Vec<u16>> {
    let repeats = by_tenant.iter().filter(|(_, it)| it.count > it.seqs.count());
    let mut sets: Vec<Vec<u16>> = Vec::new();
    let mut room = 0;
    for (TenantIndex(tenant), arrivals) in repeats {
        let distinct = arrivals.seqs.count();
        match sets.last_mut() {
            Some(set) if distinct <= room => set.push(*tenant),
            _ => {
                sets.push(vec![*tenant]);
                room = COUNTED_EVENTS_MAX;
            }
        }
        room = room.saturating_sub(distinct);
    }
    sets
}

/// Some hundred megabytes of the server's memory.
const COUNTED_EVENTS_MAX: u64 = 5_000_000;

/// A place is the tenant above the number of the stretch, or [`FOREIGN`].
const TENANT_SHIFT: u32 = 32;
const FOREIGN: u64 = u64::MAX;
const SEQ_MASK: u64 = (1 << STRETCH_BITS) - 1;

/// Returns the condition that a request was received in this period. It uses the server's own
/// index.
pub fn received_sql(received: &Range<UnixMicros>) -> String {
    let moment = |at: UnixMicros| format!("fromUnixTimestamp64Milli({}, 'UTC')", at / 1_000);
    // Stored times are whole milliseconds, rounded down.
    let (from, until) = (moment(received.start), moment(received.end + 999));
    format!("timestamp >= {from} AND timestamp < {until}")
}

fn parse(bytes: &[u8]) -> Result<Stored, BitmapError> {
    let mut rest = bytes;
    let number =
        |rest: &mut &[u8]| Ok(u64::from_le_bytes(take(rest, 8)?.try_into().expect("eight bytes")));
    let mut stored = Stored::default();
    // A place may come more than once, if each server of a cluster answers for itself.
    let mut by_place: BTreeMap<u64, (Arrivals, u64)> = BTreeMap::new();
    while !rest.is_empty() {
        let (place, count, sum) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
        let mut seqs = RangeSet::new();
        let first = (place & ((1 << TENANT_SHIFT) - 1)) << STRETCH_BITS;
        take_set(&mut rest, first, &mut seqs)?;
        stored.servers.insert(take_text(&mut rest)?);
        stored.rows += count;
        let (arrivals, all) = by_place.entry(place).or_default();
        arrivals.add(&Arrivals { seqs, repeated: RangeSet::new(), count });
        *all = all.wrapping_add(sum);
    }
    for (place, (part, sum)) in by_place {
        // A foreign row's place has no tenant.
        let Ok(tenant) = u16::try_from(place >> TENANT_SHIFT) else { continue };
        let all = stored.by_tenant.entry(TenantIndex(tenant)).or_default();
        all.count += part.count;
        part.seqs.ranges().iter().cloned().for_each(|range| all.seqs.insert(range));
        stored.sums.insert((tenant, place & ((1 << TENANT_SHIFT) - 1)), sum);
    }
    Ok(stored)
}

/// Takes a text with its length before it.
fn take_text(rest: &mut &[u8]) -> Result<String, BitmapError> {
    let length = usize::try_from(take_number(rest)?).map_err(|_| BitmapError("it is too long"))?;
    Ok(String::from_utf8_lossy(take(rest, length)?).into_owned())
}

/// Reads which events of some tenants the table has more than once.
async fn read_repeated(
    server: &ClickHouse,
    script: &Script,
    tenants: &[u16],
    source: &str,
) -> Result<Vec<(u16, u64)>, ClickHouseError> {
    let LocationSql { with, tenant, seq, is_ours } = script.mark().location_sql("audit_id");
    let tenants: Vec<String> = tenants.iter().map(u16::to_string).collect();
    let sql = format!(
        "WITH {with} SELECT toUInt16({tenant}) AS of_tenant, toUInt64({seq}) AS in_order \
         FROM {source} WHERE {is_ours} AND {tenant} IN ({}) \
         GROUP BY of_tenant, in_order HAVING count() > 1 ORDER BY of_tenant, in_order",
        tenants.join(", ")
    );
    let events = server.client.query_raw(&sql).fetch_all::<(u16, u64)>();
    server.answer(SCAN_TIMEOUT, events).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_looked_for_in_few_passes_each_of_which_has_room() {
        let of = |distinct: u64, count: u64| {
            let seqs = [0..distinct].into_iter().collect();
            Arrivals { seqs, repeated: RangeSet::new(), count }
        };
        let check = |tenants: &[Arrivals], expected: &[&[u16]]| {
            let by_tenant = (0..).map(TenantIndex).zip(tenants.iter().cloned()).collect();
            assert_eq!(with_repetitions(&by_tenant), expected);
        };
        check(&[of(10, 10), of(0, 0)], &[]);
        check(&[of(10, 11), of(10, 10), of(10, 30)], &[&[0, 2]]);
        let (most, half) = (COUNTED_EVENTS_MAX, COUNTED_EVENTS_MAX / 2);
        check(&[of(most + 1, most + 9), of(1, 2)], &[&[0], &[1]]);
        check(&[of(half, most), of(half, most), of(1, 2), of(1, 3)], &[&[0, 1], &[2, 3]]);
        let many: Vec<Arrivals> = (0..50_000).map(|_| of(20, 21)).collect();
        let by_tenant = (0..).map(TenantIndex).zip(many).collect();
        assert_eq!(with_repetitions(&by_tenant).len(), 1);
    }
}
