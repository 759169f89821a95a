//! Runs a few seeds of `make bench-verdicts` with short times: whatever happens to a pipeline, and
//! whichever account checks it, the verdicts are true. And a few of `make bench-readers`: whatever
//! happens while users read a run, exactly the faults of the reader are found.

use std::ops::Range;
use std::thread::scope;

use tests::seeded::readers::{self, read_storm};
use tests::seeded::results::Outcome;
use tests::seeded::{GATE, rerun, storm};

#[track_caller]
fn check(first: u64) {
    check_all(first..first + 5, |seed| storm(seed, &GATE), |seed| rerun(seed, &GATE));
}

/// Runs some seeds at the same time, because they wait most of the time.
#[track_caller]
fn check_all(seeds: Range<u64>, run: fn(u64) -> Outcome, rerun: fn(u64) -> String) {
    let outcomes: Vec<_> = scope(|threads| {
        let storms: Vec<_> = seeds.map(|seed| threads.spawn(move || run(seed))).collect();
        storms.into_iter().map(|storm| storm.join().unwrap()).collect()
    });
    let mut wrong = Vec::new();
    for outcome in &outcomes {
        let again = rerun(outcome.seed);
        wrong.extend(outcome.violations().map(|it| format!("{it}; again: {again}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_found_at_random_readers_is_so() {
    check_all(0..4, read_storm, readers::rerun);
}

#[test]
fn what_is_told_of_random_runs_is_so_1() {
    check(0);
}

#[test]
fn what_is_told_of_random_runs_is_so_2() {
    check(5);
}

#[test]
fn what_is_told_of_random_runs_is_so_3() {
    check(10);
}

#[test]
fn what_is_told_of_random_runs_is_so_4() {
    check(15);
}

#[test]
fn what_is_told_of_random_runs_is_so_5() {
    check(20);
}

#[test]
fn what_is_told_of_random_runs_is_so_6() {
    check(25);
}
