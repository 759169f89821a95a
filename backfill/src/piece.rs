//! The events of one insert: all events of a slice of time, or some of them.

use std::ops::Range;

use events::script::Script;
use events::timeline::UnixMicros;
use runs::ledger::{Account, Ledger};
use runs::ranges::{RangeSet, TenantRanges};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::chunk::{Chunk, due_of, halves, seqs_due};

/// Events that are brought into the table together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The slice of one day that they are due in.
    pub due: Range<UnixMicros>,
    /// `None` means all events that are due in the slice.
    some: Option<TenantRanges>,
    pub rows: u64,
    /// An insert of them was begun, here or by a process that died: the table may have them.
    pub is_doubtful: bool,
    /// Whether the ledger already says that they are begun.
    pub is_reserved: bool,
    /// Inserts that were begun here and whose answer did not settle them.
    pub doubts: Vec<String>,
    pub attempts: u32,
    /// Which server its first insert goes to, modulo how many there are.
    pub turn: usize,
    /// How often the server took an insert of them for a repetition although it did not have them.
    pub swallowed: u32,
}

impl Piece {
    /// A piece of all that is due in a chunk, none of which was begun before.
    pub fn whole(chunk: &Chunk) -> Self {
        Self {
            due: chunk.due.clone(),
            some: None,
            rows: chunk.rows,
            is_doubtful: false,
            is_reserved: false,
            doubts: Vec::new(),
            attempts: 0,
            turn: 0,
            swallowed: 0,
        }
    }

    /// A piece of some of the events that are due in a chunk.
    fn some(chunk: &Chunk, events: TenantRanges, is_doubtful: bool) -> Self {
        let rows = events.count();
        let some = Some(events).filter(|_| rows < chunk.rows);
        Self { some, rows, is_doubtful, ..Self::whole(chunk) }
    }

    /// Its events.
    pub fn events(&self, script: &Script) -> TenantRanges {
        self.some.clone().unwrap_or_else(|| all_due(script, &self.due))
    }

    /// Whether the piece has all events that are due in its slice.
    pub fn is_whole(&self) -> bool {
        self.some.is_none()
    }

    /// Cuts the piece in two, if it can be cut.
    pub fn halves(&self, script: &Script) -> Option<[Self; 2]> {
        let parts = halves(script, &self.due)?.map(|due| {
            let some = self.some.as_ref().map(|some| due_of(script, &due, some));
            let all = || seqs_due(script, &due).map(|(_, seqs)| seqs.end - seqs.start).sum();
            let rows = some.as_ref().map_or_else(all, TenantRanges::count);
            Self { rows, some, due: due.clone(), ..self.clone() }
        });
        parts.iter().all(|part| part.rows > 0).then_some(parts)
    }

    /// Name of the next insert of this piece: the server knows the query under it.
    pub fn query_id(&self, run_id: Uuid) -> String {
        let Range { start, end } = self.due;
        format!("{}{start}-{end}-{}", query_prefix(run_id), self.attempts)
    }

    /// The token by which the server recognizes a repeated insert. The same rows keep the same
    /// token, until the server is found to have ignored them because of it.
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
        let mut left = TenantRanges::new();
        let mut is_doubtful = false;
        for (tenant, seqs) in seqs_due(script, &chunk.due) {
            let index = usize::from(tenant.0);
            is_doubtful |= unknown[index].overlapping(&seqs).next().is_some();
            let mut own = RangeSet::of(seqs.clone());
            for done in ledger.accounts[index].acknowledged.overlapping(&seqs) {
                own.remove(done);
            }
            left.insert_all(tenant, &own);
        }
        if !left.is_empty() {
            pieces.push(Piece::some(chunk, left, is_doubtful));
        }
    }
    pieces
}

/// Returns pieces of just some events, each of which was sent before.
pub fn pieces_of(script: &Script, chunks: &[Chunk], events: &TenantRanges) -> Vec<Piece> {
    let some = |chunk: &Chunk| Piece::some(chunk, due_of(script, &chunk.due, events), true);
    chunks.iter().map(some).filter(|piece| piece.rows > 0).collect()
}

/// Returns all events that are due in a slice of time.
pub fn all_due(script: &Script, due: &Range<UnixMicros>) -> TenantRanges {
    seqs_due(script, due).map(|(tenant, seqs)| (tenant, RangeSet::of(seqs))).collect()
}
