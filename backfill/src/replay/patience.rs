//! How long one waits for a webhook that refuses events. Pure.

use std::time::Duration;

use edges::clock::micros;
use events::timeline::UnixMicros;
use load::sender::ListEnd;
use runs::ledger::Settlement;
use runs::outcome::Outcome;

use crate::error::BackfillError;

/// How long one waits for a webhook that refuses events.
#[derive(Debug)]
pub(crate) struct Patience {
    /// When it last took something.
    since: UnixMicros,
    wait: Duration,
}

impl Patience {
    pub(crate) fn new(now: UnixMicros) -> Self {
        Self { since: now, wait: BACKOFF_MIN }
    }

    /// Returns how long to wait before what was refused is sent again.
    pub(crate) fn after(
        &mut self,
        end: &ListEnd,
        now: UnixMicros,
    ) -> Result<Duration, BackfillError> {
        if !end.acknowledged.is_empty() {
            *self = Self::new(now);
        }
        if now - self.since >= micros(REFUSED_MAX) {
            let is_refusal =
                |it: &Outcome| matches!(it.settlement(), Settlement::Refused | Settlement::Unsent);
            let outcome = end.tally.outcomes.keys().copied().find(is_refusal);
            let hint = outcome.and_then(|it| it.hint(end.tally.location.as_deref()));
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            return Err(BackfillError::Refused {
                events: end.refused.count() + end.unsent.count(),
                minutes: REFUSED_MAX.as_secs() / 60,
                outcome: outcome.map(Outcome::name).unwrap_or_default() + &hint,
            });
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(BACKOFF_MAX);
        Ok(wait)
    }
}

const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
const REFUSED_MAX: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use events::identity::TenantIndex;
    use runs::ranges::TenantRanges;
    use runs::tally::Tally;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn end(acknowledged: u64) -> ListEnd {
        let set = |count| {
            let mut set = TenantRanges::new();
            set.insert(TenantIndex(0), 0..count);
            set
        };
        let mut tally = Tally::new(1);
        tally.outcomes.insert(Outcome::NotConnected, 7);
        ListEnd {
            tally,
            acknowledged: set(acknowledged),
            refused: set(7),
            unsent: set(0),
            unknown: set(0),
            not_begun: set(0),
        }
    }

    #[test]
    fn waits_double_up_to_a_limit_and_begin_anew_when_something_is_taken() {
        let mut patience = Patience::new(0);
        let mut wait = |acknowledged| {
            patience.after(&end(acknowledged), SECOND).ok().map(|wait| wait.as_secs())
        };
        let waits: Vec<_> = (0..7).map_while(|_| wait(0)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!((wait(1), wait(0)), (Some(1), Some(2)));
    }

    #[test]
    fn patience_ends_after_minutes_in_which_nothing_was_taken() {
        let mut patience = Patience::new(0);
        assert!(patience.after(&end(0), 299 * SECOND).is_ok());
        assert!(patience.after(&end(1), 301 * SECOND).is_ok());
        assert!(patience.after(&end(0), 600 * SECOND).is_ok());
        let error = patience.after(&end(0), 601 * SECOND).unwrap_err().to_string();
        assert!(error.contains("refuses 7 events (not connected; is the target up?)"), "{error}");
    }
}
