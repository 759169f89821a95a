//! What happens to a pipeline while runs go through it or are checked, and how it is undone.

use std::thread::sleep;
use std::time::Duration;

use super::tap::{pause, resume, set_messages_max};
use crate::stack::Stack;

/// Something that happens, when, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act {
    pub what: Disturbance,
    pub at: At,
    pub lasts: Duration,
}

/// When an act begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// So long after the runs begin to be sent. It may last until they are checked.
    Load(Duration),
    /// When they are sent, so long before or after their check begins.
    Check { before: Duration, after: Duration },
    /// From before their check begins until it has ended, however long that takes.
    Throughout,
}

/// What happens. A new one is a line here, in [`Disturbance::begin`] and where storms are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// A part is killed, and not there for a while.
    Away(Part),
    /// The aggregator's consumer is given no messages.
    Paused,
    /// The consumer is given no messages, and the stream keeps so many at most: it evicts others.
    Shrunk { messages: i64 },
}

/// What is between the webhook and NATS, and between NATS and ClickHouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// One process. It loses what it has in memory when it is killed.
    Fast,
    /// A sidecar and an aggregator, as patient as Vector. What they hold outlives them.
    Honest { retry_max: Duration },
}

/// A part that can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    ClickHouse,
    Nats,
    /// Sidecar and aggregator, be they one process or two.
    Relay,
    /// Only an honest relay has one of its own.
    Sidecar,
    /// Only an honest relay has one of its own.
    Aggregator,
}

impl Part {
    pub const ALL: [Self; 5] =
        [Self::ClickHouse, Self::Nats, Self::Relay, Self::Sidecar, Self::Aggregator];

    /// Those that a sandbox with such a relay has.
    pub fn of(relay: Relay) -> &'static [Self] {
        match relay {
            Relay::Fast => &Self::ALL[..3],
            Relay::Honest { .. } => &Self::ALL,
        }
    }

    /// What the sandbox calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClickHouse => "clickhouse",
            Self::Nats => "nats",
            Self::Relay => "relay",
            Self::Sidecar => "sidecar",
            Self::Aggregator => "aggregator",
        }
    }
}

impl Disturbance {
    /// Begins it.
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

    /// Undoes it.
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

    /// What it leaves open while it lasts.
    pub fn excuse(self) -> &'static str {
        match self {
            Self::Away(Part::ClickHouse) => "ClickHouse was away",
            Self::Away(Part::Nats) => "NATS was away",
            Self::Away(Part::Relay) => "the relay was away",
            Self::Away(Part::Sidecar) => "the sidecar was away",
            Self::Away(Part::Aggregator) => "the aggregator was away",
            Self::Paused | Self::Shrunk { .. } => "the consumer was paused",
        }
    }
}

/// Tries until it is done: a part that it needs may be away itself for now.
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
