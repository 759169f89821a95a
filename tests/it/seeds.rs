//! Runs a few seeds of `make bench-verdicts` with short times: whatever happens to a pipeline, and
//! whichever account checks it, the verdicts are true.

use std::thread::scope;

use tests::seeded::{GATE, rerun, storm};

/// Runs some seeds at the same time, because they wait most of the time.
#[track_caller]
fn check(first: u64) {
    let outcomes: Vec<_> = scope(|threads| {
        let storms: Vec<_> =
            (first..first + 5).map(|seed| threads.spawn(move || storm(seed, &GATE))).collect();
        storms.into_iter().map(|storm| storm.join().unwrap()).collect()
    });
    let mut wrong = Vec::new();
    for outcome in &outcomes {
        let again = rerun(outcome.seed, &GATE);
        wrong.extend(outcome.violations().map(|it| format!("{it}; again: {again}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
