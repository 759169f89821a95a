//! A lane: some tenants, some connections, and one thread that waits, fills, posts and records.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::pin::pin;
use std::sync::MutexGuard;

use bytes::Bytes;
use events::event::MicroTime;
use events::identity::Seq;
use events::timeline::UnixMicros;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::backend::Handover;
use super::body::{Bodies, Spoils, buffer_of};
use super::delivery::{Delivered, Next, Progress, Request};
use super::faults::{BatchFault, Spoiler};
use super::feed::{Feed, NotBegun};
use super::schedule::{Batch, Seqs};
use super::{Sender, SharedTally};
use crate::webhook::Connection;
use edges::clock::{Alarm, micros};
use edges::shutdown::{Shutdown, Stop};
use plans::plan::Plan;
use plans::samples::{AcknowledgedSample, Unacknowledged};
use runs::latency::{record, record_many};
use runs::ledger::Settlement;
use runs::outcome::Outcome;
use runs::ranges::TenantRanges;
use runs::tally::Tally;

/// How a lane ended.
#[derive(Debug)]
pub struct LaneEnd {
    /// The connections that are open for more.
    pub(crate) connections: Vec<Connection>,
    /// What was not begun, because the user asked to stop.
    pub not_begun: Vec<NotBegun>,
    pub(crate) settled: Settled,
}

/// How listed events ended.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) acknowledged: TenantRanges,
    pub(crate) refused: TenantRanges,
    /// Those for which no request could be begun.
    pub(crate) unsent: TenantRanges,
}

/// Sends all batches of a feed. Ends when they are sent and settled, or when asked to stop.
///
/// # Errors
///
/// Returns the operating system's error if the ledger cannot be written: then nothing is sent.
pub(crate) async fn run_lane(
    sender: &Sender,
    mut feed: Feed,
    connections: Vec<Connection>,
    tally: SharedTally,
    mut shutdown: Shutdown,
) -> io::Result<LaneEnd> {
    let mut lane = Lane::new(sender, tally);
    if matches!(feed, Feed::Listed(_)) {
        lane.settled = Some(Settled::default());
    } else {
        let tenants = feed.rest().into_iter().map(|(tenant, _)| tenant);
        lane.samples = Some(Unacknowledged::new(&sender.plan, tenants));
    }
    // They take turns, so that every address of the webhook has its share.
    let mut idle: VecDeque<Idle> = connections.into_iter().map(Idle::new).collect();
    let mut in_flight = FuturesUnordered::new();
    // Both waits go on from turn to turn: to begin them anew takes locks each time.
    let mut alarm = sender.clock.alarm();
    let mut leaving = shutdown.clone();
    let mut drain_asked = pin!(shutdown.asked(Stop::Drain));
    loop {
        let next = lane.parked.next_at().into_iter().chain(feed.next_send_at()).min();
        if next.is_none() && in_flight.is_empty() {
            break;
        }
        let next_at = next.unwrap_or(UnixMicros::MAX);
        tokio::select! {
            biased;
            () = &mut drain_asked => break,
            Some(sent) = in_flight.next() => idle.push_back(lane.settle(sent)),
            now = lane.wait_until(&mut alarm, next_at), if next.is_some() && !idle.is_empty() => {
                let idle = idle.pop_front().expect("one is idle");
                in_flight.push(lane.begin(&mut feed, idle, now?)?);
            }
        }
    }
    lane.give_up_parked();
    let drain = async {
        while let Some(sent) = in_flight.next().await {
            idle.push_back(lane.settle(sent));
            lane.give_up_parked();
        }
    };
    tokio::select! {
        () = drain => {}
        // What is in flight stays reserved and unsettled: unknown.
        () = leaving.asked(Stop::Now) => {}
    }
    let connections = idle.into_iter().map(|idle| idle.connection).collect();
    let settled = lane.settled.unwrap_or_default();
    Ok(LaneEnd { connections, not_begun: feed.rest(), settled })
}

/// A connection that is free, with the buffers that its bodies are made in.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    body: Vec<u8>,
    /// When the latencies of the events of the body begin.
    origins: Vec<UnixMicros>,
    free_since: UnixMicros,
}

impl Idle {
    fn new(connection: Connection) -> Self {
        Self { connection, body: Vec::new(), origins: Vec::new(), free_since: 0 }
    }
}

/// A batch on its way, with how far it has come.
#[derive(Debug)]
struct Traveller {
    batch: Batch,
    progress: Progress,
}

/// A request that has ended.
struct Sent {
    idle: Idle,
    traveller: Traveller,
    spoils: Spoils,
    request: Request,
    /// Where the target said to go instead.
    location: Option<String>,
    /// It was acknowledged, and sent once more.
    is_resent: bool,
}

/// Batches that wait to be sent again. Only what they are is kept: their bodies can be made anew.
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

    /// Takes the one that has waited longest, if its time has come.
    fn take(&mut self, now: UnixMicros) -> Option<Traveller> {
        self.next_at().filter(|at| *at <= now)?;
        let Reverse((_, number)) = self.next.pop()?;
        self.travellers.remove(&number).map(|(traveller, _)| traveller)
    }
}

/// What a lane makes and records with.
struct Lane<'s> {
    sender: &'s Sender,
    tally: SharedTally,
    bodies: Bodies,
    parked: Parked,
    /// How events have ended, if whoever listed them wants to know.
    settled: Option<Settled>,
    /// The samples among its events; `None` where events are listed.
    samples: Option<Unacknowledged>,
}

impl<'s> Lane<'s> {
    fn new(sender: &'s Sender, tally: SharedTally) -> Self {
        let Plan { send, faults, spec, .. } = &sender.plan;
        let batch_events =
            send.backend.map_or(send.batch_events.into(), |rules| rules.batch_events);
        let spoiler = Spoiler::new(faults, spec.seed);
        let bodies = Bodies::new(batch_events, spoiler, sender.webhook.encoder());
        Self { sender, tally, bodies, parked: Parked::default(), settled: None, samples: None }
    }

    /// Waits until the next batch is to be sent, and until all that is due by then is reserved.
    /// Returns what time it is.
    async fn wait_until(&self, alarm: &mut Alarm, next_at: UnixMicros) -> io::Result<UnixMicros> {
        alarm.wait_until(next_at).await;
        let now = self.sender.clock.now().max(next_at);
        self.sender.reservation.cover(now).await?;
        Ok(now)
    }

    /// Begins the next request: of a batch whose time to be sent again has come, or of a new one.
    /// All that is due until `now` is reserved.
    fn begin(
        &mut self,
        feed: &mut Feed,
        mut idle: Idle,
        now: UnixMicros,
    ) -> io::Result<impl Future<Output = Sent> + use<'s>> {
        let Sender { plan, clock, .. } = self.sender;
        let mut traveller = match self.parked.take(clock.now()) {
            Some(traveller) => traveller,
            None => self.depart(feed, now)?,
        };
        let is_first = traveller.progress.requests == 0;
        let spoils =
            self.bodies.make(&plan.script, &traveller.batch, &mut idle.body, &mut idle.origins);
        let begun = clock.now();
        let deadline = traveller.progress.deadline(begun, plan.send.timeout);
        let deadline = clock.instant_of(deadline);
        if is_first {
            traveller.progress.begun = begun;
            self.count_departure(&traveller.batch, &idle, begun);
        } else {
            lock(&self.tally).bytes += idle.body.len() as u64;
        }
        let (clock, timeout) = (*clock, plan.send.timeout);
        Ok(async move {
            let body = Bytes::from(std::mem::take(&mut idle.body));
            let outcome = idle.connection.post(body.clone(), deadline).await;
            let ended = clock.now();
            let retry_after = idle.connection.retry_after();
            let location = idle.connection.location().map(str::to_owned);
            let is_resent = spoils.of_batch == Some(BatchFault::Resent)
                && outcome.settlement() == Settlement::Acknowledged;
            if is_resent {
                let deadline = clock.instant_of(ended + micros(timeout));
                idle.connection.post(body.clone(), deadline).await;
            }
            idle.body = buffer_of(body);
            idle.free_since = clock.now();
            let request = Request { outcome, retry_after, begun, ended };
            Sent { idle, traveller, spoils, request, location, is_resent }
        })
    }

    /// Takes a new batch, which is reserved.
    fn depart(&self, feed: &mut Feed, now: UnixMicros) -> io::Result<Traveller> {
        let Sender { plan, ledger, reservation, .. } = self.sender;
        let Handover { batch, dropped } = feed.take(plan, now).expect("one is due");
        // What is dropped came after the batch, and is settled: it must have been reserved, too.
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
        Ok(Traveller { batch, progress: Progress::new(now, plan.send.timeout) })
    }

    fn count_departure(&self, batch: &Batch, idle: &Idle, begun: UnixMicros) {
        let mut tally = lock(&self.tally);
        tally.begin(batch.tenant, batch.seqs.count(), idle.body.len() as u64);
        // Before a connection was free, it was the target that we waited for.
        let could_begin = batch.send_at.max(idle.free_since);
        tally.lateness_max_us = tally.lateness_max_us.max(begun - could_begin);
        tally.blocked_max_us = tally.blocked_max_us.max(could_begin - batch.send_at);
    }

    /// Decides what follows from a request, and records it if the batch's journey is over.
    fn settle(&mut self, sent: Sent) -> Idle {
        let Sent { idle, mut traveller, spoils, request, location, is_resent } = sent;
        let rules = self.sender.plan.send.backend;
        if location.is_some() || matches!(request.outcome, Outcome::NotTried(_)) {
            let mut tally = lock(&self.tally);
            tally.not_tried += u64::from(location.is_none());
            tally.location = location.or(tally.location.take());
        }
        match traveller.progress.after(request, rules, key_of(&traveller.batch)) {
            Next::Again { at } => self.parked.park(traveller, request, at),
            Next::Over(delivered) => {
                let mut tally = lock(&self.tally);
                tally.resent += u64::from(is_resent);
                tally.requests += u64::from(is_resent);
                drop(tally);
                self.arrive(&traveller.batch, &spoils, &delivered, &idle.origins);
            }
        }
        idle
    }

    /// Settles all that waits to be sent again: nothing more is sent.
    fn give_up_parked(&mut self) {
        let Parked { travellers, .. } = std::mem::take(&mut self.parked);
        let script = &self.sender.plan.script;
        let nothing = Spoils { of_batch: None, events: Vec::new() };
        for (Traveller { batch, progress }, last) in travellers.into_values() {
            let timeline = script.timeline(batch.tenant);
            let due = |seq| timeline.due(seq).expect("the batch is of the plan");
            let origins: Vec<_> =
                batch.seqs.iter().map(|seq| batch.counts_from(due(seq))).collect();
            self.arrive(&batch, &nothing, &progress.given_up(last), &origins);
        }
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
        tally.end(batch.tenant, batch.seqs.count(), spoiled, delivered.how);
        let latencies = &mut tally.latencies[self.sender.plan.classes.of(batch.tenant)];
        for origin in origins {
            record(&mut latencies.due_to_sent, delivered.begun - origin);
            if is_acknowledged {
                record(&mut latencies.due_to_acknowledged, delivered.ended - origin);
            }
        }
        if is_acknowledged {
            let took = delivered.ended - delivered.last_begun;
            record_many(&mut latencies.sent_to_acknowledged, took, origins.len() as u64);
        }
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

/// Tells a batch from all others of its run.
fn key_of(batch: &Batch) -> u64 {
    batch.seqs.first().0 ^ u64::from(batch.tenant.0) << 48
}

fn lock(tally: &SharedTally) -> MutexGuard<'_, Tally> {
    tally.lock().expect("no holder of the lock panics")
}
