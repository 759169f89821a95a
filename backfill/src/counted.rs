//! Counts what a load does, for its summary, and passes each event to a listener.

use edges::clock::Clock;
use edges::errors::ErrorCounts;

use crate::bulk::BulkEvent;
use crate::replay::ReplayProgress;
use crate::report::{BulkSummary, ReplaySummary};

/// An event of a load.
#[derive(Debug, Clone, Copy)]
pub enum LoadEvent<'e> {
    /// An event of the part that goes straight into the table.
    Bulk(&'e BulkEvent),
    /// The progress of a replay.
    Replaying(&'e ReplayProgress),
    /// A replay has ended. The webhook acknowledged this many events.
    Replayed { acknowledged: u64 },
    /// This many events of a replay were in doubt, and the table has them.
    Found { events: u64 },
}

/// A function that takes each event of a load. It must not block.
pub type Listen<'l> = dyn FnMut(LoadEvent<'_>) + Send + 'l;

/// The counts so far.
pub(crate) struct Counted<'l> {
    /// Counts of the part that goes straight into the table.
    pub(crate) bulk: BulkSummary,
    /// Counts of the part that goes through the pipeline.
    pub(crate) replay: ReplaySummary,
    /// Errors after which events were sent again.
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
                // Events that were found in the table were not inserted again.
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

    /// Passes on the progress of a replay. Its acknowledged events are counted when it ends.
    pub(crate) fn tell_replay(&mut self, state: &ReplayProgress) {
        (self.listen)(LoadEvent::Replaying(state));
    }

    /// Counts the acknowledged events of a replay, and the errors of its requests.
    pub(crate) fn count_replayed(&mut self, acknowledged: u64, errors: &ErrorCounts) {
        self.replay.acknowledged += acknowledged;
        self.errors.add(errors);
        (self.listen)(LoadEvent::Replayed { acknowledged });
    }

    /// Counts events of a replay that were in doubt and that the table has.
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
