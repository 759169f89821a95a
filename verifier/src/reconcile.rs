//! One run, from its directory to its report.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use events::event::MicroTime;
use events::identity::TenantIndex;
use harness::clickhouse::ClickHouse;
use harness::clock::{Clock, seconds};
use harness::jetstream::AuditStream;
use harness::ledger::Ledger;
use harness::plan::{DeliveryPath, Plan, Span};
use harness::run_dir::RunDir;
use harness::shutdown::Shutdown;
use harness::stored::{Arrivals, read_stored};

use crate::compare::{Fates, Held, StreamMemory, Totals, compare};
use crate::content::{Difference, read_differences};
use crate::error::VerifyError;
use crate::jetstream::{StreamArrivals, read_stream};
use crate::records::RunRecords;
use crate::report::{
    Duplicates, Durations, Environment, REPORT_FORMAT, Report, StreamReport, TableReport,
    TenantReport, findings,
};
use crate::settle::{Look, SettleOptions, Stillness, Watch};
use crate::thresholds::evaluate;
use crate::verdict::{Evidence, judge};

/// Where a run's events can be looked for.
#[derive(Debug, Clone, Copy)]
pub struct Stores<'s> {
    pub table: &'s ClickHouse,
    /// `None` for a run that did not go through the pipeline.
    pub stream: Option<&'s AuditStream>,
}

/// A run as its directory tells it.
#[derive(Debug)]
pub struct Recorded {
    pub dir: RunDir,
    pub plan: Plan,
    pub ledger: Ledger,
    /// Whether the sender kept its schedule; `None` where its summary is missing.
    pub saturated: Option<bool>,
}

impl Recorded {
    /// Reads a run directory.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError::RunDir`] if it is not one, or is damaged.
    pub fn open(path: &std::path::Path) -> Result<Self, VerifyError> {
        let (dir, plan) = RunDir::open(path)?;
        let ledger = dir.read_ledger(&plan)?;
        let saturated = match plan.spec.span {
            Span::Live => saturated(path.join("summary-0.json")),
            // It has no schedule to keep.
            Span::History { .. } => Some(false),
        };
        Ok(Self { dir, plan, ledger, saturated })
    }

    /// Whether nothing can be on its way any more: all inserts of a bulk run were answered, and
    /// an answered insert is in the table.
    fn is_answered_in_full(&self) -> bool {
        self.plan.path() == DeliveryPath::Bulk
            && self.ledger.closed
            && self.ledger.accounts.iter().all(|account| account.unknown().is_empty())
    }
}

/// Waits for the stores, compares them with the ledger, and judges.
///
/// # Errors
///
/// Returns [`VerifyError`] if a store does not answer, or the user asks to stop.
pub async fn reconcile(
    run: &Recorded,
    stores: Stores<'_>,
    clock: &Clock,
    mut shutdown: Shutdown,
    options: SettleOptions,
) -> Result<Report, VerifyError> {
    let script = &run.plan.script;
    let mut durations = Durations::default();
    let mut timer = Timer::start(clock);
    let stillness = settle(run, stores, clock, &mut shutdown, options).await?;
    durations.settle_s = timer.lap();
    let stream = match stores.stream {
        Some(stream) => Some(read_stream(stream, script, run.plan.not_sent_before()).await?),
        None => None,
    };
    durations.stream_s = timer.lap();
    let table = read_stored(stores.table, script, None).await?;
    durations.table_s = timer.lap();
    let mut differences = read_differences(stores.table, script, &table).await?;
    durations.content_s = timer.lap();
    let is_spoiled =
        |it: &Difference| run.ledger.accounts[usize::from(it.tenant)].spoiled.contains(it.seq);
    differences.retain(|difference| !is_spoiled(difference));
    let fates = all_fates(run, &table, stream.as_ref(), &differences);
    let mut report = report(
        run,
        stillness,
        fates,
        &table,
        stream.as_ref(),
        differences,
        (durations, clock.now()),
        stores.table.table.to_string(),
    );
    let records = RunRecords::read(run.dir.path(), &run.plan)?;
    report.thresholds = evaluate(&run.plan.thresholds, &records, &report.totals);
    Ok(report)
}

/// Waits until the stores are still, or until all that was acknowledged is stored and nothing is
/// on its way.
async fn settle(
    run: &Recorded,
    stores: Stores<'_>,
    clock: &Clock,
    shutdown: &mut Shutdown,
    options: SettleOptions,
) -> Result<Stillness, VerifyError> {
    if run.is_answered_in_full() {
        return Ok(Stillness::Still);
    }
    let mut watch = Watch::new(stores.table, stores.stream, *clock, options);
    let mut is_checked = false;
    loop {
        match watch.look(shutdown).await? {
            Look::Ended(stillness) => return Ok(stillness),
            Look::Moving => is_checked = false,
            Look::Calm if is_checked => {}
            Look::Calm => {
                is_checked = true;
                let table = read_stored(stores.table, &run.plan.script, None).await?;
                let fates = all_fates(run, &table, None, &[]);
                if fates.iter().all(|fates| fates.lost().is_empty() && fates.unresolved.is_empty())
                {
                    return Ok(Stillness::Still);
                }
            }
        }
    }
}

/// Compares ledger and stores, tenant by tenant.
fn all_fates(
    run: &Recorded,
    table: &BTreeMap<TenantIndex, Arrivals>,
    stream: Option<&StreamArrivals>,
    differences: &[Difference],
) -> Vec<Fates> {
    let script = &run.plan.script;
    let of = |by_tenant: &BTreeMap<TenantIndex, Arrivals>, tenant| {
        by_tenant.get(&tenant).cloned().unwrap_or_default()
    };
    let memory = stream.map_or(StreamMemory::Whole, |stream| stream.memory);
    let mut all: Vec<Fates> = script
        .tenants()
        .zip(&run.ledger.accounts)
        .map(|(tenant, account)| {
            let timeline = script.timeline(tenant);
            let held = Held {
                in_stream: stream.map(|stream| of(&stream.by_tenant, tenant)),
                piped_from: timeline.count_before(run.plan.piped_from),
                in_table: of(table, tenant),
            };
            compare(timeline.count(), account, &held, memory)
        })
        .collect();
    for difference in differences {
        let seqs = difference.seq..difference.seq + 1;
        all[usize::from(difference.tenant)].corrupted.insert(seqs);
    }
    all
}

fn report(
    run: &Recorded,
    stillness: Stillness,
    fates: Vec<Fates>,
    table: &BTreeMap<TenantIndex, Arrivals>,
    stream: Option<&StreamArrivals>,
    differences: Vec<Difference>,
    (durations, checked_at): (Durations, i64),
    name: String,
) -> Report {
    let plan = &run.plan;
    let mut totals = Totals::of(&fates, table.values().map(|arrivals| arrivals.count).sum());
    // Rows that bear the run's mark, but a tenant that it does not have.
    totals.unexpected += table
        .iter()
        .filter(|(tenant, _)| usize::from(tenant.0) >= fates.len())
        .map(|(_, arrivals)| arrivals.seqs.count())
        .sum::<u64>();
    let evidence = Evidence {
        stillness,
        ledger_closed: run.ledger.closed,
        saturated: run.saturated,
        accounts_add_up: fates.iter().all(Fates::add_up),
    };
    let (verdict, reasons) = judge(&totals, &evidence);
    let (findings, findings_left_out) = findings(&plan.script, &fates);
    Report {
        format: REPORT_FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        verdict,
        reasons,
        is_still: stillness == Stillness::Still,
        run_id: plan.spec.run_id,
        profile: plan.profile_name.clone(),
        path: plan.path(),
        start: MicroTime(plan.start),
        end: MicroTime(plan.end),
        checked_at: MicroTime(checked_at),
        table: TableReport {
            name,
            engine: String::new(),
            rows: totals.rows,
            distinct: totals.stored,
            folded: None,
            duplicates: Duplicates::NoneVisible,
        },
        totals,
        loss_windows: Vec::new(),
        stream: stream.map(|stream| {
            let messages = stream.by_tenant.values().map(|arrivals| arrivals.count).sum();
            StreamReport::new(messages, stream.without_id, stream.memory)
        }),
        findings,
        findings_left_out,
        differences,
        tenants: plan
            .script
            .tenants()
            .zip(fates)
            .map(|(tenant, fates)| TenantReport::new(plan, tenant, fates))
            .collect(),
        thresholds: Vec::new(),
        marks: Vec::new(),
        environment: Environment::default(),
        durations,
    }
}

/// Reads from a generator's summary whether it was saturated.
fn saturated(path: PathBuf) -> Option<bool> {
    let text = fs::read_to_string(path).ok()?;
    serde_json::from_str::<serde_json::Value>(&text).ok()?["saturated"].as_bool()
}

struct Timer<'c> {
    clock: &'c Clock,
    since: i64,
}

impl<'c> Timer<'c> {
    fn start(clock: &'c Clock) -> Self {
        Self { clock, since: clock.now() }
    }

    /// Returns the seconds since the start or the last lap.
    fn lap(&mut self) -> f64 {
        let now = self.clock.now();
        let lap = seconds(now - self.since);
        self.since = now;
        lap
    }
}
