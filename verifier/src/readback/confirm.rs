//! Asks the table once more for events that no walk has shown: only what it still has, as it was
//! sent, is the reader's loss.

use std::collections::{BTreeMap, BTreeSet};

use events::row::Columns;
use events::script::Script;
use runs::readback::{Blame, ReadFault};
use stores::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT};
use uuid::Uuid;

use super::unit::{Unit, UnitResult};
use crate::error::VerifyError;
use crate::patience::Patience;

/// Takes findings back of events that the table does not have, or has with another scope or time.
///
/// # Errors
///
/// Returns [`VerifyError`] if the table does not answer.
pub(super) async fn confirm(
    table: &ClickHouse,
    script: &Script,
    unit: &Unit,
    mut result: UnitResult,
    patience: &mut Patience,
) -> Result<UnitResult, VerifyError> {
    let findings = result.walks.iter().flat_map(|walk| &walk.findings);
    let blamed = findings.filter(|it| it.blame == Some(Blame::Reader));
    let blamed: BTreeSet<Uuid> = blamed.filter_map(|it| it.audit_id).collect();
    let blamed: Vec<Uuid> = blamed.into_iter().collect();
    let mut excused: BTreeSet<Uuid> = BTreeSet::new();
    for (asked, ids) in (0..).step_by(IDS_AT_ONCE).zip(blamed.chunks(IDS_AT_ONCE)) {
        if asked >= CONFIRMED_MAX && excused.len() < asked {
            break;
        }
        let stored = patience.ask(async || read(table, ids).await).await?;
        excused.extend(ids.iter().filter(|id| !is_as_sent(script, **id, &stored)));
    }
    if excused.is_empty() {
        return Ok(result);
    }
    result.stored_otherwise = excused.len() as u64;
    result.stored -= result.stored_otherwise;
    for walk in &mut result.walks {
        let is_excused = |id: Option<Uuid>| id.is_some_and(|id| excused.contains(&id));
        walk.findings.retain(|it| it.fault != ReadFault::Unreachable || !is_excused(it.audit_id));
        walk.stored -= result.stored_otherwise;
    }
    debug_assert!(unit.stored_count() >= result.stored, "no event was added");
    Ok(result)
}

/// Scope type, scope name and time of a row.
type Stored = BTreeMap<Uuid, (String, String, i64)>;

async fn read(table: &ClickHouse, ids: &[Uuid]) -> Result<Stored, ClickHouseError> {
    let list: Vec<String> = ids.iter().map(|id| format!("toUUID('{id}')")).collect();
    let sql = format!(
        "SELECT toString(audit_id), toString(scope_type), toString(scope_name), \
         toUnixTimestamp64Milli(timestamp) FROM {} WHERE audit_id IN ({})",
        table.source(),
        list.join(", ")
    );
    let rows = table.client.query_raw(&sql).fetch_all::<(String, String, String, i64)>();
    let rows = table.answer(QUERY_TIMEOUT, rows).await?;
    let row = |(id, kind, name, at): (String, String, String, i64)| {
        Some((Uuid::try_parse(&id).ok()?, (kind, name, at)))
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

fn is_as_sent(script: &Script, id: Uuid, stored: &Stored) -> bool {
    let Some((kind, name, at)) = stored.get(&id) else { return false };
    let Some((tenant, seq)) = script.locate(id) else { return false };
    let Ok(facts) = script.facts(tenant, seq) else { return false };
    let mut columns = Columns::default();
    columns.fill(&facts);
    columns.scope_type == kind && columns.scope_name == *name && columns.timestamp_ms == *at
}

/// Events that are asked for at once.
const IDS_AT_ONCE: usize = 1_000;

/// Events that are asked for if one of them is proven to be the reader's loss: more would not
/// change the verdict. If none is, all are asked for.
const CONFIRMED_MAX: usize = 20_000;
