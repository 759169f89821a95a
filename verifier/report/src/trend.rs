//! Shows many runs in one table, oldest first.

use std::fmt;
use std::path::{Path, PathBuf};

use events::event::MicroTime;
use plans::condition::Aggregation;
use plans::plan::Plan;
use plans::spec::Span;
use runs::latency::percentiles;
use runs::run_dir::RunDir;
use serde::Serialize;

use crate::columns::{Left, Right, aligned};
use crate::error::ShowError;
use crate::figures::{self, grouped, milliseconds};
use crate::rates::acknowledged_per_s;
use crate::reconciled::read_report;
use crate::records::RunRecords;

/// Many runs, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Trend {
    rows: Vec<Row>,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    dir: PathBuf,
    profile: String,
    start: MicroTime,
    version: String,
    /// The verdict, or `not reconciled` if there is no report.
    verdict: String,
    /// Acknowledged events a second, while events were due. `None` for a history.
    acknowledged_per_s: Option<f64>,
    webhook_p95_ms: Option<f64>,
    webhook_p99_ms: Option<f64>,
    end_to_end_p95_ms: Option<f64>,
    /// Whether the true value may be higher, because some samples were never seen in the table.
    end_to_end_is_open: bool,
    lag_max: Option<u64>,
    lost: Option<u64>,
}

impl Trend {
    /// Reads the runs in some directories.
    ///
    /// # Errors
    ///
    /// Returns [`ShowError`] if a directory holds no run, or its files cannot be read.
    pub fn read(dirs: &[PathBuf]) -> Result<Self, ShowError> {
        Self::read_as(dirs.iter().map(|dir| (dir.as_path(), dir.as_path())))
    }

    /// Reads the runs in some directories, each with the name under which it is shown.
    ///
    /// # Errors
    ///
    /// Returns [`ShowError`] as [`Self::read`] does.
    pub fn read_as<'a>(
        dirs: impl Iterator<Item = (&'a Path, &'a Path)>,
    ) -> Result<Self, ShowError> {
        let read = |(dir, name)| Ok(Row { dir: Path::to_owned(name), ..Row::read(dir)? });
        let mut rows: Vec<Row> = dirs.map(read).collect::<Result<_, ShowError>>()?;
        rows.sort_by(|one, other| (one.start, &one.dir).cmp(&(other.start, &other.dir)));
        Ok(Self { rows })
    }
}

impl fmt::Display for Trend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&table(&self.rows))
    }
}

impl Row {
    fn read(dir: &Path) -> Result<Self, ShowError> {
        let (run_dir, plan) = RunDir::open(dir)?;
        let mut records = RunRecords::read(&[run_dir], &plan)?;
        let report = match read_report(dir) {
            Ok(report) => Some(report),
            Err(ShowError::NotReconciled { .. }) => None,
            Err(error) => return Err(error),
        };
        let webhook = records.latencies.as_ref().map(|it| &it.sent_to_acknowledged);
        let webhook = webhook.filter(|it| !it.is_empty()).map(percentiles);
        if let Some(report) = &report {
            records.find_awaited(&plan, report);
        }
        let end_to_end = records.end_to_end(Aggregation::Percentile(95.0));
        Ok(Self {
            dir: dir.to_owned(),
            profile: plan.profile_name.clone(),
            start: started(&plan),
            version: report.as_ref().map_or(&plan.spec.tool_version, |it| &it.tool_version).clone(),
            verdict: report.as_ref().map_or("not reconciled", |it| it.verdict.as_str()).to_owned(),
            acknowledged_per_s: acknowledged_per_s(&plan, &records.seconds),
            webhook_p95_ms: webhook.map(|it| it.p95_ms),
            webhook_p99_ms: webhook.map(|it| it.p99_ms),
            end_to_end_p95_ms: end_to_end.map(|it| it.least),
            end_to_end_is_open: end_to_end.is_some_and(|it| it.most > it.least),
            lag_max: records.lags().map(|(_, lag)| lag).max(),
            lost: report.map(|it| it.totals.lost),
        })
    }
}

fn started(plan: &Plan) -> MicroTime {
    match plan.spec.span {
        Span::Live => plan.spec.start,
        Span::History { planned_at, .. } => planned_at,
    }
}

fn table(rows: &[Row]) -> String {
    let heads = [
        ("start", Left),
        ("version", Left),
        ("verdict", Left),
        ("events/s", Right),
        ("p95", Right),
        ("p99", Right),
        ("end to end p95", Right),
        ("lag", Right),
        ("lost", Right),
        ("profile", Left),
        ("run", Left),
    ];
    let none = || "–".to_owned();
    let cells = |row: &Row| {
        let sign = if row.end_to_end_is_open { "≥ " } else { "" };
        let end_to_end = |ms| format!("{sign}{}", milliseconds(ms));
        [
            figures::moment(row.start),
            row.version.clone(),
            row.verdict.clone(),
            row.acknowledged_per_s.map_or_else(none, figures::number),
            row.webhook_p95_ms.map_or_else(none, milliseconds),
            row.webhook_p99_ms.map_or_else(none, milliseconds),
            row.end_to_end_p95_ms.map_or_else(none, end_to_end),
            row.lag_max.map_or_else(none, grouped),
            row.lost.map_or_else(none, grouped),
            row.profile.clone(),
            row.dir.display().to_string(),
        ]
    };
    aligned(heads, rows.iter().map(cells))
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    #[test]
    fn a_trend_is_a_table_with_what_is_known() {
        let row = |start_s: i64, lost| Row {
            dir: PathBuf::from("runs/a"),
            profile: "smoke".to_owned(),
            start: MicroTime(start_s * 1_000_000),
            version: "0.1.0".to_owned(),
            verdict: "whole".to_owned(),
            acknowledged_per_s: Some(5_000.4),
            webhook_p95_ms: Some(12.3),
            webhook_p99_ms: Some(1_200.0),
            end_to_end_p95_ms: None,
            end_to_end_is_open: false,
            lag_max: Some(12_345),
            lost,
        };
        expect_file!["trend/example.txt"].assert_eq(&table(&[row(0, None), row(86_400, Some(2))]));
    }
}
