//! The one place that knows what time it is.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use events::timeline::UnixMicros;
use tokio::time::{Instant, Sleep};

/// A clock that starts at the machine's time and from then on only moves forward.
///
/// In tests under tokio's paused time it stands still with it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    anchor: Instant,
    anchor_unix: UnixMicros,
}

impl Clock {
    /// Starts a clock at the machine's time.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn system() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("the machine's clock is after 1970");
        Self::starting_at(micros(since_epoch))
    }

    /// Starts a clock at a given time.
    pub fn starting_at(unix: UnixMicros) -> Self {
        Self { anchor: Instant::now(), anchor_unix: unix }
    }

    /// Returns the current time.
    pub fn now(&self) -> UnixMicros {
        self.anchor_unix + micros(self.anchor.elapsed())
    }

    /// Returns the moment of the runtime's timer that corresponds to a time.
    pub fn instant_of(&self, at: UnixMicros) -> Instant {
        match u64::try_from(at - self.anchor_unix) {
            Ok(after) => self.anchor + Duration::from_micros(after),
            Err(_) => self.anchor,
        }
    }

    /// Waits until a time has come.
    pub async fn sleep_until(&self, at: UnixMicros) {
        tokio::time::sleep_until(self.instant_of(at)).await;
    }

    /// Returns an alarm, which waits for one time after another.
    pub fn alarm(&self) -> Alarm {
        let sleep = Box::pin(tokio::time::sleep_until(self.anchor));
        Alarm { clock: *self, sleep, at: self.anchor_unix }
    }
}

/// Waits for one time after another. It is cheap to stop waiting and to wait again.
///
/// The timers of the runtime are up to a millisecond late. A task that something else wakes in this
/// millisecond, and that then asks again, is told at once that the time has come.
#[derive(Debug)]
pub struct Alarm {
    clock: Clock,
    sleep: Pin<Box<Sleep>>,
    at: UnixMicros,
}

impl Alarm {
    /// Waits until a time has come; not at all, if it has.
    pub async fn wait_until(&mut self, at: UnixMicros) {
        if self.clock.now() >= at {
            return;
        }
        if at != self.at {
            self.sleep.as_mut().reset(self.clock.instant_of(at));
            self.at = at;
        }
        self.sleep.as_mut().await;
    }
}

/// Returns µs in seconds, for people.
#[expect(clippy::cast_precision_loss, reason = "a year in µs is exact in an f64")]
pub fn seconds(micros: i64) -> f64 {
    micros as f64 / 1_000_000.0
}

/// Returns µs in milliseconds, for people.
#[expect(clippy::cast_precision_loss, reason = "a year in µs is exact in an f64")]
pub fn milliseconds(micros: i64) -> f64 {
    micros as f64 / 1_000.0
}

/// Returns a duration in whole µs.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("shorter than 292,000 years")
}
