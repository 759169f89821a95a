//! What the records of a run's queries say, of all its shards together. Pure.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use plans::condition::Aggregation;
use plans::metric::Metric;
use plans::queries::QueryScope;

use crate::latency::empty;
use crate::measured::{of_events, of_histogram};
use crate::queries::{QueryCounts, QueryHistograms, QuerySecond};
use crate::slow_queries::Slowest;

/// What the records of all shards say of a run's queries.
#[derive(Debug, Clone, Default)]
pub struct QueryRecords {
    /// Counts of the seconds that were written down.
    pub counts: QueryCounts,
    /// The counts of each second, of all shards, by the second since 1970 in which it ended.
    pub seconds: BTreeMap<i64, QueryCounts>,
    /// The 95th percentile of the latencies of each second by scope, in ms: of the shard in which
    /// it is highest.
    pub p95_ms: BTreeMap<i64, BTreeMap<QueryScope, f64>>,
    /// Failed queries by cause.
    pub failures: BTreeMap<String, u64>,
    /// Latencies of the shards that have ended in order, by scope.
    pub latencies: BTreeMap<QueryScope, Histogram<u64>>,
    /// Shards that have ended in order.
    pub ended: u32,
    /// A generator was late by more than the profile allows: the latencies are void.
    pub saturated: bool,
    /// The slowest pages, also of shards that were killed.
    pub slowest: Slowest,
}

const SECOND_US: i64 = 1_000_000;

impl QueryRecords {
    /// Adds the record of a shard. Returns the number of a line that is none, counted from 1. A
    /// last line that was cut short is left out.
    ///
    /// # Errors
    ///
    /// Returns the number of the line that is no record.
    pub fn add(&mut self, text: &str) -> Result<(), usize> {
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            if let Ok(second) = serde_json::from_str::<QuerySecond>(line) {
                self.counts.add(&second.counts);
                self.slowest.add(&second.slowest);
                let ended = (second.at.0 + SECOND_US / 2).div_euclid(SECOND_US);
                self.seconds.entry(ended).or_default().add(&second.counts);
                for (cause, count) in &second.failures {
                    *self.failures.entry(cause.clone()).or_default() += count;
                }
                for scope in QueryScope::ALL {
                    if let Some(latencies) = second.latencies.get(scope.name()) {
                        let of_second = self.p95_ms.entry(ended).or_default();
                        let p95_ms = of_second.entry(scope).or_default();
                        *p95_ms = p95_ms.max(latencies.p95_ms);
                    }
                }
            } else if let Ok(histograms) = serde_json::from_str::<QueryHistograms>(line) {
                for scope in QueryScope::ALL {
                    let found = histograms.of(scope).ok_or(number)?;
                    let sum = self.latencies.entry(scope).or_insert_with(empty);
                    sum.add(found).expect("it grows as far as an hour");
                }
                self.ended += 1;
                self.saturated |= histograms.saturated;
            } else if line.ends_with('\n') {
                return Err(number);
            }
        }
        Ok(())
    }

    /// Measures a metric of queries in the unit of a condition's limit. Measures nothing without
    /// samples, or if not all shards have ended in order, and no latency if a generator was late:
    /// it would be the generator's own.
    pub fn measure(&self, metric: &Metric, aggregation: Aggregation, shards: u32) -> Option<f64> {
        if self.ended != shards {
            return None;
        }
        let QueryCounts { answered, failed, wrong, .. } = self.counts;
        match metric {
            _ if answered + failed == 0 => None,
            Metric::Queries => of_events(aggregation, answered, answered + failed),
            Metric::QueriesWrong => of_events(aggregation, wrong, answered + failed),
            _ => {
                let latencies = self.latencies.get(&metric.query_scope()?);
                of_histogram(aggregation, latencies.filter(|_| !self.saturated)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::tests::{kinds, tally};
    use crate::slow_queries::tests::slow;

    /// The record of a shard, without or with its last line.
    fn written(is_ended: bool) -> String {
        written_with(is_ended, 1_000_000)
    }

    fn written_with(is_ended: bool, lateness_allowed_us: i64) -> String {
        let tally = tally();
        let second = QuerySecond::new(1_000_000, &tally, &kinds());
        let mut text = serde_json::to_string(&second).unwrap() + "\n";
        if is_ended {
            let last = QueryHistograms::new(&tally, &kinds(), lateness_allowed_us);
            text += &serde_json::to_string(&last).unwrap();
            text += "\n";
        }
        text
    }

    #[test]
    fn records_of_all_shards_are_measured_and_nothing_is_without_samples() {
        use Aggregation::{Count, Max, Rate};
        let mut records = QueryRecords::default();
        records.add(&written(true)).unwrap();
        let measure = |records: &QueryRecords, metric, it| records.measure(&metric, it, 2);
        assert_eq!(measure(&records, Metric::Queries, Rate), None, "a shard is missing");
        records.add(&written(true)).unwrap();
        assert_eq!(measure(&records, Metric::Queries, Rate), Some(0.8));
        assert_eq!(measure(&records, Metric::QueriesWrong, Count), Some(2.0));
        assert_eq!(measure(&records, Metric::QueriesWrong, Rate), Some(0.2));
        let tenant_ms = measure(&records, Metric::QueriesTenant, Max).unwrap();
        assert!((tenant_ms - 30.0).abs() < 0.1, "{tenant_ms}");
        assert_eq!(measure(&records, Metric::QueriesComplex, Max), None);
        assert_eq!(records.failures, BTreeMap::from([("503".to_owned(), 2)]));
        let of_second: Vec<_> = records.p95_ms[&1].iter().map(|(it, ms)| (*it, *ms)).collect();
        let [(QueryScope::Tenant, tenant_ms), (QueryScope::Platform, platform_ms)] = of_second[..]
        else {
            panic!("{of_second:?}")
        };
        assert!((tenant_ms - 30.0).abs() < 0.1 && (platform_ms - 500.0).abs() < 1.0);
        let nothing = QueryRecords { ended: 2, ..QueryRecords::default() };
        assert_eq!(measure(&nothing, Metric::QueriesWrong, Count), None);
        assert_eq!(measure(&nothing, Metric::Queries, Rate), None);
    }

    #[test]
    fn latencies_of_a_late_generator_say_nothing_and_counts_do() {
        let mut records = QueryRecords::default();
        records.add(&written(true)).unwrap();
        let measure = |records: &QueryRecords, metric| {
            records.measure(&metric, Aggregation::Rate, 2).is_some()
                || records.measure(&metric, Aggregation::Max, 2).is_some()
        };
        records.add(&written_with(true, 80_000)).unwrap();
        assert!(!measure(&records, Metric::QueriesTenant));
        assert!(!measure(&records, Metric::QueriesPlatform));
        assert!(measure(&records, Metric::Queries) && measure(&records, Metric::QueriesWrong));
        let mut calm = QueryRecords::default();
        (0..2).for_each(|_| calm.add(&written_with(true, 90_000)).unwrap());
        assert!(measure(&calm, Metric::QueriesTenant));
    }

    #[test]
    fn the_slowest_of_all_shards_are_known_even_if_one_was_killed() {
        let mut tally = tally();
        let mut add = |latencies_ms: &[f64], text: &mut String| {
            tally.slowest.clear();
            for ms in latencies_ms {
                tally.slowest.offer(*ms, || slow(*ms));
            }
            *text += &serde_json::to_string(&QuerySecond::new(0, &tally, &kinds())).unwrap();
            *text += "\n";
        };
        let (mut killed, mut ended) = (String::new(), String::new());
        add(&[10.0, 500.0], &mut killed);
        add(&[2_000.0], &mut killed);
        add(&[1.0, 30_000.0, 3.0], &mut ended);
        let mut records = QueryRecords::default();
        records.add(&(killed + "{\"at\":")).unwrap();
        records.add(&ended).unwrap();
        let latencies: Vec<f64> =
            records.slowest.queries().iter().map(|query| query.latency_ms).collect();
        assert_eq!(latencies, [30_000.0, 2_000.0, 500.0, 10.0, 3.0, 1.0]);
        assert_eq!(records.ended, 0);
    }

    #[test]
    fn a_record_that_was_cut_short_is_read_and_one_that_is_wrong_is_not() {
        let mut records = QueryRecords::default();
        records.add(&(written(false) + "{\"at\":")).unwrap();
        assert_eq!((records.seconds.len(), records.ended), (1, 0));
        assert_eq!(records.add(&(written(false) + "{}\n")), Err(2));
    }
}
