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

use crate::classes::Classes;
use crate::error::GeneratorError;
use crate::lane::{NotBegun, Shared, SharedTally, run_lane};
use crate::observe::Observers;
use crate::report::{Histograms, Second, Summary};
use crate::reservation::Reservation;
use crate::tally::Tally;
use crate::view::Moment;

/// Sends all events of a plan when they are due, and writes ledger, timeline and summary. The
/// observers are told how it goes.
///
/// # Errors
///
/// Returns [`GeneratorError`] if the run directory, or what observers asked for, cannot be written.
pub async fn run(
    plan: Plan,
    dir: &RunDir,
    webhook: Webhook,
    clock: Clock,
    shutdown: Shutdown,
    observers: Observers,
) -> Result<Summary, GeneratorError> {
    let ledger = Arc::new(dir.create_ledger(0)?);
    let timeline =
        File::create(dir.timeline(0)).map_err(|source| GeneratorError::Ledger { source })?;
    let reservation = Reservation::new(Arc::clone(&ledger), &plan);
    let classes = Classes::one(plan.script.tenants().count());
    let shared = Arc::new(Shared { plan, classes, webhook, clock, ledger, reservation });
    let (sender, lane_shutdown) = Shutdown::manual();
    let (lanes, tallies) = spawn_lanes(&shared, &lane_shutdown);
    let reporter = Reporter::new(&shared, tallies, timeline, observers);
    let (left, reporter) = attend(&shared, lanes, reporter, shutdown.clone(), &sender).await?;
    let until = shared.reservation.until();
    for (tenant, first) in left {
        let reserved = shared.plan.script.timeline(tenant).count_before(until);
        if first < reserved {
            shared.ledger.settle(tenant, first..reserved, Settlement::Unsent);
        }
    }
    shared.ledger.close().map_err(|source| GeneratorError::Ledger { source })?;
    reporter.finish(dir, shutdown.stop())
}

type Lanes = JoinSet<io::Result<Vec<NotBegun>>>;

/// Starts the lanes, each with its share of tenants and connections.
fn spawn_lanes(shared: &Arc<Shared>, shutdown: &Shutdown) -> (Lanes, Vec<SharedTally>) {
    let tenants: Vec<TenantIndex> = shared.plan.script.tenants().collect();
    let connections_count = shared.plan.send.connections as usize;
    let connection = |index| shared.webhook.connection(index, shared.clock);
    let mut connections = (0..connections_count).map(connection);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let lanes_count = (cores * 2).min(tenants.len()).min(connections_count);
    let mut lanes = JoinSet::new();
    let mut tallies = Vec::new();
    for lane in 0..lanes_count {
        let tally = Arc::new(Mutex::new(Tally::new(shared.classes.names().len())));
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

/// Waits for all lanes, reports every second, and passes on the wish to stop. A lane that cannot
/// write the ledger stops all others.
async fn attend<'s>(
    shared: &Shared,
    mut lanes: Lanes,
    mut reporter: Reporter<'s>,
    mut shutdown: Shutdown,
    lane_stop: &watch::Sender<Stop>,
) -> Result<(Vec<NotBegun>, Reporter<'s>), GeneratorError> {
    let mut left = Vec::new();
    let mut failure = None;
    let mut next_report = shared.clock.now() + micros(SECOND);
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
                reporter.report()?;
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
    tallies: Vec<SharedTally>,
    timeline: File,
    observers: Observers,
    total: Tally,
    planned: u64,
}

impl<'s> Reporter<'s> {
    fn new(
        shared: &'s Shared,
        tallies: Vec<SharedTally>,
        timeline: File,
        observers: Observers,
    ) -> Self {
        let total = Tally::new(shared.classes.names().len());
        Self { shared, tallies, timeline, observers, total, planned: 0 }
    }

    fn report(&mut self) -> Result<(), GeneratorError> {
        let now = self.shared.clock.now();
        let script = &self.shared.plan.script;
        let planned: u64 =
            script.tenants().map(|tenant| script.timeline(tenant).count_before(now)).sum();
        let mut tally = Tally::new(self.shared.classes.names().len());
        for lane in &self.tallies {
            let mut lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
            tally.add(&lane);
            lane.restart();
        }
        self.total.in_flight = 0;
        self.total.add(&tally);
        let second = Second::new(now, planned - self.planned, &tally);
        self.planned = planned;
        let Shared { plan, classes, .. } = self.shared;
        let total = &self.total;
        let saturated = total.lateness_max_us > plan.send.lateness_max_us;
        let moment =
            Moment { now, second: &second, tally: &tally, total, planned, saturated, classes };
        self.observers.tell(&moment);
        self.write(&second)?;
        self.shared.ledger.flush().map_err(|source| GeneratorError::Ledger { source })
    }

    fn finish(mut self, dir: &RunDir, stop: Stop) -> Result<Summary, GeneratorError> {
        self.report()?;
        let Shared { plan, classes, clock, .. } = self.shared;
        let stopped = stop != Stop::No;
        let summary = Summary::new(plan, classes, &self.total, clock.now(), stopped);
        self.write(&Histograms::new(classes, &self.total))?;
        dir.write_json("summary-0.json", &summary)?;
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
