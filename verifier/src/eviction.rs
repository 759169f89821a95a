//! Proves, by counting, that the stream evicted events before the consumer was given them. Pure.
//!
//! A message that the stream has evicted cannot be read any more. But the stream's counters still
//! say how many messages it took, and the consumer's counters how many it was given. If all
//! messages of a period were of the run, and the consumer was not given exactly as many messages as
//! events are missing, then the missing events are those messages.

use runs::observation::Observation;
use stores::jetstream::StreamState;

/// The counters of stream and consumer at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sequence number of the last message that the stream took.
    pub last: u64,
    /// Stream sequence number of the last message that the consumer was given.
    pub delivered: u64,
    /// Number of messages that the consumer was given, including those that it was given again.
    pub deliveries: u64,
}

impl Counters {
    /// Takes the counters from the state that NATS reports. Returns `None` without a consumer.
    pub fn of(state: &StreamState) -> Option<Self> {
        let consumer = state.consumer?;
        let (delivered, deliveries) = (consumer.delivered, consumer.deliveries);
        Some(Self { last: state.last, delivered, deliveries })
    }

    /// Takes the counters from an observation during the run.
    pub fn seen(observation: &Observation) -> Option<Self> {
        let stream = observation.stream?;
        let consumer = stream.consumer?;
        let (delivered, deliveries) = (consumer.delivered, consumer.deliveries);
        Some(Self { last: stream.last, delivered, deliveries })
    }
}

/// The counts that a proof needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Events of the run that the webhook took. Each counts once.
    pub taken: u64,
    /// The events among them that are neither in the stream nor stored.
    pub missing: u64,
}

/// Whether all missing events were evicted before the consumer was given them. If messages were
/// given to it again, or do not belong to the run, the result is "not proven", and never wrong.
pub fn is_proven(before: Counters, after: Counters, counted: Counted) -> bool {
    let grown = |of: fn(&Counters) -> u64| of(&after).checked_sub(of(&before));
    let messages = grown(|counters| counters.last);
    let reached = grown(|counters| counters.delivered);
    let given = grown(|counters| counters.deliveries);
    let passed_over = reached.zip(given).and_then(|(reached, given)| reached.checked_sub(given));
    messages == Some(counted.taken) && passed_over == Some(counted.missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(after: (u64, u64, u64), taken: u64, missing: u64, expected: bool) {
        let before = Counters { last: 100, delivered: 100, deliveries: 130 };
        let (last, delivered, deliveries) = after;
        let after = Counters { last, delivered, deliveries };
        let counted = Counted { taken, missing };
        assert_eq!(is_proven(before, after, counted), expected, "{after:?}, {counted:?}");
    }

    #[test]
    fn as_many_as_are_missing_were_passed_over() {
        check((1_100, 1_100, 930), 1_000, 200, true);
    }

    #[test]
    fn where_the_counts_differ_nothing_is_proven() {
        // One of the missing events never was in the stream.
        check((1_099, 1_099, 929), 1_000, 201, false);
        // One of the messages does not belong to the run.
        check((1_101, 1_101, 931), 1_000, 200, false);
        // One event was lost after the consumer was given it.
        check((1_100, 1_100, 930), 1_000, 201, false);
        // One message was given to the consumer again.
        check((1_100, 1_100, 931), 1_000, 200, false);
        // Stream or consumer were deleted and created again.
        check((50, 50, 50), 1_000, 200, false);
    }
}
