//! A store that is killed and comes back costs time, but no events.

use crate::stack::Stack;

#[test]
fn a_run_during_which_clickhouse_is_killed_is_whole() {
    let stack = Stack::up(&[]);
    let profile = stack.profile(100, 10, 50);
    let mut generator = stack.begin_to_generate(&profile, 1_000);
    stack.restart("clickhouse", "1s");
    assert_eq!(generator.try_wait().unwrap(), None, "the run goes on meanwhile");
    assert!(generator.wait().unwrap().success());
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["verdict"]), (0, &"whole".into()), "{report}");
    for count in ["planned", "acknowledged", "stored"] {
        assert_eq!(report["totals"][count], 10_000, "{count}");
    }
}
