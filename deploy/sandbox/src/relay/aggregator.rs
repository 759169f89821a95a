//! Takes events from NATS and makes batches of them.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::Stream as Messages;
use async_nats::jetstream::{Context, Message};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use super::buffer::Writer;
use super::corrupt::corrupt;
use super::counters::Counters;
use super::faults::Faults;
use super::pace::Pace;
use super::rows::Rows;
use super::transform::{Event, audit_id, complete, flagged, is_kept};
use crate::clock::now;
use crate::fault::{FaultKind, Place};
use crate::nats_server::{CONSUMER, STREAM};

/// The part behind NATS.
pub(super) struct Aggregator {
    context: Context,
    exit: Exit,
    faults: Arc<Faults>,
    counters: Arc<Counters>,
    pace: Pace,
}

/// What is between reading and storing.
pub(super) enum Exit {
    /// Batches in memory.
    Memory(Box<Gatherer>),
    /// A buffer that outlives the process.
    Disk(Writer),
}

/// Makes batches in memory.
pub(super) struct Gatherer {
    batches: mpsc::Sender<Batch>,
    options: AggregatorOptions,
    gathered: Gathered,
}

/// How batches are cut and held.
#[derive(Debug, Clone, Copy)]
pub(super) struct AggregatorOptions {
    /// How long a batch may wait for more events.
    pub(super) batch_wait: Duration,
    /// How long a batch is held back by order.
    pub(super) hold_back: Duration,
}

/// A finished batch.
#[derive(Debug)]
pub(super) struct Batch {
    /// The rows of one INSERT.
    pub(super) rows: Rows,
    /// Second rows, for an INSERT of their own: within one, equal rows become one.
    pub(super) again: Option<Rows>,
    /// When it may be sent.
    pub(super) due: Instant,
}

struct Gathered {
    rows: Rows,
    again: Rows,
    first_at: Option<Instant>,
}

/// Why reading ended.
enum Ended {
    /// All that was in the stream is in batches.
    Empty,
    /// The subscription broke; a new one is needed.
    Broken,
}

impl Aggregator {
    /// An aggregator that has read nothing yet.
    pub(super) fn new(
        context: Context,
        exit: Exit,
        faults: Arc<Faults>,
        counters: Arc<Counters>,
    ) -> Self {
        let pace = Pace::new(faults.limit_per_s());
        Self { context, exit, faults, counters, pace }
    }

    /// Reads until told to drain, then until the stream holds nothing more for it; before a buffer
    /// on disk, only until told.
    pub(super) async fn run(mut self, mut drain: watch::Receiver<bool>) {
        const PAUSE: Duration = Duration::from_secs(1);
        loop {
            match self.subscribe().await {
                Ok((consumer, messages)) => match self.read(consumer, messages, &mut drain).await {
                    Ended::Empty => return,
                    Ended::Broken => warn!("the subscription broke, making a new one"),
                },
                Err(error) => warn!("cannot read from NATS, trying again: {error}"),
            }
            sleep(PAUSE).await;
        }
    }

    async fn subscribe(&self) -> Result<(PullConsumer, Messages), async_nats::Error> {
        /// Messages that NATS sends for one pull, as in Vector's configuration.
        const PULL_MESSAGES: usize = 1000;
        let consumer: PullConsumer =
            self.context.get_consumer_from_stream(CONSUMER, STREAM).await?;
        let messages = consumer.stream().max_messages_per_batch(PULL_MESSAGES).messages().await?;
        Ok((consumer, messages))
    }

    async fn read(
        &mut self,
        mut consumer: PullConsumer,
        mut messages: Messages,
        drain: &mut watch::Receiver<bool>,
    ) -> Ended {
        loop {
            let draining = *drain.borrow();
            if draining && matches!(self.exit, Exit::Disk(_)) {
                return Ended::Empty;
            }
            let next = tokio::select! {
                next = timeout(self.exit.patience(draining), messages.next()) => next,
                // The sender lives longer than this task, and the next round of the loop sees a
                // change.
                _ = drain.changed(), if !draining => continue,
            };
            match next {
                Ok(Some(Ok(message))) => self.take(&message).await,
                Ok(Some(Err(error))) => {
                    warn!("reading from NATS: {error}");
                    return Ended::Broken;
                }
                Ok(None) => return Ended::Broken,
                Err(_) if draining && is_empty(&mut consumer).await => {
                    self.exit.flush(Flush::All).await;
                    return Ended::Empty;
                }
                Err(_) => {}
            }
            self.exit.flush(Flush::IfDue).await;
        }
    }

    /// Puts one message into batch or buffer and acknowledges it: before `ClickHouse` has it, as
    /// Vector does.
    async fn take(&mut self, message: &Message) {
        if let Some(due) = self.pace.take(Instant::now()) {
            sleep_until(due).await;
        }
        if let Some((event, is_twice)) = self.completed(message)
            && let Err(error) = self.exit.push(&event, is_twice, &self.counters)
        {
            return warn!("the buffer takes nothing, the message will come again: {error}");
        }
        if let Err(error) = message.ack().await {
            warn!("cannot acknowledge a message, it will come again: {error}");
        }
    }

    /// Treats a message as Vector's transforms do. Events that a fault drops appear in no counter
    /// and no metric. Also says whether the event is to be stored twice by order.
    fn completed(&self, message: &Message) -> Option<(Event, bool)> {
        let Ok(Value::Object(mut event)) = serde_json::from_slice(&message.payload) else {
            warn!("left out a message that is no event");
            Counters::add(&self.counters.taken, 1);
            Counters::add(&self.counters.unreadable, 1);
            return None;
        };
        let id = audit_id(&event).map(str::to_owned);
        let id = id.as_deref();
        let at = Place::Aggregator;
        if !is_kept(&event) {
            Counters::add(&self.counters.taken, 1);
            Counters::add(&self.counters.filtered, 1);
            return None;
        }
        if self.faults.strike(FaultKind::Drop, at, id) {
            return None;
        }
        Counters::add(&self.counters.taken, 1);
        complete(&mut event, message.subject.as_str(), now());
        if let Some((id, draw)) = id.zip(self.faults.corruption(at, id)) {
            event = self.corrupted(event, id, draw);
        }
        let is_twice = self.faults.strike(FaultKind::Duplicate, at, id);
        Some((event, is_twice))
    }

    fn corrupted(&self, event: Event, id: &str, draw: u64) -> Event {
        let mut changed = event.clone();
        match corrupt(&mut changed, draw) {
            Some(change)
                if self.faults.is_recorded(
                    FaultKind::Corrupt,
                    Place::Aggregator,
                    id,
                    Some(&change),
                ) =>
            {
                changed
            }
            _ => event,
        }
    }
}

/// Which batches are handed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// Those that are full or old enough.
    IfDue,
    All,
}

impl Exit {
    fn push(&mut self, event: &Event, is_twice: bool, counters: &Counters) -> std::io::Result<()> {
        match self {
            Self::Memory(gatherer) => gatherer.push(event, is_twice, counters),
            Self::Disk(buffer) => {
                let json = serde_json::to_vec(event)?;
                let record = flagged(is_twice, &json);
                let bytes = record.len();
                buffer.append(&[record])?;
                counters.gathered.add(1, bytes);
            }
        }
        Ok(())
    }

    /// How long to wait for the next message.
    fn patience(&self, draining: bool) -> Duration {
        const QUIET: Duration = Duration::from_millis(300);
        const LONG: Duration = Duration::from_mins(1);
        let until_due = match self {
            Self::Memory(gatherer) => gatherer.until_due(),
            Self::Disk(_) => None,
        };
        match until_due {
            _ if draining => QUIET,
            Some(left) => left,
            None => LONG,
        }
    }

    async fn flush(&mut self, which: Flush) {
        if let Self::Memory(gatherer) = self
            && (which == Flush::All || gatherer.is_due())
        {
            gatherer.flush().await;
        }
    }
}

impl Gatherer {
    /// Nothing was gathered yet.
    pub(super) fn new(batches: mpsc::Sender<Batch>, options: AggregatorOptions) -> Self {
        Self { batches, options, gathered: Gathered::nothing() }
    }

    fn push(&mut self, event: &Event, is_twice: bool, counters: &Counters) {
        let bytes = self.gathered.rows.push(event);
        counters.gathered.add(1, bytes);
        if is_twice {
            self.gathered.again.push(event);
        }
        self.gathered.first_at.get_or_insert_with(Instant::now);
    }

    fn until_due(&self) -> Option<Duration> {
        self.gathered.first_at.map(|at| (at + self.options.batch_wait) - Instant::now())
    }

    fn is_due(&self) -> bool {
        let Gathered { rows, first_at, .. } = &self.gathered;
        rows.is_full() || first_at.is_some_and(|at| at.elapsed() >= self.options.batch_wait)
    }

    /// Hands the batch over; waits while `ClickHouse` is behind, and so lets NATS wait.
    async fn flush(&mut self) {
        let Gathered { rows, again, first_at } =
            std::mem::replace(&mut self.gathered, Gathered::nothing());
        if first_at.is_none() {
            return;
        }
        let again = (again.count > 0).then_some(again);
        let batch = Batch { rows, again, due: Instant::now() + self.options.hold_back };
        // The receiver ends only after this sender does.
        drop(self.batches.send(batch).await);
    }
}

impl Gathered {
    fn nothing() -> Self {
        Self { rows: Rows::new(), again: Rows::new(), first_at: None }
    }
}

/// Says whether the stream has nothing more to deliver; a server that does not answer has not. A
/// message that another process took and never acknowledged does not count: it comes again after a
/// minute, to the next relay.
async fn is_empty(consumer: &mut PullConsumer) -> bool {
    const ANSWER_LIMIT: Duration = Duration::from_secs(2);
    let info = timeout(ANSWER_LIMIT, consumer.info()).await;
    !info.is_ok_and(|info| info.is_ok_and(|info| info.num_pending > 0))
}
