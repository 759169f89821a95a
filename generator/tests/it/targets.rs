//! Every answer of a target, and the lack of one, is the outcome that it should be.

use std::time::Duration;

use auditstorm_generator::{Observers, Summary, Target, run};
use harness::clock::Clock;
use harness::ledger::Ledger;
use harness::plan::{DeliveryPath, Plan, RunOptions, RunSpec, Span, Targets};
use harness::profile::Profile;
use harness::run_dir::RunDir;
use harness::shutdown::Shutdown;
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
}

/// Serves one connection until its client goes away.
pub(crate) async fn serve(mut stream: TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    loop {
        if matches!(behaviour, Behaviour::Hangup) {
            return Ok(());
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        match behaviour {
            Behaviour::Answer(status) => {
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno");
                stream.write_all(answer.as_bytes()).await?;
            }
            Behaviour::AnswerOnce => return stream.write_all(ok.as_bytes()).await,
            Behaviour::Close | Behaviour::Hangup => return Ok(()),
            Behaviour::Silence => tokio::time::sleep(Duration::from_secs(30)).await,
        }
    }
}

/// Runs a small profile against a target. Returns the summary and the ledger.
async fn sent_to(behaviour: Behaviour) -> (Summary, Ledger) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, behaviour));
        }
    });
    let text = "name: x\nstages: [{duration: 1s, rate: 10/s, tenants: 6}]\n\
                send: {batch_events: 4, batch_age: 100ms, timeout: 1s, connections: 3}\n";
    let profile = Profile::parse(text, "x").unwrap();
    let clock = Clock::system();
    let options = RunOptions {
        run_id: Uuid::from_u128(5),
        seed: None,
        start: clock.now(),
        span: Span::Live,
        path: DeliveryPath::Pipeline,
        targets: Targets::default(),
    };
    let plan = Plan::new(RunSpec::new(text, &profile, options), &profile);
    let target = Target::parse(&format!("http://{address}/events"), 1).unwrap();
    let place = tempfile::tempdir().unwrap();
    let dir = RunDir::create(place.path(), &plan.spec).unwrap();
    let (_keep, shutdown) = Shutdown::manual();
    let observers = Observers::none();
    let summary = run(plan, &dir, target, clock, shutdown, observers).await.unwrap();
    server.abort();
    let (dir, plan) = RunDir::open(place.path()).unwrap();
    let ledger = dir.read_ledger(&plan).unwrap();
    (summary, ledger)
}

#[track_caller]
fn check(behaviour: Behaviour, acknowledged: u64, refused: u64, unknown: u64, outcome: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (summary, ledger) = runtime.block_on(sent_to(behaviour));
    assert_eq!(summary.planned, EVENTS);
    let counted = (summary.acknowledged, summary.refused, summary.unknown, summary.unsent);
    assert_eq!(counted, (acknowledged, refused, unknown, 0), "{summary}");
    assert_eq!(summary.outcomes.get(outcome), Some(&EVENTS), "{summary}");
    assert!(ledger.closed);
    let sum = |of: &dyn Fn(&harness::ledger::Account) -> u64| -> u64 {
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
fn garbage_for_an_answer_is_unknown() {
    check(Behaviour::Answer("yes"), 0, 0, EVENTS, "connection broken");
}

#[test]
fn a_target_that_hangs_up_leaves_every_event_settled() {
    // Whether a byte had left is for the operating system to say: refused or unknown.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (summary, ledger) = runtime.block_on(sent_to(Behaviour::Hangup));
    assert_eq!(summary.refused + summary.unknown, EVENTS, "{summary}");
    assert!(ledger.closed);
}
