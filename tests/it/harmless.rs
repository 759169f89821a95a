//! There are no false alarms: whatever harmless things happen, a run that lost nothing is whole.

use std::process::{Child, Stdio};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::stack::{Stack, wait_until};

/// Sends ten runs of different sizes and shapes through one pipeline at the same time, while
/// harmless things happen. The seed decides which.
#[track_caller]
fn check(seed: u64) {
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    let delay = draw.random_range(200..2_500);
    let stack = Stack::up(&["--fault", &format!("delay:aggregator:{delay}ms")]);
    let runs: Vec<String> = (0..RUNS).map(|run| format!("run-{seed}-{run}")).collect();
    let senders: Vec<Child> = runs.iter().map(|run| send(&stack, run, &mut draw)).collect();
    wait_until("events are stored", || stack.ask("SELECT count() FROM audit.audit_logs") != "0");
    let part = ["clickhouse", "nats"][draw.random_range(0..2)];
    stack.restart(part, &format!("{}ms", draw.random_range(100..1_500)));
    for mut sender in senders {
        assert!(sender.wait().unwrap().success(), "seed {seed}");
    }
    for run in &runs {
        // A NATS that was killed has forgotten acknowledgements, and delivers these messages again.
        // An insert that a killed ClickHouse did not answer is repeated. The table folds both.
        let (code, report) = stack.reconcile(run);
        let told = (&report["verdict"], &report["reasons"], &report["totals"]);
        assert_eq!(code, 0, "seed {seed}, {run}, {part} restarted: {told:?}");
        assert_eq!(report["verdict"], "whole");
        assert!(report["totals"]["stored"].as_u64().unwrap() > 0, "{run}");
    }
}

const RUNS: u32 = 10;

/// Begins to send a run of a random size and kind.
fn send(stack: &Stack, run: &str, draw: &mut ChaCha8Rng) -> Child {
    let sender = ["direct", "apiserver"][draw.random_range(0..2)];
    let text = format!(
        "name: {run}\nskew: {:.2}\n\
         stages: [{{duration: {}s, rate: {}/s -> {}/s, tenants: {}}}]\n\
         send: {{sender: {sender}, batch_events: {}, batch_age: {}ms, connections: {}, \
         lateness_max: 60s}}\n\
         apiserver: {{batch_wait: 300ms, initial_backoff: 500ms}}\n\
         faults: {{resent: {:.2}}}\n",
        draw.random_range(0.0..1.5),
        draw.random_range(2..6),
        draw.random_range(1..40),
        draw.random_range(1..40),
        draw.random_range(1..30),
        draw.random_range(1..300),
        draw.random_range(50..800),
        draw.random_range(1..8),
        draw.random_range(0.0..0.5),
    );
    let profile = format!("{run}.yaml");
    std::fs::write(stack.path(&profile), text).unwrap();
    stack
        .command("auditstorm-generator", &["run", &profile, "--out", run, "--no-self-test"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn runs_in_a_harmless_storm_are_whole_1() {
    check(1);
}

#[test]
fn runs_in_a_harmless_storm_are_whole_2() {
    check(2);
}

#[test]
fn runs_in_a_harmless_storm_are_whole_3() {
    check(3);
}

#[test]
fn runs_in_a_harmless_storm_are_whole_4() {
    check(4);
}

#[test]
fn runs_in_a_harmless_storm_are_whole_5() {
    check(5);
}
