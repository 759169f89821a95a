//! Whole suites: from nothing to a verdict, killed and continued, with faults on order.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::browser::Browser;
use crate::stack::{Running, Stack, program, root, wait_until};

/// Thirty events a second of each of ten tenants, for four seconds.
const PROFILE: &str = "name: short\n\
    stages: [{duration: 4s, rate: 30/s, tenants: 10}]\n\
    send: {batch_events: 20, batch_age: 200ms, lateness_max: 30s}\n\
    thresholds: {ingested: ['rate>=99.9%']}\n";

const SUITE: &str = "name: short\n\
    sandbox: [--batch-wait, 1s]\n\
    scenarios: [{profile: short.yaml}]\n";

/// A folder with a suite and its profile.
struct Place(TempDir);

impl Place {
    fn new(suite: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("suite.yaml"), suite).unwrap();
        fs::write(place.path().join("short.yaml"), PROFILE).unwrap();
        Self(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Prepares to run the suite without a pipeline.
    fn command(&self, flags: &[&str]) -> Command {
        self.command_into("out", flags)
    }

    fn command_into(&self, out: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(program("auditstorm-suite"));
        command.args(["run", "suite.yaml", "--out", out]).args(flags);
        for name in ["VECTOR_WEBHOOK_URL", "NATS_URL", "CLICKHOUSE_URL", "QUERY_API_URL"] {
            command.env_remove(name);
        }
        command.env("AUDITSTORM_SANDBOX_HOME", root().join(".sandbox"));
        command.current_dir(self.0.path());
        command
    }

    /// Prepares to run it on a sandbox of its own.
    fn on_own_sandbox(&self) -> Command {
        self.command(&["--sandbox", "sandbox"])
    }

    /// Prepares to run it on a pipeline that is there.
    fn on(&self, stack: &Stack) -> Command {
        self.on_into(stack, "out")
    }

    fn on_into(&self, stack: &Stack, out: &str) -> Command {
        let mut command = self.command_into(out, &[]);
        for name in ["VECTOR_WEBHOOK_URL", "NATS_URL", "CLICKHOUSE_URL", "VECTOR_METRICS_URL"] {
            command.env(name, stack.address(name));
        }
        command
    }

    fn report(&self) -> Value {
        self.report_in("out")
    }

    fn report_in(&self, out: &str) -> Value {
        let text = fs::read(self.path(out).join("suite-report.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn journal(&self) -> String {
        fs::read_to_string(self.path("out/journal.jsonl")).unwrap_or_default()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_suite_runs_from_nothing_to_a_verdict_on_a_sandbox_of_its_own() {
    let place = Place::new(SUITE);
    let output = place.on_own_sandbox().output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    let report = place.report();
    let checked = &report["scenarios"][0]["runs"][0]["checked"];
    assert_eq!(checked["verdict"], "whole");
    assert_eq!(checked["totals"]["stored"], 1_200);
    assert_eq!(report["budget"]["allowed"], 1);
    assert!(checked["recovery"]["after"]["seconds"].as_f64().unwrap() < 60.0, "{checked}");
    let steps = report["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str());
    let steps: Vec<_> = steps.flatten().collect();
    assert_eq!(steps, ["ready short", "load short 1", "check short 1"]);
    let shown = String::from_utf8(output.stdout).unwrap();
    let markdown = fs::read_to_string(place.path("out/report.md")).unwrap();
    assert!(shown.starts_with(&markdown) && shown.starts_with("# passed: suite short"), "{shown}");
    let cases = fs::read_to_string(place.path("out/junit.xml")).unwrap();
    assert!(cases.contains("tests=\"2\" skipped=\"0\" failures=\"0\" errors=\"0\""), "{cases}");
    see_page(&place.path("out/report.html"));

    // What has ended is not run again.
    let again = place.on_own_sandbox().output().unwrap();
    assert_eq!(code(&again), 0, "{again:?}");
    assert!(stderr(&again).contains("has ended"), "{again:?}");
    assert_eq!(place.report()["steps"], report["steps"]);
    assert!(!place.path("sandbox/env").exists(), "the sandbox was stopped");
}

/// The page fits, needs nothing else, and has no error.
fn see_page(page: &Path) {
    let mut browser = Browser::start();
    for (width, scheme) in [(400, "light"), (400, "dark"), (1400, "light"), (1400, "dark")] {
        let visit = browser.visit(page, width, scheme);
        assert_eq!(visit.complaints, Vec::<String>::new());
        assert_eq!(visit.requests.len(), 1, "{visit:?}");
        assert!(visit.overflow_px <= 0, "{visit:?}");
        assert_eq!(visit.title, "passed: suite short");
    }
}

/// Waits until a suite has written something into its journal, and kills it with SIGKILL.
fn kill_at(place: &Place, mut suite: Child, part: &str, times: usize) {
    wait_until(part, || {
        assert_eq!(suite.try_wait().unwrap(), None, "it ended before {part}");
        place.journal().matches(part).count() >= times
    });
    suite.kill().unwrap();
    suite.wait().unwrap();
}

fn quietly(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_suite_that_is_killed_in_every_step_goes_on_and_comes_to_the_same_result() {
    let place = Place::new(SUITE);
    let begun = |step: &str| format!("\"begun\":{{\"of\":{{\"step\":\"{step}\"");
    for (step, times) in [("ready", 1), ("load", 1), ("load", 2), ("check", 1)] {
        kill_at(&place, quietly(place.on_own_sandbox()), &begun(step), times);
        let left = wait_for_no_process(&place.path("sandbox"));
        assert!(left.is_empty(), "{left:?} outlived the suite");
        assert!(!place.journal().contains("finished"));
    }
    let output = place.on_own_sandbox().output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    let report = place.report();
    let run = &report["scenarios"][0]["runs"][0];
    assert_eq!(run["checked"]["totals"]["stored"], 1_200, "as if nothing had happened");
    assert_eq!(run["checked"]["totals"]["unexpected"], 0, "nothing was sent twice");
    assert_eq!(run["dir"], "runs/short-1.3", "each load has its own run");
    assert_eq!(run["interrupted"], serde_json::json!(["runs/short-1", "runs/short-1.2"]));
    assert_eq!(report["interruptions"], 4);
}

/// Processes that have all of these among their arguments.
fn processes(parts: &[&str]) -> Vec<(String, String)> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = entries.filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        Some((entry.file_name().to_string_lossy().into_owned(), line))
    });
    lines.filter(|(_, line)| parts.iter().all(|part| line.contains(part))).collect()
}

#[test]
fn a_load_that_is_killed_alone_is_run_again_and_its_events_are_looked_for() {
    let stack = Stack::up(&[]);
    let place = Place::new(SUITE);
    let mut suite = Running(quietly(place.on(&stack)));
    let run = place.path("out/runs/short-1");
    wait_until("events are sent", || run.join("ledger-0.bin").exists());
    let profile = place.path("out/profiles").display().to_string();
    let found = processes(&["auditstorm-generator", "out/profiles/short.yaml"]);
    let of_place = |(pid, _): &&(String, String)| {
        fs::read_link(format!("/proc/{pid}/cwd"))
            .is_ok_and(|it| profile.starts_with(it.to_str().unwrap()))
    };
    let (pid, _) = found.iter().find(of_place).unwrap();
    assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
    assert_eq!(suite.0.wait().unwrap().code(), Some(0), "{}", place.journal());
    let report = place.report();
    let run = &report["scenarios"][0]["runs"][0];
    assert_eq!(run["interrupted"], serde_json::json!(["runs/short-1"]));
    assert_eq!(run["checked"]["totals"]["stored"], 1_200);
    assert!(place.journal().contains("leftover"));
}

/// Waits until no process has this path among its arguments. Returns those that stay.
fn wait_for_no_process(path: &Path) -> Vec<String> {
    let path = path.display().to_string();
    let running = || processes(&[&path]).into_iter().map(|it| it.1).collect::<Vec<_>>();
    for _ in 0..100 {
        if running().is_empty() {
            return Vec::new();
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    running()
}

#[test]
fn on_a_pipeline_that_goes_on_what_a_killed_load_has_sent_is_looked_for_too() {
    let stack = Stack::up(&[]);
    let place = Place::new(SUITE);
    let suite = quietly(place.on(&stack));
    wait_until("events are stored", || {
        let ledger = place.path("out/runs/short-1/ledger-0.bin");
        ledger.exists()
            && stack.ask("SELECT count() FROM audit.audit_logs").parse::<u64>().unwrap() > 0
    });
    // Nobody else may use the pipeline meanwhile.
    let other = Place::new(SUITE);
    let refused = other.on(&stack).output().unwrap();
    assert_eq!(code(&refused), 6, "{refused:?}");
    assert!(stderr(&refused).contains("another suite uses this pipeline"), "{refused:?}");
    let twice = place.on(&stack).output().unwrap();
    assert_eq!(code(&twice), 6, "{twice:?}");
    assert!(stderr(&twice).contains("another process works on the suite"), "{twice:?}");

    kill_at(&place, suite, "\"load\"", 1);
    let output = place.on(&stack).output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    let report = place.report();
    let steps = report["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str());
    assert!(steps.flatten().any(|step| step == "leftover short 1 1"), "{report}");
    let run = &report["scenarios"][0]["runs"][0];
    assert_eq!(run["checked"]["totals"]["stored"], 1_200);
    assert_eq!(run["dir"], "runs/short-1.2");
}

#[test]
fn a_scenario_that_loses_events_decides_and_is_named_first() {
    let stack = Stack::up(&["--fault", "drop:aggregator:0.02"]);
    let suite = "name: short\n\
        recovery: {within: 15s}\n\
        scenarios:\n  \
        - {name: slow, profile: short.yaml, thresholds: {due_to_visible: ['p(95)<1ms']}, \
           may_lose: [after_stream]}\n  \
        - {name: elsewhere, profile: short.yaml, may_lose: [in_stream]}\n";
    let place = Place::new(suite);
    let output = place.on(&stack).output().unwrap();
    assert_eq!(code(&output), 1, "{output:?}");
    let report = place.report();
    let victims = stack.victims("drop", "aggregator").len() as u64;
    assert_eq!(report["budget"]["lost"], victims);
    let exits: Vec<_> =
        report["scenarios"].as_array().unwrap().iter().map(|it| &it["exit"]).collect();
    assert_eq!(exits, [5, 1], "may_lose says where events may be lost");
    let sentence = report["sentence"].as_str().unwrap();
    assert!(sentence.contains("First: elsewhere: lossy"), "{sentence}");
    let advice = report["advice"][0]["action"].as_str().unwrap();
    assert!(advice.contains("survives its pod"), "{advice}");
}

#[test]
fn what_is_ordered_is_done_at_its_time_and_marked() {
    let suite = "name: short\n\
        sandbox: [--relay, honest, --batch-wait, 1s, --retry-max, 2s]\n\
        scenarios:\n  \
        - profile: short.yaml\n    \
          faults:\n      \
          - {at: 1s, do: restart clickhouse for 1s}\n      \
          - {at: 500ms, do: 'echo $((6 * 7)) > shell'}\n      \
          - {at: 2s, do: 'exit 3'}\n";
    let place = Place::new(suite);
    let output = place.on_own_sandbox().output().unwrap();
    assert_eq!(code(&output), 4, "a fault that failed tests nothing: {output:?}");
    assert_eq!(fs::read_to_string(place.path("shell")).unwrap(), "42\n");
    let report = place.report();
    let run = &report["scenarios"][0]["runs"][0];
    assert_eq!(run["checked"]["verdict"], "whole", "{run}");
    let reasons = run["reasons"].as_array().unwrap();
    let failed = reasons.iter().any(|it| it.as_str().unwrap().contains("`exit 3` failed"));
    assert!(failed, "{reasons:?}");
    let text = fs::read_to_string(place.path("out/runs/short-1/marks.jsonl")).unwrap();
    let marks: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let texts: BTreeSet<_> = marks.iter().map(|mark| mark["text"].as_str().unwrap()).collect();
    assert!(texts.contains("restart clickhouse for 1s"), "{texts:?}");
    assert!(texts.contains("done: restart clickhouse for 1s"), "{texts:?}");
}

#[test]
fn what_cannot_be_run_is_refused_with_one_clear_message() {
    #[track_caller]
    fn check(suite: &str, flags: &[&str], exit: i32, expected: &str) {
        let place = Place::new(suite);
        let output = place.command(flags).output().unwrap();
        assert_eq!(code(&output), exit, "{output:?}");
        let message = stderr(&output);
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(!message.contains("panicked"), "{message}");
    }
    let with = |fields: &str| format!("name: a\nscenarios: [{{profile: short.yaml, {fields}}}]\n");
    check(SUITE, &[], 2, "VECTOR_WEBHOOK_URL, NATS_URL, CLICKHOUSE_URL is not set");
    check("name: a\nscenarios: [{profile: smok}]\n", &[], 2, "no profile is called \"smok\"");
    check("name: a\nscenarios: [{profile: none.yaml}]\n", &[], 2, "there is no file ./none.yaml");
    check("name: a\nscenarios: []\n", &[], 2, "scenarios");
    check("", &[], 2, "is empty");
    let orders = with("faults: [{at: 1s, do: stop nats}]");
    check(&orders, &[], 2, "told to `stop nats`, which only a sandbox does");
    let late = with("faults: [{at: 4s, do: 'true'}]");
    check(&late, &[], 2, "after 4s, when its load of 4 s is over");
    let queries = "name: a\nscenarios: [{profile: query-storm}]\n";
    check(queries, &["--sandbox", "s"], 2, "there is no query API");
    let nowhere = ["--programs", "/nowhere"];
    let path = Place::new(SUITE);
    let output = path.command(&nowhere).env("PATH", "/usr/bin:/bin").output().unwrap();
    assert!(stderr(&output).contains("there is no program auditstorm-"), "{output:?}");
    assert_eq!(code(&output), 2);
    let sandbox = ["--sandbox", "s"];
    check("name: a\nsandbox: [--moon]\nscenarios: [{profile: smoke}]\n", &sandbox, 3, "--moon");
}

#[test]
fn servers_that_do_not_answer_are_waited_for_and_then_named() {
    let place = Place::new(&format!("{SUITE}ready: {{within: 1s}}\n"));
    let mut command = place.command(&[]);
    command
        .env("VECTOR_WEBHOOK_URL", "http://127.0.0.1:1/events")
        .env("NATS_URL", "nats://127.0.0.1:1")
        .env("CLICKHOUSE_URL", "http://127.0.0.1:1");
    let output = command.output().unwrap();
    assert_eq!(code(&output), 3, "{output:?}");
    let message = stderr(&output);
    assert!(message.contains("ready short ended with exit code 3; nothing can go on"), "{message}");
    assert!(message.contains("127.0.0.1:1"), "the cause is shown: {message}");
    let cases = fs::read_to_string(place.path("out/junit.xml")).unwrap();
    assert!(cases.contains("<error"), "{cases}");
}

#[test]
fn a_history_is_loaded_once_and_what_the_table_has_lost_of_it_is_inserted_again() {
    let stack = Stack::up(&[]);
    let seed = "seed: {profile: short.yaml, events: 20_000, days: 3}\n";
    let place = Place::new(&format!("{SUITE}{seed}"));
    let mut suite = place.on(&stack);
    assert_eq!(code(&suite.output().unwrap()), 0, "{:?}", place.journal());
    let count = || {
        let sql = "SELECT count() FROM audit.audit_logs WHERE timestamp < today()";
        stack.ask(sql).parse::<u64>().unwrap()
    };
    let all = count();
    assert!((19_000..=20_000).contains(&all), "{all}");
    let day = "SELECT toString(min(toDate(timestamp))) FROM audit.audit_logs";
    let day = stack.ask(day).replace('-', "");
    stack.ask(&format!("ALTER TABLE audit.audit_logs DROP PARTITION {day}"));
    assert!(count() < all);
    let output = place.on_into(&stack, "later").output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(stderr(&output).contains("inserted again"), "{output:?}");
    assert_eq!(count(), all, "nothing is there twice");
}

#[test]
fn a_scenario_is_compared_with_the_last_runs_that_passed() {
    let stack = Stack::up(&[]);
    let suite = "name: short\n\
        compare: gate\n\
        scenarios: [{profile: short.yaml, duration: 22s}]\n";
    let place = Place::new(suite);
    let run = |out: &str| {
        let output = place.on_into(&stack, out).output().unwrap();
        (code(&output), place.report_in(out))
    };
    let (exit, first) = run("first");
    assert_eq!(exit, 0, "without a baseline nothing is missed: {first}");
    assert_eq!(first["scenarios"][0]["compared"]["outcome"], "no_base");
    let (_, second) = run("second");
    let compared = &second["scenarios"][0]["compared"];
    let bases = compared["bases"].as_array().unwrap();
    assert_eq!(bases.len(), 1, "{compared}");
    assert!(bases[0].as_str().unwrap().ends_with("first/runs/short-1"), "{compared}");
    assert!(compared["measures"].as_array().unwrap().len() > 5, "{compared}");
    assert_eq!(second["trend"].as_array().unwrap().len(), 2);
}

/// A webhook that answers one request with 200, and returns it.
fn webhook() -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/secret", listener.local_addr().unwrap());
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            let count = stream.read(&mut bytes).unwrap();
            text.extend_from_slice(&bytes[..count]);
            let all = String::from_utf8_lossy(&text).into_owned();
            let lower = all.to_lowercase();
            let length = lower.split("content-length: ").nth(1).and_then(|it| it.lines().next());
            let length: Option<usize> = length.and_then(|it| it.trim().parse().ok());
            let body = all.split_once("\r\n\r\n").map(|(_, body)| body.len());
            if count == 0 || (length.is_some() && body >= length) {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
                return all;
            }
        }
    };
    (url, std::thread::spawn(serve))
}

#[test]
fn a_suite_is_archived_and_told_of_and_what_fails_there_does_not_change_the_verdict() {
    let stack = Stack::up(&[]);
    let suite = "name: short\n\
        scenarios: [{profile: short.yaml}]\n\
        archive: taken/archive\n\
        notify:\n  \
        - {form: slack, url_from: NOBODYS_HOOK}\n  \
        - {form: json, url_from: OUR_HOOK}\n";
    let place = Place::new(suite);
    fs::write(place.path("taken"), "a file, so it can be no folder").unwrap();
    let (url, told) = webhook();
    let mut first = place.on(&stack);
    let output = first.env("OUR_HOOK", &url).env_remove("NOBODYS_HOOK").output().unwrap();
    assert_eq!(code(&output), 6, "all is well, but not in the archive: {output:?}");
    let message = stderr(&output);
    assert!(message.contains("not archived: "), "{message}");
    assert!(message.contains("webhook 1 (NOBODYS_HOOK) was not told"), "{message}");
    let request = told.join().unwrap();
    assert!(request.starts_with("POST /secret") && request.contains("passed"), "{request}");
    let everything = format!("{message}{}", place.journal());
    assert!(!everything.contains("/secret"), "the address is a secret: {everything}");

    fs::remove_file(place.path("taken")).unwrap();
    let again = place.on(&stack).output().unwrap();
    assert_eq!(code(&again), 0, "{again:?}");
    assert!(stderr(&again).contains("archived in "), "{again:?}");
    assert_eq!(place.journal().matches("\"begun\":{\"of\":{\"step\":\"load\"").count(), 1);
    let archive = place.path("taken/archive/short/out");
    assert!(archive.join("manifest.json").exists() && archive.join("report.html").exists());
    let shown = stack.run(
        "auditstorm-verifier",
        &["trend", place.path("taken/archive/short/out/runs/short-1").to_str().unwrap()],
    );
    assert!(shown.status.success(), "{shown:?}");
}

#[test]
fn a_suite_can_be_stopped_and_leaves_nothing_behind() {
    let place = Place::new(SUITE);
    let suite = Running(quietly(place.on_own_sandbox()));
    wait_until("the load has begun", || place.path("out/runs/short-1/ledger-0.bin").exists());
    let stopped = Command::new("kill").args(["-TERM", &suite.0.id().to_string()]).status();
    assert!(stopped.unwrap().success());
    let mut suite = suite;
    assert_eq!(suite.0.wait().unwrap().code(), Some(130));
    assert_eq!(wait_for_no_process(&place.path("sandbox")), Vec::<String>::new());
    assert_eq!(place.report()["exit"], 130);
    assert_eq!(code(&place.on_own_sandbox().output().unwrap()), 0);
}
