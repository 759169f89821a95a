//! Runs for which one seed decides what they are, what happens to them, and which account checks
//! them. The tests then compare the verifier's reports with the truth.
//!
//! The truth is known without the verifier: from the records of the faults, from the ledgers, from
//! a tap on the stream, and from the rows in the table when all parts are back and nothing moves
//! any more.

pub mod accounts;
pub mod disturbance;
pub mod draw;
pub mod load;
pub mod oracle;
pub mod readers;
pub mod replica;
pub mod rest;
pub mod results;
pub mod tables;
pub mod tap;
pub mod told;
pub mod truth;
pub mod wrong_clock;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread::{scope, sleep};
use std::time::Duration;

use plans::quantity::parse_wait;

pub use self::draw::{BENCH, GATE, Scale};

use self::accounts::{Account, users_xml};
use self::disturbance::{Act, At, Relay};
use self::draw::{Run, Storm};
use self::oracle::{Check, Moment, Told, Truth, UNPROVEN, Violation, violations};
use self::replica::{Lag, Replica};
use self::rest::{await_rest, is_anything_held, tells_what_it_holds};
use self::results::{Outcome, RunOutcome};
use self::truth::{Seen, Sent};
use crate::stack::{Stack, wait_until};

/// The kind of these seeds, for results and evidence.
pub const VERDICTS: &str = "verdicts";

/// Runs a storm, and judges the reports about its runs.
pub fn storm(seed: u64, scale: &Scale) -> Outcome {
    let storm = Storm::draw(seed, scale);
    let stack = begin(&storm, &[]);
    let early = send_and_check(&stack, &storm, scale);
    await_rest(&stack, &storm, &early.sent);
    let taken = tap::taken(&stack);
    let at_rest = Seen::read(&stack);
    let runs = storm.runs.iter().zip(&early.sent).zip(&early.told);
    let judged = runs.filter_map(|((run, sent), told)| {
        let sent = sent.as_ref()?;
        let truth = sent.truth(run, &at_rest, &taken);
        let mut check = early_check(run, sent, told.clone(), &early, &at_rest);
        check.excuses.extend(lasting_excuses(&stack, run, sent, &truth));
        if check.excuses.is_empty() {
            check.moment = Moment::Final;
        }
        Some(judge(&stack, run, &truth, &check, scale))
    });
    let outcome = Outcome { seed, runs: judged.collect() };
    outcome.keep_evidence(&stack, &format!("{storm:#?}"), VERDICTS);
    outcome
}

/// Starts the sandbox with some flags, and with its accounts, its stream and its tables.
fn begin(storm: &Storm, more: &[&str]) -> Stack {
    let batch_wait = format!("{}ms", storm.batch_wait.as_millis());
    let seed = storm.seed.to_string();
    let mut flags = vec!["--batch-wait", &batch_wait, "--seed", &seed];
    flags.extend(more);
    let retry_max;
    if let Relay::Honest { retry_max: limit } = storm.relay {
        retry_max = format!("{}ms", limit.as_millis());
        flags.extend(["--relay", "honest", "--retry-max", &retry_max]);
    }
    let kept = storm.kept.map(|(part, events)| format!("keep-last:{}:{events}", part.name()));
    flags.extend(storm.faults.iter().chain(&kept).flat_map(|fault| ["--fault", fault]));
    let stack = Stack::up_prepared(&flags, |dir| {
        let data = dir.join("clickhouse");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("users.xml"), users_xml()).unwrap();
    });
    tap::make(&stack, &storm.stream);
    for table in tables::tables().filter(|table| table != "audit_logs") {
        stack.ask(&format!(
            "CREATE TABLE audit.{table} AS audit.audit_logs ENGINE = MergeTree PARTITION BY \
             toYYYYMMDD(timestamp) ORDER BY (toStartOfHour(timestamp), timestamp, audit_id)"
        ));
    }
    stack
}

/// The reports that were made while disturbances lasted, and what was true then.
struct Early {
    sent: Vec<Option<Sent>>,
    /// The report of each run's check.
    told: Vec<Told>,
    /// What the stores had when the checks had ended.
    seen: Seen,
    /// Disturbances that lasted when the checks began, or that began while they went on.
    excuses: BTreeSet<&'static str>,
}

/// Sends all runs and checks them, while the disturbances happen. Returns when all of them are
/// over.
fn send_and_check(stack: &Stack, storm: &Storm, scale: &Scale) -> Early {
    let (playing, begun) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let play = |act: &Act, after: Duration| {
        sleep(after);
        playing.lock().unwrap().push(*act);
        begun.lock().unwrap().push(*act);
        act.play(stack);
        let mut playing = playing.lock().unwrap();
        let at = playing.iter().position(|it| it == act).unwrap();
        playing.remove(at);
    };
    let play = &play;
    scope(|threads| {
        for act in &storm.acts {
            if let At::Load(after) = act.at {
                threads.spawn(move || play(act, after));
            }
        }
        send(stack, storm);
        let sent = storm.runs.iter().map(|run| Sent::read(stack, storm, run)).collect();
        let mut excuses = BTreeSet::new();
        for act in &storm.acts {
            match act.at {
                At::Load(_) => continue,
                At::Check { before, after } => {
                    threads.spawn(move || play(act, after));
                    sleep(before);
                }
                At::Throughout => act.what.begin(stack),
            }
            excuses.insert(act.what.excuse());
        }
        excuses.extend(playing.lock().unwrap().iter().map(|it| it.what.excuse()));
        excuses.extend(storm.replica.map(|_| "the replica lagged"));
        wait_until("ClickHouse answers", || stack.answers() || !excuses.is_empty());
        let rows = Seen::try_read(stack).map(|seen| seen.count());
        let begun_before = begun.lock().unwrap().len();
        excuses.extend(playing.lock().unwrap().iter().map(|it| it.what.excuse()));
        let (told, is_busy) = check_and_look(stack, storm, scale);
        // A disturbance during the load may begin after a short load has ended.
        excuses.extend(begun.lock().unwrap()[begun_before..].iter().map(|it| it.what.excuse()));
        // All end at the same time, because a fast relay does not start before NATS is back.
        scope(|threads| {
            for act in storm.acts.iter().filter(|act| act.at == At::Throughout) {
                threads.spawn(|| act.what.end(stack));
            }
        });
        if is_busy || is_anything_held(stack) {
            excuses.insert(ON_THEIR_WAY);
        }
        let seen = Seen::read(stack);
        let is_late = |told: &Told| told.reasons.iter().any(|it| it.contains("at the deadline"));
        if rows != Some(seen.count()) && told.iter().any(is_late) {
            excuses.insert(ON_THEIR_WAY);
        }
        Early { sent, told, seen, excuses }
    })
}

fn send(stack: &Stack, storm: &Storm) {
    scope(|threads| {
        for run in &storm.runs {
            threads.spawn(|| run.send(stack));
        }
    });
}

/// Checks all runs. Also returns whether events were still on their way at the moment when it
/// became too late for a check to see the quiet time that it needs before its deadline.
fn check_and_look(stack: &Stack, storm: &Storm, scale: &Scale) -> (Vec<Told>, bool) {
    const LOOK: Duration = Duration::from_millis(100);
    const SLACK: Duration = Duration::from_secs(2);
    let flags = if storm.is_held_down() { scale.held_down_args } else { scale.check_args };
    let flag = |name: &str, default: Duration| {
        let at = flags.iter().position(|flag| *flag == name);
        at.map_or(default, |at| parse_wait(flags[at + 1]).unwrap())
    };
    let (wait, quiet) =
        (flag("--wait", Duration::from_mins(8)), flag("--quiet", Duration::from_secs(20)));
    let mut left = wait.saturating_sub(quiet + SLACK);
    scope(|threads| {
        let checks = threads.spawn(|| check(stack, storm, flags));
        while !checks.is_finished() && !left.is_zero() {
            sleep(LOOK);
            left = left.saturating_sub(LOOK);
        }
        let is_busy = !checks.is_finished() && is_anything_held(stack);
        (checks.join().unwrap(), is_busy)
    })
}

fn check(stack: &Stack, storm: &Storm, flags: &[&str]) -> Vec<Told> {
    let replica = storm.replica.map(|lag| (Replica::start(stack, lag.parts), lag));
    let url = replica.as_ref().map(|(replica, _)| replica.url());
    let mut flags = flags.to_vec();
    flags.extend(url.iter().flat_map(|url| ["--clickhouse", url]));
    let flags = &flags;
    scope(|threads| {
        if let Some((replica, Lag { lasts: Some(lasts), .. })) = &replica {
            replica.catch_up_after(threads, *lasts);
        }
        let check = |run| move || told::check(stack, run, run.account, flags);
        let checks: Vec<_> = storm.runs.iter().map(|run| threads.spawn(check(run))).collect();
        checks.into_iter().map(|check| check.join().unwrap()).collect()
    })
}

/// Combines the report of an early check with the facts that it is judged by.
fn early_check(run: &Run, sent: &Sent, told: Told, early: &Early, at_rest: &Seen) -> Check {
    let stored = early.seen.rows(run, sent.mark);
    let mut excuses: Vec<&str> = early.excuses.iter().copied().collect();
    if run.account != Account::Full {
        excuses.push("the account does not see all");
    }
    if stored != at_rest.rows(run, sent.mark) && !excuses.contains(&ON_THEIR_WAY) {
        excuses.push(ON_THEIR_WAY);
    }
    Check {
        moment: Moment::Early,
        counted: run.counted,
        excuses,
        struck: early.seen.dropped(sent.mark),
        was_doubled: stored.values().any(|count| *count > 1),
        stored: stored.into_keys().collect(),
        told,
    }
}

/// Reasons that keep a run unknown for good.
fn lasting_excuses(stack: &Stack, run: &Run, sent: &Sent, truth: &Truth) -> Vec<&'static str> {
    let is_proven = tells_what_it_holds(stack) && !run.is_blind;
    let reasons = [
        (!truth.is_closed, "the ledger was not closed"),
        (truth.is_saturated, "the generator was saturated"),
        (!sent.has_summary, "the sender's summary is missing"),
        (truth.acknowledged.is_empty(), "nothing was acknowledged"),
        (!truth.lost().is_empty() && !is_proven, UNPROVEN),
    ];
    reasons.into_iter().filter(|(is_so, _)| *is_so).map(|(_, excuse)| excuse).collect()
}

/// Reasons that pass: a later check, by an account that sees all rows, is not affected by them.
const PASSING: [&str; 9] = [
    "ClickHouse was away",
    "NATS was away",
    "the relay was away",
    "the sidecar was away",
    "the aggregator was away",
    "the consumer was paused",
    "the replica lagged",
    "the account does not see all",
    ON_THEIR_WAY,
];

const ON_THEIR_WAY: &str = "events were still on their way";

/// Judges the early check. If it was not final, this makes a final check with an account that sees
/// all rows, and judges that, too.
fn judge(stack: &Stack, run: &Run, truth: &Truth, early: &Check, scale: &Scale) -> RunOutcome {
    let mut found: Vec<(Moment, Violation)> =
        violations(truth, early).into_iter().map(|it| (early.moment, it)).collect();
    let mut last = None;
    if early.moment == Moment::Early {
        let lasting = early.excuses.iter().filter(|it| !PASSING.contains(it));
        let check = Check {
            moment: Moment::Final,
            counted: run.counted,
            told: told::check(stack, run, Account::Full, scale.check_args),
            excuses: lasting.copied().collect(),
            struck: &truth.dropped_before_stream | &truth.dropped_after_stream,
            stored: truth.rows.keys().copied().collect(),
            was_doubled: truth.rows.values().any(|count| *count > 1),
        };
        found.extend(violations(truth, &check).into_iter().map(|it| (Moment::Final, it)));
        last = Some(check);
    }
    RunOutcome::new(run.index, truth, early, last.as_ref(), &found)
}

/// The command that runs a seed again.
pub fn rerun(seed: u64, scale: &Scale) -> String {
    let gate = if *scale == GATE { " --gate" } else { "" };
    format!("cargo bench --profile dev -p tests --bench verdicts --{gate} --seed {seed}")
}
