//! Runs that are queried while their events are written, and read back then. One seed decides what
//! they are, which parts are killed meanwhile, and what is wrong with the reader, if anything.
//!
//! The truth is known without the verifier: the sandbox writes down whom the faults of its query
//! API hit. Whatever else happens to a reader does no harm, and must not be taken for a fault.

pub mod draw;
pub mod oracle;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use events::identity::RunMark;
use events::script::Script;
use queries::question::Scope;
use runs::run_dir::RunDir;
use serde_json::Value;

use self::draw::Reading;
use self::oracle::{Fault, Found, Victims, When, load_violations, violations};
use super::begin;
use super::disturbance::At;
use super::rest::await_rest;
use super::results::{Outcome, RunOutcome, ToldOf};
use super::truth::Sent;
use crate::stack::{Stack, wait_until};

/// The kind of these seeds, for results and evidence.
pub const READERS: &str = "readers";

/// Sends a run, queries it, and reads it back.
pub fn read_storm(seed: u64) -> Outcome {
    let reading = Reading::draw(seed);
    let storm = &reading.storm;
    let stack = begin(storm, &["--query-api"]);
    let run = &storm.runs[0];
    let run_file = run.path(&stack).join("run.json");
    scope(|threads| {
        let (stack, run_file) = (&stack, &run_file);
        for act in &storm.acts {
            if let At::Load(after) = act.at {
                threads.spawn(move || {
                    // Before it, the generator asks whether the query API is there at all.
                    wait_until("the run begins", || run_file.exists());
                    sleep(after);
                    act.play(stack);
                });
            }
        }
        run.send(stack);
    });
    let sent = vec![Sent::read(&stack, storm, run)];
    if !reading.is_read_at_once {
        await_rest(&stack, storm, &sent);
    }
    let doubled = doubled(&stack);
    let of_load = Victims::of_record(&record(&stack), &reading.faults);
    let of_load = Victims { doubled: doubled.clone(), ..of_load };
    let mut mistakes = judge_load(&stack, &reading, &of_load);
    begin_record(&stack);
    let when = when(&stack, &reading);
    let (code, result) = read_back(&stack, &reading);
    let mut due = Victims::of_record(&record(&stack), &reading.faults);
    due.doubled = doubled;
    keep_asked(&mut due, &stack, &reading);
    let found = Found::of(&result, &reading.faults);
    mistakes.extend(violations(&reading.faults, when, &due, &found));
    let outcome = Outcome { seed, runs: vec![told(code, &result, &due, mistakes)] };
    outcome.keep_evidence(&stack, &format!("{reading:#?}"), READERS);
    outcome
}

/// Lets the query API begin its record anew: what is on record already is not written down again.
fn begin_record(stack: &Stack) {
    fs::write(stack.path("sandbox/faults.jsonl"), "").unwrap();
    stack.restart("query-api", "0s");
}

/// The sandbox's record of faults.
fn record(stack: &Stack) -> Vec<Value> {
    let text = fs::read_to_string(stack.path("sandbox/faults.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Reads the run back, while parts are killed. Returns exit code and result.
fn read_back(stack: &Stack, reading: &Reading) -> (i32, Value) {
    let run = &reading.storm.runs[0];
    let sizes: Vec<String> = reading.page_sizes.iter().map(ToString::to_string).collect();
    let (dir, sizes) = (run.dir(), sizes.join(","));
    let wait = if reading.faults.contains(&Fault::Stale) { "2s" } else { "30s" };
    let mut args = vec!["readback", &dir, "--rate", "1000", "--wait", wait, "--page-sizes", &sizes];
    args.extend(reading.with_platform.then_some("--platform"));
    let begun = run.path(stack).join("readback-progress.jsonl");
    let is_over = AtomicBool::new(false);
    let output = scope(|threads| {
        let (is_over, begun) = (&is_over, &begun);
        for act in &reading.storm.acts {
            if let At::Check { after, .. } = act.at {
                threads.spawn(move || {
                    const LOOK: Duration = Duration::from_millis(50);
                    while !begun.exists() && !is_over.load(Ordering::Relaxed) {
                        sleep(LOOK);
                    }
                    sleep(after);
                    act.play(stack);
                });
            }
        }
        let output = stack.run("auditstorm-verifier", &args);
        is_over.store(true, Ordering::Relaxed);
        output
    });
    let result = fs::read(run.path(stack).join("readback.json")).unwrap_or_default();
    let story = || Value::String(String::from_utf8_lossy(&output.stderr).into_owned());
    let none = || serde_json::json!({"verdict": "none", "reasons": [story()]});
    let result = serde_json::from_slice(&result).unwrap_or_else(|_| none());
    (output.status.code().unwrap_or(-1), result)
}

/// Events that the table has more than once, because the relay was killed, and has not folded yet.
fn doubled(stack: &Stack) -> BTreeSet<String> {
    let ids =
        "SELECT toString(audit_id) FROM audit.audit_logs GROUP BY audit_id HAVING count() > 1";
    stack.ask(ids).lines().map(str::to_owned).collect()
}

/// Whether the table has events yet that the readback asks for. Only if the run is read at once, it
/// may have none: an aggregator can hold all of them.
fn when(stack: &Stack, reading: &Reading) -> When {
    let (_, plan) = RunDir::open(&reading.storm.runs[0].path(stack)).unwrap();
    let (script, mark) = (&plan.script, RunMark::of(plan.spec.run_id));
    let ids = stack.ask("SELECT toString(audit_id) FROM audit.audit_logs");
    let is_asked = |id: &str| reading.with_platform || !is_of_nobody(script, mark, id);
    let is_empty = !ids.lines().any(is_asked);
    if reading.is_read_at_once && is_empty { When::TooEarly } else { When::Stored }
}

/// Keeps the victims of the questions that the readback is about. The platform is asked only for
/// events that no tenant may see. And the page that a scope is shown that nobody has, which is the
/// platform's too, is one that nothing should be on.
fn keep_asked(due: &mut Victims, stack: &Stack, reading: &Reading) {
    let (_, plan) = RunDir::open(&reading.storm.runs[0].path(stack)).unwrap();
    let (script, mark) = (&plan.script, RunMark::of(plan.spec.run_id));
    let platform = Scope::Platform.to_string();
    due.unreachable.retain(|(scope, id)| {
        *scope != platform || reading.with_platform && is_of_nobody(script, mark, id)
    });
    due.exchanged.retain(|((scope, _), _)| *scope != platform || reading.with_platform);
}

/// Whether an event belongs to a tenant whose events only the platform is shown.
fn is_of_nobody(script: &Script, mark: RunMark, id: &str) -> bool {
    let located = id.parse().ok().and_then(|id| mark.locate(id));
    located.is_some_and(|(tenant, _)| Scope::of_tenant(script.world().tenant(tenant)).is_none())
}

/// What is false about the answers that were called wrong while events were written.
fn judge_load(stack: &Stack, reading: &Reading, due: &Victims) -> Vec<String> {
    let dir = reading.storm.runs[0].path(stack);
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
    let summary: Value = serde_json::from_str(&read("summary-0.json")).unwrap_or_default();
    let queries = &summary["queries"];
    let count = |name: &str| queries["counts"][name].as_u64().unwrap_or_default();
    let mut mistakes = Vec::new();
    if count("asked") == 0 {
        mistakes.push(format!("not_asked: {}", summary["queries"]));
    }
    let wrong = read("wrong-answers.jsonl");
    let wrong: Vec<Value> = wrong.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let may_be_wrong = [Fault::Leak, Fault::Reorder, Fault::Paging];
    let may_be_wrong = may_be_wrong.iter().any(|fault| reading.faults.contains(fault));
    if count("wrong") > 0 && !may_be_wrong && due.hidden.is_empty() {
        mistakes.push(format!("false_wrong: {queries}"));
    }
    // An answer that nobody got may have had victims.
    let is_exact = count("failed") == 0 && wrong.len() as u64 == count("wrong");
    mistakes.extend(load_violations(&reading.faults, due, &wrong, is_exact));
    mistakes
}

fn told(code: i32, result: &Value, due: &Victims, violations: Vec<String>) -> RunOutcome {
    let is_lossy = !due.is_empty();
    let reasons = result["reasons"].as_array().into_iter().flatten();
    let verdict = result["verdict"].as_str().unwrap_or_default().to_owned();
    let is_excused = verdict == "unknown" && violations.is_empty();
    let excuse = is_excused.then(|| "nothing was stored yet".to_owned());
    let told = ToldOf {
        verdict,
        code,
        reasons: reasons.filter_map(|it| Some(it.as_str()?.to_owned())).collect(),
        excuses: excuse.into_iter().collect(),
    };
    RunOutcome {
        index: 0,
        truth: if is_lossy { "lossy" } else { "whole" }.to_owned(),
        early: told,
        last: None,
        violations,
        is_count_false: is_count_equal(result) == is_lossy,
    }
}

/// Whether every walk by cursor has as many rows on its pages as the table has.
fn is_count_equal(result: &Value) -> bool {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let by_cursor = |walk: &&Value| walk["walk"] == "cursor";
    let mut walks = result["walks"].as_array().into_iter().flatten().filter(by_cursor);
    walks.all(|walk| {
        let beside = ["leaked", "repeated"].map(|kind| number(&walk["faults"][kind]));
        number(&walk["shown"]) + beside.iter().sum::<u64>() == number(&walk["stored"])
    })
}

/// The command that runs a seed again.
pub fn rerun(seed: u64) -> String {
    format!("cargo bench --profile dev -p tests --bench verdicts -- --readers --seed {seed}")
}
