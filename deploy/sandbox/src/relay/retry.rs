//! How long Vector waits before it tries a request again: pure.
//!
//! Its `FibonacciRetryPolicy` (`src/sinks/util/retries.rs` of Vector 0.57), with full jitter: a
//! draw from nothing up to 1, 2, 3, 5, 8 … seconds, up to a limit.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

/// The waits of one request, the next longer than the one before.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    before: Duration,
    now: Duration,
    longest: Duration,
    draw: u64,
}

impl Backoff {
    /// The waits of a new request. `draw` decides their jitter.
    pub(super) fn new(longest: Duration, draw: u64) -> Self {
        const FIRST: Duration = Duration::from_secs(1);
        Self { before: Duration::ZERO, now: FIRST, longest, draw }
    }

    /// The next wait: at least a millisecond, at most [`Self::ceiling`].
    pub(super) fn next(&mut self) -> Duration {
        let next = (self.before + self.now).min(self.longest);
        self.before = self.now;
        self.now = next;
        self.draw = xxh3_64(&self.draw.to_le_bytes());
        let millis = u64::try_from(next.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(self.draw % millis + 1)
    }

    /// The longest that the last wait could have been.
    #[cfg(test)]
    fn ceiling(&self) -> Duration {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_as_fibonacci_has_it_up_to_the_limit() {
        let mut backoff = Backoff::new(Duration::from_mins(5), 7);
        let mut ceilings = Vec::new();
        for _ in 0..14 {
            let wait = backoff.next();
            assert!(!wait.is_zero() && wait <= backoff.ceiling(), "{wait:?}");
            ceilings.push(backoff.ceiling().as_secs());
        }
        assert_eq!(ceilings, [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 300, 300]);
    }

    #[test]
    fn no_wait_exceeds_a_small_limit_and_draws_differ() {
        let waits = |draw| {
            let mut backoff = Backoff::new(Duration::from_millis(500), draw);
            [(); 8].map(|()| backoff.next())
        };
        assert!(waits(1).iter().all(|wait| *wait <= Duration::from_millis(500)));
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1), waits(1));
    }
}
