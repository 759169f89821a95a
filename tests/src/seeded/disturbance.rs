//! Disturbances of a pipeline while runs go through it or are checked, and how they are undone.

use std::thread::sleep;
use std::time::Duration;

use super::tap::{pause, resume, set_messages_max};
use crate::stack::Stack;

/// A disturbance, with its start and duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act {
    pub what: Disturbance,
    pub at: At,
    pub lasts: Duration,
}

/// When a disturbance begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// This long after the runs begin to be sent. It may last until they are checked.
    Load(Duration),
    /// When the runs have been sent, this long before or after their check begins.
    Check { before: Duration, after: Duration },
    /// Before the check begins. It lasts until the check has ended, however long that takes.
    Throughout,
}

/// The kind of a disturbance. A new kind needs a line here, in [`Disturbance::begin`], and where
/// storms are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// A part is killed, and is down for a while.
    Away(Part),
    /// The aggregator's consumer receives no messages.
    Paused,
    /// The consumer receives no messages, and the stream keeps only this many, so it evicts the
    /// others.
    Shrunk { messages: i64 },
}

/// The relay between webhook and NATS, and between NATS and ClickHouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// One process. It loses its events in memory when it is killed.
    Fast,
    /// A sidecar and an aggregator, which retry as long as Vector. Their events survive a kill.
    Honest { retry_max: Duration },
}

/// A part that can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    ClickHouse,
    Nats,
    /// Sidecar and aggregator together, whether they are one process or two.
    Relay,
    /// Only an honest relay has it as a process of its own.
    Sidecar,
    /// Only an honest relay has it as a process of its own.
    Aggregator,
    /// The query API's stand-in. No pipeline needs it.
    QueryApi,
}

impl Part {
    /// The parts of a pipeline.
    pub const ALL: [Self; 5] =
        [Self::ClickHouse, Self::Nats, Self::Relay, Self::Sidecar, Self::Aggregator];

    /// The parts that a sandbox with this relay has.
    pub fn of(relay: Relay) -> &'static [Self] {
        match relay {
            Relay::Fast => &Self::ALL[..3],
            Relay::Honest { .. } => &Self::ALL,
        }
    }

    /// The sandbox's name for the part.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClickHouse => "clickhouse",
            Self::Nats => "nats",
            Self::Relay => "relay",
            Self::Sidecar => "sidecar",
            Self::Aggregator => "aggregator",
            Self::QueryApi => "query-api",
        }
    }
}

impl Act {
    /// Lets it happen, from its beginning to its end.
    pub fn play(&self, stack: &Stack) {
        self.what.begin(stack);
        sleep(self.lasts);
        self.what.end(stack);
    }
}

impl Disturbance {
    /// Begins the disturbance.
    pub fn begin(self, stack: &Stack) {
        match self {
            Self::Away(part) => until_done(|| stack.order("stop", part.name())),
            Self::Paused => until_done(|| pause(stack).is_some()),
            Self::Shrunk { messages } => {
                until_done(|| pause(stack).is_some());
                until_done(|| set_messages_max(stack, messages).is_some());
            }
        }
    }

    /// Ends the disturbance.
    pub fn end(self, stack: &Stack) {
        match self {
            Self::Away(part) => until_done(|| stack.order("start", part.name())),
            Self::Paused => until_done(|| resume(stack).is_some()),
            Self::Shrunk { .. } => {
                until_done(|| set_messages_max(stack, -1).is_some());
                until_done(|| resume(stack).is_some());
            }
        }
    }

    /// What cannot be excluded while the disturbance lasts.
    pub fn excuse(self) -> &'static str {
        match self {
            Self::Away(Part::ClickHouse) => "ClickHouse was away",
            Self::Away(Part::Nats) => "NATS was away",
            Self::Away(Part::Relay) => "the relay was away",
            Self::Away(Part::Sidecar) => "the sidecar was away",
            Self::Away(Part::Aggregator) => "the aggregator was away",
            Self::Away(Part::QueryApi) => "the query API was away",
            Self::Paused | Self::Shrunk { .. } => "the consumer was paused",
        }
    }
}

/// Repeats an action until it succeeds, because a part that it needs may be down.
fn until_done(mut is_done: impl FnMut() -> bool) {
    const PAUSE: Duration = Duration::from_millis(500);
    const TRIES_MAX: u32 = 1_800;
    for _ in 0..TRIES_MAX {
        if is_done() {
            return;
        }
        sleep(PAUSE);
    }
    panic!("a disturbance cannot be begun or undone");
}
