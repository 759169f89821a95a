//! A lane of load of any kind: it waits until a request is due, begins it over a free connection,
//! and settles its outcome.
//!
//! The model is open: requests that are due do not wait for the answers to others. If no connection
//! is free, a request is begun later, and its latency still counts from when it was due.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;

use edges::clock::{Alarm, Clock};
use edges::shutdown::{Shutdown, Stop};
use events::timeline::UnixMicros;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use runs::latency::{Latencies, record, record_many};
use runs::tally::Tally;

/// A kind of load: what it sends, how it understands an answer, and what it records.
pub trait Load {
    /// What carries one request at a time: a connection, with its buffers.
    type Carrier;
    /// A request that is ready to leave.
    type Order;
    /// A request that has ended.
    type Ended;

    /// When the next request is to be begun; `None` if none is left.
    fn next_at(&self) -> Option<UnixMicros>;

    /// Waits until everything that is due until then may leave.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if that cannot happen: then nothing is sent.
    fn permit(&self, until: UnixMicros) -> impl Future<Output = io::Result<()>> + Send;

    /// Makes the next request, and counts it as begun. It is due by `now`, and permitted.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if it must not be sent.
    fn begin(&mut self, free: Free<Self::Carrier>, now: UnixMicros) -> io::Result<Self::Order>;

    /// Sends a request, and waits for its answer or its deadline.
    fn send(order: Self::Order) -> impl Future<Output = Self::Ended> + Send;

    /// Records the outcome of a request, and returns its carrier, which has been free since the
    /// answer. The time that recording takes is ours, not the target's.
    fn settle(&mut self, ended: Self::Ended) -> Free<Self::Carrier>;

    /// Settles all requests that wait to be sent again. Nothing more is begun.
    fn give_up(&mut self);
}

/// A carrier that is free.
#[derive(Debug)]
pub struct Free<C> {
    pub carrier: C,
    pub since: UnixMicros,
}

/// Sends all of a load. Ends when it is sent and settled, or when asked to stop. Returns the
/// carriers that are free then.
///
/// # Errors
///
/// Returns the operating system's error if the load may not go on.
pub async fn drive<L: Load>(
    load: &mut L,
    carriers: Vec<L::Carrier>,
    clock: Clock,
    mut shutdown: Shutdown,
) -> io::Result<Vec<L::Carrier>> {
    // They take turns, so that every address of the target has its share.
    let mut free: VecDeque<Free<L::Carrier>> =
        carriers.into_iter().map(|carrier| Free { carrier, since: 0 }).collect();
    let mut in_flight = FuturesUnordered::new();
    // Both waits go on from turn to turn: to begin them anew takes locks each time.
    let mut alarm = clock.alarm();
    let mut leaving = shutdown.clone();
    let mut drain_asked = pin!(shutdown.asked(Stop::Drain));
    loop {
        let next = load.next_at();
        if next.is_none() && in_flight.is_empty() {
            break;
        }
        let next_at = next.unwrap_or(UnixMicros::MAX);
        tokio::select! {
            biased;
            () = &mut drain_asked => break,
            Some(ended) = in_flight.next() => free.push_back(load.settle(ended)),
            now = wait_until(load, clock, &mut alarm, next_at),
                if next.is_some() && !free.is_empty() =>
            {
                let free = free.pop_front().expect("one is free");
                in_flight.push(L::send(load.begin(free, now?)?));
            }
        }
    }
    load.give_up();
    let drain = async {
        while let Some(ended) = in_flight.next().await {
            free.push_back(load.settle(ended));
            load.give_up();
        }
    };
    tokio::select! {
        () = drain => {}
        // A request in flight has begun and has no outcome, so it is unknown.
        () = leaving.asked(Stop::Now) => {}
    }
    Ok(free.into_iter().map(|free| free.carrier).collect())
}

/// Waits until the next request is due and may leave. Returns the time.
async fn wait_until(
    load: &impl Load,
    clock: Clock,
    alarm: &mut Alarm,
    next_at: UnixMicros,
) -> io::Result<UnixMicros> {
    alarm.wait_until(next_at).await;
    let now = clock.now().max(next_at);
    load.permit(now).await?;
    Ok(now)
}

/// Why a request was begun when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// When it should have begun.
    pub due: UnixMicros,
    /// Since when its carrier was free.
    pub free_since: UnixMicros,
    pub begun: UnixMicros,
}

impl Departure {
    /// Counts how long the request waited for us, which makes a run saturated, and how long it
    /// waited for the target, until a carrier was free.
    pub fn count(self, tally: &mut Tally) {
        let could_begin = self.due.max(self.free_since);
        tally.lateness_max_us = tally.lateness_max_us.max(self.begun - could_begin);
        tally.blocked_max_us = tally.blocked_max_us.max(could_begin - self.due);
    }
}

/// A journey that is over: of one request, or of several for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Journey {
    /// When the first request was begun.
    pub begun: UnixMicros,
    /// When the last request was begun.
    pub last_begun: UnixMicros,
    pub ended: UnixMicros,
    pub is_acknowledged: bool,
}

impl Journey {
    /// Records the three latencies of all events that it carried. Each event was due at its own
    /// time.
    pub fn record(self, due: &[UnixMicros], latencies: &mut Latencies) {
        for due in due {
            record(&mut latencies.due_to_sent, self.begun - due);
            if self.is_acknowledged {
                record(&mut latencies.due_to_acknowledged, self.ended - due);
            }
        }
        if self.is_acknowledged {
            let took = self.ended - self.last_begun;
            record_many(&mut latencies.sent_to_acknowledged, took, due.len() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edges::clock::micros;

    use super::*;

    /// A load that takes some time for each of its requests, which are all due at once.
    struct Slow {
        clock: Clock,
        due: VecDeque<UnixMicros>,
        takes: Duration,
        permitted: std::sync::Mutex<UnixMicros>,
        given_up: u32,
        tally: Tally,
        latencies: Latencies,
    }

    impl Slow {
        fn new(clock: Clock, requests: usize, takes: Duration) -> Self {
            let due = std::iter::repeat_n(clock.now(), requests).collect();
            let (tally, latencies) = (Tally::new(1), Latencies::new());
            Self { clock, due, takes, permitted: 0.into(), given_up: 0, tally, latencies }
        }
    }

    struct Order {
        due: UnixMicros,
        begun: UnixMicros,
        clock: Clock,
        takes: Duration,
    }

    impl Load for Slow {
        type Carrier = ();
        type Order = Order;
        type Ended = Order;

        fn next_at(&self) -> Option<UnixMicros> {
            self.due.front().copied()
        }

        async fn permit(&self, until: UnixMicros) -> io::Result<()> {
            *self.permitted.lock().unwrap() = until;
            Ok(())
        }

        fn begin(&mut self, free: Free<()>, now: UnixMicros) -> io::Result<Order> {
            let due = self.due.pop_front().unwrap();
            assert!(due <= now && now <= *self.permitted.lock().unwrap());
            let begun = self.clock.now();
            Departure { due, free_since: free.since, begun }.count(&mut self.tally);
            Ok(Order { due, begun, clock: self.clock, takes: self.takes })
        }

        async fn send(order: Order) -> Order {
            order.clock.sleep_until(order.begun + micros(order.takes)).await;
            order
        }

        fn settle(&mut self, order: Order) -> Free<()> {
            let (ended, begun) = (self.clock.now(), order.begun);
            Journey { begun, last_begun: begun, ended, is_acknowledged: true }
                .record(&[order.due], &mut self.latencies);
            Free { carrier: (), since: ended }
        }

        fn give_up(&mut self) {
            self.given_up += 1;
        }
    }

    #[tokio::test]
    async fn latencies_count_from_when_a_request_was_due_and_waits_are_told_apart() {
        const TAKES: Duration = Duration::from_millis(40);
        let mut load = Slow::new(Clock::system(), 3, TAKES);
        let (_stop, shutdown) = Shutdown::manual();
        let clock = load.clock;
        let carriers = drive(&mut load, vec![()], clock, shutdown).await.unwrap();
        assert_eq!(carriers.len(), 1);
        let took = u64::try_from(micros(TAKES)).unwrap();
        // The third waited for the two before it, which its own request knows nothing of.
        assert!(load.latencies.due_to_acknowledged.max() >= 3 * took);
        assert!(load.latencies.due_to_sent.max() >= 2 * took);
        assert!(load.latencies.sent_to_acknowledged.min() >= took);
        assert_eq!(load.latencies.sent_to_acknowledged.len(), 3);
        let blocked = u64::try_from(load.tally.blocked_max_us).unwrap();
        assert!(blocked >= 2 * took, "it waited for the target, for {blocked} µs");
        assert!(load.tally.lateness_max_us < load.tally.blocked_max_us);
    }

    #[tokio::test]
    async fn a_load_that_is_stopped_begins_nothing_more_and_settles_what_is_on_its_way() {
        let mut load = Slow::new(Clock::system(), 5, Duration::from_millis(20));
        let (stop, shutdown) = Shutdown::manual();
        stop.send_replace(Stop::Drain);
        let clock = load.clock;
        assert_eq!(drive(&mut load, vec![(), ()], clock, shutdown).await.unwrap().len(), 2);
        assert_eq!((load.due.len(), load.given_up), (5, 1));
        assert_eq!(load.latencies.due_to_sent.len(), 0);
    }
}
