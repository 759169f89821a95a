//! A lane: some tenants, some connections, and one task that waits, fills, posts and records.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use events::identity::{Seq, TenantIndex};
use events::render::{Form, LIST_END, LIST_START, render};
use events::script::Script;
use events::timeline::UnixMicros;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use harness::clock::{Clock, micros};
use harness::latency::record;
use harness::ledger::{LedgerWriter, Settlement};
use harness::plan::{Plan, SendPlan};
use harness::shutdown::{Shutdown, Stop};
use harness::webhook::{Connection, Encoder, Outcome, Webhook};

use crate::classes::Classes;
use crate::reservation::Reservation;
use crate::schedule::{Batch, Batching, Schedule};
use crate::tally::Tally;

/// What all lanes of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) classes: Classes,
    pub(crate) webhook: Webhook,
    pub(crate) clock: Clock,
    pub(crate) ledger: Arc<LedgerWriter>,
    pub(crate) reservation: Reservation,
}

/// The counts of a lane, which the reporter takes.
pub(crate) type SharedTally = Arc<Mutex<Tally>>;

/// A tenant and its first event that was not begun.
pub(crate) type NotBegun = (TenantIndex, u64);

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
    let mut bodies = Bodies::new(shared);
    let script = &shared.plan.script;
    let mut schedule = Schedule::new(script, tenants, bodies.batching);
    // They take turns, so that every address of the webhook has its share.
    let mut idle: VecDeque<Idle> = connections.into_iter().map(Idle::new).collect();
    let mut in_flight = FuturesUnordered::new();
    while let Some(send_at) = schedule.next_send_at() {
        tokio::select! {
            biased;
            () = shutdown.asked(Stop::Drain) => break,
            Some(sent) = in_flight.next() => idle.push_back(settle(shared, &tally, sent)),
            () = shared.clock.sleep_until(send_at), if !idle.is_empty() => {
                let now = shared.clock.now();
                let batch = schedule.take(script, now).expect("one is due");
                let idle = idle.pop_front().expect("one is idle");
                let post = begin(shared, &tally, batch, idle, &mut bodies)?;
                in_flight.push(post);
            }
        }
    }
    let drain = async {
        while let Some(sent) = in_flight.next().await {
            settle(shared, &tally, sent);
        }
    };
    tokio::select! {
        () = drain => {}
        // What is in flight stays reserved and unsettled: unknown.
        () = shutdown.asked(Stop::Now) => {}
    }
    Ok(schedule.rest().collect())
}

/// A connection that is free, with the buffer that its bodies are filled into.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    buffer: Vec<u8>,
    free_since: UnixMicros,
}

impl Idle {
    fn new(connection: Connection) -> Self {
        Self { connection, buffer: Vec::new(), free_since: 0 }
    }
}

/// A request that has ended.
struct Sent {
    idle: Idle,
    batch: Batch,
    begun: UnixMicros,
    ended: UnixMicros,
    outcome: Outcome,
}

fn batching(send: &SendPlan) -> Batching {
    Batching { events_max: send.batch_events.into(), age_max_us: send.batch_age_us }
}

/// Reserves a batch, fills its body, and returns the request to be waited for.
fn begin<'s>(
    shared: &'s Shared,
    tally: &SharedTally,
    batch: Batch,
    mut idle: Idle,
    bodies: &mut Bodies,
) -> io::Result<impl Future<Output = Sent> + use<'s>> {
    let script = &shared.plan.script;
    let last = Seq(batch.seqs.end - 1);
    let last_due = script.timeline(batch.tenant).due(last).expect("the batch is of the plan");
    shared.reservation.cover(last_due)?;
    bodies.make(script, &batch, &mut idle.buffer);
    let begun = shared.clock.now();
    {
        let mut tally = lock(tally);
        let events = batch.seqs.end - batch.seqs.start;
        tally.begin(batch.tenant, events, idle.buffer.len() as u64);
        // Before a connection was free, it was the target that we waited for.
        let could_begin = batch.send_at.max(idle.free_since);
        tally.lateness_max_us = tally.lateness_max_us.max(begun - could_begin);
        tally.blocked_max_us = tally.blocked_max_us.max(could_begin - batch.send_at);
    }
    let deadline = shared.clock.instant_of(begun + micros(shared.plan.send.timeout));
    Ok(async move {
        let body = Bytes::from(std::mem::take(&mut idle.buffer));
        let outcome = idle.connection.post(body.clone(), deadline).await;
        // The buffer comes back for the next body, unless the connection still holds it.
        if let Ok(buffer) = body.try_into_mut() {
            idle.buffer = buffer.into();
        }
        let ended = shared.clock.now();
        idle.free_since = ended;
        Sent { idle, batch, begun, ended, outcome }
    })
}

/// Makes the bodies of a lane.
struct Bodies {
    batching: Batching,
    encoder: Option<Encoder>,
    /// The body that is being compressed.
    plain: Vec<u8>,
}

impl Bodies {
    fn new(shared: &Shared) -> Self {
        let batching = batching(&shared.plan.send);
        Self { batching, encoder: shared.webhook.encoder(), plain: Vec::new() }
    }

    /// Replaces what is in `body` by the body of a batch, compressed if the webhook wants that.
    fn make(&mut self, script: &Script, batch: &Batch, body: &mut Vec<u8>) {
        match &mut self.encoder {
            None => fill(script, batch, self.batching, body),
            Some(encoder) => {
                fill(script, batch, self.batching, &mut self.plain);
                encoder.encode(&self.plain, body);
            }
        }
    }
}

/// Fills the body of a batch: a list, or one event alone where batches are of one.
fn fill(script: &Script, batch: &Batch, batching: Batching, body: &mut Vec<u8>) {
    body.clear();
    let alone = batching.events_max == 1;
    if !alone {
        body.extend_from_slice(LIST_START);
    }
    for seq in batch.seqs.clone() {
        if seq > batch.seqs.start {
            body.push(b',');
        }
        let facts = script.facts(batch.tenant, Seq(seq)).expect("the batch is of the plan");
        render(&facts, if alone { Form::Alone } else { Form::Item }, body);
    }
    body.extend_from_slice(if alone { b"\n" } else { LIST_END });
}

/// Records how a request ended.
fn settle(shared: &Shared, tally: &SharedTally, sent: Sent) -> Idle {
    let Sent { idle, batch, begun, ended, outcome } = sent;
    let events = batch.seqs.end - batch.seqs.start;
    let settlement = outcome.settlement();
    shared.ledger.settle(batch.tenant, batch.seqs.clone(), settlement);
    let mut tally = lock(tally);
    tally.end(batch.tenant, events, outcome);
    let latencies = &mut tally.latencies[shared.classes.of(batch.tenant)];
    let timeline = shared.plan.script.timeline(batch.tenant);
    for seq in batch.seqs {
        let due = timeline.due(Seq(seq)).expect("the batch is of the plan");
        record(&mut latencies.due_to_sent, begun - due);
        if settlement == Settlement::Acknowledged {
            record(&mut latencies.due_to_acknowledged, ended - due);
        }
    }
    if settlement == Settlement::Acknowledged {
        latencies
            .sent_to_acknowledged
            .saturating_record_n(u64::try_from(ended - begun).unwrap_or(0), events);
    }
    idle
}

fn lock(tally: &SharedTally) -> MutexGuard<'_, Tally> {
    tally.lock().expect("no holder of the lock panics")
}
