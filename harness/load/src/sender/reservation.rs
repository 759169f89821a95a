//! Reserves events in the ledger before they are sent, in slices of time.
//!
//! The ledger is a file, and a disk may take its time: it is written by threads that may wait, and
//! ahead of time, so that no lane does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use events::timeline::UnixMicros;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::{JoinHandle, spawn_blocking};

use plans::plan::Plan;
use runs::ledger::LedgerWriter;

/// How far the run is reserved: no event due later may be sent.
#[derive(Debug)]
pub(crate) struct Reservation {
    ledger: Arc<LedgerWriter>,
    until: Arc<AtomicI64>,
    extending: Arc<Mutex<()>>,
    slice_us: i64,
}

impl Reservation {
    /// Starts with nothing reserved. A slice is as long as it takes for some events to become
    /// due, so that slices do not outweigh events however slow the run is.
    pub(crate) fn new(ledger: Arc<LedgerWriter>, plan: &Plan) -> Self {
        let planned = i64::try_from(plan.script.planned()).unwrap_or(i64::MAX).max(1);
        let slice_us = ((plan.end - plan.start) / planned).saturating_mul(SLICE_EVENTS);
        Self::until_then(ledger, plan.start, slice_us.max(SLICE_US_MIN))
    }

    /// The caller has reserved everything already.
    pub(crate) fn made(ledger: Arc<LedgerWriter>) -> Self {
        Self::until_then(ledger, UnixMicros::MAX, SLICE_US_MIN)
    }

    fn until_then(ledger: Arc<LedgerWriter>, until: UnixMicros, slice_us: i64) -> Self {
        let until = Arc::new(AtomicI64::new(until));
        Self { ledger, until, extending: Arc::default(), slice_us }
    }

    /// Makes sure that all events due until `last_due`, and with it, are reserved. Waits only if
    /// the disk did not keep up. The returned future may be dropped at any time.
    pub(crate) async fn cover(&self, last_due: UnixMicros) -> io::Result<()> {
        if last_due >= self.until() {
            let only_one = Arc::clone(&self.extending).lock_owned().await;
            if last_due >= self.until() {
                let reserved = self.extend(only_one, last_due).await;
                return reserved.map_err(io::Error::other)?;
            }
        }
        // Reserves the next slice in advance. If that fails, the lane that needs the slice gets the
        // error.
        let is_short = || self.until() - last_due <= self.slice_us / 2;
        if is_short()
            && let Ok(only_one) = Arc::clone(&self.extending).try_lock_owned()
            && is_short()
        {
            drop(self.extend(only_one, last_due));
        }
        Ok(())
    }

    /// Reserves a slice beyond `last_due`, to its end even if nobody waits for it.
    fn extend(
        &self,
        only_one: OwnedMutexGuard<()>,
        last_due: UnixMicros,
    ) -> JoinHandle<io::Result<()>> {
        let (ledger, until) = (Arc::clone(&self.ledger), Arc::clone(&self.until));
        let slice_us = self.slice_us;
        spawn_blocking(move || {
            let _only_one = only_one;
            let from = until.load(Ordering::Acquire);
            let end = from.max(last_due + 1) + slice_us;
            ledger.reserve(&(from..end))?;
            until.store(end, Ordering::Release);
            Ok(())
        })
    }

    /// Waits until no slice is being reserved. One that is reserved in advance may come late, and
    /// must not be written after the ledger was closed.
    pub(crate) async fn rest(&self) {
        drop(self.extending.lock().await);
    }

    /// The end of what is reserved.
    pub(crate) fn until(&self) -> UnixMicros {
        self.until.load(Ordering::Acquire)
    }
}

const SLICE_EVENTS: i64 = 64;
const SLICE_US_MIN: i64 = 250_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::live_plan;
    use runs::ledger::{Ledger, LedgerHead};

    const HEAD: LedgerHead = LedgerHead { seal: [7; 16], shard: 0, shards: 1 };

    #[tokio::test]
    async fn what_is_covered_is_in_the_file_and_the_next_slice_is_there_before_it_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger-0.bin");
        let plan = live_plan("10/s", "5", "100s");
        let ledger = Arc::new(LedgerWriter::create(&path, &HEAD).unwrap());
        let reservation = Reservation::new(ledger, &plan);
        let reserved = || {
            let mut ledger = Ledger::empty(&plan.script);
            ledger.read(&path, &plan.script, &HEAD).unwrap();
            ledger.accounts[0].reserved.count()
        };
        for second in 0..20 {
            let now = plan.start + second * 1_000_000;
            // Dropped at once, as a lane does if something else happens first.
            tokio::select! { biased; _ = reservation.cover(now) => {} () = async {} => {} }
            reservation.cover(now).await.unwrap();
            assert!(reservation.until() > now);
            assert!(reserved() > u64::try_from(second * 10).unwrap(), "second {second}");
        }
        let until = reservation.until();
        reservation.cover(until - 1).await.unwrap();
        while reservation.until() == until {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_slice_that_is_reserved_late_comes_before_the_end_of_the_ledger() {
        // One thread may wait for the disk, and it is busy.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).max_blocking_threads(1).build().unwrap();
        let plan = live_plan("10/s", "5", "100s");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let ledger = Arc::new(LedgerWriter::create(&path, &HEAD).unwrap());
        let reservation = Reservation::new(Arc::clone(&ledger), &plan);
        runtime.block_on(async {
            reservation.cover(plan.start).await.unwrap();
            let (free, busy) = std::sync::mpsc::channel::<()>();
            let occupied = spawn_blocking(move || busy.recv());
            let late = reservation.until();
            reservation.cover(late - 1).await.unwrap();
            assert_eq!(reservation.until(), late, "it waits for the thread");
            let mut rest = std::pin::pin!(reservation.rest());
            assert!(futures_util::poll!(rest.as_mut()).is_pending());
            free.send(()).unwrap();
            occupied.await.unwrap().unwrap();
            rest.await;
            assert!(reservation.until() > late);
            ledger.close().unwrap();
        });
        let mut read = Ledger::empty(&plan.script);
        read.read(&path, &plan.script, &HEAD).unwrap();
        assert!(read.closed);
    }
}
