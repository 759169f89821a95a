//! The way through the pipeline: a history's last days, posted to the webhook as if they happened
//! now, with the times at which they are said to have happened.
//!
//! Slices of a day are sent one after another, the oldest first, so that the table sees few
//! partitions at once. No slice is sent before the pipeline has room for it, lest the stream evict
//! what nobody has read. Refused events are sent again. Events without a clear answer are left to
//! the caller, who can look for them in the table.

mod args;
mod days;
mod pace;
mod pacer;
mod patience;
mod slice;
#[cfg(test)]
pub(crate) mod tests;

use std::iter;
use std::sync::Arc;

use edges::clock::{Clock, micros};
use edges::shutdown::{Shutdown, Stop};
use events::identity::Seq;
use events::render::{Form, render};
use events::script::DAY_US;
use events::timeline::UnixMicros;
use load::sender::{Batch, ListEnd, ListSender};
use load::webhook::Webhook;
use plans::plan::Plan;
use runs::ledger::{IsRepair, LedgerWriter, Settlement};
use runs::ranges::TenantRanges;
use runs::tally::Tally;
use tracing::debug;

pub use args::{ReplayArgs, ReplayRate};
pub use pace::{Fill, Room, room};
pub use pacer::{StreamWatch, Waited};

use crate::chunk::{Chunk, chunks, due_of};
use crate::error::BackfillError;
use days::DayGroup;
use pacer::Pacer;
use patience::Patience;

/// How a history is sent through the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayOptions {
    /// The highest rate; `None`: as fast as the pipeline takes them.
    pub events_per_second: Option<u64>,
    /// Events that are on their way to the consumer at most.
    pub lag_max: u64,
    /// Events of a slice, about.
    pub slice_events: u64,
}

/// What a replay is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Events are being sent.
    Sending,
    /// The consumer has to catch up.
    WaitingForRoom,
    /// The webhook refuses events, which will be sent again.
    WaitingForWebhook,
    /// All is sent, and not yet read.
    Draining,
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayProgress {
    pub doing: Doing,
    /// Events that were to be sent in all.
    pub todo: u64,
    /// Events that the webhook has acknowledged.
    pub acknowledged: u64,
    /// Events without an answer that settles them.
    pub doubtful: u64,
    /// What is in the pipeline.
    pub fill: Fill,
}

/// What became of a replay.
#[derive(Debug, Clone)]
pub struct Replayed {
    pub tally: Tally,
    /// Events that the webhook has acknowledged.
    pub acknowledged: u64,
    /// Events that may have been taken, or not.
    pub doubtful: TenantRanges,
    /// The user stopped it: of what was to be sent, some was not.
    pub stopped: bool,
}

/// Sends days of a history through the pipeline.
#[derive(Debug)]
pub struct Replay<W> {
    sender: ListSender,
    pacer: Pacer<W>,
    clock: Clock,
    options: ReplayOptions,
    /// When the next batch may be sent.
    next_at: UnixMicros,
    days: DayGroup,
}

/// What is counted while a replay goes on.
struct Course<'c> {
    shutdown: &'c Shutdown,
    observe: &'c mut (dyn FnMut(&ReplayProgress) + Send),
    todo: u64,
    tally: Tally,
    acknowledged: u64,
    doubtful: TenantRanges,
}

/// Whether a part of a replay came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    Through,
    Stopped,
}

impl<W: StreamWatch> Replay<W> {
    /// Prepares to send events of a plan. The connection to the webhook, and what is known of the
    /// pipeline, last from one replay to the next.
    ///
    /// # Errors
    ///
    /// Returns [`BackfillError`] if NATS does not answer, or the consumer is not there.
    pub async fn start(
        plan: Plan,
        webhook: Webhook,
        ledger: Arc<LedgerWriter>,
        watch: W,
        clock: Clock,
        options: ReplayOptions,
    ) -> Result<Self, BackfillError> {
        let own_bytes = message_bytes(&plan);
        let pacer = Pacer::start(watch, clock, options.lag_max, own_bytes).await?;
        let sender = ListSender::new(plan, webhook, clock, ledger);
        let (next_at, days) = (clock.now(), DayGroup::new(clock.now()));
        Ok(Self { sender, pacer, clock, options, next_at, days })
    }

    /// Sends those of the piped days' events that are still to be sent, the oldest first, and
    /// settles them in the ledger. `observe` is told how it goes. If asked to stop, it ends early;
    /// the ledger is left open for more.
    ///
    /// # Errors
    ///
    /// Returns [`BackfillError`] if the ledger cannot be written, the webhook has taken nothing for
    /// five minutes, or nothing in the pipeline has moved for ten. What was not begun by then is
    /// unsent, and what was refused last is refused.
    pub async fn send(
        &mut self,
        todo: &TenantRanges,
        shutdown: &Shutdown,
        observe: &mut (dyn FnMut(&ReplayProgress) + Send),
    ) -> Result<Replayed, BackfillError> {
        let plan = self.sender.plan();
        let mut course = Course {
            shutdown,
            observe,
            todo: todo.count(),
            tally: Tally::new(plan.classes.names.len()),
            acknowledged: 0,
            doubtful: TenantRanges::new(),
        };
        let mut day = plan.piped_from;
        let (end, mut went) = (plan.end, Went::Through);
        while day < end && went == Went::Through {
            went = self.send_day(day, todo, &mut course).await?;
            day += DAY_US;
        }
        let Course { tally, acknowledged, doubtful, .. } = course;
        Ok(Replayed { tally, acknowledged, doubtful, stopped: went == Went::Stopped })
    }

    /// Waits until all that was sent is read by the consumer, or the user asks to stop.
    ///
    /// # Errors
    ///
    /// Returns [`BackfillError`] if nothing in the pipeline has moved for ten minutes.
    pub async fn drain(
        &mut self,
        shutdown: &Shutdown,
        observe: &mut (dyn FnMut(&ReplayProgress) + Send),
    ) -> Result<Waited, BackfillError> {
        let doing = Doing::Draining;
        let each = |fill| {
            observe(&ReplayProgress { doing, todo: 0, acknowledged: 0, doubtful: 0, fill });
        };
        self.pacer.wait_until_empty(shutdown, each).await
    }

    /// Sends what is to be sent of a day, slice by slice.
    async fn send_day(
        &mut self,
        day: UnixMicros,
        todo: &TenantRanges,
        course: &mut Course<'_>,
    ) -> Result<Went, BackfillError> {
        let due = day..day + DAY_US;
        let script = &self.sender.plan().script;
        let events = due_of(script, &due, todo);
        if events.is_empty() {
            return Ok(Went::Through);
        }
        let slices = chunks(script, &due, self.options.slice_events);
        if self.begin_day(day, course).await? == Went::Stopped {
            return Ok(Went::Stopped);
        }
        for slice in &slices {
            let events = due_of(&self.sender.plan().script, &slice.due, &events);
            if !events.is_empty() && self.send_slice(slice, &events, course).await? == Went::Stopped
            {
                return Ok(Went::Stopped);
            }
        }
        Ok(Went::Through)
    }

    /// Sends a slice, in portions that the pipeline has room for.
    async fn send_slice(
        &mut self,
        chunk: &Chunk,
        events: &TenantRanges,
        course: &mut Course<'_>,
    ) -> Result<Went, BackfillError> {
        let Plan { script, send, .. } = self.sender.plan();
        let batches = slice::batches(script, events, send.batch_events.into());
        let portions = slice::portions(batches, self.portion_events());
        // The slice is reserved only when its first portion has room, so that reserved events are
        // begun soon.
        let mut is_reserved = false;
        let mut portions = portions.into_iter();
        while let Some(mut portion) = portions.next() {
            let waited = self.wait_for_room(slice::count(&portion), course).await;
            if !matches!(waited, Ok(Waited::Enough)) {
                if is_reserved {
                    self.leave_unsent(iter::once(portion).chain(portions));
                }
                return waited.map(|_| Went::Stopped);
            }
            if !is_reserved {
                self.reserve(chunk, events)?;
                is_reserved = true;
            }
            let from = self.next_at.max(self.clock.now());
            self.next_at = slice::spread(&mut portion, from, self.options.events_per_second);
            let went = self.deliver(portion, course).await;
            if !matches!(went, Ok(Went::Through)) {
                self.leave_unsent(portions);
                return went;
            }
        }
        Ok(Went::Through)
    }

    /// Sends a portion until none of it is refused any more.
    async fn deliver(
        &mut self,
        mut batches: Vec<Batch>,
        course: &mut Course<'_>,
    ) -> Result<Went, BackfillError> {
        let mut patience = Patience::new(self.clock.now());
        // Events that the webhook refused at an earlier attempt.
        let mut refused = TenantRanges::new();
        loop {
            course.tell(Doing::Sending, self.pacer.fill());
            let end =
                self.sender.send(batches, course.shutdown).await.map_err(BackfillError::ledger)?;
            self.pacer.acknowledge(end.acknowledged.count());
            let mut unasked = end.not_begun.clone();
            unasked.subtract(&refused);
            let mut asked = end.not_begun.clone();
            asked.subtract(&unasked);
            self.sender.ledger().settle_all(&unasked, Settlement::Unsent);
            self.sender.ledger().settle_all(&asked, Settlement::Refused);
            self.sender.ledger().flush().map_err(BackfillError::ledger)?;
            course.count(&end);
            refused.add(&end.refused);
            let mut again = end.refused.clone();
            again.add(&end.unsent);
            if again.is_empty() && end.not_begun.is_empty() {
                return Ok(Went::Through);
            }
            if course.shutdown.stop() != Stop::No {
                return Ok(Went::Stopped);
            }
            let now = self.clock.now();
            let wait = patience.after(&end, now)?;
            let (refused_now, unsent) = (end.refused.count(), end.unsent.count());
            debug!(refused = refused_now, unsent, wait_ms = wait.as_millis(), "sending again");
            course.tell(Doing::WaitingForWebhook, self.pacer.fill());
            if self.sleep_until(now + micros(wait), course.shutdown).await == Waited::Stopped {
                return Ok(Went::Stopped);
            }
            // From here on the events may be taken, so after a crash the ledger must not call them
            // refused.
            let reserved = self.sender.ledger().reserve_again(again.iter(), IsRepair::No);
            reserved.map_err(BackfillError::ledger)?;
            let Plan { script, send, .. } = self.sender.plan();
            batches = slice::batches(script, &again, send.batch_events.into());
            let from = self.next_at.max(self.clock.now());
            self.next_at = slice::spread(&mut batches, from, self.options.events_per_second);
        }
    }

    /// Reserves a slice: as a slice of time, if all that is due in it is to be sent.
    fn reserve(&self, chunk: &Chunk, events: &TenantRanges) -> Result<(), BackfillError> {
        let ledger = self.sender.ledger();
        let is_whole = events.count() == chunk.rows;
        let reserved = if is_whole {
            ledger.reserve(&chunk.due)
        } else {
            ledger.reserve_again(events.iter(), IsRepair::No)
        };
        reserved.map_err(BackfillError::ledger)
    }

    /// Settles what was reserved and not begun.
    fn leave_unsent(&self, portions: impl Iterator<Item = Vec<Batch>>) {
        for Batch { tenant, seqs, .. } in portions.flatten() {
            for range in seqs.ranges() {
                self.sender.ledger().settle(tenant, range, Settlement::Unsent);
            }
        }
    }

    /// Events of a portion: after them, the pipeline and the clock are looked at again.
    fn portion_events(&self) -> u64 {
        let rate = self.options.events_per_second.unwrap_or(u64::MAX);
        let in_time = rate.saturating_mul(PORTION_SECONDS);
        self.options.slice_events.min(self.pacer.capacity()).min(in_time)
    }

    async fn wait_for_room(
        &mut self,
        events: u64,
        course: &mut Course<'_>,
    ) -> Result<Waited, BackfillError> {
        let shutdown = course.shutdown;
        let each = |fill| course.tell(Doing::WaitingForRoom, fill);
        self.pacer.wait_for_room(events, shutdown, each).await
    }

    /// Waits until one more day may be in the pipeline.
    async fn begin_day(
        &mut self,
        day: UnixMicros,
        course: &mut Course<'_>,
    ) -> Result<Went, BackfillError> {
        if self.days.take(day) {
            return Ok(Went::Through);
        }
        let shutdown = course.shutdown;
        let each = |fill| course.tell(Doing::WaitingForRoom, fill);
        let emptied = self.pacer.wait_until_empty(shutdown, each).await?;
        if emptied == Waited::Stopped
            || self.sleep_until(self.days.over_at(), shutdown).await == Waited::Stopped
        {
            return Ok(Went::Stopped);
        }
        self.days = DayGroup::new(self.clock.now());
        self.days.take(day);
        Ok(Went::Through)
    }

    async fn sleep_until(&self, at: UnixMicros, shutdown: &Shutdown) -> Waited {
        let mut shutdown = shutdown.clone();
        tokio::select! {
            () = shutdown.asked(Stop::Drain) => Waited::Stopped,
            () = self.clock.sleep_until(at) => Waited::Enough,
        }
    }
}

impl Course<'_> {
    fn count(&mut self, end: &ListEnd) {
        self.tally.add(&end.tally);
        self.acknowledged += end.acknowledged.count();
        self.doubtful.add(&end.unknown);
    }

    fn tell(&mut self, doing: Doing, fill: Fill) {
        let (todo, acknowledged) = (self.todo, self.acknowledged);
        let doubtful = self.doubtful.count();
        (self.observe)(&ReplayProgress { doing, todo, acknowledged, doubtful, fill });
    }
}

/// With a limit on the rate, the length of a portion in time: the pipeline is looked at after each
/// portion.
const PORTION_SECONDS: u64 = 5;

/// Estimates the mean size of a message from some of the events.
fn message_bytes(plan: &Plan) -> u64 {
    let mut bytes = Vec::new();
    let mut events = 0;
    for tenant in plan.script.tenants().take(SAMPLE_TENANTS) {
        let timeline = plan.script.timeline(tenant);
        let first = timeline.count_before(plan.piped_from);
        for seq in (first..timeline.count()).take(SAMPLE_EVENTS_PER_TENANT).map(Seq) {
            let facts = plan.script.facts(tenant, seq).expect("it is of the plan");
            render(&facts, Form::Item, &mut bytes);
            events += 1;
        }
    }
    let mean = (bytes.len() as u64).checked_div(events).unwrap_or(0);
    mean + MESSAGE_OVERHEAD_BYTES
}

const SAMPLE_TENANTS: usize = 64;
const SAMPLE_EVENTS_PER_TENANT: usize = 8;

/// Subject, headers, what the sidecar adds, and what the stream keeps beside a message.
const MESSAGE_OVERHEAD_BYTES: u64 = 400;
