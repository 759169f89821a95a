//! A lane: some tenants, some connections, and one thread that waits, fills, posts and records.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use events::identity::TenantIndex;
use events::timeline::UnixMicros;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use harness::clock::Clock;
use harness::latency::record;
use harness::ledger::{LedgerWriter, Settlement};
use harness::plan::Plan;
use harness::shutdown::{Shutdown, Stop};
use harness::webhook::{Connection, Webhook};

use crate::backend::Handover;
use crate::body::{Bodies, Spoils, buffer_of};
use crate::delivery::{Delivery, Fate};
use crate::faults::{BatchFault, Spoiler};
use crate::feed::{Feed, NotBegun};
use crate::reservation::Reservation;
use crate::schedule::{Batch, Seqs};
use crate::tally::Tally;

/// What all lanes of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) webhook: Webhook,
    pub(crate) clock: Clock,
    pub(crate) ledger: Arc<LedgerWriter>,
    pub(crate) reservation: Reservation,
}

/// The counts of a lane, which the reporter takes.
pub(crate) type SharedTally = Arc<Mutex<Tally>>;

/// Sends all batches of some tenants. Ends when they are sent and settled, or when asked to stop,
/// and returns what it left.
///
/// # Errors
///
/// Returns the operating system's error if the ledger cannot be written: then nothing is sent.
pub(crate) async fn run_lane(
    shared: &Shared,
    tenants: impl Iterator<Item = TenantIndex>,
    connections: Vec<Connection>,
    tally: SharedTally,
    mut shutdown: Shutdown,
) -> io::Result<Vec<NotBegun>> {
    let mut lane = Lane::new(shared, tally, shutdown.clone());
    let mut feed = Feed::new(&shared.plan, tenants);
    // They take turns, so that every address of the webhook has its share.
    let mut idle: VecDeque<Idle> = connections.into_iter().map(Idle::new).collect();
    let mut in_flight = FuturesUnordered::new();
    // Both waits go on from turn to turn: to begin them anew takes locks each time.
    let mut alarm = shared.clock.alarm();
    let mut leaving = shutdown.clone();
    let mut drain_asked = pin!(shutdown.asked(Stop::Drain));
    while let Some(send_at) = feed.next_send_at() {
        tokio::select! {
            biased;
            () = &mut drain_asked => break,
            Some(sent) = in_flight.next() => idle.push_back(lane.settle(sent)),
            () = alarm.wait_until(send_at), if !idle.is_empty() => {
                let handover = feed.take(&shared.plan, shared.clock.now());
                let idle = idle.pop_front().expect("one is idle");
                in_flight.push(lane.begin(handover.expect("one is due"), idle)?);
            }
        }
    }
    let drain = async {
        while let Some(sent) = in_flight.next().await {
            lane.settle(sent);
        }
    };
    tokio::select! {
        () = drain => {}
        // What is in flight stays reserved and unsettled: unknown.
        () = leaving.asked(Stop::Now) => {}
    }
    Ok(feed.rest())
}

/// A connection that is free, with the buffers that its bodies are made in.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    body: Vec<u8>,
    /// When the events of the body are due.
    dues: Vec<UnixMicros>,
    free_since: UnixMicros,
}

impl Idle {
    fn new(connection: Connection) -> Self {
        Self { connection, body: Vec::new(), dues: Vec::new(), free_since: 0 }
    }
}

/// A batch whose fate is known.
struct Sent {
    idle: Idle,
    batch: Batch,
    spoils: Spoils,
    fate: Fate,
}

/// What a lane makes and records with.
struct Lane<'s> {
    shared: &'s Shared,
    tally: SharedTally,
    bodies: Bodies,
    shutdown: Shutdown,
}

impl<'s> Lane<'s> {
    fn new(shared: &'s Shared, tally: SharedTally, shutdown: Shutdown) -> Self {
        let Plan { send, faults, spec, .. } = &shared.plan;
        let batch_events =
            send.backend.map_or(send.batch_events.into(), |rules| rules.batch_events);
        let spoiler = Spoiler::new(faults, spec.seed);
        let bodies = Bodies::new(batch_events, spoiler, shared.webhook.encoder());
        Self { shared, tally, bodies, shutdown }
    }

    /// Reserves a batch, fills its body, and returns the delivery to be waited for.
    fn begin(
        &mut self,
        handover: Handover,
        mut idle: Idle,
    ) -> io::Result<impl Future<Output = Sent> + use<'s>> {
        let Handover { batch, dropped } = handover;
        let Shared { plan, clock, ledger, .. } = self.shared;
        let timeline = plan.script.timeline(batch.tenant);
        let last_due = timeline.due(batch.seqs.last()).expect("the batch is of the plan");
        self.shared.reservation.cover(last_due)?;
        let spoils = self.bodies.make(&plan.script, &batch, &mut idle.body, &mut idle.dues);
        let begun = clock.now();
        let mut tally = lock(&self.tally);
        if !dropped.is_empty() {
            tally.dropped += dropped.end - dropped.start;
            ledger.settle(batch.tenant, dropped, Settlement::Unsent);
        }
        tally.begin(batch.tenant, batch.seqs.count(), idle.body.len() as u64);
        // Before a connection was free, it was the target that we waited for.
        let could_begin = batch.send_at.max(idle.free_since);
        tally.lateness_max_us = tally.lateness_max_us.max(begun - could_begin);
        tally.blocked_max_us = tally.blocked_max_us.max(could_begin - batch.send_at);
        drop(tally);
        let delivery = Delivery {
            clock: *clock,
            send: plan.send,
            key: batch.seqs.first().0 ^ u64::from(batch.tenant.0) << 48,
            is_resent: spoils.of_batch == Some(BatchFault::Resent),
            shutdown: self.shutdown.clone(),
        };
        Ok(async move {
            let body = Bytes::from(std::mem::take(&mut idle.body));
            let fate = delivery.run(&mut idle.connection, &body, begun).await;
            idle.body = buffer_of(body);
            idle.free_since = fate.free_at;
            Sent { idle, batch, spoils, fate }
        })
    }

    /// Records what became of a batch.
    fn settle(&self, sent: Sent) -> Idle {
        let Sent { idle, batch, spoils, fate } = sent;
        let is_acknowledged = fate.settlement == Settlement::Acknowledged;
        let spoiled = match spoils.of_batch {
            Some(BatchFault::Malformed) if is_acknowledged => batch.seqs.count(),
            _ if is_acknowledged => spoils.events.len() as u64,
            _ => 0,
        };
        self.settle_in_ledger(&batch, &spoils, &fate);
        let mut tally = lock(&self.tally);
        tally.requests += fate.requests - 1;
        tally.resent += u64::from(fate.resent);
        tally.end(batch.tenant, batch.seqs.count(), spoiled, &fate);
        let latencies = &mut tally.latencies[self.shared.plan.classes.of(batch.tenant)];
        for due in &idle.dues {
            record(&mut latencies.due_to_sent, fate.begun - due);
            if is_acknowledged {
                record(&mut latencies.due_to_acknowledged, fate.ended - due);
            }
        }
        if is_acknowledged {
            let took = u64::try_from(fate.ended - fate.last_begun).unwrap_or(0);
            let events = idle.dues.len() as u64;
            latencies.sent_to_acknowledged.saturating_record_n(took, events);
        }
        idle
    }

    fn settle_in_ledger(&self, batch: &Batch, spoils: &Spoils, fate: &Fate) {
        let settle = |seqs: &Seqs, settlement| {
            for range in seqs.ranges().filter(|range| !range.is_empty()) {
                self.shared.ledger.settle(batch.tenant, range, settlement);
            }
        };
        if fate.settlement != Settlement::Acknowledged {
            return settle(&batch.seqs, fate.settlement);
        }
        if spoils.of_batch == Some(BatchFault::Malformed) {
            return settle(&batch.seqs, Settlement::Spoiled);
        }
        if spoils.events.is_empty() {
            return settle(&batch.seqs, Settlement::Acknowledged);
        }
        let is_spoiled = |seq: u64| spoils.events.binary_search(&seq).is_ok();
        let (mut sound, mut spoiled) = (Seqs::of(0..0), Seqs::of(0..0));
        for seq in batch.seqs.iter() {
            let part = if is_spoiled(seq.0) { &mut spoiled } else { &mut sound };
            part.push(seq.0..seq.0 + 1);
        }
        settle(&sound, Settlement::Acknowledged);
        settle(&spoiled, Settlement::Spoiled);
    }
}

fn lock(tally: &SharedTally) -> MutexGuard<'_, Tally> {
    tally.lock().expect("no holder of the lock panics")
}
