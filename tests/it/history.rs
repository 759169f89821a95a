//! Histories in bulk: every event once, on its day, with the columns the server would derive.

use crate::stack::{COLUMNS, Stack, found};

#[test]
fn a_history_is_whole_and_its_columns_are_what_the_server_derives() {
    let stack = Stack::up(&[]);
    let profile = stack.profile(1, 1, 1);
    let args = ["run", &profile, "--events", "50000", "--days", "90", "--out", "history"];
    let output = stack.run("auditstorm-backfill", &args);
    assert!(output.status.success(), "{output:?}");
    let (code, report) = stack.reconcile("history");
    assert_eq!((code, &report["totals"]["stored"]), (0, &50_000.into()), "{report}");

    assert_eq!(stack.ask("SELECT uniqExact(toDate(timestamp)) FROM audit.audit_logs"), "90");
    stack.ask("CREATE TABLE audit.derived AS audit.audit_logs");
    // A plain insert of the event alone leaves all else to the server.
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
    let stack = Stack::up(&[]);
    let profile = stack.profile(1, 1, 1);
    let args = ["run", &profile, "--events", "20000", "--days", "3", "--out", "history"];
    assert!(stack.run("auditstorm-backfill", &args).status.success());
    let victims = stack.ask("SELECT audit_id FROM audit.audit_logs ORDER BY event_json LIMIT 2");
    let (gone, changed) = victims.split_once('\n').unwrap();
    let delete = format!("ALTER TABLE audit.audit_logs DELETE WHERE audit_id = '{gone}'");
    stack.ask(&format!("{delete} SETTINGS mutations_sync = 2"));
    // The same row with another verb, in place of the first.
    stack.ask(&format!(
        "INSERT INTO audit.audit_logs (event_json) SELECT replaceRegexpOne(event_json, \
         '\"verb\":\"[a-z]+\"', '\"verb\":\"watch\"') FROM audit.audit_logs \
         WHERE audit_id = '{changed}'"
    ));
    let delete = "ALTER TABLE audit.audit_logs DELETE WHERE verb != 'watch'";
    stack.ask(&format!("{delete} AND audit_id = '{changed}' SETTINGS mutations_sync = 2"));
    let (code, report) = stack.reconcile("history");
    assert_eq!(code, 1, "{}", report["reasons"]);
    assert_eq!(report["findings"].as_array().unwrap().len(), 2, "{}", report["findings"]);
    assert_eq!(found(&report, "somewhere"), [gone.to_owned()].into());
    assert_eq!(found(&report, "corrupted"), [changed.to_owned()].into());
    assert_eq!(report["differences"][0]["column"], "verb");
    assert_eq!(report["differences"][0]["stored"], "watch");
}
