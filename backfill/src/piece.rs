//! What one insert is of: the events of a slice of time, or some of them.

use std::collections::BTreeMap;
use std::ops::Range;

use events::identity::TenantIndex;
use events::script::Script;
use events::timeline::UnixMicros;
use harness::ledger::{Account, Ledger};
use harness::ranges::RangeSet;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::chunk::{Chunk, halves, seqs_due};

/// Sequence numbers of some tenants.
pub type EventSets = BTreeMap<TenantIndex, RangeSet>;

/// Events that are brought into the table together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The slice of one day that they are due in.
    pub due: Range<UnixMicros>,
    pub events: EventSets,
    /// All that is due in the slice is of the piece.
    pub is_whole: bool,
    pub rows: u64,
    /// An insert of them was begun, here or by a process that died: the table may have them.
    pub is_doubtful: bool,
    /// Inserts that were begun here and whose answer did not settle them.
    pub doubts: Vec<String>,
    pub attempts: u32,
    /// How often the server took them for a repetition, although it did not have them.
    pub swallowed: u32,
}

impl Piece {
    fn new(script: &Script, due: Range<UnixMicros>, events: EventSets, is_doubtful: bool) -> Self {
        let rows = count(&events);
        let all: u64 = seqs_due(script, &due).map(|(_, seqs)| seqs.end - seqs.start).sum();
        let is_whole = rows == all;
        let doubts = Vec::new();
        Self { due, events, is_whole, rows, is_doubtful, doubts, attempts: 0, swallowed: 0 }
    }

    /// Cuts the piece in two, if it can be cut.
    pub fn halves(&self, script: &Script) -> Option<[Self; 2]> {
        let parts = halves(script, &self.due)?.map(|due| {
            let events = intersection(&self.events, &all_due(script, &due));
            let doubts = self.doubts.clone();
            Self { doubts, ..Self::new(script, due, events, self.is_doubtful) }
        });
        parts.iter().all(|part| part.rows > 0).then_some(parts)
    }

    /// Name of the next insert of this piece: the server knows the query under it.
    pub fn query_id(&self, run_id: Uuid) -> String {
        let Range { start, end } = self.due;
        format!("{}{start}-{end}-{}", query_prefix(run_id), self.attempts)
    }

    /// What tells the server that an insert is of the same rows as one before. The same rows have
    /// the same token, until the server is found to have swallowed them for it.
    pub fn token(&self, run_id: Uuid, missing: &EventSets) -> String {
        let hash = Sha256::digest(format!("{run_id} {missing:?} {}", self.swallowed));
        let bytes = hash[..16].try_into().expect("it has 32 bytes");
        format!("auditstorm-{}", Uuid::from_bytes(bytes))
    }
}

/// What the names of all inserts of a run begin with.
pub fn query_prefix(run_id: Uuid) -> String {
    format!("auditstorm-{run_id}-")
}

/// Returns what is still to be brought into the table: of each chunk that the ledger does not
/// call acknowledged, all events if none was begun, else those that are in doubt or were not.
pub fn pieces_left(script: &Script, chunks: &[Chunk], ledger: &Ledger) -> Vec<Piece> {
    let attempted: Vec<_> = ledger.accounts.iter().map(Account::attempted).collect();
    let overlap =
        |set: &RangeSet, seqs: &Range<u64>| -> RangeSet { set.overlapping(seqs).collect() };
    let mut pieces = Vec::new();
    for chunk in chunks {
        let mut events = EventSets::new();
        let mut is_doubtful = false;
        for (tenant, seqs) in seqs_due(script, &chunk.due) {
            let index = usize::from(tenant.0);
            let acknowledged = overlap(&ledger.accounts[index].acknowledged, &seqs);
            let left = RangeSet::of(seqs.clone()).difference(&acknowledged);
            is_doubtful |= !left.intersection(&overlap(&attempted[index], &seqs)).is_empty();
            if !left.is_empty() {
                events.insert(tenant, left);
            }
        }
        if !events.is_empty() {
            pieces.push(Piece::new(script, chunk.due.clone(), events, is_doubtful));
        }
    }
    pieces
}

/// Returns pieces of just some events, each of which was sent before.
pub fn pieces_of(script: &Script, chunks: &[Chunk], events: &EventSets) -> Vec<Piece> {
    let of_chunk = |chunk: &Chunk| intersection(events, &all_due(script, &chunk.due));
    chunks
        .iter()
        .map(|chunk| Piece::new(script, chunk.due.clone(), of_chunk(chunk), true))
        .filter(|piece| piece.rows > 0)
        .collect()
}

/// How many events there are.
pub fn count(events: &EventSets) -> u64 {
    events.values().map(RangeSet::count).sum()
}

/// Returns what is in the first sets alone.
pub fn difference(events: &EventSets, other: &EventSets) -> EventSets {
    let nothing = RangeSet::new();
    combined(events, |tenant, set| set.difference(other.get(&tenant).unwrap_or(&nothing)))
}

fn intersection(events: &EventSets, other: &EventSets) -> EventSets {
    let nothing = RangeSet::new();
    combined(events, |tenant, set| set.intersection(other.get(&tenant).unwrap_or(&nothing)))
}

fn combined(events: &EventSets, with: impl Fn(TenantIndex, &RangeSet) -> RangeSet) -> EventSets {
    let results = events.iter().map(|(tenant, set)| (*tenant, with(*tenant, set)));
    results.filter(|(_, set)| !set.is_empty()).collect()
}

/// Returns all events that are due in a slice of time.
pub fn all_due(script: &Script, due: &Range<UnixMicros>) -> EventSets {
    let sets = seqs_due(script, due).filter(|(_, seqs)| !seqs.is_empty());
    sets.map(|(tenant, seqs)| (tenant, RangeSet::of(seqs))).collect()
}
