//! Slows a part down to a rate. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Says when each of many events may be taken, so that they come at a rate.
#[derive(Debug)]
pub(super) struct Pace {
    /// The time for each event; zero without a limit.
    each: Duration,
    /// When the next one may be taken.
    next: Option<Instant>,
}

impl Pace {
    /// A pace of so many events a second; of 0, without a limit.
    pub(super) fn new(per_second: u32) -> Self {
        let each = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self { each, next: None }
    }

    /// Takes one event at `now`. Returns until when to wait with it, if that is worth a wait.
    ///
    /// A part that had nothing to do may then be faster for a moment, by [`CREDIT`] at most.
    pub(super) fn take(&mut self, now: Instant) -> Option<Instant> {
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        let due = self.next.map_or(now, |next| next.max(earliest));
        self.next = Some(due + self.each);
        (due > now + WORTH).then_some(due)
    }
}

const CREDIT: Duration = Duration::from_millis(50);
/// Timers are late by a millisecond; shorter waits are made up for by the next ones.
const WORTH: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// How many events are taken in a time by a part that always has some.
    fn taken(per_second: u32, time: Duration) -> u32 {
        let mut pace = Pace::new(per_second);
        let start = Instant::now();
        let (mut now, mut count) = (start, 0);
        while now < start + time && count < 1_000_000 {
            now = pace.take(now).unwrap_or(now);
            count += 1;
        }
        count
    }

    #[tokio::test]
    async fn a_busy_part_takes_events_at_its_rate() {
        for per_second in [1, 100, 2_000, 30_000] {
            let all = taken(per_second, Duration::from_secs(10));
            let expected = per_second * 10;
            let most = expected + per_second / 100 + 2;
            assert!((expected..=most).contains(&all), "{per_second}: {all}");
        }
        assert_eq!(taken(0, Duration::from_secs(1)), 1_000_000, "no limit");
    }

    #[tokio::test]
    async fn what_was_not_used_cannot_be_saved_up() {
        let mut pace = Pace::new(10);
        let now = Instant::now();
        assert_eq!(pace.take(now), None);
        let later = now + Duration::from_mins(1);
        assert_eq!(pace.take(later), None);
        assert!(pace.take(later).is_some_and(|due| due <= later + Duration::from_millis(50)));
        assert!(pace.take(later).is_some_and(|due| due >= later + Duration::from_millis(150)));
    }
}
