//! What a person sees of the pipeline while a run goes on: plain data, gathered look by look.
//! Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use events::timeline::UnixMicros;
use plans::plan::Plan;
use runs::observation::{Freshness, HeldSeen, Observation, StreamSeen, TableSeen};
use runs::ranges::RangeSet;

/// The pipeline at one moment of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    pub(crate) profile: String,
    pub(crate) table_name: String,
    pub(crate) elapsed: Duration,
    /// From the first event's due time to the last one's.
    pub(crate) duration: Duration,
    pub(crate) phase: Phase,
    pub(crate) observation: Observation,
    /// Servers that do not answer, each with since when.
    pub(crate) silent: Vec<(String, Duration)>,
    /// Messages that the stream evicted before the consumer was given them, as far as it was seen.
    pub(crate) evicted_unread: u64,
    /// What Vectors hold, by part.
    pub(crate) held: Vec<Held>,
    /// Since the look before; 0 where a server did not answer.
    pub(crate) rates: Rates,
    pub(crate) due_to_visible: Recent,
    pub(crate) acknowledged_to_visible: Recent,
    /// Rows a second in the last minutes, the newest last.
    pub(crate) history: Vec<u64>,
}

/// What a part of the pipeline holds, in all its processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// `sidecar`, `aggregator`, or the kind of a sink that is of neither.
    pub(crate) part: String,
    pub(crate) events: u64,
    pub(crate) buffered_bytes: u64,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Going,
    /// All is due, and the ledger is not closed.
    Due,
    /// The ledger is closed; what was sent is awaited.
    Closed,
}

/// How fast counts grow, in units a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) taken_by_stream: u64,
    pub(crate) delivered: u64,
    pub(crate) rows: u64,
}

/// How long samples took that became visible in the last minute, in ms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Recent {
    pub(crate) samples: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) max_ms: f64,
}

/// Remembers the last minutes, as far as a view shows them.
#[derive(Debug)]
pub(crate) struct Gatherer {
    profile: String,
    table_name: String,
    start: UnixMicros,
    end: UnixMicros,
    last_stream: Option<(UnixMicros, StreamSeen)>,
    last_table: Option<(UnixMicros, TableSeen)>,
    silent_since: BTreeMap<String, UnixMicros>,
    evicted: RangeSet,
    history: VecDeque<u64>,
    fresh: VecDeque<(UnixMicros, Freshness)>,
}

impl Gatherer {
    pub(crate) fn new(plan: &Plan, table_name: String) -> Self {
        Self {
            profile: plan.profile_name.clone(),
            table_name,
            start: plan.start,
            end: plan.end,
            last_stream: None,
            last_table: None,
            silent_since: BTreeMap::new(),
            evicted: RangeSet::new(),
            history: VecDeque::new(),
            fresh: VecDeque::new(),
        }
    }

    /// Takes in one more look, and returns what is to be seen after it.
    pub(crate) fn view(
        &mut self,
        observation: &Observation,
        silent: &[impl AsRef<str>],
        phase: Phase,
    ) -> View {
        let now = observation.at.0;
        let rates = self.rates(now, observation);
        let is_silent = |server: &String| silent.iter().any(|it| it.as_ref() == server);
        self.silent_since.retain(|server, _| is_silent(server));
        for server in silent {
            self.silent_since.entry(server.as_ref().to_owned()).or_insert(now);
        }
        if let Some(stream) = &observation.stream {
            let evicted = stream.evicted_unread();
            if !evicted.is_empty() {
                self.evicted.insert(evicted);
            }
        }
        self.remember(now, rates.rows, &observation.freshness);
        let phase = if phase == Phase::Going && now >= self.end { Phase::Due } else { phase };
        View {
            profile: self.profile.clone(),
            table_name: self.table_name.clone(),
            elapsed: between(self.start, now),
            duration: between(self.start, self.end),
            phase,
            observation: observation.clone(),
            silent: self
                .silent_since
                .iter()
                .map(|(name, at)| (name.clone(), between(*at, now)))
                .collect(),
            evicted_unread: self.evicted.count(),
            held: held(&observation.held),
            rates,
            due_to_visible: self.recent(|freshness| &freshness.due_to_visible_ms),
            acknowledged_to_visible: self.recent(|freshness| &freshness.acknowledged_to_visible_ms),
            history: self.history.iter().copied().collect(),
        }
    }

    fn rates(&mut self, now: UnixMicros, observation: &Observation) -> Rates {
        let mut rates = Rates::default();
        if let Some(stream) = observation.stream
            && let Some((at, last)) = self.last_stream.replace((now, stream))
        {
            let delivered = |seen: StreamSeen| seen.consumer.map_or(0, |it| it.delivered);
            rates.taken_by_stream = rate(stream.last, last.last, now - at);
            rates.delivered = rate(delivered(stream), delivered(last), now - at);
        }
        if let Some(table) = observation.table
            && let Some((at, last)) = self.last_table.replace((now, table))
        {
            rates.rows = rate(table.rows, last.rows, now - at);
        }
        rates
    }

    fn remember(&mut self, now: UnixMicros, rows: u64, freshness: &Freshness) {
        self.history.push_back(rows);
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
        self.fresh.push_back((now, freshness.clone()));
        while self.fresh.front().is_some_and(|(at, _)| now - at > RECENT_US) {
            self.fresh.pop_front();
        }
    }

    fn recent(&self, of: impl Fn(&Freshness) -> &Vec<f64>) -> Recent {
        let all = self.fresh.iter().flat_map(|(_, freshness)| of(freshness).iter().copied());
        let mut all: Vec<f64> = all.collect();
        all.sort_by(f64::total_cmp);
        let at = |percent: usize| all.get((all.len() * percent / 100).min(all.len() - 1));
        if all.is_empty() {
            return Recent::default();
        }
        Recent {
            samples: all.len() as u64,
            p50_ms: at(50).copied().unwrap_or_default(),
            p95_ms: at(95).copied().unwrap_or_default(),
            max_ms: all.last().copied().unwrap_or_default(),
        }
    }
}

/// Adds what sinks hold, by part, in the order of the pipeline.
fn held(sinks: &[HeldSeen]) -> Vec<Held> {
    let mut parts: BTreeMap<(u8, &str), Held> = BTreeMap::new();
    for sink in sinks {
        let place = match sink.kind.as_str() {
            "nats" => (0, "sidecar"),
            "clickhouse" => (1, "aggregator"),
            other => (2, other),
        };
        let part = place.1.to_owned();
        let held = parts.entry(place).or_insert(Held { part, ..Held::default() });
        held.events += sink.events;
        held.buffered_bytes += sink.buffered_bytes;
    }
    parts.into_values().collect()
}

/// Zero where a count has fallen: a table that was emptied, a stream that was made anew.
pub(crate) fn rate(now: u64, before: u64, took_us: i64) -> u64 {
    let took_us = u64::try_from(took_us).unwrap_or(0).max(1);
    let grown = u128::from(now.saturating_sub(before)) * 1_000_000 / u128::from(took_us);
    u64::try_from(grown).unwrap_or(u64::MAX)
}

/// Zero, if the later moment has not come.
fn between(from: UnixMicros, to: UnixMicros) -> Duration {
    Duration::from_micros(u64::try_from(to - from).unwrap_or(0))
}

const HISTORY_MAX: usize = 600;
const RECENT_US: i64 = 60_000_000;

#[cfg(test)]
pub(crate) mod tests {
    use events::event::MicroTime;
    use runs::observation::{ClockOffset, ConsumerSeen, ResourceUse};

    use super::*;

    /// All servers answer.
    pub(crate) const NONE: &[&str] = &[];
    pub(crate) const START: UnixMicros = 1_790_000_000_000_000;

    pub(crate) fn gatherer() -> Gatherer {
        Gatherer {
            profile: "demo".to_owned(),
            table_name: "audit.audit_logs".to_owned(),
            start: START,
            end: START + 20_000_000,
            last_stream: None,
            last_table: None,
            silent_since: BTreeMap::new(),
            evicted: RangeSet::new(),
            history: VecDeque::new(),
            fresh: VecDeque::new(),
        }
    }

    /// What is seen some seconds into a run of which 100 events a second reach the table.
    pub(crate) fn observation(second: u64) -> Observation {
        let at = START + i64::try_from(second).unwrap() * 1_000_000;
        let consumer = ConsumerSeen {
            delivered: 110 * second,
            deliveries: 115 * second,
            ack_floor: 100 * second,
            pending: 10 * second,
            unacknowledged: 10 * second,
            redelivered: 5,
        };
        Observation {
            at: MicroTime(at),
            stream: Some(StreamSeen {
                messages: 120 * second,
                bytes: 120_000 * second,
                first: 1,
                last: 120 * second,
                consumer: Some(consumer),
            }),
            table: Some(TableSeen {
                rows: 1_000 + 100 * second,
                parts: 12,
                parts_of_a_partition_max: 7,
            }),
            freshness: Freshness {
                due_to_visible_ms: vec![1_200.0, 1_100.0, 2_500.0],
                acknowledged_to_visible_ms: vec![1_190.0],
                waiting: 4,
                oldest_ms: 900.0,
                watched: None,
            },
            clocks: vec![
                ClockOffset { server: "clickhouse".to_owned(), offset_ms: -0.2, error_ms: 0.9 },
                ClockOffset { server: "nats".to_owned(), offset_ms: 35.0, error_ms: 0.1 },
            ],
            resources: vec![ResourceUse {
                part: "clickhouse".to_owned(),
                cpu_cores: 0.53,
                memory_bytes: 900 << 20,
            }],
            backlog_min: Some(30 * second),
            held: vec![sink("clickhouse", 40), sink("nats", 429_603)],
        }
    }

    fn sink(kind: &str, events: u64) -> HeldSeen {
        HeldSeen {
            vector: "vector 127.0.0.1:9598".to_owned(),
            sink: format!("to_{kind}"),
            kind: kind.to_owned(),
            events,
            buffered_bytes: events * 1_024,
            discarded_events: 0,
        }
    }

    /// What is to be seen after some seconds.
    pub(crate) fn view_after(seconds: u64) -> View {
        let mut gatherer = gatherer();
        let views = (1..=seconds).map(|at| gatherer.view(&observation(at), NONE, Phase::Going));
        views.last().unwrap()
    }

    #[test]
    fn what_sinks_hold_is_added_by_part() {
        let sinks = ["nats", "clickhouse", "nats", "file"].map(|kind| sink(kind, 5));
        let part = |part: &str, events| {
            let buffered_bytes = events * 1_024;
            Held { part: part.to_owned(), events, buffered_bytes }
        };
        assert_eq!(held(&sinks), [part("sidecar", 10), part("aggregator", 5), part("file", 5)]);
    }

    #[test]
    fn rates_and_recent_samples_follow_from_looks() {
        let view = view_after(5);
        assert_eq!(view.rates, Rates { taken_by_stream: 120, delivered: 110, rows: 100 });
        assert_eq!(view.history, [0, 100, 100, 100, 100]);
        let recent = Recent { samples: 15, p50_ms: 1_200.0, p95_ms: 2_500.0, max_ms: 2_500.0 };
        assert_eq!(view.due_to_visible, recent);
        assert_eq!(view.acknowledged_to_visible.samples, 5);
        assert_eq!((view.evicted_unread, view.phase), (0, Phase::Going));
        assert_eq!(view_after(20).phase, Phase::Due);
        assert_eq!(view_after(100).due_to_visible.samples, 61 * 3, "the last minute");
    }

    #[test]
    fn what_does_not_answer_is_told_with_since_when_and_rates_span_the_gap() {
        let mut gatherer = gatherer();
        gatherer.view(&observation(1), NONE, Phase::Going);
        for at in 2..5 {
            let blind = Observation { table: None, ..observation(at) };
            let view = gatherer.view(&blind, &["clickhouse"], Phase::Going);
            assert_eq!(view.silent, [("clickhouse".to_owned(), Duration::from_secs(at - 2))]);
            assert_eq!(view.rates.rows, 0);
        }
        let view = gatherer.view(&observation(5), NONE, Phase::Going);
        assert_eq!((view.silent.len(), view.rates.rows), (0, 100));
    }

    #[test]
    fn what_is_evicted_unread_is_counted_once() {
        let mut gatherer = gatherer();
        let evicted = |at, first, delivered| {
            let consumer = ConsumerSeen { delivered, ..ConsumerSeen::default() };
            let stream = StreamSeen { first, consumer: Some(consumer), ..StreamSeen::default() };
            Observation { stream: Some(stream), ..observation(at) }
        };
        let mut seen = |at, first, delivered| {
            gatherer.view(&evicted(at, first, delivered), NONE, Phase::Going).evicted_unread
        };
        assert_eq!(seen(1, 1, 50), 0);
        assert_eq!(seen(2, 61, 50), 10);
        assert_eq!(seen(3, 71, 50), 20, "the same ones, and ten more");
        assert_eq!(seen(4, 71, 90), 20, "the consumer is past them");
        assert_eq!(seen(5, 101, 90), 30);
    }
}
