//! The search on simulated pipelines, whose limit it cannot know.

#[path = "../../benches/capacity/searched.rs"]
mod searched;
#[path = "../../benches/capacity/simulated.rs"]
mod simulated;

use searched::{Figures, Searched, search, search_by_backlog};

/// The bench takes a thousand.
const SEEDS: u64 = 40;

#[test]
fn the_limit_of_a_pipeline_is_found_in_few_plateaus_and_not_exceeded() {
    let all: Vec<Searched> = (0..SEEDS).map(search).collect();
    let figures = Figures::of(&all);
    assert!(figures.within >= figures.searches * 95 / 100, "{figures:?}");
    assert!(figures.above_max <= 0.02, "{figures:?}");
    assert!(figures.plateaus_max <= 12, "{figures:?}");
}

#[test]
fn one_seed_gives_one_search() {
    assert_eq!(search(7), search(7));
    assert_ne!(search(7).course, search(8).course);
}

/// A pipeline's batches alone are more than any fixed backlog allows.
#[test]
fn a_fixed_limit_of_the_backlog_finds_no_limit_of_a_pipeline_with_batches() {
    let all: Vec<Searched> = (0..SEEDS / 4).map(search_by_backlog).collect();
    let figures = Figures::of(&all);
    assert!(figures.within <= figures.searches / 2, "{figures:?}");
}
