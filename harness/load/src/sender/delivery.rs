//! The delivery of one batch: one attempt, or as many as an API server makes. Pure.

use std::time::Duration;

use events::draw::Draw;
use events::timeline::UnixMicros;

use edges::clock::micros;
use plans::plan::Backend;
use runs::ledger::Settlement;
use runs::outcome::Outcome;
use runs::tally::Ended;

/// The attempts to deliver a batch, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// When its first request was begun.
    pub(crate) begun: UnixMicros,
    pub(crate) requests: u64,
    /// A request of it has ended without an answer that settles it.
    is_unknown: bool,
    /// The target has refused one.
    is_refused: bool,
    /// Attempts that are over.
    over: u32,
    /// When the present attempt must be over, with all requests and waits in it.
    attempt_ends: UnixMicros,
    /// Requests of this attempt that the server answered with a time to try again.
    sent_away: u32,
}

/// A request that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) outcome: Outcome,
    /// How long the server wants one to wait before the next request.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) begun: UnixMicros,
    pub(crate) ended: UnixMicros,
}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is sent again at that moment.
    Again {
        at: UnixMicros,
    },
    Over(Delivered),
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) how: Ended,
    pub(crate) requests: u64,
    /// When the first request was begun.
    pub(crate) begun: UnixMicros,
    /// When the last request was begun.
    pub(crate) last_begun: UnixMicros,
    /// When the last request ended.
    pub(crate) ended: UnixMicros,
}

impl Attempts {
    pub(crate) fn new(begun: UnixMicros, timeout: Duration) -> Self {
        let attempt_ends = begun + micros(timeout);
        Self {
            begun,
            requests: 0,
            is_unknown: false,
            is_refused: false,
            over: 0,
            attempt_ends,
            sent_away: 0,
        }
    }

    /// When the next request must be over, if it is begun now.
    pub(crate) fn deadline(&mut self, now: UnixMicros, timeout: Duration) -> UnixMicros {
        if self.sent_away == 0 {
            self.attempt_ends = now + micros(timeout);
        }
        self.attempt_ends
    }

    /// Decides what follows from a request. `key` identifies the batch; its waits are drawn from
    /// it. Without rules, nothing is sent again.
    pub(crate) fn after(&mut self, request: Request, rules: Option<Backend>, key: u64) -> Next {
        self.requests += 1;
        let settlement = request.outcome.settlement();
        self.is_unknown |= settlement == Settlement::Unknown;
        self.is_refused |= settlement == Settlement::Refused;
        if let Some(rules) = rules.filter(|_| settlement != Settlement::Acknowledged) {
            // If the server says when to try again, the attempt goes on then.
            let again = request.ended + request.retry_after.map_or(0, micros);
            let in_time = again < self.attempt_ends && self.sent_away < SENT_AWAY_MAX;
            if request.retry_after.is_some() && in_time {
                self.sent_away += 1;
                return Next::Again { at: again };
            }
            self.over += 1;
            self.sent_away = 0;
            if self.over < rules.attempts {
                let wait = micros(backoff(rules, self.over, key));
                return Next::Again { at: request.ended + wait };
            }
        }
        Next::Over(self.given_up(request))
    }

    /// The outcome of the batch, if it is not sent again.
    pub(crate) fn given_up(&self, last: Request) -> Delivered {
        let settlement = match last.outcome.settlement() {
            // An earlier request may have arrived, whatever happened to the last one.
            Settlement::Refused | Settlement::Unsent if self.is_unknown => Settlement::Unknown,
            Settlement::Unsent if self.is_refused => Settlement::Refused,
            settlement => settlement,
        };
        Delivered {
            how: Ended { outcome: last.outcome, settlement },
            requests: self.requests,
            begun: self.begun,
            last_begun: last.begun,
            ended: last.ended,
        }
    }
}

/// How often client-go tries again within one attempt, if the server says when.
///
/// Source: `k8s.io/client-go/rest/request.go`, `maxRetries`.
const SENT_AWAY_MAX: u32 = 10;

/// Returns how long an API server waits after attempt `attempt`: half as long again each time, and
/// up to a fifth longer by chance.
///
/// Source: `k8s.io/apiserver/pkg/util/webhook/webhook.go`, `DefaultRetryBackoffWithInitialDelay`.
fn backoff(rules: Backend, attempt: u32, key: u64) -> Duration {
    let initial = Duration::from_micros(rules.initial_backoff_us.unsigned_abs());
    let grown = (1..attempt).fold(initial, |wait, _| wait * 3 / 2);
    let jitter = Draw::new(key, BACKOFF_STREAM, attempt.into()).below(200);
    grown + grown * jitter / 1_000
}

const BACKOFF_STREAM: u64 = 8 << 32;

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;
    use runs::outcome::Want;

    const RULES: Backend = Backend {
        buffer_events: 1,
        batch_events: 1,
        batch_wait_us: 1,
        throttle_us: 1,
        throttle_burst: 1,
        attempts: 5,
        initial_backoff_us: 10_000_000,
    };
    const TIMEOUT: Duration = Duration::from_secs(30);

    fn request(status: StatusCode, at_s: i64, retry_after_s: Option<u64>) -> Request {
        Request {
            outcome: Outcome::Answered(status),
            retry_after: retry_after_s.map(Duration::from_secs),
            begun: at_s * 1_000_000,
            ended: at_s * 1_000_000,
        }
    }

    #[test]
    fn waits_grow_by_half_and_a_little() {
        for (attempt, least_ms) in [(1, 10_000), (2, 15_000), (3, 22_500), (4, 33_750)] {
            for key in 0..50 {
                let wait = backoff(RULES, attempt, key).as_millis();
                assert!((least_ms..=least_ms * 6 / 5).contains(&wait), "{attempt}: {wait}");
            }
        }
    }

    #[test]
    fn five_attempts_are_made_and_one_unknown_among_refusals_leaves_it_unknown() {
        let mut attempts = Attempts::new(0, TIMEOUT);
        let mut requests = 0;
        let fate = loop {
            let status =
                if requests == 2 { StatusCode::BAD_GATEWAY } else { StatusCode::NOT_FOUND };
            requests += 1;
            match attempts.after(request(status, 0, None), Some(RULES), 1) {
                Next::Again { .. } => {}
                Next::Over(fate) => break fate,
            }
        };
        assert_eq!((fate.requests, fate.how.settlement), (5, Settlement::Unknown));
        let mut direct = Attempts::new(0, TIMEOUT);
        let next = direct.after(request(StatusCode::NOT_FOUND, 0, None), None, 1);
        assert!(matches!(next, Next::Over(it) if it.how.settlement == Settlement::Refused));
    }

    #[test]
    fn what_all_requests_of_a_batch_say_together() {
        const UNSENT: Outcome = Outcome::NotTried(Want::Files);
        const REFUSED: Outcome = Outcome::NotConnected;
        const UNKNOWN: Outcome = Outcome::TimedOut;
        const TAKEN: Outcome = Outcome::Answered(StatusCode::OK);
        let check = |outcomes: &[Outcome], expected| {
            let mut attempts = Attempts::new(0, TIMEOUT);
            let mut last = request(StatusCode::OK, 0, None);
            for outcome in outcomes {
                last.outcome = *outcome;
                attempts.after(last, None, 1);
            }
            assert_eq!(attempts.given_up(last).how.settlement, expected, "{outcomes:?}");
        };
        check(&[UNSENT], Settlement::Unsent);
        check(&[UNSENT, UNSENT], Settlement::Unsent);
        check(&[UNSENT, REFUSED], Settlement::Refused);
        check(&[REFUSED, UNSENT], Settlement::Refused);
        check(&[UNKNOWN, UNSENT], Settlement::Unknown);
        check(&[UNKNOWN, REFUSED], Settlement::Unknown);
        check(&[UNSENT, UNKNOWN], Settlement::Unknown);
        check(&[REFUSED, UNKNOWN, UNSENT], Settlement::Unknown);
        check(&[UNSENT, REFUSED, UNKNOWN, TAKEN], Settlement::Acknowledged);
    }

    #[test]
    fn a_server_is_obeyed_until_the_attempt_times_out() {
        let mut attempts = Attempts::new(0, TIMEOUT);
        assert_eq!(attempts.deadline(0, TIMEOUT), 30_000_000);
        let busy = |at_s| request(StatusCode::TOO_MANY_REQUESTS, at_s, Some(20));
        let next = attempts.after(busy(1), Some(RULES), 1);
        assert_eq!(next, Next::Again { at: 21_000_000 });
        // The second request has only what is left, and the next wait would be too long.
        assert_eq!(attempts.deadline(21_000_000, TIMEOUT), 30_000_000);
        let Next::Again { at } = attempts.after(busy(22), Some(RULES), 1) else { panic!("over") };
        assert!(at >= 32_000_000, "{at}: a new attempt, after its backoff");
        assert_eq!(attempts.deadline(at, TIMEOUT), at + 30_000_000);
    }
}
