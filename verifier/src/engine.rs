//! What the engine of a table does to rows: rows as they are on disk, and as a reader sees them.

use clickhouse::Row;
use events::identity::LocationSql;
use events::script::Script;
use runs::report::{Duplicates, TableReport};
use serde::Deserialize;
use stores::clickhouse::fault::{Fault, fault_of};
use stores::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT, SCAN_TIMEOUT};
use stores::sight::keeps_every_row;

/// What a table's engine does to rows.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct Engine {
    /// The name of the engine, like `ReplacingMergeTree`. It is empty if the server does not report
    /// it.
    pub engine_name: String,
    /// The expressions of the sorting key over the table's own columns, separated by commas.
    pub sort_key: String,
    pub server_version: String,
}

/// Whether a table folds all rows of the same event into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    All,
    /// Some event has several rows that the table keeps apart.
    NotAll,
    /// The server could not find it out.
    Untold,
}

impl Engine {
    /// Reads what the server reports about its table.
    ///
    /// # Errors
    ///
    /// Returns [`ClickHouseError`] if the server does not answer.
    pub async fn read(server: &ClickHouse) -> Result<Self, ClickHouseError> {
        let sql = format!(
            "SELECT any(engine) AS engine_name, any(sorting_key) AS sort_key, \
             version() AS server_version FROM system.tables \
             WHERE database = '{}' AND name = '{}'",
            server.table.database(),
            server.table.name()
        );
        server.answer(QUERY_TIMEOUT, server.client.query_raw(&sql).fetch_one()).await
    }

    /// Whether the engine folds rows with equal sorting keys into one, at inserts and at merges.
    pub fn folds(&self) -> bool {
        self.engine_name.contains("Replacing")
            || self.engine_name.contains("Collapsing")
            || self.engine_name.contains("Summing")
            || self.engine_name.contains("Aggregating")
    }

    /// Whether all events have different sorting keys, because the key contains the column of their
    /// IDs.
    pub fn tells_events_apart(&self, id_column: &str) -> bool {
        self.sort_key.split(',').any(|part| part.trim() == id_column)
    }

    /// What can be said of duplicates. Only if the table is known to keep every row that it is sent
    /// can be said that there never were any.
    fn duplicates(&self, are_visible: bool) -> Duplicates {
        match (are_visible, keeps_every_row(&self.engine_name)) {
            (true, _) => Duplicates::Visible,
            (false, true) => Duplicates::None,
            (false, false) => Duplicates::NoneVisible,
        }
    }

    /// Describes the table, beside its events.
    ///
    /// # Errors
    ///
    /// Returns [`ClickHouseError`] if the server does not answer.
    pub async fn report(
        &self,
        server: &ClickHouse,
        script: &Script,
        rows: u64,
        distinct: u64,
    ) -> Result<TableReport, ClickHouseError> {
        let id_column = server.column_of("audit_id");
        let folded = match self.folds() {
            false => None,
            true if rows == distinct && self.tells_events_apart(id_column) => Some(rows),
            true => Some(read_folded(server, script).await?),
        };
        let duplicates = self.duplicates(rows > distinct);
        let name = server.table.to_string();
        let (engine, elsewhere) = (self.engine_name.clone(), Vec::new());
        Ok(TableReport { name, engine, elsewhere, rows, distinct, folded, duplicates })
    }
}

/// Finds out whether a table folds all rows of the same event into one. `table` tells what was read
/// of it, which may be less than it has now.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if the server does not answer.
pub async fn read_folding(
    server: &ClickHouse,
    script: &Script,
    table: &TableReport,
) -> Result<Folding, ClickHouseError> {
    match table.folded {
        None => return Ok(Folding::NotAll),
        Some(folded) if folded == table.distinct => return Ok(Folding::All),
        Some(_) => {}
    }
    // Either some rows are kept apart, or other events have come since the table was read. Only a
    // look at both in one query can tell.
    let LocationSql { with, is_ours, .. } = script.mark().location_sql("audit_id");
    let sql = format!(
        "WITH {with} SELECT count() FROM (SELECT audit_id FROM {} WHERE {is_ours} \
         GROUP BY audit_id HAVING count() > 1 LIMIT 1)",
        folded_source(server)
    );
    let apart = server.client.query_raw(&sql).fetch_one::<u64>();
    match server.answer(SCAN_TIMEOUT, apart).await {
        Ok(0) => Ok(Folding::All),
        Ok(_) => Ok(Folding::NotAll),
        Err(ClickHouseError::Query { source, .. }) if fault_of(&source) != Fault::Passing => {
            Ok(Folding::Untold)
        }
        Err(error) => Err(error),
    }
}

/// Counts the rows of a run that are left after rows with equal sorting keys are folded.
async fn read_folded(server: &ClickHouse, script: &Script) -> Result<u64, ClickHouseError> {
    let LocationSql { with, is_ours, .. } = script.mark().location_sql("audit_id");
    let sql = format!("WITH {with} SELECT count() FROM {} WHERE {is_ours}", folded_source(server));
    server.answer(SCAN_TIMEOUT, server.client.query_raw(&sql).fetch_one::<u64>()).await
}

/// This uses a clause instead of a setting, because some accounts may not change settings.
fn folded_source(server: &ClickHouse) -> String {
    let (source, table) = (server.source(), server.table.to_string());
    if source == table {
        return format!("{table} FINAL");
    }
    source.replace(&format!(" FROM {table} WHERE "), &format!(" FROM {table} FINAL WHERE "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_table_that_keeps_every_row_is_said_never_to_have_had_duplicates() {
        let check = |engine: &str, expected: Duplicates| {
            let (engine_name, nothing) = (engine.to_owned(), String::new());
            let engine = Engine { engine_name, sort_key: nothing.clone(), server_version: nothing };
            assert_eq!(engine.duplicates(false), expected, "{engine:?}");
            assert_eq!(engine.duplicates(true), Duplicates::Visible, "{engine:?}");
        };
        for plain in ["MergeTree", "ReplicatedMergeTree", "SharedMergeTree"] {
            check(plain, Duplicates::None);
        }
        for other in [
            "ReplacingMergeTree",
            "ReplicatedReplacingMergeTree",
            "SummingMergeTree",
            "Distributed",
            "View",
            "MaterializedView",
            "Buffer",
            "Merge",
            "Null",
            "",
        ] {
            check(other, Duplicates::NoneVisible);
        }
    }
}
