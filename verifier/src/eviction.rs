//! Proves by counting that events were evicted from the stream before the consumer was given them.
//! Pure.
//!
//! What the stream has forgotten cannot be read any more, but its counters remember how many
//! messages there were, and the consumer's how many it was given. If all messages of a time were
//! of the run, and exactly as many were never given to the consumer as events are missing, then
//! the missing ones are those.

use runs::observation::Observation;
use stores::jetstream::StreamState;

/// How far stream and consumer were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sequence number of the last message that the stream has taken.
    pub last: u64,
    /// Sequence number, in the stream, of the last message that the consumer was given.
    pub delivered: u64,
    /// Messages that the consumer was given, those given again included.
    pub deliveries: u64,
}

impl Counters {
    /// Takes them from what NATS tells; `None` without a consumer.
    pub fn of(state: &StreamState) -> Option<Self> {
        let consumer = state.consumer?;
        let (delivered, deliveries) = (consumer.delivered, consumer.deliveries);
        Some(Self { last: state.last, delivered, deliveries })
    }

    /// Takes them from what was seen during a run.
    pub fn seen(observation: &Observation) -> Option<Self> {
        let stream = observation.stream?;
        let consumer = stream.consumer?;
        let (delivered, deliveries) = (consumer.delivered, consumer.deliveries);
        Some(Self { last: stream.last, delivered, deliveries })
    }
}

/// What must be counted to prove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Events of the run that the webhook has taken, once each.
    pub taken: u64,
    /// Those of them that are neither in the stream nor stored.
    pub missing: u64,
}

/// Whether all missing events were evicted before the consumer was given them. Messages that were
/// given to it again, or are not of the run, leave it unproven, never wrong.
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
        // One of the missing never was in the stream.
        check((1_099, 1_099, 929), 1_000, 201, false);
        // One of the messages is of somebody else.
        check((1_101, 1_101, 931), 1_000, 200, false);
        // One was lost after the consumer was given it.
        check((1_100, 1_100, 930), 1_000, 201, false);
        // One was given to it again.
        check((1_100, 1_100, 931), 1_000, 200, false);
        // Stream or consumer were made anew.
        check((50, 50, 50), 1_000, 200, false);
    }
}
