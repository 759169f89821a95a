//! What one insert is of: the events of a slice of time, or some of them.

use std::ops::Range;

use events::script::Script;
use events::timeline::UnixMicros;
use harness::ledger::{Account, Ledger};
use harness::ranges::{RangeSet, TenantRanges};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::chunk::{Chunk, due_of, halves, seqs_due};

/// Events that are brought into the table together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The slice of one day that they are due in.
    pub due: Range<UnixMicros>,
    pub events: TenantRanges,
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
    fn new(
        script: &Script,
        due: Range<UnixMicros>,
        events: TenantRanges,
        is_doubtful: bool,
    ) -> Self {
        let rows = events.count();
        let all: u64 = seqs_due(script, &due).map(|(_, seqs)| seqs.end - seqs.start).sum();
        let is_whole = rows == all;
        let doubts = Vec::new();
        Self { due, events, is_whole, rows, is_doubtful, doubts, attempts: 0, swallowed: 0 }
    }

    /// Cuts the piece in two, if it can be cut.
    pub fn halves(&self, script: &Script) -> Option<[Self; 2]> {
        let parts = halves(script, &self.due)?.map(|due| {
            let events = due_of(script, &due, &self.events);
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
    pub fn token(&self, run_id: Uuid, missing: &TenantRanges) -> String {
        let hash = Sha256::digest(format!("{run_id} {missing:?} {}", self.swallowed));
        let bytes = hash[..16].try_into().expect("it has 32 bytes");
        format!("auditstorm-{}", Uuid::from_bytes(bytes))
    }
}

/// What the names of all inserts of a run begin with.
pub fn query_prefix(run_id: Uuid) -> String {
    format!("auditstorm-{run_id}-")
}

/// Returns what is still to be brought into the table: of each chunk, what the ledger does not call
/// acknowledged. It is in doubt if any of it was begun.
pub fn pieces_left(script: &Script, chunks: &[Chunk], ledger: &Ledger) -> Vec<Piece> {
    let unknown: Vec<_> = ledger.accounts.iter().map(Account::unknown).collect();
    let mut pieces = Vec::new();
    for chunk in chunks {
        let mut events = TenantRanges::new();
        let mut is_doubtful = false;
        for (tenant, seqs) in seqs_due(script, &chunk.due) {
            let index = usize::from(tenant.0);
            let mut left = RangeSet::of(seqs.clone());
            for done in ledger.accounts[index].acknowledged.overlapping(&seqs) {
                left.remove(done);
            }
            is_doubtful |= unknown[index].overlapping(&seqs).next().is_some();
            left.ranges().iter().for_each(|range| events.insert(tenant, range.clone()));
        }
        if !events.is_empty() {
            pieces.push(Piece::new(script, chunk.due.clone(), events, is_doubtful));
        }
    }
    pieces
}

/// Returns pieces of just some events, each of which was sent before.
pub fn pieces_of(script: &Script, chunks: &[Chunk], events: &TenantRanges) -> Vec<Piece> {
    let of_chunk = |chunk: &Chunk| due_of(script, &chunk.due, events);
    chunks
        .iter()
        .map(|chunk| Piece::new(script, chunk.due.clone(), of_chunk(chunk), true))
        .filter(|piece| piece.rows > 0)
        .collect()
}

/// Returns all events that are due in a slice of time.
pub fn all_due(script: &Script, due: &Range<UnixMicros>) -> TenantRanges {
    seqs_due(script, due).map(|(tenant, seqs)| (tenant, RangeSet::of(seqs))).collect()
}
