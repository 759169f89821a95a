//! Decides whether a change is a regression. Pure.

use serde::Serialize;

use crate::versus::bootstrap::{change, interval};
use crate::versus::measured::{Measure, Unit, Worse};

/// The comparison of one measure of two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Compared {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) base: Option<f64>,
    pub(crate) run: Option<f64>,
    /// A part of the base's value, or the difference for a share.
    pub(crate) change: Option<f64>,
    /// The 95 % interval of the change, considering the noise within the runs.
    pub(crate) interval: Option<[f64; 2]>,
    /// The largest change for the worse that is still allowed.
    pub(crate) allowed: f64,
    /// Whether samples that were never seen may make a value larger.
    #[serde(skip)]
    pub(crate) is_open: bool,
    pub(crate) outcome: Outcome,
}

/// The judgement of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Worse than allowed, and more than noise.
    Regression,
    /// Better by so much that the opposite change would be a regression.
    Improvement,
    /// Larger than allowed, but within the variation of the runs' seconds.
    WithinNoise,
    /// Too small to count.
    Alike,
    /// Worse than allowed, but it cannot be judged: the runs have too few seconds in common to tell
    /// it from noise, or samples that were never seen leave it open.
    NotJudged,
    /// At least one of the runs has no samples, or too few.
    NotMeasured,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Regression => "REGRESSION",
            Self::Improvement => "better",
            Self::WithinNoise => "within noise",
            Self::Alike => "alike",
            Self::NotJudged => "not judged",
            Self::NotMeasured => "not measured",
        }
    }

    /// Whether there was enough data to tell a change from noise.
    pub(crate) fn is_judged(self) -> bool {
        !matches!(self, Self::NotJudged | Self::NotMeasured)
    }
}

/// Compares one measure of two runs.
pub(crate) fn compared(measure: &Measure) -> Compared {
    let (base, run) = (measure.base.value, measure.run.value);
    let change = base.zip(run).and_then(|(base, run)| change(measure.unit, base, run));
    let interval = change.and_then(|change| interval(measure, change));
    let sign = match measure.worse {
        Worse::More => 1.0,
        Worse::Less => -1.0,
    };
    let difference = base.zip(run).map(|(base, run)| run - base);
    let is_worse = difference.is_some_and(|it| it * sign > 0.0);
    // If the base is 0, there is no relative change, and any value exceeds the allowed one.
    let is_beyond = difference.is_some_and(|it| it.abs() >= measure.change_min)
        && change.is_none_or(|it| it.abs() > measure.allowed);
    let outcome = match (change, interval) {
        (None, _) | (_, None) if is_beyond && is_worse => Outcome::NotJudged,
        (None, _) | (_, None) => Outcome::NotMeasured,
        (Some(_), _) if !is_beyond => Outcome::Alike,
        // If the interval contains 0 or has the other sign, the change is not proven.
        (Some(change), Some([low, high])) if low * change <= 0.0 || high * change <= 0.0 => {
            Outcome::WithinNoise
        }
        _ if is_worse => Outcome::Regression,
        _ => Outcome::Improvement,
    };
    let is_open = measure.base.is_open || measure.run.is_open;
    // More unseen samples can only make a regression worse, unless those of the base may make it as
    // bad.
    let is_settled = outcome == Outcome::Regression && !measure.base.is_open;
    let outcome = if is_open && !is_settled { Outcome::NotJudged } else { outcome };
    let allowed = measure.allowed * sign;
    let (name, unit) = (measure.name.clone(), measure.unit);
    Compared { name, unit, base, run, change, interval, allowed, is_open, outcome }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::measured::measures;
    use crate::versus::side::tests::{side, watched};

    /// Compares a run whose seconds are as given with a run of 100 events a second at a p95 of 20
    /// ms, and returns the outcomes of a measure.
    #[track_caller]
    fn check(of_second: impl Fn(i64) -> (u64, f64), name: &str, expected: Outcome) {
        let all = measures(&side(|_| (100, 20.0)), &side(of_second));
        let measure = all.iter().find(|it| it.name == name).unwrap();
        let compared = compared(measure);
        assert_eq!(compared.outcome, expected, "{compared:?}");
    }

    #[test]
    fn what_is_worse_than_allowed_is_a_regression() {
        check(|_| (89, 20.0), "acknowledged", Outcome::Regression);
        check(|_| (91, 20.0), "acknowledged", Outcome::Alike);
        check(|_| (120, 20.0), "acknowledged", Outcome::Improvement);
        check(|_| (100, 25.0), "webhook p95", Outcome::Regression);
        check(|_| (100, 23.0), "webhook p95", Outcome::Alike);
        check(|_| (100, 10.0), "webhook p95", Outcome::Improvement);
        check(|_| (100, 25.0), "ingested", Outcome::NotMeasured);
        check(|_| (100, 25.0), "end to end p95", Outcome::NotMeasured);
        check(|_| (100, 20.0), "errors", Outcome::Alike);
    }

    #[test]
    fn what_becomes_visible_in_batches_is_judged_by_the_seconds_in_which_it_was_due() {
        let outcome = |run| {
            let all = measures(&watched(60, 0), &run);
            compared(all.iter().find(|it| it.name == "end to end p95").unwrap()).outcome
        };
        assert_eq!(outcome(watched(60, 12)), Outcome::Regression);
        assert_eq!(outcome(watched(60, 1)), Outcome::Alike);
        assert_eq!(outcome(watched(19, 12)), Outcome::NotJudged);
        assert_eq!(outcome(watched(19, 1)), Outcome::NotMeasured);
        let faster = measures(&watched(60, 12), &watched(19, 0));
        assert!(faster.iter().map(compared).all(|it| it.outcome != Outcome::NotJudged));
    }

    #[test]
    fn one_bad_stretch_is_within_noise() {
        let stalls = |at| if (20..23).contains(&at) { (100, 200.0) } else { (100, 20.0) };
        check(stalls, "webhook p99", Outcome::WithinNoise);
    }

    #[test]
    fn changes_that_timers_make_do_not_count() {
        let all = measures(&side(|_| (100, 0.5)), &side(|_| (100, 1.0)));
        let measure = all.iter().find(|it| it.name == "webhook p95").unwrap();
        assert_eq!(compared(measure).outcome, Outcome::Alike);
    }

    #[test]
    fn what_is_lost_is_an_error_though_no_second_has_it() {
        let (base, mut run) = (side(|_| (100, 20.0)), side(|_| (100, 20.0)));
        run.report.totals.lost = run.report.totals.attempted / 10;
        let all = measures(&base, &run);
        let errors = all.iter().find(|it| it.name == "errors").unwrap();
        assert_eq!(compared(errors).outcome, Outcome::Regression);
    }

    #[test]
    fn a_run_that_is_too_short_is_not_measured() {
        let short = |seconds: usize| {
            let mut side = side(|_| (100, 20.0));
            side.records.seconds.truncate(seconds);
            side
        };
        let outcome = |seconds| compared(&measures(&short(60), &short(seconds))[0]).outcome;
        assert_eq!(outcome(19), Outcome::NotMeasured);
        assert_eq!(outcome(20), Outcome::Alike);
    }
}
