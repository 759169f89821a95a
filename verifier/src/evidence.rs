//! What must be known before a missing event is called lost. Pure.
//!
//! An event that is not seen proves nothing by itself: it may be late, buffered, or hidden from the
//! account that asks. A loss is proven only if every place where the event could still be has been
//! examined and excluded. [`places_of`] is the table of the places that each cause needs.
//! [`Grounds`] says which places are excluded and, for the others, why not and what would exclude
//! them.

use std::collections::BTreeMap;
use std::time::Duration;

use plans::spec::DeliveryPath;
use runs::report::cause::Cause;
use runs::report::doubt::{Doubt, Place};
use stores::jetstream::{NoConsumer, StreamState};
use stores::sight::Hidden;

use crate::vector::{Sink, VectorState};

/// The places that must be excluded before a missing event counts as lost for a cause. `None` if
/// the cause never proves a loss.
///
/// | cause | what is already known | where the event can still be |
/// |---|---|---|
/// | never in the stream | the stream has all that it ever took | in a sidecar |
/// | swallowed | the stream has another stage of it | in a sidecar, or passed already |
/// | evicted | counting proves that the consumer was not given it | only in the table |
/// | not consumed | the stream has it | where it is: it is not lost |
/// | expired | the table deletes rows of that age | nowhere; whether it was lost is unknown |
/// | consumed, not stored | the consumer has acknowledged it | behind the stream |
/// | elsewhere | another table has it | on its way to this table, too |
/// | folded | the table keeps one row of its sorting key | only in the table |
/// | somewhere | it was acknowledged | anywhere on its way |
pub const fn places_of(cause: Cause, path: DeliveryPath) -> Option<&'static [Place]> {
    use Place::{Aggregator, Consumer, Sidecar, Table};
    match (path, cause) {
        (_, Cause::NotConsumed | Cause::Expired) => None,
        // The events of a bulk run went straight into the table.
        (DeliveryPath::Bulk, _) | (_, Cause::Evicted | Cause::Folded) => Some(&[Table]),
        (_, Cause::NeverInStream) => Some(&[Sidecar, Table]),
        (_, Cause::ConsumedNotStored | Cause::Elsewhere) => Some(&[Consumer, Aggregator, Table]),
        (_, Cause::Swallowed | Cause::Somewhere) => Some(&[Sidecar, Consumer, Aggregator, Table]),
    }
}

/// What a part of the pipeline reported of itself, with the address of its metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub url: String,
    /// What it reported, or why it did not.
    pub told: Result<VectorState, String>,
}

/// Whether the stores came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stillness {
    /// They have not moved for the time asked for.
    Still,
    /// They moved until the deadline.
    Moving,
    /// They did not move any more, but messages wait for the consumer.
    Waiting { messages: u64 },
}

/// What was seen of the pipeline when its stores had come to rest, or when the wait was over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether stores and parts had come to rest.
    pub is_still: bool,
    /// How long nothing had moved, neither in the stores nor in the metrics of the parts.
    pub quiet: Duration,
    /// The longest time that a part may hold an event while all parts are up and nothing moves, if
    /// the user has declared one.
    pub delay_max: Option<Duration>,
    /// All parts whose metrics were named.
    pub parts: Vec<Part>,
    /// Whether the webhook accepts connections; `None` if no address is known.
    pub webhook_answers: Option<bool>,
    /// The state of the stream, or `None` for a run that did not go through the pipeline.
    pub stream: Option<StreamState>,
    /// Whether somebody has recently asked for messages of the consumer.
    pub is_pulled: bool,
    pub no_consumer: Option<NoConsumer>,
    /// Whether the table did not change while it was read.
    pub is_steady: bool,
    /// Ways in which rows may be hidden from this account.
    pub hidden: Vec<Hidden>,
}

impl Default for Seen {
    /// Everything is excluded, as for a run that did not go through the pipeline and whose table
    /// was read completely.
    fn default() -> Self {
        Self {
            is_still: true,
            quiet: Duration::ZERO,
            delay_max: None,
            parts: Vec::new(),
            webhook_answers: None,
            stream: None,
            is_pulled: false,
            no_consumer: None,
            is_steady: true,
            hidden: Vec::new(),
        }
    }
}

/// Which places are excluded, and the doubts about the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grounds {
    open: BTreeMap<Place, Vec<Doubt>>,
}

impl Grounds {
    /// Judges each place by what was seen.
    pub fn of(seen: &Seen) -> Self {
        let all = [
            (Place::Sidecar, sidecar(seen)),
            (Place::Consumer, consumer(seen)),
            (Place::Aggregator, aggregator(seen)),
            (Place::Table, table(seen)),
        ];
        let doubts = |(place, open): (Place, Vec<(String, String)>)| {
            let doubt = |(what, remedy)| Doubt { place, what, remedy };
            (place, open.into_iter().map(doubt).collect())
        };
        let open = all.into_iter().map(doubts);
        Self { open: open.filter(|(_, doubts): &(_, Vec<_>)| !doubts.is_empty()).collect() }
    }

    /// Whether missing events of this cause are proven to be lost.
    pub fn prove(&self, cause: Cause, path: DeliveryPath) -> bool {
        let is_excluded = |place: &Place| !self.open.contains_key(place);
        places_of(cause, path).is_some_and(|places| places.iter().all(is_excluded))
    }

    /// The doubts that keep missing events of this cause from being called lost.
    pub fn against(&self, cause: Cause, path: DeliveryPath) -> impl Iterator<Item = &Doubt> {
        let waits: &[Place] = if cause == Cause::NotConsumed { &[Place::Consumer] } else { &[] };
        let places = places_of(cause, path).unwrap_or(waits);
        places.iter().filter_map(|place| self.open.get(place)).flatten()
    }

    /// Whether no event can be on its way any more, in any part of the pipeline.
    pub fn is_passed(&self) -> bool {
        let on_the_way = [Place::Sidecar, Place::Consumer, Place::Aggregator];
        !on_the_way.iter().any(|place| self.open.contains_key(place))
    }

    /// The doubts about a place.
    pub fn doubts(&self, place: Place) -> &[Doubt] {
        self.open.get(&place).map_or(&[], Vec::as_slice)
    }
}

/// The metrics of a Vector are a few seconds old: gauges are set every 2 s, and collected every
/// second. So a part counts as empty only if its metrics say so for longer than that.
///
/// Source: Vector 0.57, `report_buffer_usage` in `lib/vector-buffers/src/buffer_usage_data.rs`, and
/// the default `scrape_interval_secs` of the source `internal_metrics`.
pub const METRICS_AGE_MAX: Duration = Duration::from_secs(5);

type Open = Vec<(String, String)>;

fn sidecar(seen: &Seen) -> Open {
    let why = match seen.webhook_answers {
        Some(true) => return part(seen, "sidecar", NATS_SINK, None),
        Some(false) => "the webhook does not accept connections",
        None => "no address of the webhook is known",
    };
    let what = format!("{why}: how many events the sidecar holds is not known");
    part(seen, "sidecar", NATS_SINK, Some((what, format!("start it, and {NAME_METRICS}"))))
}

/// Whether an aggregator is up is seen from the consumer, which it asks for messages: see
/// [`consumer`].
fn aggregator(seen: &Seen) -> Open {
    part(seen, "aggregator", CLICKHOUSE_SINK, None)
}

/// The doubts about a part of the pipeline. `down` is the doubt if the part does not seem to be up:
/// then waiting would prove nothing.
fn part(seen: &Seen, who: &str, sink: &str, down: Option<(String, String)>) -> Open {
    if seen.stream.is_none() {
        return Open::new();
    }
    let untold = match by_metrics(seen, who, sink) {
        Metrics::Tell(open) => return open,
        Metrics::Lack(untold) => untold,
    };
    match (down, seen.delay_max) {
        _ if !seen.is_still => vec![moving()],
        (Some(doubt), _) => vec![doubt],
        (None, Some(delay)) => waited_for(seen, who, delay),
        (None, None) => vec![untold],
    }
}

const NATS_SINK: &str = "nats";
const CLICKHOUSE_SINK: &str = "clickhouse";
const NAME_METRICS: &str = "name its metrics with --vector-metrics";

/// What the metrics of all Vectors tell of one kind of part.
enum Metrics {
    /// They tell what it holds. These doubts are left.
    Tell(Open),
    /// They do not tell what it holds. This is the doubt.
    Lack((String, String)),
}

fn by_metrics(seen: &Seen, who: &str, sink: &str) -> Metrics {
    let mut open = Open::new();
    let mut is_told = false;
    let mut mute = None;
    for Part { url, told: state } in &seen.parts {
        match state {
            Err(why) => {
                open.push((
                    format!("{url} does not say how many events its Vector holds: {why}"),
                    "start it again, or leave it out if it is gone for good".to_owned(),
                ));
            }
            Ok(state) => {
                let held: u64 = state.sinks_of(sink).map(Sink::held_events).sum();
                if held > 0 {
                    open.push(still_holds(who, url, held));
                }
                // A Vector that reports no sink at all has not seen events lately: metrics that do
                // not change expire.
                if state.sinks.is_empty() || state.sinks_of(sink).any(|it| !it.tells_buffer) {
                    mute = Some(url);
                }
                is_told |= state.sinks_of(sink).count() > 0;
            }
        }
    }
    if !open.is_empty() {
        return Metrics::Tell(open);
    }
    if let Some(url) = mute {
        return Metrics::Lack(says_nothing(url));
    }
    if !is_told {
        return Metrics::Lack(unnamed(who));
    }
    if !seen.is_still {
        open.push(moving());
    } else if seen.quiet < METRICS_AGE_MAX {
        let seconds = METRICS_AGE_MAX.as_secs();
        open.push((
            format!("the {who} held nothing, but its metrics may be {seconds} s old"),
            format!("wait for longer with --quiet {seconds}s"),
        ));
    }
    Metrics::Tell(open)
}

/// A disk buffer of Vector 0.57 can keep its last events until another one comes or it restarts.
///
/// Source: seen with its `disk_v2` buffer; issues 22946 and 23605 of vectordotdev/vector.
fn still_holds(who: &str, url: &str, held: u64) -> (String, String) {
    let plural = if held == 1 { "" } else { "s" };
    (
        format!("the {who} at {url} still holds {held} event{plural}"),
        "check again once it has passed them on, or wait longer with --wait. If the number does \
         not fall, send one more event through it, or restart it: a disk buffer of Vector can keep \
         its last events until then"
            .to_owned(),
    )
}

fn says_nothing(url: &str) -> (String, String) {
    (
        format!("{url} does not say what its Vector holds: perhaps no event has passed it lately"),
        "send an event through it, so that it tells its buffers, and check again".to_owned(),
    )
}

fn unnamed(who: &str) -> (String, String) {
    (
        format!("no metrics say how many events the {who} holds"),
        format!(
            "{NAME_METRICS}. Or, if it has no disk buffer, say with --pipeline-delay how long it \
             may hold an event"
        ),
    )
}

fn moving() -> (String, String) {
    (
        "the pipeline still moved when the wait was over".to_owned(),
        "check again, or wait longer with --wait".to_owned(),
    )
}

/// The doubts about a part that is up and has no metrics, if the user has declared how long it may
/// hold an event.
fn waited_for(seen: &Seen, who: &str, delay: Duration) -> Open {
    if seen.quiet >= delay {
        return Open::new();
    }
    let (quiet, delay) = (seen.quiet.as_secs(), delay.as_secs());
    vec![(
        format!(
            "the {who} may still hold events: it may keep one for {delay} s (--pipeline-delay), \
             and nothing has moved for {quiet} s"
        ),
        format!(
            "{NAME_METRICS}, or check again with --wait {}s: it is proven when nothing has moved \
             for {delay} s",
            delay + WAIT_SLACK_S
        ),
    )]
}

/// A check needs some time for looks before and after the time in which nothing moves.
const WAIT_SLACK_S: u64 = 30;

fn consumer(seen: &Seen) -> Open {
    let Some(state) = &seen.stream else { return Open::new() };
    if let Some(none) = &seen.no_consumer {
        return vec![(
            format!("{none}: how many messages wait for the aggregator is not known"),
            "name the aggregator's own consumer with --consumer".to_owned(),
        )];
    }
    let Some(consumer) = &state.consumer else { return Open::new() };
    let waiting = consumer.pending + consumer.unacknowledged;
    let mut open = Open::new();
    if consumer.is_paused {
        open.push(("the consumer is paused".to_owned(), "resume it, and check again".to_owned()));
    }
    if !seen.is_pulled {
        open.push((
            "no aggregator asks the consumer for messages: it may be down and hold events, or use \
             another consumer"
                .to_owned(),
            "start it, or name its own consumer with --consumer".to_owned(),
        ));
    }
    if waiting > 0 {
        open.push((
            format!("{waiting} messages still wait for the consumer"),
            "check again once it has taken them, or wait longer with --wait".to_owned(),
        ));
    }
    open
}

fn table(seen: &Seen) -> Open {
    let mut open = Open::new();
    if !seen.is_steady {
        open.push((
            "the table changed while it was read".to_owned(),
            "check again once nothing is written to it".to_owned(),
        ));
    }
    open.extend(seen.hidden.iter().map(|it| (it.what.clone(), it.remedy.clone())));
    open
}

#[cfg(test)]
mod tests;
