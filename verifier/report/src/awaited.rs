//! Which samples a watch was still waiting for when it ended, and how long they had waited at
//! least. Pure.
//!
//! This follows from the plan, from the samples that were acknowledged, and from the records of the
//! watch. A sample that the watch never saw in the table counts, whether the watch ended by itself,
//! was stopped or was killed.

use std::collections::{BTreeMap, BTreeSet};

use edges::clock::milliseconds;
use events::identity::{Seq, TenantIndex};
use events::timeline::UnixMicros;
use plans::plan::Plan;
use plans::samples::{AcknowledgedSample, Sample, Samples};
use runs::observation::Observation;

/// A sample that was acknowledged, and that no watch saw in the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Awaited {
    pub due: UnixMicros,
    /// How long the sample had been due, in ms, when the table was last known not to have it. It is
    /// below 0 if the table did not answer after the sample was due.
    pub due_ms: f64,
    /// How long the sample had been acknowledged at that moment, in ms. It is negative infinity if
    /// nobody wrote down when it was acknowledged.
    pub acknowledged_ms: f64,
}

/// One watch, from its start to its last record.
#[derive(Debug, Clone, Copy)]
struct Session {
    since: UnixMicros,
    last: UnixMicros,
    absent_until: UnixMicros,
}

/// Finds the samples that a watch waited for and that no watch has seen. `is_expected` says whether
/// an event should be in the table.
pub(crate) fn awaited(
    plan: &Plan,
    observations: &[Observation],
    acknowledged: &[AcknowledgedSample],
    is_expected: impl Fn(TenantIndex, Seq) -> bool,
) -> Vec<Awaited> {
    let acknowledged: BTreeMap<(u16, u64), UnixMicros> =
        acknowledged.iter().map(|it| ((it.tenant, it.seq), it.at.0)).collect();
    let watched = observations.iter().filter_map(|seen| seen.freshness.watched.as_ref());
    let visible: BTreeSet<(u16, u64)> = watched.flat_map(|it| it.visible.iter().copied()).collect();
    let mut absent: BTreeMap<Sample, UnixMicros> = BTreeMap::new();
    for session in sessions(observations) {
        let mut samples = Samples::of(plan);
        samples.skip_to(plan, session.since);
        let drawn = samples.until(plan, session.last).into_iter();
        let due = drawn.filter(|sample| sample.due <= session.last);
        let unseen = due.filter(|it| !visible.contains(&(it.tenant.0, it.seq.0)));
        for sample in unseen.filter(|sample| is_expected(sample.tenant, sample.seq)) {
            let until = absent.entry(sample).or_insert(session.absent_until);
            *until = session.absent_until.max(*until);
        }
    }
    let of = |(sample, until): (Sample, UnixMicros)| Awaited {
        due: sample.due,
        due_ms: milliseconds(until - sample.due),
        acknowledged_ms: acknowledged
            .get(&(sample.tenant.0, sample.seq.0))
            .map_or(f64::NEG_INFINITY, |at| milliseconds(until - at)),
    };
    absent.into_iter().map(of).collect()
}

/// Groups records by watch. The time at which a watch began identifies it.
fn sessions(observations: &[Observation]) -> Vec<Session> {
    let mut sessions: BTreeMap<UnixMicros, Session> = BTreeMap::new();
    for seen in observations {
        let Some(watched) = &seen.freshness.watched else { continue };
        let since = watched.since.0;
        let session = Session { since, last: seen.at.0, absent_until: watched.absent_until.0 };
        let known = sessions.entry(since).or_insert(session);
        known.last = known.last.max(session.last);
        known.absent_until = known.absent_until.max(session.absent_until);
    }
    sessions.into_values().collect()
}

/// Does the same for records that do not say which samples were seen: it only counts the samples
/// that were waiting at the last record, and knows the age of the oldest. Older versions wrote such
/// records. It is also used for a run that has no account yet.
pub(crate) fn counted(observations: &[Observation]) -> Vec<Awaited> {
    let Some(last) = observations.last() else { return Vec::new() };
    let waiting = (0..last.freshness.waiting.min(COUNTED_MAX)).map(|index| {
        let age_ms = if index == 0 { last.freshness.oldest_ms } else { 0.0 };
        Awaited { due: last.at.0, due_ms: age_ms, acknowledged_ms: 0.0 }
    });
    waiting.collect()
}

/// No watch waits for so many samples.
const COUNTED_MAX: u64 = 100_000;

#[cfg(test)]
mod tests {
    use events::event::MicroTime;
    use plans::spec::{RunOptions, Span};
    use runs::observation::{Freshness, Watched};
    use uuid::Uuid;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn plan() -> Plan {
        let text = "name: x\nstages: [{duration: 20s, rate: 100/s, tenants: 5}]\n";
        let options = RunOptions::new(Uuid::from_u128(7), 1_790_000_000 * SECOND, Span::Live);
        Plan::parse(text, "x", options).unwrap()
    }

    fn seen(at: UnixMicros, since: UnixMicros, visible: &[Sample]) -> Observation {
        let watched = Watched {
            since: MicroTime(since),
            absent_until: MicroTime(at - 1_000),
            visible: visible.iter().map(|it| (it.tenant.0, it.seq.0)).collect(),
        };
        Observation {
            at: MicroTime(at),
            stream: None,
            table: None,
            freshness: Freshness { watched: Some(watched), ..Freshness::default() },
            clocks: Vec::new(),
            resources: Vec::new(),
            backlog_min: None,
            held: Vec::new(),
        }
    }

    #[test]
    fn what_was_due_in_a_watch_and_never_seen_is_awaited_since_it_was_due() {
        let plan = plan();
        let start = plan.start;
        let all = Samples::of(&plan).until(&plan, plan.end);
        let until = |at| all.iter().copied().filter(move |it| it.due <= at);
        let visible: Vec<Sample> = until(start + 4 * SECOND).collect();
        // The watch was killed after six seconds.
        let looks = [seen(start + SECOND, start, &[]), seen(start + 6 * SECOND, start, &visible)];
        let found = awaited(&plan, &looks, &[], |_, _| true);
        let expected: Vec<Sample> = until(start + 6 * SECOND).skip(visible.len()).collect();
        assert!((15..25).contains(&expected.len()), "{}", expected.len());
        let dues: Vec<i64> = found.iter().map(|it| it.due).collect();
        assert_eq!(dues, expected.iter().map(|it| it.due).collect::<Vec<_>>());
        let oldest = milliseconds(start + 6 * SECOND - 1_000 - dues[0]);
        assert!((found[0].due_ms - oldest).abs() < 1e-9, "{found:?}");
        assert!(found.iter().all(|it| it.acknowledged_ms.is_infinite()), "{found:?}");

        let first = expected[0];
        let at = MicroTime(first.due + 3_000);
        let told = [AcknowledgedSample { tenant: first.tenant.0, seq: first.seq.0, at }];
        let only = |tenant, seq| (tenant, seq) == (first.tenant, first.seq);
        let found = awaited(&plan, &looks, &told, only);
        assert_eq!(found.len(), 1, "what was refused or dropped by design is not awaited");
        assert!((found[0].due_ms - found[0].acknowledged_ms - 3.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn each_watch_answers_for_what_was_due_in_it() {
        let plan = plan();
        let start = plan.start;
        let (first, second) = (start + 2 * SECOND, start + 12 * SECOND);
        let looks = [
            seen(first + SECOND, first, &[]),
            seen(first + 3 * SECOND, first, &[]),
            seen(second + SECOND, second, &[]),
        ];
        let found = awaited(&plan, &looks, &[], |_, _| true);
        let is_within = |due: i64| {
            (first..=first + 3 * SECOND).contains(&due) || (second..=second + SECOND).contains(&due)
        };
        assert!(found.iter().all(|it| is_within(it.due)), "{found:?}");
        assert!((35..45).contains(&found.len()), "{}", found.len());
        assert!(awaited(&plan, &looks[..0], &[], |_, _| true).is_empty(), "nobody watched");
        let other = Samples::of(&plan).until(&plan, plan.end);
        let told = seen(second + 2 * SECOND, second, &other);
        assert!(awaited(&plan, &[&looks[..], &[told]].concat(), &[], |_, _| true).is_empty());
    }

    #[test]
    fn of_what_older_versions_wrote_the_count_and_the_oldest_are_known() {
        let text = r#"{"due_to_visible_ms": [1.0], "acknowledged_to_visible_ms": [],
            "waiting": 3, "oldest_ms": 900.5}"#;
        let freshness: Freshness = serde_json::from_str(text).unwrap();
        let old = Observation { freshness, ..seen(SECOND, 0, &[]) };
        let ages: Vec<f64> = counted(&[old]).iter().map(|it| it.due_ms).collect();
        assert_eq!(ages, [900.5, 0.0, 0.0]);
        assert!(counted(&[]).is_empty());
    }
}
