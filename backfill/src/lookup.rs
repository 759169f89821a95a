//! What the table has already: asked before anything is sent a second time.

use std::ops::Range;
use std::time::Duration;

use edges::clock::{Clock, micros};
use events::script::{DAY_US, midnight};
use events::timeline::UnixMicros;
use plans::plan::Plan;
use plans::spec::Span;
use runs::ranges::TenantRanges;
use stores::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT};
use stores::sight::Hidden;
use stores::sight::read::{Seen, Unseen, prove};
use stores::stored::{Rows, read_stored};

use crate::error::BackfillError;
use crate::piece::query_prefix;

/// The servers that rows are in.
#[derive(Debug, Clone, Copy)]
pub struct Stores<'s> {
    /// Replicas or shards.
    pub servers: &'s [ClickHouse],
    /// Whether rows that one of the servers took come to the others later.
    pub are_replicated: bool,
}

/// Returns which of some events none of the servers has: proven, not just not seen. Their requests
/// were received at the times given.
///
/// # Errors
///
/// Returns [`BackfillError`] if a server does not answer, or the account may not see all that it
/// has: then it cannot be said.
pub async fn missing(
    plan: &Plan,
    mut missing: TenantRanges,
    received: &Range<UnixMicros>,
    stores: Stores<'_>,
) -> Result<TenantRanges, BackfillError> {
    for server in stores.servers {
        if stores.are_replicated {
            // What another replica has taken may not have come to this one yet.
            let sync = format!("SYSTEM SYNC REPLICA {}", server.table);
            server.answer(SYNC_TIMEOUT, server.client.query_raw(&sync).execute()).await?;
        }
        let arrivals = read_stored(server, &plan.script, &Rows::Received(received.clone())).await?;
        let seqs = arrivals.into_iter().map(|(tenant, arrivals)| (tenant, arrivals.seqs));
        missing.subtract(&seqs.collect());
        if missing.is_empty() {
            return Ok(missing);
        }
    }
    // The proof is only needed for events that were not found.
    prove_sight(stores).await?;
    Ok(missing)
}

/// Proves that the account sees all rows that the servers have of the table.
///
/// # Errors
///
/// Returns [`BackfillError`] if it does not, or a server does not answer.
pub async fn prove_sight(stores: Stores<'_>) -> Result<(), BackfillError> {
    for server in stores.servers {
        let (url, user) = (server.url.clone(), server.user.clone());
        match prove(server).await? {
            Seen::All => {}
            Seen::Some(Unseen { counts, hidden: Hidden { what, remedy } }) => {
                let (taken, seen) = (counts.expected(), counts.seen);
                return Err(BackfillError::Unseen { url, user, taken, seen, what, remedy });
            }
            Seen::Unknown(Hidden { what, remedy }) => {
                return Err(BackfillError::Hidden { url, what, remedy });
            }
            Seen::Moving => return Err(BackfillError::Moving { url }),
        }
    }
    Ok(())
}

/// When the requests of events were received that are due in a slice of one day: before they are
/// due, in a history on the same day.
pub fn received(plan: &Plan, due: &Range<UnixMicros>) -> Range<UnixMicros> {
    let earlier_us = if plan.spec.span == Span::Live { DAY_US } else { 0 };
    midnight(due.start) - earlier_us..due.end
}

/// Which inserts are awaited.
#[derive(Debug, Clone, Copy)]
pub enum Inserts<'n> {
    /// All inserts of the run, including those that a dead process left behind.
    OfRun,
    /// Those with these names.
    Named(&'n [String]),
}

/// Waits until no server works on the inserts any more: a server goes on with what it has got in
/// full, even if nobody waits for its answer. Says whether they ended in time.
///
/// # Errors
///
/// Returns [`ClickHouseError`] of the first server that does not answer: then it cannot be said.
pub async fn await_silence(
    plan: &Plan,
    inserts: Inserts<'_>,
    servers: &[ClickHouse],
    clock: &Clock,
) -> Result<bool, ClickHouseError> {
    let condition = match inserts {
        Inserts::OfRun => {
            format!("startsWith(initial_query_id, '{}')", query_prefix(plan.spec.run_id))
        }
        Inserts::Named([]) => return Ok(true),
        Inserts::Named(names) => format!("initial_query_id IN ('{}')", names.join("', '")),
    };
    let sql = format!("SELECT count() FROM system.processes WHERE {condition}");
    let deadline = clock.now() + micros(SILENCE_WAIT_MAX);
    for server in servers {
        loop {
            let running = server.client.query_raw(&sql).fetch_one::<u64>();
            if server.answer(QUERY_TIMEOUT, running).await? == 0 {
                break;
            }
            if clock.now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(SILENCE_POLL).await;
        }
    }
    Ok(true)
}

/// Twice as long as an insert is waited for.
const SILENCE_WAIT_MAX: Duration = Duration::from_mins(10);
const SYNC_TIMEOUT: Duration = Duration::from_mins(5);
const SILENCE_POLL: Duration = Duration::from_millis(200);
