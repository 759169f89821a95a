//! Replays to a webhook in this process.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use events::identity::{Seq, TenantIndex};
use events::script::DAY_US;
use load::webhook::WebhookArgs;
use plans::spec::{RunOptions, Span};
use runs::ledger::{Durability, Ledger};
use runs::run_dir::RunDir;
use serde_json::Value;
use stores::jetstream::{ConsumerState, JetStreamError, StreamState};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::*;

/// A history that is piped from its second day on.
pub(crate) fn plan(days: u32, events: u64) -> Plan {
    let text = "name: x\nstages: [{duration: 1s, rate: 1/s, tenants: 6}]\n\
                send: {batch_events: 50, connections: 4, timeout: 5s}\n";
    let history = Span::history(days, events, 0);
    let Span::History { planned_at, .. } = history else { unreachable!("it is a history") };
    let replay_days = days.saturating_sub(1);
    let options = RunOptions::new(
        Uuid::from_u128(1),
        1_790_000_000_000_000,
        Span::History { days, events, replay_days, planned_at },
    );
    Plan::parse(text, "x", options).unwrap()
}

fn piped(plan: &Plan) -> TenantRanges {
    let mut piped = TenantRanges::new();
    for tenant in plan.script.tenants() {
        let timeline = plan.script.timeline(tenant);
        piped.insert(tenant, timeline.count_before(plan.piped_from)..timeline.count());
    }
    piped
}

/// What a webhook does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Take,
    /// Says 503, and does not take it.
    Busy,
    /// Takes it, and ends the connection after the answer; from then on it refuses connections
    /// for a while.
    TakeAndLeave(Duration),
}

/// What a webhook has taken, in order.
#[derive(Debug, Default)]
struct Taken {
    events: Mutex<Vec<(TenantIndex, Seq)>>,
    count: AtomicU64,
    connections: AtomicU64,
}

/// A webhook that ends with its test.
struct Hook {
    address: SocketAddr,
    taken: Arc<Taken>,
    task: tokio::task::JoinHandle<()>,
}

type Rule = Arc<dyn Fn(u64) -> Answer + Send + Sync>;

impl Hook {
    /// Starts a webhook. `rule` is told how many requests came before.
    async fn start(plan: &Plan, rule: impl Fn(u64) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::<Taken>::default();
        let (log, plan, rule) = (Arc::clone(&taken), plan.clone(), Arc::new(rule) as Rule);
        let task = tokio::spawn(async move {
            let (leave, mut leaving) = tokio::sync::mpsc::channel(1);
            let requests = Arc::<AtomicU64>::default();
            let mut listener = Some(listener);
            while let Some(open) = &listener {
                tokio::select! {
                    accepted = open.accept() => {
                        log.connections.fetch_add(1, Ordering::SeqCst);
                        let (log, rule, plan) = (log.clone(), rule.clone(), plan.clone());
                        let (requests, leave) = (requests.clone(), leave.clone());
                        tokio::spawn(async move {
                            let stream = accepted.unwrap().0;
                            serve(stream, &plan, &log, &rule, &requests, leave).await.ok();
                        });
                    }
                    Some((pause, gone)) = leaving.recv() => {
                        let gone: tokio::sync::oneshot::Sender<()> = gone;
                        drop(listener.take());
                        gone.send(()).unwrap();
                        tokio::time::sleep(pause).await;
                        listener = Some(TcpListener::bind(address).await.unwrap());
                    }
                }
            }
        });
        Self { address, taken, task }
    }

    fn webhook(&self) -> Webhook {
        let args = WebhookArgs {
            urls: vec![format!("http://{}/events", self.address)],
            encoding: load::webhook::Encoding::None,
            http: load::webhook::HttpVersion::Auto,
            ca_file: None,
            client_cert: None,
            client_key: None,
            token_file: None,
            headers: Vec::new(),
            lifetime: None,
        };
        Webhook::from_args(&args, Duration::from_secs(5)).unwrap()
    }

    fn taken(&self) -> Vec<(TenantIndex, Seq)> {
        self.taken.events.lock().unwrap().clone()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Leave = tokio::sync::mpsc::Sender<(Duration, tokio::sync::oneshot::Sender<()>)>;

/// Serves one connection until its client goes away.
async fn serve(
    mut stream: TcpStream,
    plan: &Plan,
    log: &Taken,
    rule: &Rule,
    requests: &AtomicU64,
    leave: Leave,
) -> io::Result<()> {
    let mut is_leaving = false;
    loop {
        let body = read_body(&mut stream).await?;
        let answer = rule(requests.fetch_add(1, Ordering::SeqCst));
        if answer == Answer::Busy {
            let busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(busy).await?;
            continue;
        }
        take(plan, log, &body);
        if let Answer::TakeAndLeave(pause) = answer {
            is_leaving = true;
            let (gone, is_gone) = tokio::sync::oneshot::channel();
            // Others may have left already.
            if leave.try_send((pause, gone)).is_ok() {
                is_gone.await.unwrap();
            }
        }
        let close = if is_leaving { "connection: close\r\n" } else { "" };
        let ok = format!("HTTP/1.1 200 OK\r\n{close}content-length: 0\r\n\r\n");
        stream.write_all(ok.as_bytes()).await?;
        if is_leaving {
            return Ok(());
        }
    }
}

async fn read_body(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let mut body = vec![0; length.lines().next().unwrap().trim().parse().unwrap()];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

fn take(plan: &Plan, log: &Taken, body: &[u8]) {
    let list: Value = serde_json::from_slice(body).unwrap();
    let mut events = log.events.lock().unwrap();
    for item in list["items"].as_array().unwrap() {
        let id = item["auditID"].as_str().unwrap().parse().unwrap();
        events.push(plan.script.locate(id).unwrap());
    }
    log.count.store(events.len() as u64, Ordering::SeqCst);
}

/// A pipeline that takes what the webhook has taken, and whose consumer reads so many events
/// between two looks.
#[derive(Debug)]
struct Pipeline {
    taken: Arc<Taken>,
    reads_at_once: u64,
    read: AtomicU64,
    lag_seen_max: Arc<AtomicU64>,
}

impl Pipeline {
    fn after(hook: &Hook, reads_at_once: u64) -> Self {
        let (taken, lag_seen_max) = (Arc::clone(&hook.taken), Arc::default());
        Self { taken, reads_at_once, read: AtomicU64::new(0), lag_seen_max }
    }
}

impl StreamWatch for Pipeline {
    async fn read_state(&self) -> Result<StreamState, JetStreamError> {
        let last = self.taken.count.load(Ordering::SeqCst);
        let before = self.read.load(Ordering::SeqCst);
        self.lag_seen_max.fetch_max(last - before, Ordering::SeqCst);
        let read = last.min(before.saturating_add(self.reads_at_once));
        self.read.store(read, Ordering::SeqCst);
        let consumer =
            ConsumerState { ack_floor: read, pending: last - read, ..ConsumerState::default() };
        Ok(StreamState {
            messages: last,
            bytes: last * 2_000,
            bytes_max: Some(1 << 30),
            first: 1,
            last,
            duplicate_window: Duration::from_mins(10),
            keeps_what_is_read: true,
            consumer: Some(consumer),
        })
    }

    fn names(&self) -> (&str, &str) {
        ("AUDIT_EVENTS", "clickhouse-ingest")
    }
}

/// A run directory with an open ledger.
struct Place {
    _dir: TempDir,
    run: RunDir,
    ledger: Arc<LedgerWriter>,
}

impl Place {
    fn new(plan: &Plan) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path(), &plan.spec).unwrap();
        let ledger = Arc::new(run.create_ledger(&plan.spec, 0, Durability::Process).unwrap());
        Self { _dir: dir, run, ledger }
    }

    fn read(&self, plan: &Plan) -> Ledger {
        self.ledger.close().unwrap();
        self.run.read_ledger(plan).unwrap()
    }
}

const OPTIONS: ReplayOptions =
    ReplayOptions { events_per_second: None, lag_max: 5_000, slice_events: 1_000 };

async fn start(plan: &Plan, hook: &Hook, place: &Place, reads: u64) -> Replay<Pipeline> {
    let (webhook, ledger) = (hook.webhook(), Arc::clone(&place.ledger));
    let pipeline = Pipeline::after(hook, reads);
    let clock = Clock::system();
    Replay::start(plan.clone(), webhook, ledger, pipeline, clock, OPTIONS).await.unwrap()
}

/// The events of a list as sets. None of them is there twice.
#[track_caller]
fn once(events: &[(TenantIndex, Seq)]) -> TenantRanges {
    let mut sets: BTreeMap<TenantIndex, Vec<u64>> = BTreeMap::new();
    for (tenant, seq) in events {
        sets.entry(*tenant).or_default().push(seq.0);
    }
    let all: TenantRanges = sets
        .into_iter()
        .map(|(tenant, mut seqs)| {
            seqs.sort_unstable();
            (tenant, seqs.into_iter().collect())
        })
        .collect();
    assert_eq!(all.count(), events.len() as u64, "an event came twice");
    all
}

fn days_of(plan: &Plan, events: &[(TenantIndex, Seq)]) -> Vec<i64> {
    let day = |(tenant, seq): &(TenantIndex, Seq)| {
        (plan.script.timeline(*tenant).due(*seq).unwrap() - plan.start) / DAY_US
    };
    events.iter().map(day).collect()
}

#[tokio::test]
async fn every_event_arrives_once_and_the_oldest_day_first() {
    let plan = plan(4, 12_000);
    let hook = Hook::start(&plan, |_| Answer::Take).await;
    let place = Place::new(&plan);
    let (_stop, shutdown) = Shutdown::manual();
    let mut replay = start(&plan, &hook, &place, u64::MAX).await;
    let mut told = Vec::new();
    let todo = piped(&plan);
    let mut observe = |progress: &ReplayProgress| told.push(progress.acknowledged);
    let sent = replay.send(&todo, &shutdown, &mut observe).await.unwrap();
    assert_eq!(replay.drain(&shutdown, &mut |_| {}).await.unwrap(), Waited::Enough);
    assert!(!sent.stopped && sent.doubtful.is_empty());
    assert_eq!(sent.acknowledged, todo.count());
    assert!(told.is_sorted() && told.len() >= 8, "{told:?}");
    let taken = hook.taken();
    assert_eq!(once(&taken), todo);
    let days = days_of(&plan, &taken);
    assert!(days.is_sorted() && days[0] == 1 && days.last() == Some(&3), "{days:?}");
    // Connections are kept alive from slice to slice.
    assert_eq!(hook.taken.connections.load(Ordering::SeqCst), 4);
    let latencies = sent.tally.latencies();
    assert_eq!(latencies.due_to_acknowledged.len(), todo.count());
    assert!(latencies.due_to_acknowledged.max() < 60_000_000, "not counted from their days");
    let ledger = place.read(&plan);
    assert!(ledger.closed);
    for (tenant, account) in plan.script.tenants().zip(&ledger.accounts) {
        assert_eq!(Some(&account.acknowledged), todo.get(tenant));
        assert_eq!(account.reserved, account.acknowledged, "nothing of the bulk days");
    }
}

#[tokio::test]
async fn a_webhook_that_refuses_connections_for_a_while_loses_and_doubles_nothing() {
    let plan = plan(2, 8_000);
    let todo = piped(&plan);
    // All that come while it leaves are told so.
    let hook = Hook::start(&plan, |requests| match requests {
        30..34 => Answer::TakeAndLeave(Duration::from_secs(3)),
        _ => Answer::Take,
    })
    .await;
    let place = Place::new(&plan);
    let (_stop, shutdown) = Shutdown::manual();
    let mut replay = start(&plan, &hook, &place, u64::MAX).await;
    let mut waited = false;
    let mut observe = |progress: &ReplayProgress| {
        waited |= progress.doing == Doing::WaitingForWebhook;
    };
    let sent = replay.send(&todo, &shutdown, &mut observe).await.unwrap();
    assert!(waited, "some were refused");
    assert!(sent.doubtful.is_empty(), "{:?}", sent.doubtful);
    assert!(sent.tally.outcomes.contains_key(&runs::outcome::Outcome::NotConnected));
    assert_eq!((sent.acknowledged, once(&hook.taken())), (todo.count(), todo));
    let ledger = place.read(&plan);
    let unsettled = |account: &runs::ledger::Account| {
        account.unknown().is_empty() && account.refused.is_empty() && account.unsent.is_empty()
    };
    assert!(ledger.accounts.iter().all(unsettled));
}

#[tokio::test]
async fn what_is_answered_by_an_overload_is_doubtful_and_can_be_sent_again() {
    let plan = plan(2, 4_000);
    let todo = piped(&plan);
    let busy = |requests: u64| if requests % 7 == 3 { Answer::Busy } else { Answer::Take };
    let hook = Hook::start(&plan, busy).await;
    let place = Place::new(&plan);
    let (_stop, shutdown) = Shutdown::manual();
    let mut replay = start(&plan, &hook, &place, u64::MAX).await;
    let first = replay.send(&todo, &shutdown, &mut |_| {}).await.unwrap();
    let mut missing = todo.clone();
    missing.subtract(&once(&hook.taken()));
    assert!(!missing.is_empty());
    assert_eq!(first.doubtful, missing);
    let mut rest = missing;
    while !rest.is_empty() {
        rest = replay.send(&rest, &shutdown, &mut |_| {}).await.unwrap().doubtful;
    }
    assert_eq!(once(&hook.taken()), todo);
    let ledger = place.read(&plan);
    assert!(ledger.accounts.iter().all(|account| account.unknown().is_empty()));
}

#[tokio::test]
async fn no_more_is_on_its_way_than_the_limit_says() {
    let plan = plan(2, 20_000);
    let todo = piped(&plan);
    let hook = Hook::start(&plan, |_| Answer::Take).await;
    let place = Place::new(&plan);
    let (_stop, shutdown) = Shutdown::manual();
    let pipeline = Pipeline::after(&hook, 600);
    let lag_seen_max = Arc::clone(&pipeline.lag_seen_max);
    let options = ReplayOptions { lag_max: 2_500, ..OPTIONS };
    let (clock, ledger) = (Clock::system(), Arc::clone(&place.ledger));
    let mut replay = Replay::start(plan.clone(), hook.webhook(), ledger, pipeline, clock, options)
        .await
        .unwrap();
    let sent = replay.send(&todo, &shutdown, &mut |_| {}).await.unwrap();
    assert_eq!(sent.acknowledged, todo.count());
    let most = lag_seen_max.load(Ordering::SeqCst);
    assert!((1_500..=2_500).contains(&most), "{most}");
}

#[tokio::test]
async fn a_replay_that_is_stopped_leaves_the_rest_unsent_and_can_go_on() {
    let plan = plan(2, 8_000);
    let todo = piped(&plan);
    let hook = Hook::start(&plan, |_| Answer::Take).await;
    let place = Place::new(&plan);
    let (stop, shutdown) = Shutdown::manual();
    let mut replay = start(&plan, &hook, &place, u64::MAX).await;
    let mut observe = |progress: &ReplayProgress| {
        if progress.acknowledged >= 1_000 {
            stop.send_replace(Stop::Drain);
        }
    };
    let stopped = replay.send(&todo, &shutdown, &mut observe).await.unwrap();
    assert!(stopped.stopped && stopped.doubtful.is_empty());
    assert!((1_000..todo.count()).contains(&stopped.acknowledged), "{}", stopped.acknowledged);
    let ledger = place.read(&plan);
    let unsent: TenantRanges = plan
        .script
        .tenants()
        .zip(&ledger.accounts)
        .map(|(tenant, account)| {
            let taken = account.acknowledged.clone();
            assert_eq!(account.attempted(), taken);
            (tenant, todo.get(tenant).unwrap().difference(&taken))
        })
        .collect();
    assert_eq!(unsent.count(), todo.count() - stopped.acknowledged);
    let (_stop, shutdown) = Shutdown::manual();
    let sent = replay.send(&unsent, &shutdown, &mut |_| {}).await.unwrap();
    assert_eq!(sent.acknowledged, unsent.count());
    assert_eq!(once(&hook.taken()), todo);
}
