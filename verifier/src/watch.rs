//! Watches the pipeline while a run goes on: what is seen goes to whoever listens, and into the
//! run's directory.
//!
//! A watch is a witness. A server that does not answer is a fact to be written down, and no reason
//! to end. It talks to nobody who sends: which events to look for follows from the plan, and when
//! they were acknowledged from the generator's files.

mod backlog;
pub(crate) mod draw;
mod ending;
pub(crate) mod lines;
pub(crate) mod metrics;
mod processes;
mod resources;
mod servers;
mod tracker;
pub(crate) mod view;
mod visible;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edges::clock::{Clock, micros};
use edges::errors::{ErrorCounts, OneError};
use edges::exit::chain;
use edges::shutdown::{Shutdown, Stop};
use events::event::MicroTime;
use events::timeline::UnixMicros;
use plans::plan::Plan;
use runs::json_lines::Tail;
use runs::observation::Observation;
use runs::ranges::RangeSet;
use runs::record::Second;
use runs::run_dir::{RunDir, RunDirError};
use stores::clickhouse::ClickHouse;
use tokio::task::JoinHandle;
use tracing::{debug, info};

use self::backlog::Backlog;
use self::ending::Ending;
pub use self::ending::EndingOptions;
pub use self::resources::{Meter, ResourceArgs};
pub use self::servers::Servers;
use self::tracker::Tracker;
pub use self::view::Phase;
use self::visible::read_visible;
use crate::error::VerifyError;

/// How a run is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchOptions {
    /// Time between two looks at the pipeline.
    pub interval: Duration,
    pub ending: EndingOptions,
}

/// One look at the pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// What was seen, as it is written to the run's directory.
    pub observation: Observation,
    /// Servers that did not answer.
    pub silent: Vec<String>,
    pub phase: Phase,
}

/// What a watch has seen in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSummary {
    pub end: WatchEnd,
    pub looks: u64,
    /// Samples that became visible while it watched.
    pub samples_visible: u64,
    /// Samples that were due and not visible when it ended.
    pub samples_missed: u64,
    /// Messages that the stream evicted before the consumer was given them, as far as it was seen.
    pub evicted_unread: u64,
    /// Why servers did not answer looks.
    pub errors: ErrorCounts,
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchEnd {
    /// There is nothing more to be seen, or it was not to last longer.
    Over,
    /// Somebody asked it to stop.
    Stopped,
}

/// Watches a run until it is over, or somebody asks to stop. Each look is written to the run's
/// directory, and then told to `listen`.
///
/// # Errors
///
/// Returns [`VerifyError`] if what is seen cannot be written to the run's directory.
pub async fn watch(
    (dir, plan): (RunDir, Plan),
    servers: Servers,
    options: WatchOptions,
    clock: Clock,
    shutdown: Shutdown,
    listen: impl FnMut(&Look),
) -> Result<WatchSummary, VerifyError> {
    info!(dir = %dir.path().display(), servers = servers.names().join(", "), "watching");
    let plan = Arc::new(plan);
    let tracker = Arc::new(Mutex::new(Tracker::new(&plan, clock.now())));
    let poller = Poller {
        server: servers.table.clone(),
        plan: Arc::clone(&plan),
        tracker: Arc::clone(&tracker),
        clock,
    };
    let watcher = Watcher {
        ending: Ending::new(&plan, options.ending),
        backlog: Backlog::new(plan.start, plan.spec.shards),
        tails: (0..plan.spec.shards).map(|shard| Tail::new(dir.timeline(shard))).collect(),
        poller: Stopped(tokio::spawn(poller.poll())),
        dir,
        plan,
        servers,
        tracker,
        clock,
        interval: options.interval,
        seen: Seen::default(),
        errors: ErrorCounts::default(),
    };
    Box::pin(watcher.watch(shutdown, listen)).await
}

/// Opens a run's directory, as soon as there is one.
///
/// # Errors
///
/// Returns [`VerifyError::RunDir`] if there is none by the deadline, or it is damaged.
pub async fn open(
    path: &Path,
    clock: &Clock,
    deadline: UnixMicros,
) -> Result<(RunDir, Plan), VerifyError> {
    loop {
        match RunDir::open(path) {
            Err(RunDirError::NoRun { .. }) if clock.now() < deadline => {
                tokio::time::sleep(OPEN_PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Asks the table again and again for the samples that wait.
struct Poller {
    server: ClickHouse,
    plan: Arc<Plan>,
    tracker: Arc<Mutex<Tracker>>,
    clock: Clock,
}

impl Poller {
    /// Polls for good. A table that is slow to answer is asked less often.
    async fn poll(self) {
        loop {
            let begun = self.clock.now();
            let question = {
                let mut tracker = lock(&self.tracker);
                tracker.advance(&self.plan, begun);
                tracker.question()
            };
            if let Some(question) = question {
                let visible = read_visible(&self.server, &question, POLL_LIMIT).await;
                match visible {
                    Ok(visible) => {
                        let times = (begun, self.clock.now());
                        lock(&self.tracker).see(&self.plan, &question, &visible, times);
                    }
                    // No answer says nothing of what is not there.
                    Err(error) => debug!(error = chain(&error), "samples not asked for"),
                }
            }
            let took = self.clock.now() - begun;
            self.clock.sleep_until(begun + micros(POLL_EVERY).max(2 * took)).await;
        }
    }
}

/// A task that ends with whoever holds this.
struct Stopped(JoinHandle<()>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn lock(tracker: &Mutex<Tracker>) -> std::sync::MutexGuard<'_, Tracker> {
    tracker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at the pipeline once an interval.
struct Watcher {
    dir: RunDir,
    plan: Arc<Plan>,
    servers: Servers,
    tracker: Arc<Mutex<Tracker>>,
    tails: Vec<Tail>,
    backlog: Backlog,
    ending: Ending,
    poller: Stopped,
    clock: Clock,
    interval: Duration,
    seen: Seen,
    /// Why servers did not answer looks.
    errors: ErrorCounts,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    looks: u64,
    samples_visible: u64,
    evicted: RangeSet,
}

impl Seen {
    fn add(&mut self, observation: &Observation) {
        self.looks += 1;
        self.samples_visible += observation.freshness.due_to_visible_ms.len() as u64;
        if let Some(stream) = &observation.stream {
            let evicted = stream.evicted_unread();
            if !evicted.is_empty() {
                self.evicted.insert(evicted);
            }
        }
    }
}

impl Watcher {
    async fn watch(
        mut self,
        mut shutdown: Shutdown,
        mut listen: impl FnMut(&Look),
    ) -> Result<WatchSummary, VerifyError> {
        self.follow_timelines();
        let mut next = self.clock.now();
        loop {
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = shutdown.asked(Stop::Drain) => return Ok(self.finish(WatchEnd::Stopped)),
            }
            // After a look that took long, those that it held up are left out.
            next = (next + micros(self.interval)).max(self.clock.now());
            let (look, is_over) = tokio::select! {
                looked = self.look() => looked?,
                () = shutdown.asked(Stop::Drain) => return Ok(self.finish(WatchEnd::Stopped)),
            };
            listen(&look);
            if is_over {
                return Ok(self.finish(WatchEnd::Over));
            }
        }
    }

    fn finish(self, end: WatchEnd) -> WatchSummary {
        let last = lock(&self.tracker).take(self.clock.now());
        drop(self.poller);
        WatchSummary {
            end,
            looks: self.seen.looks,
            samples_visible: self.seen.samples_visible + last.due_to_visible_ms.len() as u64,
            samples_missed: last.waiting,
            evicted_unread: self.seen.evicted.count(),
            errors: self.errors,
        }
    }

    /// Looks once, and writes it down. Says whether the watch is over.
    async fn look(&mut self) -> Result<(Look, bool), VerifyError> {
        let answers = Box::pin(self.servers.look(&self.clock, self.look_limit())).await;
        // What was acknowledged before the stream was asked is compared with what it has taken.
        let backlog_min = self.backlog.see(self.clock.now(), answers.stream.as_ref());
        self.follow_timelines();
        if self.ending.may_be_closed(&self.dir, &self.plan, self.clock.now()) {
            self.read_ledger();
        }
        let now = self.clock.now();
        for error in answers.errors {
            let OneError { server, kind, text } = &error;
            debug!(server, kind, error = text, "no answer to a look");
            self.errors.count(error, now);
        }
        // What becomes visible after this is told by the next look: so there must be one.
        let (is_all_visible, freshness) = {
            let mut tracker = lock(&self.tracker);
            tracker.advance(&self.plan, now);
            (tracker.is_done(), tracker.take(now))
        };
        let observation = Observation {
            at: MicroTime(now),
            stream: answers.stream,
            table: answers.table,
            freshness,
            clocks: answers.clocks,
            resources: answers.resources,
            backlog_min,
            held: answers.held,
        };
        self.dir.append_observation(&observation)?;
        let grown = self.tails.iter().map(Tail::position).sum();
        self.ending.see(&observation, grown);
        self.seen.add(&observation);
        let look = Look { observation, silent: answers.silent, phase: self.ending.phase() };
        Ok((look, self.ending.is_over(now, is_all_visible)))
    }

    /// A server that is slower than that counts as silent: looks keep to their beat.
    fn look_limit(&self) -> Duration {
        (2 * self.interval).clamp(LOOK_LIMITS.0, LOOK_LIMITS.1)
    }

    /// Takes in which samples were acknowledged, as the generators wrote it down.
    fn follow_timelines(&mut self) {
        for (index, tail) in self.tails.iter_mut().enumerate() {
            // What cannot be read now is read later, or is missing in the record.
            let seconds: Vec<Second> = tail.read().unwrap_or_default();
            for second in &seconds {
                self.backlog.take(index, second);
            }
            let mut tracker = lock(&self.tracker);
            for sample in seconds.into_iter().flat_map(|second| second.acknowledged_samples) {
                tracker.acknowledge(sample);
            }
        }
    }

    /// Once the ledger is closed, only what was acknowledged is awaited.
    fn read_ledger(&mut self) {
        let read = || self.dir.read_ledger(&self.plan);
        let Ok(ledger) = tokio::task::block_in_place(read) else { return };
        if ledger.closed {
            self.follow_timelines();
            self.ending.close(self.clock.now());
            let now = self.clock.now();
            let mut tracker = lock(&self.tracker);
            // All that was sent was due by now, and is waited for by now.
            tracker.advance(&self.plan, now);
            tracker.keep(|tenant, seq| {
                ledger.accounts[usize::from(tenant.0)].acknowledged.contains(seq.0)
            });
            tracker.stop();
        }
    }
}

const OPEN_PAUSE: Duration = Duration::from_millis(100);
const POLL_EVERY: Duration = Duration::from_millis(150);
const POLL_LIMIT: Duration = Duration::from_secs(5);
const LOOK_LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
