//! What the webhook has acknowledged and the stream has not taken, as far as it can be counted
//! from outside. Pure.

use events::timeline::UnixMicros;
use runs::observation::StreamSeen;
use runs::record::Second;

/// Counts what is acknowledged, as the timelines tell, against what the stream takes.
///
/// Both are counted from the first look on. Whatever else the stream takes hides a part of the
/// backlog: there is at least as much as is counted.
#[derive(Debug)]
pub(crate) struct Backlog {
    plan_start: UnixMicros,
    /// By timeline.
    timelines: Vec<Timeline>,
    acknowledged: u64,
    begun: Option<Begun>,
}

/// How far a timeline is known.
#[derive(Debug, Clone, Copy, Default)]
struct Timeline {
    /// When its last second ended.
    ended: Option<UnixMicros>,
    /// The next second may have begun before the first look.
    is_behind: bool,
}

/// The first look.
#[derive(Debug, Clone, Copy)]
struct Begun {
    at: UnixMicros,
    /// Sequence number of the last message that the stream had taken.
    first: u64,
    last: u64,
}

impl Backlog {
    pub(crate) fn new(plan_start: UnixMicros, timelines: u32) -> Self {
        let timelines = (0..timelines).map(|_| Timeline::default()).collect();
        Self { plan_start, timelines, acknowledged: 0, begun: None }
    }

    /// Takes in the next second of a timeline.
    pub(crate) fn take(&mut self, timeline: usize, second: &Second) {
        let Some(timeline) = self.timelines.get_mut(timeline) else { return };
        let from = timeline.ended.replace(second.at.0).unwrap_or(self.plan_start);
        let is_whole = !std::mem::take(&mut timeline.is_behind);
        if is_whole && self.begun.is_some_and(|begun| from >= begun.at) {
            self.acknowledged += second.acknowledged;
        }
    }

    /// Takes in a look at the stream, and returns how large the backlog is at the least; `None` if
    /// the stream did not answer. All seconds that were taken in so far had ended by the look.
    pub(crate) fn see(&mut self, at: UnixMicros, stream: Option<&StreamSeen>) -> Option<u64> {
        let last = stream?.last;
        match &mut self.begun {
            Some(begun) if begun.last <= last => {
                begun.last = last;
                Some(self.acknowledged.saturating_sub(last - begun.first))
            }
            // The first look, or one at a stream that was made anew.
            _ => {
                self.begun = Some(Begun { at, first: last, last });
                self.acknowledged = 0;
                // Before the run, nothing was acknowledged.
                let is_behind = at >= self.plan_start;
                self.timelines.iter_mut().for_each(|timeline| timeline.is_behind = is_behind);
                (!is_behind).then_some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use runs::tally::Tally;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn second(at: i64, acknowledged: u64) -> Second {
        let mut tally = Tally::new(1);
        tally.events.acknowledged = acknowledged;
        Second::new(at * SECOND, acknowledged, &tally)
    }

    fn stream(last: u64) -> StreamSeen {
        StreamSeen { last, ..StreamSeen::default() }
    }

    #[test]
    fn what_is_acknowledged_and_not_taken_is_the_backlog() {
        let mut backlog = Backlog::new(10 * SECOND, 2);
        // Other runs have filled the stream before.
        assert_eq!(backlog.see(9 * SECOND, Some(&stream(500))), Some(0));
        backlog.take(0, &second(11, 100));
        backlog.take(1, &second(11, 50));
        assert_eq!(backlog.see(11 * SECOND, Some(&stream(510))), Some(140));
        assert_eq!(backlog.see(12 * SECOND, None), None, "NATS is away");
        backlog.take(0, &second(13, 1_000));
        assert_eq!(backlog.see(13 * SECOND, Some(&stream(510))), Some(1_140));
        assert_eq!(backlog.see(14 * SECOND, Some(&stream(1_650))), Some(0));
        assert_eq!(backlog.see(15 * SECOND, Some(&stream(9_000))), Some(0), "others write too");
    }

    #[test]
    fn a_watch_that_comes_late_counts_only_what_it_can_compare() {
        let mut backlog = Backlog::new(0, 1);
        for at in 1..=5 {
            backlog.take(0, &second(at, 100));
        }
        assert_eq!(backlog.see(5 * SECOND + 300_000, Some(&stream(40))), None);
        // This one began before the look: some of it the stream had taken by then.
        backlog.take(0, &second(6, 100));
        backlog.take(0, &second(7, 100));
        assert_eq!(backlog.see(7 * SECOND, Some(&stream(41))), Some(99));
        // It was made anew.
        assert_eq!(backlog.see(8 * SECOND, Some(&stream(0))), None);
        backlog.take(0, &second(8, 100));
        backlog.take(0, &second(9, 7));
        assert_eq!(backlog.see(9 * SECOND, Some(&stream(0))), Some(7));
    }

    #[test]
    fn what_may_have_been_acknowledged_before_the_first_look_is_not_counted() {
        let at = 5 * SECOND + 300_000;
        let mut ahead = Backlog::new(0, 1);
        (1..=8).for_each(|at| ahead.take(0, &second(at, 100)));
        assert_eq!(ahead.see(at, Some(&stream(40))), None);
        ahead.take(0, &second(9, 100));
        ahead.take(0, &second(10, 7));
        assert_eq!(ahead.see(10 * SECOND, Some(&stream(40))), Some(7), "its clock is ahead");
        let mut long = Backlog::new(0, 1);
        assert_eq!(long.see(at, Some(&stream(40))), None);
        (1..=7).for_each(|at| long.take(0, &second(at, 100)));
        assert_eq!(long.see(7 * SECOND, Some(&stream(40))), Some(100), "it is read bit by bit");
    }
}
