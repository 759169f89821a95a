//! What the verifier tells: the conservation table for people, every range for machines.

use std::fmt;

use events::event::MicroTime;
use events::identity::{Seq, TenantIndex};
use events::script::Script;
use plans::plan::Plan;
use plans::spec::DeliveryPath;
use runs::observation::Mark;
use serde::{Deserialize, Serialize};
use stores::jetstream::AuditStream;
use uuid::Uuid;

use crate::cause::{Cause, Hop};
use crate::compare::{Fates, Forgotten, StreamMemory, Totals};
use crate::content::Difference;
use crate::evidence::Doubt;
use crate::jetstream::StreamArrivals;
use crate::verdict::Verdict;

/// All that is known about one run, as `report.json` holds it. `docs/report.md` describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this format.
    pub format: u32,
    /// Version of the program that wrote it.
    pub tool_version: String,
    pub verdict: Verdict,
    /// Why, the weightiest first.
    pub reasons: Vec<String>,
    /// What is no fault by the rule that was asked for, and should be known all the same.
    pub notes: Vec<String>,
    /// What was not excluded, of the places where missing events may still be, and what would.
    pub doubts: Vec<Doubt>,
    /// Nothing was on its way any more when the stores were read.
    pub is_still: bool,
    pub run_id: Uuid,
    pub profile: String,
    pub path: DeliveryPath,
    /// When the first event could be due, and when the last.
    pub start: MicroTime,
    pub end: MicroTime,
    /// When the stores were read.
    pub checked_at: MicroTime,
    pub totals: Totals,
    /// When acknowledged events were lost, by cause.
    pub loss_windows: Vec<LossWindow>,
    pub stream: Option<StreamReport>,
    pub table: TableReport,
    /// What was asked of the run, and whether it was so.
    pub thresholds: Vec<ThresholdResult>,
    /// Events that are lost, doubled, changed or unexpected, one by one, up to
    /// [`FINDINGS_MAX`]; the ranges of the tenants have them all.
    pub findings: Vec<Finding>,
    pub findings_left_out: u64,
    /// Columns, and with `--deep` parts of the event's JSON, in which stored events differ from
    /// what was sent, up to [`FINDINGS_MAX`].
    pub differences: Vec<Difference>,
    pub tenants: Vec<TenantReport>,
    /// What somebody marked while the run went on.
    pub marks: Vec<Mark>,
    pub environment: Environment,
    /// How long the parts of the check took.
    pub durations: Durations,
}

/// What was seen of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Messages of the run, duplicates included.
    pub messages: u64,
    /// Messages that were read in full, since their IDs do not tell their events.
    pub without_id: u64,
    /// Its oldest messages are younger than the run.
    pub evicted: bool,
    /// Why it does not have all that it was sent, or may not; `None` if it has.
    pub forgotten: Option<Forgotten>,
}

/// What was seen of the table: rows as they lie on disk, and as a reader should see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    pub name: String,
    /// Like `ReplacingMergeTree`.
    pub engine: String,
    /// Other tables of the server that have lost events.
    pub elsewhere: Vec<String>,
    /// Rows of the run, duplicates included.
    pub rows: u64,
    /// Events of the run that have a row.
    pub distinct: u64,
    /// Rows of the run that are left once rows with equal sorting keys are folded, as `FINAL`
    /// shows them; `None` where the engine folds none.
    pub folded: Option<u64>,
    pub duplicates: Duplicates,
}

/// What can be said of rows that are there more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// There are some.
    Visible,
    /// There are none now, but the table may fold equal rows, at inserts and at merges, or shows
    /// those of other tables: there may have been some.
    NoneVisible,
    /// There never were any: the table is known to keep every row that it is sent.
    None,
}

/// Some time in which acknowledged events were lost, with never more than a few seconds between
/// two of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossWindow {
    pub cause: Cause,
    pub hop: Hop,
    /// When the first and the last of them were due.
    pub from: MicroTime,
    pub until: MicroTime,
    pub events: u64,
    /// What was marked in that time, or shortly before.
    pub marks: Vec<Mark>,
}

/// What was asked of a run, and whether it was so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// Like `end_to_end`.
    pub metric: String,
    /// Like `p(95)<10s`.
    pub condition: String,
    /// What was measured, with its unit; `None` without samples. Where some were never seen in the
    /// table, what it can be.
    pub measured: Option<String>,
    pub outcome: ThresholdOutcome,
    /// Nobody asked for it: it is one of the published objectives.
    pub is_default: bool,
}

/// Whether what was asked was so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThresholdOutcome {
    Passed,
    Failed,
    /// There are no samples to tell by, or some that were never seen leave it open.
    Unknown,
}

/// Where a run was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    pub clickhouse_version: String,
    pub nats_version: Option<String>,
    /// Of the machine that checked.
    pub cores: u64,
    pub operating_system: String,
}

/// What happened to an event that should not have.
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

/// One event that something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub fault: Fault,
    /// Why, of one that is lost.
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

/// How long the parts of a check took, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    pub settle_s: f64,
    pub stream_s: f64,
    pub table_s: f64,
    pub content_s: f64,
    pub trace_s: f64,
}

/// Version of `report.json`.
pub const REPORT_FORMAT: u32 = 3;

/// Most findings that are listed one by one.
pub const FINDINGS_MAX: usize = 100_000;

impl StreamReport {
    pub fn of(stream: &StreamArrivals) -> Self {
        let forgotten = match stream.memory {
            StreamMemory::Whole => None,
            StreamMemory::Partial(why) => Some(why),
        };
        Self {
            messages: stream.by_tenant.values().map(|arrivals| arrivals.count).sum(),
            without_id: stream.without_id,
            evicted: forgotten == Some(Forgotten::Evicted),
            forgotten,
        }
    }
}

impl Environment {
    /// Of this machine and the servers that were asked.
    pub fn new(clickhouse_version: String, stream: Option<&AuditStream>) -> Self {
        Self {
            clickhouse_version,
            nats_version: stream.map(AuditStream::server_version),
            cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u64),
            operating_system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

impl TenantReport {
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

/// Lists the events that something happened to, and counts those beyond [`FINDINGS_MAX`].
pub fn findings(script: &Script, fates: &[Fates]) -> (Vec<Finding>, u64) {
    let mut listed = Vec::new();
    let mut left_out = 0;
    for (tenant, fates) in script.tenants().zip(fates) {
        let lost = fates.lost.iter().map(|(cause, seqs)| (Fault::Lost, Some(*cause), seqs));
        let others = [
            (Fault::DuplicatedInStream, None, &fates.duplicated_in_stream),
            (Fault::DuplicatedInTable, None, &fates.duplicated_in_table),
            (Fault::Corrupted, None, &fates.corrupted),
            (Fault::Misplaced, None, &fates.misplaced),
            (Fault::Unexpected, None, &fates.unexpected),
        ];
        for (fault, cause, seqs) in lost.chain(others) {
            let room = FINDINGS_MAX - listed.len();
            left_out += seqs.count().saturating_sub(room as u64);
            listed.extend(seqs.iter().take(room).map(|seq| Finding {
                fault,
                cause,
                tenant: tenant.0,
                seq,
                audit_id: script.audit_id(tenant, Seq(seq)),
                due: script.timeline(tenant).due(Seq(seq)).ok().map(MicroTime),
            }));
        }
    }
    (listed, left_out)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        writeln!(f, "run {} of profile {}", self.run_id, self.profile)?;
        let mut line =
            |name: &str, count: u64, note: &str| writeln!(f, "  {name:<42}{count:>14}{note}");
        line("planned", totals.planned, "")?;
        line("  unsent", totals.unsent, "")?;
        line("  attempted", totals.attempted, "")?;
        line("    refused", totals.refused, "")?;
        line("    unknown", totals.unknown, "")?;
        if totals.unknown > 0 {
            line("      recovered", totals.recovered, "  stored all the same")?;
            line("      unresolved", totals.unresolved, "  not stored")?;
        }
        if totals.spoiled > 0 {
            line("    spoiled", totals.spoiled, "  sent as a bad client sends them")?;
        }
        line("    acknowledged", totals.acknowledged, "")?;
        match self.stream.map(|stream| stream.forgotten) {
            None => {}
            Some(None) => line("      in stream", totals.in_stream, "")?,
            Some(Some(why)) => {
                let note = format!("  not all that it was sent: {}", why.as_str());
                line("      in stream", totals.in_stream, &note)?;
            }
        }
        line("      stored", totals.stored, "")?;
        if totals.repaired > 0 {
            line("      repaired", totals.repaired, "  sent again, after they had been lost")?;
        }
        if totals.filtered > 0 {
            line("      filtered", totals.filtered, "  dropped by design")?;
        }
        line("      lost", totals.lost, "")?;
        for (cause, count) in &totals.lost_by_cause {
            line(&format!("        {}", cause.as_str()), *count, "")?;
        }
        if totals.not_seen > 0 {
            line("      not seen yet", totals.not_seen, "  on their way, or hidden")?;
        }
        for (cause, count) in &totals.not_seen_by_cause {
            line(&format!("        {}", cause.last_seen()), *count, "")?;
        }
        line("duplicated", totals.duplicated, "")?;
        line("corrupted", totals.corrupted, "")?;
        if totals.misplaced > 0 {
            line("misplaced", totals.misplaced, "  with a timestamp of another day")?;
        }
        line("unexpected", totals.unexpected, "")?;
        self.fmt_findings(f)?;
        writeln!(f, "\nverdict: {}", self.verdict.as_str())?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  {reason}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))?;
        if totals.unsent > 0 {
            let unsent = totals.unsent;
            writeln!(
                f,
                "  {unsent} planned events were never sent: the run did not reach its end"
            )?;
        }
        self.fmt_thresholds(f)
    }
}

impl Report {
    /// Writes what was asked of the run and is not met, or cannot be known.
    fn fmt_thresholds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for it in &self.thresholds {
            let measured = it.measured.as_deref().unwrap_or("there are no samples");
            let outcome = match (it.outcome, it.is_default) {
                (ThresholdOutcome::Failed, true) => "failed, a published objective",
                (ThresholdOutcome::Failed, false) => "failed",
                (ThresholdOutcome::Unknown, false) => "unknown",
                // Mostly, nobody has watched.
                (ThresholdOutcome::Unknown, true) if it.measured.is_none() => continue,
                (ThresholdOutcome::Unknown, true) => "unknown, a published objective",
                (ThresholdOutcome::Passed, _) => continue,
            };
            let ThresholdResult { metric, condition, .. } = it;
            writeln!(f, "  threshold {metric} {condition}: {measured}: {outcome}")?;
        }
        Ok(())
    }

    fn fmt_findings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.findings.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n  {:<34}tenant         seq  audit ID and due time", "finding")?;
        for finding in self.findings.iter().take(FINDINGS_SHOWN) {
            let Finding { fault, cause, tenant, seq, audit_id, due } = finding;
            let due = due.and_then(|due| serde_json::to_value(due).ok());
            let due = due.as_ref().and_then(|due| due.as_str()).unwrap_or("not planned");
            let fault = cause.map_or(fault.as_str(), Cause::as_str);
            writeln!(f, "  {fault:<34}{tenant:>6}{seq:>12}  {audit_id}  {due}")?;
        }
        let more =
            self.findings.len().saturating_sub(FINDINGS_SHOWN) as u64 + self.findings_left_out;
        if more > 0 {
            writeln!(f, "  and {more} more; all are in report.json")?;
        }
        for Difference { tenant, seq, column, sent, stored } in
            self.differences.iter().take(FINDINGS_SHOWN)
        {
            writeln!(f, "  tenant {tenant} seq {seq}: {column} was {sent:?}, is {stored:?}")?;
        }
        Ok(())
    }
}

impl Fault {
    /// Says it to people.
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

const FINDINGS_SHOWN: usize = 10;

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const GUIDE: &str = include_str!("../../docs/report.md");

    fn example_text() -> &'static str {
        GUIDE.split("```json").nth(1).unwrap().split("```").next().unwrap()
    }

    /// The report that the guide shows.
    pub(crate) fn example() -> Report {
        serde_json::from_str(example_text()).unwrap()
    }

    /// Paths like `tenants[].fates.lost`. Keys of maps by cause are no fields.
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
    fn what_is_not_met_and_what_was_never_sent_is_told_beside_the_verdict() {
        let mut report = example();
        let told = report.to_string();
        let (_, verdict) = told.split_once("verdict: ").unwrap();
        assert_eq!(verdict.lines().filter(|line| line.contains("threshold")).count(), 0, "{told}");
        report.totals.unsent = 7;
        report.thresholds[0].outcome = ThresholdOutcome::Failed;
        let told = report.to_string();
        let ThresholdResult { metric, condition, .. } = &report.thresholds[0];
        assert!(told.contains(&format!("\n  threshold {metric} {condition}: ")), "{told}");
        assert!(told.contains("\n  7 planned events were never sent"), "{told}");
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
