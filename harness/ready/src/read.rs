//! Reads the facts from ClickHouse and NATS, each once.

use std::ops::Range;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use clickhouse::Row;
use edges::clock::Clock;
use events::timeline::UnixMicros;
use runs::observation::{ClockOffset, ConsumerSeen, StreamSeen};
use serde::Deserialize;
use stores::absent::{read_absent, read_expired_until};
use stores::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT, server_code};
use stores::jetstream::{AuditStream, JetStreamError};
use stores::sight::read::read_standing;
use stores::survey::Survey;

use crate::facts::{
    Acks, ConsumerFacts, Deleted, Facts, InsertSettings, Keeps, Storage, StreamFacts, TableFacts,
    WhenFull,
};

/// Why facts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    #[error(transparent)]
    JetStream(#[from] JetStreamError),
}

/// Reads the table on each server, the stream if there is one, and the clocks of all. Each server
/// comes with its survey. `received` is the period in which the requests of the events that will be
/// sent were received.
///
/// # Errors
///
/// Returns [`ReadError`] for the first server that does not answer.
pub async fn read_facts(
    tables: &[(&ClickHouse, &Survey)],
    audit: Option<&AuditStream>,
    received: &Range<UnixMicros>,
    clock: &Clock,
) -> Result<Facts, ReadError> {
    let mut facts = Facts::default();
    for (server, survey) in tables {
        facts.tables.push(read_table(server, survey, received).await?);
        let name = if tables.len() == 1 { "clickhouse" } else { &server.url };
        facts.clocks.push(read_table_clock(server, name, clock).await?);
    }
    if let Some(audit) = audit {
        facts.stream = Some(read_stream(audit).await?);
        facts.clocks.extend(read_stream_clock(audit, clock).await?);
    }
    Ok(facts)
}

/// Reads the stream and its consumer.
async fn read_stream(audit: &AuditStream) -> Result<StreamFacts, JetStreamError> {
    let info = audit.stream().get_info().await.map_err(|error| audit.failed(error))?;
    let consumer = read_consumer(audit).await?;
    let others = match consumer {
        Some(_) => Vec::new(),
        None => audit.read_consumers().await,
    };
    Ok(StreamFacts {
        others,
        consumer_name: audit.consumer().to_owned(),
        consumer: consumer.as_ref().map(consumer_facts),
        ..stream_facts(&info, consumer.as_ref(), audit.payload_bytes_max())
    })
}

/// Reads the aggregator's consumer. Between two pulls, no client waits for its messages, so it is
/// read several times.
async fn read_consumer(audit: &AuditStream) -> Result<Option<consumer::Info>, JetStreamError> {
    let mut asked = 0;
    loop {
        asked += 1;
        match audit.stream().consumer_info(audit.consumer()).await {
            Ok(info) if is_read(&info) || asked == READER_QUESTIONS => return Ok(Some(info)),
            Ok(_) => tokio::time::sleep(READER_PAUSE).await,
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(audit.failed(error)),
        }
    }
}

/// Whether a client waits for messages.
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
        consumer_name: String::new(),
        consumer: None,
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

/// Zero and negative numbers mean that there is no limit.
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

/// Reads the table, the settings of inserts, and what may hide rows from the account.
async fn read_table(
    server: &ClickHouse,
    survey: &Survey,
    received: &Range<UnixMicros>,
) -> Result<TableFacts, ClickHouseError> {
    let settings = server
        .client
        .query(SETTINGS_SQL)
        .param("database", server.table.database())
        .param("table", server.table.name())
        .fetch_one::<SettingsRow>();
    let settings = server.answer(QUERY_TIMEOUT, settings).await?;
    let absent = read_absent(server).await?;
    let deleted = match &absent.ttl {
        None => Deleted::Nothing,
        Some(ttl) => match read_expired_until(server, ttl, received).await {
            Ok(None) => Deleted::Nothing,
            Ok(Some(until)) => Deleted::Until(until),
            Err(ClickHouseError::Query { source, .. }) if server_code(&source).is_some() => {
                Deleted::Untold
            }
            Err(error) => return Err(error),
        },
    };
    Ok(TableFacts {
        name: server.table.to_string(),
        url: server.url.clone(),
        survey: survey.clone(),
        missing: server.columns.missing(),
        unfilled: server.columns.unfilled().to_vec(),
        settings: InsertSettings {
            is_async: settings.async_insert == "1",
            waits_for_async: settings.wait_for_async_insert != "0",
            deduplicates: settings.insert_deduplicate != "0",
        },
        parts_of_a_partition_max: settings.parts_of_a_partition_max,
        absent,
        deleted,
        standing: read_standing(server, &survey.engine).await?,
        copies: read_copies(server).await?,
    })
}

/// The prefix of the names of the copies that probes make.
pub const COPY_PREFIX: &str = "auditstorm_probe_";

/// Names the copies that probes have: killed probes left them behind, or they are in use now.
async fn read_copies(server: &ClickHouse) -> Result<Vec<String>, ClickHouseError> {
    let database = server.table.database();
    let sql = "SELECT name FROM system.tables WHERE database = ? AND startsWith(name, ?) \
               ORDER BY name";
    let query = server.client.query(sql).bind(database).bind(COPY_PREFIX).fetch_all::<String>();
    let names = server.answer(QUERY_TIMEOUT, query).await?;
    Ok(names.iter().map(|name| format!("{database}.{name}")).collect())
}

/// Compares the clock of a table's server with ours.
async fn read_table_clock(
    server: &ClickHouse,
    name: &str,
    clock: &Clock,
) -> Result<ClockOffset, ClickHouseError> {
    let mut best = server.read_clock(name, clock, QUERY_TIMEOUT).await?;
    for _ in 1..CLOCK_QUESTIONS {
        best = surer(best, server.read_clock(name, clock, QUERY_TIMEOUT).await?);
    }
    Ok(best)
}

/// Compares the clock of the stream's server with ours. Old servers do not report theirs.
async fn read_stream_clock(
    audit: &AuditStream,
    clock: &Clock,
) -> Result<Option<ClockOffset>, JetStreamError> {
    let mut best: Option<ClockOffset> = None;
    for _ in 0..CLOCK_QUESTIONS {
        let (_, offset) = audit.read_timed_state(clock).await?;
        best = best.into_iter().chain(offset).reduce(surer);
    }
    Ok(best)
}

/// The clock is asked several times, because a quick answer gives a more exact result.
fn surer(one: ClockOffset, other: ClockOffset) -> ClockOffset {
    if other.error_ms < one.error_ms { other } else { one }
}

const CLOCK_QUESTIONS: u32 = 3;
