//! Asks the table once more for events that no walk has shown, and for those that were shown again:
//! only what it still has, as it was sent, is the reader's loss, and what it has only once is the
//! reader's repetition.

use std::collections::{BTreeMap, BTreeSet};

use events::row::Columns;
use events::script::Script;
use runs::readback::{Blame, ReadFault, ReadFinding};
use stores::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT};
use uuid::Uuid;

use super::unit::{Unit, UnitResult};
use crate::error::VerifyError;
use crate::patience::Patience;

/// Takes findings back of events that the table does not have, or has with another scope or time,
/// and of events that are shown again because by now it has them more than once.
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
    let again = ids(&result, |it| it.fault == ReadFault::Repeated);
    let is_doubled = |id, stored: &Stored| stored.get(&id).is_some_and(|(_, count)| *count > 1);
    let doubled = excused(table, &again, is_doubled, patience).await?;
    for walk in &mut result.walks {
        let is_doubled = |id: Option<Uuid>| id.is_some_and(|id| doubled.contains(&id));
        walk.findings.retain(|it| it.fault != ReadFault::Repeated || !is_doubled(it.audit_id));
    }
    let blamed = ids(&result, |it| it.blame == Some(Blame::Reader));
    let is_otherwise = |id, stored: &Stored| !is_as_sent(script, id, stored);
    let otherwise = excused(table, &blamed, is_otherwise, patience).await?;
    if otherwise.is_empty() {
        return Ok(result);
    }
    result.stored_otherwise = otherwise.len() as u64;
    result.stored -= result.stored_otherwise;
    for walk in &mut result.walks {
        let is_excused = |id: Option<Uuid>| id.is_some_and(|id| otherwise.contains(&id));
        let is_missing = |fault| matches!(fault, ReadFault::Unreachable | ReadFault::EndedEarly);
        walk.findings.retain(|it| !is_missing(it.fault) || !is_excused(it.audit_id));
        walk.stored -= result.stored_otherwise;
    }
    debug_assert!(unit.stored_count() >= result.stored, "no event was added");
    Ok(result)
}

/// The events of some findings.
fn ids(result: &UnitResult, is_of_kind: impl Fn(&ReadFinding) -> bool) -> Vec<Uuid> {
    let findings = result.walks.iter().flat_map(|walk| &walk.findings);
    let of_kind = findings.filter(|it| is_of_kind(it)).filter_map(|it| it.audit_id);
    of_kind.collect::<BTreeSet<Uuid>>().into_iter().collect()
}

/// Those of some events whose findings are to be taken back.
async fn excused(
    table: &ClickHouse,
    ids: &[Uuid],
    is_excused: impl Fn(Uuid, &Stored) -> bool,
    patience: &mut Patience,
) -> Result<BTreeSet<Uuid>, VerifyError> {
    let mut excused: BTreeSet<Uuid> = BTreeSet::new();
    for (asked, ids) in (0..).step_by(IDS_AT_ONCE).zip(ids.chunks(IDS_AT_ONCE)) {
        if asked >= CONFIRMED_MAX && excused.len() < asked {
            break;
        }
        let stored = patience.ask(async || read(table, ids).await).await?;
        excused.extend(ids.iter().filter(|id| is_excused(**id, &stored)));
    }
    Ok(excused)
}

/// Scope type, scope name and time of a row, and how often it is there.
type Stored = BTreeMap<Uuid, ((String, String, i64), u64)>;

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
    let mut stored = Stored::new();
    for (id, kind, name, at) in rows {
        if let Ok(id) = Uuid::try_parse(&id) {
            stored.entry(id).or_insert(((kind, name, at), 0)).1 += 1;
        }
    }
    Ok(stored)
}

fn is_as_sent(script: &Script, id: Uuid, stored: &Stored) -> bool {
    let Some(((kind, name, at), _)) = stored.get(&id) else { return false };
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
