//! What will be sent, and which way it goes to the table. Pure.

use std::collections::BTreeSet;
use std::ops::Range;

use events::script::DAY_US;
use events::timeline::UnixMicros;
use stores::survey::Survey;

use crate::piped::Piped;

/// What will be sent, and which way it goes to the table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Intent {
    /// The events that go through the pipeline; `None` if there are none.
    pub piped: Option<Piped>,
    /// The events that this account inserts into the table; `None` if there are none.
    pub bulk: Option<Bulk>,
    /// The period in which the requests of a history were received, as far as they are not sent
    /// yet; `None` if the requests are made while they are sent.
    pub history: Option<Range<UnixMicros>>,
    /// Days of a history that go through the pipeline.
    pub replayed_days: u64,
    /// Days with events that were sent before and are in doubt. They are sent again only if the
    /// table does not have them. So nothing may hide their rows.
    pub doubtful_days: BTreeSet<UnixMicros>,
    /// The size of rows on disk, if a probe measured it.
    pub probed: Option<RowSizes>,
}

/// Events that go straight into a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bulk {
    pub events: u64,
    /// Bytes as they are sent, before compression.
    pub bytes: u64,
}

/// A number of rows, and their size on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSizes {
    pub rows: u64,
    pub bytes_on_disk: u64,
}

impl RowSizes {
    /// The rows that a table has.
    pub fn of(survey: &Survey) -> Self {
        Self { rows: survey.rows, bytes_on_disk: survey.bytes_on_disk }
    }

    /// The size on disk of some events, if their rows are like these; `None` if these are too few.
    pub fn scaled(self, events: u64) -> Option<u64> {
        let Self { rows, bytes_on_disk } = self;
        let tell = rows >= ROWS_TELLING && bytes_on_disk > 0;
        tell.then(|| {
            let scaled = u128::from(bytes_on_disk) * u128::from(events) / u128::from(rows);
            u64::try_from(scaled).unwrap_or(u64::MAX)
        })
    }
}

/// The size of some events on disk, by the probe or else by the rows that a table has. `None` if
/// neither has enough rows.
pub fn bytes_on_disk<'s>(
    events: u64,
    probed: Option<RowSizes>,
    surveys: impl IntoIterator<Item = &'s Survey>,
) -> Option<u64> {
    let of_tables = surveys.into_iter().map(RowSizes::of);
    probed.into_iter().chain(of_tables).find_map(|sizes| sizes.scaled(events))
}

/// From this many rows on, their size on disk is typical for more of them.
const ROWS_TELLING: u64 = 100_000;

impl Intent {
    /// All events that will be sent.
    pub fn events(&self) -> u64 {
        let piped = self.piped.as_ref().map_or(0, |piped| piped.load.events);
        let bulk = self.bulk.map_or(0, |bulk| bulk.events);
        piped.saturating_add(bulk)
    }

    /// The most bytes that they can take: rows on disk were never larger than as they were sent.
    pub fn bytes(&self) -> u64 {
        let piped = self.piped.as_ref().map(|piped| piped.load);
        let piped = piped.map_or(0, |load| load.events.saturating_mul(load.event_bytes));
        piped.saturating_add(self.bulk.map_or(0, |bulk| bulk.bytes))
    }

    /// The days that get rows. Each is at least one partition.
    pub fn days(&self) -> u64 {
        let days = self.history.as_ref().map_or(0, |it| (it.end - it.start) / DAY_US);
        u64::try_from(days).unwrap_or(0)
    }
}
