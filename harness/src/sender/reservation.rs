//! Reserves events in the ledger before they are sent, in slices of time.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use events::timeline::UnixMicros;

use crate::ledger::LedgerWriter;
use crate::plan::Plan;

/// How far the run is reserved: no event due later may be sent.
#[derive(Debug)]
pub(crate) struct Reservation {
    ledger: Arc<LedgerWriter>,
    until: AtomicI64,
    extending: Mutex<()>,
    slice_us: i64,
}

impl Reservation {
    /// Starts with nothing reserved. A slice is as long as it takes for some events to become
    /// due, so that slices do not outweigh events however slow the run is.
    pub(crate) fn new(ledger: Arc<LedgerWriter>, plan: &Plan) -> Self {
        let planned = i64::try_from(plan.script.planned()).unwrap_or(i64::MAX).max(1);
        let slice_us = ((plan.end - plan.start) / planned).saturating_mul(SLICE_EVENTS);
        Self {
            ledger,
            until: AtomicI64::new(plan.start),
            extending: Mutex::new(()),
            slice_us: slice_us.max(SLICE_US_MIN),
        }
    }

    /// What the caller has reserved: all of it.
    pub(crate) fn made(ledger: Arc<LedgerWriter>) -> Self {
        let until = AtomicI64::new(UnixMicros::MAX);
        Self { ledger, until, extending: Mutex::new(()), slice_us: SLICE_US_MIN }
    }

    /// Makes sure that all events due until `last_due`, and with it, are reserved.
    pub(crate) fn cover(&self, last_due: UnixMicros) -> io::Result<()> {
        if last_due < self.until() {
            return Ok(());
        }
        let _only_one = self.extending.lock().expect("no holder of the lock panics");
        let from = self.until();
        if last_due < from {
            return Ok(());
        }
        let until = last_due + self.slice_us;
        self.ledger.reserve(&(from..until))?;
        self.until.store(until, Ordering::Release);
        Ok(())
    }

    /// The end of what is reserved.
    pub(crate) fn until(&self) -> UnixMicros {
        self.until.load(Ordering::Acquire)
    }
}

const SLICE_EVENTS: i64 = 64;
const SLICE_US_MIN: i64 = 250_000;
