//! Checks one run, from its directories to its report.

use std::collections::{BTreeMap, BTreeSet};

use edges::clock::{Clock, seconds};
use events::event::MicroTime;
use events::identity::TenantIndex;
use plans::spec::DeliveryPath;
use report::records::RunRecords;
use report::thresholds::evaluate;
use runs::observation::Observation;
use runs::ranges::{RangeSet, TenantRanges};
use runs::report::cause::Cause;
use runs::report::doubt::{Doubt, Place};
use runs::report::fates::{Fates, Forgotten, Totals};
use runs::report::{
    Durations, Environment, REPORT_FORMAT, Report, StreamReport, TableReport, TenantReport,
};
use stores::clickhouse::ClickHouse;
use stores::jetstream::{AuditStream, NoConsumer};
use stores::sight::Hidden;
use stores::stored::Arrivals;
use tracing::info;

use crate::changes::Changes;
use crate::compare::{self, Held, StreamMemory, compare};
use crate::content::{Differences, read_differences};
use crate::deep::read_json_differences;
use crate::engine::{Engine, Folding, read_folding};
use crate::error::VerifyError;
use crate::eviction::{Counted, Counters, is_proven};
use crate::evidence::{self, Grounds, Stillness};
use crate::expected::Expected;
use crate::jetstream::{StreamArrivals, Wanted, read_stream};
use crate::patience::Patience;
use crate::query_costs::read_query_costs;
use crate::recorded::Recorded;
use crate::scan::{Holdings, ScanOptions, scan, scan_ids};
use crate::sections::{environment, findings, of_stream};
use crate::settle::{Motion, SettleOptions, Settling};
use crate::trace::{Traced, Tracks, trace};
use crate::verdict::{CountedRows, Evidence, Judgement, judge};
use crate::ways::Ways;
use crate::windows::loss_windows;

/// The stores in which a run's events are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Stores<'s> {
    pub table: &'s ClickHouse,
    /// The stream, or `None` for a run that did not go through the pipeline.
    pub stream: Option<&'s AuditStream>,
}

/// Options of a check.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    pub settle: SettleOptions,
    pub scan: ScanOptions,
    /// The changes that the pipeline makes to events on purpose.
    pub changes: Changes,
    /// Whether the JSON of stored events is compared, in addition to the columns.
    pub depth: Depth,
    pub duplicates: CountedRows,
}

/// How closely stored rows are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Compares digests of all columns except the event itself.
    Columns,
    /// Also compares the JSON of each event.
    Json,
}

/// The result of checking a run.
#[derive(Debug)]
pub struct Checked {
    /// The report, with its verdict.
    pub report: Report,
    /// The records that the run's files have of its seconds.
    pub records: RunRecords,
}

/// Waits for the stores, compares them with the ledger, and judges.
///
/// # Errors
///
/// Returns [`VerifyError`] if a store does not answer, or the user asks to stop.
pub async fn reconcile(
    run: &Recorded,
    stores: Stores<'_>,
    options: &CheckOptions,
    patience: &mut Patience,
) -> Result<Checked, VerifyError> {
    let (script, clock) = (&run.plan.script, patience.clock);
    let mut timer = Timer::start(&clock);
    info!(dir = %run.dirs[0].path().display(), "waiting until stream and table are still");
    let (stillness, seen) = settle(run, stores, options, patience).await?;
    let settle_s = timer.lap("reading the stream");
    let from = run.plan.not_sent_before();
    let expected = stores.stream.map(|_| expected_in_stream(run)).unwrap_or_default();
    let stream = match stores.stream {
        Some(stream) => {
            let wanted = Wanted { script, from, expected: &expected };
            Some(read_stream(stream, wanted, patience).await?)
        }
        None => None,
    };
    let stream_s = timer.lap("reading the table");
    let checked_at = clock.now();
    let table = scan(stores.table, script, &options.scan, patience).await?;
    let table_s = timer.lap("comparing what is stored");
    let differences = look_into(run, stores.table, &table, options, patience).await?;
    let content_s = timer.lap("following up what is lost");
    let mut records = RunRecords::read(&run.dirs, &run.plan)?;
    let stream = stream.map(|stream| remember(&expected, stream, &table.by_tenant));
    let mut fates = all_fates(run, &table.by_tenant, stream.as_ref(), &differences);
    if let Some(stream) = &stream {
        attribute_evicted(run, stream, &records, &mut fates);
    }
    let engine = patience.ask(async || Engine::read(stores.table).await).await?;
    let is_read =
        |stream: &&StreamArrivals| stream.memory != StreamMemory::Partial(Forgotten::Read);
    let tracks = Tracks {
        script,
        ways: &Ways::of(&run.plan, &run.ledger),
        table: stores.table,
        engine: &engine,
        stream: stream.as_ref().filter(is_read).and(stores.stream).map(|stream| (stream, from)),
        changes: &options.changes,
    };
    let Traced { elsewhere, hidden: detached, hints } = trace(tracks, &mut fates, patience).await?;
    let seen = seen_of(seen, stream.as_ref(), &table, detached);
    let grounds = Grounds::of(&seen);
    let doubts = keep_proven(run, &grounds, &mut fates);
    let totals = totals(&fates, &table.by_tenant);
    let distinct = table.by_tenant.values().map(|arrivals| arrivals.seqs.count()).sum();
    let rows = totals.rows;
    let described = async || engine.report(stores.table, script, rows, distinct).await;
    let described = patience.ask(described).await?;
    let counted = read_counted(run, stores.table, &described, options, patience).await?;
    let trace_s = timer.lap("judging");
    let seen = Seen {
        stillness,
        is_steady: table.is_steady,
        doubts,
        against_table: grounds.doubts(Place::Table).to_vec(),
        counted,
        checked_at,
        stream: stream.as_ref().map(of_stream),
        no_consumer: stream.and_then(|stream| stream.no_consumer),
        table: TableReport { elsewhere, ..described },
        hints,
        differences,
        environment: environment(engine.server_version, stores.stream),
        durations: Durations { settle_s, stream_s, table_s, content_s, trace_s },
    };
    let mut report = report(run, fates, totals, seen, &records);
    records.find_awaited(&run.plan, &report);
    report.thresholds = evaluate(&run.plan.thresholds, &records, &report.totals);
    add_costs(run, stores.table, &mut records, patience).await;
    Ok(Checked { report, records })
}

/// Looks up what the slowest queries cost, if the run has any.
async fn add_costs(
    run: &Recorded,
    table: &ClickHouse,
    records: &mut RunRecords,
    patience: &Patience,
) {
    let slowest = records.queries.slowest.queries();
    if slowest.is_empty() {
        return;
    }
    let until = (patience.clock, patience.shutdown.clone());
    let mut costs = read_query_costs(run.plan.spec.run_id, slowest, table, until).await;
    if let Some(earlier) = &records.costs {
        costs.keep(earlier);
    }
    records.costs = Some(costs);
}

/// Decides which rows count as duplicates. `None` if nobody knows whether the table folds them.
async fn read_counted(
    run: &Recorded,
    server: &ClickHouse,
    table: &TableReport,
    options: &CheckOptions,
    patience: &mut Patience,
) -> Result<Option<CountedRows>, VerifyError> {
    if options.duplicates == CountedRows::Physical {
        return Ok(Some(CountedRows::Physical));
    }
    let script = &run.plan.script;
    let folding = async || read_folding(server, script, table).await;
    Ok(match patience.ask(folding).await? {
        Folding::All => Some(CountedRows::Logical),
        Folding::NotAll => Some(CountedRows::Physical),
        Folding::Untold => None,
    })
}

/// The events that the stream was given if the sidecar lost none: those that were acknowledged,
/// without those that went straight into the table.
fn expected_in_stream(run: &Recorded) -> TenantRanges {
    let mut expected = TenantRanges::new();
    for (tenant, account) in run.plan.script.tenants().zip(&run.ledger.accounts) {
        let past_it = run.plan.script.timeline(tenant).count_before(run.plan.piped_from);
        let sent = account.acknowledged.difference(&RangeSet::of(0..past_it));
        expected.insert_all(tenant, &sent.difference(&account.repaired));
    }
    expected
}

/// Finds out whether the stream has evicted messages: an event that is in the table and not in the
/// stream must have gone through the stream.
fn remember(
    expected: &TenantRanges,
    stream: StreamArrivals,
    table: &BTreeMap<TenantIndex, Arrivals>,
) -> StreamArrivals {
    if stream.memory != StreamMemory::Whole {
        return stream;
    }
    let is_forgotten = expected.iter().any(|(tenant, sent)| {
        let held = |by_tenant: &BTreeMap<TenantIndex, Arrivals>| {
            by_tenant.get(&tenant).map(|arrivals| arrivals.seqs.clone()).unwrap_or_default()
        };
        !sent.intersection(&held(table)).difference(&held(&stream.by_tenant)).is_empty()
    });
    let memory =
        if is_forgotten { StreamMemory::Partial(Forgotten::Stored) } else { StreamMemory::Whole };
    StreamArrivals { memory, ..stream }
}

/// Adds what was seen of the stores to what was seen of the pipeline.
fn seen_of(
    seen: evidence::Seen,
    stream: Option<&StreamArrivals>,
    table: &Holdings,
    detached: Vec<Hidden>,
) -> evidence::Seen {
    let no_consumer = stream.and_then(|stream| stream.no_consumer.clone());
    let hidden = [table.hidden.clone(), detached].concat();
    evidence::Seen { no_consumer, is_steady: table.is_steady, hidden, ..seen }
}

/// Keeps only those lost events whose loss is proven. Returns the doubts about the others.
fn keep_proven(run: &Recorded, grounds: &Grounds, fates: &mut [Fates]) -> Vec<Doubt> {
    let script = &run.plan.script;
    for (tenant, fates) in script.tenants().zip(&mut *fates) {
        let piped_from = script.timeline(tenant).count_before(run.plan.piped_from);
        compare::keep_proven(fates, piped_from, |cause, path| grounds.prove(cause, path));
    }
    let paths: &[DeliveryPath] = match run.plan.path() {
        DeliveryPath::Both => &[DeliveryPath::Bulk, DeliveryPath::Pipeline],
        DeliveryPath::Bulk => &[DeliveryPath::Bulk],
        DeliveryPath::Pipeline => &[DeliveryPath::Pipeline],
    };
    let causes: BTreeSet<Cause> = fates.iter().flat_map(|it| it.not_seen.keys().copied()).collect();
    let against = causes.into_iter().flat_map(|cause| {
        paths.iter().flat_map(move |path| grounds.against(cause, *path).cloned())
    });
    let against: BTreeSet<Doubt> = against.collect();
    against.into_iter().collect()
}

/// Waits until all acknowledged events are stored and nothing is on its way, or until the stores
/// are still and missing events cannot be on their way any more.
async fn settle(
    run: &Recorded,
    stores: Stores<'_>,
    options: &CheckOptions,
    patience: &mut Patience,
) -> Result<(Stillness, evidence::Seen), VerifyError> {
    if run.is_answered_in_full() {
        return Ok((Stillness::Still, evidence::Seen::default()));
    }
    let mut settling = Settling::new(stores.table, stores.stream, patience.clock, &options.settle);
    let targets = &run.plan.spec.targets;
    // What is missing, if that was read after the last movement.
    let mut missing = None;
    loop {
        let look = settling.look(patience).await?;
        if look == Motion::Moving {
            missing = None;
        } else if missing.is_none() {
            missing = Some(read_missing(run, stores, options, patience).await?);
        }
        if missing == Some(Missing::Nothing) {
            return Ok((Stillness::Still, settling.seen(targets).await));
        }
        let is_quiet = look == Motion::Quiet;
        if settling.is_over() || is_quiet {
            let seen = settling.seen(targets).await;
            let is_settled = is_quiet
                && (missing == Some(Missing::Unresolved) || Grounds::of(&seen).is_passed());
            if settling.is_over() || is_settled {
                let stillness = settling.stillness(look);
                let is_still = stillness == Stillness::Still;
                return Ok((stillness, evidence::Seen { is_still, ..seen }));
            }
        }
    }
}

/// Which events of a run are missing in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Nothing,
    /// All acknowledged events are stored; some events whose outcome is unknown are not.
    Unresolved,
    Acknowledged,
}

async fn read_missing(
    run: &Recorded,
    stores: Stores<'_>,
    options: &CheckOptions,
    patience: &mut Patience,
) -> Result<Missing, VerifyError> {
    let rows_at_once = options.scan.rows_at_once;
    let table = scan_ids(stores.table, &run.plan.script, rows_at_once, patience).await?;
    let fates = all_fates(run, &table, None, &Differences::default());
    Ok(if fates.iter().any(|fates| !fates.lost.is_empty()) {
        Missing::Acknowledged
    } else if fates.iter().any(|fates| !fates.unresolved.is_empty()) {
        Missing::Unresolved
    } else {
        Missing::Nothing
    })
}

/// Compares stored rows with what was sent: the columns, and the JSON if the user asks for it.
async fn look_into(
    run: &Recorded,
    server: &ClickHouse,
    table: &Holdings,
    options: &CheckOptions,
    patience: &mut Patience,
) -> Result<Differences, VerifyError> {
    let script = &run.plan.script;
    let mut expected = Expected::open(&run.dirs[0], &run.plan, patience.story);
    let mut differences = read_differences(server, &mut expected, table, patience).await?;
    if options.depth == Depth::Json {
        let ways = Ways::of(&run.plan, &run.ledger);
        let deep = read_json_differences(server, &ways, &options.changes, patience).await?;
        differences.join(deep);
    }
    let spoiled: TenantRanges = script
        .tenants()
        .zip(&run.ledger.accounts)
        .map(|(tenant, account)| (tenant, account.spoiled.clone()))
        .collect();
    differences.finish(&spoiled);
    Ok(differences)
}

/// Compares ledger and stores, tenant by tenant.
fn all_fates(
    run: &Recorded,
    table: &BTreeMap<TenantIndex, Arrivals>,
    stream: Option<&StreamArrivals>,
    differences: &Differences,
) -> Vec<Fates> {
    let script = &run.plan.script;
    let arrivals = |by_tenant: &BTreeMap<TenantIndex, Arrivals>, tenant| {
        by_tenant.get(&tenant).cloned().unwrap_or_default()
    };
    let set = |sets: &TenantRanges, tenant| sets.get(tenant).cloned().unwrap_or_default();
    let memory = stream.map_or(StreamMemory::Whole, |stream| stream.memory);
    script
        .tenants()
        .zip(&run.ledger.accounts)
        .map(|(tenant, account)| {
            let timeline = script.timeline(tenant);
            let held = Held {
                in_stream: stream.map(|stream| arrivals(&stream.by_tenant, tenant)),
                unread: stream.map_or_else(RangeSet::new, |stream| set(&stream.unread, tenant)),
                piped_from: timeline.count_before(run.plan.piped_from),
                in_table: arrivals(table, tenant),
            };
            Fates {
                corrupted: set(&differences.corrupted, tenant),
                misplaced: set(&differences.misplaced, tenant),
                ..compare(timeline.count(), account, &held, memory)
            }
        })
        .collect()
}

/// Gives events whose hop is unknown the cause "evicted", if counting proves it.
fn attribute_evicted(
    run: &Recorded,
    stream: &StreamArrivals,
    records: &RunRecords,
    fates: &mut [Fates],
) {
    let count = |of: fn(&Fates) -> u64| fates.iter().map(of).sum::<u64>();
    let counted = Counted {
        taken: count(|fates| fates.acknowledged.count() + fates.recovered.count()),
        missing: count(|fates| fates.lost.get(&Cause::Somewhere).map_or(0, RangeSet::count)),
    };
    let is_asked = stream.memory == StreamMemory::Partial(Forgotten::Evicted)
        && run.plan.path() == DeliveryPath::Pipeline
        && counted.missing > 0;
    let Some(after) = stream.counters.filter(|_| is_asked) else { return };
    let is_before = |seen: &&Observation| seen.at.0 <= run.plan.start;
    let before = records.observations.iter().rfind(is_before).and_then(Counters::seen);
    if is_proven(before.unwrap_or_default(), after, counted) {
        for fates in fates {
            if let Some(seqs) = fates.lost.remove(&Cause::Somewhere) {
                fates.lost.insert(Cause::Evicted, seqs);
            }
        }
    }
}

/// Counts events by what became of them, and the rows that belong to no tenant of the run.
fn totals(fates: &[Fates], table: &BTreeMap<TenantIndex, Arrivals>) -> Totals {
    let mut totals = Totals::of(fates, table.values().map(|arrivals| arrivals.count).sum());
    // These rows have the run's mark, but a tenant that the run does not have.
    totals.unexpected += table
        .iter()
        .filter(|(tenant, _)| usize::from(tenant.0) >= fates.len())
        .map(|(_, arrivals)| arrivals.seqs.count())
        .sum::<u64>();
    totals
}

/// What was seen of the stores, in addition to the fates of the events.
struct Seen {
    stillness: Stillness,
    is_steady: bool,
    doubts: Vec<Doubt>,
    against_table: Vec<Doubt>,
    counted: Option<CountedRows>,
    checked_at: i64,
    stream: Option<StreamReport>,
    no_consumer: Option<NoConsumer>,
    table: TableReport,
    /// What could not be found out about lost events.
    hints: Vec<String>,
    differences: Differences,
    environment: Environment,
    durations: Durations,
}

fn report(
    run: &Recorded,
    fates: Vec<Fates>,
    totals: Totals,
    seen: Seen,
    records: &RunRecords,
) -> Report {
    let plan = &run.plan;
    let evidence = Evidence {
        stillness: seen.stillness,
        ledger_closed: run.ledger.closed,
        shards_missing: run.shards_missing.clone(),
        against_loss: seen.doubts.clone(),
        against_table: seen.against_table.clone(),
        saturated: records.saturated(&plan.spec.span),
        counted: seen.counted,
        accounts_add_up: fates.iter().all(Fates::add_up),
        not_looked_at: seen.differences.not_looked_at,
    };
    let Judgement { verdict, mut reasons, notes } = judge(&totals, &evidence);
    if totals.acknowledged > 0 {
        reasons.extend(strangers(&seen));
    }
    reasons.extend(seen.hints.iter().cloned());
    let (findings, findings_left_out) = findings(&plan.script, &fates);
    Report {
        format: REPORT_FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        verdict,
        reasons,
        notes,
        doubts: seen.doubts,
        is_still: seen.stillness == Stillness::Still && seen.is_steady,
        run_id: plan.spec.run_id,
        profile: plan.profile_name.clone(),
        path: plan.path(),
        start: MicroTime(plan.start),
        end: MicroTime(plan.end),
        checked_at: MicroTime(seen.checked_at),
        totals,
        loss_windows: loss_windows(&plan.script, &fates, &records.marks),
        stream: seen.stream,
        table: seen.table,
        thresholds: Vec::new(),
        findings,
        findings_left_out,
        differences: seen.differences.listed,
        tenants: plan
            .script
            .tenants()
            .zip(fates)
            .map(|(tenant, fates)| TenantReport::new(plan, tenant, fates))
            .collect(),
        marks: records.marks.clone(),
        environment: seen.environment,
        durations: seen.durations,
    }
}

/// Warns that stores may be the wrong ones if they have no event of the run, and that a consumer
/// does not exist.
fn strangers(seen: &Seen) -> Vec<String> {
    let mut hints = Vec::new();
    let TableReport { name, distinct, elsewhere, .. } = &seen.table;
    let is_on_the_way = seen.doubts.iter().any(|doubt| doubt.place != Place::Table);
    match &elsewhere[..] {
        _ if *distinct > 0 => {}
        [] if is_on_the_way => hints.push(format!(
            "the table {name} has no event of this run yet: is it the right one, or are all still \
             on their way?"
        )),
        [] => {
            hints.push(format!("the table {name} has no event of this run: is it the right one?"));
        }
        others => hints.push(format!(
            "the table {name} has no event of this run, but {} has: name it with --table",
            others.join(", ")
        )),
    }
    if seen.stream.is_some_and(|stream| stream.messages == 0 && stream.forgotten.is_none()) {
        hints.push("the stream has no message of this run: is it the right one?".to_owned());
    }
    let is_told = seen.doubts.iter().any(|doubt| doubt.place == Place::Consumer);
    hints.extend(seen.no_consumer.as_ref().filter(|_| !is_told).map(|none| {
        format!(
            "{none}: how many messages wait for the aggregator is not known; name its own with \
             --consumer"
        )
    }));
    hints
}

struct Timer<'c> {
    clock: &'c Clock,
    since: i64,
}

impl<'c> Timer<'c> {
    fn start(clock: &'c Clock) -> Self {
        Self { clock, since: clock.now() }
    }

    /// Returns the seconds since the start or the last lap, and logs what comes next.
    fn lap(&mut self, next: &str) -> f64 {
        let now = self.clock.now();
        let took_s = seconds(now - self.since);
        info!(took_s, "{next}");
        self.since = now;
        took_s
    }
}
