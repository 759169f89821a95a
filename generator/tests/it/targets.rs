//! Every answer of a target, and the lack of one, is the outcome that it should be.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assert_cmd::Command;
use auditstorm_generator::{Observers, RunContext, Watchdog, run};
use clap::Parser;
use edges::clock::Clock;
use edges::errors::ErrorCounts;
use edges::shutdown::Shutdown;
use load::sender::Shard;
use load::webhook::{Webhook, WebhookArgs};
use plans::plan::Plan;
use plans::spec::{RunOptions, Span};
use runs::ledger::{Durability, Ledger};
use runs::record::Summary;
use runs::run_dir::RunDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

const EVENTS: u64 = 60;

/// What a target does with a request that it has read in full.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    Answer(&'static str),
    /// Closes without a word.
    Close,
    Silence,
    /// Answers, but closes every connection after it.
    AnswerOnce,
    /// Closes before it has read the request.
    Hangup,
    /// Says that it took all, but closes before the answer is complete.
    CutShort,
}

/// A target that ends with its test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The heads of all requests, in lower case.
    heads: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, behaviour, Arc::clone(&log)));
            }
        });
        Self { address, heads, task }
    }

    /// How many requests it has read.
    pub(crate) fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a request. Returns its head, in lower case, and its body.
pub(crate) async fn read_request(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((head, body))
}

/// Serves one connection until its client goes away.
async fn serve(
    mut stream: TcpStream,
    behaviour: Behaviour,
    log: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    loop {
        if matches!(behaviour, Behaviour::Hangup) {
            return Ok(());
        }
        let (head, _) = read_request(&mut stream).await?;
        log.lock().unwrap().push(head);
        match behaviour {
            Behaviour::Answer(status) => {
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno");
                stream.write_all(answer.as_bytes()).await?;
            }
            Behaviour::AnswerOnce => return stream.write_all(ok.as_bytes()).await,
            Behaviour::CutShort => {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc";
                return stream.write_all(answer.as_bytes()).await;
            }
            Behaviour::Close | Behaviour::Hangup => return Ok(()),
            Behaviour::Silence => tokio::time::sleep(Duration::from_secs(30)).await,
        }
    }
}

const PROFILE: &str = "name: x\nstages: [{duration: 1s, rate: 10/s, tenants: 6}]\n\
    send: {batch_events: 4, batch_age: 100ms, timeout: 1s, connections: 3}\n";

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    webhook: WebhookArgs,
}

/// Runs a small profile against targets. Returns the summary and the ledger.
async fn sent_to(servers: &[&Server]) -> (Summary, Ledger) {
    let urls = servers.iter().map(|server| format!("--webhook=http://{}", server.address));
    let flags = Flags::parse_from(["x".to_owned()].into_iter().chain(urls));
    let webhook = Webhook::from_args(&flags.webhook, Duration::from_secs(1)).unwrap();
    let clock = Clock::system();
    let options = RunOptions::new(Uuid::from_u128(5), clock.now(), Span::Live);
    let plan = Plan::parse(PROFILE, "x", options).unwrap();
    let place = tempfile::tempdir().unwrap();
    let dir = RunDir::create(place.path(), &plan.spec).unwrap();
    let (_keep, shutdown) = Shutdown::manual();
    let context = RunContext {
        webhook,
        clock,
        shutdown,
        observers: Observers::none(),
        shard: Shard::WHOLE,
        watchdog: Watchdog::new(Vec::new()),
        durability: Durability::Process,
        reading: None,
    };
    let summary = run(plan, &dir, context).await.unwrap();
    let (dir, plan) = RunDir::open(place.path()).unwrap();
    let ledger = dir.read_ledger(&plan).unwrap();
    (summary, ledger)
}

#[track_caller]
fn check(behaviour: Behaviour, acknowledged: u64, refused: u64, unknown: u64, outcome: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (summary, ledger) =
        runtime.block_on(async { sent_to(&[&Server::start(behaviour).await]).await });
    assert_eq!(summary.planned, EVENTS);
    let counted = (summary.acknowledged, summary.refused, summary.unknown, summary.unsent);
    assert_eq!(counted, (acknowledged, refused, unknown, 0), "{summary}");
    assert_eq!(summary.outcomes.get(outcome), Some(&EVENTS), "{summary}");
    assert!(ledger.closed);
    let sum = |of: &dyn Fn(&runs::ledger::Account) -> u64| -> u64 {
        ledger.accounts.iter().map(of).sum()
    };
    let recorded = (
        sum(&|account| account.acknowledged.count()),
        sum(&|account| account.refused.count()),
        sum(&|account| account.unknown().count()),
    );
    assert_eq!(recorded, (acknowledged, refused, unknown));
}

#[test]
fn a_target_that_takes_all_acknowledges_all() {
    check(Behaviour::Answer("200 OK"), EVENTS, 0, 0, "200");
    check(Behaviour::Answer("204 No Content"), EVENTS, 0, 0, "204");
}

#[test]
fn a_target_that_closes_after_each_answer_is_connected_to_again() {
    check(Behaviour::AnswerOnce, EVENTS, 0, 0, "200");
}

#[test]
fn refusals_are_certain_and_overload_is_not() {
    check(Behaviour::Answer("400 Bad Request"), 0, EVENTS, 0, "400");
    check(Behaviour::Answer("413 Content Too Large"), 0, EVENTS, 0, "413");
    check(Behaviour::Answer("429 Too Many Requests"), 0, 0, EVENTS, "429");
    check(Behaviour::Answer("503 Service Unavailable"), 0, 0, EVENTS, "503");
}

#[test]
fn what_gets_no_answer_is_unknown() {
    check(Behaviour::Close, 0, 0, EVENTS, "connection broken");
    check(Behaviour::Silence, 0, 0, EVENTS, "timed out");
}

#[test]
fn why_there_was_no_answer_is_kept_by_address_and_kind() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (behaviour, kind) in [
        (Behaviour::Close, "connection closed before message completed"),
        (Behaviour::Silence, "no answer in time"),
        (Behaviour::CutShort, "end of file before message length reached"),
    ] {
        let (server, summary) = runtime.block_on(async {
            let server = Server::start(behaviour).await;
            let (summary, _) = sent_to(&[&server]).await;
            (server.address.to_string(), summary)
        });
        let known = summary.errors.most_frequent();
        let [error] = known[..] else { panic!("{known:?}") };
        assert_eq!((&error.server, error.kind.as_str()), (&server, kind), "{error:?}");
        assert_eq!(error.count, summary.requests, "{summary}");
        let printed = format!("requests without an answer\n  {server}: {kind}, ");
        assert!(summary.to_string().contains(&printed), "{summary}");
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["errors"][0]["kind"], kind);
        // As an earlier version has written it.
        let mut earlier = json.clone();
        earlier.as_object_mut().unwrap().remove("errors");
        let read: Summary = serde_json::from_value(earlier).unwrap();
        assert_eq!(read.errors, ErrorCounts::default());
        assert_eq!(serde_json::from_value::<Summary>(json).unwrap(), summary);
    }
}

#[test]
fn an_answer_that_is_cut_short_is_unknown() {
    check(Behaviour::CutShort, 0, 0, EVENTS, "connection broken");
}

#[test]
fn garbage_for_an_answer_is_unknown() {
    check(Behaviour::Answer("yes"), 0, 0, EVENTS, "connection broken");
}

#[test]
fn a_target_that_hangs_up_leaves_every_event_settled() {
    // Whether a byte had left is for the operating system to say: refused or unknown.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (summary, ledger) =
        runtime.block_on(async { sent_to(&[&Server::start(Behaviour::Hangup).await]).await });
    assert_eq!(summary.refused + summary.unknown, EVENTS, "{summary}");
    assert!(ledger.closed);
}

#[test]
fn every_address_gets_its_share() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let takes_all = Behaviour::Answer("200 OK");
        let servers = [Server::start(takes_all).await, Server::start(takes_all).await];
        let (summary, _) = sent_to(&servers.each_ref()).await;
        assert_eq!(summary.acknowledged, EVENTS, "{summary}");
        for server in &servers {
            assert!(!server.heads().is_empty(), "{summary}");
        }
    });
}

#[test]
fn secrets_arrive_and_are_nowhere_in_the_record() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(Behaviour::Answer("200 OK")));
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("profile.yaml"), PROFILE).unwrap();
    fs::write(place.path().join("token"), "token-in-file\n").unwrap();
    let url = format!("http://{}/events?key=in-query", server.address);
    let run = |out: &str, flags: &[&str]| {
        let args = ["run", "./profile.yaml", "--webhook", &url, "--out", out];
        let mut command = Command::cargo_bin("auditstorm-generator").unwrap();
        command.current_dir(place.path()).env("WEBHOOK_TOKEN", "token-in-variable");
        command.env("RUST_LOG", "trace");
        command.args(args).args(["--header", "X-Key: in-header"]).args(flags).output().unwrap()
    };
    let check = |out: &str, output: Output, token: &str| {
        assert!(output.status.success(), "{output:?}");
        let heads = std::mem::take(&mut *server.heads.lock().unwrap());
        assert!(!heads.is_empty());
        for head in heads {
            assert!(head.contains(&format!("authorization: bearer {token}\r\n")), "{head}");
            assert!(head.contains("x-key: in-header\r\n"), "{head}");
            assert!(head.contains("/events?key=in-query&timeout=1s"), "{head}");
        }
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let record = record_of(&place.path().join(out)) + &said;
        assert!(record.contains(&server.address.to_string()), "{record}");
        for secret in ["token-in-file", "token-in-variable", "in-query", "in-header"] {
            assert!(!record.contains(secret), "{secret} is in {record}");
        }
    };
    check("a", run("a", &[]), "token-in-variable");
    check("b", run("b", &["--token-file", "token"]), "token-in-file");
    let logged = run("c", &["--log-format", "json", "-vv"]);
    assert!(String::from_utf8_lossy(&logged.stderr).contains("connection opened"), "{logged:?}");
    check("c", logged, "token-in-variable");
}

/// Returns all files of a run, as text.
fn record_of(dir: &Path) -> String {
    let files = fs::read_dir(dir).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    files.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}
