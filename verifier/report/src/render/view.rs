//! The contents of a page, with words and numbers as it shows them. Pure.

pub(super) mod asked;
mod fact;
mod head;
pub(super) mod reader;
mod rows;
mod scene;
mod sustained;

use plans::plan::Plan;
use runs::report::Report;

use self::asked::{AskedView, asked};
use self::fact::Fact;
use self::head::{Outcome, environment, facts, outcome, tiles};
use self::reader::{ReaderView, reader};
pub(crate) use self::rows::TENANT_COLUMNS;
use self::rows::{
    AccountRow, DifferenceRow, FindingRow, HopRow, LatencyRow, SentRow, TenantRow, ThresholdRow,
    account, differences, duplicates, findings, hops, latencies, sent, tenants, threshold_rows,
};
use self::scene::{Card, MarkRow, Scene, WindowRow};
use self::sustained::{SustainedView, sustained};
use crate::figures::counted;
use crate::records::RunRecords;
use crate::slowest::{SlowestView, slowest};
use crate::stages::stages;

/// A report as a page shows it.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) outcome: Outcome,
    pub(crate) title: String,
    pub(crate) reasons: Vec<String>,
    pub(crate) tiles: Vec<Fact>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) thresholds: Vec<ThresholdRow>,
    pub(crate) account: Vec<AccountRow>,
    pub(crate) table_note: &'static str,
    pub(crate) hops: Vec<HopRow>,
    pub(crate) windows: Vec<WindowRow>,
    pub(crate) windows_left_out: Option<String>,
    /// `None` of a run without stages that go through the pipeline.
    pub(crate) sustained: Option<SustainedView>,
    pub(crate) latencies: Vec<LatencyRow>,
    pub(crate) sent: Vec<SentRow>,
    /// `None` if nobody has queried.
    pub(crate) asked: Option<AskedView>,
    /// `None` if the run was not read back.
    pub(crate) reader: Option<ReaderView>,
    /// `None` if nobody has queried.
    pub(crate) slowest: Option<SlowestView>,
    pub(crate) cards: Vec<Card>,
    pub(crate) marks: Vec<MarkRow>,
    pub(crate) tenants: Vec<TenantRow>,
    pub(crate) tenants_all: String,
    pub(crate) tenants_left_out: Option<String>,
    pub(crate) is_any_tenant_bad: bool,
    pub(crate) findings: Vec<FindingRow>,
    pub(crate) findings_left_out: Option<String>,
    pub(crate) differences: Vec<DifferenceRow>,
    pub(crate) differences_left_out: Option<String>,
    pub(crate) environment: Vec<Fact>,
}

const WINDOWS_MAX: usize = 50;

impl View {
    /// Puts a report and the records of its run into words. The thresholds are those of the report.
    pub(crate) fn new(report: &Report, records: &RunRecords, plan: &Plan) -> Self {
        let scene = Scene::new(report, records, plan);
        let outcome = outcome(report);
        let left_out = |shown: usize, all: u64, what: &str| {
            let more = all.saturating_sub(shown as u64);
            (more > 0).then(|| format!("and {} in report.json", counted(more, what)))
        };
        let (tenants, is_any_tenant_bad) = tenants(&report.tenants);
        let findings = findings(report);
        let findings_all = report.findings.len() as u64 + report.findings_left_out;
        let differences = differences(report);
        let windows: Vec<_> = report.loss_windows.iter().take(WINDOWS_MAX).collect();
        Self {
            title: format!("{}: {}", report.profile, outcome.word.to_lowercase()),
            outcome,
            reasons: report.reasons.clone(),
            tiles: tiles(report, records),
            facts: facts(report, plan),
            thresholds: threshold_rows(report),
            account: account(report, records.readback.as_ref()),
            table_note: duplicates(report.table.duplicates),
            hops: hops(report),
            windows_left_out: left_out(
                windows.len(),
                report.loss_windows.len() as u64,
                "more loss window",
            ),
            windows: windows.into_iter().map(|it| scene.window(it)).collect(),
            sustained: stages(report, records, plan).and_then(|it| sustained(&it)),
            latencies: latencies(records),
            sent: sent(records),
            asked: asked(records),
            reader: records.readback.as_ref().map(reader),
            slowest: slowest(records),
            cards: scene.cards(),
            marks: scene.marks(),
            tenants_all: counted(report.tenants.len() as u64, "tenant"),
            tenants_left_out: left_out(tenants.len(), report.tenants.len() as u64, "more tenant"),
            tenants,
            is_any_tenant_bad,
            findings_left_out: left_out(findings.len(), findings_all, "more finding"),
            findings,
            differences_left_out: left_out(
                differences.len(),
                report.differences.len() as u64,
                "more difference",
            ),
            differences,
            environment: environment(report),
        }
    }
}
