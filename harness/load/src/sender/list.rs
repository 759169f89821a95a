//! Lists of batches, sent one list after another over the same connections.

use std::io;
use std::sync::{Arc, PoisonError};

use super::feed::Feed;
use super::lane::LaneEnd;
use super::reservation::Reservation;
use super::schedule::Batch;
use super::{Sender, lanes_max, spawn};
use crate::webhook::{Connection, Webhook};
use edges::clock::Clock;
use edges::shutdown::Shutdown;
use plans::plan::Plan;
use runs::ledger::LedgerWriter;
use runs::ranges::TenantRanges;
use runs::tally::Tally;

/// Sends lists of batches, one list after another.
///
/// Each batch is posted once, whatever the answer, and without changes. Backends of API servers and
/// faults of clients belong to runs that have a schedule. Connections are kept alive from list to
/// list.
#[derive(Debug)]
pub struct ListSender {
    sender: Arc<Sender>,
    connections: Vec<Connection>,
}

/// What became of a list of batches.
#[derive(Debug, Clone)]
pub struct ListEnd {
    pub tally: Tally,
    pub acknowledged: TenantRanges,
    pub refused: TenantRanges,
    /// No request could be begun for it, because this machine lacked something.
    pub unsent: TenantRanges,
    /// Begun and without an outcome, including what was in flight when the user stopped at once.
    pub unknown: TenantRanges,
    /// No byte of it was sent, because the user asked to stop. It is for the caller to settle.
    pub not_begun: TenantRanges,
}

impl ListSender {
    /// Prepares to send events of a plan, which the caller reserves in the ledger.
    pub fn new(mut plan: Plan, webhook: Webhook, clock: Clock, ledger: Arc<LedgerWriter>) -> Self {
        if let Some(rules) = plan.send.backend.take() {
            plan.send.batch_events = u32::try_from(rules.batch_events).unwrap_or(u32::MAX);
        }
        plan.faults = plans::profile::Faults::default();
        let reservation = Reservation::made(Arc::clone(&ledger));
        let sender = Arc::new(Sender { plan, webhook, clock, ledger, reservation });
        Self { sender, connections: Vec::new() }
    }

    /// The plan, as its events are sent.
    pub fn plan(&self) -> &Plan {
        &self.sender.plan
    }

    /// The ledger that the batches are settled in.
    pub fn ledger(&self) -> &LedgerWriter {
        &self.sender.ledger
    }

    /// Sends batches when they are to be sent, the earliest first, and settles them in the ledger.
    /// They have been reserved, and none has more events than the plan's batches. Ends early if
    /// asked to stop.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if the ledger cannot be written.
    pub async fn send(
        &mut self,
        mut batches: Vec<Batch>,
        shutdown: &Shutdown,
    ) -> io::Result<ListEnd> {
        batches.sort_by_key(|batch| batch.send_at);
        let mut open = all_of(&batches);
        let work = deal(batches, self.take_connections());
        let (mut lanes, tallies) = spawn(&self.sender, work, shutdown);
        let mut not_begun = TenantRanges::new();
        let (mut acknowledged, mut refused) = (TenantRanges::new(), TenantRanges::new());
        let mut unsent = TenantRanges::new();
        while let Some(lane) = lanes.join_next().await {
            let LaneEnd { connections, not_begun: left, settled } =
                lane.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            self.connections.extend(connections);
            for (tenant, ranges) in left {
                for range in ranges {
                    not_begun.insert(tenant, range);
                }
            }
            acknowledged.add(&settled.acknowledged);
            refused.add(&settled.refused);
            unsent.add(&settled.unsent);
        }
        for settled in [&acknowledged, &refused, &unsent, &not_begun] {
            open.subtract(settled);
        }
        let mut tally = Tally::new(self.plan().classes.names.len());
        for lane in &tallies {
            tally.add(&lane.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(ListEnd { tally, acknowledged, refused, unsent, unknown: open, not_begun })
    }

    /// Takes the connections, and replaces those that were lost when their lane failed.
    fn take_connections(&mut self) -> Vec<Connection> {
        let mut connections = std::mem::take(&mut self.connections);
        let Sender { plan, webhook, clock, .. } = &*self.sender;
        let wanted = plan.send.connections as usize;
        connections.extend((connections.len()..wanted).map(|at| webhook.connection(at, *clock)));
        connections
    }
}

/// Deals batches and connections out to the lanes in turn, so that all lanes are at about the same
/// time of the list.
fn deal(batches: Vec<Batch>, connections: Vec<Connection>) -> Vec<(Feed, Vec<Connection>)> {
    let lanes_count = lanes_max().min(batches.len()).min(connections.len()).max(1);
    let mut lanes: Vec<_> = (0..lanes_count).map(|_| (Vec::new(), Vec::new())).collect();
    let turns = || (0..lanes_count).cycle();
    turns().zip(batches).for_each(|(lane, batch)| lanes[lane].0.push(batch));
    turns().zip(connections).for_each(|(lane, connection)| lanes[lane].1.push(connection));
    lanes.into_iter().map(|(batches, own)| (Feed::listed(batches), own)).collect()
}

fn all_of(batches: &[Batch]) -> TenantRanges {
    let mut all = TenantRanges::new();
    for batch in batches {
        batch.seqs.ranges().for_each(|range| all.insert(batch.tenant, range));
    }
    all
}
