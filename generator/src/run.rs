//! A run from its first event to its summary.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::identity::TenantIndex;
use harness::clock::{Clock, micros};
use harness::ledger::Settlement;
use harness::plan::Plan;
use harness::run_dir::RunDir;
use harness::shutdown::{Shutdown, Stop};
use harness::webhook::Webhook;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::abort::Watchdog;
use crate::error::GeneratorError;
use crate::feed::NotBegun;
use crate::lane::{Shared, SharedTally, run_lane};
use crate::observe::Observers;
use crate::report::{Ending, Histograms, Second, Summary};
use crate::reservation::Reservation;
use crate::tally::Tally;
use crate::view::Moment;

/// What a run is beside its plan.
#[derive(Debug)]
pub struct RunContext {
    pub webhook: Webhook,
    pub clock: Clock,
    pub shutdown: Shutdown,
    pub observers: Observers,
    /// Which part of the run this process is.
    pub shard: Shard,
    pub watchdog: Watchdog,
}

/// One of the processes that a run is shared among: it has every tenant whose index is `index`,
/// modulo `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    pub index: u32,
    pub count: u32,
}

impl Shard {
    /// All of the run.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    pub(crate) fn tenants(self, plan: &Plan) -> impl Iterator<Item = TenantIndex> + '_ {
        let (index, count) = (self.index as usize, self.count as usize);
        plan.script.tenants().skip(index).step_by(count)
    }

    /// How many events this part of the run has.
    pub(crate) fn planned(self, plan: &Plan) -> u64 {
        self.tenants(plan).map(|tenant| plan.script.timeline(tenant).count()).sum()
    }
}

/// Sends all events of a plan when they are due, and writes ledger, timeline and summary. The
/// observers are told how it goes.
///
/// # Errors
///
/// Returns [`GeneratorError`] if the run directory, or what observers asked for, cannot be written.
pub async fn run(plan: Plan, dir: &RunDir, context: RunContext) -> Result<Summary, GeneratorError> {
    let RunContext { webhook, clock, shutdown, observers, shard, watchdog } = context;
    let ledger = Arc::new(dir.create_ledger(&plan.spec, shard.index)?);
    let timeline = File::create(dir.timeline(shard.index))
        .map_err(|source| GeneratorError::Ledger { source })?;
    let reservation = Reservation::new(Arc::clone(&ledger), &plan);
    let shared = Arc::new(Shared { plan, webhook, clock, ledger, reservation });
    let (sender, lane_shutdown) = Shutdown::manual();
    let (lanes, tallies) = spawn_lanes(&shared, shard, &lane_shutdown);
    let total = Tally::new(shared.plan.classes.names.len());
    let shown = &*shared;
    let reporter = Reporter {
        shared: shown,
        shard,
        tallies,
        timeline,
        observers,
        watchdog,
        total,
        planned: 0,
    };
    let (left, reporter) = attend(&shared, lanes, reporter, shutdown.clone(), &sender).await?;
    let until = shared.reservation.until();
    for (tenant, ranges) in left {
        let reserved = shared.plan.script.timeline(tenant).count_before(until);
        for range in ranges {
            let given_up = range.start..range.end.min(reserved);
            if !given_up.is_empty() {
                shared.ledger.settle(tenant, given_up, Settlement::Unsent);
            }
        }
    }
    shared.ledger.close().map_err(|source| GeneratorError::Ledger { source })?;
    reporter.finish(dir, shutdown.stop())
}

pub(crate) type Lanes = JoinSet<io::Result<Vec<NotBegun>>>;

/// Starts the lanes, each with its share of tenants and connections.
pub(crate) fn spawn_lanes(
    shared: &Arc<Shared>,
    part: Shard,
    shutdown: &Shutdown,
) -> (Lanes, Vec<SharedTally>) {
    let tenants: Vec<TenantIndex> = part.tenants(&shared.plan).collect();
    let connections_count = shared.plan.send.connections as usize;
    let connection = |index| shared.webhook.connection(index, shared.clock);
    let mut connections = (0..connections_count).map(connection);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let lanes_count = (cores * 2).min(tenants.len()).min(connections_count);
    let mut lanes = JoinSet::new();
    let mut tallies = Vec::new();
    for lane in 0..lanes_count {
        let tally = Arc::new(Mutex::new(Tally::new(shared.plan.classes.names.len())));
        tallies.push(Arc::clone(&tally));
        let own: Vec<_> = tenants.iter().copied().skip(lane).step_by(lanes_count).collect();
        // The first lanes have one of the connections that do not divide.
        let share = (connections_count + lanes_count - 1 - lane) / lanes_count;
        let share: Vec<_> = connections.by_ref().take(share).collect();
        let (shared, shutdown) = (Arc::clone(shared), shutdown.clone());
        lanes
            .spawn(async move { run_lane(&shared, own.into_iter(), share, tally, shutdown).await });
    }
    (lanes, tallies)
}

/// Waits for all lanes, reports every second, and passes on the wish to stop: the user's, or that
/// of a condition. A lane that cannot write the ledger, or a report that cannot be written, stops
/// all lanes.
async fn attend<'s>(
    shared: &Shared,
    mut lanes: Lanes,
    mut reporter: Reporter<'s>,
    mut shutdown: Shutdown,
    lane_stop: &watch::Sender<Stop>,
) -> Result<(Vec<NotBegun>, Reporter<'s>), GeneratorError> {
    let mut left = Vec::new();
    let mut failure = None;
    let mut next_report = shared.clock.now().max(shared.plan.start) + micros(SECOND);
    loop {
        let next_stop = match *lane_stop.borrow() {
            Stop::No => Stop::Drain,
            Stop::Drain | Stop::Now => Stop::Now,
        };
        tokio::select! {
            lane = lanes.join_next() => match lane {
                None => break,
                Some(Ok(Ok(not_begun))) => left.extend(not_begun),
                Some(Ok(Err(source))) => {
                    failure.get_or_insert(GeneratorError::Ledger { source });
                    lane_stop.send_replace(Stop::Now);
                }
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            },
            () = shared.clock.sleep_until(next_report) => {
                next_report += micros(SECOND);
                match reporter.report() {
                    Ok(false) => {}
                    Ok(true) => {
                        lane_stop.send_if_modified(|stop| {
                            let changes = *stop < Stop::Drain;
                            *stop = (*stop).max(Stop::Drain);
                            changes
                        });
                    }
                    Err(error) => {
                        failure.get_or_insert(error);
                        lane_stop.send_replace(Stop::Now);
                    }
                }
            }
            () = shutdown.asked(next_stop), if *lane_stop.borrow() != Stop::Now => {
                lane_stop.send_replace(next_stop);
            }
        }
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok((left, reporter)),
    }
}

/// Takes the counts of all lanes every second, and writes them down.
struct Reporter<'s> {
    shared: &'s Shared,
    shard: Shard,
    tallies: Vec<SharedTally>,
    timeline: File,
    observers: Observers,
    watchdog: Watchdog,
    total: Tally,
    planned: u64,
}

impl Reporter<'_> {
    /// Reports the last second. Says whether the run is to be given up.
    fn report(&mut self) -> Result<bool, GeneratorError> {
        let now = self.shared.clock.now();
        let Shared { plan, ledger, .. } = self.shared;
        let classes = &plan.classes;
        let due = |tenant| plan.script.timeline(tenant).count_before(now);
        let planned: u64 = self.shard.tenants(plan).map(due).sum();
        let mut tally = Tally::new(classes.names.len());
        for lane in &self.tallies {
            let mut lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
            tally.add(&lane);
            lane.restart();
        }
        self.total.in_flight = 0;
        self.total.add(&tally);
        let second = Second::new(now, planned - self.planned, &tally);
        self.planned = planned;
        let total = &self.total;
        let saturated = total.lateness_max_us > plan.send.lateness_max_us;
        let moment =
            Moment { now, second: &second, tally: &tally, total, planned, saturated, classes };
        self.observers.tell(&moment);
        self.write(&second)?;
        ledger.flush().map_err(|source| GeneratorError::Ledger { source })?;
        Ok(self.watchdog.watch(&tally))
    }

    fn finish(mut self, dir: &RunDir, stop: Stop) -> Result<Summary, GeneratorError> {
        self.report()?;
        let Shared { plan, clock, .. } = self.shared;
        let classes = &plan.classes;
        let ending = Ending {
            at: clock.now(),
            stopped: stop != Stop::No,
            aborted: self.watchdog.tripped.take(),
        };
        let planned = self.shard.planned(plan);
        let summary = Summary::new(plan, planned, &self.total, ending);
        self.write(&Histograms::new(classes, &self.total))?;
        dir.write_json(&format!("summary-{}.json", self.shard.index), &summary)?;
        self.observers.finish(&summary, &self.total, classes)?;
        Ok(summary)
    }

    fn write(&mut self, record: &impl serde::Serialize) -> Result<(), GeneratorError> {
        let mut line = serde_json::to_vec(record).expect("a record has only string keys");
        line.push(b'\n');
        self.timeline.write_all(&line).map_err(|source| GeneratorError::Ledger { source })
    }
}

const SECOND: Duration = Duration::from_secs(1);
