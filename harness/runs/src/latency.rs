//! Latencies, always counted from when an event was due.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use plans::metric::Metric;
use serde::{Deserialize, Serialize};

/// The three latencies of a webhook, in µs.
///
/// Due to acknowledged is what a user of the pipeline feels, sent to acknowledged what the server
/// took, and due to sent our own lateness: kept apart, so that none can hide in another.
#[derive(Debug, Clone)]
pub struct Latencies {
    pub due_to_acknowledged: Histogram<u64>,
    pub sent_to_acknowledged: Histogram<u64>,
    pub due_to_sent: Histogram<u64>,
}

/// A histogram in numbers that a person reads, in ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub p99_9_ms: f64,
    pub max_ms: f64,
}

impl Latencies {
    pub fn new() -> Self {
        Self { due_to_acknowledged: empty(), sent_to_acknowledged: empty(), due_to_sent: empty() }
    }

    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.due_to_acknowledged, &other.due_to_acknowledged),
            (&mut self.sent_to_acknowledged, &other.sent_to_acknowledged),
            (&mut self.due_to_sent, &other.due_to_sent),
        ];
        for (sum, part) in pairs {
            sum.add(part).expect("it grows as far as an hour");
        }
    }

    /// The histogram of a metric, in µs; `None` of a metric that is no latency of the webhook.
    pub fn of(&self, metric: &Metric) -> Option<&Histogram<u64>> {
        Some(match metric {
            Metric::DueToAcknowledged => &self.due_to_acknowledged,
            Metric::SentToAcknowledged => &self.sent_to_acknowledged,
            Metric::DueToSent => &self.due_to_sent,
            _ => return None,
        })
    }

    pub fn clear(&mut self) {
        self.due_to_acknowledged.reset();
        self.sent_to_acknowledged.reset();
        self.due_to_sent.reset();
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

/// Records a latency. Longer ones than an hour count as an hour; below zero as zero.
pub fn record(histogram: &mut Histogram<u64>, micros: i64) {
    record_many(histogram, micros, 1);
}

/// Records a latency that some events have in common, as [`record`] does.
pub fn record_many(histogram: &mut Histogram<u64>, micros: i64, events: u64) {
    let micros = u64::try_from(micros).unwrap_or(0).min(LATENCY_MAX_US);
    histogram.record_n(micros, events).expect("it grows as far as an hour");
}

/// Returns the percentiles that reports show, in ms.
#[expect(clippy::cast_precision_loss, reason = "an hour in µs is exact in an f64")]
pub fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    Percentiles {
        p50_ms: at(0.5),
        p95_ms: at(0.95),
        p99_ms: at(0.99),
        p99_9_ms: at(0.999),
        max_ms: histogram.max() as f64 / 1_000.0,
    }
}

/// Returns a histogram in the V2 format of HdrHistogram, in base64: all tools of that family
/// read it, and it can be added to others.
pub fn encoded(histogram: &Histogram<u64>) -> String {
    // Equal histograms give equal text, however they grew.
    let mut bounded = Histogram::new_with_bounds(1, LATENCY_MAX_US, histogram.sigfig())
        .expect("an hour is more than two");
    let told = if bounded.add(histogram).is_ok() { &bounded } else { histogram };
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(told, &mut bytes).expect("memory takes what is written to it");
    STANDARD.encode(bytes)
}

/// Reads what [`encoded`] returns; `None` if it is none of ours.
pub fn decoded(text: &str) -> Option<Histogram<u64>> {
    let bytes = STANDARD.decode(text).ok()?;
    let found: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).ok()?;
    // A histogram with these bounds can be added to all others.
    let mut ours = empty();
    let is_within = found.is_empty() || found.max() <= ours_max();
    is_within.then(|| ours.add(found).ok()).flatten()?;
    Some(ours)
}

/// The value that a recorded hour is read as: the end of its bucket.
fn ours_max() -> u64 {
    LATENCY_MAX_US + (LATENCY_MAX_US >> 10)
}

/// A histogram of µs. It grows with what is recorded: by a kilobyte or two for each doubling of the
/// latency.
pub fn empty() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

const LATENCY_MAX_US: u64 = 3_600_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_takes_the_memory_that_its_latencies_need() {
        let mut of_milliseconds = empty();
        (0..100).for_each(|at| record(&mut of_milliseconds, at * 100));
        assert!(of_milliseconds.distinct_values() <= 8_192, "64 KiB for up to 10 ms");
        let mut of_all = empty();
        for micros in [-5, 0, 1, 3_600_000_000, i64::MAX] {
            record_many(&mut of_all, micros, 2);
        }
        assert_eq!((of_all.len(), of_all.min()), (10, 0));
        assert!(of_all.max() >= LATENCY_MAX_US && of_all.max() <= ours_max(), "{}", of_all.max());
        assert!(of_all.distinct_values() <= 32_768, "256 KiB for an hour");
    }

    #[test]
    fn histograms_of_any_size_are_added_and_read_again() {
        let (mut short, mut long) = (empty(), empty());
        record(&mut short, 300);
        record(&mut long, 90_000_000);
        let mut sum = short.clone();
        sum.add(&long).unwrap();
        long.add(&short).unwrap();
        assert_eq!((sum.len(), sum.max(), sum.min()), (2, long.max(), short.min()));
        for histogram in [empty(), short, sum] {
            assert_eq!(decoded(&encoded(&histogram)), Some(histogram));
        }
        let mut beyond: Histogram<u64> = Histogram::new(3).unwrap();
        beyond.record(1 << 60).unwrap();
        assert_eq!(decoded(&encoded(&beyond)), None, "that is no latency, and takes memory");
    }
}
