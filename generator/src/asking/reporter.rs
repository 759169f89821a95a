//! Takes the counts of all lanes of queries every second, and writes them down.

use std::fs::File;
use std::io::Write as _;
use std::sync::PoisonError;

use events::timeline::UnixMicros;
use runs::queries::{
    QueryHistograms, QueryKind, QuerySecond, QuerySummary, QueryTally, WRONG_ANSWERS_MAX,
};
use runs::run_dir::RunDir;
use runs::slow_queries::Slowest;

use super::lane::SharedQueryTally;
use crate::error::GeneratorError;
use crate::view::QueryMoment;

/// The record of a run's queries.
#[derive(Debug)]
pub(crate) struct QueryReporter {
    kinds: Vec<QueryKind>,
    /// Whom they ask, without secrets.
    place: String,
    tallies: Vec<SharedQueryTally>,
    total: QueryTally,
    file: File,
    dir: RunDir,
    /// Wrong answers that were written down.
    written: usize,
}

impl QueryReporter {
    /// Begins the record of a shard's queries.
    ///
    /// # Errors
    ///
    /// Returns [`GeneratorError::Ledger`] if the run directory cannot be written.
    pub(crate) fn begin(
        (dir, shard): (&RunDir, u32),
        place: String,
        kinds: Vec<QueryKind>,
        tallies: Vec<SharedQueryTally>,
    ) -> Result<Self, GeneratorError> {
        let file =
            File::create(dir.queries(shard)).map_err(|source| GeneratorError::Ledger { source })?;
        let mut total = QueryTally::new(kinds.len());
        total.slowest = Slowest::of_run();
        Ok(Self { kinds, place, tallies, total, file, dir: dir.clone(), written: 0 })
    }

    /// Takes the last second's counts, and writes them down.
    ///
    /// # Errors
    ///
    /// Returns [`GeneratorError`] if the run directory cannot be written.
    pub(crate) fn report(&mut self, now: UnixMicros) -> Result<QueryTally, GeneratorError> {
        let mut second = QueryTally::new(self.kinds.len());
        let mut wrong = Vec::new();
        for lane in &self.tallies {
            let mut lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
            second.add(&lane);
            wrong.append(&mut lane.wrong_answers);
            lane.restart();
        }
        // Only what is among the slowest of the run so far is written down: rarely anything.
        let total = &self.total.slowest;
        second.slowest.retain(|query| total.has_room_for(query.latency_ms));
        self.total.in_flight = 0;
        self.total.add(&second);
        wrong.truncate(WRONG_ANSWERS_MAX - self.written);
        self.written += wrong.len();
        self.dir.append_wrong_answers(&wrong)?;
        self.write(&QuerySecond::new(now, &second, &self.kinds))?;
        Ok(second)
    }

    /// What is to be told of a second.
    pub(crate) fn moment<'r>(&'r self, tally: &'r QueryTally) -> QueryMoment<'r> {
        QueryMoment { kinds: &self.kinds, tally, total: &self.total }
    }

    /// Ends the record, after the last second was reported. Returns what it all came to.
    ///
    /// # Errors
    ///
    /// Returns [`GeneratorError::Ledger`] if the run directory cannot be written.
    pub(crate) fn finish(
        mut self,
        lateness_max_us: i64,
    ) -> Result<(QuerySummary, QueryHistograms), GeneratorError> {
        let histograms = QueryHistograms::new(&self.total, &self.kinds, lateness_max_us);
        self.write(&histograms)?;
        let summary = QuerySummary::new(self.place, &self.total, &self.kinds, lateness_max_us);
        Ok((summary, histograms))
    }

    fn write(&mut self, record: &impl serde::Serialize) -> Result<(), GeneratorError> {
        let mut line = serde_json::to_vec(record).expect("a record has only string keys");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|source| GeneratorError::Ledger { source })
    }
}
