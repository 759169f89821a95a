//! The bulk path: pieces of a history brought into the table, each event once.
//!
//! A piece is reserved in the ledger, inserted, and settled when the server has answered. If an
//! insert fails, whatever the reason, the table is asked which events of the piece it has before
//! anything of it is sent again, and only what it lacks is sent: and only if the account sees all
//! that the table has.

use std::collections::VecDeque;
use std::time::Duration;

use edges::clock::{Clock, micros};
use edges::errors::OneError;
use edges::shutdown::{Shutdown, Stop};
use events::timeline::UnixMicros;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use plans::plan::Plan;
use runs::ledger::{IsRepair, LedgerWriter, Settlement};
use runs::ranges::TenantRanges;
use stores::clickhouse::ClickHouseError;
use stores::clickhouse::fault::in_words;
use tracing::debug;

use crate::error::BackfillError;
use crate::governor::{Governor, GovernorLimits};
use crate::insert::{Compress, Failure, InsertOptions, insert};
use crate::lookup::{Inserts, Stores, await_silence, missing, prove_sight, received};
use crate::native::BlockColumns;
use crate::piece::Piece;
use crate::pulse::{Pulse, PulseWatch};
use crate::rows::slots;

/// How rows are inserted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BulkOptions {
    /// Inserts that are under way at once, and rows of each, at most.
    pub limits: GovernorLimits,
    pub rows_per_second_max: Option<u64>,
    /// Nothing is begun while a partition has as many parts.
    pub parts_per_partition_max: u64,
    /// Without any insert confirmed for as long, it is given up.
    pub patience: Duration,
}

/// Where rows go.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'d> {
    /// They take turns.
    pub stores: Stores<'d>,
    /// The columns that are sent.
    pub columns: &'d BlockColumns,
    pub compress: Compress,
}

/// What happened on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkEvent {
    /// Events are in the table: by an insert just now, or found there.
    Confirmed { inserted: u64, found: u64 },
    /// An insert failed, and its events will be looked up.
    Failed(Failure, OneError),
    /// The server reported its parts and memory.
    Pulse(Pulse),
}

/// What brings pieces into the table.
#[derive(Debug, Clone, Copy)]
pub struct Bulk<'b> {
    pub plan: &'b Plan,
    pub to: Destination<'b>,
    /// `None` where all is reserved and settled already.
    pub ledger: Option<&'b LedgerWriter>,
    pub clock: Clock,
    pub options: BulkOptions,
}

impl Bulk<'_> {
    /// Brings pieces into the table, in their order. Ends early if asked to stop: then those that
    /// were not begun are unsent.
    ///
    /// # Errors
    ///
    /// Returns [`BackfillError`] if it cannot go on; pieces under way then are left in doubt, to
    /// be looked up by whoever goes on.
    pub async fn bring_all(
        self,
        pieces: Vec<Piece>,
        mut shutdown: Shutdown,
        each: impl FnMut(BulkEvent),
    ) -> Result<(), BackfillError> {
        let Self { plan, to, clock, .. } = self;
        let hand = Hand { plan, to, clock };
        if pieces.iter().any(|piece| piece.is_doubtful) {
            tokio::select! {
                // An account that sees only some of the rows sends nothing, not even new events.
                seen = hand.begin_with_doubts() => seen?,
                () = shutdown.asked(Stop::Drain) => return Ok(()),
            }
        }
        let mut loader = Loader::new(pieces, self, each);
        let mut pulses = PulseWatch::start(to.stores.servers);
        let mut under_way = FuturesUnordered::new();
        let mut leaving = shutdown.clone();
        loop {
            let goes_on = loader.failure.is_none() && shutdown.stop() == Stop::No;
            while goes_on && under_way.len() < loader.lanes(pulses.last()) {
                let Some(piece) = loader.take()? else { break };
                under_way.push(hand.bring(piece));
            }
            if under_way.is_empty() && (!goes_on || loader.is_done()) {
                break;
            }
            let waits = goes_on && loader.waits(under_way.len());
            tokio::select! {
                Some(brought) = under_way.next() => loader.settle(brought)?,
                pulse = pulses.next() => loader.look(pulse),
                () = clock.sleep_until(loader.next_at()), if waits => {}
                () = shutdown.asked(Stop::Drain), if goes_on => {}
                // What is under way stays reserved and unsettled: unknown.
                () = leaving.asked(Stop::Now) => break,
            }
        }
        loader.failure.map_or(Ok(()), Err)
    }
}

/// A piece that was worked on.
struct Brought {
    piece: Piece,
    result: Result<Arrival, Trouble>,
}

/// How the events of a piece came to be in the table.
struct Arrival {
    inserted: u64,
}

/// Why a piece is not known to be in the table.
struct Trouble {
    failure: Failure,
    error: BackfillError,
}

/// Does one thing at a time with one piece.
#[derive(Clone, Copy)]
struct Hand<'h> {
    plan: &'h Plan,
    to: Destination<'h>,
    clock: Clock,
}

impl Hand<'_> {
    async fn bring(self, mut piece: Piece) -> Brought {
        let result = self.try_to_bring(&mut piece).await;
        Brought { piece, result }
    }

    async fn try_to_bring(self, piece: &mut Piece) -> Result<Arrival, Trouble> {
        let was_doubtful = piece.is_doubtful;
        let absent = if was_doubtful {
            self.await_silence(Inserts::Named(&piece.doubts)).await?;
            self.missing(piece).await?
        } else {
            piece.events(&self.plan.script)
        };
        let inserted = absent.count();
        if inserted > 0 {
            self.insert(piece, &absent).await?;
        }
        // A server that remembers tokens may have taken it for a repetition.
        if inserted > 0 && was_doubtful && !self.missing(piece).await?.is_empty() {
            piece.swallowed += 1;
            let error = BackfillError::Swallowed { rows: piece.rows };
            return Err(Trouble { failure: Failure::Passing, error });
        }
        Ok(Arrival { inserted })
    }

    /// Waits for what another process has begun, and proves that what it brought can be seen.
    async fn begin_with_doubts(self) -> Result<(), Trouble> {
        self.await_silence(Inserts::OfRun).await?;
        for _ in 1..PROOFS_MAX {
            match prove_sight(self.to.stores).await {
                Err(BackfillError::Moving { .. }) => {}
                proven => return Ok(proven?),
            }
        }
        Ok(prove_sight(self.to.stores).await?)
    }

    async fn missing(self, piece: &Piece) -> Result<TenantRanges, BackfillError> {
        let Self { plan, to, .. } = self;
        missing(plan, piece.events(&plan.script), &received(plan, &piece.due), to.stores).await
    }

    async fn insert(self, piece: &mut Piece, absent: &TenantRanges) -> Result<(), Trouble> {
        let run_id = self.plan.spec.run_id;
        let (query_id, token) = (piece.query_id(run_id), piece.token(run_id, absent));
        let servers = self.to.stores.servers;
        let server = &servers[(piece.turn + piece.attempts as usize) % servers.len()];
        piece.attempts += 1;
        piece.is_doubtful = true;
        piece.doubts.push(query_id.clone());
        let compress = self.to.compress;
        let options = InsertOptions { query_id: &query_id, token: &token, compress };
        let script = &self.plan.script;
        let slots = tokio::task::block_in_place(|| slots(script, absent));
        let (begun, rows) = (self.clock.now(), piece.rows);
        insert(script, &slots, server, self.to.columns, options).await.map_err(|source| {
            let failure = Failure::of(&source);
            let url = server.url.clone();
            Trouble { failure, error: BackfillError::Insert { url, rows, source } }
        })?;
        let took_ms = (self.clock.now() - begun) / 1_000;
        debug!(server = server.url, query_id, rows, took_ms, "inserted");
        Ok(())
    }

    async fn await_silence(self, inserts: Inserts<'_>) -> Result<(), Trouble> {
        if await_silence(self.plan, inserts, self.to.stores.servers, &self.clock).await? {
            return Ok(());
        }
        Err(Trouble { failure: Failure::Final, error: BackfillError::StillInserting })
    }
}

impl From<ClickHouseError> for Trouble {
    fn from(error: ClickHouseError) -> Self {
        let failure = match &error {
            ClickHouseError::Query { source, .. } => Failure::of(source),
            // A query that was not answered in time may be answered later.
            ClickHouseError::Silent { .. } => Failure::Passing,
            _ => Failure::Final,
        };
        Self { failure, error: error.into() }
    }
}

impl From<BackfillError> for Trouble {
    fn from(error: BackfillError) -> Self {
        match error {
            BackfillError::ClickHouse(error) => error.into(),
            // Others write to the table. It may be still at another time.
            error @ BackfillError::Moving { .. } => Self { failure: Failure::Passing, error },
            error => Self { failure: Failure::Final, error },
        }
    }
}

impl From<Trouble> for BackfillError {
    fn from(trouble: Trouble) -> Self {
        trouble.error
    }
}

/// Decides which piece is next, and what follows from how it ended.
struct Loader<'l, E> {
    plan: &'l Plan,
    queue: VecDeque<Piece>,
    /// Pieces that wait until a time, to be tried again.
    parked: Vec<(UnixMicros, Piece)>,
    ledger: Option<&'l LedgerWriter>,
    clock: Clock,
    options: BulkOptions,
    governor: Governor,
    /// When the limit on rows lets the next piece go.
    free_at: UnixMicros,
    /// When there was last progress: an insert was confirmed, or nothing had to be waited for.
    confirmed_at: UnixMicros,
    /// Whether the insert that ended last failed. Then others would probably fail too.
    is_troubled: bool,
    /// Pieces that were begun.
    taken: usize,
    /// Parts of the partition that has most.
    parts: u64,
    last_error: Option<BackfillError>,
    failure: Option<BackfillError>,
    each: E,
}

impl<'l, E: FnMut(BulkEvent)> Loader<'l, E> {
    fn new(pieces: Vec<Piece>, bulk: Bulk<'l>, each: E) -> Self {
        let Bulk { plan, ledger, clock, options, .. } = bulk;
        Self {
            plan,
            queue: pieces.into(),
            parked: Vec::new(),
            ledger,
            clock,
            options,
            governor: Governor::new(options.limits),
            free_at: clock.now(),
            confirmed_at: clock.now(),
            is_troubled: false,
            taken: 0,
            parts: 0,
            last_error: None,
            failure: None,
            each,
        }
    }

    /// How many pieces may be under way now.
    fn lanes(&self, pulse: Pulse) -> usize {
        let is_full = pulse.parts_in_partition_max >= self.options.parts_per_partition_max;
        if is_full { 0 } else { self.governor.lanes() }
    }

    fn is_done(&self) -> bool {
        self.queue.is_empty() && self.parked.is_empty()
    }

    /// Whether something could begin at [`Self::next_at`].
    fn waits(&self, under_way: usize) -> bool {
        !self.is_done() && under_way < self.governor.lanes() && self.next_at() > self.clock.now()
    }

    fn next_at(&self) -> UnixMicros {
        let parked = self.parked.iter().map(|(at, _)| *at).min();
        let queued = self.begins_new().then_some(self.free_at);
        parked.into_iter().chain(queued).min().unwrap_or(UnixMicros::MAX)
    }

    /// Whether a new piece may be begun: there is one, and no piece that was begun before waits for
    /// the server.
    fn begins_new(&self) -> bool {
        !self.queue.is_empty() && (self.parked.is_empty() || !self.is_troubled)
    }

    /// Takes the next piece whose time has come, cut to size and reserved.
    fn take(&mut self) -> Result<Option<Piece>, BackfillError> {
        let now = self.clock.now();
        let next = if let Some(at) = self.parked.iter().position(|(at, _)| *at <= now) {
            Some(self.parked.swap_remove(at).1)
        } else if self.free_at <= now && self.begins_new() {
            self.queue.pop_front()
        } else {
            None
        };
        let Some(mut piece) = next else { return Ok(None) };
        // Cuts are made at full minutes, so a piece may be somewhat larger than it should be.
        while piece.rows > self.governor.rows() * 5 / 4
            && let Some([first, second]) = piece.halves(&self.plan.script)
        {
            self.queue.push_front(second);
            piece = first;
        }
        if piece.attempts == 0 {
            self.count_first(&mut piece, now);
        }
        self.reserve(&mut piece)?;
        Ok(Some(piece))
    }

    /// Counts a piece that is begun for the first time: against the limit on rows, and in turn.
    fn count_first(&mut self, piece: &mut Piece, now: UnixMicros) {
        if self.parked.is_empty() {
            // Who limits the rate waits by himself.
            self.confirmed_at = now;
        }
        if let Some(limit) = self.options.rows_per_second_max {
            let taken_us = i64::try_from(piece.rows * 1_000_000 / limit).unwrap_or(i64::MAX);
            self.free_at = self.free_at.max(now - SECOND_US).saturating_add(taken_us);
        }
        self.taken += 1;
        piece.turn = self.taken;
    }

    /// Writes down that the events of a piece are begun, before they are.
    fn reserve(&self, piece: &mut Piece) -> Result<(), BackfillError> {
        let Some(ledger) = self.ledger.filter(|_| !piece.is_reserved) else { return Ok(()) };
        piece.is_reserved = true;
        let reserved = if piece.is_whole() {
            ledger.reserve(&piece.due)
        } else {
            ledger.reserve_again(piece.events(&self.plan.script).iter(), IsRepair::No)
        };
        reserved.map_err(BackfillError::ledger)
    }

    fn settle(&mut self, Brought { piece, result }: Brought) -> Result<(), BackfillError> {
        let now = self.clock.now();
        match result {
            Ok(Arrival { inserted }) => {
                self.record(&piece)?;
                self.confirmed_at = now;
                self.is_troubled = false;
                // The wait was given up too early.
                self.failure.take_if(|it| matches!(it, BackfillError::NoProgress { .. }));
                self.governor.confirm();
                (self.each)(BulkEvent::Confirmed { inserted, found: piece.rows - inserted });
            }
            Err(Trouble { failure: Failure::Final | Failure::NoSpace, error }) => {
                self.failure.get_or_insert(error);
            }
            Err(Trouble { failure, error }) => {
                self.governor.complain(failure);
                let words = in_words(error.server(), &error);
                self.last_error = Some(error);
                self.is_troubled = true;
                let wait = backoff(piece.attempts);
                debug!(
                    server = words.server,
                    kind = words.kind,
                    rows = piece.rows,
                    attempt = piece.attempts,
                    wait_ms = wait.as_millis(),
                    error = words.text,
                    "inserting again"
                );
                (self.each)(BulkEvent::Failed(failure, words));
                self.parked.push((now + micros(wait), piece));
            }
        }
        self.lose_patience(now);
        Ok(())
    }

    /// Writes down that the events of a piece are in the table.
    fn record(&self, piece: &Piece) -> Result<(), BackfillError> {
        let Some(ledger) = self.ledger else { return Ok(()) };
        if piece.is_whole() {
            let settled = ledger.settle_slice(&piece.due, Settlement::Acknowledged);
            return settled.map_err(BackfillError::ledger);
        }
        ledger.settle_all(&piece.events(&self.plan.script), Settlement::Acknowledged);
        ledger.flush().map_err(BackfillError::ledger)
    }

    fn look(&mut self, pulse: Pulse) {
        self.parts = pulse.parts_in_partition_max;
        (self.each)(BulkEvent::Pulse(pulse));
        self.lose_patience(self.clock.now());
    }

    fn lose_patience(&mut self, now: UnixMicros) {
        if self.failure.is_none() && now - self.confirmed_at > micros(self.options.patience) {
            let seconds = self.options.patience.as_secs();
            let (parts, limit) = (self.parts, self.options.parts_per_partition_max);
            let source = match self.last_error.take() {
                Some(error) => Some(Box::new(error)),
                None if parts >= limit => Some(Box::new(BackfillError::PartsStay { parts, limit })),
                None => None,
            };
            self.failure = Some(BackfillError::NoProgress { seconds, source });
        }
    }
}

/// How long a piece waits after attempt `attempts`: twice as long each time.
fn backoff(attempts: u32) -> Duration {
    (BACKOFF_FIRST * 2u32.saturating_pow(attempts.saturating_sub(1).min(10))).min(BACKOFF_MAX)
}

/// How often it is tried to count a table that others write to, before anything is sent.
const PROOFS_MAX: u32 = 4;

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const SECOND_US: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_is_not_answered_in_time_is_asked_again() {
        let silent = ClickHouseError::Silent { url: String::new(), seconds: 60 };
        assert_eq!(Trouble::from(silent).failure, Failure::Passing);
        assert_eq!(Trouble::from(ClickHouseError::NoUrl).failure, Failure::Final);
    }
}
