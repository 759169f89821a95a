//! Metrics of runs that are shown and not judged, because no objective is published for them.

use plans::condition::Aggregation;
use plans::metric::{Measure, Metric, Source};
use runs::measured::{Sent, of_samples};
use serde::{Serialize, Serializer};

use crate::figures;
use crate::versus::side::Side;

/// An aggregate of a metric: the median of the bases, and that of the runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Beside {
    metric: String,
    aggregation: &'static str,
    #[serde(serialize_with = "unit")]
    measure: Measure,
    base: Option<f64>,
    run: Option<f64>,
}

/// Returns the average and the maximum of counts and levels over the seconds, and two percentiles
/// of latencies. A metric that was always 0 in all runs is left out.
pub(crate) fn beside(bases: &[Side], runs: &[Side]) -> Vec<Beside> {
    let aggregations = |metric: &Metric| match metric.source() {
        Source::Latency => {
            vec![("p(95)", Aggregation::Percentile(95.0)), ("p(99)", Aggregation::Percentile(99.0))]
        }
        _ => vec![("avg", Aggregation::Average), ("max", Aggregation::Max)],
    };
    let metrics = Metric::counts()
        .chain(Metric::from(Source::Level))
        .chain(Metric::from(Source::Latency))
        .filter(|metric| !is_judged(metric));
    let rows = metrics.flat_map(|metric| {
        let row = |(name, aggregation)| Beside {
            metric: metric.to_string(),
            aggregation: name,
            measure: metric.measure(),
            base: median(bases, &metric, aggregation),
            run: median(runs, &metric, aggregation),
        };
        aggregations(&metric).into_iter().map(row).collect::<Vec<_>>()
    });
    rows.filter(|it| [it.base, it.run].into_iter().flatten().any(|value| value > 0.0)).collect()
}

/// Whether a published criterion covers the metric under another name.
fn is_judged(metric: &Metric) -> bool {
    use Metric::{Acknowledged, Refused, SentToAcknowledged, Unknown};
    matches!(metric, Acknowledged | Refused | SentToAcknowledged | Unknown)
}

fn median(group: &[Side], metric: &Metric, aggregation: Aggregation) -> Option<f64> {
    let values = group.iter().filter_map(|side| measured(side, metric, aggregation));
    of_samples(Aggregation::Median, values.collect())
}

fn measured(side: &Side, metric: &Metric, aggregation: Aggregation) -> Option<f64> {
    let records = &side.records;
    let (latencies, seconds) = (records.latencies.as_ref(), records.seconds.as_slice());
    Sent { latencies, seconds, exact: Vec::new() }.in_seconds(metric, aggregation)
}

impl Beside {
    /// The name of the aggregate, and the values of both groups.
    pub(crate) fn cells(&self) -> [String; 3] {
        let say = |value: Option<f64>| {
            value.map_or("–".to_owned(), |value| figures::of_measure(value, self.measure))
        };
        [format!("{} {}", self.metric, self.aggregation), say(self.base), say(self.run)]
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn unit<S: Serializer>(measure: &Measure, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match measure {
        Measure::Events => "events",
        other => other.unit(),
    })
}
