//! One of the runs that are compared.

use std::path::{Path, PathBuf};

use plans::plan::Plan;
use runs::report::Report;
use runs::run_dir::RunDir;

use crate::error::ShowError;
use crate::reconciled::read_report;
use crate::records::RunRecords;

/// A reconciled run, read from its directory.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) dir: PathBuf,
    pub(crate) plan: Plan,
    pub(crate) report: Report,
    pub(crate) records: RunRecords,
}

impl Side {
    pub(crate) fn open(path: &Path) -> Result<Self, ShowError> {
        let (dir, plan) = RunDir::open(path)?;
        let report = read_report(path)?;
        let mut records = RunRecords::read(&[dir], &plan)?;
        records.find_awaited(&plan, &report);
        Ok(Self { dir: path.to_owned(), plan, report, records })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use edges::clock::milliseconds;
    use events::event::MicroTime;
    use plans::spec::{RunOptions, Span};
    use runs::observation::{Freshness, Observation};
    use runs::record::{Ending, Summary};
    use runs::report::verdict::Verdict;
    use runs::tally::Tally;
    use uuid::Uuid;

    use super::*;
    use crate::records::tests::{records, second};

    /// Makes a run of a minute. `of_second` returns the number of events and the p95 in ms of each
    /// second.
    pub(crate) fn side(of_second: impl Fn(i64) -> (u64, f64)) -> Side {
        let text = "name: x\nstages: [{duration: 60s, rate: 100/s, tenants: 1}]\n";
        let options = RunOptions::new(Uuid::from_u128(7), 0, Span::Live);
        let plan = Plan::parse(text, "x", options).unwrap();
        let seconds: Vec<_> = (0..60)
            .map(|at| {
                let (events, p95_ms) = of_second(at);
                second(at + 1, events, p95_ms)
            })
            .collect();
        let mut p95s: Vec<f64> = seconds.iter().map(|it| it.sent_to_acknowledged.p95_ms).collect();
        p95s.sort_unstable_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some ms")]
        let micros: Vec<u64> = p95s.iter().map(|ms| (ms * 1_000.0) as u64).collect();
        let mut records = records(seconds, &micros, Vec::new());
        let ending = Ending { at: 60_000_000, stopped: false, aborted: None };
        records.summaries = vec![Summary::new(&plan, 6_000, &Tally::new(1), ending)];
        let mut report = crate::example();
        report.verdict = Verdict::Whole;
        report.totals.lost = 0;
        report.totals.refused = 0;
        report.totals.unknown = 0;
        report.run_id = Uuid::from_u128(7);
        report.start = MicroTime(0);
        Side { dir: PathBuf::from("runs/x"), plan, report, records }
    }

    /// Makes the same run, watched for this many seconds: ten samples a second, which are stored
    /// every eight seconds, and `late_s` seconds late.
    pub(crate) fn watched(seconds: i64, late_s: i64) -> Side {
        const SECOND_US: i64 = 1_000_000;
        let mut looks: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for due in (0..seconds * 10).map(|tenth| tenth * SECOND_US / 10) {
            let stored = (due / (8 * SECOND_US) + 1) * 8 * SECOND_US + late_s * SECOND_US;
            looks.entry(stored).or_default().push(milliseconds(stored - due));
        }
        let look = |(at, due_to_visible_ms)| Observation {
            at: MicroTime(at),
            stream: None,
            table: None,
            freshness: Freshness { due_to_visible_ms, ..Freshness::default() },
            clocks: Vec::new(),
            resources: Vec::new(),
            backlog_min: None,
            held: Vec::new(),
        };
        let mut side = side(|_| (100, 20.0));
        side.records.observations = looks.into_iter().map(look).collect();
        side
    }
}
