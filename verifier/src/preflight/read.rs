//! Reads the facts of a pipeline from its servers.

use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use clickhouse::Row;
use edges::clock::Clock;
use runs::observation::{ClockOffset, ConsumerSeen, StreamSeen};
use serde::Deserialize;
use stores::clickhouse::{ClickHouse, QUERY_TIMEOUT};
use stores::jetstream::AuditStream;
use stores::survey::survey;

use super::facts::{
    Acks, ConsumerFacts, InsertSettings, Keeps, Storage, StreamFacts, TableFacts, VectorFacts,
    WhenFull,
};
use crate::error::VerifyError;
use crate::http::read_webhook_date;
use crate::jetstream::read_consumers;
use crate::vectors::ask_vector;

/// Reads the stream and its consumer.
///
/// # Errors
///
/// Returns [`VerifyError::JetStream`] if NATS does not answer.
pub(crate) async fn read_stream(
    audit: &AuditStream,
) -> Result<(StreamFacts, Option<ConsumerFacts>), VerifyError> {
    let info = audit.stream().get_info().await.map_err(|error| audit.failed(error))?;
    let consumer = read_consumer(audit).await?;
    let others = match consumer {
        Some(_) => Vec::new(),
        None => read_consumers(audit).await,
    };
    let facts =
        StreamFacts { others, ..stream_facts(&info, consumer.as_ref(), audit.payload_bytes_max()) };
    Ok((facts, consumer.as_ref().map(consumer_facts)))
}

/// Reads the aggregator's consumer. Between two pulls nobody waits for its messages, so that it is
/// asked again for a while.
async fn read_consumer(audit: &AuditStream) -> Result<Option<consumer::Info>, VerifyError> {
    let mut asked = 0;
    loop {
        asked += 1;
        match audit.stream().consumer_info(audit.consumer()).await {
            Ok(info) if is_read(&info) || asked == READER_QUESTIONS => return Ok(Some(info)),
            Ok(_) => tokio::time::sleep(READER_PAUSE).await,
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(audit.failed(error).into()),
        }
    }
}

/// Whether somebody waits for messages.
fn is_read(info: &consumer::Info) -> bool {
    match info.config.deliver_subject {
        Some(_) => info.push_bound,
        None => info.num_waiting > 0,
    }
}

const READER_QUESTIONS: u32 = 5;
const READER_PAUSE: Duration = Duration::from_millis(250);

fn stream_facts(
    info: &stream::Info,
    consumer: Option<&consumer::Info>,
    payload_bytes_max: u64,
) -> StreamFacts {
    let stream::Info { config, state, .. } = info;
    let delivered = |info: &consumer::Info| ConsumerSeen {
        delivered: info.delivered.stream_sequence,
        ..ConsumerSeen::default()
    };
    let seen = StreamSeen {
        first: state.first_sequence,
        consumer: consumer.map(delivered),
        ..StreamSeen::default()
    };
    let evicted = seen.evicted_unread();
    StreamFacts {
        name: config.name.clone(),
        subjects: config.subjects.clone(),
        bytes: state.bytes,
        bytes_max: limit(config.max_bytes),
        messages_max: limit(config.max_messages),
        age_max: (!config.max_age.is_zero()).then_some(config.max_age),
        message_bytes_max: limit(config.max_message_size.into()),
        payload_bytes_max,
        when_full: match config.discard {
            DiscardPolicy::Old => WhenFull::EvictsOld,
            DiscardPolicy::New => WhenFull::RefusesNew,
        },
        keeps: match config.retention {
            RetentionPolicy::Limits => Keeps::ToItsLimits,
            RetentionPolicy::Interest | RetentionPolicy::WorkQueue => Keeps::UntilRead,
        },
        storage: match config.storage {
            StorageType::File => Storage::File,
            StorageType::Memory => Storage::Memory,
        },
        replicas: config.num_replicas,
        duplicate_window: config.duplicate_window,
        consumers: state.consumer_count,
        others: Vec::new(),
        evicted_unread: evicted.end - evicted.start,
    }
}

fn consumer_facts(info: &consumer::Info) -> ConsumerFacts {
    let config = &info.config;
    let one = Some(&config.filter_subject).filter(|filter| !filter.is_empty());
    ConsumerFacts {
        acks: match config.ack_policy {
            AckPolicy::Explicit => Acks::Each,
            AckPolicy::All => Acks::AllBefore,
            AckPolicy::None => Acks::None,
        },
        ack_wait: config.ack_wait,
        ack_pending_max: limit(config.max_ack_pending),
        deliveries_max: limit(config.max_deliver),
        filters: one.into_iter().chain(&config.filter_subjects).cloned().collect(),
        is_paused: info.paused,
        is_read: is_read(info),
        waiting: info.num_pending + info.num_ack_pending as u64,
    }
}

/// Zero and less are no limit.
fn limit(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|limit| *limit > 0)
}

#[derive(Debug, Row, Deserialize)]
struct SettingsRow {
    async_insert: String,
    wait_for_async_insert: String,
    insert_deduplicate: String,
    parts_of_a_partition_max: u64,
}

const SETTINGS_SQL: &str = "\
SELECT
    ifNull((SELECT any(value) FROM system.settings WHERE name = 'async_insert'), '')
        AS async_insert,
    ifNull((SELECT any(value) FROM system.settings WHERE name = 'wait_for_async_insert'), '')
        AS wait_for_async_insert,
    ifNull((SELECT any(value) FROM system.settings WHERE name = 'insert_deduplicate'), '')
        AS insert_deduplicate,
    ifNull((SELECT toUInt64(max(parts)) FROM (
        SELECT count() AS parts FROM system.parts
        WHERE active AND database = {database:String} AND table = {table:String}
        GROUP BY partition_id)), 0) AS parts_of_a_partition_max";

/// Reads the table and the settings of inserts.
///
/// # Errors
///
/// Returns [`VerifyError::ClickHouse`] if the server does not answer.
pub(crate) async fn read_table(server: &ClickHouse) -> Result<TableFacts, VerifyError> {
    let settings = server
        .client
        .query(SETTINGS_SQL)
        .param("database", server.table.database())
        .param("table", server.table.name())
        .fetch_one::<SettingsRow>();
    let settings = server.answer(QUERY_TIMEOUT, settings).await?;
    Ok(TableFacts {
        name: server.table.to_string(),
        survey: survey(server).await?,
        missing: server.columns.missing(),
        settings: InsertSettings {
            is_async: settings.async_insert == "1",
            waits_for_async: settings.wait_for_async_insert != "0",
            deduplicates: settings.insert_deduplicate != "0",
        },
        parts_of_a_partition_max: settings.parts_of_a_partition_max,
    })
}

/// Reads what Vectors say of themselves, and their clocks.
///
/// # Errors
///
/// Returns [`VerifyError::Http`] if one does not answer.
pub(crate) async fn read_vectors(
    urls: &[String],
    clock: &Clock,
) -> Result<(Vec<VectorFacts>, Vec<ClockOffset>), VerifyError> {
    let (mut vectors, mut clocks) = (Vec::new(), Vec::new());
    for url in urls {
        let told = ask_vector(url, clock, HTTP_LIMIT).await?;
        vectors.push(VectorFacts { url: url.clone(), state: told.state });
        clocks.extend(told.clock);
    }
    Ok((vectors, clocks))
}

/// How long a page may take.
pub(crate) const HTTP_LIMIT: Duration = Duration::from_secs(10);

/// Reads the clocks of all servers, each several times: the quickest answer tells most. Only the
/// webhook is asked once, so that it is not disturbed.
///
/// # Errors
///
/// Returns [`VerifyError`] if a server does not answer.
pub(crate) async fn read_clocks(
    server: &ClickHouse,
    audit: &AuditStream,
    webhook: Option<&str>,
    clock: &Clock,
) -> Result<Vec<ClockOffset>, VerifyError> {
    let date = match webhook {
        Some(url) => read_webhook_date(url, clock, HTTP_LIMIT).await?,
        None => None,
    };
    let mut best: Vec<ClockOffset> = date.into_iter().collect();
    for _ in 0..CLOCK_QUESTIONS {
        let clickhouse = crate::watch::read_clock(server, clock, QUERY_TIMEOUT).await?;
        let (_, nats) = audit.read_timed_state(clock).await?;
        for offset in [Some(clickhouse), nats].into_iter().flatten() {
            match best.iter_mut().find(|known| known.server == offset.server) {
                Some(known) if offset.error_ms < known.error_ms => *known = offset,
                Some(_) => {}
                None => best.push(offset),
            }
        }
    }
    Ok(best)
}

const CLOCK_QUESTIONS: u32 = 3;
