//! Measures whether verdicts are true, on a thousand seeds. Each seed gives a pipeline with random
//! faults and disturbances, and random runs through it. See `tests::seeded`.
//!
//! Prints `bench verdicts …`. If it was stopped, it continues: seeds that have a line of this
//! version in `target/bench-verdicts/results.jsonl` are skipped. `-- --seed 123` runs one seed
//! again and prints its outcome, `--seeds N` runs the first N, `--jobs N` runs N at a time, and
//! `--gate` uses the short times of the gate.
//!
//! With `--readers` it does the same with fifty runs that users query and that are read back, and
//! prints `bench readers …`. See `tests::seeded::readers`.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::thread::scope;

use tests::seeded::readers::{self, READERS, read_storm};
use tests::seeded::results::{Figures, Outcome, Results, folder};
use tests::seeded::{BENCH, GATE, VERDICTS, rerun, storm};
use tests::stack::root;

/// Seeds of one kind.
struct Kind {
    name: &'static str,
    /// How many there are.
    seeds: u64,
    /// How many run at a time.
    jobs: u64,
    results: &'static str,
    run: fn(u64) -> Outcome,
    rerun: fn(u64) -> String,
}

const LONG: Kind = Kind {
    name: VERDICTS,
    seeds: 1_000,
    jobs: 6,
    results: "results.jsonl",
    run: |seed| storm(seed, &BENCH),
    rerun: |seed| rerun(seed, &BENCH),
};

const SHORT: Kind = Kind {
    results: "gate.jsonl",
    run: |seed| storm(seed, &GATE),
    rerun: |seed| rerun(seed, &GATE),
    ..LONG
};

/// Readers ask all the time, so few of them keep a machine busy.
const OF_READERS: Kind = Kind {
    name: READERS,
    seeds: 50,
    jobs: 3,
    results: "results.jsonl",
    run: read_storm,
    rerun: readers::rerun,
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        Some(args[at + 1].parse::<u64>().expect("a number"))
    };
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let kind = match (has("--readers"), has("--gate")) {
        (true, _) => OF_READERS,
        (false, true) => SHORT,
        (false, false) => LONG,
    };
    if let Some(seed) = number("--seed") {
        let outcome = (kind.run)(seed);
        println!("{}", serde_json::to_string_pretty(&outcome).expect("it has string keys"));
        return ExitCode::from(u8::from(outcome.violations().next().is_some()));
    }
    let seeds = number("--seeds").unwrap_or(kind.seeds);
    let jobs = number("--jobs").unwrap_or(kind.jobs);
    let results = Results::new(folder(kind.name).join(kind.results), version());
    let done = results.read();
    let left = (0..seeds).filter(|seed| !done.contains_key(seed)).collect();
    println!("{} of {seeds} seeds are done already", done.range(..seeds).count());
    let stopped = work(left, jobs, &kind, &results);
    let done = results.read();
    let figures = Figures::of(done.range(..seeds).map(|(_, it)| it));
    figures.lines(kind.name).iter().for_each(|line| println!("{line}"));
    ExitCode::from(u8::from(stopped > 0))
}

/// Runs the seeds that are left, `jobs` at a time. Returns how many did not finish.
fn work(left: VecDeque<u64>, jobs: u64, kind: &Kind, results: &Results) -> usize {
    let left = Mutex::new((left, 0));
    let next = || left.lock().expect("no holder panics").0.pop_front();
    scope(|threads| {
        for _ in 0..jobs {
            threads.spawn(|| {
                while let Some(seed) = next() {
                    let again = (kind.rerun)(seed);
                    let Ok(outcome) = catch_unwind(|| (kind.run)(seed)) else {
                        println!("seed {seed} came to no end; again: {again}");
                        left.lock().expect("no holder panics").1 += 1;
                        continue;
                    };
                    results.append(&outcome).expect("results can be written");
                    for violation in outcome.violations() {
                        println!("seed {seed}: {violation}; again: {again}");
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
