//! Conditions under which a run gives up by itself. Pure.

use plans::condition::{Aggregation, Comparator, Condition};
use plans::metric::{Metric, Of, Source, Stretch};
use plans::queries::QueryScope;
use runs::latency::Latencies;
use runs::measured::{Sent, of_events};
use runs::queries::{KindTally, QueryCounts};
use runs::query_records::QueryRecords;
use runs::record::Second;
use runs::tally::Tally;

use crate::view::QueryMoment;

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
         max>1s`. Metrics are:\n{}\n\nAn event that was not acknowledged, or a query without an \
         answer, counts as slower than all others. Times have p(95), min, avg, med and max; events \
         and queries have rate and count.",
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
    /// The queries of each second, by scope.
    asked: Vec<[KindTally; 3]>,
    pub(crate) tripped: Option<String>,
}

impl Watchdog {
    pub fn new(conditions: Vec<Condition>) -> Self {
        let (recent, latencies, asked) = (Vec::new(), Vec::new(), Vec::new());
        Self { conditions, recent, latencies, asked, tripped: None }
    }

    /// Takes in a second. Says whether the run is to be given up: from the tenth second on, when a
    /// condition holds over the last ten.
    pub(crate) fn watch(
        &mut self,
        second: &Second,
        tally: &Tally,
        queries: Option<&QueryMoment<'_>>,
    ) -> bool {
        if self.conditions.is_empty() || self.tripped.is_some() {
            return false;
        }
        self.recent.push(second.clone());
        self.latencies.push(tally.latencies());
        self.asked.extend(queries.map(by_scope));
        if self.recent.len() < WINDOW_SECONDS {
            return false;
        }
        self.recent.drain(..self.recent.len() - WINDOW_SECONDS);
        self.latencies.drain(..self.latencies.len() - WINDOW_SECONDS);
        self.asked.drain(..self.asked.len().saturating_sub(WINDOW_SECONDS));
        let latencies = self.all_latencies();
        let (sent, asked) = (self.sent(&latencies), sum(&self.asked));
        let tripped = self.conditions.iter().find(|condition| match condition.metric.source() {
            Source::Queries => trips_of_queries(condition, &asked),
            _ => trips(condition, &sent),
        });
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
    let ends_with_answer = matches!(metric, Metric::SentToAcknowledged | Metric::DueToAcknowledged);
    let taken = || sent.measure(&Metric::Acknowledged, Aggregation::Rate);
    ends_with_answer && is_unanswered(condition, taken())
        || sent.measure(metric, *aggregation).is_some_and(|value| condition.holds(value))
}

/// The same for a condition on queries.
fn trips_of_queries(condition: &Condition, asked: &[KindTally; 3]) -> bool {
    let Condition { metric, aggregation, .. } = condition;
    let of_scope = |scope: QueryScope| &asked[scope as usize];
    let scope = metric.query_scope();
    let counts = scope.map_or_else(|| KindTally::sum(asked).counts, |it| of_scope(it).counts);
    let latencies = QueryScope::ALL.map(|scope| (scope, of_scope(scope).latency.clone()));
    // The window is like the record of one shard that has ended.
    let records = QueryRecords {
        counts,
        latencies: latencies.into_iter().collect(),
        ended: 1,
        ..QueryRecords::default()
    };
    let QueryCounts { answered, failed, .. } = counts;
    let answered = of_events(Aggregation::Rate, answered, answered + failed);
    scope.is_some() && is_unanswered(condition, answered)
        || records.measure(metric, *aggregation, 1).is_some_and(|value| condition.holds(value))
}

fn by_scope(queries: &QueryMoment<'_>) -> [KindTally; 3] {
    QueryScope::ALL.map(|scope| queries.tally.of_scope(scope, queries.kinds))
}

fn sum(seconds: &[[KindTally; 3]]) -> [KindTally; 3] {
    QueryScope::ALL.map(|scope| KindTally::sum(seconds.iter().map(|it| &it[scope as usize])))
}

/// Whether a limit to latency is passed by what has no answer, if so large a share has one. The
/// rest has taken longer than anything that was answered: a server that does not answer must not
/// pass for a quick one.
fn is_unanswered(condition: &Condition, answered: Option<f64>) -> bool {
    let is_limit = matches!(condition.comparator, Comparator::Above | Comparator::AtLeast);
    // As large a share of all as must be answered for what is measured to be among them.
    let needed = match condition.aggregation {
        Aggregation::Percentile(percent) => percent / 100.0,
        Aggregation::Median => 0.5,
        Aggregation::Max | Aggregation::Average => 1.0,
        Aggregation::Min | Aggregation::Rate | Aggregation::Count => return false,
    };
    // A share that is just enough may be a digit less in binary.
    is_limit && answered.is_some_and(|answered| answered < needed - 1e-9)
}

const WINDOW_SECONDS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{BUSY, OK, tally};
    use runs::queries::{QueryEnd, QueryKind, QueryTally};

    /// Gives a watchdog forty seconds, of which some from the twelfth on are bad.
    #[track_caller]
    fn check(condition: &str, bad_seconds: usize, expected_at: Option<usize>) {
        let mut watchdog = Watchdog::new(vec![parse_condition(condition).unwrap()]);
        let seconds = (0..40).position(|second| {
            let outcome = if (12..12 + bad_seconds).contains(&second) { BUSY } else { OK };
            let tally = tally(&[(0, 100, outcome)]);
            watchdog.watch(&Second::new(0, 100, &tally), &tally, None)
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

    /// Gives a watchdog forty seconds with ten answers of 20 ms each, one of them wrong in the
    /// fifteenth; from the twentieth on, two queries in a second fail.
    #[track_caller]
    fn check_queries(condition: &str, expected_at: Option<usize>) {
        let kinds = QueryScope::ALL.map(|scope| QueryKind { name: scope.name().to_owned(), scope });
        let mut watchdog = Watchdog::new(vec![parse_condition(condition).unwrap()]);
        let sent = tally(&[(0, 100, OK)]);
        let tripped = (0..40).position(|second| {
            let mut tally = QueryTally::new(3);
            for query in 0..12 {
                let is_answered = query < 10;
                if !is_answered && second < 20 {
                    continue;
                }
                tally.begin(0, 0);
                if is_answered {
                    tally.page(0, 1, 1, 20_000);
                }
                let is_wrong = second == 15 && query == 0;
                tally.end(0, QueryEnd { is_answered, is_wrong, is_compared: false });
            }
            let moment = QueryMoment { kinds: &kinds, tally: &tally, total: &tally };
            watchdog.watch(&Second::new(0, 100, &sent), &sent, Some(&moment))
        });
        assert_eq!(tripped, expected_at, "{condition}");
    }

    #[test]
    fn queries_give_a_run_up_like_events() {
        check_queries("queries.wrong count>0", Some(15));
        check_queries("queries rate<100%", Some(20));
        check_queries("queries rate<83%", None);
        check_queries("queries.tenant p(95)>10ms", Some(9));
        check_queries("queries.tenant max>30ms", Some(20));
        check_queries("queries.tenant p(95)>1h", Some(22));
        check_queries("queries.tenant p(95)<1ms", None);
        // Nobody asks for these.
        check_queries("queries.platform p(95)>0ms", None);
        check_queries("queries.complex max>0ms", None);
        check("queries rate<100%", 20, None);
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
            watchdog.watch(&seconds[second], &tally, None);
            run.add(&tally);
        }
        let (all, events, latencies) = (run.latencies(), run.events, watchdog.all_latencies());
        let window = watchdog.sent(&latencies);
        let exact = vec![
            (Metric::Acknowledged, Some(events.acknowledged)),
            (Metric::Unknown, Some(events.unknown)),
        ];
        let run = Sent { latencies: Some(&all), seconds: &seconds, exact };
        for metric in Metric::over(Stretch::Window).filter(|it| it.source() != Source::Queries) {
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
