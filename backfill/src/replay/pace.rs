//! How much may be in the pipeline at once. Pure.
//!
//! What the webhook has acknowledged waits in the sidecar until it is in the stream (the backlog),
//! and then in the stream until the consumer acknowledges it (the lag). A stream that discards its
//! oldest messages at a limit of bytes must not be given so much that it evicts what is unread;
//! evicting messages that were read is normal.

use events::timeline::UnixMicros;
use stores::jetstream::StreamState;

/// What is in the pipeline, and what it can hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fill {
    /// Events that were acknowledged to us and are not in the stream yet.
    pub backlog: u64,
    /// Messages of the stream from the first one on that the consumer has not acknowledged.
    pub lag: u64,
    /// Mean size of a message.
    pub message_bytes: u64,
    /// Bytes at which the stream evicts its oldest messages.
    pub stream_bytes_max: Option<u64>,
}

/// Whether more may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    Go,
    Wait,
}

impl Fill {
    /// Events that are on their way to the consumer.
    pub fn events(&self) -> u64 {
        self.backlog + self.lag
    }

    pub fn is_empty(&self) -> bool {
        self.events() == 0
    }

    /// How many events the pipeline has room for when it is empty.
    pub fn capacity(&self, lag_max: u64) -> u64 {
        let by_bytes = self
            .stream_bytes_max
            .map_or(u64::MAX, |bytes| bytes / UNREAD_PARTS / self.message_bytes.max(1));
        lag_max.min(by_bytes)
    }
}

/// Decides whether so many events more may be sent. If the pipeline is empty there will never be
/// more room, so the answer is yes.
pub fn room(fill: &Fill, events: u64, lag_max: u64) -> Room {
    let fits = fill.events().saturating_add(events) <= fill.capacity(lag_max);
    if fits || fill.is_empty() { Room::Go } else { Room::Wait }
}

/// The part of a stream's bytes that may be unread.
const UNREAD_PARTS: u64 = 2;

/// Follows what is in the pipeline, from what was acknowledged and what the stream tells.
#[derive(Debug)]
pub(crate) struct Gauge {
    backlog: u64,
    last: u64,
    /// Mean size of our own messages, as reckoned before there are any.
    own_bytes: u64,
    seen: Option<StreamState>,
    still_since: UnixMicros,
}

impl Gauge {
    /// Starts with nothing on its way, before a stream whose last message is `last`.
    pub(crate) fn new(last: u64, own_bytes: u64, now: UnixMicros) -> Self {
        Self { backlog: 0, last, own_bytes, seen: None, still_since: now }
    }

    /// Counts events that the webhook has acknowledged.
    pub(crate) fn acknowledge(&mut self, events: u64, now: UnixMicros) {
        self.backlog += events;
        if events > 0 {
            self.still_since = now;
        }
    }

    /// Takes what stream and consumer tell. Without a consumer, all that the stream holds is
    /// unread.
    pub(crate) fn look(&mut self, state: &StreamState, now: UnixMicros) -> Fill {
        // Messages of others make the stream grow too. Then fewer events seem to be on their way
        // than there are.
        self.backlog = self.backlog.saturating_sub(state.last.saturating_sub(self.last));
        self.last = state.last;
        let moved = self.seen.is_none_or(|seen| {
            (seen.last, seen.first, seen.consumer) != (state.last, state.first, state.consumer)
        });
        if moved {
            self.still_since = now;
        }
        self.seen = Some(*state);
        let lag = lag(state);
        // Events that the stream took for repetitions never appear in it.
        if lag == 0 && now - self.still_since >= BACKLOG_PATIENCE_US {
            self.backlog = 0;
        }
        let in_stream = state.bytes.checked_div(state.messages).unwrap_or(0);
        Fill {
            backlog: self.backlog,
            lag,
            message_bytes: in_stream.max(self.own_bytes),
            stream_bytes_max: state.bytes_max,
        }
    }

    /// Since when nothing has moved.
    pub(crate) fn still_since(&self) -> UnixMicros {
        self.still_since
    }
}

/// How long acknowledged events may take to reach an idle stream, before they count as repetitions.
const BACKLOG_PATIENCE_US: i64 = 5_000_000;

fn lag(state: &StreamState) -> u64 {
    let Some(consumer) = state.consumer else { return state.messages };
    // The floor stays behind if messages were evicted, or do not match the filter of this consumer.
    if consumer.pending + consumer.unacknowledged == 0 {
        return 0;
    }
    state.last.saturating_sub(consumer.ack_floor.max(state.first.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stores::jetstream::ConsumerState;

    use super::*;

    const SECOND: i64 = 1_000_000;

    #[track_caller]
    fn check(backlog: u64, lag: u64, bytes_max: Option<u64>, events: u64, expected: Room) {
        let fill = Fill { backlog, lag, message_bytes: 1_000, stream_bytes_max: bytes_max };
        assert_eq!(room(&fill, events, 50_000), expected);
    }

    #[test]
    fn there_is_room_while_backlog_lag_and_slice_are_within_the_limit() {
        check(0, 0, None, 10_000, Room::Go);
        check(20_000, 20_000, None, 10_000, Room::Go);
        check(20_000, 20_001, None, 10_000, Room::Wait);
        check(50_000, 0, None, 1, Room::Wait);
        check(0, u64::MAX, None, 1, Room::Wait);
    }

    #[test]
    fn what_is_unread_takes_half_of_the_stream_at_most() {
        check(0, 9_000, Some(20_000_000), 1_000, Room::Go);
        check(0, 9_001, Some(20_000_000), 1_000, Room::Wait);
        check(9_001, 0, Some(20_000_000), 1_000, Room::Wait);
        check(0, 40_000, Some(1 << 30), 10_000, Room::Go);
    }

    #[test]
    fn an_empty_pipeline_has_room_for_whatever_is_least() {
        check(0, 0, Some(2_000), 400, Room::Go);
        check(0, 1, Some(2_000), 400, Room::Wait);
    }

    /// A stream that has taken `last` messages, of which the consumer has acknowledged some.
    fn state(last: u64, acknowledged: u64) -> StreamState {
        let consumer = ConsumerState {
            ack_floor: acknowledged,
            pending: last - acknowledged,
            ..ConsumerState::default()
        };
        StreamState {
            messages: last,
            bytes: last * 1_500,
            bytes_max: Some(1 << 30),
            first: 1,
            last,
            duplicate_window: Duration::from_mins(10),
            keeps_what_is_read: true,
            consumer: Some(consumer),
        }
    }

    #[track_caller]
    fn check_look(gauge: &mut Gauge, state: &StreamState, now_s: i64, expected: (u64, u64)) {
        let fill = gauge.look(state, now_s * SECOND);
        assert_eq!((fill.backlog, fill.lag), expected);
    }

    #[test]
    fn what_is_acknowledged_is_backlog_then_lag_then_gone() {
        let mut gauge = Gauge::new(100, 1_000, 0);
        check_look(&mut gauge, &state(100, 100), 0, (0, 0));
        gauge.acknowledge(50, SECOND);
        check_look(&mut gauge, &state(100, 100), 2, (50, 0));
        check_look(&mut gauge, &state(130, 110), 3, (20, 20));
        check_look(&mut gauge, &state(150, 150), 4, (0, 0));
        assert_eq!(gauge.look(&state(150, 150), 5 * SECOND).message_bytes, 1_500);
        assert_eq!(gauge.still_since(), 4 * SECOND);
    }

    #[test]
    fn what_others_send_is_no_credit() {
        let mut gauge = Gauge::new(0, 1_000, 0);
        check_look(&mut gauge, &state(500, 500), 0, (0, 0));
        gauge.acknowledge(50, 0);
        check_look(&mut gauge, &state(500, 500), 1, (50, 0));
    }

    #[test]
    fn what_the_stream_knew_already_is_given_up_after_a_while() {
        let mut gauge = Gauge::new(100, 1_000, 0);
        check_look(&mut gauge, &state(100, 100), 0, (0, 0));
        gauge.acknowledge(50, 60 * SECOND);
        check_look(&mut gauge, &state(100, 100), 61, (50, 0));
        check_look(&mut gauge, &state(100, 100), 64, (50, 0));
        check_look(&mut gauge, &state(100, 100), 65, (0, 0));
        // Not while the consumer has something to do.
        gauge.acknowledge(50, 70 * SECOND);
        check_look(&mut gauge, &state(110, 100), 71, (40, 10));
        check_look(&mut gauge, &state(110, 100), 99, (40, 10));
    }

    #[test]
    fn a_floor_behind_what_was_evicted_is_no_lag() {
        let mut gauge = Gauge::new(100, 1_000, 0);
        let evicted = StreamState { first: 91, messages: 10, ..state(100, 20) };
        check_look(&mut gauge, &evicted, 0, (0, 10));
        let consumer = Some(ConsumerState { ack_floor: 20, ..ConsumerState::default() });
        check_look(&mut gauge, &StreamState { consumer, ..evicted }, 0, (0, 0));
    }
}
