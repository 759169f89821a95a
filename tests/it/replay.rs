//! The last days of a history through the pipeline, the days before straight into the table.

use std::process::Stdio;

use serde_json::Value;

use crate::stack::{Stack, found, wait_until};

/// The flags for ten days of history, of which the last four are replayed.
fn args(events: &str) -> Vec<&str> {
    let days = ["--days", "10", "--replay-from-day", "4"];
    [&["run", "profile.yaml", "--out", "run", "--events", events], &days[..]].concat()
}

fn stack_with_profile() -> Stack {
    let stack = Stack::up(&[]);
    stack.profile(1, 1, 100);
    stack
}

fn check(stack: &Stack, events: u64) {
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["verdict"]), (0, &"whole".into()), "{}", report["reasons"]);
    for count in ["planned", "acknowledged", "stored", "rows"] {
        assert_eq!(report["totals"][count], events, "{count}: {}", report["totals"]);
    }
}

#[test]
fn old_days_go_straight_new_ones_through_the_pipeline_and_each_into_its_partition() {
    let stack = stack_with_profile();
    let output = stack.run("auditstorm-backfill", &args("30000"));
    assert!(output.status.success(), "{output:?}");
    check(&stack, 30_000);
    // The aggregator adds fields, so events that went through it have them.
    let piped = "JSONHas(event_json, 'end_to_end_latency_seconds')";
    let days = format!(
        "SELECT _partition_id = formatDateTime(timestamp, '%Y%m%d') AS is_its_day, \
         timestamp >= toStartOfDay(now()) - INTERVAL 4 DAY AS is_new, {piped} AS piped, \
         uniqExact(toDate(timestamp)) FROM audit.audit_logs GROUP BY ALL ORDER BY ALL"
    );
    assert_eq!(stack.ask(&days), "1\t0\t0\t6\n1\t1\t1\t4");
}

#[test]
fn a_replay_that_is_killed_goes_on_and_sends_nothing_twice() {
    let stack = stack_with_profile();
    let rows = "SELECT count() FROM audit.audit_logs WHERE \
                timestamp >= toStartOfDay(now()) - INTERVAL 4 DAY";
    for kill in 1..=3u64 {
        let mut args = args("60000");
        args.extend(["--replay-rate", "4000/s", "--replay-settle", "4s"]);
        let mut command = stack.command("auditstorm-backfill", &args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("events come through", || {
            assert_eq!(child.try_wait().unwrap(), None, "it is at work when it is killed");
            stack.ask(rows).parse::<u64>().unwrap() > kill * 3_000
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let last = [&args("60000")[..], &["--replay-settle", "4s", "--json"]].concat();
    let output = stack.run("auditstorm-backfill", &last);
    assert!(output.status.success(), "{output:?}");
    // The stream ignores repetitions within its duplicate window, so these would not show in the
    // table.
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary["replay"]["found"].as_u64() > Some(0), "some was on its way: {summary}");
    assert_eq!(summary["acknowledged"], 60_000, "{summary}");
    check(&stack, 60_000);
}

#[test]
fn a_replay_needs_a_pipeline_and_says_so_before_it_begins() {
    let stack = stack_with_profile();
    for (missing, expected) in [
        ("VECTOR_WEBHOOK_URL", "name its webhook with --webhook or VECTOR_WEBHOOK_URL"),
        ("NATS_URL", "name its NATS with --nats or NATS_URL"),
    ] {
        let mut command = stack.command("auditstorm-backfill", &args("1000"));
        let output = command.env_remove(missing).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(expected), "{message}");
        assert_eq!(output.status.code(), Some(2));
    }
    assert!(!stack.path("run").exists());
}

#[test]
fn the_pipelines_changes_are_expected_of_what_it_was_sent_and_of_nothing_else() {
    let stack = stack_with_profile();
    let bulk = ["run", "profile.yaml", "--out", "bulk", "--events", "3000", "--days", "3"];
    for args in [&bulk[..], &args("6000")] {
        let output = stack.run("auditstorm-backfill", args);
        assert!(output.status.success(), "{output:?}");
    }
    for run in ["bulk", "run"] {
        let (code, report) = stack.reconcile_with(run, &["--deep"]);
        assert_eq!((code, &report["verdict"]), (0, &"whole".into()), "{}", report["reasons"]);
    }
    // This row did not go through the pipeline, but lost an address in the way that the pipeline
    // removes addresses.
    let internal = "extract(event_json, '\"10\\\\.[0-9.]+\",?')";
    let is_straight = "NOT JSONHas(event_json, 'end_to_end_latency_seconds')";
    let victim = stack.ask(&format!(
        "SELECT audit_id FROM audit.audit_logs WHERE {internal} != '' AND {is_straight} \
         ORDER BY timestamp, audit_id LIMIT 1"
    ));
    let of_victim = format!("audit_id = '{victim}'");
    stack.ask(&format!(
        "INSERT INTO audit.audit_logs (event_json) SELECT replaceOne(event_json, {internal}, '') \
         FROM audit.audit_logs WHERE {of_victim}"
    ));
    let delete = format!("ALTER TABLE audit.audit_logs DELETE WHERE {of_victim}");
    stack.ask(&format!("{delete} AND {internal} != '' SETTINGS mutations_sync = 2"));
    let reports = ["bulk", "run"].map(|run| stack.reconcile_with(run, &["--deep"]).1);
    let corrupted = reports.iter().flat_map(|report| found(report, "corrupted"));
    assert_eq!(corrupted.collect::<Vec<_>>(), [victim], "{}", reports[0]["differences"]);
    let path = "event_json/sourceIPs";
    let columns = reports.iter().flat_map(|it| it["differences"].as_array().unwrap());
    assert!(columns.map(|it| &it["column"]).eq([path]), "{}", reports[0]["differences"]);
}
