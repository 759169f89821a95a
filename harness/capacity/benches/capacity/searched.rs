//! Searches on simulated pipelines, and what came out. A seed decides a search.

use capacity::judge::{Missing, Verdict, judge};
use capacity::plateau::Plateau;
use capacity::rules::JudgeOptions;
use capacity::search::{SearchOptions, Step, Trial, next_of};

use crate::simulated::Simulated;

/// The end of one search.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Searched {
    pub(crate) seed: u64,
    /// The answer as a multiple of the true limit; `None` if there was none.
    pub(crate) answer: Option<f64>,
    pub(crate) plateaus: usize,
    /// What was tried, a plateau a line.
    pub(crate) course: Vec<String>,
}

impl Searched {
    /// Whether the answer is within 5 % of the limit.
    pub(crate) fn is_within(&self) -> bool {
        self.answer.is_some_and(|answer| (answer - 1.0).abs() <= 0.05)
    }
}

/// Searches the limit of the pipeline of a seed, with no other knowledge than a person has.
pub(crate) fn search(seed: u64) -> Searched {
    search_with(seed, |options, plateau| Trial::new(plateau, judge(options, plateau)))
}

/// The same by a fixed limit of the backlog at the end of a plateau, as others do it.
pub(crate) fn search_by_backlog(seed: u64) -> Searched {
    search_with(seed, |_, plateau| {
        let end = plateau.backlog_of_all().last().map(|point| point.1);
        let verdict = match end {
            Some(end) if end <= BACKLOG_MAX => Verdict::Sustained,
            Some(_) => Verdict::NotSustained { failed: Vec::new() },
            None => Verdict::NotKnown { missing: vec![Missing::Watch] },
        };
        let &Plateau { rate, duration, is_confirmation, .. } = plateau;
        Trial { rate, duration, is_confirmation, verdict, stored: None }
    })
}

/// The most events of a backlog, as it is common.
const BACKLOG_MAX: f64 = 1_000.0;

fn search_with(seed: u64, judged: impl Fn(&JudgeOptions, &Plateau) -> Trial) -> Searched {
    let mut pipeline = Simulated::new(seed);
    let options = SearchOptions {
        judge: pipeline.judge_options(),
        start: pipeline.start(),
        ..SearchOptions::default()
    };
    let mut trials: Vec<Trial> = Vec::new();
    let mut course = vec![pipeline.told()];
    loop {
        let step = next_of(&options, &trials);
        let Step::Try { rate, duration, is_confirmation } = step else {
            let answer = match step {
                Step::Found(found) => Some(found.rate.0 / pipeline.limit()),
                _ => None,
            };
            course.push(format!("{step:?}"));
            return Searched { seed, answer, plateaus: trials.len(), course };
        };
        let plateau = pipeline.run(rate, (options.warm_up, duration), is_confirmation);
        let trial = judged(&options.judge, &plateau);
        let share = rate.0 / pipeline.limit();
        let stored = trial.stored.map_or(0.0, |stored| stored.0 / pipeline.limit());
        let verdict = &trial.verdict;
        course.push(format!("{share:.3} {duration:?} stored {stored:.3} {verdict:?}"));
        trials.push(trial);
    }
}

/// The figures of many searches.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figures {
    pub(crate) searches: usize,
    /// Answers within 5 % of the limit.
    pub(crate) within: usize,
    /// By what share the highest answer was above its limit.
    pub(crate) above_max: f64,
    pub(crate) plateaus_max: usize,
    pub(crate) plateaus_median: usize,
}

impl Figures {
    pub(crate) fn of(searches: &[Searched]) -> Self {
        let answers = || searches.iter().filter_map(|it| it.answer);
        let mut plateaus: Vec<usize> = searches.iter().map(|it| it.plateaus).collect();
        plateaus.sort_unstable();
        Self {
            searches: searches.len(),
            within: searches.iter().filter(|it| it.is_within()).count(),
            above_max: answers().fold(0.0, f64::max) - 1.0,
            plateaus_max: plateaus.last().copied().unwrap_or(0),
            plateaus_median: plateaus.get(plateaus.len() / 2).copied().unwrap_or(0),
        }
    }
}
