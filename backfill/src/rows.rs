//! The rows of an insert, in the order of the table, so that the server need not sort them.

use std::ops::Range;

use events::facts::Facts;
use events::identity::{Seq, TenantIndex};
use events::render::{Form, render};
use events::row::Columns;
use events::script::Script;
use events::timeline::UnixMicros;
use rayon::prelude::*;
use runs::ranges::TenantRanges;
use uuid::Uuid;

/// One row: which event, when its request was received, and when its answer is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    pub received_ms: i64,
    pub tenant: TenantIndex,
    pub seq: Seq,
    pub due: UnixMicros,
}

impl Slot {
    /// What its event says.
    pub fn facts(self, script: &Script) -> Facts<'_> {
        script.facts_due(self.tenant, self.seq, self.due)
    }
}

/// Returns the rows of some events, sorted as the table is: by the time of receipt, then scope,
/// user and audit ID.
///
/// Source: the sort key in `deploy/clickhouse/audit_logs.sql`.
pub fn slots(script: &Script, events: &TenantRanges) -> Vec<Slot> {
    let pieces: Vec<(TenantIndex, Range<u64>)> = events
        .iter()
        .flat_map(|(tenant, seqs)| seqs.ranges().iter().map(move |range| (tenant, range.clone())))
        .flat_map(|(tenant, range)| pieces(range).map(move |piece| (tenant, piece)))
        .collect();
    let slots_of = |(tenant, piece): (TenantIndex, Range<u64>)| {
        let mut walk = script.timeline(tenant).walk();
        piece.map(Seq).map(move |seq| {
            let due = walk.due(seq).expect("a row is of the plan");
            let received_ms = script.facts_due(tenant, seq, due).received.div_euclid(1_000);
            Slot { received_ms, tenant, seq, due }
        })
    };
    let mut slots: Vec<Slot> = pieces.into_par_iter().flat_map_iter(slots_of).collect();
    slots.par_sort_unstable();
    for same in slots.chunk_by_mut(|a, b| a.received_ms == b.received_ms) {
        if same.len() > 1 {
            same.sort_by_cached_key(|slot| rest_of_key(script, *slot));
        }
    }
    slots
}

/// Cuts a range into pieces that cores can share.
fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    const PIECE: usize = 1_000;
    let end = range.end;
    range.step_by(PIECE).map(move |start| start..end.min(start + PIECE as u64))
}

/// Calls `each` with every row's event as JSON, with its columns, and with its ID.
pub fn for_each_row(script: &Script, slots: &[Slot], mut each: impl FnMut(&[u8], &Columns, Uuid)) {
    let mut columns = Columns::default();
    let mut json = Vec::new();
    for slot in slots {
        let facts = slot.facts(script);
        json.clear();
        render(&facts, Form::Item, &mut json);
        columns.fill(&facts);
        each(&json, &columns, facts.audit_id);
    }
}

type RestOfKey = (&'static str, String, String, (u64, u64));

fn rest_of_key(script: &Script, slot: Slot) -> RestOfKey {
    let facts = slot.facts(script);
    let mut columns = Columns::default();
    columns.fill(&facts);
    // The server compares the second half of a UUID first.
    let (first, second) = facts.audit_id.as_u64_pair();
    (columns.scope_type, columns.scope_name, columns.user, (second, first))
}
