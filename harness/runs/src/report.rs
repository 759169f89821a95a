//! The report of a checked run, `report.json`. The verifier writes it; pages, comparisons and
//! repairs read it.

pub mod cause;
pub mod doubt;
pub mod fates;
pub mod verdict;

use std::path::{Path, PathBuf};
use std::{fs, io};

use events::event::MicroTime;
use events::identity::TenantIndex;
use plans::plan::Plan;
use plans::spec::DeliveryPath;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::cause::{Cause, Hop};
use self::doubt::Doubt;
use self::fates::{Fates, Forgotten, Totals};
use self::verdict::Verdict;
use crate::observation::Mark;

/// All that is known about one run, as `report.json` holds it. `docs/report.md` describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this format.
    pub format: u32,
    /// Version of the program that wrote it.
    pub tool_version: String,
    pub verdict: Verdict,
    /// The reasons for the verdict, the most important first.
    pub reasons: Vec<String>,
    /// Facts that are no fault under the chosen rule, but that the user should know.
    pub notes: Vec<String>,
    /// Places where missing events may still be, because they were not excluded, and what would
    /// exclude them.
    pub doubts: Vec<Doubt>,
    /// Whether nothing was on its way any more when the stores were read.
    pub is_still: bool,
    pub run_id: Uuid,
    pub profile: String,
    pub path: DeliveryPath,
    /// The period in which events could be due.
    pub start: MicroTime,
    pub end: MicroTime,
    /// When the stores were read.
    pub checked_at: MicroTime,
    pub totals: Totals,
    /// When acknowledged events were lost, by cause.
    pub loss_windows: Vec<LossWindow>,
    pub stream: Option<StreamReport>,
    pub table: TableReport,
    /// The conditions that the run must meet, with their outcomes.
    pub thresholds: Vec<ThresholdResult>,
    /// Events that are lost, doubled, changed or unexpected, one by one, up to
    /// [`FINDINGS_MAX`]; the ranges of the tenants have them all.
    pub findings: Vec<Finding>,
    pub findings_left_out: u64,
    /// Columns, and with `--deep` parts of the event's JSON, in which stored events differ from
    /// what was sent, up to [`FINDINGS_MAX`].
    pub differences: Vec<Difference>,
    pub tenants: Vec<TenantReport>,
    /// Marks that the user set during the run.
    pub marks: Vec<Mark>,
    pub environment: Environment,
    /// How long the parts of the check took.
    pub durations: Durations,
}

/// The section about the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Messages of the run, duplicates included.
    pub messages: u64,
    /// Messages that had to be read in full, because their IDs do not identify their events.
    pub without_id: u64,
    /// Whether its oldest messages are younger than the run.
    pub evicted: bool,
    /// Why the stream does not have everything that it was sent, or may not have it. `None` if it
    /// has everything.
    pub forgotten: Option<Forgotten>,
}

/// The section about the table: rows as they are on disk, and as a reader sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    pub name: String,
    /// Like `ReplacingMergeTree`.
    pub engine: String,
    /// Other tables of the server in which lost events were found.
    pub elsewhere: Vec<String>,
    /// Rows of the run, duplicates included.
    pub rows: u64,
    /// Events of the run that have a row.
    pub distinct: u64,
    /// Rows of the run that are left after rows with equal sorting keys are folded, as `FINAL`
    /// shows them. `None` if the engine folds no rows.
    pub folded: Option<u64>,
    pub duplicates: Duplicates,
}

/// What is known about duplicate rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// There are some.
    Visible,
    /// There are none now. But there may have been some, because the table folds equal rows or
    /// shows rows of other tables.
    NoneVisible,
    /// There never were any: the table is known to keep every row that it is sent.
    None,
}

/// A period in which acknowledged events were lost. Two consecutive losses in it are at most a few
/// seconds apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossWindow {
    pub cause: Cause,
    pub hop: Hop,
    /// When the first and the last of these events were due.
    pub from: MicroTime,
    pub until: MicroTime,
    pub events: u64,
    /// Marks that were set in this period, or shortly before or after it.
    pub marks: Vec<Mark>,
}

/// A condition that the run must meet, and its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// Like `end_to_end`.
    pub metric: String,
    /// Like `p(95)<10s`.
    pub condition: String,
    /// The measured value with its unit, or `None` without samples. If some samples were never seen
    /// in the table, the range of possible values.
    pub measured: Option<String>,
    pub outcome: ThresholdOutcome,
    /// Whether it is one of the published objectives, which the profile did not write itself.
    pub is_default: bool,
}

/// Whether a condition is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThresholdOutcome {
    Passed,
    Failed,
    /// There are no samples, or some samples were never seen and leave it open.
    Unknown,
}

/// Where a run was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    pub clickhouse_version: String,
    pub nats_version: Option<String>,
    /// Cores of the machine that checked the run.
    pub cores: u64,
    pub operating_system: String,
}

/// A fault that was found in an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    Lost,
    DuplicatedInStream,
    DuplicatedInTable,
    Corrupted,
    Misplaced,
    Unexpected,
}

/// An event with a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub fault: Fault,
    /// The cause, if the event is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    pub tenant: u16,
    pub seq: u64,
    pub audit_id: Uuid,
    /// When it was due; `None` for an event that the plan does not have.
    pub due: Option<MicroTime>,
}

/// The account of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantReport {
    pub tenant: u16,
    pub scope_type: String,
    pub scope_name: String,
    pub fates: Fates,
}

/// A stored row that differs from what was sent, in one column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Difference {
    pub tenant: u16,
    pub seq: u64,
    pub column: String,
    pub sent: String,
    pub stored: String,
}

/// How long the parts of a check took, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    pub settle_s: f64,
    pub stream_s: f64,
    pub table_s: f64,
    pub content_s: f64,
    pub trace_s: f64,
}

/// The file in a run's directory.
pub const REPORT_FILE: &str = "report.json";

/// Version of `report.json`.
pub const REPORT_FORMAT: u32 = 3;

/// Most findings that are listed one by one.
pub const FINDINGS_MAX: usize = 100_000;

/// Why a report cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is no report", path.display())]
    NotAReport { path: PathBuf, source: serde_json::Error },
    #[error(
        "{} has format {format}, this version reads {REPORT_FORMAT}: reconcile the run again",
        path.display()
    )]
    OtherFormat { path: PathBuf, format: u32 },
}

/// The first field of a report, in every version.
#[derive(Debug, Deserialize)]
struct Head {
    format: u32,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    ///
    /// Returns [`ReportError`] if there is none, or it is of another version.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let unreadable = |source| ReportError::Unreadable { path: path.to_owned(), source };
        let not_a_report = |source| ReportError::NotAReport { path: path.to_owned(), source };
        let text = fs::read(path).map_err(unreadable)?;
        let Head { format } = serde_json::from_slice(&text).map_err(not_a_report)?;
        if format != REPORT_FORMAT {
            return Err(ReportError::OtherFormat { path: path.to_owned(), format });
        }
        serde_json::from_slice(&text).map_err(not_a_report)
    }

    /// Reads a report, or finds that there is none.
    ///
    /// # Errors
    ///
    /// Returns [`ReportError`] if there is one that cannot be read.
    pub fn read_if_any(path: &Path) -> Result<Option<Self>, ReportError> {
        match Self::read(path) {
            Err(ReportError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            read => read.map(Some),
        }
    }
}

impl TenantReport {
    /// The account of a tenant, with its names.
    pub fn new(plan: &Plan, tenant: TenantIndex, fates: Fates) -> Self {
        let known = plan.script.world().tenant(tenant);
        Self {
            tenant: tenant.0,
            scope_type: known.scope.as_str().to_owned(),
            scope_name: known.scope_name.clone(),
            fates,
        }
    }
}

impl Fault {
    /// Puts it into words for the user.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::DuplicatedInStream => "duplicated in the stream",
            Self::DuplicatedInTable => "duplicated in the table",
            Self::Corrupted => "corrupted",
            Self::Misplaced => "in another partition",
            Self::Unexpected => "unexpected",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const GUIDE: &str = include_str!("../../../docs/report.md");

    fn example_text() -> &'static str {
        GUIDE.split("```json").nth(1).unwrap().split("```").next().unwrap()
    }

    /// The report that the guide shows.
    fn example() -> Report {
        serde_json::from_str(example_text()).unwrap()
    }

    /// Collects paths like `tenants[].fates.lost`. The keys of maps by cause are no fields.
    fn paths(value: &Value, at: &str, all: &mut BTreeSet<String>) {
        let by_cause = ["lost_by_cause", "not_seen_by_cause", "fates.lost", "fates.not_seen"];
        if by_cause.iter().any(|map| at.ends_with(map)) {
            return;
        }
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    let is_list = value.as_array().and_then(|it| it.first()).is_some();
                    let of_objects = is_list && value[0].is_object();
                    let path = if of_objects { format!("{path}[]") } else { path };
                    all.insert(path.clone());
                    paths(value, &path, all);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| paths(item, at, all)),
            _ => {}
        }
    }

    #[test]
    fn the_guide_shows_a_whole_report_as_it_is_written() {
        let written: Value = serde_json::from_str(example_text()).unwrap();
        assert_eq!(serde_json::to_value(example()).unwrap(), written);
        assert_eq!(example().format, REPORT_FORMAT);
    }

    #[test]
    fn the_guide_names_every_field_and_no_other() {
        let mut written = BTreeSet::new();
        paths(&serde_json::to_value(example()).unwrap(), "", &mut written);
        let tables = GUIDE.split("\n\n").filter(|part| part.starts_with("| field |"));
        let rows = tables.flat_map(|table| table.lines().skip(2));
        let cells = rows.map(|row| row.split('|').nth(1).unwrap());
        let named: BTreeSet<String> =
            cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
        assert_eq!(named, written);
    }
}
