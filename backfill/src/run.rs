//! A load from its first event to its summary: old days straight into the table, then new days
//! through the pipeline.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use edges::clock::{Clock, seconds};
use edges::errors::ErrorCounts;
use edges::shutdown::{Shutdown, Stop};
use events::identity::TenantIndex;
use events::script::{DAY_US, midnight};
use load::webhook::Webhook;
use plans::plan::Plan;
use plans::spec::Span;
use runs::ledger::{Account, LedgerWriter};
use runs::ranges::{RangeSet, TenantRanges};
use runs::run_dir::RunDir;
use stores::clickhouse::{ClickHouse, ClickHouseError};
use stores::jetstream::AuditStream;
use stores::survey::{Survey, survey};
use tracing::{info, warn};

use crate::bulk::{Bulk, BulkOptions, Destination};
use crate::chunk::{Chunk, chunks, due_before};
use crate::counted::{Counted, Listen};
use crate::error::BackfillError;
use crate::forecast::ServerForecast;
use crate::governor::GovernorLimits;
use crate::history::Recorded;
use crate::lookup::Stores;
use crate::native::BlockColumns;
use crate::options::{LoadOptions, Surveyed};
use crate::piece::{Piece, pieces_of};
use crate::repair::{RepairSummary, write_ahead};
use crate::replay::{Replay, ReplayOptions};
use crate::replay_all::{Replaying, replay_all};
use crate::report::{BulkSummary, Summary};

/// The pipeline that the last days go through.
#[derive(Debug)]
pub struct Pipeline {
    pub webhook: Webhook,
    pub stream: AuditStream,
    pub options: ReplayOptions,
    /// The table is still, if it has not grown for as long.
    pub settle: Duration,
}

impl Surveyed {
    /// Asks servers what they are like.
    ///
    /// # Errors
    ///
    /// Returns [`ClickHouseError`] of the first that does not answer.
    pub async fn ask(servers: Vec<ClickHouse>) -> Result<Self, ClickHouseError> {
        let mut surveys = Vec::new();
        for server in &servers {
            surveys.push(survey(server).await?);
        }
        Ok(Self { servers, surveys })
    }

    /// The columns that every server has and lets itself be sent.
    pub fn columns(&self) -> BlockColumns {
        let takes_materialized = self.surveys.iter().all(|survey| survey.takes_materialized);
        let of = |server: &ClickHouse, takes| -> Vec<(usize, String)> {
            let named = server.columns.sendable(takes).into_iter();
            named.map(|(index, name)| (index, name.to_owned())).collect()
        };
        let common = |takes: bool| {
            let mut all = self.servers.iter().map(|server| of(server, takes));
            let first = all.next().unwrap_or_default();
            all.fold(first, |mut common, own| {
                common.retain(|column| own.contains(column));
                common
            })
        };
        let sent = common(takes_materialized);
        let has_materialized = sent != common(false);
        BlockColumns { sent, has_materialized }
    }

    /// The servers, as what is in doubt is looked for in them.
    pub fn stores(&self) -> Stores<'_> {
        let are_replicated = self.surveys.iter().any(Survey::is_replicated);
        Stores { servers: &self.servers, are_replicated }
    }

    /// What each server says of itself, for a forecast.
    pub fn forecasts(&self) -> Vec<ServerForecast> {
        let forecast = |(server, survey): (&ClickHouse, &Survey)| ServerForecast {
            url: server.url.clone(),
            survey: survey.clone(),
            unfilled: server.columns.unfilled().to_vec(),
        };
        self.servers.iter().zip(&self.surveys).map(forecast).collect()
    }

    /// How many parts a partition may have on each of the servers.
    pub fn parts_per_partition_max(&self) -> u64 {
        let limits = self.surveys.iter().map(Survey::parts_per_partition_max);
        limits.min().unwrap_or(u64::MAX)
    }
}

/// Brings all that is left of a recorded history to its place, first the pieces that are left of
/// the part that goes straight into the table, and writes the summary. What happens is told to
/// `listen`.
///
/// # Errors
///
/// Returns [`BackfillError`] if it cannot go on. Whatever it is, the same command goes on later.
pub async fn load(
    recorded: &Recorded,
    pieces: Vec<Piece>,
    (to, pipeline): (&Surveyed, Option<Pipeline>),
    clock: Clock,
    shutdown: Shutdown,
    options: LoadOptions,
    listen: &mut Listen<'_>,
) -> Result<Summary, BackfillError> {
    let Recorded { plan, ledger, .. } = recorded;
    let begun = clock.now();
    let mut counted = Counted::new(clock, listen);
    let loading = Loading { plan, ledger: Some(ledger), to, clock, options };
    let mut result = loading.bring(pieces, shutdown.clone(), &mut counted).await;
    if result.is_ok() && shutdown.stop() == Stop::No {
        result = match pipeline {
            Some(pipeline) => send(recorded, to, pipeline, clock, &shutdown, &mut counted).await,
            None => Ok(()),
        };
    }
    // Also after a failure: what was not begun is unsent, and the ledger says so.
    ledger.close().map_err(BackfillError::ledger)?;
    result.inspect_err(|_| log_errors(&counted.errors))?;
    let days = match plan.spec.span {
        Span::History { days, .. } => days,
        Span::Live => 0,
    };
    let Counted { bulk, replay, errors, .. } = counted;
    let acknowledged_before = recorded.acknowledged_before();
    let now = bulk.inserted + bulk.found + replay.acknowledged + replay.found;
    let summary = Summary {
        run_id: plan.spec.run_id,
        profile: plan.profile_name.clone(),
        stopped: shutdown.stop() != Stop::No,
        days,
        planned: plan.script.planned(),
        acknowledged: acknowledged_before + now,
        acknowledged_before,
        bulk: BulkSummary { planned: due_before(&plan.script, plan.piped_from), ..bulk },
        replay,
        errors,
        duration_s: seconds(clock.now() - begun),
    };
    recorded.dir.write_json("summary-0.json", &summary)?;
    Ok(summary)
}

/// Sends what is left of the last days through the pipeline.
async fn send(
    recorded: &Recorded,
    to: &Surveyed,
    pipeline: Pipeline,
    clock: Clock,
    shutdown: &Shutdown,
    counted: &mut Counted<'_>,
) -> Result<(), BackfillError> {
    let Recorded { plan, before, ledger, .. } = recorded;
    let left =
        piped(plan, before.accounts.iter(), |account, all| all.difference(&account.acknowledged));
    if left.is_empty() {
        return Ok(());
    }
    let doubtful =
        piped(plan, before.accounts.iter(), |account, all| account.unknown().intersection(all));
    let Pipeline { webhook, stream, options, settle } = pipeline;
    let ledger = Arc::clone(ledger);
    info!(left = left.count(), doubtful = doubtful.count(), "sending through the pipeline");
    let replay =
        Replay::start(plan.clone(), webhook, Arc::clone(&ledger), stream, clock, options).await?;
    let stores = to.stores();
    let replaying = Replaying { plan, stores, ledger: &ledger, clock, shutdown, settle };
    replay_all(replay, replaying, left, doubtful, counted).await
}

/// Returns sets of those events that go through the pipeline, of each tenant's account one.
fn piped<'a>(
    plan: &Plan,
    accounts: impl Iterator<Item = &'a Account>,
    set: impl Fn(&Account, &RangeSet) -> RangeSet,
) -> TenantRanges {
    let of = |(tenant, account): (TenantIndex, &Account)| {
        let timeline = plan.script.timeline(tenant);
        let all: Range<u64> = timeline.count_before(plan.piped_from)..timeline.count();
        (tenant, set(account, &RangeSet::of(all)))
    };
    plan.script.tenants().zip(accounts).map(of).collect()
}

/// Cuts the part of a history that goes straight into the table.
pub fn bulk_chunks(plan: &Plan, options: LoadOptions) -> Vec<Chunk> {
    chunks(&plan.script, &(plan.start..plan.piped_from), rows_max(options))
}

/// A limit on the rate holds from second to second, so that no insert is of more than one.
fn rows_max(options: LoadOptions) -> u64 {
    let limit = options.rows_per_second_max.unwrap_or(u64::MAX);
    options.rows_per_insert.min(limit.max(ROWS_MAX_MIN))
}

/// Brings events of a run that are lost into the table again, each once, and says so in its ledger.
/// What happens is told to `listen`.
///
/// # Errors
///
/// Returns [`BackfillError`] if it cannot go on. Whatever it is, the same command goes on later.
pub async fn repair(
    (dir, plan): (&RunDir, &Plan),
    lost: &TenantRanges,
    to: &Surveyed,
    clock: Clock,
    shutdown: Shutdown,
    options: LoadOptions,
    listen: &mut Listen<'_>,
) -> Result<RepairSummary, BackfillError> {
    let days = midnight(plan.start)..midnight(plan.end - 1) + DAY_US;
    let chunks = chunks(&plan.script, &days, rows_max(options));
    let pieces = pieces_of(&plan.script, &chunks, lost);
    let mut counted = Counted::new(clock, listen);
    // Held until the end: nobody else may write to them meanwhile.
    let _ledgers = write_ahead(dir, plan, lost, options.durability)?;
    let loading = Loading { plan, ledger: None, to, clock, options };
    let result = loading.bring(pieces, shutdown.clone(), &mut counted).await;
    result.inspect_err(|_| log_errors(&counted.errors))?;
    Ok(RepairSummary {
        run_id: plan.spec.run_id,
        stopped: shutdown.stop() != Stop::No,
        lost: lost.count(),
        sent: counted.bulk.inserted,
        found: counted.bulk.found,
        errors: counted.errors,
    })
}

/// Logs what went wrong on the way, where no summary does it.
fn log_errors(errors: &ErrorCounts) {
    errors.lines().iter().for_each(|line| warn!("{line}"));
}

/// What pieces are brought into the table with.
#[derive(Debug, Clone, Copy)]
struct Loading<'l> {
    plan: &'l Plan,
    ledger: Option<&'l LedgerWriter>,
    to: &'l Surveyed,
    clock: Clock,
    options: LoadOptions,
}

impl Loading<'_> {
    async fn bring(
        self,
        pieces: Vec<Piece>,
        shutdown: Shutdown,
        counted: &mut Counted<'_>,
    ) -> Result<(), BackfillError> {
        if pieces.is_empty() {
            return Ok(());
        }
        info!(pieces = pieces.len(), "inserting into the table");
        let Self { plan, ledger, to, clock, options } = self;
        let columns = to.columns();
        let limit = options.parts_per_partition_max;
        let bulk = Bulk {
            plan,
            to: Destination { stores: to.stores(), columns: &columns, compress: options.compress },
            ledger,
            clock,
            options: BulkOptions {
                limits: GovernorLimits { lanes_max: options.lanes, rows_max: rows_max(options) },
                rows_per_second_max: options.rows_per_second_max,
                parts_per_partition_max: limit.unwrap_or_else(|| to.parts_per_partition_max()),
                patience: options.patience,
            },
        };
        bulk.bring_all(pieces, shutdown, |event| counted.take(&event)).await
    }
}

const ROWS_MAX_MIN: u64 = 100;
