//! Why an acknowledged event is not stored, as precisely as is known.

use serde::{Deserialize, Serialize};

/// Why an acknowledged event is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It never was in the stream: dropped before NATS, or taken for a repetition of a message
    /// that is gone.
    NeverInStream,
    /// The stream has a message with its ID, but of another stage: the duplicate window swallowed
    /// the event itself.
    Swallowed,
    /// The stream evicted it before the consumer was given it.
    Evicted,
    /// The stream has it, and the consumer has not acknowledged it.
    NotConsumed,
    /// The consumer was given it, and acknowledged it if the stream still has it.
    ConsumedNotStored,
    /// Another table has it.
    Elsewhere,
    /// The table folded it into another row with the same sorting key.
    Folded,
    /// It is older than the table's TTL keeps rows: if it was stored, the table has deleted it.
    Expired,
    /// The event went straight into the table, or was sent in a period from which the stream has
    /// lost messages.
    Somewhere,
}

/// The part of the pipeline in which an event was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// Between the webhook's answer and the stream.
    BeforeStream,
    /// In the stream.
    InStream,
    /// Between the consumer and the table.
    AfterStream,
    /// In ClickHouse.
    InTable,
    /// It is not known.
    Unknown,
}

impl Cause {
    pub const ALL: [Self; 9] = [
        Self::NeverInStream,
        Self::Swallowed,
        Self::Evicted,
        Self::NotConsumed,
        Self::ConsumedNotStored,
        Self::Elsewhere,
        Self::Folded,
        Self::Expired,
        Self::Somewhere,
    ];

    pub fn hop(self) -> Hop {
        match self {
            Self::NeverInStream => Hop::BeforeStream,
            Self::Swallowed | Self::Evicted | Self::NotConsumed => Hop::InStream,
            Self::ConsumedNotStored => Hop::AfterStream,
            Self::Elsewhere | Self::Folded | Self::Expired => Hop::InTable,
            Self::Somewhere => Hop::Unknown,
        }
    }

    /// Says where an event that is not proven lost was last seen.
    pub fn last_seen(self) -> &'static str {
        match self {
            Self::NeverInStream => "not in the stream yet",
            Self::Swallowed => "taken for a repetition",
            Self::Evicted => "evicted before it was consumed",
            Self::NotConsumed => "in the stream, not consumed yet",
            Self::ConsumedNotStored => "consumed, not stored yet",
            Self::Elsewhere => "stored in another table",
            Self::Folded => "folded into another row",
            Self::Expired => "older than the table keeps rows",
            Self::Somewhere => "on its way, or hidden",
        }
    }

    /// Puts it into words for the user.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverInStream => "never in the stream",
            Self::Swallowed => "swallowed by the duplicate window",
            Self::Evicted => "evicted before it was consumed",
            Self::NotConsumed => "in the stream, not consumed",
            Self::ConsumedNotStored => "consumed and not stored",
            Self::Elsewhere => "stored in another table",
            Self::Folded => "folded into another row",
            Self::Expired => "older than the table's TTL",
            Self::Somewhere => "lost somewhere",
        }
    }
}
