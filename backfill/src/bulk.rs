//! The bulk path: chunks made on all cores and inserted a few at a time.

use std::time::Duration;

use bytes::Bytes;
use clickhouse::Compression;
use clickhouse::insert_formatted::CompressedData;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use harness::clickhouse::ClickHouse;
use harness::ledger::{LedgerWriter, Settlement};
use harness::plan::Plan;
use harness::shutdown::{Shutdown, Stop};
use rayon::prelude::*;

use crate::chunk::{Chunk, Slot, slots};
use crate::error::BackfillError;
use crate::native::{COLUMNS, block};

/// How rows are inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkOptions {
    /// Chunks that are under way at once.
    pub lanes: usize,
}

/// Inserts the chunks of a plan, the oldest first, and calls `each` after every one. Ends early if
/// asked to stop; then chunks that were not begun are unsent.
///
/// # Errors
///
/// Returns the first insert that failed; its chunk and those under way are settled as unknown.
pub async fn insert_all(
    plan: &Plan,
    chunks: &[Chunk],
    server: &ClickHouse,
    ledger: &LedgerWriter,
    mut shutdown: Shutdown,
    options: BulkOptions,
    mut each: impl FnMut(&Chunk),
) -> Result<(), BackfillError> {
    let mut under_way = FuturesUnordered::new();
    let mut next = chunks.iter();
    let mut failure = None;
    loop {
        let goes_on = failure.is_none() && shutdown.stop() == Stop::No;
        while goes_on && under_way.len() < options.lanes {
            let Some(chunk) = next.next() else { break };
            ledger.reserve(&chunk.due).map_err(|source| BackfillError::Ledger { source })?;
            under_way.push(async move { (chunk, insert(plan, chunk, server).await) });
        }
        tokio::select! {
            ended = under_way.next() => match ended {
                None => break,
                Some((chunk, result)) => {
                    let settlement = match result {
                        Ok(()) => Settlement::Acknowledged,
                        Err(source) => {
                            let (index, rows) = (chunk.index, chunk.rows);
                            let chunks = chunks.len();
                            failure.get_or_insert(BackfillError::Insert {
                                chunk: index, chunks, rows, source,
                            });
                            Settlement::Unknown
                        }
                    };
                    ledger
                        .settle_slice(&chunk.due, settlement)
                        .map_err(|source| BackfillError::Ledger { source })?;
                    each(chunk);
                }
            },
            // What is under way stays reserved and unsettled: unknown.
            () = shutdown.asked(Stop::Now) => break,
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Inserts one chunk, and waits until the server says that it has it.
async fn insert(
    plan: &Plan,
    chunk: &Chunk,
    server: &ClickHouse,
) -> Result<(), clickhouse::error::Error> {
    let sql = format!("INSERT INTO {} ({}) FORMAT Native", server.table, COLUMNS.join(", "));
    let token = format!("auditstorm-{}-{}", plan.spec.run_id, chunk.index);
    let mut insert = server
        .client
        .clone()
        .with_compression(Compression::Lz4)
        .insert_formatted_with(sql)
        .with_timeouts(Some(INSERT_TIMEOUT), Some(INSERT_TIMEOUT))
        .with_setting("insert_allow_materialized_columns", "1")
        .with_setting("insert_deduplication_token", token)
        // An insert is answered when its rows are in the table.
        .with_setting("async_insert", "0");
    let slots = tokio::task::block_in_place(|| slots(&plan.script, chunk));
    for part in slots.chunks(ROWS_AT_ONCE) {
        for data in tokio::task::block_in_place(|| compressed(plan, part)) {
            insert.send_compressed(data?).await?;
        }
    }
    insert.end().await
}

/// Makes blocks on all cores.
fn compressed(
    plan: &Plan,
    slots: &[Slot],
) -> Vec<Result<CompressedData, clickhouse::error::Error>> {
    slots
        .par_chunks(BLOCK_ROWS)
        .map(|slots| {
            let block = Bytes::from(block(&plan.script, slots));
            CompressedData::new(&block, Compression::Lz4)
        })
        .collect()
}

/// Blocks of this size stay in a core's cache; the server joins them into one part.
const BLOCK_ROWS: usize = 2_048;
const ROWS_AT_ONCE: usize = 8 * BLOCK_ROWS;
const INSERT_TIMEOUT: Duration = Duration::from_mins(5);
