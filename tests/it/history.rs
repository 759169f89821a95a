//! Histories that are loaded: every event once, on its day, with the columns that the server would
//! derive.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::stack::{COLUMNS, Stack, found};

/// Starts a stack and loads a history, which is recorded in `history`.
fn loaded(events: &str, days: &str) -> Stack {
    let stack = Stack::up(&[]);
    let profile = stack.profile(1, 1, 1);
    let args = ["run", &profile, "--events", events, "--days", days, "--out", "history"];
    let output = stack.run("auditstorm-backfill", &args);
    assert!(output.status.success(), "{output:?}");
    stack
}

#[test]
fn a_history_is_whole_and_its_columns_are_what_the_server_derives() {
    let stack = loaded("50000", "90");
    let (code, report) = stack.reconcile("history");
    assert_eq!((code, &report["totals"]["stored"]), (0, &50_000.into()), "{report}");

    assert_eq!(stack.ask("SELECT uniqExact(toDate(timestamp)) FROM audit.audit_logs"), "90");
    stack.ask("CREATE TABLE audit.derived AS audit.audit_logs");
    // If only the event is inserted, the server derives all other columns.
    stack.ask(
        "INSERT INTO audit.derived (event_json) SELECT event_json FROM audit.audit_logs \
         SETTINGS max_partitions_per_insert_block = 0",
    );
    let differing = format!(
        "SELECT count() FROM (SELECT {COLUMNS} FROM audit.audit_logs EXCEPT \
         SELECT {COLUMNS} FROM audit.derived)"
    );
    assert_eq!(stack.ask("SELECT count() FROM audit.derived"), "50000");
    assert_eq!(stack.ask(&differing), "0");
}

#[test]
fn a_row_that_is_taken_away_and_one_that_is_changed_are_found() {
    let stack = loaded("20000", "3");
    let victims = stack.ask("SELECT audit_id FROM audit.audit_logs ORDER BY event_json LIMIT 2");
    let (gone, changed) = victims.split_once('\n').unwrap();
    let delete = format!("ALTER TABLE audit.audit_logs DELETE WHERE audit_id = '{gone}'");
    stack.ask(&format!("{delete} SETTINGS mutations_sync = 2"));
    change_verb(&stack, changed);
    let (code, report) = stack.reconcile("history");
    assert_eq!(code, 1, "{}", report["reasons"]);
    assert_eq!(report["findings"].as_array().unwrap().len(), 2, "{}", report["findings"]);
    assert_eq!(found(&report, "somewhere"), [gone.to_owned()].into());
    assert_eq!(found(&report, "corrupted"), [changed.to_owned()].into());
    assert_eq!(report["differences"][0]["column"], "verb");
    assert_eq!(report["differences"][0]["stored"], "watch");
}

/// Replaces a row by the same row with another verb.
fn change_verb(stack: &Stack, id: &str) {
    stack.ask(&format!(
        "INSERT INTO audit.audit_logs (event_json) SELECT replaceRegexpOne(event_json, \
         '\"verb\":\"[a-z]+\"', '\"verb\":\"watch\"') FROM audit.audit_logs \
         WHERE audit_id = '{id}'"
    ));
    let delete = "ALTER TABLE audit.audit_logs DELETE WHERE verb != 'watch'";
    stack.ask(&format!("{delete} AND audit_id = '{id}' SETTINGS mutations_sync = 2"));
}

#[test]
fn what_an_earlier_check_has_kept_hides_nothing_and_makes_up_nothing() {
    let stack = loaded("20000", "3");
    let changed = stack.ask("SELECT min(audit_id) FROM audit.audit_logs WHERE verb != 'watch'");
    assert_eq!(stack.reconcile("history").0, 0);
    let kept = stack.path("history/digests.json");
    let digests: Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    let mut wrong = digests.clone();
    for digest in wrong["digests"].as_array_mut().unwrap() {
        digest[1] = 5.into();
    }
    assert_ne!(wrong, digests);
    let check = |digests: &Value, expected: &[&String]| {
        fs::write(&kept, digests.to_string()).unwrap();
        let (code, report) = stack.reconcile("history");
        assert_eq!(code, i32::from(!expected.is_empty()), "{}", report["reasons"]);
        assert_eq!(found(&report, "corrupted"), expected.iter().copied().cloned().collect());
    };
    check(&wrong, &[]);
    change_verb(&stack, &changed);
    check(&digests, &[&changed]);
    check(&wrong, &[&changed]);
}

#[test]
fn a_plan_says_what_a_load_then_brings_and_leaves_nothing_behind() {
    let stack = Stack::up(&[]);
    let profile = stack.profile(1, 1, 1);
    let plan = |more: &[&str]| -> Value {
        let history = ["plan", &profile, "--events", "30000", "--days", "20", "--json"];
        let output = stack.run("auditstorm-backfill", &[&history[..], more].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let tables = stack.ask("SELECT database, name FROM system.tables ORDER BY ALL");
    let forecast = plan(&[]);
    assert_eq!(stack.ask("SELECT database, name FROM system.tables ORDER BY ALL"), tables);
    assert!(forecast["bulk_seconds"].as_f64() > Some(0.0), "{forecast}");
    assert_eq!(
        (&forecast["bulk"]["events"], &forecast["replay"]["days"]),
        (&30_000.into(), &0.into())
    );

    let run = ["run", &profile, "--events", "30000", "--days", "20", "--out", "history"];
    assert!(stack.run("auditstorm-backfill", &run).status.success());
    let check = |by: &str, forecast: &Value, name: &str| {
        let count = format!("SELECT {by} AS it, count() FROM audit.audit_logs GROUP BY it");
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for it in forecast.as_array().unwrap() {
            *expected.entry(it[name].as_str().unwrap()).or_default() +=
                it["events"].as_u64().unwrap();
        }
        let counted = stack.ask(&count);
        let counted = counted.lines().map(|line| line.split_once('\t').unwrap());
        let counted = counted.map(|(it, count)| (it, count.parse().unwrap()));
        assert_eq!(counted.collect::<BTreeMap<_, u64>>(), expected);
    };
    check("toDate(timestamp)", &forecast["days"], "day");
    check("if(scope_name = '', scope_type, scope_name)", &forecast["tenants"], "name");

    stack.ask("CREATE TABLE audit.auditstorm_probe_x (n UInt8) ENGINE = Memory");
    stack.ask("ALTER TABLE audit.audit_logs ADD COLUMN cluster String");
    let notes = plan(&["--no-probe"])["objections"].to_string();
    assert!(notes.contains("DROP TABLE audit.auditstorm_probe_x SYNC"), "{notes}");
    assert!(notes.contains("nothing fills cluster; name the event's columns"), "{notes}");

    let replayed = plan(&["--no-probe", "--replay-from-day", "5", "--replay-rate", "100/s"]);
    let events = replayed["replay"]["events"].as_f64().unwrap();
    assert!(events > 0.0 && replayed["bulk_seconds"].is_null(), "{replayed}");
    assert_eq!(replayed["replay"]["seconds"], events / 100.0);
}

#[test]
fn what_the_table_deletes_by_its_age_or_has_put_away_is_neither_sent_nor_called_lost() {
    let stack = Stack::up(&[]);
    let profile = stack.profile(1, 1, 1);
    let ttl = |days: u32| {
        stack.ask(&format!(
            "ALTER TABLE audit.audit_logs MODIFY TTL toDateTime(timestamp) + INTERVAL {days} DAY \
             SETTINGS mutations_sync = 2"
        ));
    };
    ttl(30);
    let history = |command: &str, days: &str, more: &[&str]| {
        let args = [command, &profile, "--events", "20000", "--days", days];
        let output = stack.run("auditstorm-backfill", &[&args[..], more].concat());
        let told = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(told).unwrap())
    };
    for (command, more) in [("plan", &["--no-probe"][..]), ("run", &["--out", "long"])] {
        let (code, told) = history(command, "90", more);
        assert_eq!(code, 2, "{told}");
        assert!(told.contains("TTL (toDateTime(timestamp) + toIntervalDay(30)) deletes"), "{told}");
        assert!(told.contains("give --days 29 at most, or lengthen it"), "{told}");
    }
    let (code, told) = history("run", "20", &["--out", "history"]);
    assert_eq!((code, told.contains("has a TTL")), (0, true), "{told}");
    assert_eq!(stack.ask("SELECT count() FROM audit.audit_logs"), "20000");

    // These rows were stored, and are now too old.
    ttl(10);
    stack.ask("OPTIMIZE TABLE audit.audit_logs FINAL");
    let days = "SELECT DISTINCT _partition_id FROM audit.audit_logs ORDER BY 1 DESC LIMIT 2";
    let days = stack.ask(days);
    let (_, detached) = days.split_once('\n').unwrap();
    let left: u64 = stack.ask("SELECT count() FROM audit.audit_logs").parse().unwrap();
    let (code, report) = stack.reconcile("history");
    assert_eq!((code, &report["verdict"]), (4, &"unknown".into()), "{}", report["reasons"]);
    let expired = serde_json::json!({"expired": 20_000 - left});
    assert_eq!(report["totals"]["not_seen_by_cause"], expired, "{}", report["reasons"]);

    // Rows of a day are lost, and the day's partition is detached before they are repaired.
    let day = |what: &str| {
        stack.ask(&format!("ALTER TABLE audit.audit_logs {what} PARTITION ID '{detached}'"));
    };
    stack.ask(&format!(
        "ALTER TABLE audit.audit_logs DELETE WHERE _partition_id = '{detached}' AND \
         cityHash64(audit_id) % 7 = 0 SETTINGS mutations_sync = 2"
    ));
    let (code, report) = stack.reconcile("history");
    let lost = report["totals"]["lost"].as_u64().unwrap();
    assert!(code == 1 && lost > 50, "{}", report["reasons"]);
    day("DETACH");
    let repair = || {
        let output = stack.run("auditstorm-backfill", &["repair", "history", "--json", "--quiet"]);
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, told) = repair();
    assert_eq!((code, told.contains(&format!("partitions {detached}"))), (Some(2), true), "{told}");
    let (code, report) = stack.reconcile("history");
    assert_eq!((code, &report["totals"]["lost"]), (4, &0.into()), "{}", report["reasons"]);
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains(&format!("partitions {detached}")), "{reasons}");
    day("ATTACH");
    assert_eq!(stack.reconcile("history").0, 1);
    let (code, told) = repair();
    let summary: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &summary["sent"]), (Some(0), &lost.into()), "{told}");
    let rows: u64 = stack.ask("SELECT count() FROM audit.audit_logs").parse().unwrap();
    assert!(rows.abs_diff(left) < 5, "{rows} of {left}: some grow too old while this runs");
}
