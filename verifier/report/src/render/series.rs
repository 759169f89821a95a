//! Prepares what charts show: values over time, with no more points than a screen has. Pure.

use edges::clock::seconds;
use events::timeline::UnixMicros;
use hdrhistogram::Histogram;
use plans::queries::QueryScope;
use runs::measured::percentile;
use runs::observation::Observation;
use runs::queries::QueryCounts;
use runs::record::Second;

use crate::figures::as_f64;
use crate::records::RunRecords;

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Pairs of a time, in seconds from the run's start, and a value.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Turns records into series. Times count from `origin`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lens<'r> {
    pub(crate) records: &'r RunRecords,
    pub(crate) origin: UnixMicros,
}

impl Lens<'_> {
    /// Planned events, and the outcomes at the webhook, in events a second.
    pub(crate) fn rates(&self) -> Vec<Series> {
        let mut all = vec![
            self.of_seconds("planned", |second| as_f64(second.planned)),
            self.of_seconds("acknowledged", |second| as_f64(second.acknowledged)),
        ];
        let failed = self.of_seconds("refused or unknown", |it| as_f64(it.refused + it.unknown));
        if failed.points.iter().any(|(_, value)| *value > 0.0) {
            all.push(failed);
        }
        all
    }

    /// Percentiles of the webhook's latency, in ms.
    pub(crate) fn latencies(&self) -> Vec<Series> {
        let answered = |name: &str, of: fn(&Second) -> f64| {
            let mut series = self.of_seconds(name, of);
            // A second without answers has no latency.
            series.points.retain(|(_, ms)| *ms > 0.0);
            series
        };
        vec![
            answered("p50", |it| it.sent_to_acknowledged.p50_ms),
            answered("p95", |it| it.sent_to_acknowledged.p95_ms),
            answered("p99", |it| it.sent_to_acknowledged.p99_ms),
            answered("p99 from when it was due", |it| it.due_to_acknowledged.p99_ms),
        ]
    }

    /// Times from due to visible, in ms: of events that became visible, and of those that still
    /// wait.
    pub(crate) fn end_to_end(&self) -> Vec<Series> {
        let of = |name: &str, percent: f64| {
            self.of_observations(name, move |seen| {
                let mut samples = seen.freshness.due_to_visible_ms.clone();
                samples.sort_unstable_by(f64::total_cmp);
                percentile(&samples, percent)
            })
        };
        let waiting = self.of_observations("longest wait of what is not visible yet", |seen| {
            (seen.freshness.waiting > 0).then_some(seen.freshness.oldest_ms)
        });
        vec![of("median", 50.0), of("p95", 95.0), waiting]
    }

    /// How many messages in the stream the consumer has not acknowledged.
    pub(crate) fn lag(&self) -> Vec<Series> {
        let points = self.records.lags().map(|(at, lag)| (self.elapsed(at.0), as_f64(lag)));
        vec![Series { name: "lag".to_owned(), points: points.collect() }]
    }

    /// Queries that were asked and that ended, a second.
    pub(crate) fn queries(&self) -> Vec<Series> {
        let of = |name: &str, of: fn(&QueryCounts) -> u64| {
            let seconds = self.records.queries.seconds.iter();
            let point =
                |(at, counts): (&i64, &QueryCounts)| (self.at_second(*at), as_f64(of(counts)));
            Series { name: name.to_owned(), points: seconds.map(point).collect() }
        };
        let mut all = vec![of("asked", |it| it.asked), of("answered", |it| it.answered)];
        let rare = [of("failed", |it| it.failed), of("wrong", |it| it.wrong)];
        all.extend(rare.into_iter().filter(|it| it.points.iter().any(|(_, value)| *value > 0.0)));
        all
    }

    /// The 95th percentile of the latencies of answers by scope, in ms.
    pub(crate) fn query_latencies(&self) -> Vec<Series> {
        let of = |scope: QueryScope| {
            let seconds = self.records.queries.p95_ms.iter();
            let points = seconds
                .filter_map(|(at, of_scope)| Some((self.at_second(*at), *of_scope.get(&scope)?)));
            Series { name: scope.name().to_owned(), points: points.collect() }
        };
        QueryScope::ALL.map(of).to_vec()
    }

    /// How many cores each part kept busy.
    pub(crate) fn cpu(&self) -> Vec<Series> {
        self.of_parts(|cpu_cores, _| cpu_cores)
    }

    /// How many bytes of memory each part used.
    pub(crate) fn memory(&self) -> Vec<Series> {
        self.of_parts(|_, bytes| bytes)
    }

    /// The time that the records span, in seconds.
    pub(crate) fn span(&self) -> (f64, f64) {
        let seconds = self.records.seconds.iter().map(|second| second.at.0);
        let times = seconds.chain(self.records.observations.iter().map(|seen| seen.at.0));
        let (first, last) = times
            .fold((self.origin, self.origin), |(first, last), at| (first.min(at), last.max(at)));
        (self.elapsed(first), self.elapsed(last).max(1.0))
    }

    pub(crate) fn elapsed(&self, at: UnixMicros) -> f64 {
        seconds(at - self.origin)
    }

    /// The time of a second since 1970.
    fn at_second(&self, second: i64) -> f64 {
        self.elapsed(second * 1_000_000)
    }

    fn of_seconds(&self, name: &str, of: impl Fn(&Second) -> f64) -> Series {
        let point = |second: &Second| (self.elapsed(second.at.0), of(second));
        Series { name: name.to_owned(), points: self.records.seconds.iter().map(point).collect() }
    }

    fn of_observations(&self, name: &str, of: impl Fn(&Observation) -> Option<f64>) -> Series {
        let point = |seen: &Observation| Some((self.elapsed(seen.at.0), of(seen)?));
        let points = self.records.observations.iter().filter_map(point).collect();
        Series { name: name.to_owned(), points }
    }

    fn of_parts(&self, of: fn(f64, f64) -> f64) -> Vec<Series> {
        let series = |part: &str| {
            self.of_observations(part, |seen| {
                let used = seen.resources.iter().find(|it| it.part == part)?;
                Some(of(used.cpu_cores, as_f64(used.memory_bytes)))
            })
        };
        self.records.parts().into_iter().map(series).collect()
    }
}

/// Divides the time into `parts` equal parts and returns the lowest and the highest point of each,
/// in order, so that no peak is lost. A series with fewer points stays as it is.
pub(crate) fn thinned(points: &[(f64, f64)], parts: usize) -> Vec<(f64, f64)> {
    if points.len() <= parts * 2 {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(parts * 2);
    for part in 0..parts {
        let bounds = [part, part + 1].map(|it| it * points.len() / parts);
        let part = &points[bounds[0]..bounds[1]];
        let by_value = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let ends = [part.iter().min_by(by_value), part.iter().max_by(by_value)];
        let mut ends: Vec<_> = ends.into_iter().flatten().copied().collect();
        ends.sort_by(|one, other| one.0.total_cmp(&other.0));
        ends.dedup();
        kept.extend(ends);
    }
    kept
}

/// Splits a series where nothing was recorded for more than `gap_max` seconds.
pub(crate) fn unbroken(points: &[(f64, f64)], gap_max: f64) -> Vec<Vec<(f64, f64)>> {
    let is_joined = |one: &(f64, f64), next: &(f64, f64)| next.0 - one.0 <= gap_max;
    points.chunk_by(is_joined).map(<[_]>::to_vec).collect()
}

/// Counts a histogram of µs in bands that have equal width on a logarithmic scale. Returns the
/// lower end of each band in ms, and its share of all events.
pub(crate) fn bands(histogram: &Histogram<u64>, a_decade: i32) -> Vec<(f64, f64)> {
    let mut bands: Vec<(i32, u64)> = Vec::new();
    for value in histogram.iter_recorded() {
        let ms = as_f64(value.value_iterated_to().max(1)) / 1_000.0;
        let band = floor(ms.log10() * f64::from(a_decade));
        match bands.last_mut() {
            Some((last, count)) if *last == band => *count += value.count_at_value(),
            _ => bands.push((band, value.count_at_value())),
        }
    }
    let from = |band: i32| 10f64.powf(f64::from(band) / f64::from(a_decade));
    let share = |count: u64| as_f64(count) / as_f64(histogram.len());
    bands.into_iter().map(|(band, count)| (from(band), share(count))).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "a logarithm is small")]
fn floor(value: f64) -> i32 {
    value.floor() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_every_peak_and_the_order() {
        let value = |at: u32| if at == 1_777 { 99.0 } else { f64::from(at % 7) };
        let points: Vec<_> = (0..3_600).map(|at| (f64::from(at), value(at))).collect();
        let kept = thinned(&points, 300);
        assert!(kept.len() <= 600 && kept.len() > 500, "{}", kept.len());
        assert!(kept.contains(&(1_777.0, 99.0)));
        assert!(kept.is_sorted_by(|one, other| one.0 < other.0));
        assert_eq!(thinned(&points[..600], 300), points[..600]);
    }

    #[test]
    fn a_line_breaks_where_nothing_was_recorded() {
        let points = [(1.0, 0.0), (2.0, 0.0), (30.0, 0.0)];
        assert_eq!(unbroken(&points, 10.0).len(), 2);
        assert_eq!(unbroken(&[], 10.0).len(), 0);
    }

    #[test]
    fn bands_hold_all_events() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 1_000_000, 3).unwrap();
        for micros in [1_000, 1_001, 10_000, 99_000] {
            histogram.record(micros).unwrap();
        }
        let bands = bands(&histogram, 1);
        assert_eq!(bands, [(1.0, 0.5), (10.0, 0.5)]);
    }
}
