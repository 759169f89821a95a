//! Users who query while events are written: who asks what when, and what the answers are worth.
//!
//! Each lane asks for some of the users, or for a part of the queries that come at a rate. Every
//! answer is checked against what the plan says of its events. Counts go to a reporter, which
//! writes them down once a second.

pub(crate) mod door;
pub(crate) mod history;
mod kinds;
mod lane;
pub(crate) mod reporter;
mod timed;
mod turns;
mod walk;
pub(crate) mod witness;

use std::io;
use std::sync::{Arc, Mutex};

use edges::shutdown::Shutdown;
use events::script::Script;
use load::sender::{Sender, Shard};
use plans::plan::Plan;
use queries::door::Door as _;
use runs::queries::QueryTally;
use runs::run_dir::RunDir;
use tokio::task::JoinSet;
use tracing::info;

use crate::error::GeneratorError;
use door::AnyDoor;
use history::History;
use kinds::Kinds;
use lane::{Shared, run_lane};
use reporter::QueryReporter;
use turns::Part;
use witness::Table;

/// Whom the queries of a plan ask, and what is known of the answers beside the plan.
#[derive(Debug)]
pub struct Reading {
    pub door: AnyDoor,
    /// Earlier runs whose events the table has too.
    pub histories: Vec<History>,
    /// The table, if answers must have what it shows.
    pub table: Option<Table>,
}

impl Reading {
    /// The runs whose events are known: that of the plan, and the histories.
    pub(crate) fn scripts<'s>(&'s self, plan: &'s Plan) -> Vec<&'s Script> {
        history::scripts(plan, &self.histories)
    }
}

/// Lanes that ask.
pub(crate) type QueryLanes = JoinSet<io::Result<()>>;

/// Starts the lanes of a plan's queries, each with its share of users and connections; none, if
/// nobody reads or the plan has no queries. Returns them with what writes them down.
///
/// # Errors
///
/// Returns [`GeneratorError::Ledger`] if the run directory cannot be written.
pub(crate) fn spawn_queries(
    sender: &Arc<Sender>,
    reading: Option<Reading>,
    (dir, own): (&RunDir, Shard),
    shutdown: &Shutdown,
) -> Result<(QueryLanes, Option<QueryReporter>), GeneratorError> {
    let mut lanes = JoinSet::new();
    let (Some(reading), Some(plan)) = (reading, &sender.plan.queries) else {
        return Ok((lanes, None));
    };
    let kinds = Arc::new(Kinds::new(plan, &reading.scripts(&sender.plan)));
    let place = reading.door.place().to_owned();
    let shared =
        Arc::new(Shared { sender: Arc::clone(sender), kinds: Arc::clone(&kinds), reading });
    let count = lanes_max().min(plan.connections());
    let mut tallies = Vec::new();
    for lane in 0..count {
        let tally = Arc::new(Mutex::new(QueryTally::new(kinds.names().len())));
        tallies.push(Arc::clone(&tally));
        let part = Part { index: own.index + own.count * lane, count: own.count * count };
        // If the connections do not divide evenly, the first lanes have one more.
        let connections = ((plan.connections() + count - 1 - lane) / count) as usize;
        let (shared, shutdown) = (Arc::clone(&shared), shutdown.clone());
        lanes.spawn(run_lane(shared, part, connections, tally, shutdown));
    }
    info!(lanes = count, connections = plan.connections(), place, "asking");
    let kinds = kinds.names().to_vec();
    let reporter = QueryReporter::begin((dir, own.index), place, kinds, tallies)?;
    Ok((lanes, Some(reporter)))
}

/// How many lanes are enough to keep this machine busy.
fn lanes_max() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(1)
}
