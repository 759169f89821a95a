//! What the verifier tells: the conservation table for people, every range for machines.

use std::fmt;

use events::event::MicroTime;
use events::identity::{Seq, TenantIndex};
use events::script::Script;
use harness::plan::{DeliveryPath, Plan};
use serde::Serialize;
use uuid::Uuid;

use crate::compare::{Fates, StreamMemory, Totals};
use crate::content::Difference;
use crate::verdict::Verdict;

/// All that is known about one run, as `report.json` holds it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of this format.
    pub format: u32,
    pub verdict: Verdict,
    /// Why, the weightiest first.
    pub reasons: Vec<String>,
    /// Nothing was on its way any more when the stores were read.
    pub is_still: bool,
    pub run_id: Uuid,
    pub profile: String,
    pub path: DeliveryPath,
    pub totals: Totals,
    pub stream: Option<StreamReport>,
    /// Events that are lost, doubled, changed or unexpected, one by one, up to
    /// [`FINDINGS_MAX`]; the ranges of the tenants have them all.
    pub findings: Vec<Finding>,
    pub findings_left_out: u64,
    /// Columns in which stored events differ from what was sent.
    pub differences: Vec<Difference>,
    pub tenants: Vec<TenantReport>,
    /// How long the parts of the check took.
    pub durations: Durations,
}

/// What was seen of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    /// Messages of the run, duplicates included.
    pub messages: u64,
    /// Messages that bore no ID and were read in full.
    pub without_id: u64,
    /// Its oldest messages are younger than the run.
    pub evicted: bool,
}

/// What happened to an event that should not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    LostBeforeNats,
    LostAfterNats,
    LostSomewhere,
    DuplicatedBeforeNats,
    DuplicatedAfterNats,
    Corrupted,
    Unexpected,
}

/// One event that something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub fault: Fault,
    pub tenant: u16,
    pub seq: u64,
    pub audit_id: Uuid,
    /// When it was due; `None` for an event that the plan does not have.
    pub due: Option<MicroTime>,
}

/// The account of one tenant.
#[derive(Debug, Clone, Serialize)]
pub struct TenantReport {
    pub tenant: u16,
    pub scope_type: &'static str,
    pub scope_name: String,
    pub fates: Fates,
}

/// How long the parts of a check took, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Durations {
    pub settle_s: f64,
    pub stream_s: f64,
    pub table_s: f64,
    pub content_s: f64,
}

/// Version of `report.json`.
pub const REPORT_FORMAT: u32 = 1;

/// Most findings that are listed one by one.
pub const FINDINGS_MAX: usize = 100_000;

impl StreamReport {
    pub fn new(messages: u64, without_id: u64, memory: StreamMemory) -> Self {
        Self { messages, without_id, evicted: memory == StreamMemory::Evicted }
    }
}

impl TenantReport {
    pub fn new(plan: &Plan, tenant: TenantIndex, fates: Fates) -> Self {
        let known = plan.script.world().tenant(tenant);
        Self {
            tenant: tenant.0,
            scope_type: known.scope.as_str(),
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
        let faults = [
            (Fault::LostBeforeNats, &fates.lost_before_nats),
            (Fault::LostAfterNats, &fates.lost_after_nats),
            (Fault::LostSomewhere, &fates.lost_somewhere),
            (Fault::DuplicatedBeforeNats, &fates.duplicated_before_nats),
            (Fault::DuplicatedAfterNats, &fates.duplicated_after_nats),
            (Fault::Corrupted, &fates.corrupted),
            (Fault::Unexpected, &fates.unexpected),
        ];
        for (fault, seqs) in faults {
            let room = FINDINGS_MAX - listed.len();
            left_out += seqs.count().saturating_sub(room as u64);
            listed.extend(seqs.iter().take(room).map(|seq| Finding {
                fault,
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
            |name: &str, count: u64, note: &str| writeln!(f, "  {name:<22}{count:>14}{note}");
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
        if self.path != DeliveryPath::Bulk {
            line("      in stream", totals.in_stream, "")?;
        }
        line("      stored", totals.stored, "")?;
        if totals.repaired > 0 {
            line("      repaired", totals.repaired, "  sent again, after they had been lost")?;
        }
        line("      lost", totals.lost, "")?;
        if self.path != DeliveryPath::Bulk {
            line("        before NATS", totals.lost_before_nats, "  not in the stream")?;
            line("        after NATS", totals.lost_after_nats, "  in the stream")?;
            if totals.lost_somewhere > 0 {
                let note = "  past the stream, or it has forgotten that time";
                line("        somewhere", totals.lost_somewhere, note)?;
            }
        }
        line("duplicated", totals.duplicated, "")?;
        line("corrupted", totals.corrupted, "")?;
        line("unexpected", totals.unexpected, "")?;
        self.fmt_findings(f)?;
        writeln!(f, "\nverdict: {}", self.verdict.as_str())?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  {reason}"))
    }
}

impl Report {
    fn fmt_findings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.findings.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n  {:<24}tenant         seq  audit ID and due time", "finding")?;
        for finding in self.findings.iter().take(FINDINGS_SHOWN) {
            let Finding { fault, tenant, seq, audit_id, due } = finding;
            let due = due.and_then(|due| serde_json::to_value(due).ok());
            let due = due.as_ref().and_then(|due| due.as_str()).unwrap_or("not planned");
            let fault = fault.as_str();
            writeln!(f, "  {fault:<24}{tenant:>6}{seq:>12}  {audit_id}  {due}")?;
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
    fn as_str(self) -> &'static str {
        match self {
            Self::LostBeforeNats => "lost before NATS",
            Self::LostAfterNats => "lost after NATS",
            Self::LostSomewhere => "lost",
            Self::DuplicatedBeforeNats => "duplicated before NATS",
            Self::DuplicatedAfterNats => "duplicated after NATS",
            Self::Corrupted => "corrupted",
            Self::Unexpected => "unexpected",
        }
    }
}

const FINDINGS_SHOWN: usize = 10;
