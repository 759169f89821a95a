//! What conditions on what was sent measure, of a whole run and of its last seconds alike. Pure.

use hdrhistogram::Histogram;
use plans::condition::Aggregation;
use plans::metric::{Metric, Of, Source};

use crate::latency::{Latencies, Percentiles};
use crate::record::Second;

/// The value of a metric in one second, in the unit of the metric; `None` of a metric that the
/// generator neither counts nor notes once a second.
pub fn of_second(metric: &Metric, second: &Second) -> Option<f64> {
    match metric {
        Metric::Lateness => Some(second.lateness_max_ms),
        Metric::Blocked => Some(second.blocked_max_ms),
        _ => count_of_second(metric, second).map(as_f64),
    }
}

/// As [`of_second`], of a metric that is a whole number; `None` of all others.
///
/// A count of the list that has no line here has no field of its own either: see
/// [`Tally::count`](crate::tally::Tally::count).
pub fn count_of_second(metric: &Metric, second: &Second) -> Option<u64> {
    Some(match metric {
        Metric::Planned => second.planned,
        Metric::Attempted => second.sent.saturating_sub(second.unsent),
        Metric::Acknowledged => second.acknowledged,
        Metric::Refused => second.refused,
        Metric::Unknown => second.unknown,
        Metric::Spoiled => second.spoiled,
        Metric::Unsent => second.unsent + second.dropped,
        Metric::Dropped => second.dropped,
        Metric::Requests => second.requests,
        Metric::RequestBytes => second.bytes,
        Metric::RequestsInFlight => second.in_flight,
        _ => match metric.source() {
            Source::Events(_) | Source::Counted => {
                second.more.get(metric.name()).copied().unwrap_or(0)
            }
            Source::Level | Source::Latency | Source::Queries | Source::Watch | Source::Account => {
                return None;
            }
        },
    })
}

/// What one second says of a latency of the webhook; `None` of other metrics.
pub fn percentiles_of_second(metric: &Metric, second: &Second) -> Option<Percentiles> {
    Some(match metric {
        Metric::SentToAcknowledged => second.sent_to_acknowledged,
        Metric::DueToAcknowledged => second.due_to_acknowledged,
        Metric::DueToSent => second.due_to_sent,
        _ => return None,
    })
}

/// What a stretch of a run says of what was sent in it.
#[derive(Debug, Clone)]
pub struct Sent<'a> {
    /// Of what ended in it; nothing, if some of it is not known.
    pub latencies: Option<&'a Latencies>,
    pub seconds: &'a [Second],
    /// Counts of events that are known better than from the seconds. `None` is not known.
    pub exact: Vec<(Metric, Option<u64>)>,
}

impl Sent<'_> {
    /// Events that ended, one way or another, as far as that is known.
    pub fn ended(&self) -> u64 {
        let ended = [Metric::Acknowledged, Metric::Refused, Metric::Unknown];
        ended.iter().filter_map(|metric| self.count(metric)).sum()
    }

    /// Measures in the unit of a condition's limit; nothing without samples, and of a metric that
    /// is not of what was sent.
    pub fn measure(&self, metric: &Metric, aggregation: Aggregation) -> Option<f64> {
        match metric.source() {
            Source::Latency | Source::Counted | Source::Level => {
                self.in_seconds(metric, aggregation)
            }
            Source::Events(Of::Attempted) => {
                of_events(aggregation, self.count(metric)?, self.ended())
            }
            Source::Events(Of::Planned) => {
                of_events(aggregation, self.count(metric)?, self.count(&Metric::Planned)?)
            }
            Source::Queries | Source::Watch | Source::Account => None,
        }
    }

    /// Aggregates the samples of a metric: one of each second, or the events of a latency.
    pub fn in_seconds(&self, metric: &Metric, aggregation: Aggregation) -> Option<f64> {
        if metric.source() == Source::Latency {
            return of_histogram(aggregation, self.latencies?.of(metric)?);
        }
        let samples = self.seconds.iter().filter_map(|second| of_second(metric, second));
        of_samples(aggregation, samples.collect())
    }

    fn count(&self, metric: &Metric) -> Option<u64> {
        if let Some((_, count)) = self.exact.iter().find(|(exact, _)| exact == metric) {
            return *count;
        }
        let in_second = |second: &Second| match metric {
            // The webhook took the spoiled events as well.
            Metric::Acknowledged => second.acknowledged + second.spoiled,
            _ => count_of_second(metric, second).unwrap_or(0),
        };
        Some(self.seconds.iter().map(in_second).sum())
    }
}

/// Counts events, or tells which share of others they are.
pub fn of_events(aggregation: Aggregation, count: u64, of: u64) -> Option<f64> {
    match aggregation {
        Aggregation::Count => Some(as_f64(count)),
        _ if of == 0 => None,
        _ => Some(as_f64(count) / as_f64(of)),
    }
}

/// Aggregates a histogram of µs, in ms; nothing, if it is empty.
pub fn of_histogram(aggregation: Aggregation, histogram: &Histogram<u64>) -> Option<f64> {
    if histogram.is_empty() {
        return None;
    }
    let micros = match aggregation {
        Aggregation::Percentile(percent) => as_f64(histogram.value_at_percentile(percent)),
        Aggregation::Median => as_f64(histogram.value_at_quantile(0.5)),
        Aggregation::Min => as_f64(histogram.min()),
        Aggregation::Max => as_f64(histogram.max()),
        Aggregation::Average => histogram.mean(),
        Aggregation::Rate | Aggregation::Count => return None,
    };
    Some(micros / 1_000.0)
}

/// Aggregates samples; a percentile is the smallest sample that so many are not above.
pub fn of_samples(aggregation: Aggregation, mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_unstable_by(f64::total_cmp);
    match aggregation {
        Aggregation::Percentile(percent) => percentile(&samples, percent),
        Aggregation::Median => percentile(&samples, 50.0),
        Aggregation::Min => samples.first().copied(),
        Aggregation::Max => samples.last().copied(),
        Aggregation::Average if samples.is_empty() => None,
        Aggregation::Average => Some(samples.iter().sum::<f64>() / as_f64(samples.len() as u64)),
        Aggregation::Rate | Aggregation::Count => None,
    }
}

/// The smallest of sorted samples that so many percent are not above.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a percent of a length is within it"
)]
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let rank = (percent / 100.0 * as_f64(sorted.len() as u64)).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[expect(clippy::cast_precision_loss, reason = "counts and times of a run are far below 2^53")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use plans::condition::Condition;
    use plans::metric::Stretch;

    use super::*;
    use crate::latency::record;
    use crate::tally::Tally;

    /// Three seconds, of which the second was late.
    fn seconds() -> Vec<Second> {
        let second = |lateness_ms: i64, requests| {
            let mut tally = Tally::new(1);
            tally.events.sent = 40;
            tally.events.acknowledged = 30;
            tally.events.refused = 8;
            tally.events.unknown = 2;
            tally.dropped = 5;
            tally.requests = requests;
            tally.in_flight = requests / 2;
            tally.lateness_max_us = lateness_ms * 1_000;
            tally.blocked_max_us = lateness_ms * 2_000;
            Second::new(0, 50, &tally)
        };
        vec![second(3, 10), second(250, 40), second(1, 20)]
    }

    fn latencies() -> Latencies {
        let mut latencies = Latencies::new();
        for ms in 1..=100 {
            record(&mut latencies.sent_to_acknowledged, ms * 1_000);
            record(&mut latencies.due_to_acknowledged, ms * 2_000);
            record(&mut latencies.due_to_sent, ms * 500);
        }
        latencies
    }

    #[test]
    fn everything_that_is_known_while_a_run_goes_on_is_measured() {
        let (latencies, seconds) = (latencies(), seconds());
        let sent = Sent { latencies: Some(&latencies), seconds: &seconds, exact: Vec::new() };
        let check = |condition: &str, expected: f64| {
            let condition = Condition::parse(condition, Stretch::Window).unwrap();
            let found = sent.measure(&condition.metric, condition.aggregation).unwrap();
            let allowed = expected * 0.001;
            assert!((found - expected).abs() <= allowed, "{condition}: {found}");
        };
        check("sent_to_acknowledged p(95)<1s", 95.0);
        check("due_to_acknowledged p(95)<1s", 190.0);
        check("due_to_acknowledged med<1s", 100.0);
        check("due_to_acknowledged avg<1s", 101.0);
        check("due_to_sent max<1s", 50.0);
        check("due_to_sent min<1s", 0.5);
        check("lateness max<1s", 250.0);
        check("lateness p(50)<1s", 3.0);
        check("blocked max<1s", 500.0);
        check("requests max<1", 40.0);
        check("requests min<1", 10.0);
        check("requests_in_flight avg<1", 35.0 / 3.0);
        check("planned count<1", 150.0);
        check("attempted rate<1%", 0.8);
        check("acknowledged rate<1%", 0.75);
        check("refused rate<1%", 0.2);
        check("unknown count<1", 6.0);
        check("dropped rate<1%", 0.1);
        check("unsent count<1", 15.0);
    }

    #[test]
    fn what_is_known_better_than_from_the_seconds_is_taken_from_there() {
        let seconds = seconds();
        let known = |count| Sent {
            latencies: None,
            seconds: &seconds,
            exact: vec![(Metric::Refused, count)],
        };
        let measure = |sent: Sent<'_>, it| sent.measure(&Metric::Refused, it);
        assert_eq!(measure(known(Some(4)), Aggregation::Count), Some(4.0));
        assert_eq!(measure(known(Some(4)), Aggregation::Rate), Some(0.04));
        assert_eq!(measure(known(None), Aggregation::Count), None);
        let nothing = Sent { latencies: None, seconds: &[], exact: Vec::new() };
        assert_eq!(measure(nothing, Aggregation::Rate), None);
    }

    #[test]
    fn what_is_known_of_what_was_sent_while_a_run_goes_on_is_measured_here() {
        let (latencies, seconds) = (latencies(), seconds());
        let sent = Sent { latencies: Some(&latencies), seconds: &seconds, exact: Vec::new() };
        for metric in Metric::ALL {
            let found = [Aggregation::Max, Aggregation::Count].map(|it| sent.measure(&metric, it));
            let is_measured = found.iter().any(Option::is_some);
            let is_of_sent = metric.source() != Source::Queries;
            let is_known = is_of_sent && metric.is_known_over(Stretch::Window);
            assert_eq!(is_measured, is_known, "{metric}");
            let of_one = of_second(&metric, &seconds[0]).is_some()
                || percentiles_of_second(&metric, &seconds[0]).is_some();
            assert_eq!(of_one, is_known, "{metric}");
        }
    }

    #[test]
    fn a_count_without_a_field_of_its_own_is_measured_by_its_name() {
        let metric = Metric::counts().last().unwrap();
        let mut tally = Tally::new(1);
        tally.count(metric.clone(), 3);
        let mut second = Second::new(0, 0, &tally);
        assert_eq!(second.more[metric.name()], 3);
        let text = serde_json::to_string(&second).unwrap();
        assert_eq!(serde_json::from_str::<Second>(&text).unwrap(), second);
        second.more.clear();
        assert!(!serde_json::to_string(&second).unwrap().contains("more"));
    }
}
