//! A load that cannot work is refused with the reason. A load that fails midway can be continued.

use serde_json::Value;

use crate::proxy::{Mode, Proxy};
use crate::stack::Stack;

const RUN: [&str; 8] = ["run", "profile.yaml", "--events", "30000", "--days", "10", "--out", "run"];

fn stack_with_profile() -> Stack {
    let stack = Stack::up(&[]);
    stack.profile(1, 1, 1);
    stack
}

/// Runs a load that must fail. Returns its exit code and its message.
fn failing(stack: &Stack, flags: &[&str]) -> (i32, String) {
    let output = stack.run("auditstorm-backfill", &[&RUN[..], flags].concat());
    let message = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), message.lines().last().unwrap_or_default().to_owned())
}

/// Checks that the same command completes the load that failed before.
fn finishes(stack: &Stack) {
    let output = stack.run("auditstorm-backfill", &RUN);
    assert!(output.status.success(), "{output:?}");
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["totals"]["rows"]), (0, &30_000.into()), "{report}");
}

#[track_caller]
fn check(stack: &Stack, flags: &[&str], code: i32, expected: &str) {
    let (found, message) = failing(stack, flags);
    assert!(message.contains(expected), "{message}");
    assert_eq!(found, code, "{message}");
}

#[test]
fn what_is_wrong_from_the_start_is_said_before_anything_is_written() {
    let stack = stack_with_profile();
    stack.ask("CREATE TABLE audit.other (n UInt64) ENGINE = MergeTree ORDER BY n");
    check(&stack, &["--table", "audit.none"], 2, "has no table audit.none");
    check(
        &stack,
        &["--table", "audit.other"],
        2,
        "it has no column event_json for event_json, only n",
    );
    check(&stack, &["--clickhouse-user", "mallory"], 2, "does not let user \"mallory\" do that");
    check(&stack, &["--clickhouse", "http://127.0.0.1:9"], 3, "does not answer; is it up?");
    check(&stack, &["--clickhouse", "127.0.0.1"], 2, "is no ClickHouse address");
    check(&stack, &["--now", "2999-01-01T00:00:00Z"], 2, "cannot end in the future");
    check(
        &stack,
        &["--bulk-until-day", "3", "--replay-from-day", "4"],
        2,
        "3 and --replay-from-day 4 differ",
    );
    assert!(!stack.path("run").exists());
}

#[test]
fn another_history_in_the_same_directory_is_refused() {
    let stack = stack_with_profile();
    finishes(&stack);
    check(&stack, &["--seed", "7"], 2, "its seed is 42, not 7");
    check(
        &stack,
        &["--table", "audit.audit_logs", "--now", "2026-01-01T00:00:00Z"],
        2,
        "its end is",
    );
    stack.ask("CREATE TABLE audit.events AS audit.audit_logs");
    check(
        &stack,
        &["--table", "audit.events"],
        2,
        "its table is audit.audit_logs, not audit.events",
    );
    std::fs::write(
        stack.path("profile.yaml"),
        "name: x\nstages: [{duration: 1s, rate: 1/s, tenants: 2}]\n",
    )
    .unwrap();
    check(&stack, &[], 2, "its profile is the one with hash");
}

#[test]
fn a_clock_that_jumped_back_is_noticed() {
    let stack = stack_with_profile();
    finishes(&stack);
    let path = stack.path("run/run.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    record["span"]["history"]["planned_at"] = "2999-01-01T00:00:00.000000Z".into();
    std::fs::write(&path, record.to_string()).unwrap();
    check(&stack, &[], 2, "the clock of this machine has jumped back");
}

#[test]
fn a_full_disk_stops_the_load_and_it_goes_on_when_there_is_room() {
    let stack = stack_with_profile();
    let limit = "ALTER TABLE audit.audit_logs MODIFY SETTING \
                 min_free_disk_bytes_to_perform_insert =";
    stack.ask(&format!("{limit} 1000000000000000"));
    check(&stack, &[], 3, "free some space and run again to go on");
    stack.ask(&format!("{limit} 0"));
    finishes(&stack);
}

#[test]
fn a_server_that_refuses_for_good_ends_the_load_at_once() {
    let stack = stack_with_profile();
    let proxy = Proxy::before_clickhouse(&stack);
    let cases = [
        (516, 2, "the account may not do that"),
        (164, 2, "the account may not do that"),
        (60, 3, "run again to go on"),
    ];
    for (code, exit, expected) in cases {
        proxy.set(Mode::AnswerWith { times: 9, status: 500, code });
        std::fs::remove_dir_all(stack.path("run")).ok();
        check(&stack, &["--clickhouse", &proxy.url()], exit, expected);
    }
}

#[test]
fn a_table_that_takes_no_rows_for_now_is_finished_when_it_does() {
    let stack = stack_with_profile();
    stack.ask("ALTER TABLE audit.audit_logs MODIFY SETTING table_readonly = 1");
    check(&stack, &[], 3, "run again to go on where this ended");
    stack.ask("ALTER TABLE audit.audit_logs MODIFY SETTING table_readonly = 0");
    finishes(&stack);
}

#[test]
fn too_many_parts_slow_the_load_down_and_do_not_end_it() {
    let stack = stack_with_profile();
    let proxy = Proxy::before_clickhouse(&stack);
    proxy.set(Mode::AnswerWith { times: 4, status: 500, code: 252 });
    let output = stack.run(
        "auditstorm-backfill",
        &[&RUN[..], &["--clickhouse", &proxy.url(), "--json"]].concat(),
    );
    assert!(output.status.success(), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["bulk"]["failed_inserts"], 4, "{summary}");
    let error = &summary["errors"][0];
    assert_eq!((&error["kind"], &error["count"]), (&"TOO_MANY_PARTS".into(), &4.into()));
    assert_eq!(error["server"], proxy.url(), "{summary}");
    assert!(error["last"].as_str().unwrap().contains("Code: 252"), "{summary}");
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["totals"]["rows"]), (0, &30_000.into()));
}

#[test]
fn a_table_of_the_event_alone_and_one_with_other_names_are_loaded_and_verified() {
    let stack = stack_with_profile();
    stack.ask(
        "CREATE TABLE audit.bare (raw String, at DateTime64(3) MATERIALIZED \
         parseDateTime64BestEffort(JSONExtractString(raw, 'requestReceivedTimestamp'), 3), \
         action LowCardinality(String) MATERIALIZED JSONExtractString(raw, 'verb')) \
         ENGINE = MergeTree PARTITION BY toYYYYMMDD(at) ORDER BY at",
    );
    let names = "event_json: raw\ntimestamp: at\nverb: action\n";
    std::fs::write(stack.path("columns.yaml"), names).unwrap();
    let flags = ["--table", "audit.bare", "--columns", "columns.yaml"];
    let output = stack.run("auditstorm-backfill", &[&RUN[..], &flags].concat());
    assert!(output.status.success(), "{output:?}");
    // The run's record has the name of the table and the names of its columns.
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["totals"]["rows"]), (0, &30_000.into()), "{}", report["reasons"]);
    assert_eq!(stack.ask("SELECT count(), uniqExact(raw) FROM audit.bare"), "30000\t30000");
}
