//! What a server reports of itself and of the table, before anything is sent to it.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use crate::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT};

/// What a server reports of itself and of the table.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct Survey {
    pub version: String,
    /// Its clock, in µs since the epoch.
    pub now_us: i64,
    /// Its time zone, in which partitions are cut.
    pub timezone: String,
    pub engine: String,
    /// The engine with everything that follows it in the table's definition.
    pub engine_full: String,
    pub partition_key: String,
    /// Rows that the table has already.
    pub rows: u64,
    /// Bytes that they take on disk, with projections and indexes.
    pub bytes_on_disk: u64,
    pub parts: u64,
    pub disk_free_bytes: u64,
    pub disk_total_bytes: u64,
    /// A replica that takes no inserts now.
    pub replica_is_readonly: bool,
    /// The account may only read.
    pub account_is_readonly: bool,
    /// An insert may name the values of materialized columns.
    pub takes_materialized: bool,
    pub max_partitions_per_insert_block: u64,
    /// 0 is no limit.
    pub max_memory_usage: u64,
    pub insert_quorum: String,
    pub parts_to_delay_insert: u64,
    pub parts_to_throw_insert: u64,
    pub max_parts_in_total: u64,
    pub deduplication_window: u64,
}

/// Reads the properties of a server and of its table.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if it does not answer.
pub async fn survey(server: &ClickHouse) -> Result<Survey, ClickHouseError> {
    let (database, name) = (server.table.database(), server.table.name());
    let survey = server
        .client
        .query(SURVEY_SQL)
        .param("database", database)
        .param("table", name)
        .fetch_one();
    let mut survey: Survey = server.answer(QUERY_TIMEOUT, survey).await?;
    // A setting in the table's definition applies, whatever the server's default is.
    let of_table = |name: &str, default: u64| setting(&survey.engine_full, name).unwrap_or(default);
    let window = if survey.is_replicated() {
        "replicated_deduplication_window"
    } else {
        DEDUPLICATION_WINDOW
    };
    let delay = of_table("parts_to_delay_insert", survey.parts_to_delay_insert);
    let throw = of_table("parts_to_throw_insert", survey.parts_to_throw_insert);
    let total = of_table("max_parts_in_total", survey.max_parts_in_total);
    let window = of_table(window, survey.deduplication_window);
    (survey.parts_to_delay_insert, survey.parts_to_throw_insert) = (delay, throw);
    (survey.max_parts_in_total, survey.deduplication_window) = (total, window);
    Ok(survey)
}

/// Returns a number that a table's definition sets, as in `SETTINGS name = 1, other = 2`.
pub fn setting(engine_full: &str, name: &str) -> Option<u64> {
    let (_, settings) = engine_full.split_once("SETTINGS ")?;
    let pairs = settings.split(',').filter_map(|pair| pair.split_once('='));
    let (_, value) =
        pairs.map(|(key, value)| (key.trim(), value.trim())).find(|it| it.0 == name)?;
    value.parse().ok()
}

impl Survey {
    /// Whether days are cut in UTC, by whatever name.
    pub fn is_in_utc(&self) -> bool {
        is_utc(&self.timezone)
    }

    /// Whether the table itself stores the rows, so that a copy of it can be made and dropped.
    pub fn is_merge_tree(&self) -> bool {
        self.engine.ends_with("MergeTree")
    }

    /// Whether rows that one server has accepted reach its replicas later.
    pub fn is_replicated(&self) -> bool {
        self.engine.starts_with("Replicated")
    }

    /// How many parts a partition may have before the loader waits: well before the server slows
    /// inserts down.
    pub fn parts_per_partition_max(&self) -> u64 {
        let delay = self.parts_to_delay_insert.min(self.parts_to_throw_insert);
        (delay / 2).clamp(10, 300)
    }
}

const DEDUPLICATION_WINDOW: &str = "non_replicated_deduplication_window";

const SURVEY_SQL: &str = "\
WITH
    settings AS (SELECT name, value, readonly FROM system.settings),
    tree AS (
        SELECT name, value FROM system.merge_tree_settings
    ),
    active AS (
        SELECT bytes_on_disk FROM system.parts
        WHERE active AND database = {database:String} AND table = {table:String}
    ),
    disks AS (
        SELECT greatest(free_space, keep_free_space) - keep_free_space AS free, total_space
        FROM system.disks
        WHERE name IN (
            SELECT arrayJoin(disks) FROM system.storage_policies
            WHERE policy_name = (
                SELECT if(storage_policy = '', 'default', storage_policy) FROM system.tables
                WHERE database = {database:String} AND name = {table:String}
            )
        )
    )
SELECT
    version() AS version,
    toUnixTimestamp64Micro(now64(6)) AS now_us,
    timezone() AS timezone,
    engine,
    engine_full,
    partition_key,
    ifNull(total_rows, 0) AS rows,
    ifNull((SELECT sum(bytes_on_disk) FROM active), 0) AS bytes_on_disk,
    ifNull((SELECT count() FROM active), 0) AS parts,
    ifNull((SELECT toUInt64(sum(free)) FROM disks), 0) AS disk_free_bytes,
    ifNull((SELECT toUInt64(sum(total_space)) FROM disks), 0) AS disk_total_bytes,
    ifNull((SELECT max(is_readonly) FROM system.replicas
            WHERE database = {database:String} AND table = {table:String}), 0) = 1
        AS replica_is_readonly,
    ifNull((SELECT any(value) FROM settings WHERE name = 'readonly'), '') = '1'
        AS account_is_readonly,
    ifNull((SELECT count() FROM settings
            WHERE name = 'insert_allow_materialized_columns' AND NOT readonly), 0) > 0
        AS takes_materialized,
    toUInt64OrZero(ifNull((SELECT any(value) FROM settings
                           WHERE name = 'max_partitions_per_insert_block'), ''))
        AS max_partitions_per_insert_block,
    toUInt64OrZero(ifNull((SELECT any(value) FROM settings
                           WHERE name = 'max_memory_usage'), '')) AS max_memory_usage,
    ifNull((SELECT any(value) FROM settings WHERE name = 'insert_quorum'), '') AS insert_quorum,
    toUInt64OrZero(ifNull((SELECT any(value) FROM tree
                           WHERE name = 'parts_to_delay_insert'), '')) AS parts_to_delay_insert,
    toUInt64OrZero(ifNull((SELECT any(value) FROM tree
                           WHERE name = 'parts_to_throw_insert'), '')) AS parts_to_throw_insert,
    toUInt64OrZero(ifNull((SELECT any(value) FROM tree
                           WHERE name = 'max_parts_in_total'), '')) AS max_parts_in_total,
    toUInt64OrZero(ifNull((
        SELECT any(value) FROM tree
        WHERE name = (
            SELECT if(startsWith(engine, 'Replicated'), 'replicated_deduplication_window',
                      'non_replicated_deduplication_window')
            FROM system.tables
            WHERE database = {database:String} AND name = {table:String}
        )
    ), '')) AS deduplication_window
FROM system.tables
WHERE database = {database:String} AND name = {table:String}";

/// Whether a time zone is UTC by another name.
///
/// Source: the files `etcetera` and `backward` of the time zone database.
fn is_utc(zone: &str) -> bool {
    let zone = zone.strip_prefix("Etc/").unwrap_or(zone);
    let names = ["UTC", "UCT", "Universal", "Zulu", "GMT", "GMT0", "GMT+0", "GMT-0", "Greenwich"];
    names.iter().any(|name| name.eq_ignore_ascii_case(zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_has_many_names() {
        for zone in ["UTC", "Etc/UTC", "UCT", "Etc/UCT", "Zulu", "Etc/GMT", "GMT-0", "Universal"] {
            assert!(is_utc(zone), "{zone}");
        }
        for zone in ["Etc/GMT+1", "Europe/London", "Asia/Tokyo", "GMT+1", "", "Etc/"] {
            assert!(!is_utc(zone), "{zone}");
        }
    }

    #[test]
    fn what_a_table_sets_is_found_in_its_definition() {
        let text = "ReplacingMergeTree PARTITION BY toYYYYMMDD(timestamp) ORDER BY timestamp \
                    SETTINGS deduplicate_merge_projection_mode = 'rebuild', \
                    non_replicated_deduplication_window = 1000, index_granularity = 8192";
        assert_eq!(setting(text, DEDUPLICATION_WINDOW), Some(1_000));
        assert_eq!(setting(text, "index_granularity"), Some(8_192));
        assert_eq!(setting(text, "parts_to_delay_insert"), None);
        assert_eq!(setting("MergeTree ORDER BY x", DEDUPLICATION_WINDOW), None);
    }
}
