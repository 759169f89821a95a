//! Lists of batches over connections that are kept.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use edges::clock::Clock;
use edges::shutdown::{Shutdown, Stop};
use events::identity::TenantIndex;
use hyper::StatusCode;
use load::sender::{Batch, ListSender, Origin, Seqs};
use load::webhook::{Webhook, WebhookArgs};
use plans::plan::Plan;
use plans::spec::{RunOptions, Span};
use runs::ledger::{Durability, LedgerWriter};
use runs::run_dir::RunDir;
use tempfile::TempDir;
use uuid::Uuid;

use crate::server::{Behaviour, Server, Wire};

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    webhook: WebhookArgs,
}

/// A history of two days, far in the past.
fn plan() -> Plan {
    let text = "name: x\nstages: [{duration: 1s, rate: 1/s, tenants: 4}]\n\
                send: {sender: apiserver, connections: 3, timeout: 5s}\n\
                apiserver: {batch_events: 10}\nfaults: {malformed: 1.0}\n";
    let options =
        RunOptions::new(Uuid::from_u128(3), 1_600_000_000_000_000, Span::history(2, 1_000, 0));
    Plan::parse(text, "x", options).unwrap()
}

struct Place {
    _dir: TempDir,
    run: RunDir,
    plan: Plan,
    ledger: Arc<LedgerWriter>,
    clock: Clock,
    sender: ListSender,
}

impl Place {
    fn new(server: &Server) -> Self {
        let plan = plan();
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path(), &plan.spec).unwrap();
        let ledger = Arc::new(run.create_ledger(&plan.spec, 0, Durability::Process).unwrap());
        ledger.reserve(&(plan.start..plan.end)).unwrap();
        let url = format!("--webhook=http://{}/events", server.address);
        let flags = Flags::parse_from(["x".to_owned(), url]);
        let webhook = Webhook::from_args(&flags.webhook, Duration::from_secs(5)).unwrap();
        let clock = Clock::system();
        let sender = ListSender::new(plan.clone(), webhook, clock, Arc::clone(&ledger));
        Self { _dir: dir, run, plan, ledger, clock, sender }
    }

    /// Batches of ten events of each tenant from `first` on, to be sent some time from now.
    fn batches(&self, first: u64, after: Duration) -> Vec<Batch> {
        let send_at = self.clock.now() + edges::clock::micros(after);
        let batch = |tenant, first| Batch {
            tenant: TenantIndex(tenant),
            seqs: Seqs::of(first..first + 10),
            send_at,
            origin: Origin::SendAt,
        };
        (0..4).flat_map(|tenant| [batch(tenant, first), batch(tenant, first + 10)]).collect()
    }
}

#[tokio::test]
async fn lists_go_over_the_same_connections_and_count_from_when_they_are_to_be_sent() {
    let server = Server::start(Wire::Http1, Behaviour::Answer(StatusCode::OK)).await;
    let mut place = Place::new(&server);
    let (_stop, shutdown) = Shutdown::manual();
    for list in 0..5 {
        let batches = place.batches(list * 20, Duration::from_millis(50));
        let end = place.sender.send(batches, &shutdown).await.unwrap();
        assert_eq!(end.acknowledged.count(), 80);
        assert!(end.refused.is_empty() && end.unknown.is_empty() && end.not_begun.is_empty());
        assert_eq!((end.tally.events.acknowledged, end.tally.in_flight), (80, 0));
        let latencies = end.tally.latencies();
        assert_eq!(latencies.due_to_acknowledged.len(), 80);
        // Not the six years since the events are said to have happened.
        assert!(latencies.due_to_acknowledged.max() < 10_000_000);
        assert!(end.tally.lateness_max_us < 10_000_000);
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 40);
    assert!(seen.iter().all(|request| request.connection < 3), "connections are kept");
    // Neither the profile's backend nor its faults are for lists.
    assert!(seen.iter().all(|request| request.body.ends_with(b"]}\n")), "nothing is spoiled");
    place.ledger.close().unwrap();
    let ledger = place.run.read_ledger(&place.plan).unwrap();
    assert!(ledger.accounts.iter().all(|account| account.acknowledged.ranges() == [0..100]));
}

#[tokio::test]
async fn what_ends_otherwise_is_told_in_sets() {
    let (_stop, shutdown) = Shutdown::manual();
    for (status, refused) in
        [(StatusCode::NOT_FOUND, true), (StatusCode::SERVICE_UNAVAILABLE, false)]
    {
        let server = Server::start(Wire::Http1, Behaviour::Answer(status)).await;
        let mut place = Place::new(&server);
        let batches = place.batches(0, Duration::ZERO);
        let end = place.sender.send(batches, &shutdown).await.unwrap();
        let (set, other) =
            if refused { (&end.refused, &end.unknown) } else { (&end.unknown, &end.refused) };
        assert_eq!((set.count(), other.count()), (80, 0), "{status}");
        assert_eq!(set.get(TenantIndex(3)).unwrap().ranges(), [0..20]);
        assert_eq!(server.seen().len(), 8, "{status}: each is sent once");
    }
}

#[tokio::test]
async fn what_is_not_begun_when_it_is_stopped_is_told() {
    let server = Server::start(Wire::Http1, Behaviour::Answer(StatusCode::OK)).await;
    let mut place = Place::new(&server);
    let (stop, shutdown) = Shutdown::manual();
    let mut batches = place.batches(0, Duration::ZERO);
    batches.extend(place.batches(20, Duration::from_hours(1)));
    let stopping = async {
        let mut seen = 0;
        while seen < 8 {
            seen += server.seen().len();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send_replace(Stop::Drain);
    };
    let (end, ()) = tokio::join!(place.sender.send(batches, &shutdown), stopping);
    let end = end.unwrap();
    assert_eq!((end.acknowledged.count(), end.not_begun.count()), (80, 80));
    assert_eq!(end.not_begun.get(TenantIndex(0)).unwrap().ranges(), [20..40]);
}
