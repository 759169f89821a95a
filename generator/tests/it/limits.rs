//! What this machine lacks is told as such: never as the target's doing.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use edges::clock::Clock;
use runs::ledger::Account;
use runs::run_dir::RunDir;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::targets::{Behaviour, Server};

const PROFILE: &str = "name: x\nstages: [{duration: 6s, rate: 20/s, tenants: 6}]\n\
    send: {batch_events: 4, batch_age: 100ms, timeout: 1s, connections: 6}\n";

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::write(place.0.path().join("x.yaml"), PROFILE).unwrap();
        place
    }

    /// A shell that may have so many files open, and becomes the generator.
    fn start(&self, files: &str, server: &Server) -> Child {
        let program = assert_cmd::cargo::cargo_bin("auditstorm-generator");
        Command::new("sh")
            .args(["-c", &format!("ulimit {files}; exec \"$0\" \"$@\"")])
            .arg(program)
            .args(["run", "./x.yaml", "--out", "run", "--json", "--no-self-test"])
            .args(["--webhook", &format!("http://{}/events", server.address)])
            .current_dir(self.0.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// How many events the seconds of a run call unsent so far.
fn unsent_in(timeline: &Path) -> u64 {
    let text = std::fs::read_to_string(timeline).unwrap_or_default();
    let seconds = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    seconds.filter_map(|second| second["unsent"].as_u64()).sum()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = Clock::system();
    let deadline = clock.now() + 30_000_000;
    while !is_so() {
        assert!(clock.now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn events_for_which_no_file_was_left_are_unsent_and_the_run_is_saturated() {
    let place = Place::new();
    let runtime = Runtime::new().unwrap();
    // Each request needs a connection of its own: from some moment on, there is none to be had.
    let server = runtime.block_on(Server::start(Behaviour::AnswerOnce));
    let child = place.start("-n 512", &server);
    wait_until("something is sent", || server.requests() >= 12);
    let pid = Pid::from_child(&child);
    let allow = |files| {
        let limit = Rlimit { current: Some(files), maximum: Some(512) };
        prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    };
    // It keeps the files that it has, and gets no more, for some time.
    allow(4);
    let timeline = place.0.path().join("run/timeline-0.jsonl");
    wait_until("the run tells that events are unsent", || unsent_in(&timeline) >= 100);
    allow(512);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"));
    assert_eq!(output.status.code(), Some(6), "{summary:#}");
    let number = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!((number("refused"), number("unknown")), (0, 0), "{summary:#}");
    assert!(number("unsent") >= 100 && number("acknowledged") > 0, "{summary:#}");
    assert_eq!(number("planned"), number("acknowledged") + number("unsent"));
    assert_eq!(number("attempted"), number("acknowledged"));
    assert_eq!(summary["saturated"], true, "{summary:#}");
    assert_eq!(summary["outcomes"]["no file left here"], summary["unsent"], "{summary:#}");
    // The ledger was open before, and says the same.
    let (dir, plan) = RunDir::open(&place.0.path().join("run")).unwrap();
    let ledger = dir.read_ledger(&plan).unwrap();
    let sum = |of: &dyn Fn(&Account) -> u64| ledger.accounts.iter().map(of).sum::<u64>();
    assert_eq!(sum(&|account| account.unsent.count()), number("unsent"));
    assert_eq!(sum(&|account| account.refused.count() + account.unknown().count()), 0);
}

#[test]
fn a_run_with_too_few_files_is_refused_with_the_number_that_it_needs() {
    let place = Place::new();
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(Behaviour::Answer("200 OK")));
    let output = place.start("-n 70", &server).wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let expected = "6 connections need up to 76 open files, and this process may have 70";
    assert!(told.contains(expected), "{told}");
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert_eq!(server.requests(), 0);
    // A soft limit is raised.
    let output = place.start("-Sn 20", &server).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(server.requests() > 0);
}
