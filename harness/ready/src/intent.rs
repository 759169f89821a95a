//! What is to be brought into a table, and which way. Pure.

use std::collections::BTreeSet;
use std::ops::Range;

use events::script::DAY_US;
use events::timeline::UnixMicros;
use stores::survey::Survey;

use crate::piped::Piped;

/// What is to be brought into a table, and which way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Intent {
    /// What goes through the pipeline; `None` if nothing does.
    pub piped: Option<Piped>,
    /// What goes straight into the table, by the account that asks; `None` if nothing does.
    pub bulk: Option<Bulk>,
    /// When the requests of a history were received, as far as it is still to be sent; `None` if
    /// all happens while it is sent.
    pub history: Option<Range<UnixMicros>>,
    /// Days of a history that go through the pipeline.
    pub replayed_days: u64,
    /// Days with events that were begun before and are in doubt. They are sent again only if the
    /// table does not have them, so nothing may hide them there.
    pub doubtful_days: BTreeSet<UnixMicros>,
    /// What rows take on disk, where that was measured for these rows.
    pub probed: Option<RowSizes>,
}

/// What goes straight into a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bulk {
    pub events: u64,
    /// As sent, before compression.
    pub bytes: u64,
}

/// Rows, and what they take on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSizes {
    pub rows: u64,
    pub bytes_on_disk: u64,
}

impl RowSizes {
    /// Those of the rows that a table has.
    pub fn of(survey: &Survey) -> Self {
        Self { rows: survey.rows, bytes_on_disk: survey.bytes_on_disk }
    }

    /// What some events take on disk if their rows are like these; `None` if these are too few.
    pub fn scaled(self, events: u64) -> Option<u64> {
        let Self { rows, bytes_on_disk } = self;
        let tell = rows >= ROWS_TELLING && bytes_on_disk > 0;
        tell.then(|| {
            let scaled = u128::from(bytes_on_disk) * u128::from(events) / u128::from(rows);
            u64::try_from(scaled).unwrap_or(u64::MAX)
        })
    }
}

/// What some events take on disk: as was probed, else as the rows do that some table has. `None` if
/// neither tells.
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
    /// Events that the table is to take.
    pub fn events(&self) -> u64 {
        let piped = self.piped.as_ref().map_or(0, |piped| piped.load.events);
        let bulk = self.bulk.map_or(0, |bulk| bulk.events);
        piped.saturating_add(bulk)
    }

    /// What these take at most: rows on disk were never seen to take more than as sent.
    pub fn bytes(&self) -> u64 {
        let piped = self.piped.as_ref().map(|piped| piped.load);
        let piped = piped.map_or(0, |load| load.events.saturating_mul(load.event_bytes));
        piped.saturating_add(self.bulk.map_or(0, |bulk| bulk.bytes))
    }

    /// Days of which there will be rows, each a partition at least.
    pub fn days(&self) -> u64 {
        let days = self.history.as_ref().map_or(0, |it| (it.end - it.start) / DAY_US);
        u64::try_from(days).unwrap_or(0)
    }
}
