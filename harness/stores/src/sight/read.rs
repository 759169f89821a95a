//! Reads from a server what may hide rows.

use std::collections::BTreeSet;
use std::time::Duration;

use clickhouse::Row;
use serde::Deserialize;

use super::{
    ALWAYS, EngineKind, Hidden, ReplicaState, RowCounts, SETTINGS, Setting, Values, in_force,
    limits_in_force, several_servers,
};
use crate::clickhouse::fault::{Fault, fault_of, server_code};
use crate::clickhouse::settings::{UNKNOWN_SETTING, is_refusal, probe, read_values};
use crate::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT, SCAN_TIMEOUT};

/// An expression for the server that answers.
pub const SERVER_SQL: &str = "concat(hostName(), ':', toString(tcpPort()), ' ', \
     toString(serverUUID()))";

/// What may hide rows of a table, and which servers answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    pub hidden: Vec<Hidden>,
    /// The servers that answered.
    pub servers: BTreeSet<String>,
}

impl Sight {
    /// Everything that was not excluded, including that several servers answered.
    pub fn hidden(mut self) -> Vec<Hidden> {
        self.hidden.extend(several_servers(&self.servers));
        self.hidden
    }
}

/// The engine of a table, as the server reports it.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct TableEngine {
    /// Like `MergeTree`.
    pub engine_name: String,
    /// The engine with everything that follows it in the table's definition.
    pub definition: String,
    /// The table's own ID, which no other table ever has.
    pub uuid: String,
    /// `None` if the rows are elsewhere.
    pub rows: Option<u64>,
    /// The server that answered.
    pub server: String,
}

/// Reads the engine of a table. If the account may not see the table, all fields are empty.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn read_engine(server: &ClickHouse) -> Result<TableEngine, ClickHouseError> {
    let sql = format!(
        "SELECT any(engine) AS engine_name, any(engine_full) AS definition, \
         any(toString(uuid)) AS uuid, any(total_rows) AS rows, {SERVER_SQL} AS server \
         FROM system.tables WHERE database = '{}' AND name = '{}'",
        server.table.database(),
        server.table.name()
    );
    server.answer(QUERY_TIMEOUT, server.client.query_raw(&sql).fetch_one()).await
}

/// Lets a replica catch up, if there is one and the account may do that. Returns what may hide rows
/// of the table, except for what only counting can show.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn read_sight(
    server: &ClickHouse,
    engine: &TableEngine,
) -> Result<Sight, ClickHouseError> {
    let kind = EngineKind::of(&engine.engine_name);
    let mut sight = Sight::default();
    sight.servers.insert(engine.server.clone());
    let values = read_in_force(server).await?;
    sight.hidden.extend(in_force(&values, kind.rows()));
    if !values.contains_key(TOLD) {
        let what = "the server does not show which settings are in force for this account";
        sight.hidden.push(Hidden::new(what, "let it read system.settings"));
    }
    if kind == EngineKind::Replicated {
        catch_up(server, &engine.engine_name, &mut sight).await?;
    }
    sight.hidden.extend(read_waiting(server).await?);
    Ok(sight)
}

/// What may be in the way of an account that is to prove what a table has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub hidden: Vec<Hidden>,
    /// Limits that end a query with an error, like `max_rows_to_read=1000`.
    pub limits: Vec<String>,
}

/// Tells what may be in the way of an account, without a look at any row: settings that it cannot
/// change, and a row policy. Whether a policy hides rows, only counting shows.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn read_standing(server: &ClickHouse, engine: &str) -> Result<Standing, ClickHouseError> {
    let values = read_in_force(server).await?;
    let mut hidden = in_force(&values, EngineKind::of(engine).rows());
    if let Some(policy) = read_policy(server).await? {
        let what = format!("a row policy lets this account see only rows with {policy}");
        hidden.push(Hidden::new(what, "ask as an account that no row policy applies to"));
    }
    Ok(Standing { hidden, limits: limits_in_force(&values) })
}

/// A setting that every server has.
const TOLD: &str = "read_overflow_mode";

/// Reads the settings that are in force for the account's queries.
async fn read_in_force(server: &ClickHouse) -> Result<Values, ClickHouseError> {
    let values = read_values(&server.client);
    let mut values = server.answer(QUERY_TIMEOUT, values).await?;
    // A setting that the server does not report: either it takes the harmless value, or another
    // value is in force.
    let untold = SETTINGS.into_iter().filter(|it| ALWAYS[..3].contains(&it.name));
    for Setting { name, harmless, .. } in untold {
        let client = server.client.clone().with_setting(name, harmless);
        match probe(&client).await {
            Err(error) if server_code(&error) == Some(UNKNOWN_SETTING) => {
                values.remove(name);
            }
            Err(error) if is_refusal(&error) => {
                values.insert(name.to_owned(), "(locked)".to_owned());
            }
            answer => answer.map_err(|source| server.failed(source))?,
        }
    }
    Ok(values)
}

#[derive(Debug, Row, Deserialize)]
struct ReplicaRow {
    is_cut_off: bool,
    inserts_in_queue: u64,
    delay_s: u64,
    log_behind: u64,
    server: String,
}

async fn catch_up(
    server: &ClickHouse,
    engine: &str,
    sight: &mut Sight,
) -> Result<(), ClickHouseError> {
    let sync = format!("SYSTEM SYNC REPLICA {} LIGHTWEIGHT", server.table);
    let sync = server.client.query_raw(&sync).execute();
    let sync = server.answer(SYNC_TIMEOUT, sync).await;
    // If the account may not ask for that, or it takes too long, the replica itself reports how far
    // it is.
    let is_synced = match sync {
        Ok(()) => true,
        Err(ClickHouseError::Silent { .. } | ClickHouseError::Denied { .. }) => false,
        Err(ClickHouseError::Query { source, .. }) if server_code(&source).is_some() => false,
        Err(error) => return Err(error),
    };
    let sql = format!(
        "SELECT max(is_readonly OR is_session_expired) > 0 AS is_cut_off, \
         sum(toUInt64(inserts_in_queue)) AS inserts_in_queue, max(absolute_delay) AS delay_s, \
         sum(toUInt64(if(log_max_index >= log_pointer, log_max_index - log_pointer + 1, 0))) \
         AS log_behind, {SERVER_SQL} AS server FROM system.replicas \
         WHERE database = '{}' AND table = '{}'",
        server.table.database(),
        server.table.name()
    );
    let state = server.answer(QUERY_TIMEOUT, server.client.query_raw(&sql).fetch_one()).await;
    if let Some(row) = told::<ReplicaRow>(state)? {
        let ReplicaRow { is_cut_off, inserts_in_queue, delay_s, log_behind, server } = row;
        let state = ReplicaState { is_cut_off, inserts_in_queue, delay_s, log_behind };
        sight.hidden.extend(state.hidden(&server));
        sight.servers.insert(server);
    } else if !is_synced {
        let what = format!("whether this replica of the {engine} has caught up is not known");
        let remedy = format!(
            "let this account do SYSTEM SYNC REPLICA on {}, or read system.replicas",
            server.table
        );
        sight.hidden.push(Hidden::new(what, remedy));
    }
    Ok(())
}

/// The longest that a replica may take to catch up, before it is read as it is.
const SYNC_TIMEOUT: Duration = Duration::from_mins(5);

/// Finds inserts that a server has accepted, but whose rows are in no part yet, so that nobody sees
/// them. If the account may not ask for them, only the quiet time before a check excludes them.
async fn read_waiting(server: &ClickHouse) -> Result<Vec<Hidden>, ClickHouseError> {
    let (database, name) = (server.table.database(), server.table.name());
    let is_target = format!(
        "(position(engine_full, '\\'{database}\\', \\'{name}\\'') > 0 \
          OR (database = '{database}' AND name = '{name}'))"
    );
    let asked = [
        (
            "inserts wait in the server to be flushed",
            "do SYSTEM FLUSH ASYNC INSERT QUEUE, or wait for it",
            format!(
                "SELECT count() FROM system.asynchronous_inserts \
                 WHERE database = '{database}' AND table = '{name}'"
            ),
        ),
        (
            "files of a Distributed table wait to be sent to its shards",
            "do SYSTEM FLUSH DISTRIBUTED, or wait for it",
            format!(
                "SELECT sum(data_files) FROM system.distribution_queue WHERE (database, table) IN \
                 (SELECT database, name FROM system.tables \
                  WHERE engine = 'Distributed' AND {is_target})"
            ),
        ),
        (
            "bytes wait in Buffer tables",
            "do OPTIMIZE TABLE on each, which flushes it",
            format!(
                "SELECT toUInt64(sum(ifNull(total_bytes, 0))) FROM system.tables \
                 WHERE engine = 'Buffer' AND {is_target}"
            ),
        ),
    ];
    let mut hidden = Vec::new();
    for (what, remedy, sql) in asked {
        let count = server.client.query_raw(&sql).fetch_one::<u64>();
        match told(server.answer(QUERY_TIMEOUT, count).await)? {
            None | Some(0) => {}
            Some(count) => {
                hidden.push(Hidden::new(
                    format!("{count} {what}"),
                    format!("{remedy}, and check again"),
                ));
            }
        }
    }
    Ok(hidden)
}

/// The answer, or `None` if the server does not give it to this account.
fn told<T>(answer: Result<T, ClickHouseError>) -> Result<Option<T>, ClickHouseError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(ClickHouseError::Denied { .. }) => Ok(None),
        Err(ClickHouseError::Query { source, .. })
            if server_code(&source).is_some() && fault_of(&source) != Fault::Passing =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reads the condition of a row policy that applies to the account, from the plan of a query.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn read_policy(server: &ClickHouse) -> Result<Option<String>, ClickHouseError> {
    let sql = format!("EXPLAIN SELECT count() FROM {}", server.table);
    let plan = async { server.client.query_raw(&sql).fetch_bytes("TSVRaw")?.collect().await };
    let plan = told(server.answer(QUERY_TIMEOUT, plan).await)?;
    Ok(plan.as_deref().and_then(|plan| policy_of(&String::from_utf8_lossy(plan))))
}

fn policy_of(plan: &str) -> Option<String> {
    let lines: Vec<&str> = plan.lines().map(str::trim).collect();
    let told = lines.iter().find_map(|line| line.strip_prefix("Row level filter column:"));
    let condition = told.map(|told| told.trim().to_owned());
    // Older servers have it as a step of its own.
    let is_step = |line: &&str| line.to_ascii_lowercase().contains("row-level security");
    condition.or_else(|| lines.iter().any(is_step).then(|| "a condition".to_owned()))
}

/// Counts the rows that a lightweight DELETE has masked. Returns 0 if the account may not ask.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn read_masked(server: &ClickHouse) -> Result<u64, ClickHouseError> {
    let sql = format!("SELECT count() FROM {} WHERE _row_exists = 0", server.table);
    let client = server.client.clone().with_setting("apply_deleted_mask", "0");
    let masked = client.query_raw(&sql).fetch_one::<u64>();
    Ok(told(server.answer(SCAN_TIMEOUT, masked).await)?.unwrap_or(0))
}

/// Compares the rows in the parts with the rows that were seen, provided that the table did not
/// change in between. Returns what is hidden.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn read_unseen(
    server: &ClickHouse,
    has: u64,
    seen: u64,
) -> Result<Option<Unseen>, ClickHouseError> {
    let mut counts = RowCounts { has, masked: 0, seen };
    if counts.hide() {
        counts.masked = read_masked(server).await?;
    }
    if !counts.hide() {
        return Ok(None);
    }
    let hidden = counts.hidden(read_policy(server).await?.as_deref());
    Ok(hidden.map(|hidden| Unseen { counts, hidden }))
}

/// Rows that a server has and an account does not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    pub counts: RowCounts,
    pub hidden: Hidden,
}

/// How much an account sees of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// All rows. An event that it does not see is not there.
    All,
    /// Not all rows, according to a count.
    Some(Unseen),
    /// This is not known.
    Unknown(Hidden),
    /// The table changed during every count.
    Moving,
}

/// Proves that an account sees all rows of a table, or returns why that is not known.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn prove(server: &ClickHouse) -> Result<Seen, ClickHouseError> {
    let engine = read_engine(server).await?;
    let mut sight = read_sight(server, &engine).await?;
    let counted = match EngineKind::of(&engine.engine_name) {
        EngineKind::MergeTree | EngineKind::Replicated => {
            count_parts(server, &mut sight.servers).await?
        }
        kind => count_elsewhere(server, kind, &engine).await?,
    };
    // The setting is named first, because it is the cause.
    let hidden = sight.hidden().into_iter().next();
    Ok(match (counted, hidden) {
        (Seen::Some(unseen), hidden) => {
            Seen::Some(Unseen { hidden: hidden.unwrap_or(unseen.hidden), ..unseen })
        }
        (_, Some(hidden)) => Seen::Unknown(hidden),
        (counted, None) => counted,
    })
}

/// The state of a table's parts. Merges do not change it, except for rows that they fold.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
struct PartsState {
    rows: u64,
    block_max: i64,
    data_version: u64,
    server: String,
}

#[derive(Debug, Row, Deserialize)]
struct CountRow {
    seen: u64,
    server: String,
}

async fn count_parts(
    server: &ClickHouse,
    servers: &mut BTreeSet<String>,
) -> Result<Seen, ClickHouseError> {
    let mut before = read_parts_state(server).await?;
    for _ in 0..COUNTS_MAX {
        let sql = format!(
            "SELECT assumeNotNull((SELECT count() FROM {})) AS seen, {SERVER_SQL} AS server",
            server.table
        );
        let count = server.client.query_raw(&sql).fetch_one();
        let CountRow { seen, server: name } = server.answer(SCAN_TIMEOUT, count).await?;
        let after = read_parts_state(server).await?;
        servers.extend([before.server.clone(), name, after.server.clone()]);
        if before == after {
            let unseen = read_unseen(server, before.rows, seen).await?;
            return Ok(unseen.map_or(Seen::All, Seen::Some));
        }
        before = after;
        tokio::time::sleep(COUNTS_PAUSE).await;
    }
    Ok(Seen::Moving)
}

/// How often a table is counted again because somebody wrote to it in between.
const COUNTS_MAX: u32 = 50;
const COUNTS_PAUSE: Duration = Duration::from_millis(50);

async fn read_parts_state(server: &ClickHouse) -> Result<PartsState, ClickHouseError> {
    let sql = format!(
        "SELECT {ROWS_SQL} AS rows, max(max_block_number) AS block_max, \
         max(data_version) AS data_version, {SERVER_SQL} AS server FROM system.parts WHERE active \
         AND database = '{}' AND table = '{}'",
        server.table.database(),
        server.table.name()
    );
    server.answer(QUERY_TIMEOUT, server.client.query_raw(&sql).fetch_one()).await
}

/// Counts rows in parts, without the parts that only contain changes of a lightweight UPDATE.
pub const ROWS_SQL: &str = "sumIf(rows, NOT startsWith(partition_id, 'patch-'))";

/// Counts the rows of a table that has no parts of its own.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn count_elsewhere(
    server: &ClickHouse,
    kind: EngineKind,
    engine: &TableEngine,
) -> Result<Seen, ClickHouseError> {
    let has = match (kind, shards_of(&engine.definition)) {
        (EngineKind::Distributed, Some(shards)) => read_rows_of_shards(server, &shards).await?,
        // Engines that keep rows in other ways report a count of their own.
        _ if engine.engine_name != "Buffer" => engine.rows,
        _ => None,
    };
    let Some(has) = has else { return Ok(Seen::Unknown(uncounted(kind, &engine.engine_name))) };
    let sql = format!("SELECT count() FROM {}", server.table);
    let seen = server.client.query_raw(&sql).fetch_one::<u64>();
    let seen = server.answer(SCAN_TIMEOUT, seen).await?;
    Ok(read_unseen(server, has, seen).await?.map_or(Seen::All, Seen::Some))
}

fn uncounted(kind: EngineKind, engine: &str) -> Hidden {
    match kind {
        EngineKind::Distributed => Hidden::new(
            "the rows of the shards could not be counted, so some may be hidden from this account",
            "let this account read system.parts of all shards (GRANT REMOTE ON *.*, and SELECT on \
             system.parts), or check each shard's own table",
        ),
        _ => Hidden::new(
            format!("the engine {engine:?} shows rows of other tables, which were not counted"),
            "name the table that has the rows with --table",
        ),
    }
}

async fn read_rows_of_shards(
    server: &ClickHouse,
    [cluster, database, table]: &[String; 3],
) -> Result<Option<u64>, ClickHouseError> {
    let sql = format!(
        "SELECT {ROWS_SQL} FROM cluster('{cluster}', system.parts) WHERE active \
         AND database = '{database}' AND table = '{table}'"
    );
    let rows = server.client.query_raw(&sql).fetch_one::<u64>();
    told(server.answer(QUERY_TIMEOUT, rows).await)
}

/// Cluster, database and table of `Distributed('cluster', 'database', 'table'…)`.
fn shards_of(engine_full: &str) -> Option<[String; 3]> {
    let args = engine_full.strip_prefix("Distributed(")?;
    let args = args.split_once(')').map_or(args, |(args, _)| args);
    let mut words = args.split(',').map(|word| word.trim().trim_matches('\''));
    let is_plain = |word: &&str| {
        !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "_-.{}".contains(c))
    };
    let mut next = || words.next().filter(is_plain).map(str::to_owned);
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_policy_is_told_by_the_plan_of_a_query() {
        let check = |plan: &str, expected: Option<&str>| {
            assert_eq!(policy_of(plan).as_deref(), expected, "{plan}");
        };
        check("ReadFromMergeTree (audit.audit_logs)\n   Read type: Default\n", None);
        let new =
            "ReadFromMergeTree (a.b)\n   Row level filter\n   Row level filter column:  x = 1\n";
        check(new, Some("x = 1"));
        check("Expression\n  Filter (Row-level security filter)\n", Some("a condition"));
    }

    #[test]
    fn a_distributed_table_tells_where_its_rows_are() {
        let check = |full: &str, expected: Option<[&str; 3]>| {
            let expected = expected.map(|it| it.map(str::to_owned));
            assert_eq!(shards_of(full), expected, "{full}");
        };
        check("Distributed('c-1', 'audit', 'logs')", Some(["c-1", "audit", "logs"]));
        check("Distributed(c, audit, logs, rand())", Some(["c", "audit", "logs"]));
        check("Distributed('c', currentDatabase(), 'logs')", None);
        check("MergeTree ORDER BY a", None);
    }
}
