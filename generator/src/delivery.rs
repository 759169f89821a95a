//! The delivery of one batch: one attempt, or as many as an API server makes.

use std::time::Duration;

use bytes::Bytes;
use events::draw::Draw;
use events::timeline::UnixMicros;
use harness::clock::{Clock, micros};
use harness::ledger::Settlement;
use harness::plan::{Backend, SendPlan};
use harness::shutdown::{Shutdown, Stop};
use harness::webhook::{Connection, Outcome};

/// How a batch is to be delivered.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) clock: Clock,
    pub(crate) send: SendPlan,
    /// Tells the batch from others: its waits are drawn from it.
    pub(crate) key: u64,
    /// It is sent once more after it was acknowledged.
    pub(crate) is_resent: bool,
    pub(crate) shutdown: Shutdown,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    /// How the last attempt ended.
    pub(crate) outcome: Outcome,
    /// What all attempts together say: refused only if each of them was.
    pub(crate) settlement: Settlement,
    pub(crate) requests: u64,
    /// It was sent again although it was acknowledged.
    pub(crate) resent: bool,
    /// When the first attempt began.
    pub(crate) begun: UnixMicros,
    /// When the last attempt began.
    pub(crate) last_begun: UnixMicros,
    /// When the last attempt ended.
    pub(crate) ended: UnixMicros,
    /// When the connection was free again.
    pub(crate) free_at: UnixMicros,
}

#[cfg(test)]
impl Fate {
    /// One attempt that took no time.
    pub(crate) fn at_once(outcome: Outcome) -> Self {
        let settlement = outcome.settlement();
        let (begun, ended) = (0, 0);
        Self {
            outcome,
            settlement,
            requests: 1,
            resent: false,
            begun,
            last_begun: begun,
            ended,
            free_at: ended,
        }
    }
}

impl Delivery {
    /// Posts a body until it is acknowledged or given up. The user's wish to stop ends the waits
    /// between attempts.
    pub(crate) async fn run(
        mut self,
        connection: &mut Connection,
        body: &Bytes,
        begun: UnixMicros,
    ) -> Fate {
        let mut fate = self.attempt(connection, body, begun, None).await;
        if let Some(rules) = self.send.backend {
            let mut attempt = 1;
            while fate.settlement != Settlement::Acknowledged
                && attempt < rules.attempts
                && self.wait(backoff(rules, attempt, self.key)).await
            {
                let now = self.clock.now();
                fate = self.attempt(connection, body, now, Some(fate)).await;
                attempt += 1;
            }
        }
        if self.is_resent && fate.settlement == Settlement::Acknowledged {
            connection.post(body.clone(), self.deadline(self.clock.now())).await;
            fate.requests += 1;
            fate.resent = true;
            fate.free_at = self.clock.now();
        }
        fate
    }

    /// One attempt. Where a server says when to come again, an API server does so within it.
    async fn attempt(
        &mut self,
        connection: &mut Connection,
        body: &Bytes,
        begun: UnixMicros,
        before: Option<Fate>,
    ) -> Fate {
        let mut fate = self.post(connection, body, begun, before).await;
        if self.send.backend.is_none() {
            return fate;
        }
        for _ in 0..RETRIES_WITHIN_MAX {
            let Some(after) = connection.retry_after() else { break };
            if !self.wait(after).await {
                break;
            }
            fate = self.post(connection, body, self.clock.now(), Some(fate)).await;
        }
        fate
    }

    async fn post(
        &self,
        connection: &mut Connection,
        body: &Bytes,
        begun: UnixMicros,
        before: Option<Fate>,
    ) -> Fate {
        let outcome = connection.post(body.clone(), self.deadline(begun)).await;
        let ended = self.clock.now();
        let settlement = match (before.map(|fate| fate.settlement), outcome.settlement()) {
            (Some(Settlement::Unknown), Settlement::Refused) => Settlement::Unknown,
            (_, settlement) => settlement,
        };
        Fate {
            outcome,
            settlement,
            requests: before.map_or(0, |fate| fate.requests) + 1,
            resent: false,
            begun: before.map_or(begun, |fate| fate.begun),
            last_begun: begun,
            ended,
            free_at: ended,
        }
    }

    fn deadline(&self, begun: UnixMicros) -> tokio::time::Instant {
        self.clock.instant_of(begun + micros(self.send.timeout))
    }

    /// Waits, unless the user wants to stop. Says whether it is to go on.
    async fn wait(&mut self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.shutdown.asked(Stop::Drain) => false,
        }
    }
}

/// How often client-go tries again within one attempt, where the server says when.
///
/// Source: `k8s.io/client-go/rest/request.go`, `maxRetries`.
const RETRIES_WITHIN_MAX: u32 = 10;

/// Returns how long an API server waits before attempt `attempt` + 1: half as long again each
/// time, and up to a fifth longer by chance.
///
/// Source: `k8s.io/apiserver/pkg/util/webhook/webhook.go`, `DefaultRetryBackoffWithInitialDelay`.
fn backoff(rules: Backend, attempt: u32, key: u64) -> Duration {
    let initial = Duration::from_micros(rules.initial_backoff_us.unsigned_abs());
    let grown = initial * 3u32.saturating_pow(attempt - 1) / 2u32.saturating_pow(attempt - 1);
    let jitter = Draw::new(key, BACKOFF_STREAM, attempt.into()).below(200);
    grown + grown * jitter / 1_000
}

const BACKOFF_STREAM: u64 = 8 << 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_half_and_a_little() {
        let rules = Backend {
            buffer_events: 1,
            batch_events: 1,
            batch_wait_us: 1,
            throttle_us: 1,
            throttle_burst: 1,
            attempts: 5,
            initial_backoff_us: 10_000_000,
        };
        for (attempt, least_ms) in [(1, 10_000), (2, 15_000), (3, 22_500), (4, 33_750)] {
            for key in 0..50 {
                let wait = backoff(rules, attempt, key).as_millis();
                assert!((least_ms..=least_ms * 6 / 5).contains(&wait), "{attempt}: {wait}");
            }
        }
    }
}
