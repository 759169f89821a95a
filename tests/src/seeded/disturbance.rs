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
}

/// What happens. A new one is a line here, in [`Disturbance::play`] and where storms are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// A part is killed, and not there for a while.
    Away(Part),
    /// The aggregator's consumer is given no messages.
    Paused,
    /// The consumer is given no messages, and the stream keeps so many at most: it evicts others.
    Shrunk { messages: i64 },
}

/// A part that can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    ClickHouse,
    Nats,
    Relay,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::ClickHouse, Self::Nats, Self::Relay];

    /// What the sandbox calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClickHouse => "clickhouse",
            Self::Nats => "nats",
            Self::Relay => "relay",
        }
    }
}

impl Disturbance {
    /// Begins, lasts, and is undone.
    pub fn play(self, stack: &Stack, lasts: Duration) {
        match self {
            Self::Away(part) => {
                stack.restart(part.name(), &format!("{}ms", lasts.as_millis()));
            }
            Self::Paused => {
                pause(stack);
                sleep(lasts);
                resume(stack);
            }
            Self::Shrunk { messages } => {
                pause(stack);
                set_messages_max(stack, messages);
                sleep(lasts);
                set_messages_max(stack, -1);
                resume(stack);
            }
        }
    }

    /// What it leaves open while it lasts.
    pub fn excuse(self) -> &'static str {
        match self {
            Self::Away(Part::ClickHouse) => "ClickHouse was away",
            Self::Away(Part::Nats) => "NATS was away",
            Self::Away(Part::Relay) => "the relay was away",
            Self::Paused | Self::Shrunk { .. } => "the consumer was paused",
        }
    }
}
