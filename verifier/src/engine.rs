//! What a table's engine does to rows: rows as they lie on disk, and as a reader should see them.

use clickhouse::Row;
use events::identity::LocationSql;
use events::script::Script;
use runs::report::{Duplicates, TableReport};
use serde::Deserialize;
use stores::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT, SCAN_TIMEOUT};
use stores::sight::keeps_every_row;

/// What a table's engine does to rows.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct Engine {
    /// Like `ReplacingMergeTree`; empty where the server does not tell.
    pub engine_name: String,
    /// Expressions over the table's own columns, separated by commas.
    pub sort_key: String,
    pub server_version: String,
}

impl Engine {
    /// Reads what the server tells of its table.
    ///
    /// # Errors
    ///
    /// Returns [`ClickHouseError`] if it does not answer.
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

    /// Whether it folds rows with equal sorting keys into one, at inserts and at merges.
    pub fn folds(&self) -> bool {
        self.engine_name.contains("Replacing")
            || self.engine_name.contains("Collapsing")
            || self.engine_name.contains("Summing")
            || self.engine_name.contains("Aggregating")
    }

    /// Whether no two events can have the same sorting key: it has the column of their IDs.
    pub fn tells_events_apart(&self, id_column: &str) -> bool {
        self.sort_key.split(',').any(|part| part.trim() == id_column)
    }

    /// What can be said of duplicates: that there never were any, of a table alone that is known
    /// to keep every row that it is sent.
    fn duplicates(&self, are_visible: bool) -> Duplicates {
        match (are_visible, keeps_every_row(&self.engine_name)) {
            (true, _) => Duplicates::Visible,
            (false, true) => Duplicates::None,
            (false, false) => Duplicates::NoneVisible,
        }
    }

    /// Says what is in the table, beside the events.
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

/// Counts the rows of a run that are left once rows with equal sorting keys are folded.
async fn read_folded(server: &ClickHouse, script: &Script) -> Result<u64, ClickHouseError> {
    let LocationSql { with, is_ours, .. } = script.mark().location_sql("audit_id");
    let sql = format!("WITH {with} SELECT count() FROM {} WHERE {is_ours}", folded_source(server));
    server.answer(SCAN_TIMEOUT, server.client.query_raw(&sql).fetch_one::<u64>()).await
}

/// As a clause, which an account may use that may not change a setting.
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
