//! Empties a buffer into `ClickHouse` as Vector's sink does.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use super::aggregator::{AggregatorOptions, Batch};
use super::buffer::{Acknowledger, Held, Position, Reader, Record};
use super::counters::Counters;
use super::inserter::{InsertOptions, Settings};
use super::retry::Backoff;
use super::rows::Rows;
use super::transform::unflagged;
use crate::clickhouse::ClickHouse;
use crate::error::SandboxError;

/// How a buffer is emptied into `ClickHouse`.
#[derive(Debug)]
pub(super) struct StoreOptions {
    /// How long a batch may wait for more events, and is held back by order.
    pub(super) batches: AggregatorOptions,
    /// The longest wait between two tries.
    pub(super) retry_max: Duration,
    /// How rows are stored.
    pub(super) insert: InsertOptions,
}

/// Stores what is in a buffer as Vector's sink does, in batches, each tried again until
/// `ClickHouse` has it, or has said that it never will. Once `stopped`, a batch waits for nothing.
///
/// # Errors
///
/// Returns an error if the buffer fails.
pub(super) async fn store_buffered(
    clickhouse: ClickHouse,
    reader: Reader,
    mut acknowledger: Acknowledger,
    counters: Arc<Counters>,
    options: StoreOptions,
    stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    /// INSERTs at the same time.
    const IN_FLIGHT_MAX: usize = 2;
    let StoreOptions { batches, retry_max, insert } = options;
    let settings = Settings::new(insert);
    let source = (reader, stopped);
    let all = stream::try_unfold(source, async |(mut reader, mut stopped)| {
        let batch = gather(&mut reader, batches, &mut stopped).await?;
        Ok::<_, std::io::Error>(Some((batch, (reader, stopped))))
    });
    let stored = all.map_ok(|gathered| {
        let settings = &settings;
        async move {
            let Gathered { batch, end, amount } = gathered;
            sleep_until(batch.due).await;
            let body = batch.rows.into_body();
            let mut is_stored =
                insert_patiently(&clickhouse, &settings.next(), body, retry_max).await;
            if let Some(again) = batch.again {
                let body = again.into_body();
                is_stored &= insert_patiently(&clickhouse, &settings.next(), body, retry_max).await;
            }
            Ok((end, amount, is_stored))
        }
    });
    // Batches are acknowledged in order, so that there is no gap.
    let mut stored = pin!(stored.try_buffered(IN_FLIGHT_MAX));
    while let Some((end, amount, is_stored)) = stored.try_next().await? {
        acknowledger.acknowledge(end)?;
        let gone = if is_stored { &counters.stored } else { &counters.rejected };
        gone.add(amount.events, amount.bytes);
    }
    Ok(())
}

/// A batch that was read from a buffer.
struct Gathered {
    batch: Batch,
    end: Position,
    /// Which part of the buffer it is.
    amount: Held,
}

async fn gather(
    reader: &mut Reader,
    options: AggregatorOptions,
    stopped: &mut watch::Receiver<bool>,
) -> std::io::Result<Gathered> {
    let (mut rows, mut again) = (Rows::new(), Rows::new());
    let mut amount = Held::default();
    let Record { mut payload, mut end } = reader.next().await?;
    let due = Instant::now() + options.batch_wait;
    loop {
        let (is_twice, json) = unflagged(&payload);
        let json = String::from_utf8_lossy(json);
        rows.push_json(&json);
        if is_twice {
            again.push_json(&json);
        }
        amount.events += 1;
        amount.bytes += payload.len();
        if rows.is_full() {
            break;
        }
        let next = tokio::select! {
            biased;
            next = reader.next() => next?,
            () = sleep_until(due) => break,
            // If the sender is gone, that counts as the order to stop.
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        Record { payload, end } = next;
    }
    let again = (again.count > 0).then_some(again);
    let batch = Batch { rows, again, due: Instant::now() + options.hold_back };
    Ok(Gathered { batch, end, amount })
}

/// Tries until `ClickHouse` has the rows; false if it said that it never will take them, as Vector
/// judges that (`src/sinks/clickhouse/service.rs`), and then drops them.
async fn insert_patiently(
    clickhouse: &ClickHouse,
    settings: &str,
    body: Bytes,
    retry_max: Duration,
) -> bool {
    /// Vector's `request.timeout_secs`.
    const LIMIT: Duration = Duration::from_mins(1);
    let mut backoff = Backoff::new(retry_max, xxh3_64(settings.as_bytes()));
    loop {
        let why = match timeout(LIMIT, clickhouse.insert(settings, body.clone())).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) if is_final(&error) => {
                warn!("ClickHouse will never take a batch, it is dropped: {error}");
                return false;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer within a minute".to_owned(),
        };
        let pause = backoff.next();
        warn!("ClickHouse did not take a batch, again in {} ms: {why}", pause.as_millis());
        sleep(pause).await;
    }
}

fn is_final(error: &SandboxError) -> bool {
    match error {
        SandboxError::ClickHouseRefused { status: 500, message } => {
            message.starts_with("Code: 117") || message.starts_with("Code: 53")
        }
        SandboxError::ClickHouseRefused { status, .. } => {
            matches!(status, 300..=407 | 409..=428 | 430..=499 | 501)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vector_would_drop_is_dropped_and_all_else_tried_again() {
        let refused = |status, message: &str| {
            let message = message.to_owned();
            is_final(&SandboxError::ClickHouseRefused { status, message })
        };
        assert!(refused(500, "Code: 117. DB::Exception: Unknown field"));
        assert!(refused(500, "Code: 53. DB::Exception: type mismatch"));
        assert!(!refused(500, "Code: 241. DB::Exception: memory limit"));
        assert!(refused(404, "Code: 60. DB::Exception: no table"));
        assert!(refused(403, "Code: 497. DB::Exception: no right"));
        assert!(!refused(429, ""));
        assert!(!refused(503, ""));
        assert!(!is_final(&SandboxError::ClickHouseUnreachable(String::new())));
    }
}
