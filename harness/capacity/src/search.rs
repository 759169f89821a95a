//! Which rate to try next, so that the highest sustained one is found. Pure: everything follows
//! from the plateaus so far.
//!
//! The rate is doubled until it is not sustained. Then what is known lies in a bracket: the highest
//! rate that was sustained, and the lowest that was not. Every plateau makes the bracket smaller
//! and none makes it larger, so the search cannot go back and forth: a rate that was not sustained
//! is never passed again, even if a higher one once seemed to be. Inside of the bracket the next
//! rate is its middle, or, if the plateau above has shown how much the pipeline stored while it was
//! overloaded, a little above and then a little below that. When the bracket is narrow, its lower
//! end is tried for longer. If that fails, the lower end is the new upper end, and from then on
//! every plateau is a long one, because short ones have deceived.

use std::time::Duration;

use crate::judge::{Failure, Judgement, Missing, Verdict, judge};
use crate::plateau::Plateau;
use crate::rules::JudgeOptions;
use crate::units::EventsPerSecond;

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchOptions {
    pub judge: JudgeOptions,
    /// The first rate.
    pub start: EventsPerSecond,
    /// No rate outside of these is tried: the lowest that is of interest, and what the generator
    /// can send.
    pub limits: (EventsPerSecond, EventsPerSecond),
    /// Before each plateau, half of its rate is sent for this long, so that connections are open
    /// and programs warm, and nothing gathers meanwhile. It is no part of the plateau.
    pub warm_up: Duration,
    /// How long a plateau lasts; at least [`JudgeOptions::plateau_min`].
    pub plateau: Duration,
    /// How long one lasts that confirms an answer.
    pub confirmation: Duration,
    /// The search ends if the rate above the answer is at most by this share higher.
    pub precision: f64,
    pub plateaus_max: usize,
    /// For all plateaus together, without the time in between.
    pub load_time_max: Duration,
    /// How often in a row a plateau is repeated that cannot be judged.
    pub repeats_max: usize,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            judge: JudgeOptions::default(),
            start: EventsPerSecond(1_000.0),
            limits: (EventsPerSecond(1.0), EventsPerSecond(1_000_000.0)),
            warm_up: Duration::from_mins(1),
            plateau: Duration::from_mins(3),
            confirmation: Duration::from_mins(10),
            precision: 0.03,
            plateaus_max: 12,
            load_time_max: Duration::from_hours(2),
            repeats_max: 2,
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Send at this rate for this long, from a drained pipeline, after
    /// [`SearchOptions::warm_up`].
    Try {
        rate: EventsPerSecond,
        duration: Duration,
        is_confirmation: bool,
    },
    Found(Found),
    /// There is no answer within the limits.
    GaveUp {
        why: GaveUp,
        /// The highest rate that was sustained, but not confirmed.
        best: Option<EventsPerSecond>,
    },
}

/// The maximum sustainable rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    pub rate: EventsPerSecond,
    /// The index of the plateau that confirmed it.
    pub confirmed_by: usize,
    /// The index of the plateau with the lowest rate that was not shown to be sustained: judging
    /// it tells the bottleneck. `None` if the highest rate that may be tried is sustained.
    pub above: Option<usize>,
}

/// Why a search ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUp {
    /// Not even the lowest rate is sustained.
    TooSlow,
    /// Plateaus could not be judged: judge the last one to learn what is missing.
    NotJudged,
    /// All plateaus are used up.
    Plateaus,
    /// The time is used up.
    Time,
}

/// A plateau that was judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    pub rate: EventsPerSecond,
    pub duration: Duration,
    pub is_confirmation: bool,
    pub verdict: Verdict,
    /// The rate at which events reached the table.
    pub stored: Option<EventsPerSecond>,
}

impl Trial {
    pub fn new(plateau: &Plateau, judgement: Judgement) -> Self {
        Self {
            rate: plateau.rate,
            duration: plateau.duration,
            is_confirmation: plateau.is_confirmation,
            verdict: judgement.verdict,
            stored: judgement.stored,
        }
    }
}

/// Returns the next step after these plateaus, in the order in which they were tried.
pub fn next(options: &SearchOptions, plateaus: &[Plateau]) -> Step {
    let trial = |it: &Plateau| Trial::new(it, judge(&options.judge, it));
    let trials: Vec<Trial> = plateaus.iter().map(trial).collect();
    next_of(options, &trials)
}

/// The same of plateaus that were judged before, so that their observations need not be kept.
pub fn next_of(options: &SearchOptions, trials: &[Trial]) -> Step {
    let search = Search { options, trials, bracket: Bracket::of(options, trials) };
    search.next()
}

/// What is known of the answer: indexes of trials.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bracket {
    /// The highest rate that was sustained, below `high`.
    low: Option<usize>,
    /// The lowest rate that was not sustained, or could not be judged again and again.
    high: Option<usize>,
    /// The confirmation of `low`.
    confirmed: Option<usize>,
    /// Whether a confirmation has failed: short plateaus deceive.
    is_deceived: bool,
    /// How many trials at the end have failed one after the other, each lower than the one before.
    falls: usize,
    /// How many trials at the end could not be judged, at the same rate.
    repeats: usize,
}

impl Bracket {
    fn of(options: &SearchOptions, trials: &[Trial]) -> Self {
        let mut bracket = Self::default();
        for (index, trial) in trials.iter().enumerate() {
            let again = index.checked_sub(1).is_some_and(|last| is_same(&trials[last], trial));
            match &trial.verdict {
                Verdict::NotKnown { .. } => {
                    bracket.repeats = if again { bracket.repeats + 1 } else { 1 };
                    if bracket.repeats <= options.repeats_of(trial) {
                        continue;
                    }
                    bracket.fall(trials, index);
                }
                Verdict::NotSustained { .. } => bracket.fall(trials, index),
                Verdict::Sustained => bracket.rise(trials, index),
            }
        }
        bracket
    }

    fn rise(&mut self, trials: &[Trial], index: usize) {
        (self.falls, self.repeats) = (0, 0);
        let rate = trials[index].rate;
        if self.high.is_some_and(|high| trials[high].rate <= rate) {
            return;
        }
        let is_confirmation = trials[index].is_confirmation;
        // A short plateau proves nothing any more where a long one has failed.
        if self.low.is_none_or(|low| trials[low].rate <= rate) {
            self.low = Some(index);
            self.confirmed = is_confirmation.then_some(index);
        }
    }

    fn fall(&mut self, trials: &[Trial], index: usize) {
        self.repeats = 0;
        self.is_deceived |= trials[index].is_confirmation;
        let rate = trials[index].rate;
        if self.high.is_some_and(|high| trials[high].rate <= rate) {
            return;
        }
        self.falls += 1;
        self.high = Some(index);
        let below =
            |it: &usize| trials[*it].verdict == Verdict::Sustained && trials[*it].rate < rate;
        let by_rate =
            |one: &usize, other: &usize| trials[*one].rate.0.total_cmp(&trials[*other].rate.0);
        self.low = (0..index).filter(below).max_by(by_rate);
        self.confirmed = self.low.filter(|low| trials[*low].is_confirmation);
    }
}

fn is_same(one: &Trial, other: &Trial) -> bool {
    one.rate == other.rate && one.is_confirmation == other.is_confirmation
}

impl SearchOptions {
    /// How often in a row a trial like this is repeated.
    fn repeats_of(&self, trial: &Trial) -> usize {
        let Verdict::NotKnown { missing } = &trial.verdict else { return 0 };
        let is_noisy = missing.iter().any(|it| matches!(it, Missing::Certainty { .. }));
        if is_noisy && trial.duration >= self.confirmation {
            // What so long a plateau does not show, another one does not show either.
            0
        } else if is_noisy || missing.contains(&Missing::GeneratorSaturated) {
            self.repeats_max.min(1)
        } else {
            self.repeats_max
        }
    }
}

struct Search<'t> {
    options: &'t SearchOptions,
    trials: &'t [Trial],
    bracket: Bracket,
}

impl Search<'_> {
    fn next(&self) -> Step {
        if let Some(found) = self.found() {
            return Step::Found(found);
        }
        let step = match self.again().unwrap_or_else(|| self.next_rate()) {
            Ok(step) => step,
            Err(why) => return self.gave_up(why),
        };
        let Step::Try { duration, .. } = step else { return step };
        if self.plateaus_left() == 0 {
            return self.settle(GaveUp::Plateaus);
        }
        if duration > self.time_left() {
            return self.settle(GaveUp::Time);
        }
        step
    }

    fn plateaus_left(&self) -> usize {
        self.options.plateaus_max.saturating_sub(self.trials.len())
    }

    fn time_left(&self) -> Duration {
        let used = self.trials.iter().map(|trial| trial.duration).sum();
        self.options.load_time_max.saturating_sub(used)
    }

    /// Whether it is time to confirm what is known: after one more plateau there would be too few
    /// left to confirm an answer, and a lower one if that fails.
    fn is_last(&self) -> bool {
        let time = self.options.plateau + self.options.confirmation;
        self.plateaus_left() <= CONFIRMATIONS_KEPT || self.time_left() < time
    }

    /// The answer, if the lower end is confirmed and the bracket narrow.
    fn found(&self) -> Option<Found> {
        let confirmed_by = self.bracket.confirmed?;
        let rate = self.trials[confirmed_by].rate;
        let is_narrow = match self.bracket.high {
            Some(high) => self.is_narrow(rate, self.trials[high].rate),
            None => rate >= self.options.limits.1,
        };
        is_narrow.then_some(Found { rate, confirmed_by, above: self.bracket.high })
    }

    /// What is known when nothing more can be tried: a confirmed rate is an answer even if the one
    /// above it is not near.
    fn settle(&self, why: GaveUp) -> Step {
        let high = self.bracket.high.map_or(f64::INFINITY, |high| self.trials[high].rate.0);
        let confirmed = self.trials.iter().enumerate().filter(|(_, trial)| {
            trial.is_confirmation && trial.verdict == Verdict::Sustained && trial.rate.0 < high
        });
        let best = confirmed.max_by(|one, other| one.1.rate.0.total_cmp(&other.1.rate.0));
        match best {
            Some((confirmed_by, &Trial { rate, .. })) => {
                Step::Found(Found { rate, confirmed_by, above: self.bracket.high })
            }
            None => self.gave_up(why),
        }
    }

    fn gave_up(&self, why: GaveUp) -> Step {
        Step::GaveUp { why, best: self.bracket.low.map(|low| self.trials[low].rate) }
    }

    /// The last plateau once more, if it could not be judged. If it was too short for its noise, it
    /// lasts twice as long.
    fn again(&self) -> Option<Result<Step, GaveUp>> {
        let last = self.trials.last()?;
        let Verdict::NotKnown { missing } = &last.verdict else { return None };
        if self.bracket.repeats == 0 {
            // It counts as not sustained now; without any that is, the reason lies elsewhere.
            let depends_on_rate = |it: &Missing| {
                use Missing::{Certainty, Drained, GeneratorSaturated};
                matches!(it, Certainty { .. } | Drained | GeneratorSaturated)
            };
            let is_hopeless = self.bracket.low.is_none() && !missing.iter().any(depends_on_rate);
            return is_hopeless.then_some(Err(GaveUp::NotJudged));
        }
        if self.is_last() && self.bracket.low.is_some() {
            return None;
        }
        let needs_time = |it: &Missing| {
            matches!(it, Missing::Certainty { .. } | Missing::Time { .. } | Missing::Drained)
        };
        let duration = if missing.iter().any(needs_time) {
            (last.duration * 2).min(self.options.confirmation.max(last.duration))
        } else {
            last.duration
        };
        Some(Ok(Step::Try { rate: last.rate, duration, is_confirmation: last.is_confirmation }))
    }

    fn next_rate(&self) -> Result<Step, GaveUp> {
        let (least, most) = self.options.limits;
        let is_confirmed = self.bracket.confirmed.is_some();
        let rate_of = |index: Option<usize>| index.map(|index| self.trials[index].rate);
        match (rate_of(self.bracket.low), rate_of(self.bracket.high)) {
            (None, None) => Ok(self.attempt(self.options.start.0.clamp(least.0, most.0))),
            (Some(low), None) if low >= most => Ok(self.confirm(low)),
            (Some(low), high) if self.is_last() && !is_confirmed => {
                let below = high.and_then(|high| self.below_refuted(low.0, high.0));
                let below = below.filter(|_| self.plateaus_left() > 1);
                Ok(self.confirm(below.map_or(low, EventsPerSecond)))
            }
            (Some(low), None) => Ok(self.attempt((low.0 * 2.0).min(most.0))),
            (None, Some(high)) if high <= least => Err(GaveUp::TooSlow),
            (None, Some(high)) => {
                let hint = self.beside_hint(BELOW);
                let next = hint.filter(|hint| *hint < high.0).unwrap_or(high.0 / 2.0);
                Ok(self.attempt(next.max(least.0)))
            }
            (Some(low), Some(high)) if self.is_narrow(low, high) => Ok(self.confirm(low)),
            (Some(low), Some(high)) => Ok(self.attempt(self.inside(low.0, high.0))),
        }
    }

    /// A rate inside of the bracket: beside a hint, or the middle.
    fn inside(&self, low: f64, high: f64) -> f64 {
        let margin = 1.0 + self.options.precision / 4.0;
        let is_new = |rate: &f64| *rate > low * margin && *rate < high / margin;
        self.below_refuted(low, high)
            .or_else(|| self.beside_hint(ABOVE).filter(is_new))
            .or_else(|| self.beside_hint(BELOW).filter(is_new))
            .or_else(|| self.beside_hint(FAR_ABOVE).filter(is_new))
            .unwrap_or_else(|| (low * high).sqrt())
    }

    /// A rate a little below an answer that was not confirmed, and further below after each other
    /// that was not: it can be but a little too high, since shorter plateaus sustained it.
    fn below_refuted(&self, low: f64, high: f64) -> Option<f64> {
        let refuted = self
            .trials
            .iter()
            .rev()
            .take_while(|trial| trial.is_confirmation && trial.verdict != Verdict::Sustained);
        let steps = 2_f64.powi(i32::try_from(refuted.count()).ok()?) / 2.0;
        let below = high / (1.0 + self.options.precision * steps);
        (steps >= 1.0 && below > low * (1.0 + self.options.precision / 4.0)).then_some(below)
    }

    /// A rate beside what was stored when the pipeline was last overloaded: that is about its
    /// limit, unless it breaks down then.
    fn beside_hint(&self, steps: f64) -> Option<f64> {
        if self.bracket.falls > HINTS_MAX {
            return None;
        }
        let hint = self.trials.iter().rev().find_map(|trial| {
            let Verdict::NotSustained { failed } = &trial.verdict else { return None };
            let has_grown = failed.iter().any(|it| matches!(it, Failure::Growing { .. }));
            // Then the limit is where the webhook becomes slow, which is lower.
            let is_slow = failed.iter().any(|it| matches!(it, Failure::Slow { .. }));
            let stored = trial.stored?.0;
            (has_grown && !is_slow && stored < trial.rate.0 * OVERLOADED_MAX).then_some(stored)
        })?;
        Some(hint * (1.0 + self.options.precision * steps))
    }

    fn is_narrow(&self, low: EventsPerSecond, high: EventsPerSecond) -> bool {
        high.0 <= low.0 * (1.0 + self.options.precision)
    }

    fn attempt(&self, rate: f64) -> Step {
        let is_confirmation = self.bracket.is_deceived || self.bracket.confirmed.is_some();
        let short = self.trials.iter().filter(|trial| !trial.is_confirmation);
        let longest = short.map(|trial| trial.duration).max().unwrap_or_default();
        let duration = if is_confirmation {
            self.options.confirmation
        } else {
            // What one plateau has needed, the others need too.
            self.options.plateau.max(longest)
        };
        Step::Try { rate: EventsPerSecond(rate), duration, is_confirmation }
    }

    fn confirm(&self, rate: EventsPerSecond) -> Step {
        Step::Try { rate, duration: self.options.confirmation, is_confirmation: true }
    }
}

/// How many plateaus are kept for confirmations.
const CONFIRMATIONS_KEPT: usize = 3;

/// After more failures in a row than this, what was stored is no good hint: the pipeline breaks
/// down.
const HINTS_MAX: usize = 3;

/// Which rates are tried beside a hint, in steps of the precision. The first two together make a
/// narrow bracket. Above comes first: if that rate is sustained, the hint was none. Once, one more
/// above is tried, as a short plateau may sustain a little more than a long one.
const ABOVE: f64 = 0.45;
const BELOW: f64 = -0.45;
const FAR_ABOVE: f64 = 1.4;

/// Less than this share of the rate must have been stored to be a hint. Nearer to the rate, what
/// was stored follows from the rate.
const OVERLOADED_MAX: f64 = 0.97;

#[cfg(test)]
mod tests;
