//! Measures whether verdicts are true, on a thousand seeds. Each seed gives a pipeline with random
//! faults and disturbances, and random runs through it. See `tests::seeded`.
//!
//! Prints `bench verdicts …`. If it was stopped, it continues: seeds that have a line of this
//! version in `target/bench-verdicts/results.jsonl` are skipped. `-- --seed 123` runs one seed
//! again and prints its outcome, `--seeds N` runs the first N, `--jobs N` runs N at a time, and
//! `--gate` uses the short times of the gate.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::thread::scope;

use tests::seeded::results::{Figures, Results, folder};
use tests::seeded::{BENCH, GATE, Scale, rerun, storm};
use tests::stack::root;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        Some(args[at + 1].parse::<u64>().expect("a number"))
    };
    let scale = if args.iter().any(|arg| arg == "--gate") { GATE } else { BENCH };
    if let Some(seed) = number("--seed") {
        let outcome = storm(seed, &scale);
        println!("{}", serde_json::to_string_pretty(&outcome).expect("it has string keys"));
        return ExitCode::from(u8::from(outcome.violations().next().is_some()));
    }
    let seeds = number("--seeds").unwrap_or(1_000);
    let jobs = number("--jobs").unwrap_or(6);
    let name = if scale == GATE { "gate.jsonl" } else { "results.jsonl" };
    let results = Results::new(folder().join(name), version());
    let done = results.read();
    let left = (0..seeds).filter(|seed| !done.contains_key(seed)).collect();
    println!("{} of {seeds} seeds are done already", done.range(..seeds).count());
    let stopped = work(left, jobs, &scale, &results);
    let done = results.read();
    Figures::of(done.range(..seeds).map(|(_, it)| it))
        .lines()
        .iter()
        .for_each(|line| println!("{line}"));
    ExitCode::from(u8::from(stopped > 0))
}

/// Runs the seeds that are left, `jobs` at a time. Returns how many did not finish.
fn work(left: VecDeque<u64>, jobs: u64, scale: &Scale, results: &Results) -> usize {
    let left = Mutex::new((left, 0));
    let next = || left.lock().expect("no holder panics").0.pop_front();
    scope(|threads| {
        for _ in 0..jobs {
            threads.spawn(|| {
                while let Some(seed) = next() {
                    let Ok(outcome) = catch_unwind(|| storm(seed, scale)) else {
                        println!("seed {seed} came to no end; again: {}", rerun(seed, scale));
                        left.lock().expect("no holder panics").1 += 1;
                        continue;
                    };
                    results.append(&outcome).expect("results can be written");
                    for violation in outcome.violations() {
                        println!("seed {seed}: {violation}; again: {}", rerun(seed, scale));
                    }
                }
            });
        }
    });
    left.into_inner().expect("no holder panics").1
}

/// The commit that is tested, and whether there are uncommitted changes.
fn version() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(root()).output().ok()?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_default();
    let is_changed = git(&["status", "--porcelain"]).is_some_and(|text| !text.is_empty());
    let changed = if is_changed { "+changes" } else { "" };
    format!("{} {commit}{changed}", env!("CARGO_PKG_VERSION"))
}
