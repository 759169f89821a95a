//! Decides which changes from some runs to others are regressions. Pure.
//!
//! A change of a quantity counts if it is larger than is allowed, if it matters (see
//! [`Quantity::floor`]), and if it is more than noise. Two equal runs differ for two reasons. The
//! seconds of a run vary, which a bootstrap of the seconds shows; and a run as a whole is
//! different from the next, because the machine, its neighbours and the servers are never in the
//! same state again. Only several runs show the latter. So runs are values here, one each:
//! logarithms, because noise multiplies, but for shares.
//!
//! **The noise of one run.** Of n bases and m runs, the squares of the values around the means of
//! their groups add up to S, with n + m − 2 degrees of freedom. That is little to estimate a
//! variance from: three bases may be alike by chance. So the published variance P between runs
//! (see [`published`]), plus the variance that the bootstrap finds within these runs, weighs as
//! much as f₀ further degrees of freedom: v = (f₀ P + S) / (f₀ + n + m − 2). With a single base
//! and a single run nothing but P is known. The change of the means then has the variance
//! v (1/n + 1/m), and its noise follows Student's t distribution with f₀ + n + m − 2 degrees of
//! freedom.
//! Source: Smyth, "Linear models and empirical Bayes methods for assessing differential
//! expression", 2004.
//!
//! **What the generator itself was late.** On a machine that is too busy, every program waits for
//! its turn: the webhook, and the generator that measures it. The generator knows how late it was
//! itself ([`Measured::error`]); a change that is not larger is no fact about the pipeline.
//! So what such runs say is left out if others say something, and else that change is not judged.
//!
//! **What follows.** A quantity whose change counts, and which chance makes so much worse in less
//! than a tenth of comparisons, is *suspected*: of twelve quantities, chance alone does that to one
//! now and then, and another run costs less than a regression that nobody saw. It is a *regression*
//! if either
//!
//! - it is *clear*: chance would make any one of the quantities appear so much worse in less than
//!   0.5 % of such comparisons (the bound is divided by the number of quantities), or
//! - it is *confirmed*: the first run is suspect, and the runs after it, taken alone, are worse by
//!   more than is allowed too, which chance does in less than 2 % of comparisons. Only the
//!   quantities that were suspect are asked, so the bound is divided by their number.

use serde::Serialize;

use crate::versus::bootstrap::{average, drawn, has_enough, squares, variance};
use crate::versus::measured::{Measured, Statistic};
use crate::versus::quantity::{Quantity, Unit, Worse};
use crate::versus::spread::{FREEDOM, published};
use crate::versus::student::{chance_above, exceeded_with};

/// What all runs say of a quantity.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    pub quantity: Quantity,
    /// The smallest change that matters, in the unit of the quantity.
    pub floor: f64,
    pub bases: Vec<Measured>,
    /// In the order in which they were run.
    pub runs: Vec<Measured>,
}

/// The comparison of one quantity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    pub name: Quantity,
    pub unit: Unit,
    /// The mean of the bases, on the scale on which they are compared.
    pub base: Option<f64>,
    /// The same of the runs.
    pub run: Option<f64>,
    /// The value of each base.
    pub base_values: Vec<Option<f64>>,
    pub run_values: Vec<Option<f64>>,
    /// A part of the base's value, or the difference for a share.
    pub change: Option<f64>,
    /// The 95 % interval of the change, considering the noise within the runs and between them.
    pub interval: Option<[f64; 2]>,
    /// The largest change for the worse that is still allowed.
    pub allowed: f64,
    /// The smallest change that matters, in the unit of the quantity.
    pub floor: f64,
    /// The standard deviation of the noise of one run that was assumed: a part of its value, or a
    /// difference for a share.
    pub noise: Option<f64>,
    /// How probable it is that noise alone makes the runs so much worse.
    pub chance: Option<f64>,
    /// Changes below this cannot be told from how late the generator itself was, in the unit of the
    /// quantity. Only if that is more than what matters. JSON has `null` if the machine was too
    /// busy to tell anything.
    pub blur: Option<f64>,
    /// Whether samples that were never seen may make a value larger.
    #[serde(skip)]
    pub(crate) is_open: bool,
    pub outcome: Outcome,
}

/// The judgement of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Worse than allowed, by so much that it matters, and not by chance.
    Regression,
    /// The same, but chance is not excluded: another run would tell.
    Suspected,
    /// Better by so much that the opposite change would at least be suspected.
    Improvement,
    /// Larger than allowed, but within the noise.
    WithinNoise,
    /// Too small to count.
    Alike,
    /// Worse than allowed, but it cannot be judged: the runs have too few seconds in common to tell
    /// it from noise, the generator itself was as late, or samples that were never seen leave it
    /// open.
    NotJudged,
    /// No base or no run has samples, or too few.
    NotMeasured,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Regression => "REGRESSION",
            Self::Suspected => "suspected",
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

/// Compares runs, quantity by quantity.
pub fn judge(measures: &[Measure]) -> Vec<Compared> {
    let evidence: Vec<Evidence> = measures.iter().map(Evidence::of).collect();
    let asked = evidence.iter().filter(|it| it.all.is_some()).count();
    let suspect = evidence.iter().filter(|it| it.first_is_suspect()).count();
    let clear_below = CLEAR / f64::from(u32::try_from(asked.max(1)).unwrap_or(u32::MAX));
    let confirmed_below = CONFIRMED / f64::from(u32::try_from(suspect.max(1)).unwrap_or(u32::MAX));
    let outcome = |it: &Evidence| it.outcome(clear_below, confirmed_below);
    measures.iter().zip(&evidence).map(|(measure, it)| it.told(measure, outcome(it))).collect()
}

/// Outside of the 95 % interval, on either side.
const OUTSIDE: f64 = 0.025;
/// A change that noise exceeds with a lower probability is suspected.
const SUSPECTED: f64 = 0.1;
/// All quantities together are wrongly found so clear with at most this probability.
const CLEAR: f64 = 0.005;
/// All quantities together that were wrongly suspected are confirmed with at most this probability.
const CONFIRMED: f64 = 0.02;

/// What the runs say of a change.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Evidence {
    base: Option<f64>,
    run: Option<f64>,
    change: Option<f64>,
    /// Whether the change is worse, and larger than allowed and than what matters.
    is_worse: bool,
    is_beyond: bool,
    blur: Option<f64>,
    is_open: bool,
    base_is_open: bool,
    all: Option<Noisy>,
    /// The first run alone, and those after it, if there are several.
    first: Option<Noisy>,
    later: Option<Noisy>,
}

/// A change together with its noise.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Noisy {
    /// On the scale on which runs are compared.
    change: f64,
    /// Half of the 95 % interval.
    reach: f64,
    /// The standard deviation of one run.
    noise: f64,
    /// How probable it is that noise makes it worse by this much.
    chance: f64,
    /// Whether it is worse, and larger than allowed and than what matters.
    is_bad: bool,
}

impl Evidence {
    fn of(measure: &Measure) -> Self {
        let unit = measure.quantity.unit();
        let (bases, runs) = (usable(&measure.bases, measure), usable(&measure.runs, measure));
        let values = |of: &[&Measured]| of.iter().filter_map(|it| it.value).collect::<Vec<f64>>();
        let scale = Scale::of(unit, &values(&bases));
        let (base, run) = (scale.typical(&values(&bases)), scale.typical(&values(&runs)));
        let is_open = |of: &[&Measured]| of.iter().any(|it| it.is_open);
        let both = base.zip(run);
        let change = both.and_then(|(base, run)| change(unit, base, run));
        let noisy = change.and_then(|_| Groups::of(measure, scale, (&bases, &runs)));
        let alone = noisy.as_ref().filter(|groups| groups.runs.len() > 1);
        let blur = runs.iter().map(|it| it.error).fold(0.0, f64::max);
        Self {
            base,
            run,
            change,
            is_worse: both.is_some_and(|(base, run)| is_worse(measure, base, run)),
            is_beyond: both.is_some_and(|(base, run)| is_beyond(measure, base, run)),
            blur: (blur > measure.floor).then_some(blur),
            is_open: is_open(&bases) || is_open(&runs),
            base_is_open: is_open(&bases),
            all: noisy.as_ref().and_then(|groups| groups.noisy(0..groups.runs.len())),
            first: alone.and_then(|groups| groups.noisy(0..1)),
            later: alone.and_then(|groups| groups.noisy(1..groups.runs.len())),
        }
    }

    fn first_is_suspect(&self) -> bool {
        self.first.is_some_and(|first| first.is_bad && first.chance < SUSPECTED)
    }

    fn outcome(&self, clear_below: f64, confirmed_below: f64) -> Outcome {
        let outcome = match &self.all {
            None if self.is_beyond && self.is_worse => Outcome::NotJudged,
            None => Outcome::NotMeasured,
            Some(_) if !self.is_beyond => Outcome::Alike,
            Some(all) if self.is_worse => self.degree(all, clear_below, confirmed_below),
            Some(all) if all.chance > 1.0 - SUSPECTED => Outcome::Improvement,
            Some(_) => Outcome::WithinNoise,
        };
        let is_bad = matches!(outcome, Outcome::Regression | Outcome::Suspected);
        if is_bad && self.is_blurred() {
            return Outcome::NotJudged;
        }
        // More unseen samples can only make a bad change worse, unless those of the base may make
        // it as bad.
        let is_settled = is_bad && !self.base_is_open;
        if self.is_open && !is_settled { Outcome::NotJudged } else { outcome }
    }

    /// Whether the generator itself was late enough to explain the change.
    fn is_blurred(&self) -> bool {
        let both = self.base.zip(self.run).zip(self.blur);
        both.is_some_and(|((base, run), blur)| (run - base).abs() < blur)
    }

    /// How sure it is that a bad change is no noise.
    fn degree(&self, all: &Noisy, clear_below: f64, confirmed_below: f64) -> Outcome {
        let is_confirmed =
            self.later.is_some_and(|later| later.is_bad && later.chance < confirmed_below);
        match all.chance {
            chance if chance < clear_below => Outcome::Regression,
            _ if self.first_is_suspect() && is_confirmed => Outcome::Regression,
            chance if chance < SUSPECTED => Outcome::Suspected,
            _ => Outcome::WithinNoise,
        }
    }

    fn told(&self, measure: &Measure, outcome: Outcome) -> Compared {
        let values = |of: &[Measured]| of.iter().map(|it| it.value).collect();
        let unit = measure.quantity.unit();
        let end = |reach: f64| move |it: Noisy| relative(unit, it.change + reach * it.reach);
        Compared {
            name: measure.quantity.clone(),
            unit,
            base: self.base,
            run: self.run,
            base_values: values(&measure.bases),
            run_values: values(&measure.runs),
            change: self.change,
            interval: self.all.map(end(-1.0)).zip(self.all.map(end(1.0))).map(Into::into),
            allowed: measure.quantity.allowed() * sign(measure),
            floor: measure.floor,
            noise: self.all.map(|it| relative(unit, it.noise)),
            chance: self.all.map(|it| it.chance),
            blur: self.blur,
            is_open: self.is_open,
            outcome,
        }
    }
}

/// The runs that have enough seconds in common.
#[derive(Debug)]
struct Groups<'m> {
    measure: &'m Measure,
    scale: Scale,
    bases: Vec<f64>,
    runs: Vec<f64>,
    /// For each draw of the bootstrap, the mean of the bases and the value of each run; nothing if
    /// there is no noise within the runs.
    draws: Vec<(f64, Vec<f64>)>,
}

impl<'m> Groups<'m> {
    fn of(
        measure: &'m Measure,
        scale: Scale,
        (bases, runs): (&[&'m Measured], &[&'m Measured]),
    ) -> Option<Self> {
        let enough = |of: &'_ [&'m Measured], others: &[&Measured]| -> Vec<&'m Measured> {
            of.iter().copied().filter(|it| has_enough(it, others)).collect()
        };
        let (bases, runs) = (enough(bases, runs), enough(runs, bases));
        if bases.is_empty() || runs.is_empty() {
            return None;
        }
        let statistic = Statistic::of(&measure.quantity);
        let drawn = drawn(statistic, &bases, &runs);
        let scaled = |values: &Vec<f64>| values.iter().map(|it| scale.scaled(*it)).collect();
        let draw = |(bases, runs): (&Vec<f64>, &Vec<f64>)| {
            let bases: Vec<f64> = scaled(bases);
            (average(&bases), scaled(runs))
        };
        let values = |of: &[&Measured]| {
            of.iter().filter_map(|it| it.value).map(|it| scale.scaled(it)).collect()
        };
        Some(Self {
            measure,
            scale,
            bases: values(&bases),
            runs: values(&runs),
            draws: drawn.bases.iter().zip(&drawn.runs).map(draw).collect(),
        })
    }

    /// Compares some of the runs with all bases.
    fn noisy(&self, which: std::ops::Range<usize>) -> Option<Noisy> {
        let runs = self.runs.get(which.clone()).filter(|runs| !runs.is_empty())?;
        let (base, run) = (average(&self.bases), average(runs));
        let change = run - base;
        let parts = 1.0 / count(&self.bases) + 1.0 / count(runs);
        let of_draw = |(bases, runs): &(f64, Vec<f64>)| average(&runs[which.clone()]) - bases;
        let within = variance(&self.draws.iter().map(of_draw).collect::<Vec<f64>>()) / parts;
        let (from, to) = (self.scale.unscaled(base), self.scale.unscaled(run));
        let prior = published(&self.measure.quantity, from).powi(2) + within;
        let known = u32::try_from(self.bases.len() + runs.len() - 2).ok()?;
        let sum = f64::from(FREEDOM) * prior + squares(&self.bases) + squares(runs);
        let variance = sum / f64::from(FREEDOM + known);
        let error = (variance * parts).sqrt();
        let sign = sign(self.measure);
        Some(Noisy {
            change,
            reach: error * exceeded_with(OUTSIDE, FREEDOM + known),
            noise: variance.sqrt(),
            chance: chance_above(change * sign / error, FREEDOM + known),
            is_bad: is_worse(self.measure, from, to) && is_beyond(self.measure, from, to),
        })
    }
}

/// The runs that have a value. If some of them are not blurred by more than what matters, only
/// those.
fn usable<'m>(group: &'m [Measured], measure: &Measure) -> Vec<&'m Measured> {
    let known: Vec<&Measured> = group.iter().filter(|it| it.value.is_some()).collect();
    let sharp: Vec<&Measured> =
        known.iter().copied().filter(|it| it.error <= measure.floor).collect();
    if sharp.is_empty() { known } else { sharp }
}

/// How values are turned into those that are compared.
#[derive(Debug, Clone, Copy)]
struct Scale {
    unit: Unit,
    /// Smaller values count as this one, because 0 has no logarithm.
    least: f64,
}

impl Scale {
    fn of(unit: Unit, bases: &[f64]) -> Self {
        let most = bases.iter().copied().fold(0.0, f64::max);
        Self { unit, least: (most * LEAST_PART).max(f64::MIN_POSITIVE) }
    }

    fn scaled(self, value: f64) -> f64 {
        match self.unit {
            Unit::Share => value,
            _ => value.max(self.least).ln(),
        }
    }

    fn unscaled(self, value: f64) -> f64 {
        match self.unit {
            Unit::Share => value,
            _ => value.exp(),
        }
    }

    /// The mean on the scale of comparison, as a value.
    fn typical(self, values: &[f64]) -> Option<f64> {
        match values {
            [] => None,
            [one] => Some(*one),
            _ if values.iter().all(|it| *it <= 0.0) => Some(0.0),
            _ => {
                let scaled: Vec<f64> = values.iter().map(|it| self.scaled(*it)).collect();
                Some(self.unscaled(average(&scaled)))
            }
        }
    }
}

const LEAST_PART: f64 = 0.001;

/// The change of a value: a part of the base, or a difference in points for a share. If the base is
/// 0, there is none.
fn change(unit: Unit, base: f64, run: f64) -> Option<f64> {
    match unit {
        Unit::Share => Some(run - base),
        _ if base > 0.0 => Some(run / base - 1.0),
        _ if (run - base).abs() < f64::EPSILON => Some(0.0),
        _ => None,
    }
}

/// The same of a change on the scale on which runs are compared.
fn relative(unit: Unit, scaled: f64) -> f64 {
    match unit {
        Unit::Share => scaled,
        _ => scaled.exp() - 1.0,
    }
}

fn sign(measure: &Measure) -> f64 {
    match measure.quantity.worse() {
        Worse::More => 1.0,
        Worse::Less => -1.0,
    }
}

fn is_worse(measure: &Measure, base: f64, run: f64) -> bool {
    (run - base) * sign(measure) > 0.0
}

/// Whether a change is larger than allowed, and matters. From 0, any change that matters is larger
/// than allowed.
fn is_beyond(measure: &Measure, base: f64, run: f64) -> bool {
    let matters = (run - base).abs() >= measure.floor;
    let change = change(measure.quantity.unit(), base, run);
    matters && change.is_none_or(|it| it.abs() > measure.quantity.allowed())
}

fn count(values: &[f64]) -> f64 {
    crate::figures::as_f64(values.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::quantity::Resource;

    const CPU: fn() -> Quantity = || Quantity::Used("nats".to_owned(), Resource::Cpu);

    /// A run of a minute in whose seconds a quantity varies a little around a value.
    fn measured(value: f64) -> Measured {
        let second = |at: i64| (at, vec![(value * if at % 2 == 0 { 0.99 } else { 1.01 }, 1.0)]);
        Measured {
            value: Some(value),
            by_second: (0..60).map(second).collect(),
            ..Measured::default()
        }
    }

    fn measure(quantity: Quantity, floor: f64, bases: &[f64], runs: &[f64]) -> Measure {
        let group = |values: &[f64]| values.iter().map(|it| measured(*it)).collect();
        Measure { quantity, floor, bases: group(bases), runs: group(runs) }
    }

    fn outcome(measure: Measure) -> Outcome {
        judge(&[measure]).remove(0).outcome
    }

    #[track_caller]
    fn check(quantity: Quantity, floor: f64, bases: &[f64], runs: &[f64], expected: Outcome) {
        let compared = judge(&[measure(quantity, floor, bases, runs)]).remove(0);
        assert_eq!(compared.outcome, expected, "{compared:?}");
    }

    #[test]
    fn what_is_worse_than_allowed_is_a_regression_in_the_direction_that_is_worse() {
        let rate = |run, expected| check(Quantity::Acknowledged, 5.0, &[100.0], &[run], expected);
        rate(70.0, Outcome::Regression);
        rate(91.0, Outcome::Alike);
        rate(140.0, Outcome::Improvement);
        let errors = |run, expected| check(Quantity::Errors, 0.0, &[0.0], &[run], expected);
        errors(0.1, Outcome::Regression);
        errors(0.009, Outcome::Alike);
        errors(0.0, Outcome::Alike);
        let bases = [200.0, 204.0, 198.0, 201.0];
        let visible = |run, expected| check(Quantity::EndToEnd(95), 10.0, &bases, &[run], expected);
        visible(400.0, Outcome::Regression);
        visible(235.0, Outcome::Alike);
        visible(100.0, Outcome::Improvement);
    }

    #[test]
    fn a_change_that_does_not_matter_is_none_however_sure_it_is() {
        let bases = [1.5; 6];
        check(Quantity::Webhook(99), 10.0, &bases, &[3.65; 6], Outcome::Alike);
        check(Quantity::Webhook(99), 1.0, &bases, &[3.65; 6], Outcome::Regression);
        check(Quantity::Webhook(99), 10.0, &bases, &[30.0; 6], Outcome::Regression);
    }

    #[test]
    fn a_change_within_what_the_bases_vary_is_noise_and_one_beyond_is_not() {
        let steady = [10.0, 10.8, 9.3, 10.5, 9.6];
        let shaky = [10.0, 14.0, 7.0, 12.0, 8.0];
        check(CPU(), 0.05, &steady, &[12.0], Outcome::Suspected);
        check(CPU(), 0.05, &steady, &[20.0], Outcome::Regression);
        check(CPU(), 0.05, &shaky, &[12.5], Outcome::WithinNoise);
        check(CPU(), 0.05, &shaky, &[60.0], Outcome::Regression);
    }

    #[test]
    fn one_base_says_less_than_several_that_are_alike() {
        let noise =
            |bases: &[f64]| judge(&[measure(CPU(), 0.05, bases, &[10.0])]).remove(0).noise.unwrap();
        assert!(noise(&[10.0]) > noise(&[10.0; 3]));
        assert!(noise(&[10.0; 3]) > noise(&[10.0; 9]));
        assert!(noise(&[10.0; 2]) > 0.04, "two that are alike by chance prove little");
    }

    #[test]
    fn a_second_run_confirms_or_clears_what_the_first_made_suspect() {
        let bases = [10.0, 10.8, 9.3, 10.5, 9.6];
        let cpu = |runs: &[f64], expected| check(CPU(), 0.05, &bases, runs, expected);
        cpu(&[12.0], Outcome::Suspected);
        cpu(&[12.0, 12.1], Outcome::Regression);
        cpu(&[12.0, 9.9], Outcome::Alike);
        cpu(&[9.9, 12.0], Outcome::Alike);
    }

    #[test]
    fn the_more_is_asked_the_surer_must_be_what_is_clear() {
        let slow = || measure(CPU(), 0.05, &[10.0, 10.2, 9.9], &[16.0]);
        assert_eq!(outcome(slow()), Outcome::Regression);
        let other = || measure(Quantity::Acknowledged, 0.0, &[10.0, 10.0, 10.0], &[10.0]);
        let mut many: Vec<Measure> = (0..400).map(|_| other()).collect();
        many.push(slow());
        assert_eq!(judge(&many).pop().unwrap().outcome, Outcome::Suspected);
    }

    #[test]
    fn the_noise_within_a_run_counts_too() {
        let mut stalls = measure(CPU(), 0.05, &[10.0], &[16.0]);
        assert_eq!(outcome(stalls.clone()), Outcome::Regression);
        // One bad stretch is all that makes the run worse.
        let by_second = &mut stalls.runs[0].by_second;
        for (at, samples) in by_second {
            samples[0].0 = if (20..23).contains(at) { 130.0 } else { 10.0 };
        }
        assert_eq!(outcome(stalls), Outcome::WithinNoise);
    }

    #[test]
    fn a_run_that_is_too_short_is_not_measured_and_a_bad_one_not_judged() {
        let short = |seconds: usize, value: f64| {
            let mut measure = measure(CPU(), 0.05, &[10.0], &[value]);
            let by_second = &mut measure.runs[0].by_second;
            *by_second = by_second.iter().take(seconds).map(|(at, it)| (*at, it.clone())).collect();
            outcome(measure)
        };
        assert_eq!(short(19, 10.0), Outcome::NotMeasured);
        assert_eq!(short(20, 10.0), Outcome::Alike);
        assert_eq!(short(19, 30.0), Outcome::NotJudged);
        assert_eq!(short(20, 30.0), Outcome::Regression);
    }

    #[test]
    fn from_nothing_there_is_no_change_in_percent() {
        check(CPU(), 0.05, &[0.0], &[0.0], Outcome::Alike);
        check(CPU(), 0.05, &[0.0], &[0.04], Outcome::NotMeasured);
        check(CPU(), 0.05, &[0.0], &[0.3], Outcome::NotJudged);
        check(CPU(), 0.05, &[0.3], &[0.0], Outcome::Improvement);
        check(Quantity::Ingested, 5.0, &[100.0], &[0.0], Outcome::Regression);
    }

    #[test]
    fn a_base_that_nobody_measured_is_left_out() {
        let mut some = measure(CPU(), 0.05, &[10.0, 10.1, 9.9], &[16.0]);
        some.bases[1] = Measured::default();
        let compared = judge(&[some]).remove(0);
        assert_eq!(compared.outcome, Outcome::Regression);
        assert_eq!(compared.base_values, [Some(10.0), None, Some(9.9)]);
        let mut none = measure(CPU(), 0.05, &[10.0], &[16.0]);
        none.bases[0] = Measured::default();
        assert_eq!(outcome(none), Outcome::NotMeasured);
    }

    #[test]
    fn a_latency_is_not_judged_where_the_generator_itself_was_as_late() {
        let late = |run: f64, error: f64| {
            let mut late = measure(Quantity::Webhook(95), 10.0, &[2.0, 2.1, 1.9], &[run]);
            late.runs[0].error = error;
            late
        };
        assert_eq!(outcome(late(200.0, 3.0)), Outcome::Regression);
        assert_eq!(outcome(late(200.0, 210.0)), Outcome::NotJudged);
        assert_eq!(outcome(late(300.0, 100.0)), Outcome::Regression);
        assert_eq!(outcome(late(300.0, f64::INFINITY)), Outcome::NotJudged);
        assert_eq!(outcome(late(2.1, 100.0)), Outcome::Alike);
        // A base of such a machine would excuse everything, and a run of it is run again.
        let mut excused = late(200.0, 3.0);
        excused.bases.push(Measured { error: 100.0, ..measured(300.0) });
        assert_eq!(outcome(excused), Outcome::Regression);
        let mut again = late(200.0, 210.0);
        again.runs.push(measured(2.0));
        assert_eq!(outcome(again), Outcome::Alike);
    }
}
