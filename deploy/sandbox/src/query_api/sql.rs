//! The statements: those of the real server, word by word, and those that page rightly.

use super::cursor::{Cursor, Key};
use super::literal::quoted;
use super::scope::Scope;
use super::times::Moment;

/// How pages are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paging {
    /// No row is left out or repeated.
    Right,
    /// As the real server does it, with all that it loses.
    Real,
}

impl Paging {
    /// A bound of the time column.
    pub(super) fn time(self, moment: &Moment) -> String {
        match self {
            Self::Right => moment.column_literal(),
            Self::Real => moment.seconds_literal(),
        }
    }
}

/// Which rows are asked for, whatever is done with them.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub(super) scope: Scope,
    pub(super) start: Option<Moment>,
    pub(super) end: Option<Moment>,
    /// The filter as SQL.
    pub(super) filter: Option<String>,
    /// Events from then on are hidden, in milliseconds since 1970.
    pub(super) hidden_from: Option<i64>,
}

/// One page of events.
#[derive(Debug, Clone)]
pub(super) struct PageQuery {
    pub(super) rows: Rows,
    /// The filter as it was sent: its words decide the order.
    pub(super) filter_text: String,
    pub(super) cursor: Option<Cursor>,
    pub(super) limit: usize,
}

impl Rows {
    fn conditions(&self, paging: Paging) -> Vec<String> {
        let mut conditions = Vec::new();
        conditions.extend(self.scope.condition());
        conditions.extend(self.start.map(|at| format!("timestamp >= {}", paging.time(&at))));
        conditions.extend(self.end.map(|at| format!("timestamp < {}", paging.time(&at))));
        conditions.extend(self.filter.clone());
        let hidden = |from| format!("timestamp < {}", millis_literal(from));
        conditions.extend(self.hidden_from.map(hidden));
        conditions
    }

    /// Rows of others in the same time: those that a query must not show.
    pub(super) fn of_others(&self, paging: Paging, count: usize) -> Option<String> {
        let own = self.scope.condition()?;
        let mut conditions = vec![format!("NOT ({own})")];
        let everybody = Self { scope: Scope::Platform, filter: None, ..self.clone() };
        conditions.extend(everybody.conditions(paging));
        Some(format!(
            "SELECT event_json FROM {TABLE} WHERE {} ORDER BY timestamp DESC LIMIT {count}",
            conditions.join(" AND ")
        ))
    }

    /// The row with an audit ID.
    pub(super) fn with_id(&self, audit_id: &str) -> String {
        let mut conditions = self.conditions(Paging::Real);
        conditions.push(format!("audit_id = toUUID({})", quoted(audit_id)));
        let conditions = conditions.join(" AND ");
        format!("SELECT event_json FROM {TABLE} WHERE {conditions} LIMIT 1")
    }

    /// The audit IDs of the rows that are hidden, if any may be.
    pub(super) fn hidden(&self, paging: Paging) -> Option<String> {
        let from = self.hidden_from?;
        let mut conditions = Self { hidden_from: None, ..self.clone() }.conditions(paging);
        conditions.push(format!("timestamp >= {}", millis_literal(from)));
        let conditions = conditions.join(" AND ");
        Some(format!("SELECT toString(audit_id) FROM {TABLE} WHERE {conditions}"))
    }

    /// The counts of one column's values.
    pub(super) fn facet(&self, paging: Paging, column: &str, limit: usize) -> String {
        let conditions = self.conditions(paging).join(" AND ");
        let condition =
            if conditions.is_empty() { String::new() } else { format!(" WHERE {conditions}") };
        format!(
            "SELECT toString({column}) as value, COUNT(*) as count FROM {TABLE}{condition} \
             GROUP BY {column} ORDER BY count DESC, value ASC LIMIT {limit}"
        )
    }
}

impl PageQuery {
    /// The statement for this page, and one row more.
    pub(super) fn statement(&self, paging: Paging) -> String {
        let conditions = self.page_conditions(paging).join(" AND ");
        let order = self.order();
        let columns = match paging {
            Paging::Real => "event_json".to_owned(),
            Paging::Right => format!("event_json, {}", self.key_columns()),
        };
        let rows = self.limit + 1;
        format!("SELECT {columns} FROM {TABLE} WHERE {conditions} ORDER BY {order} LIMIT {rows}")
    }

    /// The rows that neither this page of the real server's nor one after it shows, though they
    /// come after `last`, the row before this page. The real server's conditions are asked as they
    /// are, because the index drops rows that meet them.
    pub(super) fn skipped(&self, last: Option<&Key>) -> String {
        let mut due = self.rows.conditions(Paging::Right);
        due.extend(last.map(|last| self.behind(last)));
        let shown = self.page_conditions(Paging::Real).join(" AND ");
        format!(
            "SELECT toString(audit_id) FROM {TABLE} WHERE {} AND audit_id NOT IN \
             (SELECT audit_id FROM {TABLE} WHERE {shown})",
            due.join(" AND ")
        )
    }

    /// How many words the statement returns behind each event.
    pub(super) fn key_words(&self, paging: Paging) -> usize {
        match paging {
            Paging::Right => self.distinguishing().len() + 2,
            Paging::Real => 0,
        }
    }

    /// The rows that are equal to one in all columns of the order, with their digests.
    pub(super) fn tied(&self, key: &Key) -> String {
        let mut conditions = self.page_conditions(Paging::Right);
        let (columns, values) = self.place(key);
        conditions.push(format!("timestamp = {}", millis_literal(key.millis)));
        conditions.push(format!("{columns} = {values}"));
        format!(
            "SELECT event_json, toString({DIGEST}) FROM {TABLE} WHERE {} \
             ORDER BY {DIGEST} DESC LIMIT {}",
            conditions.join(" AND "),
            self.limit + 1
        )
    }

    /// The statement's columns for the key of each row.
    fn key_columns(&self) -> String {
        let columns = self.distinguishing().iter().map(|column| format!("toString({column}), "));
        format!(
            "toString(toUnixTimestamp64Milli(timestamp)), {}toString(audit_id)",
            columns.collect::<String>()
        )
    }

    fn page_conditions(&self, paging: Paging) -> Vec<String> {
        let mut conditions = self.rows.conditions(paging);
        if let Some(cursor) = &self.cursor {
            conditions.push(match (paging, &cursor.key) {
                (Paging::Right, Some(key)) if key.columns.len() == self.distinguishing().len() => {
                    self.behind(key)
                }
                // A cursor that was made elsewhere has nothing better.
                _ => real_condition(cursor),
            });
        }
        conditions
    }

    /// The columns between time and audit ID that the real server sorts by, and that differ.
    pub(super) fn distinguishing(&self) -> &'static [&'static str] {
        match &self.rows.scope {
            Scope::Platform if is_about_users(&self.filter_text) => {
                &["user", "api_group", "resource"]
            }
            Scope::Platform | Scope::User { .. } => &["api_group", "resource"],
            Scope::Tenant { .. } => &["user"],
        }
    }

    fn order(&self) -> String {
        let scope: &[&str] = match &self.rows.scope {
            Scope::Platform => &[],
            Scope::User { .. } => &["user_uid"],
            Scope::Tenant { .. } => &["scope_type", "scope_name"],
        };
        let columns = ["toStartOfHour(timestamp)", "timestamp"].iter().chain(scope);
        let columns = columns.chain(self.distinguishing()).chain(&["audit_id"]);
        columns.map(|column| format!("{column} DESC")).collect::<Vec<_>>().join(", ")
    }

    /// The condition for all rows behind one, in the order of pages.
    ///
    /// Digests are not part of the order: every row would have to be read for them. They only tell
    /// which of the rows in one place come first, if a page ends among these.
    fn behind(&self, key: &Key) -> String {
        let at = millis_literal(key.millis);
        let (columns, values) = self.place(key);
        match key.digest {
            None => format!("timestamp <= {at} AND {columns} < {values}"),
            Some(digest) => format!(
                "timestamp <= {at} AND ({columns} < {values} \
                 OR {columns} = {values} AND {DIGEST} < {digest})"
            ),
        }
    }

    /// The columns that make the place of a row, and a row's values of them.
    fn place(&self, key: &Key) -> (String, String) {
        let columns = self.distinguishing().join(", ");
        let values: Vec<String> = key.columns.iter().map(|value| quoted(value)).collect();
        let values = values.join(", ");
        let (at, audit_id) = (millis_literal(key.millis), quoted(&key.audit_id));
        (
            format!("(timestamp, {columns}, audit_id)"),
            format!("({at}, {values}, toUUID({audit_id}))"),
        )
    }
}

/// A time of the column's type.
fn millis_literal(millis: i64) -> String {
    format!("fromUnixTimestamp64Milli({millis})")
}

/// The real server's idea of what comes behind a row. It takes the time of the stage for the time
/// of the row, and cuts it to seconds: rows are left out, or come again.
fn real_condition(cursor: &Cursor) -> String {
    let second = cursor.stage.seconds_literal();
    let audit_id = quoted(&cursor.audit_id);
    format!(
        "(toStartOfHour(timestamp) < toStartOfHour({second}) \
         OR (toStartOfHour(timestamp) = toStartOfHour({second}) AND timestamp < {second}) \
         OR (timestamp = {second} AND audit_id < {audit_id}))"
    )
}

/// The real server's test of the filter's text, which also finds words in strings.
fn is_about_users(filter: &str) -> bool {
    let has = |word| filter.contains(word);
    has("user.username")
        || has("user.groups")
        || has("user.uid")
        || has("user") && (has("==") || has("!="))
}

const TABLE: &str = "audit.audit_logs";

/// Tells rows apart that are equal in all columns of the order, as those without a UUID may be.
const DIGEST: &str = "sipHash64(event_json)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_follows_from_the_words_of_the_filter() {
        assert!(is_about_users("objectRef.namespace == 'user-x'"));
        assert!(is_about_users("user.username.startsWith('a')"));
        assert!(!is_about_users("objectRef.namespace.contains('user-x')"));
        assert!(!is_about_users("verb == 'get'"));
        assert!(!is_about_users(""));
    }

    #[test]
    fn a_right_page_has_a_total_order_and_bounds_of_the_columns_type() {
        let moment = |text| super::super::times::read_absolute(text).unwrap();
        let rows = Rows {
            scope: Scope::Tenant { kind: "Project".to_owned(), name: "p".to_owned() },
            start: Some(moment("2026-11-28T00:00:00Z")),
            end: Some(moment("2026-11-28T00:00:01.9Z")),
            filter: None,
            hidden_from: None,
        };
        let mut query = PageQuery { rows, filter_text: String::new(), cursor: None, limit: 2 };
        let head = "SELECT event_json, toString(toUnixTimestamp64Milli(timestamp)), \
            toString(user), toString(audit_id) \
            FROM audit.audit_logs WHERE scope_type = 'Project' AND scope_name = 'p' \
            AND timestamp >= fromUnixTimestamp64Milli(1795824000000) \
            AND timestamp < fromUnixTimestamp64Milli(1795824001000)";
        let order = "ORDER BY toStartOfHour(timestamp) DESC, timestamp DESC, scope_type DESC, \
            scope_name DESC, user DESC, audit_id DESC LIMIT 3";
        assert_eq!(query.statement(Paging::Right), format!("{head} {order}"));
        let key = Key {
            millis: 1_795_824_000_123,
            columns: vec!["o'b".to_owned()],
            audit_id: "x".to_owned(),
            digest: None,
        };
        query.cursor = Some(Cursor {
            stage: moment("2026-11-28T00:00:00.9Z"),
            audit_id: "x".to_owned(),
            key: Some(key),
        });
        let place = "(timestamp, user, audit_id)";
        let values = "(fromUnixTimestamp64Milli(1795824000123), 'o\\'b', toUUID('x'))";
        let bound = "timestamp <= fromUnixTimestamp64Milli(1795824000123)";
        let behind = format!("{bound} AND {place} < {values}");
        assert_eq!(query.statement(Paging::Right), format!("{head} AND {behind} {order}"));
        // A page that ended among rows of one place.
        if let Some(key) = query.cursor.as_mut().and_then(|cursor| cursor.key.as_mut()) {
            key.digest = Some(7);
        }
        let digest = "sipHash64(event_json) < 7";
        let behind = format!("{bound} AND ({place} < {values} OR {place} = {values} AND {digest})");
        assert_eq!(query.statement(Paging::Right), format!("{head} AND {behind} {order}"));
        // A key of other columns is of another scope.
        query.rows.scope = Scope::Platform;
        let statement = query.statement(Paging::Right);
        assert!(statement.contains("audit_id < 'x'))"), "{statement}");
    }
}
