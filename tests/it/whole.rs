//! A run that loses nothing is whole. A run that cannot be checked is not.

use std::fs::OpenOptions;
use std::net::TcpListener;

use edges::clock::Clock;

use crate::stack::Stack;

#[test]
fn a_run_without_faults_is_whole_in_batches_and_one_by_one() {
    let stack = Stack::up(&[]);
    for (batch_events, out) in [(100, "batches"), (1, "singles")] {
        let profile = stack.profile(100, 4, batch_events);
        stack.generate(&profile, out);
        let (code, report) = stack.reconcile(out);
        assert_eq!((code, &report["verdict"]), (0, &"whole".into()), "{report}");
        for count in ["planned", "attempted", "acknowledged", "in_stream", "stored", "rows"] {
            assert_eq!(report["totals"][count], 4_000, "{count}");
        }
        assert_eq!(report["findings"].as_array().unwrap().len(), 0);
    }
    // The second run's check sees the events of the first run, and counts none of them.
    assert_eq!(stack.ask("SELECT count() FROM audit.audit_logs"), "8000");
}

#[test]
fn a_cluster_of_api_servers_in_two_shards_is_whole() {
    let stack = Stack::up(&[]);
    let text = "name: shards\nmix: cluster\nlevel: policy\nskew: 1.05\nrhythm: [combs, bursts]\n\
                stages: [{duration: 5s, rate: 20/s -> 60/s, tenants: 2 -> 12}]\n\
                send: {sender: apiserver}\napiserver: {batch_wait: 500ms}\nthresholds: {}\n\
                classes: [{name: noisy, tenants: 1, rate: 3, level: request-response}]\n";
    std::fs::write(stack.path("shards.yaml"), text).unwrap();
    let start = Clock::system().now() + 3_000_000;
    let start = chrono::DateTime::from_timestamp_micros(start).unwrap().to_rfc3339();
    let shards = ["1/2", "2/2"].map(|part| {
        let args = ["run", "shards.yaml", "--out", "run", "--shard", part, "--start-at", &start];
        stack.command("auditstorm-generator", &args).spawn().unwrap()
    });
    for mut shard in shards {
        assert!(shard.wait().unwrap().success());
    }
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["verdict"]), (0, &"whole".into()), "{report}");
    let totals = &report["totals"];
    assert_eq!(totals["stored"], totals["planned"]);
    assert!(totals["stored"].as_u64().unwrap() > 1_000, "{totals}");
}

#[test]
fn what_a_bad_client_spoils_is_neither_lost_nor_stored() {
    let stack = Stack::up(&[]);
    let text = "name: spoiled\nstages: [{duration: 3s, rate: 100/s, tenants: 10}]\n\
                send: {batch_events: 50}\nthresholds: {}\n\
                faults: {stages: 0.05, foreign_ids: 0.05, resent: 0.2}\n";
    std::fs::write(stack.path("spoiled.yaml"), text).unwrap();
    stack.generate("spoiled.yaml", "run");
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["verdict"]), (0, &"whole".into()), "{report}");
    let totals = ["spoiled", "stored", "planned"].map(|name| report["totals"][name].as_u64());
    let [Some(spoiled), Some(stored), Some(planned)] = totals else { panic!("{report}") };
    assert_eq!(spoiled + stored, planned);
    assert!((150..450).contains(&spoiled), "{spoiled}");
}

#[test]
fn harmless_delays_are_waited_for() {
    let stack = Stack::up(&["--fault", "delay:aggregator:3s"]);
    let profile = stack.profile(100, 2, 100);
    stack.generate(&profile, "run");
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["totals"]["stored"]), (0, &2_000.into()), "{report}");
}

#[test]
fn a_cut_ledger_is_never_whole_and_a_damaged_one_is_an_error() {
    let stack = Stack::up(&[]);
    let profile = stack.profile(100, 3, 50);
    stack.generate(&profile, "run");
    let ledger = stack.path("run/ledger-0.bin");
    let whole = std::fs::read(&ledger).unwrap();
    for length in [0, 8, whole.len() / 2, whole.len() - 1] {
        let file = OpenOptions::new().write(true).open(&ledger).unwrap();
        file.set_len(length as u64).unwrap();
        let (code, report) = stack.reconcile("run");
        assert_eq!((code, &report["verdict"]), (4, &"unknown".into()), "cut at {length}: {report}");
        std::fs::write(&ledger, &whole).unwrap();
    }
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    std::fs::write(&ledger, &damaged).unwrap();
    let output = stack.run("auditstorm-verifier", &["reconcile", "run"]);
    let story = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{story}");
    assert!(story.contains("damaged at byte"), "{story}");
    std::fs::remove_file(&ledger).unwrap();
    let (code, _) = stack.reconcile("run");
    assert_eq!(code, 4, "without a ledger");
}

#[test]
fn a_store_that_is_down_is_named() {
    let stack = Stack::up(&[]);
    let profile = stack.profile(50, 1, 50);
    stack.generate(&profile, "run");
    // Nobody listens on this port, because it was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let check = |flag: &str, url: &str, named: &str| {
        let output = stack.run("auditstorm-verifier", &["reconcile", "run", flag, url]);
        let story = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{story}");
        assert!(story.contains(named), "{story}");
        assert_eq!(story.lines().count(), 1, "{story}");
    };
    check("--clickhouse", &format!("http://127.0.0.1:{port}"), "ClickHouse");
    check("--nats", &format!("nats://127.0.0.1:{port}"), "NATS");
}

#[test]
fn wrong_names_get_one_clear_message_each() {
    let stack = Stack::up(&[]);
    let profile = stack.profile(50, 1, 50);
    stack.generate(&profile, "run");
    let check = |args: &[&str], expected: &str| {
        let output = stack.run("auditstorm-verifier", &[&["reconcile"], args].concat());
        let story = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{story}");
        assert!(story.contains(expected), "{story}");
    };
    check(&["run", "--table", "audit.events"], "has no table audit.events");
    check(&["run", "--stream", "AUDIT"], "NATS has no stream AUDIT");
    check(&["run", "--clickhouse", "127.0.0.1:8123"], "is no ClickHouse address");
    check(&["nowhere"], "there is no run in nowhere");
    check(&["run", "--table", "x"], "is no table");
}
