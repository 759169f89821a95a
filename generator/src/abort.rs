//! Conditions under which a run gives up by itself. Pure.

use plans::condition::{Aggregation, Comparator, Condition};
use plans::metric::{Metric, Of, Source, Stretch};
use runs::latency::Latencies;
use runs::measured::Sent;
use runs::record::Second;
use runs::tally::Tally;

/// Reads a condition that can be asked while a run goes on.
pub(crate) fn parse_condition(text: &str) -> Result<Condition, String> {
    Condition::parse(text, Stretch::Window)
}

/// What `--help` says of the flag: the metrics, as the one list of them has them.
pub(crate) fn help() -> String {
    let rows = Metric::over(Stretch::Window).map(|metric| {
        let (name, unit) = (metric.name(), metric.measure().unit());
        format!("\n  {name:<22}{} ({unit})", metric.meaning())
    });
    format!(
        "Stops the run if this condition holds over the last {WINDOW_SECONDS} seconds; can be \
         given several times. It is a condition as in `thresholds` of a profile, with the metric \
         before it: `acknowledged rate<99%`, `due_to_acknowledged p(95)>10s` or `lateness \
         max>1s`. Metrics are:\n{}\n\nAn event that was not acknowledged counts as slower than all \
         acknowledged ones. Times have p(95), min, avg, med and max; events have rate and count.",
        rows.collect::<String>()
    )
}

/// Watches a run for its conditions.
#[derive(Debug)]
pub struct Watchdog {
    conditions: Vec<Condition>,
    /// The last seconds, and the latencies of each.
    recent: Vec<Second>,
    latencies: Vec<Latencies>,
    pub(crate) tripped: Option<String>,
}

impl Watchdog {
    pub fn new(conditions: Vec<Condition>) -> Self {
        Self { conditions, recent: Vec::new(), latencies: Vec::new(), tripped: None }
    }

    /// Takes in a second. Says whether the run is to be given up: from the tenth second on, when a
    /// condition holds over the last ten.
    pub(crate) fn watch(&mut self, second: &Second, tally: &Tally) -> bool {
        if self.conditions.is_empty() || self.tripped.is_some() {
            return false;
        }
        self.recent.push(second.clone());
        self.latencies.push(tally.latencies());
        if self.recent.len() < WINDOW_SECONDS {
            return false;
        }
        self.recent.drain(..self.recent.len() - WINDOW_SECONDS);
        self.latencies.drain(..self.latencies.len() - WINDOW_SECONDS);
        let latencies = self.all_latencies();
        let sent = self.sent(&latencies);
        let tripped = self.conditions.iter().find(|condition| trips(condition, &sent));
        self.tripped = tripped.map(ToString::to_string);
        self.tripped.is_some()
    }

    fn all_latencies(&self) -> Latencies {
        let mut all = Latencies::new();
        self.latencies.iter().for_each(|of_second| all.add(of_second));
        all
    }

    /// What the window says: thresholds measure a whole run by the same.
    fn sent<'a>(&'a self, latencies: &'a Latencies) -> Sent<'a> {
        Sent { latencies: Some(latencies), seconds: &self.recent, exact: Vec::new() }
    }
}

/// Whether a condition holds over a window. It does not where nothing has ended in it.
fn trips(condition: &Condition, sent: &Sent<'_>) -> bool {
    let Condition { metric, aggregation, .. } = condition;
    let needs_answers = matches!(metric.source(), Source::Latency | Source::Events(Of::Attempted));
    if needs_answers && sent.ended() == 0 {
        return false;
    }
    is_unanswered(condition, sent)
        || sent.measure(metric, *aggregation).is_some_and(|value| condition.holds(value))
}

/// Whether a limit to latency is passed by what was not acknowledged. That has taken longer than
/// anything that was: a webhook that does not answer must not pass for a quick one.
fn is_unanswered(condition: &Condition, sent: &Sent<'_>) -> bool {
    let is_limit = matches!(condition.comparator, Comparator::Above | Comparator::AtLeast);
    let ends_with_answer =
        matches!(condition.metric, Metric::SentToAcknowledged | Metric::DueToAcknowledged);
    // As large a share of all as must be acknowledged for what is measured to be among them.
    let needed = match condition.aggregation {
        Aggregation::Percentile(percent) => percent / 100.0,
        Aggregation::Median => 0.5,
        Aggregation::Max | Aggregation::Average => 1.0,
        Aggregation::Min | Aggregation::Rate | Aggregation::Count => return false,
    };
    let taken = sent.measure(&Metric::Acknowledged, Aggregation::Rate);
    // A share that is just enough may be a digit less in binary.
    is_limit && ends_with_answer && taken.is_some_and(|taken| taken < needed - 1e-9)
}

const WINDOW_SECONDS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{BUSY, OK, tally};

    /// Gives a watchdog forty seconds, of which some from the twelfth on are bad.
    #[track_caller]
    fn check(condition: &str, bad_seconds: usize, expected_at: Option<usize>) {
        let mut watchdog = Watchdog::new(vec![parse_condition(condition).unwrap()]);
        let seconds = (0..40).position(|second| {
            let outcome = if (12..12 + bad_seconds).contains(&second) { BUSY } else { OK };
            let tally = tally(&[(0, 100, outcome)]);
            watchdog.watch(&Second::new(0, 100, &tally), &tally)
        });
        assert_eq!(seconds, expected_at, "{condition}");
    }

    #[test]
    fn a_run_is_given_up_when_ten_seconds_together_are_bad() {
        check("acknowledged rate<99%", 0, None);
        check("acknowledged rate<99%", 1, Some(12));
        check("acknowledged rate<75%", 2, None);
        check("acknowledged rate<75%", 3, Some(14));
        check("unknown rate>50%", 20, Some(17));
        check("unknown count>=200", 2, Some(13));
        check("refused count>0", 20, None);
        check("lateness max>0ms", 20, None);
    }

    #[test]
    fn each_latency_is_the_one_that_is_named() {
        check("due_to_sent p(99)>1ms", 0, Some(9));
        check("due_to_sent p(99)>2ms", 0, None);
        check("sent_to_acknowledged p(99)>6ms", 0, Some(9));
        check("sent_to_acknowledged p(99)>8ms", 0, None);
        check("due_to_acknowledged p(99)>8ms", 0, Some(9));
        check("due_to_acknowledged p(99)>9ms", 0, None);
    }

    #[test]
    fn what_is_not_acknowledged_is_slower_than_what_is() {
        check("due_to_acknowledged p(99)>1h", 1, Some(12));
        check("sent_to_acknowledged p(85)>=1h", 1, None);
        check("sent_to_acknowledged p(85)>=1h", 2, Some(13));
        check("due_to_acknowledged med>1h", 20, Some(17));
        check("due_to_acknowledged max>1h", 1, Some(12));
        check("due_to_sent max>1h", 20, None);
        check("due_to_acknowledged p(99)<1ms", 20, None);
    }

    #[test]
    fn earlier_spellings_give_a_run_up_as_before() {
        check("acknowledged_rate<99%", 1, Some(12));
        check("unknown_rate>50%", 20, Some(17));
        check("lateness>1h", 20, None);
        let message = parse_condition("p95>10s").unwrap_err();
        assert!(message.contains("write due_to_acknowledged p(95)>10s"), "{message}");
    }

    #[test]
    fn a_window_is_measured_as_a_run_is() {
        let mut watchdog = Watchdog::new(vec![parse_condition("unknown count>100000").unwrap()]);
        let mut run = Tally::new(1);
        let mut seconds = Vec::new();
        for second in 0..WINDOW_SECONDS {
            let outcome = if second % 3 == 0 { BUSY } else { OK };
            let tally = tally(&[(0, 100, outcome), (1, 7, OK)]);
            seconds.push(Second::new(0, 110, &tally));
            watchdog.watch(&seconds[second], &tally);
            run.add(&tally);
        }
        let (all, events, latencies) = (run.latencies(), run.events, watchdog.all_latencies());
        let window = watchdog.sent(&latencies);
        let exact = vec![
            (Metric::Acknowledged, Some(events.acknowledged)),
            (Metric::Unknown, Some(events.unknown)),
        ];
        let run = Sent { latencies: Some(&all), seconds: &seconds, exact };
        for metric in Metric::over(Stretch::Window) {
            use Aggregation::{Average, Count, Max, Median, Min, Percentile, Rate};
            for aggregation in [Percentile(95.0), Min, Average, Median, Max, Rate, Count] {
                let found = window.measure(&metric, aggregation);
                assert_eq!(found, run.measure(&metric, aggregation), "{metric} {aggregation}");
            }
        }
    }

    #[test]
    fn the_help_names_what_can_be_asked_and_nothing_else() {
        let help = help();
        for metric in Metric::ALL {
            let is_named = help.contains(&format!("\n  {} ", metric.name()));
            assert_eq!(is_named, metric.is_known_over(Stretch::Window), "{metric}");
        }
    }
}
