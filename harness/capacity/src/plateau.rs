//! What was observed while events came at a constant rate. Pure.
//!
//! Counts may begin anywhere, as long as all counts of a plateau that name the same thing begin at
//! the same place: only `acknowledged − in stream − …` of a drained pipeline must be near zero.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::trend::{Point, as_f64};
use crate::units::EventsPerSecond;

/// Some time at one rate, and what was seen of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plateau {
    /// The rate that was to be sent, of all tenants together.
    pub rate: EventsPerSecond,
    pub duration: Duration,
    /// Whether it was to confirm an answer: see [`crate::search::Step::Try`].
    pub is_confirmation: bool,
    /// What the generators recorded, in order of time.
    pub seconds: Vec<SentSecond>,
    /// What the watch saw, in order of time. Empty if nobody watched.
    pub looks: Vec<Look>,
    /// Acknowledged events that are proven lost; `None` if that is not known.
    pub lost_events: Option<u64>,
    /// Whether the generator was saturated; `None` if that is not known.
    pub is_saturated: Option<bool>,
}

/// What the generators recorded of one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SentSecond {
    /// When it ended, from the start of the plateau.
    pub at_s: f64,
    /// Events that became due in it.
    pub planned: u64,
    /// Events that were refused, whose outcome is unknown, or that could not be sent.
    pub failed: u64,
    /// Events that were sent with a fault on purpose, so that not all places have them.
    pub spoiled: u64,
    /// Events that were acknowledged in it.
    pub acknowledged: u64,
    /// Events that were acknowledged until its end.
    pub acknowledged_until: u64,
    /// `None` if no answer came.
    pub sent_to_acknowledged_p95_ms: Option<f64>,
}

/// What the watch saw at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// From the start of the plateau.
    pub at_s: f64,
    /// Messages that the stream has taken. `None` if it did not answer.
    pub in_stream: Option<u64>,
    /// Messages in the stream that the consumer has not acknowledged. `None` if there is none.
    pub lag: Option<u64>,
    /// Events that are in the table. `None` if it did not answer.
    pub stored: Option<u64>,
    /// What the stream holds; `None` if it did not answer.
    pub held: Option<StreamHolds>,
    /// Times from due to visible of the samples that became visible since the last look.
    pub due_to_visible_ms: Vec<f64>,
    /// For how long the oldest sample that is not visible has been due; 0 without one.
    pub oldest_waiting_ms: f64,
}

/// What a stream holds, whether or not it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamHolds {
    pub messages: u64,
    pub bytes: u64,
    /// The oldest sequence number that it has. It rises once the stream is full.
    pub first: u64,
}

/// A part of the way in which events may gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// From the webhook to the stream.
    Sidecar,
    /// In the stream: the lag of the consumer.
    Consumer,
    /// From the consumer to the table.
    Aggregator,
}

impl Hop {
    pub const ALL: [Self; 3] = [Self::Sidecar, Self::Consumer, Self::Aggregator];

    /// Between which two places it is.
    pub fn between(self) -> &'static str {
        match self {
            Self::Sidecar => "webhook → stream",
            Self::Consumer => "stream → consumer",
            Self::Aggregator => "consumer → table",
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sidecar => "the sidecar",
            Self::Consumer => "the consumer",
            Self::Aggregator => "the aggregator",
        })
    }
}

impl Plateau {
    /// The length of what was observed, in s, at most the planned duration.
    pub fn observed_s(&self) -> f64 {
        let sent = self.seconds.last().map_or(0.0, |second| second.at_s);
        let seen = self.looks.last().map_or(0.0, |look| look.at_s);
        // The last look comes up to an interval before the end.
        let gaps = self.looks.len().saturating_sub(1).max(1);
        let first = self.looks.first().map_or(0.0, |look| look.at_s);
        let both = sent.min(seen + LOOKS_MISSED_MAX * (seen - first) / as_f64(gaps));
        both.min(self.duration.as_secs_f64())
    }

    /// The backlog of one hop, in events, at each look that saw it.
    pub fn backlog(&self, hop: Hop) -> Vec<Point> {
        self.of_looks(|look| {
            let in_stream = as_events(look.in_stream?);
            Some(match hop {
                Hop::Sidecar => self.acknowledged_at(look.at_s)? - in_stream,
                Hop::Consumer => as_events(look.lag?),
                Hop::Aggregator => in_stream - as_events(look.lag?) - as_events(look.stored?),
            })
        })
    }

    /// The whole backlog: acknowledged and not stored, in events.
    pub fn backlog_of_all(&self) -> Vec<Point> {
        self.of_looks(|look| Some(self.acknowledged_at(look.at_s)? - as_events(look.stored?)))
    }

    /// What a hop has passed on, over time.
    pub fn passed(&self, hop: Hop) -> Vec<Point> {
        self.of_looks(|look| match hop {
            Hop::Sidecar => look.in_stream.map(as_events),
            Hop::Consumer => Some(as_events(look.in_stream?) - as_events(look.lag?)),
            Hop::Aggregator => look.stored.map(as_events),
        })
    }

    fn of_looks(&self, of: impl Fn(&Look) -> Option<f64>) -> Vec<Point> {
        self.looks.iter().filter_map(|look| Some((look.at_s, of(look)?))).collect()
    }

    /// How many events were acknowledged by a moment. Within a second it rises in a straight line.
    /// `None` where no second is recorded.
    fn acknowledged_at(&self, at_s: f64) -> Option<f64> {
        let next = self.seconds.partition_point(|second| second.at_s < at_s);
        let Some(second) = self.seconds.get(next) else {
            // A look may come shortly after the last second.
            let last = self.seconds.last().filter(|last| at_s - last.at_s < 1.0)?;
            let more = as_events(last.acknowledged) * (at_s - last.at_s);
            return Some(as_events(last.acknowledged_until) + more);
        };
        let missing_s = second.at_s - at_s;
        let missing = as_events(second.acknowledged) * missing_s.min(1.0);
        (missing_s < 2.0).then(|| as_events(second.acknowledged_until) - missing)
    }
}

/// How many intervals a watch may be behind at the end.
const LOOKS_MISSED_MAX: f64 = 3.0;

#[expect(clippy::cast_precision_loss, reason = "counts of events are exact in an f64")]
pub(crate) fn as_events(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plateau of ten events a second whose counts are told by the second.
    pub(crate) fn plateau(seconds: u32, look: impl Fn(f64) -> Look) -> Plateau {
        let of_second = |at: u32| SentSecond {
            at_s: f64::from(at),
            planned: 10,
            failed: 0,
            spoiled: 0,
            acknowledged: 10,
            acknowledged_until: u64::from(at) * 10,
            sent_to_acknowledged_p95_ms: Some(5.0),
        };
        let looks = (1..=seconds).map(f64::from).map(|at_s| Look { at_s, ..look(at_s) });
        Plateau {
            rate: EventsPerSecond(10.0),
            duration: Duration::from_secs(seconds.into()),
            is_confirmation: false,
            seconds: (1..=seconds).map(of_second).collect(),
            looks: looks.collect(),
            lost_events: Some(0),
            is_saturated: Some(false),
        }
    }

    #[test]
    fn each_hop_has_what_the_one_before_has_passed_on_and_the_next_has_not_taken() {
        let seen =
            |_| Look { in_stream: Some(70), lag: Some(15), stored: Some(40), ..Look::default() };
        let mut plateau = plateau(10, seen);
        plateau.looks[9].at_s = 9.5;
        let last = |points: Vec<Point>| points.last().unwrap().1;
        let hops = Hop::ALL.map(|hop| last(plateau.backlog(hop)));
        assert_eq!(hops.map(|events| format!("{events:.0}")), ["25", "15", "15"]);
        assert!((last(plateau.backlog_of_all()) - 55.0).abs() < 1e-9);
        plateau.looks[3].in_stream = None;
        assert_eq!(plateau.backlog(Hop::Aggregator).len(), 9);
        assert_eq!(plateau.backlog_of_all().len(), 10);
        plateau.seconds.truncate(5);
        assert_eq!(plateau.backlog_of_all().len(), 5, "nothing is known of later seconds");
    }
}
