//! What a load has done so far: counted for its summary, and told to whoever listens.

use edges::clock::Clock;
use edges::errors::ErrorCounts;

use crate::bulk::BulkEvent;
use crate::replay::ReplayProgress;
use crate::report::{BulkSummary, ReplaySummary};

/// What happens while a load goes on.
#[derive(Debug, Clone, Copy)]
pub enum LoadEvent<'e> {
    /// Something happened on the way straight into the table.
    Bulk(&'e BulkEvent),
    /// How far a replay is.
    Replaying(&'e ReplayProgress),
    /// A replay has ended that acknowledged so many events.
    Replayed { acknowledged: u64 },
    /// So many events of a replay were in doubt, and are in the table.
    Found { events: u64 },
}

/// Who is told what happens. It must not block.
pub type Listen<'l> = dyn FnMut(LoadEvent<'_>) + Send + 'l;

/// What was done so far.
pub(crate) struct Counted<'l> {
    /// What went straight into the table.
    pub(crate) bulk: BulkSummary,
    /// What went through the pipeline.
    pub(crate) replay: ReplaySummary,
    /// Errors after which something was sent again.
    pub(crate) errors: ErrorCounts,
    clock: Clock,
    listen: &'l mut Listen<'l>,
}

impl<'l> Counted<'l> {
    pub(crate) fn new(clock: Clock, listen: &'l mut Listen<'l>) -> Self {
        let (bulk, replay) = (BulkSummary::default(), ReplaySummary::default());
        Self { bulk, replay, errors: ErrorCounts::default(), clock, listen }
    }

    pub(crate) fn take(&mut self, event: &BulkEvent) {
        match event {
            BulkEvent::Confirmed { inserted, found } => {
                self.bulk.inserted += inserted;
                self.bulk.found += found;
                // What was found was not inserted again.
                self.bulk.inserts += u64::from(*inserted > 0);
            }
            BulkEvent::Failed(_, error) => {
                self.bulk.failed_inserts += 1;
                self.errors.count(error.clone(), self.clock.now());
            }
            BulkEvent::Pulse(pulse) => self.bulk.parts = pulse.parts,
        }
        (self.listen)(LoadEvent::Bulk(event));
    }

    /// Tells how far a replay is. What it acknowledges is counted at its end.
    pub(crate) fn tell_replay(&mut self, state: &ReplayProgress) {
        (self.listen)(LoadEvent::Replaying(state));
    }

    /// Counts what a replay acknowledged, and why requests had no answer.
    pub(crate) fn count_replayed(&mut self, acknowledged: u64, errors: &ErrorCounts) {
        self.replay.acknowledged += acknowledged;
        self.errors.add(errors);
        (self.listen)(LoadEvent::Replayed { acknowledged });
    }

    /// Counts events of a replay that were in doubt, and are in the table.
    pub(crate) fn find_replayed(&mut self, events: u64) {
        self.replay.found += events;
        (self.listen)(LoadEvent::Found { events });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_no_insert_and_all_is_told() {
        let mut told = Vec::new();
        let listen = &mut |event: LoadEvent<'_>| told.push(format!("{event:?}"));
        let mut counted = Counted::new(Clock::starting_at(0), listen);
        counted.take(&BulkEvent::Confirmed { inserted: 10, found: 0 });
        counted.take(&BulkEvent::Confirmed { inserted: 0, found: 20 });
        counted.find_replayed(5);
        let BulkSummary { inserted, found, inserts, .. } = counted.bulk;
        assert_eq!((inserted, found, inserts, counted.replay.found), (10, 20, 1, 5));
        assert_eq!(told.len(), 3);
        assert_eq!(told[2], "Found { events: 5 }");
    }
}
