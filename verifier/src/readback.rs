//! Reads the events of a run back through the query API, and compares them with what is stored.
//!
//! Each scope is read in two ways. The walk by windows of time needs no cursor and shows all there
//! is; the walk by cursor shows what a user sees. What the first shows and the second does not is
//! lost in paging. What neither shows, and the table has, is the reader's loss. What the table does
//! not have is no matter of the reader.

mod account;
mod asking;
mod confirm;
mod known;
mod plan;
mod probe;
mod progress;
pub mod text;
mod unit;
mod walks;

use std::time::Duration;

use edges::clock::micros;
use events::event::MicroTime;
use plans::plan::Plan;
use queries::door::Door;
use runs::readback::{READBACK_FORMAT, ReadTotals, Readback};
use stores::clickhouse::ClickHouse;
use tracing::info;

use self::account::{Grounds, add_up, judge, notes};
use self::asking::{AskCounts, Asking, Unanswered};
use self::confirm::confirm;
use self::known::KnownRuns;
use self::plan::{Choice, plan_units};
use self::probe::probe;
use self::progress::{Origin, PROGRESS_FILE, Progress};
use self::unit::UnitResult;
use self::walks::{WalkOptions, read_unit};
use crate::error::VerifyError;
use crate::patience::Patience;
use crate::recorded::Recorded;

pub use self::asking::AskOptions;
pub use self::plan::Chosen;

/// How a run is read back.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadbackOptions {
    pub ask: AskOptions,
    /// How long events that are not shown are looked for again.
    pub wait: Duration,
    /// Page sizes of the walks by cursor.
    pub page_sizes: Vec<u32>,
    /// The tenants that are read.
    pub chosen: Chosen,
}

/// Reads a run back at a door. `histories` are other runs whose events are known, and that the
/// table has too. `table` says what is stored; without it, what was acknowledged counts as stored.
///
/// # Errors
///
/// Returns [`VerifyError`] if the door is not there, the table does not answer, or the user asks to
/// stop.
pub async fn read_back<D: Door>(
    (run, histories): (&Recorded, &[Plan]),
    door: &D,
    table: Option<&ClickHouse>,
    options: &ReadbackOptions,
    patience: &mut Patience,
) -> Result<Readback, VerifyError> {
    let (clock, story) = (patience.clock, patience.story);
    let began_at = clock.now();
    let Choice { units, not_asked } = plan_units(run, table, &options.chosen, patience).await?;
    let runs = KnownRuns { own: &run.plan, histories };
    let origin = origin(runs, door.place(), table, options);
    let mut progress = Progress::open(run.dirs[0].file(PROGRESS_FILE), origin, story);
    let mut asking = Asking::new(door, clock, patience.shutdown.clone(), options.ask, story);
    let walk_options = WalkOptions {
        page_sizes: options.page_sizes.clone(),
        wait_until: began_at + micros(options.wait),
        with_table: table.is_some(),
    };
    let mut results = Vec::new();
    let mut scopes_left = 0;
    for unit in &units {
        if let Some(known) = progress.of(&unit.scope.to_string(), unit.stored_count()) {
            results.push(known.clone());
            continue;
        }
        info!(scope = %unit.scope, stored = unit.stored_count(), "reading a scope back");
        let read = read_unit(&mut asking, runs, unit, &walk_options).await;
        let Some(result) = lasting(read, door)? else {
            scopes_left += 1;
            continue;
        };
        let result = match table {
            Some(table) => confirm(table, &run.plan.script, unit, result, patience).await?,
            None => result,
        };
        if result.unread.is_none() {
            progress.add(&result);
        }
        results.push(result);
    }
    let strangers = match units.first() {
        Some(unit) => probe(&mut asking, run.plan.spec.run_id, unit.period).await,
        None => Ok(UnitResult::default()),
    };
    let strangers = lasting(strangers, door)?.unwrap_or_default();
    let readback = conclude(
        run,
        Shown {
            door: door.place(),
            results,
            strangers,
            not_asked,
            scopes_left,
            counts: asking.counts,
        },
        (began_at, clock.now()),
        table.is_some(),
    );
    if scopes_left == 0 {
        progress.remove();
    }
    Ok(readback)
}

fn origin(
    runs: KnownRuns<'_>,
    place: &str,
    table: Option<&ClickHouse>,
    options: &ReadbackOptions,
) -> Origin {
    let servers = [Some(place), table.map(|table| table.url.as_str())];
    let mut marks = runs.scripts().into_iter().map(|script| format!("{:?}", script.mark()));
    Origin {
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        servers: servers.into_iter().flatten().map(str::to_owned).collect(),
        run: marks.next().unwrap_or_default(),
        histories: marks.collect(),
        page_sizes: options.page_sizes.clone(),
    }
}

/// Returns a result, or `None` if the time is over.
///
/// # Errors
///
/// Returns [`VerifyError`] if nothing more can be asked at all.
fn lasting<D: Door>(
    read: Result<UnitResult, Unanswered>,
    door: &D,
) -> Result<Option<UnitResult>, VerifyError> {
    match read {
        Ok(result) => Ok(Some(result)),
        Err(Unanswered::OutOfTime) => Ok(None),
        Err(Unanswered::Stopped) => Err(VerifyError::Stopped),
        Err(Unanswered::Unreachable(source) | Unanswered::Failed(source)) => {
            Err(VerifyError::Reader { place: door.place().to_owned(), source })
        }
    }
}

/// What all scopes have shown.
struct Shown<'d> {
    door: &'d str,
    results: Vec<UnitResult>,
    /// What was shown to scopes that nobody has.
    strangers: UnitResult,
    not_asked: u64,
    scopes_left: u64,
    counts: AskCounts,
}

fn conclude(
    run: &Recorded,
    shown: Shown<'_>,
    (began_at, ended_at): (i64, i64),
    with_table: bool,
) -> Readback {
    let Shown { door, mut results, strangers, not_asked, scopes_left, counts } = shown;
    let mut totals = ReadTotals {
        scopes: results.len() as u64,
        not_asked,
        scopes_unread: scopes_left,
        questions: counts.questions,
        unanswered: counts.unanswered,
        bytes: counts.bytes,
        slowest_ms: counts.slowest_ms,
        ..ReadTotals::default()
    };
    results.push(strangers);
    let (walks, findings, findings_left_out) = add_up(&results, &mut totals);
    let is_closed = run.ledger.closed && run.shards_missing.is_empty();
    let grounds = Grounds { with_table, is_closed, scopes_left };
    let (verdict, reasons) = judge(&results, &totals, grounds);
    Readback {
        format: READBACK_FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        verdict,
        reasons,
        notes: notes(&results, &totals, &counts.errors.lines()),
        run_id: run.plan.spec.run_id,
        profile: run.plan.profile_name.clone(),
        server: door.to_owned(),
        with_table,
        began_at: MicroTime(began_at),
        ended_at: MicroTime(ended_at),
        totals,
        walks,
        findings,
        findings_left_out,
        errors: counts.errors,
    }
}
