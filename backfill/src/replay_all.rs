//! The last days of a history through the pipeline, until each event is acknowledged or found.
//!
//! An event without an answer may be in the pipeline, or nowhere. Once the consumer has read
//! everything and the table no longer grows, the table is asked which of these events it has, and
//! the others are sent again. If one of them was on its way after all, it is stored only once,
//! because of the duplicate window of the stream.

use std::time::Duration;

use edges::clock::{Clock, micros};
use edges::shutdown::{Shutdown, Stop};
use plans::plan::Plan;
use runs::ledger::{LedgerWriter, Settlement};
use runs::ranges::TenantRanges;
use stores::stored::read_rows;

use crate::counted::Counted;
use crate::error::BackfillError;
use crate::lookup::{Stores, missing};
use crate::replay::{Replay, StreamWatch, Waited};

/// What a replay needs beside what it sends with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replaying<'r> {
    pub(crate) plan: &'r Plan,
    pub(crate) stores: Stores<'r>,
    pub(crate) ledger: &'r LedgerWriter,
    pub(crate) clock: Clock,
    pub(crate) shutdown: &'r Shutdown,
    /// The table counts as still if it has not grown for this long.
    pub(crate) settle: Duration,
}

/// Sends `left`, of which `doubtful` may have been sent before. Ends early if asked to stop.
///
/// # Errors
///
/// Returns [`BackfillError`] if it cannot go on.
pub(crate) async fn replay_all<W: StreamWatch>(
    mut replay: Replay<W>,
    with: Replaying<'_>,
    mut left: TenantRanges,
    mut doubtful: TenantRanges,
    counted: &mut Counted<'_>,
) -> Result<(), BackfillError> {
    for _ in 0..ROUNDS_MAX {
        if !doubtful.is_empty() {
            if drain(&mut replay, with, counted).await? == Waited::Stopped {
                return Ok(());
            }
            let found = with.find(&doubtful).await?;
            counted.find_replayed(found.count());
            left.subtract(&found);
        }
        let replayed =
            replay.send(&left, with.shutdown, &mut |state| counted.tell_replay(state)).await?;
        counted.count_replayed(replayed.acknowledged, &replayed.tally.errors);
        if replayed.stopped || replayed.doubtful.is_empty() {
            // Done is what the consumer has read, or nothing more is wanted.
            if !replayed.stopped {
                drain(&mut replay, with, counted).await?;
            }
            return Ok(());
        }
        (left, doubtful) = (replayed.doubtful.clone(), replayed.doubtful);
    }
    Err(BackfillError::StillDoubtful { events: doubtful.count() })
}

async fn drain<W: StreamWatch>(
    replay: &mut Replay<W>,
    with: Replaying<'_>,
    counted: &mut Counted<'_>,
) -> Result<Waited, BackfillError> {
    replay.drain(with.shutdown, &mut |state| counted.tell_replay(state)).await
}

impl Replaying<'_> {
    /// Waits until the table does not grow any more, and returns which of some events it has; they
    /// are settled.
    async fn find(self, doubtful: &TenantRanges) -> Result<TenantRanges, BackfillError> {
        self.await_stillness().await?;
        let Plan { piped_from, end, .. } = *self.plan;
        let missing = missing(self.plan, doubtful.clone(), &(piped_from..end), self.stores).await?;
        let mut found = doubtful.clone();
        found.subtract(&missing);
        self.ledger.settle_all(&found, Settlement::Acknowledged);
        self.ledger.flush().map_err(BackfillError::ledger)?;
        Ok(found)
    }

    /// Waits until no server has got rows for longer than the aggregator holds a batch back, or the
    /// user asks to stop.
    async fn await_stillness(self) -> Result<(), BackfillError> {
        let mut shutdown = self.shutdown.clone();
        let begun = self.clock.now();
        let mut last = (0, begun);
        loop {
            let mut rows = 0;
            for server in self.stores.servers {
                rows += read_rows(server).await?;
            }
            let now = self.clock.now();
            if rows != last.0 {
                last = (rows, now);
            }
            let is_still = now - last.1 >= micros(self.settle);
            if is_still || now - begun >= micros(SETTLE_WAIT_MAX) || shutdown.stop() != Stop::No {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = shutdown.asked(Stop::Drain) => {}
            }
        }
    }
}

/// The longest wait for a still table. If others write to the table too, it never is.
const SETTLE_WAIT_MAX: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(500);

/// How often events in doubt are sent again at most.
const ROUNDS_MAX: u32 = 5;
