//! A generator that is killed or stopped forgets nothing.

use std::process::Command;

use serde_json::Value;

use crate::stack::Stack;

/// Starts a long run, waits until events are acknowledged, sends the signal, and returns the exit
/// code of the generator, the exit code and report of the verifier, and the number of rows in the
/// table.
fn interrupted(signal: &str) -> (Option<i32>, (i32, Value), String) {
    let stack = Stack::up(&[]);
    let profile = stack.profile(100, 60, 50);
    let mut generator = stack.begin_to_generate(&profile, 2_000);
    let sent = Command::new("kill").args([signal, &generator.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let code = generator.wait().unwrap().code();
    let reconciled = stack.reconcile("run");
    (code, reconciled, stack.ask("SELECT count() FROM audit.audit_logs"))
}

fn count(report: &Value, name: &str) -> u64 {
    report["totals"][name].as_u64().unwrap()
}

#[test]
fn after_a_kill_every_event_is_accounted_for_and_the_verdict_is_unknown() {
    let (_, (code, report), rows) = interrupted("-KILL");
    assert_eq!((code, &report["verdict"]), (4, &"unknown".into()), "{}", report["reasons"]);
    assert_eq!(count(&report, "planned"), 60_000);
    assert_eq!(
        count(&report, "planned"),
        count(&report, "unsent")
            + count(&report, "acknowledged")
            + count(&report, "refused")
            + count(&report, "unknown")
    );
    assert!(count(&report, "acknowledged") > 0 && count(&report, "unsent") > 0);
    // Every row in the table is an event that was acknowledged or may have been sent.
    let stored = count(&report, "stored") + count(&report, "recovered");
    assert_eq!(stored.to_string(), rows);
    assert_eq!((count(&report, "lost"), count(&report, "unexpected")), (0, 0));
}

#[test]
fn a_run_that_is_told_to_stop_settles_all_it_began() {
    let (exit, (code, report), rows) = interrupted("-INT");
    assert_eq!(exit, Some(130));
    assert_eq!((code, &report["verdict"]), (0, &"whole".into()), "{}", report["reasons"]);
    assert_eq!((count(&report, "unknown"), count(&report, "refused")), (0, 0));
    assert_eq!(count(&report, "stored").to_string(), rows);
    assert_eq!(count(&report, "unsent"), 60_000 - count(&report, "acknowledged"));
}
