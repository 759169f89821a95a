//! How batches are sent: in parts, again, under conditions, and badly on order.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edges::clock::Clock;
use runs::ledger::Account;
use runs::ranges::RangeSet;
use runs::run_dir::RunDir;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::targets::read_request;

/// What a sink does with a request: how long it waits, and what it answers.
#[derive(Debug, Clone, Copy)]
struct Reply {
    after: Duration,
    /// Status line and further headers.
    head: &'static str,
}

const OK: Reply = reply("200 OK");
const BUSY: Reply = reply("503 Service Unavailable");

const fn reply(head: &'static str) -> Reply {
    Reply { after: Duration::ZERO, head }
}

/// A target in this process that keeps what it is sent.
struct Sink {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    _runtime: Runtime,
}

impl Sink {
    /// Starts a sink. `answer` is told the body, and all bodies before it.
    fn start(answer: impl Fn(&[u8], &[Vec<u8>]) -> Reply + Send + Sync + 'static) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let bodies = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (answer, log) = (Arc::new(answer), Arc::clone(&bodies));
        runtime.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                tokio::spawn(async move {
                    while let Ok((_, body)) = read_request(&mut stream).await {
                        let reply = {
                            let mut log = log.lock().unwrap();
                            let reply = answer(&body, &log);
                            log.push(body);
                            reply
                        };
                        tokio::time::sleep(reply.after).await;
                        let head = format!("HTTP/1.1 {}\r\ncontent-length: 0\r\n\r\n", reply.head);
                        if stream.write_all(head.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, bodies, _runtime: runtime }
    }

    fn bodies(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().unwrap().clone()
    }

    fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }
}

/// A folder with a profile, to run the generator in.
struct Place(TempDir);

impl Place {
    fn new(profile: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::write(place.0.path().join("x.yaml"), profile).unwrap();
        place
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("run")
    }

    fn start(&self, sink: &Sink, flags: &[&str]) -> Child {
        Command::new(assert_cmd::cargo::cargo_bin("auditstorm-generator"))
            .args(["run", "x.yaml", "--out", "run", "--json", "--quiet", "--no-self-test"])
            .args(["--webhook", &sink.url()])
            .args(flags)
            .current_dir(self.0.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs to the end. Returns exit code and summary.
    fn run(&self, sink: &Sink, flags: &[&str]) -> (i32, Value) {
        let Output { status, stdout, stderr } = self.start(sink, flags).wait_with_output().unwrap();
        let story = String::from_utf8_lossy(&stderr);
        let summary = serde_json::from_slice(&stdout);
        (status.code().unwrap(), summary.unwrap_or_else(|error| panic!("{error}: {story}")))
    }

    /// How many events of all tenants the ledger has in a set.
    fn recorded(&self, of: impl Fn(&Account) -> RangeSet) -> u64 {
        let (dir, plan) = RunDir::open(&self.out()).unwrap();
        let ledger = dir.read_ledger(&plan).unwrap();
        assert!(ledger.closed, "every shard has closed its ledger");
        ledger.accounts.iter().map(|account| of(account).count()).sum()
    }
}

fn number(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary:#}"))
}

fn profile(stage: &str, rest: &str) -> String {
    format!("name: x\nstages: [{{{stage}}}]\n{rest}")
}

fn planned(out: &Path) -> u64 {
    RunDir::open(out).unwrap().1.script.planned()
}

#[test]
fn a_scaled_run_records_what_was_run() {
    let place = Place::new(&profile("duration: 20s, rate: 100/s, tenants: 10", ""));
    let sink = Sink::start(|_, _| OK);
    let flags = ["--rate-scale", "0.5", "--time-scale", "0.1", "--tenants", "4"];
    let (code, summary) = place.run(&sink, &flags);
    assert_eq!((code, number(&summary, "acknowledged")), (0, 2 * 50 * 4));
    assert_eq!(planned(&place.out()), 400);
    let again = Place::new(&profile("duration: 20s, rate: 10/s, tenants: 3", ""));
    let (_, summary) = again.run(&sink, &["--duration", "1s"]);
    assert_eq!(number(&summary, "planned"), 30);
}

#[test]
fn shards_share_a_run_without_talking() {
    let place = Place::new(&profile("duration: 1s, rate: 20/s, tenants: 7", ""));
    let sink = Sink::start(|_, _| OK);
    let start = Clock::system().now() + 2_000_000;
    let start = chrono::DateTime::from_timestamp_micros(start).unwrap().to_rfc3339();
    let shard = |part: &str| place.start(&sink, &["--shard", part, "--start-at", &start]);
    let parts: Vec<Output> = ["1/3", "2/3", "3/3"]
        .map(shard)
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    let summaries: Vec<Value> =
        parts.iter().map(|part| serde_json::from_slice(&part.stdout).unwrap()).collect();
    let counts: Vec<_> = summaries.iter().map(|it| number(it, "acknowledged")).collect();
    assert_eq!(counts, [60, 40, 40]);
    assert_eq!(summaries[0]["run_id"], summaries[2]["run_id"]);
    assert_eq!(place.recorded(|account| account.acknowledged.clone()), 140);
    // A part that has run cannot run again, and another run cannot join.
    let again = place.start(&sink, &["--shard", "2/3", "--start-at", "2099-01-01T00:00:00Z"]);
    let told = String::from_utf8(again.wait_with_output().unwrap().stderr).unwrap();
    assert!(told.contains("there is another run in run"), "{told}");
}

#[test]
fn what_cannot_be_run_so_is_refused() {
    let place = Place::new(&profile("duration: 1s, rate: 20/s, tenants: 7", ""));
    let sink = Sink::start(|_, _| OK);
    let check = |flags: &[&str], expected: &str| {
        let output = place.start(&sink, flags).wait_with_output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(expected), "{told}");
    };
    check(&["--shard", "4/3", "--start-at", "2099-01-01T00:00:00Z"], "write it like 1/3");
    check(&["--shard", "1/3"], "--start-at");
    check(&["--start-at", "2020-01-01T00:00:00Z"], "in the past");
    check(&["--rate-scale", "0"], "from 0.001 to 1000");
    check(&["--tenants", "0"], "at least one tenant");
    check(&["--abort-on", "speed<9%"], "is no metric: write one of planned, ");
    check(&["--abort-on", "p95>10s"], "write due_to_acknowledged p(95)>10s");
    check(&["--abort-on", "ingested rate<9%"], "ingested is not known while a run goes on");
    assert!(!place.out().exists());
}

#[test]
fn a_run_gives_itself_up_when_its_condition_holds() {
    let place = Place::new(&profile("duration: 60s, rate: 10/s, tenants: 5", ""));
    let sink = Sink::start(|_, _| BUSY);
    let (code, summary) = place.run(&sink, &["--abort-on", "acknowledged_rate<99%"]);
    assert_eq!((code, &summary["aborted"]), (5, &Value::from("acknowledged rate<99%")));
    assert!(number(&summary, "unsent") > 2_000, "{summary:#}");
    let attempted = number(&summary, "attempted");
    assert_eq!(number(&summary, "unknown"), attempted);
    assert_eq!(place.recorded(Account::unknown), attempted);
}

const BACKEND: &str = "send: {sender: apiserver, connections: 64}\n\
    apiserver: {batch_events: 50, batch_wait: 200ms, initial_backoff: 100ms, attempts: 3}\n";

#[test]
fn an_api_server_sends_a_batch_again_unchanged_until_it_is_taken() {
    let place = Place::new(&profile("duration: 2s, rate: 200/s, tenants: 3", BACKEND));
    let sink = Sink::start(
        |body, before| {
            if before.iter().any(|other| other == body) { OK } else { BUSY }
        },
    );
    let export = place.0.path().join("k6.json");
    let (code, summary) = place.run(&sink, &["--summary-export", export.to_str().unwrap()]);
    assert_eq!((code, number(&summary, "acknowledged")), (0, 1_200));
    let bodies = sink.bodies();
    let different: BTreeSet<_> = bodies.iter().collect();
    assert_eq!(bodies.len(), different.len() * 2);
    assert_eq!(number(&summary, "requests"), bodies.len() as u64);
    let exported: Value = serde_json::from_slice(&std::fs::read(export).unwrap()).unwrap();
    assert_eq!(number(&exported["metrics"]["retries"], "count"), different.len() as u64);
    assert_eq!(place.recorded(|account| account.acknowledged.clone()), 1_200);
    // What a user feels counts from the event, not from the attempt that was taken.
    assert!(summary["due_to_acknowledged"]["p50_ms"].as_f64().unwrap() >= 100.0);
}

#[test]
fn an_api_server_gives_a_batch_up_after_its_last_attempt() {
    let place = Place::new(&profile("duration: 1s, rate: 100/s, tenants: 1", BACKEND));
    let sink = Sink::start(|_, _| BUSY);
    let (_, summary) = place.run(&sink, &[]);
    assert_eq!(number(&summary, "unknown"), 100);
    let different: BTreeSet<_> = sink.bodies().into_iter().collect();
    assert_eq!(number(&summary, "requests"), 3 * different.len() as u64);
}

#[test]
fn a_batch_that_waits_to_be_sent_again_holds_no_connection() {
    let backend = "send: {sender: apiserver, connections: 1}\n\
        apiserver: {batch_events: 5, batch_wait: 50ms, initial_backoff: 2s, attempts: 2}\n";
    let place = Place::new(&profile("duration: 1s, rate: 50/s, tenants: 2", backend));
    let sink = Sink::start(|_, _| BUSY);
    let (_, summary) = place.run(&sink, &[]);
    let bodies = sink.bodies();
    let different: BTreeSet<_> = bodies.iter().collect();
    let first: BTreeSet<_> = bodies.iter().take(different.len()).collect();
    assert!(different.len() >= 10 && first.len() == different.len(), "{}", first.len());
    assert_eq!(number(&summary, "requests"), 2 * different.len() as u64);
    assert_eq!(number(&summary, "unknown"), 100);
}

#[test]
fn an_api_server_comes_again_when_it_is_told_to() {
    let place = Place::new(&profile("duration: 1s, rate: 50/s, tenants: 1", BACKEND));
    let sink = Sink::start(|body, before| {
        // Nine refusals within the first attempt are more than three attempts in all.
        let seen = before.iter().filter(|other| *other == body).count();
        if seen < 9 { reply("429 Too Many Requests\r\nretry-after: 0") } else { OK }
    });
    let (_, summary) = place.run(&sink, &[]);
    assert_eq!(number(&summary, "acknowledged"), 50);
}

#[test]
fn an_api_server_drops_what_its_buffer_cannot_hold() {
    let backend = "send: {sender: apiserver}\napiserver: {batch_events: 10, buffer_events: 50, \
                   throttle_qps: 10, throttle_burst: 1, batch_wait: 1s}\n";
    let place = Place::new(&profile("duration: 3s, rate: 500/s, tenants: 2", backend));
    let sink = Sink::start(|_, _| OK);
    let (code, summary) = place.run(&sink, &[]);
    let [planned, dropped, acknowledged] =
        ["planned", "dropped", "acknowledged"].map(|name| number(&summary, name));
    assert_eq!((code, planned, dropped), (0, 3_000, planned - acknowledged));
    // Two servers send a hundred a second each, and empty their buffers at the end.
    assert!((600..=750).contains(&acknowledged), "{acknowledged}");
    assert_eq!(place.recorded(|account| account.acknowledged.clone()), acknowledged);
    assert_eq!(place.recorded(Account::attempted), acknowledged);
}

#[test]
fn what_a_bad_client_spoils_counts_apart() {
    let faults = "faults: {stages: 0.1, foreign_ids: 0.1, resent: 0.2}\n";
    let place = Place::new(&profile("duration: 1s, rate: 200/s, tenants: 4", faults));
    let sink = Sink::start(|_, _| OK);
    let (_, summary) = place.run(&sink, &[]);
    let (spoiled, acknowledged) = (number(&summary, "spoiled"), number(&summary, "acknowledged"));
    assert_eq!(spoiled + acknowledged, 800);
    let lists: Vec<Value> =
        sink.bodies().iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
    let different: BTreeSet<String> = lists.iter().map(Value::to_string).collect();
    assert_eq!((lists.len() - different.len()) as u64, number(&summary, "resent"));
    let (mut received, mut foreign) = (0, 0);
    for list in &different {
        let list: Value = serde_json::from_str(list).unwrap();
        for item in list["items"].as_array().unwrap() {
            let is_uuid = item["auditID"].as_str().unwrap().parse::<uuid::Uuid>().is_ok();
            foreign += u64::from(!is_uuid);
            received += u64::from(item["stage"] == "RequestReceived");
        }
    }
    assert!(received > 40 && foreign > 40, "{received} {foreign}");
    assert_eq!(spoiled, received + foreign);
    assert_eq!(place.recorded(|account| account.spoiled.clone()), spoiled);
    assert_eq!(place.recorded(Account::unknown), 0);
}

#[test]
fn a_body_that_is_cut_is_no_json_and_an_oversized_event_has_a_mebibyte() {
    let faults = "faults: {malformed: 0.5, oversized: 0.02}\n";
    let place = Place::new(&profile("duration: 1s, rate: 50/s, tenants: 4", faults));
    let sink = Sink::start(|body, _| {
        let is_json = serde_json::from_slice::<Value>(body).is_ok();
        if is_json { OK } else { reply("400 Bad Request") }
    });
    let (_, summary) = place.run(&sink, &[]);
    assert!(number(&summary, "refused") > 0 && number(&summary, "acknowledged") > 0);
    assert!(sink.bodies().iter().any(|body| body.len() > 1 << 20));
    let all = ["refused", "acknowledged", "spoiled"].map(|name| number(&summary, name));
    assert_eq!(all.iter().sum::<u64>(), 200);
}

#[test]
fn a_stall_is_felt_by_every_event_that_waits_for_it() {
    let place = Place::new(&profile(
        "duration: 8s, rate: 50/s, tenants: 4",
        "send: {batch_events: 1, connections: 4}\n",
    ));
    let clock = Clock::system();
    let begun = clock.now();
    let sink = Sink::start(move |_, _| {
        // From the second second on, nothing is answered for five seconds.
        let since_ms = (clock.now() - begun) / 1_000;
        let left_ms = u64::try_from(7_000 - since_ms).unwrap_or(0);
        let after = Duration::from_millis(if since_ms < 2_000 { 0 } else { left_ms });
        Reply { after, ..OK }
    });
    let (code, summary) = place.run(&sink, &[]);
    assert_eq!((code, number(&summary, "acknowledged")), (0, 1_600));
    let percentile = |latency: &str, name: &str| summary[latency][name].as_f64().unwrap();
    assert!(percentile("due_to_acknowledged", "p99_9_ms") >= 4_000.0, "{summary:#}");
    assert!(percentile("due_to_acknowledged", "p50_ms") >= 500.0, "{summary:#}");
    assert!(percentile("sent_to_acknowledged", "max_ms") >= 4_000.0, "{summary:#}");
    // Four requests stalled: the server's own time hides what a thousand events felt.
    assert!(percentile("sent_to_acknowledged", "p95_ms") < 1_000.0, "{summary:#}");
    assert_eq!(summary["saturated"], false, "{summary:#}");
}

#[test]
fn classes_are_told_apart() {
    let classes = "classes: [{name: noisy, tenants: 1, rate: 5}]\n";
    let place = Place::new(&profile("duration: 1s, rate: 20/s, tenants: 3", classes));
    let sink = Sink::start(|_, _| OK);
    let (_, summary) = place.run(&sink, &[]);
    assert_eq!(number(&summary, "planned"), 100 + 20 + 20);
    let told: Vec<_> = summary["classes"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(told, ["noisy", "others"]);
}

#[test]
fn the_headroom_is_told_before_the_run() {
    let place = Place::new(&profile("duration: 1s, rate: 20/s, tenants: 3", ""));
    let sink = Sink::start(|_, _| OK);
    let output = Command::new(assert_cmd::cargo::cargo_bin("auditstorm-generator"))
        .args(["run", "x.yaml", "--out", "run", "--webhook", &sink.url()])
        .current_dir(place.0.path())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("headroom: ") && told.contains("peak of 60/s"), "{told}");
    assert_eq!(sink.bodies().len() as u64, 3, "the self-test does not touch the target");
    assert_eq!(place.recorded(|account| account.acknowledged.clone()), 60);
}
