//! Waits until the pipeline has room, or is empty.

use std::time::Duration;

use edges::clock::{Clock, micros};
use edges::exit::chain;
use edges::shutdown::{Shutdown, Stop};
use events::timeline::UnixMicros;
use stores::jetstream::{AuditStream, JetStreamError, StreamState};
use tracing::debug;

use super::pace::{Fill, Gauge, Room, room};
use crate::error::BackfillError;

/// Who tells where stream and consumer stand.
pub trait StreamWatch: Send + Sync {
    /// Reads where they stand.
    ///
    /// # Errors
    ///
    /// Returns [`JetStreamError`] if nobody answers.
    fn read_state(&self) -> impl Future<Output = Result<StreamState, JetStreamError>> + Send;

    /// Names of stream and consumer.
    fn names(&self) -> (&str, &str);
}

impl StreamWatch for AuditStream {
    async fn read_state(&self) -> Result<StreamState, JetStreamError> {
        Self::read_state(self).await
    }

    fn names(&self) -> (&str, &str) {
        (self.name(), self.consumer())
    }
}

/// Waits for the pipeline.
#[derive(Debug)]
pub(crate) struct Pacer<W> {
    watch: W,
    clock: Clock,
    gauge: Gauge,
    lag_max: u64,
    /// A pipeline that has not moved for this long counts as stuck.
    still_max: Duration,
    fill: Fill,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The condition holds.
    Enough,
    /// The user wants to stop.
    Stopped,
}

impl<W: StreamWatch> Pacer<W> {
    /// Looks at stream and consumer for the first time. `own_bytes` is the mean size of our
    /// messages.
    ///
    /// # Errors
    ///
    /// Returns [`BackfillError`] if NATS does not answer, or the consumer is not there.
    pub(crate) async fn start(
        watch: W,
        clock: Clock,
        lag_max: u64,
        own_bytes: u64,
    ) -> Result<Self, BackfillError> {
        let state = watch.read_state().await?;
        if state.consumer.is_none() {
            let (stream, consumer) = watch.names();
            let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
            return Err(BackfillError::NoConsumer { stream, consumer });
        }
        let now = clock.now();
        let mut gauge = Gauge::new(state.last, own_bytes, now);
        let fill = gauge.look(&state, now);
        Ok(Self { watch, clock, gauge, lag_max, still_max: STILL_MAX, fill })
    }

    /// What was in the pipeline at the last look.
    pub(crate) fn fill(&self) -> Fill {
        self.fill
    }

    /// How many events the pipeline has room for when it is empty.
    pub(crate) fn capacity(&self) -> u64 {
        self.fill.capacity(self.lag_max)
    }

    /// Counts events that the webhook has acknowledged.
    pub(crate) fn acknowledge(&mut self, events: u64) {
        self.gauge.acknowledge(events, self.clock.now());
    }

    /// Waits until so many events more have room.
    ///
    /// # Errors
    ///
    /// Returns [`BackfillError::Stalled`] if nothing has moved for ten minutes, and
    /// [`BackfillError::JetStream`] if NATS has not answered for as long.
    pub(crate) async fn wait_for_room(
        &mut self,
        events: u64,
        shutdown: &Shutdown,
        each: impl FnMut(Fill),
    ) -> Result<Waited, BackfillError> {
        let lag_max = self.lag_max;
        self.wait(shutdown, each, |fill| room(fill, events, lag_max) == Room::Go).await
    }

    /// Waits until nothing is on its way to the consumer, and it has acknowledged all.
    ///
    /// # Errors
    ///
    /// As [`Self::wait_for_room`].
    pub(crate) async fn wait_until_empty(
        &mut self,
        shutdown: &Shutdown,
        each: impl FnMut(Fill),
    ) -> Result<Waited, BackfillError> {
        self.wait(shutdown, each, Fill::is_empty).await
    }

    /// Looks at the pipeline until the condition holds.
    async fn wait(
        &mut self,
        shutdown: &Shutdown,
        mut each: impl FnMut(Fill),
        is_enough: impl Fn(&Fill) -> bool,
    ) -> Result<Waited, BackfillError> {
        let mut shutdown = shutdown.clone();
        let begun = self.clock.now();
        loop {
            let state = tokio::select! {
                biased;
                () = shutdown.asked(Stop::Drain) => return Ok(Waited::Stopped),
                state = self.watch.read_state() => state,
            };
            let now = self.clock.now();
            // NATS may be down for a while. That time counts as one in which nothing moves.
            let failure = match state {
                Ok(state) => {
                    self.fill = self.gauge.look(&state, now);
                    if is_enough(&self.fill) {
                        return Ok(Waited::Enough);
                    }
                    None
                }
                Err(error) => {
                    debug!(error = chain(&error), wait_us = INTERVAL_US, "asking again");
                    Some(error)
                }
            };
            if now - self.gauge.still_since().max(begun) >= micros(self.still_max) {
                return Err(failure.map_or_else(|| self.stalled(), BackfillError::JetStream));
            }
            each(self.fill);
            tokio::select! {
                () = shutdown.asked(Stop::Drain) => return Ok(Waited::Stopped),
                () = self.clock.sleep_until(now + INTERVAL_US) => {}
            }
        }
    }

    fn stalled(&self) -> BackfillError {
        let (stream, consumer) = self.watch.names();
        BackfillError::Stalled {
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            backlog: self.fill.backlog,
            lag: self.fill.lag,
            minutes: self.still_max.as_secs() / 60,
        }
    }
}

const STILL_MAX: Duration = Duration::from_mins(10);
const INTERVAL_US: UnixMicros = 200_000;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use stores::jetstream::ConsumerState;

    use super::*;

    /// A stream of 100 messages, of which 30 are read, and which cannot be asked for a while.
    #[derive(Debug, Default)]
    struct Still {
        has_no_consumer: bool,
        failures: AtomicU64,
        /// How often it is asked before all is read.
        looks: Option<AtomicU64>,
    }

    impl StreamWatch for Still {
        async fn read_state(&self) -> Result<StreamState, JetStreamError> {
            let count_down = |left: &AtomicU64| {
                left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            };
            if count_down(&self.failures).is_ok() {
                let (stream, source) = ("S".to_owned(), "timed out".into());
                return Err(JetStreamError::Read { stream, source });
            }
            let is_read = self.looks.as_ref().is_some_and(|left| count_down(left).is_err());
            let ack_floor = if is_read { 100 } else { 30 };
            let consumer =
                ConsumerState { ack_floor, pending: 100 - ack_floor, ..ConsumerState::default() };
            Ok(StreamState {
                messages: 100,
                bytes: 100_000,
                bytes_max: None,
                first: 1,
                last: 100,
                duplicate_window: Duration::from_mins(2),
                keeps_what_is_read: true,
                consumer: (!self.has_no_consumer).then_some(consumer),
            })
        }

        fn names(&self) -> (&str, &str) {
            ("S", "C")
        }
    }

    async fn pacer(watch: Still) -> Result<Pacer<Still>, BackfillError> {
        let mut pacer = Pacer::start(watch, Clock::system(), 80, 500).await?;
        pacer.still_max = Duration::from_millis(300);
        Ok(pacer)
    }

    #[tokio::test]
    async fn a_pipeline_that_does_not_move_is_told_with_consumer_and_lag() {
        let (_stop, shutdown) = Shutdown::manual();
        let mut pacer = pacer(Still::default()).await.unwrap();
        let waited = pacer.wait_for_room(10, &shutdown, |_| {}).await;
        assert_eq!(waited.unwrap(), Waited::Enough, "70 and 10 are 80");
        let mut looks = 0;
        let error = pacer.wait_for_room(11, &shutdown, |_| looks += 1).await.unwrap_err();
        let message = error.to_string();
        assert!(message.contains("70 messages wait for the consumer C"), "{message}");
        assert!(looks >= 2, "{looks}");
    }

    #[tokio::test]
    async fn a_wait_outlasts_a_server_that_is_away_for_a_while() {
        let (_stop, shutdown) = Shutdown::manual();
        let mut pacer =
            pacer(Still { looks: Some(AtomicU64::new(2)), ..Still::default() }).await.unwrap();
        pacer.still_max = Duration::from_secs(30);
        pacer.watch.failures.store(2, Ordering::SeqCst);
        let waited = pacer.wait_until_empty(&shutdown, |_| {}).await;
        assert_eq!(waited.unwrap(), Waited::Enough);
        pacer.still_max = Duration::ZERO;
        pacer.watch.failures.store(9, Ordering::SeqCst);
        let error = pacer.wait_until_empty(&shutdown, |_| {}).await.unwrap_err();
        assert!(matches!(error, BackfillError::JetStream(_)), "{error}");
    }

    #[tokio::test]
    async fn a_wait_ends_when_the_user_wants_to_stop() {
        let (stop, shutdown) = Shutdown::manual();
        let mut pacer = pacer(Still::default()).await.unwrap();
        pacer.still_max = Duration::from_mins(1);
        let each = |_| {
            stop.send_replace(Stop::Drain);
        };
        assert_eq!(pacer.wait_until_empty(&shutdown, each).await.unwrap(), Waited::Stopped);
    }

    #[tokio::test]
    async fn a_consumer_that_is_not_there_is_named() {
        let error = pacer(Still { has_no_consumer: true, ..Still::default() }).await.unwrap_err();
        assert!(error.to_string().contains("the stream S has no consumer C"), "{error}");
    }
}
