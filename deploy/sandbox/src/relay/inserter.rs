//! Stores batches in `ClickHouse` until it has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until};
use tracing::warn;

use super::aggregator::Batch;
use super::counters::Counters;
use crate::clickhouse::ClickHouse;
use crate::clock::now;

/// How rows are stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct InsertOptions {
    /// Keep rows that are equal in the whole sort key, where an INSERT would fold them.
    pub(super) keep_equal_rows: bool,
}

/// Stores all batches, until the channel is closed and empty.
pub(super) async fn insert(
    clickhouse: ClickHouse,
    batches: mpsc::Receiver<Batch>,
    counters: Arc<Counters>,
    options: InsertOptions,
) {
    /// INSERTs at the same time.
    const IN_FLIGHT_MAX: usize = 2;
    let batches = stream::unfold(batches, async |mut batches| {
        batches.recv().await.map(|batch| (batch, batches))
    });
    let settings = Settings::new(options);
    batches
        .for_each_concurrent(IN_FLIGHT_MAX, async |batch| {
            sleep_until(batch.due).await;
            let (count, bytes) = (batch.rows.count, batch.rows.bytes);
            let body = batch.rows.into_body();
            insert_until_taken(&clickhouse, &settings.next(), body).await;
            if let Some(again) = batch.again {
                insert_until_taken(&clickhouse, &settings.next(), again.into_body()).await;
            }
            counters.stored.add(count, bytes);
        })
        .await;
}

/// The settings of INSERTs, one after the other.
pub(super) struct Settings {
    tokens: Tokens,
    options: InsertOptions,
}

/// Names for INSERTs, never twice the same, not even over restarts on the same data.
struct Tokens {
    start: i64,
    next: AtomicU64,
}

impl Tokens {
    fn new() -> Self {
        Self { start: now().timestamp_micros(), next: AtomicU64::new(0) }
    }
}

impl Settings {
    /// Settings for a process that has stored nothing yet.
    pub(super) fn new(options: InsertOptions) -> Self {
        Self { tokens: Tokens::new(), options }
    }

    /// The settings of the next INSERT. `ClickHouse` answers when the rows are stored, and stores a
    /// batch that is sent again, after an answer was lost, only once.
    pub(super) fn next(&self) -> String {
        let Tokens { start, next } = &self.tokens;
        let number = next.fetch_add(1, Ordering::Relaxed);
        let fold = u8::from(!self.options.keep_equal_rows);
        format!(
            "async_insert=0&wait_end_of_query=1&optimize_on_insert={fold}\
             &insert_deduplication_token=relay-{start}-{number}"
        )
    }
}

async fn insert_until_taken(clickhouse: &ClickHouse, settings: &str, body: Bytes) {
    const FIRST_PAUSE: Duration = Duration::from_millis(200);
    const PAUSE_MAX: Duration = Duration::from_secs(10);
    let mut pause = FIRST_PAUSE;
    while let Err(error) = clickhouse.insert(settings, body.clone()).await {
        warn!("ClickHouse did not take a batch, trying again: {error}");
        sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 2);
    }
}
