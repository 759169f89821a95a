//! Thresholds: the conditions that a run must meet. Pure.

use std::collections::BTreeMap;

use garde::{Path, Validate};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::condition::{
    Aggregation, Comparator, Condition, Limit, MILLISECONDS, ONE, PERCENT, SECONDS,
};
use crate::metric::{Metric, Stretch};

/// The thresholds of a profile: conditions by metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thresholds {
    conditions: Vec<Condition>,
    /// Empty in a profile that has passed its rules, because the rules report these mistakes.
    mistakes: Vec<Mistake>,
}

/// A mistake, and where it is.
#[derive(Debug, Clone, PartialEq)]
struct Mistake {
    /// The metric as it is written, and the index of its condition. `None` if the mistake concerns
    /// the whole map.
    at: Option<(String, Option<usize>)>,
    message: String,
}

/// One condition that a run must meet.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    pub condition: Condition,
    /// Whether nobody wrote it, because it is one of the published objectives.
    pub is_default: bool,
}

/// The published objectives. They apply to a run whose profile has no field `thresholds`.
fn objectives() -> [Condition; 4] {
    use Aggregation::{Max, Percentile, Rate};
    use Comparator::{AtLeast, Below};
    let ask = |metric, aggregation, comparator, limit| Condition {
        metric,
        aggregation,
        comparator,
        limit,
    };
    [
        ask(Metric::Ingested, Rate, AtLeast, Limit::new(99.9, PERCENT)),
        ask(Metric::DueToVisible, Percentile(95.0), Below, Limit::new(10.0, SECONDS)),
        ask(Metric::SentToAcknowledged, Percentile(95.0), Below, Limit::new(100.0, MILLISECONDS)),
        ask(Metric::Lag, Max, Below, Limit::new(1_000.0, ONE)),
    ]
}

impl Thresholds {
    /// Returns the conditions that a run must meet: those of the profile or, if it has none, the
    /// published objectives. A history has no schedule, so only the objective about stored events
    /// applies to it.
    pub fn of_run(written: Option<&Self>, has_schedule: bool) -> Vec<Threshold> {
        let all = |conditions: &[Condition], is_default| {
            let of = |condition: &Condition| Threshold { condition: condition.clone(), is_default };
            conditions.iter().map(of).collect::<Vec<_>>()
        };
        if let Some(written) = written {
            return all(&written.conditions, false);
        }
        let mut default = all(&objectives(), true);
        default.retain(|it| has_schedule || it.condition.metric == Metric::Ingested);
        default
    }

    /// Returns the objectives of a run's queries, if its profile has no field `thresholds`.
    pub fn of_queries(written: Option<&Self>) -> Vec<Threshold> {
        use Aggregation::{Count, Median, Percentile, Rate};
        use Comparator::{AtLeast, Below, Equal};
        let ask = |metric, aggregation, comparator, limit| Threshold {
            condition: Condition { metric, aggregation, comparator, limit },
            is_default: true,
        };
        let seconds = |limit| Limit::new(limit, SECONDS);
        let objectives = [
            ask(Metric::Queries, Rate, AtLeast, Limit::new(99.5, PERCENT)),
            ask(Metric::QueriesTenant, Percentile(95.0), Below, seconds(2.0)),
            ask(Metric::QueriesPlatform, Percentile(95.0), Below, seconds(3.0)),
            ask(Metric::QueriesPlatform, Percentile(99.0), Below, seconds(5.0)),
            ask(Metric::QueriesPlatform, Median, Below, Limit::new(500.0, MILLISECONDS)),
            ask(Metric::QueriesWrong, Count, Equal, Limit::new(0.0, ONE)),
        ];
        objectives.into_iter().filter(|_| written.is_none()).collect()
    }

    fn read(written: &BTreeMap<String, Vec<String>>) -> Self {
        let mut read = Self::default();
        if written.values().map(Vec::len).sum::<usize>() > CONDITIONS_MAX {
            let message = format!("a profile has at most {CONDITIONS_MAX} conditions");
            read.mistakes.push(Mistake { at: None, message });
            return read;
        }
        for (name, texts) in written {
            let metric = match Metric::parse(name, Stretch::Run) {
                Ok(metric) => metric,
                Err(message) => {
                    read.mistakes.push(Mistake { at: Some((name.clone(), None)), message });
                    continue;
                }
            };
            for (index, text) in texts.iter().enumerate() {
                match Condition::parse_of(metric.clone(), text) {
                    Ok(condition) => read.conditions.push(condition),
                    Err(message) => {
                        let at = Some((name.clone(), Some(index)));
                        read.mistakes.push(Mistake { at, message });
                    }
                }
            }
        }
        read
    }
}

const CONDITIONS_MAX: usize = 100;

impl<'de> Deserialize<'de> for Thresholds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(|written| Self::read(&written))
    }
}

impl Serialize for Thresholds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut by_metric: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for condition in &self.conditions {
            by_metric.entry(condition.metric.to_string()).or_default().push(condition.asked());
        }
        by_metric.serialize(serializer)
    }
}

impl Validate for Thresholds {
    type Context = ();

    fn validate_into(
        &self,
        _context: &(),
        parent: &mut dyn FnMut() -> Path,
        report: &mut garde::Report,
    ) {
        for Mistake { at, message } in &self.mistakes {
            let path = match at {
                None => parent(),
                Some((name, None)) => parent().join(name),
                Some((name, Some(index))) => parent().join(name).join(*index),
            };
            report.append(path, garde::Error::new(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(thresholds: &[Threshold]) -> Vec<String> {
        thresholds.iter().map(|it| it.condition.to_string()).collect()
    }

    #[test]
    fn what_nobody_wrote_is_the_published_objectives() {
        let live = Thresholds::of_run(None, true);
        let expected = [
            "ingested rate>=99.9%",
            "due_to_visible p(95)<10s",
            "sent_to_acknowledged p(95)<100ms",
            "lag max<1000",
        ];
        assert_eq!(asked(&live), expected);
        for Threshold { condition, is_default } in live {
            let told = condition.to_string();
            assert_eq!(Condition::parse(&told, Stretch::Run), Ok(condition), "{told}");
            assert!(is_default);
        }
        assert_eq!(asked(&Thresholds::of_run(None, false)), expected[..1]);
        assert!(Thresholds::of_run(Some(&Thresholds::default()), true).is_empty());
        let of_queries = Thresholds::of_queries(None);
        let expected = [
            "queries rate>=99.5%",
            "queries.tenant p(95)<2s",
            "queries.platform p(95)<3s",
            "queries.platform p(99)<5s",
            "queries.platform med<500ms",
            "queries.wrong count==0",
        ];
        assert_eq!(asked(&of_queries), expected);
        assert!(Thresholds::of_queries(Some(&Thresholds::default())).is_empty());
    }

    #[test]
    fn what_is_written_is_read_once_and_told_in_one_spelling() {
        let json = r#"{"webhook": ["p(95) < 1s"], "lost": ["rate<1%", "count<3"]}"#;
        let thresholds: Thresholds = serde_json::from_str(json).unwrap();
        let run = Thresholds::of_run(Some(&thresholds), true);
        assert_eq!(asked(&run), ["lost rate<1%", "lost count<3", "sent_to_acknowledged p(95)<1s"]);
        let told = serde_json::to_string(&thresholds).unwrap();
        assert_eq!(told, r#"{"lost":["rate<1%","count<3"],"sent_to_acknowledged":["p(95)<1s"]}"#);
        assert_eq!(serde_json::from_str::<Thresholds>(&told).unwrap(), thresholds);
    }
}
