//! What reading a run back through the query API has shown, as `readback.json` holds it.

use std::collections::BTreeMap;

use edges::errors::ErrorCounts;
use events::event::MicroTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::report::verdict::Verdict;

/// What reading a run back has shown. `docs/readback.md` describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readback {
    /// Version of this format.
    pub format: u32,
    /// Version of the program that wrote it.
    pub tool_version: String,
    /// Whether every event that is stored could be read, and nothing was wrong with the answers.
    pub verdict: Verdict,
    /// The reasons for the verdict, the most important first.
    pub reasons: Vec<String>,
    /// Facts that are no fault of the reader, but that the user should know.
    pub notes: Vec<String>,
    pub run_id: Uuid,
    pub profile: String,
    /// The query API that was asked.
    pub server: String,
    /// Whether the table said what is stored. If not, what was acknowledged counts as stored.
    pub with_table: bool,
    pub began_at: MicroTime,
    pub ended_at: MicroTime,
    pub totals: ReadTotals,
    /// The walks, each over all scopes that were asked for.
    pub walks: Vec<WalkTotals>,
    /// What is wrong, event by event, up to [`crate::report::FINDINGS_MAX`].
    pub findings: Vec<ReadFinding>,
    pub findings_left_out: u64,
    /// Why questions had no answer, including those that were answered when they were asked again.
    pub errors: ErrorCounts,
}

/// Events and questions of all scopes that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadTotals {
    /// Scopes that were read.
    pub scopes: u64,
    /// Scopes that were to be read, and could not be read to the end.
    pub scopes_unread: u64,
    /// Events in these scopes that must be readable: they are stored.
    pub stored: u64,
    /// Those of them that every walk has shown.
    pub readable: u64,
    /// Acknowledged events in these scopes that are not in the table. No reader can show them.
    pub not_stored: u64,
    /// Stored events of tenants that were not asked for.
    pub not_asked: u64,
    /// Events that were shown only after some waiting.
    pub late: u64,
    /// Events of other runs, or of nobody known here, on the pages of all walks.
    pub foreign: u64,
    /// Questions that were asked, and those that had no answer.
    pub questions: u64,
    pub unanswered: u64,
    /// Length of all answers.
    pub bytes: u64,
    /// The longest time that a question took to be answered.
    pub slowest_ms: u64,
}

/// How a scope was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalkKind {
    /// By the API's cursor from page to page, as users do.
    Cursor,
    /// By windows of time, which needs no cursor.
    Windows,
}

/// What a walk has shown, of all scopes together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkTotals {
    pub walk: WalkKind,
    pub page_size: u32,
    pub pages: u64,
    /// Events that must be readable, and those that were shown.
    pub stored: u64,
    pub shown: u64,
    /// How many findings of each kind there are.
    pub faults: BTreeMap<ReadFault, u64>,
}

/// What is wrong with an answer, or with what a walk has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadFault {
    /// Most of a page belongs to others: the server did not look at the scope.
    ScopeIgnored,
    /// An event of another tenant, or another user, is shown.
    Leaked,
    /// A stored event is not shown.
    Unreachable,
    /// The pages end before all events are shown. The event is the first that is missing there.
    EndedEarly,
    /// The pages lead back to where they were.
    Endless,
    /// An event is shown again, on the same page or on a later one.
    Repeated,
    /// An event comes after an older one.
    OutOfOrder,
    /// The page has more events than were asked for.
    OverLimit,
    /// The request was not received in the period asked for.
    OutsidePeriod,
    /// The filter does not admit the event.
    OutsideFilter,
    /// The ID is of this run, and the plan has no such event.
    Unplanned,
    /// The answer says something else of the event than was sent: its time, or, of a sample, any of
    /// its columns.
    Changed,
}

/// Which part of the reader has an event to answer for that a walk did not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// The walk by windows has shown it.
    Paging,
    /// No walk has shown it, and the table has it.
    Reader,
    /// No walk has shown it, and nobody knows whether it is stored.
    Unknown,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFinding {
    pub fault: ReadFault,
    pub walk: WalkKind,
    pub page_size: u32,
    /// Whose events were asked for, like `Project/acme-shop`.
    pub scope: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_id: Option<Uuid>,
    /// Another event that is part of it: for an event out of order, the older one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Uuid>,
    /// Of an unreachable event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blame: Option<Blame>,
    /// The tenant whose event it is that is leaked, like `Project/acme-shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The run whose event it is that is leaked, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Uuid>,
}

/// The file in a run's directory.
pub const READBACK_FILE: &str = "readback.json";

/// Version of `readback.json`.
pub const READBACK_FORMAT: u32 = 1;

impl ReadFault {
    /// All kinds, the worst first.
    pub const ALL: [Self; 12] = [
        Self::ScopeIgnored,
        Self::Leaked,
        Self::Unreachable,
        Self::EndedEarly,
        Self::Endless,
        Self::Repeated,
        Self::OutOfOrder,
        Self::OverLimit,
        Self::OutsidePeriod,
        Self::OutsideFilter,
        Self::Unplanned,
        Self::Changed,
    ];

    /// Puts it into words, after a number of findings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScopeIgnored => "scope ignored",
            Self::Leaked => "leaked",
            Self::Unreachable => "unreachable",
            Self::EndedEarly => "ended early",
            Self::Endless => "endless",
            Self::Repeated => "repeated",
            Self::OutOfOrder => "out of order",
            Self::OverLimit => "over the limit",
            Self::OutsidePeriod => "outside the period",
            Self::OutsideFilter => "outside the filter",
            Self::Unplanned => "not of the plan",
            Self::Changed => "changed",
        }
    }

    /// Whether it is the reader's own fault, whatever the table has.
    pub fn is_of_reader(self) -> bool {
        !matches!(self, Self::Changed | Self::Unplanned)
    }
}

impl ReadFinding {
    /// Whose event is leaked, in words: `of Project/acme-shop`, and of which other run.
    pub fn owner(&self) -> Option<String> {
        let run = self.run.map(|run| format!(" of run {run}")).unwrap_or_default();
        self.tenant.as_ref().map(|tenant| format!("of {tenant}{run}"))
    }
}

impl WalkKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cursor => "by cursor",
            Self::Windows => "by windows",
        }
    }
}
