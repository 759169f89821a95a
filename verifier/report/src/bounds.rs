//! Bounds for an aggregate of samples, if for some samples only a lower limit is known. Pure.

use plans::condition::{Aggregation, Comparator, Condition};
use runs::measured::of_samples;
use runs::report::ThresholdOutcome;

/// The lowest and the highest value that an aggregate can have in the end. Every value between them
/// is possible, too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) least: f64,
    /// Infinite if there is no upper bound.
    pub(crate) most: f64,
}

impl Bounds {
    /// Computes the bounds from the samples that are known and from the ages of the others. Each of
    /// those will be at least as large as its age. Returns `None` without samples.
    pub(crate) fn of(aggregation: Aggregation, known: &[f64], ages: &[f64]) -> Option<Self> {
        let with = |others: &[f64]| of_samples(aggregation, [known, others].concat());
        Some(Self { least: with(ages)?, most: with(&vec![f64::INFINITY; ages.len()])? })
    }

    /// Whether a condition holds, whatever values the unknown samples will have.
    pub(crate) fn judge(self, condition: &Condition) -> ThresholdOutcome {
        let Self { least, most } = self;
        // The values that a comparator accepts are one interval. So if both ends are accepted, all
        // values between them are.
        if condition.holds(least) && condition.holds(most) {
            return ThresholdOutcome::Passed;
        }
        let best = match condition.comparator {
            Comparator::Below | Comparator::AtMost => least,
            Comparator::Above | Comparator::AtLeast => most,
            Comparator::Equal => condition.limit.value().clamp(least, most),
        };
        if condition.holds(best) { ThresholdOutcome::Unknown } else { ThresholdOutcome::Failed }
    }
}

#[cfg(test)]
mod tests {
    use ThresholdOutcome::{Failed, Passed, Unknown};
    use plans::metric::Metric;
    use proptest::prelude::*;

    use super::*;

    fn condition(text: &str) -> Condition {
        Condition::parse_of(Metric::DueToVisible, text).unwrap()
    }

    fn outcome(known: &[f64], ages: &[f64], condition: &Condition) -> Option<ThresholdOutcome> {
        Bounds::of(condition.aggregation, known, ages).map(|bounds| bounds.judge(condition))
    }

    #[track_caller]
    fn check(text: &str, known: &[f64], ages: &[f64], expected: ThresholdOutcome) {
        assert_eq!(outcome(known, ages, &condition(text)), Some(expected), "{text}");
    }

    #[test]
    fn of_61_samples_that_were_quick_and_139_that_wait_nothing_is_passed() {
        let known = vec![19_500.0; 61];
        let ages: Vec<f64> = (0..139).map(|n| 19_800.0 - f64::from(n) * 100.0).collect();
        check("p(95)<20s", &known, &ages, Unknown);
        check("p(95)<15s", &known, &ages, Failed);
        check("p(95)>=10s", &known, &ages, Passed);
        check("p(25)<20s", &known, &ages, Passed);
        check("min<10s", &known, &ages, Unknown);
        check("p(95)<20s", &known, &[], Passed);
    }

    #[test]
    fn every_aggregation_and_comparator_has_an_outcome() {
        let known: Vec<f64> = (1..=9).map(|n| f64::from(n) * 100.0).collect();
        for (text, ages, expected) in [
            // Nine of ten are below a second, so the tenth does not matter.
            ("p(90)<1s", &[50.0][..], Passed),
            ("p(91)<1s", &[50.0], Unknown),
            ("p(91)<1s", &[1_000.0], Failed),
            ("p(91)<=1s", &[1_000.0], Unknown),
            ("p(91)>1s", &[1_000.0], Unknown),
            ("p(91)>=1s", &[1_000.0], Passed),
            ("p(90)>1s", &[50.0], Failed),
            ("p(90)>=900ms", &[50.0], Unknown),
            ("p(90)>=900ms", &[900.0], Passed),
            ("p(100)==1s", &[1_000.0], Unknown),
            ("p(100)==1s", &[1_000.1], Failed),
            ("p(90)==900ms", &[900.0], Passed),
            ("med<450ms", &[50.0], Unknown),
            ("med<=500ms", &[50.0], Passed),
            ("med<=500ms", &[50.0, 60.0], Unknown),
            ("med<=600ms", &[50.0, 60.0], Passed),
            ("min<=100ms", &[50.0], Passed),
            ("min<100ms", &[50.0], Unknown),
            ("min>=100ms", &[50.0], Unknown),
            ("min>=50ms", &[50.0], Passed),
            ("min>100ms", &[50.0], Failed),
            ("min==100ms", &[100.0], Passed),
            ("max<1s", &[50.0], Unknown),
            ("max<1s", &[1_000.0], Failed),
            ("max>=900ms", &[50.0], Passed),
            ("max>1s", &[50.0], Unknown),
            ("max==900ms", &[50.0], Unknown),
            ("avg<450ms", &[50.0], Failed),
            ("avg<1m", &[50.0], Unknown),
            ("avg>=455ms", &[50.0], Passed),
            ("avg>1s", &[50.0], Unknown),
            ("avg==500ms", &[500.0], Unknown),
            ("avg==400ms", &[500.0], Failed),
        ] {
            check(text, &known, ages, expected);
        }
        check("max<1s", &[], &[0.0], Unknown);
        check("min>1s", &[], &[2_000.0], Passed);
        assert_eq!(outcome(&[], &[], &condition("max<1s")), None);
    }

    fn conditions() -> impl Strategy<Value = Condition> {
        let aggregations = prop::sample::select(vec![
            "p(1)", "p(50)", "p(95)", "p(100)", "min", "avg", "med", "max",
        ]);
        let comparators = prop::sample::select(vec!["<", "<=", ">", ">=", "=="]);
        (aggregations, comparators, 0..12_u32).prop_map(|(aggregation, comparator, limit)| {
            condition(&format!("{aggregation}{comparator}{}ms", limit * 10))
        })
    }

    /// Values that are often equal to each other and to the limits of conditions.
    fn values() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec((-2..12_i32).prop_map(|n| f64::from(n) * 10.0), 0..12)
    }

    /// Final values of the waiting samples that produce every possible outcome: the lowest possible
    /// ones, huge ones, values at the limit, and one value that puts the mean at the limit.
    fn ends(known: &[f64], ages: &[f64], limit: f64) -> Vec<Vec<f64>> {
        let all = [known, ages].concat();
        #[expect(clippy::cast_precision_loss, reason = "some samples")]
        let missing = limit * all.len() as f64 - all.iter().sum::<f64>();
        let mut mean = ages.to_vec();
        if let Some(first) = mean.first_mut() {
            *first += missing.max(0.0);
        }
        let at_limit = ages.iter().map(|age| age.max(limit)).collect();
        vec![ages.to_vec(), vec![1e9; ages.len()], at_limit, mean]
    }

    proptest! {
        #[test]
        fn passed_and_failed_hold_whatever_comes_and_unknown_only_if_both_can(
            known in values(),
            waiting in prop::collection::vec((-2..12_i32, 0..2_000_u32), 0..12),
            condition in conditions(),
        ) {
            let ages: Vec<f64> = waiting.iter().map(|(age, _)| f64::from(*age) * 10.0).collect();
            let later = waiting.iter().map(|(_, more)| f64::from(*more));
            let any: Vec<f64> = ages.iter().zip(later).map(|(age, more)| age + more).collect();
            let holds = |ends: &[f64]| {
                let all = [&known[..], ends].concat();
                of_samples(condition.aggregation, all).map(|value| condition.holds(value))
            };
            let told = outcome(&known, &ages, &condition);
            let mut come: Vec<_> = ends(&known, &ages, condition.limit.value());
            come.push(any);
            let come: Vec<Option<bool>> = come.iter().map(|ends| holds(ends)).collect();
            match told {
                Some(Passed) => prop_assert!(come.iter().all(|it| *it == Some(true)), "{come:?}"),
                Some(Failed) => prop_assert!(come.iter().all(|it| *it == Some(false)), "{come:?}"),
                Some(Unknown) => prop_assert!(
                    come.contains(&Some(true)) && come.contains(&Some(false)),
                    "{come:?}"
                ),
                None => prop_assert!(known.is_empty() && ages.is_empty()),
            }
        }
    }
}
