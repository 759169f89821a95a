//! Plateaus from the record of a run. Pure.
//!
//! The counts of stream and table also have what others wrote before. So they count from the first
//! look that saw them; what was acknowledged by then is taken for stored. A watch that began before
//! the run therefore counts from zero.

use std::collections::BTreeMap;
use std::time::Duration;

use events::timeline::UnixMicros;
use runs::observation::{Observation, StreamSeen};
use runs::record::Second;

use crate::plateau::{Look, Plateau, SentSecond, StreamHolds};
use crate::units::EventsPerSecond;

/// What a run has recorded.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'r> {
    /// The start of the run.
    pub start: UnixMicros,
    /// The seconds of all shards, in any order.
    pub seconds: &'r [Second],
    /// In order of time.
    pub observations: &'r [Observation],
    /// A generator that is later than this is saturated: the plan's `lateness_max`.
    pub lateness_max_ms: f64,
    /// How many shards the run has.
    pub shards: u32,
}

/// A plateau that was to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planned {
    pub from: UnixMicros,
    pub until: UnixMicros,
    /// `None` takes what became due on average, for instance where bursts make the rate uneven.
    pub rate: Option<EventsPerSecond>,
    pub is_confirmation: bool,
    /// Acknowledged events that are proven lost; `None` if that is not known, because some are not
    /// seen yet, or the run was not checked.
    pub lost_events: Option<u64>,
}

/// Returns what was observed of a plateau.
pub fn plateau(recorded: &Recorded<'_>, planned: &Planned) -> Plateau {
    let all = recorded.sent();
    let at_s = |at: UnixMicros| in_seconds(at - planned.from);
    let is_in = |at: UnixMicros| planned.from < at && at <= planned.until;
    let of = |(at, it): (&UnixMicros, &Sent)| SentSecond { at_s: at_s(*at), ..it.second };
    let seconds: Vec<SentSecond> = all.iter().filter(|(at, _)| is_in(**at)).map(of).collect();
    let in_time = all.iter().filter(|(at, _)| is_in(**at));
    let is_saturated = in_time.clone().any(|(_, it)| it.is_saturated);
    let is_whole = in_time.clone().all(|(_, it)| it.shards == recorded.shards);
    let duration_s = in_seconds(planned.until - planned.from);
    let planned_events: u64 = seconds.iter().map(|second| second.planned).sum();
    let lasted_s = seconds.last().map_or(duration_s, |second| second.at_s);
    let mean = EventsPerSecond(crate::plateau::as_events(planned_events) / lasted_s.max(1.0));
    let looks = recorded.looks(&all).into_iter();
    Plateau {
        rate: planned.rate.unwrap_or(mean),
        duration: Duration::from_secs_f64(duration_s.max(0.0)),
        is_confirmation: planned.is_confirmation,
        looks: looks
            .filter(|(at, _)| is_in(*at))
            .map(|(at, look)| Look { at_s: at_s(at), ..look })
            .collect(),
        is_saturated: (is_saturated || (is_whole && !seconds.is_empty())).then_some(is_saturated),
        seconds,
        lost_events: planned.lost_events,
    }
}

/// One second of all shards.
#[derive(Debug, Clone, Copy)]
struct Sent {
    second: SentSecond,
    is_saturated: bool,
    shards: u32,
}

impl Recorded<'_> {
    /// The seconds of the run, by when they ended. Generators write a record shortly after that.
    fn sent(&self) -> BTreeMap<UnixMicros, Sent> {
        let mut all: BTreeMap<UnixMicros, Sent> = BTreeMap::new();
        for second in self.seconds {
            let number = (second.at.0 - self.start + SECOND_US / 2).div_euclid(SECOND_US);
            let sum = all.entry(self.start + number * SECOND_US).or_insert(Sent {
                second: SentSecond {
                    at_s: 0.0,
                    planned: 0,
                    failed: 0,
                    spoiled: 0,
                    acknowledged: 0,
                    acknowledged_until: 0,
                    sent_to_acknowledged_p95_ms: None,
                },
                is_saturated: false,
                shards: 0,
            });
            let it = &mut sum.second;
            it.planned += second.planned;
            it.failed += second.refused + second.unknown + second.unsent + second.dropped;
            it.spoiled += second.spoiled;
            it.acknowledged += second.acknowledged;
            let p95_ms = second.sent_to_acknowledged.p95_ms;
            if p95_ms > 0.0 {
                let most = it.sent_to_acknowledged_p95_ms.unwrap_or(0.0);
                it.sent_to_acknowledged_p95_ms = Some(most.max(p95_ms));
            }
            sum.is_saturated |= second.lateness_max_ms > self.lateness_max_ms || second.unsent > 0;
            sum.shards += 1;
        }
        let mut until = 0;
        for sum in all.values_mut() {
            until += sum.second.acknowledged;
            sum.second.acknowledged_until = until;
        }
        all
    }

    fn looks(&self, sent: &BTreeMap<UnixMicros, Sent>) -> Vec<(UnixMicros, Look)> {
        let acknowledged = |at: UnixMicros| {
            sent.range(..=at).next_back().map_or(0, |(_, it)| it.second.acknowledged_until)
        };
        let (mut stream, mut table) = (Count::default(), Count::default());
        let look = |seen: &Observation| {
            let at = seen.at.0;
            let look = Look {
                at_s: 0.0,
                in_stream: seen.stream.and_then(|it| stream.see(it.last, || acknowledged(at))),
                lag: seen.stream.and_then(lag),
                stored: seen.table.and_then(|it| table.see(it.rows, || acknowledged(at))),
                held: seen.stream.map(held),
                due_to_visible_ms: seen.freshness.due_to_visible_ms.clone(),
                oldest_waiting_ms: seen.freshness.oldest_ms,
            };
            (at, look)
        };
        self.observations.iter().map(look).collect()
    }
}

/// A count of a server, from the first look on.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// What the first look saw, and what was acknowledged by then.
    first: Option<(u64, u64)>,
}

impl Count {
    /// What it has got of the run; `None` if it has less than at the first look: it was made anew.
    fn see(&mut self, count: u64, acknowledged: impl FnOnce() -> u64) -> Option<u64> {
        let (first, before) = *self.first.get_or_insert_with(|| (count, acknowledged()));
        Some(count.checked_sub(first)? + before)
    }
}

fn lag(stream: StreamSeen) -> Option<u64> {
    stream.consumer.map(|consumer| consumer.pending + consumer.unacknowledged)
}

fn held(stream: StreamSeen) -> StreamHolds {
    StreamHolds { messages: stream.messages, bytes: stream.bytes, first: stream.first }
}

const SECOND_US: i64 = 1_000_000;

#[expect(clippy::cast_precision_loss, reason = "a year in µs is exact in an f64")]
fn in_seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use events::event::MicroTime;
    use runs::observation::{ConsumerSeen, Freshness, TableSeen};
    use runs::tally::Tally;

    use super::*;

    /// A second of ten events, which ended at this moment.
    fn second(at_s: i64, late_us: i64) -> Second {
        let mut second = Second::new(at_s * SECOND_US + late_us, 10, &Tally::new(1));
        (second.acknowledged, second.refused) = (9, 1);
        second.sent_to_acknowledged.p95_ms = 4.0;
        second
    }

    fn observation(at_s: i64, last: u64, lag: u64, rows: u64) -> Observation {
        let consumer = ConsumerSeen { pending: lag, unacknowledged: 1, ..ConsumerSeen::default() };
        Observation {
            at: MicroTime(at_s * SECOND_US),
            stream: Some(StreamSeen { last, consumer: Some(consumer), ..StreamSeen::default() }),
            table: Some(TableSeen { rows, ..TableSeen::default() }),
            freshness: Freshness { oldest_ms: 7.0, ..Freshness::default() },
            clocks: Vec::new(),
            resources: Vec::new(),
            backlog_min: None,
            held: Vec::new(),
        }
    }

    fn recorded<'r>(seconds: &'r [Second], observations: &'r [Observation]) -> Recorded<'r> {
        Recorded { start: 100 * SECOND_US, seconds, observations, lateness_max_ms: 50.0, shards: 2 }
    }

    fn planned(from_s: i64, until_s: i64) -> Planned {
        Planned {
            from: from_s * SECOND_US,
            until: until_s * SECOND_US,
            rate: None,
            is_confirmation: false,
            lost_events: Some(0),
        }
    }

    #[test]
    fn a_plateau_has_the_seconds_of_all_shards_and_counts_from_the_first_look() {
        let of_shard = |late_us| (101..=130).map(move |at_s| second(at_s, late_us));
        let seconds: Vec<Second> = of_shard(300).chain(of_shard(90_000)).collect();
        let look = |at_s: i64| {
            let come = u64::try_from((at_s - 100).max(0)).unwrap();
            observation(at_s, 5_000 + come * 17, 4, 70_000 + come * 16)
        };
        let observations: Vec<Observation> = (98..=130).map(look).collect();
        let found = plateau(&recorded(&seconds, &observations), &planned(110, 120));
        assert_eq!((found.rate, found.duration.as_secs()), (EventsPerSecond(20.0), 10));
        assert_eq!((found.seconds.len(), found.looks.len()), (10, 10));
        let first = found.seconds[0];
        assert_eq!((first.planned, first.failed, first.acknowledged_until), (20, 2, 11 * 18));
        assert!((first.at_s - 1.0).abs() < 1e-9 && first.sent_to_acknowledged_p95_ms == Some(4.0));
        let look = &found.looks[0];
        let counts = (look.in_stream, look.lag, look.stored);
        assert_eq!(counts, (Some(11 * 17), Some(5), Some(11 * 16)));
        assert_eq!(found.is_saturated, Some(false));
    }

    #[test]
    fn a_watch_that_comes_late_takes_what_was_acknowledged_for_stored() {
        let seconds: Vec<Second> = (101..=120).map(|at_s| second(at_s, 0)).collect();
        let observations = [observation(110, 500, 0, 900), observation(111, 490, 0, 910)];
        let found = plateau(&recorded(&seconds, &observations), &planned(100, 120));
        assert_eq!((found.looks[0].in_stream, found.looks[0].stored), (Some(90), Some(90)));
        assert_eq!((found.looks[1].in_stream, found.looks[1].stored), (None, Some(100)));
    }

    #[test]
    fn a_generator_is_saturated_if_it_was_late_within_the_plateau_alone() {
        let mut seconds: Vec<Second> = (101..=120).map(|at_s| second(at_s, 0)).collect();
        let at = |seconds: &[Second], shards| {
            let recorded = Recorded { shards, ..recorded(seconds, &[]) };
            plateau(&recorded, &planned(100, 110)).is_saturated
        };
        assert_eq!(at(&seconds, 1), Some(false));
        assert_eq!(at(&seconds, 2), None, "the other shard has told nothing");
        seconds[15].lateness_max_ms = 51.0;
        assert_eq!(at(&seconds, 1), Some(false));
        seconds[9].lateness_max_ms = 51.0;
        assert_eq!(at(&seconds, 2), Some(true));
        assert_eq!(at(&[], 1), None);
    }
}
