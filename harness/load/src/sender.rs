//! Sends batches of events to the webhook when they are to be sent, and records what becomes of
//! them in the ledger.
//!
//! Tenants and connections are spread over lanes. A lane waits for its next batch, fills the body,
//! posts it over a connection that is free, and settles it in the ledger. Nothing is sent before
//! it is reserved there.

mod backend;
mod body;
mod delivery;
mod faults;
mod feed;
mod lane;
mod list;
mod reservation;
mod schedule;

use std::io;
use std::sync::{Arc, Mutex};

use events::identity::TenantIndex;
use events::timeline::UnixMicros;
use tokio::task::JoinSet;

use crate::webhook::{Connection, Webhook};
use edges::clock::Clock;
use edges::shutdown::Shutdown;
use plans::plan::Plan;
use runs::ledger::LedgerWriter;
use runs::tally::Tally;

pub use faults::OVERSIZED_PADDING_BYTES;
pub use feed::NotBegun;
pub use lane::LaneEnd;
pub use list::{ListEnd, ListSender};
pub use schedule::{Batch, Origin, Seqs};

use feed::Feed;
use lane::run_lane;
use reservation::Reservation;

/// What all lanes of a run share.
#[derive(Debug)]
pub struct Sender {
    pub plan: Plan,
    pub webhook: Webhook,
    pub clock: Clock,
    pub ledger: Arc<LedgerWriter>,
    reservation: Reservation,
}

/// The counts of a lane. The reporter of the run takes them once a second, and sets them to zero.
pub type SharedTally = Arc<Mutex<Tally>>;

/// Lanes at work. Each ends with the operating system's error if the ledger cannot be written.
pub type Lanes = JoinSet<io::Result<LaneEnd>>;

/// One of the processes that a run is shared among: it has every tenant whose index is `index`,
/// modulo `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    pub index: u32,
    pub count: u32,
}

impl Sender {
    /// Prepares to send the events of a plan. They are reserved as they become due.
    pub fn new(plan: Plan, webhook: Webhook, clock: Clock, ledger: Arc<LedgerWriter>) -> Self {
        let reservation = Reservation::new(Arc::clone(&ledger), &plan);
        Self { plan, webhook, clock, ledger, reservation }
    }

    /// Waits, once all lanes have ended, until nothing more is reserved. Only then may the ledger
    /// be closed.
    pub async fn rest(&self) {
        self.reservation.rest().await;
    }

    /// The moment up to which events are reserved: no event that is due later has been begun.
    pub fn reserved_until(&self) -> UnixMicros {
        self.reservation.until()
    }
}

impl Shard {
    /// All of the run.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// The tenants of this part of the run, in order.
    pub fn tenants(self, plan: &Plan) -> impl Iterator<Item = TenantIndex> + '_ {
        let (index, count) = (self.index as usize, self.count as usize);
        plan.script.tenants().skip(index).step_by(count)
    }

    /// How many events this part of the run has.
    pub fn planned(self, plan: &Plan) -> u64 {
        self.tenants(plan).map(|tenant| plan.script.timeline(tenant).count()).sum()
    }
}

/// Starts the lanes, each with its share of tenants and connections, and returns them with the
/// counts that they keep.
pub fn spawn_lanes(
    sender: &Arc<Sender>,
    part: Shard,
    shutdown: &Shutdown,
) -> (Lanes, Vec<SharedTally>) {
    let tenants: Vec<TenantIndex> = part.tenants(&sender.plan).collect();
    let connections_count = sender.plan.send.connections as usize;
    let connection = |index| sender.webhook.connection(index, sender.clock);
    let mut connections = (0..connections_count).map(connection);
    let lanes_count = lanes_max().min(tenants.len()).min(connections_count);
    let work = (0..lanes_count).map(|lane| {
        let own = tenants.iter().copied().skip(lane).step_by(lanes_count);
        // If the connections do not divide evenly, the first lanes have one more.
        let share = (connections_count + lanes_count - 1 - lane) / lanes_count;
        (Feed::new(&sender.plan, own), connections.by_ref().take(share).collect())
    });
    spawn(sender, work.collect(), shutdown)
}

/// How many lanes are enough to keep this machine busy.
fn lanes_max() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get) * 2
}

/// Starts a lane for each feed, with the connections that it may use.
fn spawn(
    sender: &Arc<Sender>,
    work: Vec<(Feed, Vec<Connection>)>,
    shutdown: &Shutdown,
) -> (Lanes, Vec<SharedTally>) {
    let mut lanes = JoinSet::new();
    let mut tallies = Vec::new();
    for (feed, connections) in work {
        let tally = Arc::new(Mutex::new(Tally::new(sender.plan.classes.names.len())));
        tallies.push(Arc::clone(&tally));
        let (sender, shutdown) = (Arc::clone(sender), shutdown.clone());
        lanes.spawn(async move { run_lane(&sender, feed, connections, tally, shutdown).await });
    }
    (lanes, tallies)
}
