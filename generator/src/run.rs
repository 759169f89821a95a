//! A run from its first event to its summary.

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use edges::clock::{Clock, micros};
use edges::shutdown::{Shutdown, Stop};
use load::sender::{Lanes, NotBegun, Sender, Shard, SharedTally, spawn_lanes};
use load::webhook::Webhook;
use plans::plan::Plan;
use runs::ledger::{Durability, Settlement};
use runs::run_dir::RunDir;
use runs::tally::Tally;
use tokio::sync::watch;
use tracing::info;

use crate::abort::Watchdog;
use crate::asking::reporter::QueryReporter;
use crate::asking::{QueryLanes, Reading, spawn_queries};
use crate::error::GeneratorError;
use crate::observe::Observers;
use crate::view::Moment;
use runs::record::{Ending, Histograms, Second, Summary};

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
    /// What its ledger survives.
    pub durability: Durability,
    /// Whom the queries of the plan ask; without it, nobody asks.
    pub reading: Option<Reading>,
}

/// Sends all events of a plan when they are due, and writes ledger, timeline and summary. The
/// observers are told how it goes.
///
/// # Errors
///
/// Returns [`GeneratorError`] if the run directory, or what observers asked for, cannot be written.
pub async fn run(plan: Plan, dir: &RunDir, context: RunContext) -> Result<Summary, GeneratorError> {
    let RunContext { webhook, clock, shutdown, observers, shard, watchdog, .. } = context;
    let RunContext { durability, reading, .. } = context;
    let ledger = Arc::new(dir.create_ledger(&plan.spec, shard.index, durability)?);
    let timeline = File::create(dir.timeline(shard.index))
        .map_err(|source| GeneratorError::Ledger { source })?;
    let sender = Arc::new(Sender::new(plan, webhook, clock, ledger));
    let (lane_stop, lane_shutdown) = Shutdown::manual();
    let (lanes, tallies) = spawn_lanes(&sender, shard, &lane_shutdown);
    info!(lanes = lanes.len(), planned = shard.planned(&sender.plan), "sending");
    let (askers, queries) = spawn_queries(&sender, reading, (dir, shard), &lane_shutdown)?;
    let total = Tally::new(sender.plan.classes.names.len());
    let reporter = Reporter {
        sender: &sender,
        shard,
        tallies,
        timeline,
        observers,
        watchdog,
        total,
        planned: 0,
        queries,
    };
    let work = (lanes, askers);
    let (left, reporter) = attend(&sender, work, reporter, shutdown.clone(), &lane_stop).await?;
    sender.rest().await;
    let until = sender.reserved_until();
    for (tenant, ranges) in left {
        let reserved = sender.plan.script.timeline(tenant).count_before(until);
        for range in ranges {
            let given_up = range.start..range.end.min(reserved);
            if !given_up.is_empty() {
                sender.ledger.settle(tenant, given_up, Settlement::Unsent);
            }
        }
    }
    sender.ledger.close().map_err(|source| GeneratorError::Ledger { source })?;
    info!("all is settled, and the ledger is closed");
    reporter.finish(dir, shutdown.stop())
}

/// Waits for all lanes, reports every second, and passes on the wish to stop: the user's, or that
/// of a condition. A lane that cannot write the ledger, or a report that cannot be written, stops
/// all lanes.
async fn attend<'s>(
    sender: &Sender,
    (mut lanes, mut askers): (Lanes, QueryLanes),
    mut reporter: Reporter<'s>,
    mut shutdown: Shutdown,
    lane_stop: &watch::Sender<Stop>,
) -> Result<(Vec<NotBegun>, Reporter<'s>), GeneratorError> {
    let mut left = Vec::new();
    let mut failure = None;
    let mut next_report = sender.clock.now().max(sender.plan.start) + micros(SECOND);
    while !(lanes.is_empty() && askers.is_empty()) {
        let next_stop = match *lane_stop.borrow() {
            Stop::No => Stop::Drain,
            Stop::Drain | Stop::Now => Stop::Now,
        };
        tokio::select! {
            Some(lane) = askers.join_next() => match lane {
                Ok(Ok(())) => {}
                Ok(Err(source)) => {
                    failure.get_or_insert(GeneratorError::Ledger { source });
                    lane_stop.send_replace(Stop::Now);
                }
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
            Some(lane) = lanes.join_next() => match lane {
                Ok(Ok(end)) => left.extend(end.not_begun),
                Ok(Err(source)) => {
                    failure.get_or_insert(GeneratorError::Ledger { source });
                    lane_stop.send_replace(Stop::Now);
                }
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
            () = sender.clock.sleep_until(next_report) => {
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
                info!(how = ?next_stop, "asked to stop");
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
    sender: &'s Sender,
    shard: Shard,
    tallies: Vec<SharedTally>,
    timeline: File,
    observers: Observers,
    watchdog: Watchdog,
    total: Tally,
    planned: u64,
    queries: Option<QueryReporter>,
}

impl Reporter<'_> {
    /// Reports the last second. Says whether the run is to be given up.
    fn report(&mut self) -> Result<bool, GeneratorError> {
        let now = self.sender.clock.now();
        let Sender { plan, ledger, .. } = self.sender;
        let classes = &plan.classes;
        let due = |tenant| plan.script.timeline(tenant).count_before(now);
        let planned: u64 = self.shard.tenants(plan).map(due).sum();
        let mut tally = Tally::new(classes.names.len());
        for lane in &self.tallies {
            let mut lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
            tally.add(&lane);
            tally.acknowledged_samples.append(&mut lane.acknowledged_samples);
            lane.restart();
        }
        self.total.in_flight = 0;
        self.total.add(&tally);
        let second = Second::new(now, planned - self.planned, &tally);
        self.planned = planned;
        let asked = self.queries.as_mut().map(|queries| queries.report(now)).transpose()?;
        let queries = self.queries.as_ref().zip(asked.as_ref());
        let queries = queries.map(|(queries, asked)| queries.moment(asked));
        let total = &self.total;
        let saturated = total.is_saturated(plan.send.lateness_max_us);
        let moment = Moment {
            now,
            second: &second,
            tally: &tally,
            total,
            planned,
            saturated,
            classes,
            queries,
        };
        self.observers.tell(&moment);
        let is_tripped = self.watchdog.watch(&second, &tally, moment.queries.as_ref());
        self.write(&second)?;
        ledger.flush().map_err(|source| GeneratorError::Ledger { source })?;
        Ok(is_tripped)
    }

    fn finish(mut self, dir: &RunDir, stop: Stop) -> Result<Summary, GeneratorError> {
        self.report()?;
        let Sender { plan, clock, .. } = self.sender;
        let classes = &plan.classes;
        let ending = Ending {
            at: clock.now(),
            stopped: stop != Stop::No,
            aborted: self.watchdog.tripped.take(),
        };
        let planned = self.shard.planned(plan);
        let queries = self.queries.take();
        let queries = queries.map(|it| it.finish(plan.send.lateness_max_us)).transpose()?;
        let (queries, asked) = queries.unzip();
        let summary = Summary { queries, ..Summary::new(plan, planned, &self.total, ending) };
        self.write(&Histograms::new(classes, &self.total))?;
        dir.write_json(&format!("summary-{}.json", self.shard.index), &summary)?;
        self.observers.finish(&summary, &self.total, classes, asked.as_ref())?;
        Ok(summary)
    }

    fn write(&mut self, record: &impl serde::Serialize) -> Result<(), GeneratorError> {
        let mut line = serde_json::to_vec(record).expect("a record has only string keys");
        line.push(b'\n');
        self.timeline.write_all(&line).map_err(|source| GeneratorError::Ledger { source })
    }
}

const SECOND: Duration = Duration::from_secs(1);
