//! Events a second of a whole run. Pure.
//!
//! A rate is a count divided by a time, and the time must be that of what is counted. The second
//! after the plan's end, in which the last answer came, is no second of load; and events that an
//! aggregator stores in one batch after the end were sent before it.

use edges::clock::seconds;
use events::timeline::UnixMicros;
use plans::plan::Plan;
use plans::spec::Span;
use runs::observation::Observation;
use runs::record::Second;

use crate::figures::as_f64;

/// Acknowledged events a second: all of them, over the time in which events were due. If the
/// webhook went on to acknowledge after that, its time counts too, in whole seconds. `None` for a
/// history, which has no schedule, and without seconds.
pub(crate) fn acknowledged_per_s(plan: &Plan, seconds_of_run: &[Second]) -> Option<f64> {
    if plan.spec.span != Span::Live {
        return None;
    }
    let (first, last) = (seconds_of_run.first()?, seconds_of_run.last()?);
    let events: u64 = seconds_of_run.iter().map(|second| second.acknowledged).sum();
    let busy = seconds_of_run.iter().rev().find(|second| second.acknowledged > 0);
    // A run that was stopped or killed has no seconds up to the plan's end.
    let due_until = plan.end.min(last.at.0);
    // The last busy second may have been busy only in its first moment.
    let until = busy.map_or(due_until, |busy| due_until.max(busy.at.0 - SECOND_US));
    per_second(events, plan.start.max(first.at.0 - SECOND_US), until)
}

/// Events a second that the table took, if `watch` saw it: of those stored, all that came while it
/// watched, over the time in which events were due. A pipeline that keeps up stores each batch a
/// constant time after its events were due, so the first and the last batch are equally late, and
/// the time between them is no longer than that in which events were due. If it is longer, the
/// pipeline fell behind, and that time counts.
///
/// `stored` is the number of events in the report's account: the table may hold other rows, and
/// take them in meanwhile.
pub(crate) fn ingested_per_s(
    plan: &Plan,
    observations: &[Observation],
    stored: u64,
) -> Option<f64> {
    let rows = |seen: &Observation| Some((seen.at.0, seen.table?.rows));
    let looks: Vec<(UnixMicros, u64)> = observations.iter().filter_map(rows).collect();
    let (&(begun, at_first), &(ended, _)) = (looks.first()?, looks.last()?);
    let mut growths = looks.windows(2).filter(|pair| pair[1].1 > pair[0].1);
    let (mut events, mut spread_us) = (0, 0);
    if let Some(first) = growths.next() {
        // What grows after all are stored are others' rows.
        let all = looks.iter().find(|look| look.1 >= at_first.saturating_add(stored));
        let (at, rows) =
            all.copied().or(growths.next_back().map(|pair| pair[1])).unwrap_or(first[1]);
        events = rows.saturating_sub(at_first).min(stored);
        spread_us = at - first[1].0;
    }
    let from = plan.start.max(begun);
    let until = plan.end.min(ended).max(from.saturating_add(spread_us));
    per_second(events, from, until)
}

fn per_second(events: u64, from: UnixMicros, until: UnixMicros) -> Option<f64> {
    (until > from).then(|| as_f64(events) / seconds(until - from))
}

const SECOND_US: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use events::event::MicroTime;
    use plans::spec::RunOptions;
    use runs::observation::{Freshness, TableSeen};
    use uuid::Uuid;

    use super::*;
    use crate::records::tests::second;

    /// A plan of 200 events a second, for 30 s.
    fn plan() -> Plan {
        let text = "name: x\nstages: [{duration: 30s, rate: 20/s, tenants: 10}]\n";
        Plan::parse(text, "x", RunOptions::new(Uuid::from_u128(7), 0, Span::Live)).unwrap()
    }

    /// Looks once a second, from one second to another, at a table with so many rows.
    fn looks(seconds: std::ops::Range<i64>, rows: impl Fn(i64) -> i64) -> Vec<Observation> {
        let look = |at: i64| Observation {
            at: MicroTime(at * SECOND_US),
            stream: None,
            table: Some(TableSeen { rows: rows(at).unsigned_abs(), ..TableSeen::default() }),
            freshness: Freshness::default(),
            clocks: Vec::new(),
            resources: Vec::new(),
            backlog_min: None,
            held: Vec::new(),
        };
        seconds.map(look).collect()
    }

    #[track_caller]
    fn check(found: Option<f64>, expected: f64) {
        assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?}, not {expected}");
    }

    #[test]
    fn the_second_of_the_last_answer_is_no_second_of_load() {
        let mut seconds: Vec<Second> = (1..=31).map(|at| second(at, 200, 1.0)).collect();
        seconds[0].acknowledged = 100;
        seconds[30].acknowledged = 100;
        check(acknowledged_per_s(&plan(), &seconds), 200.0);
        // A webhook that takes five times as long takes a fifth as much a second.
        let slow: Vec<Second> = (1..=150).map(|at| second(at, 40, 1.0)).collect();
        let found = acknowledged_per_s(&plan(), &slow).unwrap();
        assert!((40.0..40.3).contains(&found), "{found}");
        // A generator that was killed, and one whose first seconds are missing.
        check(acknowledged_per_s(&plan(), &seconds[10..20]), 200.0);
        assert_eq!(acknowledged_per_s(&plan(), &[]), None);
    }

    #[test]
    fn batches_that_are_stored_after_the_end_were_ingested_too() {
        // Eight seconds are stored at once; the last batch comes five seconds after the end.
        let batches = |at: i64| match at {
            ..8 => 1_000,
            35.. => 7_000,
            _ => 1_000 + at.min(31) / 8 * 8 * 200,
        };
        check(ingested_per_s(&plan(), &looks(0..60, batches), 6_000), 200.0);
        check(ingested_per_s(&plan(), &looks(0..60, batches), 5_400), 180.0);
        // Others write into the same table.
        check(ingested_per_s(&plan(), &looks(0..60, |at| batches(at) + at), 6_000), 6_000.0 / 34.0);
    }

    #[test]
    fn a_pipeline_that_falls_behind_ingests_as_much_a_second_as_it_can() {
        let slow = |at: i64| (at * 50).min(6_000);
        let found = ingested_per_s(&plan(), &looks(0..200, slow), 6_000).unwrap();
        assert!((50.0..50.5).contains(&found), "{found}");
    }

    #[test]
    fn a_watch_that_began_late_or_ended_early_says_what_it_saw() {
        let even = |at: i64| at * 200;
        check(ingested_per_s(&plan(), &looks(10..21, even), 6_000), 200.0);
        check(ingested_per_s(&plan(), &looks(0..40, |_| 7), 6_000), 0.0);
        assert_eq!(ingested_per_s(&plan(), &looks(3..4, even), 6_000), None);
        assert_eq!(ingested_per_s(&plan(), &[], 6_000), None);
    }
}
