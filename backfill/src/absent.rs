//! Rows that the table would delete by its TTL, and rows in detached parts. Both are checked before
//! anything is sent.

use std::collections::BTreeSet;
use std::ops::Range;

use chrono::DateTime;
use events::identity::{Seq, TenantIndex};
use events::script::{DAY_US, midnight};
use events::timeline::UnixMicros;
use plans::plan::Plan;
use runs::ledger::Ledger;
use runs::ranges::{RangeSet, TenantRanges};
use stores::absent::{read_absent, read_expired_until};
use stores::clickhouse::{ClickHouse, ClickHouseError, server_code};

use crate::error::BackfillError;
use crate::objection::Objection;
use crate::piece::Piece;

/// Says what stands against a load where a table deletes rows by their age. What is loaded already
/// is not asked about.
///
/// # Errors
///
/// Returns [`ClickHouseError`] of the first server that does not answer.
pub async fn read_ttl_objections(
    servers: &[ClickHouse],
    plan: &Plan,
    before: &Ledger,
) -> Result<Vec<Objection>, ClickHouseError> {
    let Some(first) = first_left(plan, before) else { return Ok(Vec::new()) };
    let received = midnight(first)..plan.end;
    let mut objections = Vec::new();
    for server in servers {
        let Some(ttl) = read_absent(server).await?.ttl else { continue };
        let rules = ttl.rules.join(", ");
        let (is_refusal, text) = match read_expired_until(server, &ttl, &received).await {
            Ok(Some(until)) => (true, expired(plan, until, &rules)),
            Ok(None) => {
                let when = "rows older than it vanish with merges";
                (false, format!("the table has a TTL ({rules}): {when}"))
            }
            Err(ClickHouseError::Query { source, .. }) if server_code(&source).is_some() => {
                let why = "which days it deletes cannot be told from times alone";
                (false, format!("the table has a TTL ({rules}): {why}"))
            }
            Err(error) => return Err(error),
        };
        objections.push(Objection { is_refusal, url: server.url.clone(), text });
    }
    Ok(objections)
}

fn expired(plan: &Plan, until: UnixMicros, rules: &str) -> String {
    let time = DateTime::from_timestamp_micros(until).unwrap_or_default();
    let advice = match (plan.end - until) / DAY_US {
        0 => "lengthen it".to_owned(),
        days => format!("give --days {days} at most, or lengthen it"),
    };
    format!(
        "the table's TTL ({rules}) deletes what was received before {}, and the history begins \
         earlier: {advice}",
        time.format("%Y-%m-%d %H:%M")
    )
}

/// When the first event is due that was not acknowledged yet; `None` if all were.
fn first_left(plan: &Plan, before: &Ledger) -> Option<UnixMicros> {
    let first = |(tenant, account): (TenantIndex, &runs::ledger::Account)| {
        let timeline = plan.script.timeline(tenant);
        let left = RangeSet::of(0..timeline.count()).difference(&account.acknowledged);
        timeline.due(Seq(left.ranges().first()?.start)).ok()
    };
    plan.script.tenants().zip(&before.accounts).filter_map(first).min()
}

/// Refuses to go on with a load, where detached parts may have what is in doubt.
///
/// # Errors
///
/// Returns [`BackfillError::CannotWork`] if they may, or the server does not let it be seen.
pub async fn refuse_detached_of_load(
    servers: &[ClickHouse],
    plan: &Plan,
    before: &Ledger,
    pieces: &[Piece],
) -> Result<(), BackfillError> {
    let doubtful = pieces.iter().filter(|piece| piece.is_doubtful);
    let mut days: BTreeSet<UnixMicros> = doubtful.map(|piece| midnight(piece.due.start)).collect();
    let piped =
        |tenant| RangeSet::of(plan.script.timeline(tenant).count_before(plan.piped_from)..u64::MAX);
    for (tenant, account) in plan.script.tenants().zip(&before.accounts) {
        days.extend(days_of(plan, tenant, &account.unknown().intersection(&piped(tenant))));
    }
    refuse_detached(servers, &days).await
}

/// Refuses to repair, where detached parts may have what is lost.
///
/// # Errors
///
/// Returns [`BackfillError::CannotWork`] if they may, or the server does not let it be seen.
pub async fn refuse_detached_of_repair(
    servers: &[ClickHouse],
    plan: &Plan,
    lost: &TenantRanges,
) -> Result<(), BackfillError> {
    let days = lost.iter().flat_map(|(tenant, seqs)| days_of(plan, tenant, seqs)).collect();
    refuse_detached(servers, &days).await
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

async fn refuse_detached(
    servers: &[ClickHouse],
    days: &BTreeSet<UnixMicros>,
) -> Result<(), BackfillError> {
    if days.is_empty() {
        return Ok(());
    }
    for server in servers {
        let absent = read_absent(server).await?;
        let refuse =
            |text: String| Err(BackfillError::CannotWork { url: server.url.clone(), text });
        if !absent.are_detached_known {
            return refuse(
                "whether parts of the table are detached cannot be seen: what they have would be \
                 there twice once they are attached; grant SELECT on system.detached_parts"
                    .to_owned(),
            );
        }
        let of_day = |day: &UnixMicros| absent.detached_in(&(*day..*day + DAY_US));
        let partitions: BTreeSet<String> = days.iter().flat_map(of_day).collect();
        if !partitions.is_empty() {
            let table = &server.table;
            return refuse(format!(
                "parts of {table} are detached, and what they have would be there twice once they \
                 are attached: attach or drop them first (ALTER TABLE {table} ATTACH PARTITION ID \
                 '…'), then reconcile anew; partitions {}",
                partitions.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
    }
    Ok(())
}
