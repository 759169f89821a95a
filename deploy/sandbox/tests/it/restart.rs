//! Parts that are killed and started again by order.

use std::net::TcpStream;
use std::process::{Child, Stdio};

use super::{Sandbox, children_of, command_of, event, program, run, runs};

const STORED: &str = "SELECT uniqExact(audit_id) FROM audit.audit_logs";

#[test]
fn a_part_comes_back_where_it_was_and_the_others_go_on() {
    let mut sandbox = Sandbox::up(&[]);
    for (index, (part, process)) in (1..).zip(PARTS) {
        let before = children_of(sandbox.child.id());
        restart(&sandbox, part);
        let after = children_of(sandbox.child.id());
        let gone: Vec<&u32> = before.iter().filter(|pid| !after.contains(pid)).collect();
        assert_eq!((gone.len(), after.len()), (1, 3), "{part}");
        let is_new = |pid: &&u32| !before.contains(pid);
        let new: Vec<String> = after.iter().filter(is_new).map(|pid| command_of(*pid)).collect();
        assert!(new.len() == 1 && new[0].contains(process), "{part}: {new:?}");
        // What was stored is still there, and what comes now passes through all of them.
        assert_eq!(sandbox.post(&[event(index)]), 200, "{part}");
        sandbox.wait_until("it is stored", |sandbox| sandbox.ask(STORED) == index.to_string());
    }
    // Nothing but the order is forgiven.
    let children = children_of(sandbox.child.id());
    let nats = children.iter().find(|pid| command_of(**pid).contains("nats-server")).unwrap();
    let nats = rustix::process::Pid::from_raw(nats.cast_signed()).unwrap();
    rustix::process::kill_process(nats, rustix::process::Signal::KILL).unwrap();
    assert_eq!(sandbox.child.wait().unwrap().code(), Some(3));
    assert!(!sandbox.dir.path().join("control").exists());
}

#[test]
fn events_that_come_while_a_store_is_down_are_stored_later() {
    let mut sandbox = Sandbox::up(&[]);
    let mut posted = 0;
    for (part, url) in [("clickhouse", "CLICKHOUSE_URL"), ("nats", "NATS_MONITOR_URL")] {
        let address = sandbox.address(url);
        let mut order = order(&sandbox, &["--down-for", "3s", part]);
        let refuses = |_: &Sandbox| TcpStream::connect(&address).is_err();
        sandbox.wait_until("the part is down", refuses);
        // Tries in vain, of which none may be given the part's own port.
        for _ in 0..500 {
            assert!(TcpStream::connect(&address).is_err());
        }
        let events: Vec<_> = (posted + 1..posted + 10).map(event).collect();
        assert_eq!(sandbox.post(&events), 200);
        posted += 10;
        // Nothing that is held is uncounted, and each sink counts its own.
        let (sink, other) = match part {
            "clickhouse" => ("clickhouse", "nats_jetstream"),
            _ => ("nats_jetstream", "clickhouse"),
        };
        for name in ["vector_buffer_events", "vector_buffer_size_events"] {
            sandbox.wait_until("it is held", |sandbox| sandbox.metric(name, sink) == [9]);
            assert_eq!(sandbox.metric(name, other), [0], "{part}");
        }
        assert!(order.wait().unwrap().success());
        TcpStream::connect(&address).unwrap();
        let stored = (posted / 10 * 9).to_string();
        sandbox.wait_until("all are stored", |sandbox| sandbox.ask(STORED) == stored);
        sandbox.wait_until("nothing is held", |sandbox| {
            sandbox.metric("vector_buffer_events", sink) == [0]
        });
    }
    let down = run(&["down", "--dir", &sandbox.dir_text()]);
    assert!(down.status.success(), "{down:?}");
    assert!(!sandbox.dir.path().join("control").exists());
}

#[test]
fn whoever_is_killed_meanwhile_the_other_side_knows() {
    let mut sandbox = Sandbox::up(&[]);
    let nats = |sandbox: &Sandbox| {
        let children = children_of(sandbox.child.id());
        children.into_iter().find(|pid| command_of(*pid).contains("nats-server"))
    };
    let before = nats(&sandbox);
    let mut killed = order(&sandbox, &["--down-for", "500ms", "nats"]);
    sandbox.wait_until("NATS is down", |sandbox| nats(sandbox) != before);
    killed.kill().unwrap();
    killed.wait().unwrap();
    // Its order is carried out all the same, and the next one is taken.
    restart(&sandbox, "nats");

    let children = children_of(sandbox.child.id());
    let before = nats(&sandbox);
    let mut left = order(&sandbox, &["--down-for", "5m", "nats"]);
    sandbox.wait_until("NATS is down", |sandbox| nats(sandbox) != before);
    sandbox.child.kill().unwrap();
    sandbox.child.wait().unwrap();
    assert_eq!(left.wait().unwrap().code(), Some(3));
    sandbox.wait_until("no part is left", |_| !children.iter().any(|pid| runs(*pid)));
    let down = run(&["down", "--dir", &sandbox.dir_text()]);
    assert!(down.status.success(), "{down:?}");
    assert!(!sandbox.dir.path().join("control").exists());
}

#[test]
fn an_order_to_nobody_or_of_nonsense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_string_lossy().into_owned();
    let check = |words: &[&str], code: i32, expected: &str| {
        let refused = run(&[&["restart", "--dir", &dir][..], words].concat());
        let story = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{story}");
        assert!(story.contains(expected), "{story}");
    };
    check(&["nats"], 3, "no sandbox runs in");
    check(&["moon"], 2, "possible values: clickhouse, nats, relay, sidecar, aggregator, query-api");
    check(&["nats", "--down-for", "11m"], 2, "10m is the longest");
}

/// What to order, and what the process's command line holds.
const PARTS: [(&str, &str); 3] =
    [("clickhouse", "libchdb"), ("nats", "nats-server"), ("relay", "relay")];

fn order(sandbox: &Sandbox, words: &[&str]) -> Child {
    let mut command = program();
    command.args(["restart", "--dir", &sandbox.dir_text()]).args(words);
    command.stdout(Stdio::null()).spawn().unwrap()
}

#[track_caller]
fn restart(sandbox: &Sandbox, part: &str) {
    let done = run(&["restart", "--dir", &sandbox.dir_text(), part]);
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).starts_with("restarted "), "{done:?}");
}
