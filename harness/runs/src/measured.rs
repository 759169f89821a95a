//! What conditions on what was sent measure, of a whole run and of its last seconds alike. Pure.

use hdrhistogram::Histogram;
use plans::condition::{Aggregation, Metric};

use crate::latency::Latencies;

/// What a stretch of a run says of what was sent in it.
#[derive(Debug, Clone)]
pub struct Sent<'a> {
    /// Of what ended in it; nothing, if some of it is not known.
    pub latencies: Option<&'a Latencies>,
    /// Events that the webhook took, with those that a bad client spoiled.
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    /// The longest that a batch waited for the generator in each second, in ms.
    pub lateness_ms: Vec<f64>,
}

impl Sent<'_> {
    /// Events that ended, one way or another.
    pub fn attempted(&self) -> u64 {
        self.acknowledged + self.refused + self.unknown
    }

    /// Measures in the unit of a condition's limit; nothing without samples, and of a metric that
    /// is not of what was sent.
    pub fn measure(&self, metric: &Metric, aggregation: Aggregation) -> Option<f64> {
        let of = |histogram: fn(&Latencies) -> &Histogram<u64>| {
            of_histogram(aggregation, histogram(self.latencies?))
        };
        let events = |count| of_events(aggregation, count, self.attempted());
        match metric {
            Metric::SentToAcknowledged => of(|it| &it.sent_to_acknowledged),
            Metric::DueToAcknowledged => of(|it| &it.due_to_acknowledged),
            Metric::DueToSent => of(|it| &it.due_to_sent),
            Metric::Lateness => of_samples(aggregation, self.lateness_ms.clone()),
            Metric::Acknowledged => events(self.acknowledged),
            Metric::Refused => events(self.refused),
            Metric::Unknown => events(self.unknown),
            Metric::DueToVisible
            | Metric::AcknowledgedToVisible
            | Metric::Ingested
            | Metric::Lost
            | Metric::Duplicated
            | Metric::Unsent
            | Metric::Dropped
            | Metric::Lag
            | Metric::Cpu(_)
            | Metric::Memory(_) => None,
        }
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

/// Aggregates a histogram of µs, in ms.
fn of_histogram(aggregation: Aggregation, histogram: &Histogram<u64>) -> Option<f64> {
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
    use plans::condition::{Condition, Stretch};

    use super::*;
    use crate::latency::record;

    #[test]
    fn everything_that_is_known_while_a_run_goes_on_is_measured() {
        let mut latencies = Latencies::new();
        for ms in 1..=100 {
            record(&mut latencies.sent_to_acknowledged, ms * 1_000);
            record(&mut latencies.due_to_acknowledged, ms * 2_000);
            record(&mut latencies.due_to_sent, ms * 500);
        }
        let sent = Sent {
            latencies: Some(&latencies),
            acknowledged: 90,
            refused: 8,
            unknown: 2,
            lateness_ms: vec![3.0, 250.0, 1.0],
        };
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
        check("acknowledged rate<1%", 0.9);
        check("refused rate<1%", 0.08);
        check("unknown count<1", 2.0);
        let nothing = Sent { acknowledged: 0, refused: 0, unknown: 0, ..sent };
        assert_eq!(nothing.measure(&Metric::Acknowledged, Aggregation::Rate), None);
    }

    #[test]
    fn what_is_known_while_a_run_goes_on_and_nothing_else_is_measured_here() {
        let mut latencies = Latencies::new();
        record(&mut latencies.sent_to_acknowledged, 1);
        record(&mut latencies.due_to_acknowledged, 1);
        record(&mut latencies.due_to_sent, 1);
        let (acknowledged, refused, unknown) = (1, 1, 1);
        let latencies = Some(&latencies);
        let sent = Sent { latencies, acknowledged, refused, unknown, lateness_ms: vec![1.0] };
        for metric in Metric::ALL {
            let found = [Aggregation::Max, Aggregation::Count].map(|it| sent.measure(&metric, it));
            let is_measured = found.iter().any(Option::is_some);
            assert_eq!(is_measured, metric.is_known_over(Stretch::Window), "{metric}");
        }
    }
}
