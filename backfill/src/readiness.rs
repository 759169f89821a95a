//! Checks whether the servers are ready for a load or a repair, and refuses what cannot work.

use std::collections::BTreeSet;
use std::ops::Range;

use edges::clock::Clock;
use events::identity::{Seq, TenantIndex};
use events::script::{DAY_US, midnight};
use events::timeline::UnixMicros;
use plans::plan::Plan;
use ready::facts::Facts;
use ready::finding::{Finding, Rank};
use ready::intent::{Bulk, Intent};
use ready::piped::{Load, Pace, Piped};
use ready::read::{ReadError, read_facts};
use runs::ledger::{Account, Ledger};
use runs::ranges::{RangeSet, TenantRanges};
use stores::jetstream::AuditStream;

use crate::error::BackfillError;
use crate::options::Surveyed;
use crate::piece::Piece;

/// Describes what a load will send: the events that go straight into the table, and the events of
/// the replay that are not acknowledged yet, with the rate of the replay if it has one.
pub fn intent_of_load(
    plan: &Plan,
    before: &Ledger,
    bulk: Bulk,
    events_per_second: Option<u64>,
) -> Intent {
    let left = |(tenant, account): (TenantIndex, &Account)| {
        piped(plan, tenant).difference(&account.acknowledged).count()
    };
    let piped_events: u64 = plan.script.tenants().zip(&before.accounts).map(left).sum();
    let piped = (piped_events > 0).then(|| Piped {
        load: Load::of_replay(plan, piped_events, events_per_second),
        pace: Pace::AsRead,
    });
    let replayed_days = u64::try_from((plan.end - plan.piped_from) / DAY_US).unwrap_or(0);
    Intent {
        replayed_days: if piped.is_some() { replayed_days } else { 0 },
        piped,
        bulk: Some(bulk).filter(|bulk| bulk.events > 0),
        history: first_left(plan, before).map(|first| midnight(first)..plan.end),
        ..Intent::default()
    }
}

/// Describes what a repair will send. All its events were sent before, so all are in doubt.
pub fn intent_of_repair(plan: &Plan, lost: &TenantRanges) -> Intent {
    let days = lost.iter().flat_map(|(tenant, seqs)| days_of(plan, tenant, seqs)).collect();
    Intent { doubtful_days: days, ..Intent::default() }
}

/// The days with events that an earlier load began to send and that are in doubt.
pub fn doubtful_days(plan: &Plan, before: &Ledger, pieces: &[Piece]) -> BTreeSet<UnixMicros> {
    let doubtful = pieces.iter().filter(|piece| piece.is_doubtful);
    let mut days: BTreeSet<UnixMicros> = doubtful.map(|piece| midnight(piece.due.start)).collect();
    for (tenant, account) in plan.script.tenants().zip(&before.accounts) {
        days.extend(days_of(plan, tenant, &account.unknown().intersection(&piped(plan, tenant))));
    }
    days
}

/// A tenant's events that go through the pipeline.
fn piped(plan: &Plan, tenant: TenantIndex) -> RangeSet {
    let timeline = plan.script.timeline(tenant);
    RangeSet::of(timeline.count_before(plan.piped_from)..timeline.count())
}

/// The due time of the first event that is not acknowledged yet; `None` if all are.
fn first_left(plan: &Plan, before: &Ledger) -> Option<UnixMicros> {
    let first = |(tenant, account): (TenantIndex, &Account)| {
        let timeline = plan.script.timeline(tenant);
        let left = RangeSet::of(0..timeline.count()).difference(&account.acknowledged);
        timeline.due(Seq(left.ranges().first()?.start)).ok()
    };
    plan.script.tenants().zip(&before.accounts).filter_map(first).min()
}

/// The days on which some events of a tenant are due.
fn days_of(plan: &Plan, tenant: TenantIndex, seqs: &RangeSet) -> BTreeSet<UnixMicros> {
    let day = |seq| plan.script.timeline(tenant).due(Seq(seq)).map(midnight).ok();
    let days = |range: &Range<u64>| Some((day(range.start)?, day(range.end - 1)?));
    let spans = seqs.ranges().iter().filter_map(days);
    let each =
        |(first, last)| (0..).map(move |it| first + it * DAY_US).take_while(move |it| *it <= last);
    spans.flat_map(each).collect()
}

/// Reads all facts about the servers.
///
/// # Errors
///
/// Returns [`ReadError`] for the first server that does not answer.
pub async fn read_servers(
    to: &Surveyed,
    stream: Option<&AuditStream>,
    intent: &Intent,
    clock: &Clock,
) -> Result<Facts, ReadError> {
    let tables: Vec<_> = to.servers.iter().zip(&to.surveys).collect();
    let received = intent.history.clone().unwrap_or(clock.now()..clock.now());
    read_facts(&tables, stream, &received, clock).await
}

/// Refuses a load that cannot work, before anything is sent. Returns the other findings.
///
/// # Errors
///
/// Returns [`BackfillError::CannotWork`] with the first blocker.
pub fn refuse_blockers(findings: Vec<Finding>) -> Result<Vec<Finding>, BackfillError> {
    match findings.iter().find(|finding| finding.rank == Rank::Blocker) {
        Some(blocker) => Err(BackfillError::CannotWork {
            place: blocker.place().to_owned(),
            text: blocker.text(),
        }),
        None => Ok(findings),
    }
}
