//! A lane of events for the webhook: some tenants, some connections. It fills, posts and records.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::sync::MutexGuard;
use std::time::Duration;

use bytes::Bytes;
use events::event::MicroTime;
use events::identity::Seq;
use events::timeline::UnixMicros;
use tokio::time::Instant;
use tracing::debug;

use super::backend::Handover;
use super::body::{Bodies, Spoils, buffer_of};
use super::delivery::{Attempts, Delivered, Next, Request};
use super::faults::{BatchFault, Spoiler};
use super::feed::{Feed, NotBegun};
use super::schedule::{Batch, Seqs};
use super::{Sender, SharedTally};
use crate::lane::{Departure, Free, Journey, Load, drive};
use crate::webhook::Connection;
use edges::clock::{Clock, micros};
use edges::errors::OneError;
use edges::shutdown::Shutdown;
use plans::metric::Metric;
use plans::plan::Plan;
use plans::samples::{AcknowledgedSample, Unacknowledged};
use runs::ledger::Settlement;
use runs::outcome::Outcome;
use runs::ranges::TenantRanges;
use runs::tally::Tally;

/// How a lane ended.
#[derive(Debug)]
pub struct LaneEnd {
    /// The connections that can be used for further batches.
    pub(crate) connections: Vec<Connection>,
    /// The events that were not begun, because the user asked to stop.
    pub not_begun: Vec<NotBegun>,
    pub(crate) settled: Settled,
}

/// How listed events ended.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) acknowledged: TenantRanges,
    pub(crate) refused: TenantRanges,
    /// Events for which no request could be begun.
    pub(crate) unsent: TenantRanges,
}

/// Sends all batches of a feed. Ends when they are sent and settled, or when asked to stop.
///
/// # Errors
///
/// Returns the operating system's error if the ledger cannot be written: then nothing is sent.
pub(crate) async fn run_lane(
    sender: &Sender,
    feed: Feed,
    connections: Vec<Connection>,
    tally: SharedTally,
    shutdown: Shutdown,
) -> io::Result<LaneEnd> {
    let mut lane = Lane::new(sender, feed, tally);
    let carriers = connections.into_iter().map(Carrier::new).collect();
    let carriers = drive(&mut lane, carriers, sender.clock, shutdown).await?;
    let connections = carriers.into_iter().map(|carrier| carrier.connection).collect();
    let settled = lane.settled.unwrap_or_default();
    Ok(LaneEnd { connections, not_begun: lane.feed.rest(), settled })
}

/// A connection, with the buffers that its bodies are made in.
#[derive(Debug)]
struct Carrier {
    connection: Connection,
    body: Vec<u8>,
    /// When the latencies of the events of the body begin.
    origins: Vec<UnixMicros>,
}

impl Carrier {
    fn new(connection: Connection) -> Self {
        Self { connection, body: Vec::new(), origins: Vec::new() }
    }
}

/// A batch on its way, with how far it has come.
#[derive(Debug)]
struct Traveller {
    batch: Batch,
    attempts: Attempts,
}

/// A request that is ready to leave.
struct Order {
    carrier: Carrier,
    traveller: Traveller,
    spoils: Spoils,
    begun: UnixMicros,
    deadline: Instant,
    clock: Clock,
    timeout: Duration,
}

/// A request that has ended.
struct Sent {
    free: Free<Carrier>,
    traveller: Traveller,
    spoils: Spoils,
    request: Request,
    /// Where the target redirected to.
    location: Option<String>,
    /// Why it has no answer.
    error: Option<Box<OneError>>,
    /// The batch was acknowledged before, and is sent a second time on purpose.
    is_resent: bool,
}

/// Batches that wait to be sent again. Their bodies are not kept, because they can be made again.
#[derive(Debug, Default)]
struct Parked {
    next: BinaryHeap<Reverse<(UnixMicros, u64)>>,
    travellers: BTreeMap<u64, (Traveller, Request)>,
    count: u64,
}

impl Parked {
    fn next_at(&self) -> Option<UnixMicros> {
        self.next.peek().map(|Reverse((at, _))| *at)
    }

    fn park(&mut self, traveller: Traveller, last: Request, until: UnixMicros) {
        self.count += 1;
        self.next.push(Reverse((until, self.count)));
        self.travellers.insert(self.count, (traveller, last));
    }

    /// Takes the batch that is to be sent first, if its time has come.
    fn take(&mut self, now: UnixMicros) -> Option<Traveller> {
        self.next_at().filter(|at| *at <= now)?;
        let Reverse((_, number)) = self.next.pop()?;
        self.travellers.remove(&number).map(|(traveller, _)| traveller)
    }
}

/// What a lane sends, makes and records with.
struct Lane<'s> {
    sender: &'s Sender,
    feed: Feed,
    tally: SharedTally,
    bodies: Bodies,
    parked: Parked,
    /// Outcomes of events, if the caller that listed them asked for these.
    settled: Option<Settled>,
    /// The samples among its events; `None` where events are listed.
    samples: Option<Unacknowledged>,
}

impl Load for Lane<'_> {
    type Carrier = Carrier;
    type Order = Order;
    type Ended = Sent;

    fn next_at(&self) -> Option<UnixMicros> {
        self.parked.next_at().into_iter().chain(self.feed.next_send_at()).min()
    }

    async fn permit(&self, until: UnixMicros) -> io::Result<()> {
        self.sender.reservation.cover(until).await
    }

    /// Begins a batch that is to be sent again, if its time has come, or a new one.
    fn begin(&mut self, free: Free<Carrier>, now: UnixMicros) -> io::Result<Order> {
        let Sender { plan, clock, .. } = self.sender;
        let Free { mut carrier, since } = free;
        let mut traveller = match self.parked.take(clock.now()) {
            Some(traveller) => traveller,
            None => self.depart(now)?,
        };
        let Carrier { body, origins, .. } = &mut carrier;
        let spoils = self.bodies.make(&plan.script, &traveller.batch, body, origins);
        let (begun, timeout) = (clock.now(), plan.send.timeout);
        let deadline = clock.instant_of(traveller.attempts.deadline(begun, timeout));
        let bytes = carrier.body.len() as u64;
        let Batch { tenant, send_at, .. } = traveller.batch;
        let mut tally = lock(&self.tally);
        if traveller.attempts.requests == 0 {
            traveller.attempts.begun = begun;
            tally.begin(tenant, traveller.batch.seqs.count(), bytes);
            Departure { due: send_at, free_since: since, begun }.count(&mut tally);
        } else {
            tally.bytes += bytes;
        }
        drop(tally);
        Ok(Order { carrier, traveller, spoils, begun, deadline, clock: *clock, timeout })
    }

    async fn send(order: Order) -> Sent {
        let Order { mut carrier, traveller, spoils, begun, deadline, clock, timeout } = order;
        let body = Bytes::from(std::mem::take(&mut carrier.body));
        let outcome = carrier.connection.post(body.clone(), deadline).await;
        let ended = clock.now();
        let retry_after = carrier.connection.retry_after();
        let location = carrier.connection.location().map(str::to_owned);
        let error = carrier.connection.take_error();
        let is_resent = spoils.of_batch == Some(BatchFault::Resent)
            && outcome.settlement() == Settlement::Acknowledged;
        if is_resent {
            let deadline = clock.instant_of(ended + micros(timeout));
            carrier.connection.post(body.clone(), deadline).await;
        }
        carrier.body = buffer_of(body);
        let request = Request { outcome, retry_after, begun, ended };
        let free = Free { carrier, since: clock.now() };
        Sent { free, traveller, spoils, request, location, error, is_resent }
    }

    /// Decides what follows from a request, and records it if the batch's journey is over.
    fn settle(&mut self, sent: Sent) -> Free<Carrier> {
        let Sent { free, mut traveller, spoils, request, location, error, is_resent } = sent;
        let rules = self.sender.plan.send.backend;
        if location.is_some() || matches!(request.outcome, Outcome::NotTried(_)) {
            let mut tally = lock(&self.tally);
            tally.not_tried += u64::from(location.is_none());
            tally.location = location.or(tally.location.take());
        }
        if let Some(error) = error {
            lock(&self.tally).errors.count(*error, request.ended);
        }
        match traveller.attempts.after(request, rules, key_of(&traveller.batch)) {
            Next::Again { at } => {
                let wait_ms = (at - request.ended) / 1_000;
                let (tenant, attempt) = (traveller.batch.tenant.0, traveller.attempts.requests);
                debug!(tenant, attempt, outcome = request.outcome.name(), wait_ms, "sent again");
                self.parked.park(traveller, request, at);
            }
            Next::Over(delivered) => {
                let mut tally = lock(&self.tally);
                tally.resent += u64::from(is_resent);
                tally.requests += u64::from(is_resent);
                drop(tally);
                self.arrive(&traveller.batch, &spoils, &delivered, &free.carrier.origins);
            }
        }
        free
    }

    /// Settles all batches that wait to be sent again.
    fn give_up(&mut self) {
        let Parked { travellers, .. } = std::mem::take(&mut self.parked);
        let script = &self.sender.plan.script;
        let nothing = Spoils { of_batch: None, events: Vec::new() };
        for (Traveller { batch, attempts }, last) in travellers.into_values() {
            let timeline = script.timeline(batch.tenant);
            let due = |seq| timeline.due(seq).expect("the batch is of the plan");
            let origins: Vec<_> =
                batch.seqs.iter().map(|seq| batch.counts_from(due(seq))).collect();
            self.arrive(&batch, &nothing, &attempts.given_up(last), &origins);
        }
    }
}

impl<'s> Lane<'s> {
    fn new(sender: &'s Sender, feed: Feed, tally: SharedTally) -> Self {
        let Plan { send, faults, spec, .. } = &sender.plan;
        let batch_events =
            send.backend.map_or(send.batch_events.into(), |rules| rules.batch_events);
        let spoiler = Spoiler::new(faults, spec.seed);
        let bodies = Bodies::new(batch_events, spoiler, sender.webhook.encoder());
        let (settled, samples) = if matches!(feed, Feed::Listed(_)) {
            (Some(Settled::default()), None)
        } else {
            let tenants = feed.rest().into_iter().map(|(tenant, _)| tenant);
            (None, Some(Unacknowledged::new(&sender.plan, tenants)))
        };
        Self { sender, feed, tally, bodies, parked: Parked::default(), settled, samples }
    }

    /// Takes a new batch, which is reserved.
    fn depart(&mut self, now: UnixMicros) -> io::Result<Traveller> {
        let Sender { plan, ledger, reservation, .. } = self.sender;
        let Handover { batch, dropped } = self.feed.take(plan, now).expect("one is due");
        // Events that were dropped came after the batch. They are settled, too, so they must be
        // reserved.
        let last = if dropped.is_empty() { batch.seqs.last() } else { Seq(dropped.end - 1) };
        let timeline = plan.script.timeline(batch.tenant);
        let due = timeline.due(last).expect("the batch is of the plan");
        if due >= reservation.until() {
            return Err(io::Error::other("a batch was to be sent before it was reserved"));
        }
        if !dropped.is_empty() {
            lock(&self.tally).dropped += dropped.end - dropped.start;
            ledger.settle(batch.tenant, dropped, Settlement::Unsent);
        }
        Ok(Traveller { batch, attempts: Attempts::new(now, plan.send.timeout) })
    }

    /// Records what became of a batch.
    fn arrive(
        &mut self,
        batch: &Batch,
        spoils: &Spoils,
        delivered: &Delivered,
        origins: &[UnixMicros],
    ) {
        let is_acknowledged = delivered.how.settlement == Settlement::Acknowledged;
        let spoiled = match spoils.of_batch {
            Some(BatchFault::Malformed) if is_acknowledged => batch.seqs.count(),
            _ if is_acknowledged => spoils.events.len() as u64,
            _ => 0,
        };
        self.settle_in_ledger(batch, spoils, delivered);
        self.keep(batch, delivered);
        let samples =
            if is_acknowledged { self.samples_of(batch, spoils, delivered) } else { Vec::new() };
        let mut tally = lock(&self.tally);
        tally.acknowledged_samples.extend(samples);
        tally.requests += delivered.requests - 1;
        tally.count(Metric::Retries, delivered.requests - 1);
        tally.end(batch.tenant, batch.seqs.count(), spoiled, delivered.how);
        let latencies = &mut tally.latencies[self.sender.plan.classes.of(batch.tenant)];
        let Delivered { begun, last_begun, ended, .. } = *delivered;
        Journey { begun, last_begun, ended, is_acknowledged }.record(origins, latencies);
    }

    /// Returns those of an acknowledged batch that are samples, and can be expected in the table.
    fn samples_of(
        &mut self,
        batch: &Batch,
        spoils: &Spoils,
        delivered: &Delivered,
    ) -> Vec<AcknowledgedSample> {
        let Some(samples) = &mut self.samples else { return Vec::new() };
        let (plan, tenant) = (&self.sender.plan, batch.tenant);
        let ranges = batch.seqs.ranges();
        let taken = ranges.flat_map(|range| samples.take(plan, tenant, range, delivered.ended));
        let is_sound = |seq: &Seq| {
            spoils.of_batch != Some(BatchFault::Malformed)
                && spoils.events.binary_search(&seq.0).is_err()
        };
        let at = MicroTime(delivered.ended);
        let sample = |seq: Seq| AcknowledgedSample { tenant: tenant.0, seq: seq.0, at };
        taken.filter(is_sound).map(sample).collect()
    }

    fn keep(&mut self, batch: &Batch, delivered: &Delivered) {
        let Some(settled) = &mut self.settled else { return };
        let set = match delivered.how.settlement {
            Settlement::Acknowledged => &mut settled.acknowledged,
            Settlement::Refused => &mut settled.refused,
            Settlement::Unsent => &mut settled.unsent,
            // All else is unknown.
            _ => return,
        };
        batch.seqs.ranges().for_each(|range| set.insert(batch.tenant, range));
    }

    fn settle_in_ledger(&self, batch: &Batch, spoils: &Spoils, delivered: &Delivered) {
        let settle = |seqs: &Seqs, settlement| {
            for range in seqs.ranges().filter(|range| !range.is_empty()) {
                self.sender.ledger.settle(batch.tenant, range, settlement);
            }
        };
        if delivered.how.settlement != Settlement::Acknowledged {
            return settle(&batch.seqs, delivered.how.settlement);
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

/// Returns a number that identifies a batch in its run.
fn key_of(batch: &Batch) -> u64 {
    batch.seqs.first().0 ^ u64::from(batch.tenant.0) << 48
}

fn lock(tally: &SharedTally) -> MutexGuard<'_, Tally> {
    tally.lock().expect("no holder of the lock panics")
}
