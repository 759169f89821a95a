//! Finds out why each lost event is not stored.

use std::collections::{BTreeMap, BTreeSet};

use clickhouse::Row;
use events::event::Event;
use events::identity::{Seq, TenantIndex};
use events::row::Columns;
use events::script::Script;
use rayon::prelude::*;
use runs::ranges::{RangeSet, TenantRanges};
use runs::report::cause::{Cause, Hop};
use runs::report::fates::Fates;
use serde::Deserialize;
use serde_json::Value;
use stores::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT, SCAN_TIMEOUT, server_code};
use stores::jetstream::AuditStream;
use stores::schema::Table;
use stores::sight::Hidden;
use stores::stored::{Rows, read_stored};

use crate::absent::trace_absent;
use crate::changes::Changes;
use crate::compare::move_lost;
use crate::engine::Engine;
use crate::error::VerifyError;
use crate::jetstream::read_bodies_of;
use crate::patience::Patience;
use crate::ways::{Way, Ways};

/// The most lost events that are looked up one by one. If there are more, these are the first.
pub const TRACED_MAX: usize = 20_000;

/// Where lost events are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Tracks<'t> {
    pub script: &'t Script,
    pub ways: &'t Ways<'t>,
    pub table: &'t ClickHouse,
    pub engine: &'t Engine,
    /// The stream, and the time since when its messages may belong to the run.
    pub stream: Option<(&'t AuditStream, i64)>,
    pub changes: &'t Changes,
}

/// What was found out about lost events, in addition to their causes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traced {
    /// The other tables that have some of the events.
    pub elsewhere: Vec<String>,
    /// Detached parts that may contain lost events.
    pub hidden: Vec<Hidden>,
    /// What could not be found out, in words for the user.
    pub hints: Vec<String>,
}

/// Looks for lost events, and changes the cause of those that it finds.
///
/// # Errors
///
/// Returns [`VerifyError`] if a store does not answer.
pub async fn trace(
    tracks: Tracks<'_>,
    fates: &mut [Fates],
    patience: &mut Patience,
) -> Result<Traced, VerifyError> {
    if fates.iter().all(|fates| fates.lost.is_empty()) {
        return Ok(Traced::default());
    }
    tokio::task::block_in_place(|| trace_filtered(tracks, fates));
    trace_messages(tracks, fates, patience).await?;
    let elsewhere = trace_tables(tracks, fates, patience).await?;
    let place = (tracks.table, tracks.script);
    let (detached, expired) = trace_absent(place, fates, patience).await?;
    let mut hints: Vec<String> = expired.into_iter().collect();
    if tracks.engine.folds()
        && !tracks.engine.tells_events_apart(tracks.table.column_of("audit_id"))
    {
        hints.extend(trace_folded(tracks, fates, patience).await?);
    }
    Ok(Traced { elsewhere, hidden: detached.into_iter().collect(), hints })
}

/// Returns the first lost events of some causes, up to [`TRACED_MAX`].
fn lost_events(
    tracks: Tracks<'_>,
    fates: &[Fates],
    is_asked: impl Fn(Cause) -> bool,
) -> TenantRanges {
    let mut left = TRACED_MAX;
    let mut asked = TenantRanges::new();
    for (tenant, fates) in tracks.script.tenants().zip(fates) {
        for (_, seqs) in fates.lost.iter().filter(|(cause, _)| is_asked(**cause)) {
            for seq in seqs.iter().take(left) {
                asked.insert(tenant, seq..seq + 1);
                left -= 1;
            }
        }
    }
    asked
}

fn each(events: &TenantRanges) -> impl Iterator<Item = (TenantIndex, Seq)> + '_ {
    events.iter().flat_map(|(tenant, seqs)| seqs.iter().map(move |seq| (tenant, Seq(seq))))
}

fn of(fates: &mut [Fates], tenant: TenantIndex) -> &mut Fates {
    &mut fates[usize::from(tenant.0)]
}

/// Finds events that the pipeline drops by design. Events that went straight into the table cannot
/// have been dropped by it.
///
/// Every lost event is examined, whatever their number, because an event that is dropped by design
/// is not lost. It takes some 10 µs of CPU for each event. It is skipped if every event of a plan
/// meets the conditions.
fn trace_filtered(tracks: Tracks<'_>, fates: &mut [Fates]) {
    if tracks.changes.keep_all_planned() {
        return;
    }
    let is_dropped = |tenant: TenantIndex, seq: u64| {
        let facts = tracks.script.facts(tenant, Seq(seq)).expect("it is planned");
        let event = serde_json::to_value(Event::of(&facts)).expect("an event is JSON");
        tracks.ways.of_event(tenant, seq) == Way::Piped && !tracks.changes.keep(&event)
    };
    let tenants: Vec<TenantIndex> = tracks.script.tenants().collect();
    tenants.par_iter().zip(fates).for_each(|(tenant, fates)| {
        let dropped: RangeSet =
            fates.lost().iter().filter(|seq| is_dropped(*tenant, *seq)).collect();
        move_lost(fates, &dropped, None);
    });
}

/// Finds events whose message in the stream has another stage. The stream took the event for a
/// repetition of that message, which the pipeline drops by design.
async fn trace_messages(
    tracks: Tracks<'_>,
    fates: &mut [Fates],
    patience: &mut Patience,
) -> Result<(), VerifyError> {
    let Some((audit, from)) = tracks.stream else { return Ok(()) };
    let wanted = lost_events(tracks, fates, |cause| cause == Cause::ConsumedNotStored);
    if wanted.is_empty() {
        return Ok(());
    }
    let bodies = read_bodies_of(audit, tracks.script, from, &wanted, TRACED_MAX, patience).await?;
    for (tenant, seq, body) in bodies {
        let is_kept =
            serde_json::from_slice::<Value>(&body).is_ok_and(|event| tracks.changes.keep(&event));
        if !is_kept {
            let one = RangeSet::of(seq.0..seq.0 + 1);
            move_lost(of(fates, tenant), &one, Some(Cause::Swallowed));
        }
    }
    Ok(())
}

/// Finds events that another table of the server has.
async fn trace_tables(
    tracks: Tracks<'_>,
    fates: &mut [Fates],
    patience: &mut Patience,
) -> Result<Vec<String>, VerifyError> {
    let tables = patience.ask(async || read_other_tables(tracks.table).await).await?;
    let mut having = Vec::new();
    for table in tables {
        let other = ClickHouse { table, ..tracks.table.clone() };
        let read = async || read_stored(&other, tracks.script, &Rows::All).await;
        let held = match patience.ask(read).await.map_err(VerifyError::cause) {
            Ok(held) => held,
            // This account may not be allowed to read the table, so it has no influence on the
            // verdict.
            Err(VerifyError::ClickHouse(_)) => continue,
            Err(error) => return Err(error),
        };
        let before = count_elsewhere(fates);
        for (tenant, arrivals) in held {
            if usize::from(tenant.0) < fates.len() {
                move_lost(of(fates, tenant), &arrivals.seqs, Some(Cause::Elsewhere));
            }
        }
        if count_elsewhere(fates) > before {
            having.push(other.table.to_string());
        }
    }
    Ok(having)
}

fn count_elsewhere(fates: &[Fates]) -> u64 {
    fates.iter().filter_map(|fates| fates.lost.get(&Cause::Elsewhere)).map(RangeSet::count).sum()
}

#[derive(Debug, Row, Deserialize)]
struct TableRow {
    database: String,
    table: String,
}

/// Lists the other tables that have a column of audit IDs.
async fn read_other_tables(server: &ClickHouse) -> Result<Vec<Table>, ClickHouseError> {
    let sql = format!(
        "SELECT database, table FROM system.columns \
         WHERE name = '{}' AND type = 'UUID' AND (database, table) != ('{}', '{}') \
         AND database NOT IN ('system', 'information_schema', 'INFORMATION_SCHEMA') \
         AND (database, table) IN (SELECT database, name FROM system.tables \
         WHERE engine LIKE '%MergeTree') ORDER BY database, table LIMIT {OTHER_TABLES_MAX}",
        server.column_of("audit_id"),
        server.table.database(),
        server.table.name()
    );
    let rows: Vec<TableRow> =
        server.answer(QUERY_TIMEOUT, server.client.query_raw(&sql).fetch_all()).await?;
    // A name that is not valid in a query is of a table to which this program never writes.
    let table = |row: &TableRow| format!("{}.{}", row.database, row.table).parse().ok();
    Ok(rows.iter().filter_map(table).collect())
}

const OTHER_TABLES_MAX: u32 = 16;

/// Finds events for which the table has another row with the same sorting key. If that cannot be
/// found out, it returns why: the key may use columns that an event does not determine.
async fn trace_folded(
    tracks: Tracks<'_>,
    fates: &mut [Fates],
    patience: &mut Patience,
) -> Result<Option<String>, VerifyError> {
    let wanted = lost_events(tracks, fates, |cause| cause.hop() != Hop::BeforeStream);
    let events: Vec<(TenantIndex, Seq)> = each(&wanted).collect();
    for some in events.chunks(KEYS_AT_ONCE) {
        let sql = folded_sql(tracks, some);
        let question = async || {
            let found = tracks.table.client.query_raw(&sql).fetch_all::<u32>();
            tracks.table.answer(SCAN_TIMEOUT, found).await
        };
        let folded = match patience.ask(question).await.map_err(VerifyError::cause) {
            Ok(folded) => folded,
            Err(VerifyError::ClickHouse(ClickHouseError::Query { url, source })) => {
                let Some(code) = server_code(&source) else {
                    return Err(ClickHouseError::Query { url, source }.into());
                };
                let key = &tracks.engine.sort_key;
                return Ok(Some(format!(
                    "whether the table folded lost events into other rows is not known: its \
                     sorting key ({key}) cannot be computed from an event alone (ClickHouse's \
                     error {code})"
                )));
            }
            Err(error) => return Err(error),
        };
        for index in folded.into_iter().collect::<BTreeSet<u32>>() {
            let (tenant, seq) = some[index as usize];
            let one = RangeSet::of(seq.0..seq.0 + 1);
            move_lost(of(fates, tenant), &one, Some(Cause::Folded));
        }
    }
    Ok(None)
}

const KEYS_AT_ONCE: usize = 500;

/// Makes the query for the indexes of those events whose sorting key the table has.
fn folded_sql(tracks: Tracks<'_>, events: &[(TenantIndex, Seq)]) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let mut columns = Columns::default();
    let mut rows = Vec::with_capacity(events.len());
    for (index, (tenant, seq)) in events.iter().enumerate() {
        columns.fill(&tracks.script.facts(*tenant, *seq).expect("a lost event is planned"));
        let texts = crate::digest::texts(&columns).map(quoted).join(", ");
        rows.push(format!(
            "({index}, fromUnixTimestamp64Milli({}), {}, '{}', {texts})",
            columns.timestamp_ms,
            columns.status_code,
            tracks.script.audit_id(*tenant, *seq),
        ));
    }
    let name = |standard: &str| tracks.table.column_of(standard).to_owned();
    let names: BTreeMap<&str, String> = crate::digest::TEXTS.map(|it| (it, name(it))).into();
    let texts: Vec<_> =
        crate::digest::TEXTS.iter().map(|it| format!("{} String", names[it])).collect();
    let key = &tracks.engine.sort_key;
    let table = &tracks.table.table;
    // The server keeps at most as many keys of the table as there are lost events.
    format!(
        "WITH lost AS (SELECT number, ({key}) AS lost_key FROM \
         values('number UInt32, {} DateTime64(3), {} UInt16, {} UUID, {}', {})) \
         SELECT DISTINCT number FROM lost WHERE lost_key IN (SELECT ({key}) FROM {table} \
         WHERE ({key}) IN (SELECT lost_key FROM lost))",
        name("timestamp"),
        name("status_code"),
        name("audit_id"),
        texts.join(", "),
        rows.join(", ")
    )
}
