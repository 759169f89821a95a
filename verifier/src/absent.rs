//! Lost events that the table once had or still has in another form: rows that its TTL deletes, and
//! rows in detached parts.

use std::collections::BTreeSet;
use std::ops::Range;

use chrono::DateTime;
use events::identity::{Seq, TenantIndex};
use events::script::{DAY_US, Script};
use events::timeline::UnixMicros;
use runs::ranges::RangeSet;
use runs::report::cause::{Cause, Hop};
use runs::report::fates::Fates;
use stores::absent::{AbsentRows, Ttl, read_absent, read_expired_until};
use stores::clickhouse::{ClickHouse, ClickHouseError, server_code};
use stores::sight::Hidden;

use crate::compare::move_lost;
use crate::error::VerifyError;
use crate::patience::Patience;

/// Finds lost events that the table's TTL deletes, and detached parts that may contain lost events.
/// Returns the detached parts that may, and what the user should know of the TTL.
///
/// # Errors
///
/// Returns [`VerifyError`] if the server does not answer.
pub async fn trace_absent(
    (server, script): (&ClickHouse, &Script),
    fates: &mut [Fates],
    patience: &mut Patience,
) -> Result<(Option<Hidden>, Option<String>), VerifyError> {
    let absent = patience.ask(async || read_absent(server).await).await?;
    let expired = match (&absent.ttl, due_of_lost(script, fates)) {
        (Some(ttl), Some(due)) => {
            trace_expired((server, script), ttl, &due, fates, patience).await?
        }
        _ => None,
    };
    let detached = detached(&absent, script, fates);
    Ok((detached.map(|(what, remedy)| Hidden { what, remedy }), expired))
}

/// Whether an event that is lost for this cause may have reached the table.
fn may_have_come(cause: Cause) -> bool {
    matches!(cause.hop(), Hop::AfterStream | Hop::Unknown)
}

/// Returns the lost events of a tenant that may have reached the table.
fn came(fates: &Fates) -> RangeSet {
    let sets = fates.lost.iter().filter(|(cause, _)| may_have_come(**cause));
    sets.fold(RangeSet::new(), |all, (_, seqs)| all.union(seqs))
}

/// Returns the period in which lost events that may have reached the table were due.
fn due_of_lost(script: &Script, fates: &[Fates]) -> Option<Range<UnixMicros>> {
    let span = |(tenant, fates): (TenantIndex, &Fates)| {
        let lost = came(fates);
        let due = |seq| script.timeline(tenant).due(Seq(seq)).ok();
        Some((due(lost.ranges().first()?.start)?, due(lost.ranges().last()?.end - 1)?))
    };
    let spans: Vec<_> = script.tenants().zip(fates).filter_map(span).collect();
    let first = spans.iter().map(|span| span.0).min()?;
    Some(first..spans.iter().map(|span| span.1).max()? + 1)
}

async fn trace_expired(
    (server, script): (&ClickHouse, &Script),
    ttl: &Ttl,
    due: &Range<UnixMicros>,
    fates: &mut [Fates],
    patience: &mut Patience,
) -> Result<Option<String>, VerifyError> {
    let rules = ttl.rules.join(", ");
    let asked = patience.ask(async || read_expired_until(server, ttl, due).await).await;
    let until = match asked.map_err(VerifyError::cause) {
        Ok(None) => return Ok(None),
        Ok(Some(until)) => until,
        Err(VerifyError::ClickHouse(ClickHouseError::Query { source, .. }))
            if server_code(&source).is_some() =>
        {
            return Ok(Some(format!(
                "the table has a TTL ({rules}): whether it deleted missing events cannot be told \
                 from their times alone"
            )));
        }
        Err(error) => return Err(error),
    };
    let mut expired = 0;
    for (tenant, fates) in script.tenants().zip(fates) {
        let seqs = received_before(script, tenant, until, &came(fates));
        expired += seqs.count();
        move_lost(fates, &seqs, Some(Cause::Expired));
    }
    let time = DateTime::from_timestamp_micros(until).unwrap_or_default();
    Ok(Some(format!(
        "the table's TTL ({rules}) deletes rows of requests before {}: {expired} of the missing \
         events are older",
        time.format("%Y-%m-%d %H:%M")
    )))
}

/// Returns the events of a tenant whose requests were received before `until`. A request is
/// received up to a day before its event is due.
fn received_before(
    script: &Script,
    tenant: TenantIndex,
    until: UnixMicros,
    seqs: &RangeSet,
) -> RangeSet {
    let timeline = script.timeline(tenant);
    let (due, open) = (timeline.count_before(until), timeline.count_before(until + DAY_US));
    let is_received =
        |seq: &u64| script.facts(tenant, Seq(*seq)).is_ok_and(|facts| facts.received < until);
    let late = seqs.intersection(&RangeSet::of(due..open));
    let late: RangeSet = late.iter().filter(is_received).collect();
    seqs.intersection(&RangeSet::of(0..due)).union(&late)
}

/// Says which detached parts may contain lost events, and what to do about it. Pure.
pub fn detached(absent: &AbsentRows, script: &Script, fates: &[Fates]) -> Option<(String, String)> {
    let mut days: BTreeSet<UnixMicros> = BTreeSet::new();
    let mut lost = 0;
    for (tenant, fates) in script.tenants().zip(fates) {
        let timeline = script.timeline(tenant);
        let seqs = came(fates);
        lost += seqs.count();
        for range in seqs.ranges() {
            let day = |seq| timeline.due(Seq(seq)).ok().map(|due| due.div_euclid(DAY_US));
            if let (Some(first), Some(last)) = (day(range.start), day(range.end - 1)) {
                days.extend(first..=last);
            }
        }
    }
    let of_day = |day: &i64| absent.detached_in(&(*day * DAY_US..(*day + 1) * DAY_US));
    let partitions: BTreeSet<String> = days.iter().flat_map(of_day).collect();
    if lost == 0 {
        None
    } else if !absent.are_detached_known {
        Some((
            "this account cannot see whether the table has detached parts, which may have the \
             missing events"
                .to_owned(),
            "grant SELECT on system.detached_parts".to_owned(),
        ))
    } else if partitions.is_empty() {
        None
    } else {
        let partitions: Vec<_> = partitions.into_iter().collect();
        let what = format!(
            "parts of the table are detached, and may have missing events of their days, in the \
             partitions {}",
            partitions.join(", ")
        );
        let remedy = "attach them (ALTER TABLE … ATTACH PARTITION ID …) and reconcile again";
        Some((what, remedy.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use plans::plan::Plan;
    use plans::spec::{RunOptions, Span};
    use stores::absent::DetachedPart;
    use uuid::Uuid;

    use super::*;

    /// Makes a hundred events of each of two tenants, on 2025-10-09.
    fn script() -> Script {
        let text = "name: x\nstages: [{duration: 10s, rate: 10/s, tenants: 2}]\n";
        let options = RunOptions::new(Uuid::from_u128(7), 1_760_000_000_000_000, Span::Live);
        Plan::parse(text, "x", options).unwrap().script
    }

    fn lost(cause: Cause) -> Vec<Fates> {
        let one = Fates { lost: [(cause, RangeSet::of(20..60))].into(), ..Fates::default() };
        vec![Fates::default(), one]
    }

    #[test]
    fn the_age_of_an_event_is_that_of_its_request() {
        let script = script();
        let tenant = TenantIndex(1);
        let received = |seq| script.facts(tenant, Seq(seq)).unwrap().received;
        let due = |seq| script.timeline(tenant).due(Seq(seq)).unwrap();
        let until = due(40);
        let old = received_before(&script, tenant, until, &RangeSet::of(20..60));
        let expected: RangeSet = (20..60).filter(|seq| received(*seq) < until).collect();
        assert_eq!(old, expected);
        assert!(old.count() > 20, "some were received before, and due later");
    }

    #[test]
    fn a_loss_before_the_table_is_in_no_detached_part() {
        let script = script();
        let check = |cause: Cause, partition: &str, is_known: bool, expected: Option<&str>| {
            let (partition_id, name) = (Some(partition.to_owned()), "x".to_owned());
            let detached = vec![DetachedPart { partition_id, name, reason: String::new() }];
            let absent = AbsentRows { detached, are_detached_known: is_known, ttl: None };
            let told = super::detached(&absent, &script, &lost(cause)).map(|it| it.0);
            match expected {
                None => assert_eq!(told, None),
                Some(words) => assert!(told.unwrap().contains(words)),
            }
        };
        check(Cause::ConsumedNotStored, "20251009", true, Some("in the partitions 20251009"));
        check(Cause::Somewhere, "202510", true, Some("in the partitions 202510"));
        check(Cause::Somewhere, "20251001", true, None);
        check(Cause::Somewhere, "20251001", false, Some("cannot see whether"));
        check(Cause::NeverInStream, "20251009", true, None);
        check(Cause::NotConsumed, "20251009", false, None);
    }
}
