//! When a watch is over. Pure, but for the question whether a summary is there.

use std::time::Duration;

use edges::clock::micros;
use events::timeline::UnixMicros;
use plans::plan::Plan;
use plans::spec::Span;
use runs::observation::Observation;
use runs::run_dir::RunDir;

use super::view::Phase;

/// What ends a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndingOptions {
    /// It ends then, whatever the run does.
    pub until: Option<UnixMicros>,
    /// How long it waits, once the run is over.
    pub linger: Duration,
    /// It waits until the pipeline is still, too.
    pub until_still: bool,
}

/// Follows a run to its end.
#[derive(Debug)]
pub(crate) struct Ending {
    options: EndingOptions,
    plan_end: UnixMicros,
    closed_at: Option<UnixMicros>,
    /// When a timeline last grew: someone still sends, or waits for answers.
    grown: (u64, UnixMicros),
    /// Since when the pipeline has been still.
    still_since: Option<UnixMicros>,
    rows: Option<u64>,
    asked_at: UnixMicros,
}

impl Ending {
    pub(crate) fn new(plan: &Plan, options: EndingOptions) -> Self {
        Self {
            options,
            plan_end: plan.end,
            closed_at: None,
            grown: (0, plan.end),
            still_since: None,
            rows: None,
            asked_at: UnixMicros::MIN,
        }
    }

    /// Takes in a look, and how many bytes of timelines there are.
    pub(crate) fn see(&mut self, observation: &Observation, timeline_bytes: u64) {
        let now = observation.at.0;
        if timeline_bytes > self.grown.0 {
            self.grown = (timeline_bytes, now.max(self.plan_end));
        }
        let Some(table) = observation.table else {
            self.still_since = None;
            return;
        };
        let consumer = observation.stream.and_then(|stream| stream.consumer);
        let waiting = consumer.map_or(0, |consumer| consumer.pending + consumer.unacknowledged);
        if self.rows != Some(table.rows) || waiting > 0 {
            self.still_since = None;
        }
        self.rows = Some(table.rows);
        self.still_since.get_or_insert(now);
    }

    /// Whether it is worth the effort to read the ledger.
    pub(crate) fn may_be_closed(&mut self, dir: &RunDir, plan: &Plan, now: UnixMicros) -> bool {
        let pause_us = match plan.spec.span {
            Span::Live => ASK_EVERY_US,
            Span::History { .. } => ASK_LOAD_EVERY_US,
        };
        if self.closed_at.is_some() || now.saturating_sub(self.asked_at) < pause_us {
            return false;
        }
        let has_summary = |shard| dir.summary(shard).exists();
        let may_be = match plan.spec.span {
            Span::Live => (0..plan.spec.shards).all(has_summary),
            // Its loader may write no summary.
            Span::History { .. } => true,
        };
        if may_be {
            self.asked_at = now;
        }
        may_be
    }

    /// The ledger is closed: nothing more is sent.
    pub(crate) fn close(&mut self, now: UnixMicros) {
        self.closed_at.get_or_insert(now);
    }

    pub(crate) fn phase(&self) -> Phase {
        if self.closed_at.is_some() { Phase::Closed } else { Phase::Going }
    }

    /// Whether the watch is over. `is_all_visible` says it of the samples that are awaited.
    pub(crate) fn is_over(&self, now: UnixMicros, is_all_visible: bool) -> bool {
        if self.options.until.is_some_and(|until| now >= until) {
            return true;
        }
        let over_at = self.closed_at.unwrap_or(self.grown.1);
        if now >= over_at + micros(self.options.linger) {
            return true;
        }
        let is_still = self.still_since.is_some_and(|since| now - since >= STILL_US);
        self.closed_at.is_some() && is_all_visible && (is_still || !self.options.until_still)
    }
}

const ASK_EVERY_US: i64 = 5_000_000;
/// The ledger of a long load takes some time to read.
const ASK_LOAD_EVERY_US: i64 = 60_000_000;
const STILL_US: i64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::view::tests::{START, observation};

    const SECOND: i64 = 1_000_000;

    fn ending(options: EndingOptions) -> Ending {
        Ending {
            options,
            plan_end: START + 20 * SECOND,
            closed_at: None,
            grown: (0, START + 20 * SECOND),
            still_since: None,
            rows: None,
            asked_at: UnixMicros::MIN,
        }
    }

    const OPTIONS: EndingOptions =
        EndingOptions { until: None, linger: Duration::from_mins(1), until_still: false };

    #[test]
    fn a_watch_is_over_when_all_is_visible_that_a_closed_ledger_tells_of() {
        let mut ending = ending(OPTIONS);
        let at = |second: i64| START + second * SECOND;
        assert!(!ending.is_over(at(21), true), "the ledger is open");
        ending.close(at(22));
        assert!(!ending.is_over(at(23), false));
        assert!(ending.is_over(at(23), true));
        assert!(ending.is_over(at(82), false), "a minute is enough");
        assert_eq!(ending.phase(), Phase::Closed);
    }

    #[test]
    fn a_run_that_ends_without_a_word_is_waited_for_and_one_that_goes_on_longer() {
        let mut ending = ending(OPTIONS);
        let at = |second: i64| START + second * SECOND;
        assert!(!ending.is_over(at(79), true));
        assert!(ending.is_over(at(80), true));
        ending.see(&observation(70), 1_000);
        assert!(!ending.is_over(at(80), true), "it has written something lately");
        ending.see(&observation(90), 1_000);
        assert!(ending.is_over(at(130), true));
    }

    #[test]
    fn who_wants_stillness_waits_for_ten_seconds_of_it_and_never_longer_than_said() {
        let mut ending = ending(EndingOptions { until_still: true, ..OPTIONS });
        let at = |second: i64| START + second * SECOND;
        ending.close(at(20));
        let mut still = observation(21);
        still.stream = None;
        for second in 21..31 {
            assert!(!ending.is_over(at(second), true), "{second}");
            still.at.0 = at(second);
            ending.see(&still, 0);
        }
        assert!(ending.is_over(at(31), true));
        let limited = EndingOptions { until: Some(at(5)), ..OPTIONS };
        assert!(Ending { options: limited, ..ending }.is_over(at(5), false));
    }
}
