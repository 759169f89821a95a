//! The table of audit logs: its name, and the names of its columns.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use plans::spec::ColumnNames;

/// A table's name, ready to stand in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    database: String,
    name: String,
}

impl Table {
    pub fn database(&self) -> &str {
        &self.database
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for Table {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('.') {
            Some((database, name)) if is_name(database) && is_name(name) => {
                Ok(Self { database: database.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("{text:?} is no table: write it like audit.audit_logs")),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.name)
    }
}

/// Whether a text can stand in a query as a name, without quotes.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// One of the columns that an event has in a table of audit logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandardColumn {
    pub name: &'static str,
    /// The expression from which the pipeline's table computes it, if it is not sent.
    pub derived: &'static str,
}

/// The column that holds the event itself. All others follow from it.
pub const EVENT_JSON: &str = "event_json";

/// The columns of the pipeline's table, with the event's own first.
///
/// Source: `deploy/clickhouse/audit_logs.sql`.
pub const COLUMNS: [StandardColumn; 13] = [
    column(EVENT_JSON, EVENT_JSON),
    column(
        "timestamp",
        "coalesce(parseDateTime64BestEffortOrNull(\
         JSONExtractString(event_json, 'requestReceivedTimestamp'), 3), toDateTime64(0, 3))",
    ),
    column(
        "scope_type",
        "JSONExtractString(event_json, 'annotations', 'platform.miloapis.com/scope.type')",
    ),
    column(
        "scope_name",
        "JSONExtractString(event_json, 'annotations', 'platform.miloapis.com/scope.name')",
    ),
    column("user", "JSONExtractString(event_json, 'user', 'username')"),
    column("user_uid", "JSONExtractString(event_json, 'user', 'uid')"),
    column("audit_id", "toUUIDOrZero(JSONExtractString(event_json, 'auditID'))"),
    column("verb", "JSONExtractString(event_json, 'verb')"),
    column("api_group", "JSONExtractString(event_json, 'objectRef', 'apiGroup')"),
    column("resource", "JSONExtractString(event_json, 'objectRef', 'resource')"),
    column("namespace", "JSONExtractString(event_json, 'objectRef', 'namespace')"),
    column("resource_name", "JSONExtractString(event_json, 'objectRef', 'name')"),
    column(
        "status_code",
        "toUInt16OrZero(JSONExtractString(event_json, 'responseStatus', 'code'))",
    ),
];

const fn column(name: &'static str, derived: &'static str) -> StandardColumn {
    StandardColumn { name, derived }
}

/// Why a mapping file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsFileError {
    #[error("cannot read the column names in {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error(
        "{}: it is no mapping of names; write lines like `audit_id: id`\n{message}",
        path.display()
    )]
    Form { path: PathBuf, message: String },
    #[error(
        "{}: {name:?} is no column of an event; there are {}",
        path.display(),
        COLUMNS.map(|column| column.name).join(", ")
    )]
    Unknown { path: PathBuf, name: String },
    #[error("{}: {name}: {given:?} is no name of a column", path.display())]
    NoName { path: PathBuf, name: String, given: String },
}

/// Reads a mapping file: YAML, a line for each column, its standard name and the table's.
///
/// # Errors
///
/// Returns [`ColumnsFileError`] if it cannot be read, or holds anything else.
pub fn read_column_names(path: &Path) -> Result<ColumnNames, ColumnsFileError> {
    let own_path = || path.to_owned();
    let text = std::fs::read_to_string(path)
        .map_err(|source| ColumnsFileError::Unreadable { path: own_path(), source })?;
    let names: ColumnNames = serde_saphyr::from_str(&text)
        .map_err(|error| ColumnsFileError::Form { path: own_path(), message: error.to_string() })?;
    for (name, given) in &names {
        if !COLUMNS.iter().any(|column| column.name == name) {
            return Err(ColumnsFileError::Unknown { path: own_path(), name: name.clone() });
        }
        if !is_name(given) {
            let (name, given) = (name.clone(), given.clone());
            return Err(ColumnsFileError::NoName { path: own_path(), name, given });
        }
    }
    Ok(names)
}

/// A column as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundColumn {
    pub name: String,
    /// Its type, as written in the server's own words.
    pub kind: String,
    /// Empty, `DEFAULT`, `MATERIALIZED`, `ALIAS` or `EPHEMERAL`.
    pub default_kind: String,
}

impl FoundColumn {
    /// Whether its values are of a type, however the server stores them.
    fn holds(&self, kind: &str) -> bool {
        let mut own = self.kind.as_str();
        for wrapper in ["LowCardinality(", "Nullable("] {
            own = own.strip_prefix(wrapper).and_then(|it| it.strip_suffix(')')).unwrap_or(own);
        }
        // As in `DateTime64(3)`, with or without a time zone.
        own == kind || (kind == "DateTime" && own.starts_with(kind))
    }
}

/// Which columns of an event a table has, and under which names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableColumns {
    /// In the order of [`COLUMNS`]; `None` where the table has no such column.
    found: Vec<Option<FoundColumn>>,
    /// Columns that do not belong to an event and have no default.
    unfilled: Vec<String>,
}

/// Why a table cannot hold events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error(
        "it has no column {name} for {standard}, only {has}; \
         say with --columns what it calls its columns"
    )]
    Missing { standard: &'static str, name: String, has: String },
    #[error("its column {name} is {kind}, which cannot hold an event's {standard}")]
    Kind { standard: &'static str, name: String, kind: String },
}

impl TableColumns {
    /// Finds the columns of an event among those of a table.
    ///
    /// # Errors
    ///
    /// Returns [`SchemaError`] if there is no column for the event itself, or if a column that was
    /// named does not exist.
    pub fn find(columns: &[FoundColumn], names: &ColumnNames) -> Result<Self, SchemaError> {
        let find = |standard: &'static str| {
            let name = names.get(standard).map_or(standard, String::as_str);
            let found = columns.iter().find(|column| column.name == name).cloned();
            if found.is_none() && (standard == EVENT_JSON || names.contains_key(standard)) {
                let has: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
                let (name, has) = (name.to_owned(), has.join(", "));
                return Err(SchemaError::Missing { standard, name, has });
            }
            Ok(found)
        };
        let found: Vec<_> =
            COLUMNS.iter().map(|column| find(column.name)).collect::<Result<_, _>>()?;
        for (standard, found) in COLUMNS.iter().zip(&found) {
            let Some(column) = found else { continue };
            let is_sent = matches!(column.default_kind.as_str(), "" | "DEFAULT");
            let fits = match standard.name {
                EVENT_JSON => is_sent && column.holds("String"),
                "audit_id" => column.holds("UUID") || column.holds("String"),
                "timestamp" => column.holds("DateTime"),
                _ => true,
            };
            if !fits {
                let FoundColumn { name, kind, default_kind } = column.clone();
                let kind = format!("{default_kind} {kind}").trim().to_owned();
                return Err(SchemaError::Kind { standard: standard.name, name, kind });
            }
        }
        let is_used = |name: &str| found.iter().flatten().any(|column| column.name == name);
        let unfilled = columns.iter().filter(|it| it.default_kind.is_empty() && !is_used(&it.name));
        let unfilled = unfilled.map(|it| it.name.clone()).collect();
        Ok(Self { found, unfilled })
    }

    /// The columns that can be sent: index into [`COLUMNS`], and the table's name for it.
    /// Materialized columns are only included if the server accepts values for them.
    pub fn sendable(&self, takes_materialized: bool) -> Vec<(usize, &str)> {
        let can_be_sent = |column: &&FoundColumn| match column.default_kind.as_str() {
            "" | "DEFAULT" => true,
            "MATERIALIZED" => takes_materialized,
            _ => false,
        };
        let named = self.found.iter().enumerate();
        named
            .filter_map(|(index, column)| Some((index, column.as_ref().filter(can_be_sent)?)))
            .map(|(index, column)| (index, column.name.as_str()))
            .collect()
    }

    /// Columns of the table that stay empty, because they do not belong to an event.
    pub fn unfilled(&self) -> &[String] {
        &self.unfilled
    }

    /// The columns of an event that the table lacks.
    pub fn missing(&self) -> Vec<&'static str> {
        let columns = COLUMNS.iter().zip(&self.found);
        columns.filter(|(_, found)| found.is_none()).map(|(column, _)| column.name).collect()
    }

    /// The FROM clause of a query: the table, or a query that gives its columns their standard
    /// names and computes the columns that it lacks. `condition`, if not empty, is a condition on
    /// the table's own columns.
    pub fn source(&self, table: &Table, condition: &str) -> String {
        let is_standard = |(column, found): (&StandardColumn, &Option<FoundColumn>)| {
            let is_text_id =
                |found: &FoundColumn| column.name == "audit_id" && found.holds("String");
            found.as_ref().is_some_and(|found| found.name == column.name && !is_text_id(found))
        };
        if condition.is_empty() && COLUMNS.iter().zip(&self.found).all(is_standard) {
            return table.to_string();
        }
        let event_json = self.found[0].as_ref().map_or(EVENT_JSON, |found| found.name.as_str());
        let selected: Vec<_> = COLUMNS
            .iter()
            .zip(&self.found)
            .map(|(StandardColumn { name, derived }, found)| match found {
                Some(found) if *name == "audit_id" && found.holds("String") => {
                    format!("toUUIDOrZero({}) AS {name}", found.name)
                }
                Some(found) if found.name == *name => found.name.clone(),
                Some(found) => format!("{} AS {name}", found.name),
                None => format!("{} AS {name}", derived.replace(EVENT_JSON, event_json)),
            })
            .collect();
        let condition = if condition.is_empty() { "true" } else { condition };
        format!("(SELECT {} FROM {table} WHERE {condition})", selected.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(text: &str) -> Vec<FoundColumn> {
        let column = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            let (name, kind) = (words.next().unwrap(), words.next().unwrap());
            FoundColumn { name, kind, default_kind: words.next().unwrap_or_default() }
        };
        text.split(", ").map(column).collect()
    }

    #[test]
    fn table_names_cannot_smuggle_sql() {
        let table: Table = "audit.audit_logs".parse().unwrap();
        assert_eq!((table.database(), table.name()), ("audit", "audit_logs"));
        for wrong in ["audit_logs", "a.b.c", "a.b;DROP TABLE x", "a.", "`a`.b", "a.1b"] {
            assert!(wrong.parse::<Table>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_table_of_the_event_alone_has_all_else_derived() {
        let found = columns("raw String, inserted DateTime DEFAULT");
        let names = ColumnNames::from([(EVENT_JSON.to_owned(), "raw".to_owned())]);
        let table = TableColumns::find(&found, &names).unwrap();
        assert_eq!(table.sendable(true), [(0, "raw")]);
        let source = table.source(&"a.b".parse().unwrap(), "");
        assert!(source.contains("raw AS event_json, "), "{source}");
        assert!(source.contains("toUUIDOrZero(JSONExtractString(raw, 'auditID')) AS audit_id"));
        let missing = TableColumns::find(&found, &ColumnNames::new()).unwrap_err();
        assert!(missing.to_string().contains("no column event_json"), "{missing}");
    }

    #[test]
    fn materialized_columns_are_sent_where_the_server_takes_them() {
        let found =
            columns("event_json String, id UUID MATERIALIZED, verb String, user String ALIAS");
        let names = ColumnNames::from([("audit_id".to_owned(), "id".to_owned())]);
        let table = TableColumns::find(&found, &names).unwrap();
        assert_eq!(table.sendable(false), [(0, "event_json"), (7, "verb")]);
        assert_eq!(table.sendable(true), [(0, "event_json"), (6, "id"), (7, "verb")]);
        let names = ColumnNames::from([("verb".to_owned(), "action".to_owned())]);
        assert!(matches!(TableColumns::find(&found, &names), Err(SchemaError::Missing { .. })));
    }

    #[test]
    fn an_event_cannot_be_put_into_a_column_of_another_kind() {
        for wrong in [
            "event_json Map(String,String)",
            "event_json FixedString(16)",
            "event_json String ALIAS",
            "event_json String, timestamp UInt64",
            "event_json String, audit_id UInt128",
        ] {
            let error = TableColumns::find(&columns(wrong), &ColumnNames::new()).unwrap_err();
            assert!(matches!(error, SchemaError::Kind { .. }), "{error}");
        }
        let text = "event_json LowCardinality(Nullable(String)), audit_id String, \
                    timestamp DateTime64(9)";
        let table = TableColumns::find(&columns(text), &ColumnNames::new()).unwrap();
        let source = table.source(&"a.b".parse().unwrap(), "");
        assert!(source.contains("toUUIDOrZero(audit_id) AS audit_id"), "{source}");
    }

    #[test]
    fn a_mapping_file_names_only_columns_that_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("columns.yaml");
        let check = |text: &str, expected: &str| {
            std::fs::write(&path, text).unwrap();
            let message = read_column_names(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check("auditid: id", "\"auditid\" is no column of an event");
        check("audit_id: 'i d'", "\"i d\" is no name");
        check("- audit_id", "write lines like");
        std::fs::write(&path, "audit_id: id\nverb: action\n").unwrap();
        assert_eq!(read_column_names(&path).unwrap().len(), 2);
    }
}
