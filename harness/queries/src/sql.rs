//! The table as a door: the questions that the API asks it, in the same words but for two: bounds
//! of time have the type of the column, so that the index loses no row, and pages go on behind the
//! last row, so that they lose none.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use edges::exit::chain;
use plans::filter::sql_text;
use runs::leb128;
use stores::clickhouse::{ClickHouse, ClickHouseError};
use stores::sight::read::SERVER_SQL;
use uuid::Uuid;

use crate::door::Door;
use crate::error::{AskError, words};
use crate::order::{Order, Place};
use crate::page::{Page, Shown, read_event};
use crate::question::{Question, Scope};

/// Asks the table.
#[derive(Debug, Clone)]
pub struct Sql {
    server: ClickHouse,
    limit: Duration,
}

/// Rows that the table has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableRows {
    /// Their places in the answer, newest first.
    pub places: Vec<Place>,
    /// The servers that answered.
    pub servers: BTreeSet<String>,
}

impl Sql {
    /// Asks this server, and waits for each answer for at most `limit`.
    pub fn new(server: ClickHouse, limit: Duration) -> Self {
        Self { server, limit }
    }

    /// Reads where the newest rows of an answer stand, at most so many. With `ids`, only rows of
    /// these events.
    ///
    /// # Errors
    ///
    /// Returns [`AskError`] if there is no answer.
    pub async fn rows(
        &self,
        question: &Question,
        ids: Option<&[Uuid]>,
        rows_max: u32,
    ) -> Result<TableRows, AskError> {
        let order = Order::of(&question.scope, &question.filter);
        let columns = [place_columns(order), vec![SERVER_SQL.to_owned()]].concat();
        let quoted = |ids: &[Uuid]| ids.iter().map(|id| format!("toUUID('{id}')")).collect();
        let ids: Option<Vec<String>> = ids.map(quoted);
        let of_ids = ids.map(|ids| format!("audit_id IN ({})", ids.join(", ")));
        let sql = select((&columns, &self.server.source()), question, of_ids, rows_max);
        let bytes = self.fetch(&sql, None).await?;
        read_places(&bytes, order)
            .ok_or_else(|| AskError::Form { fact: "the rows break off".to_owned() })
    }

    async fn fetch(&self, sql: &str, query_id: Option<&str>) -> Result<Bytes, AskError> {
        let mut query = self.server.client.query_raw(sql);
        if let Some(query_id) = query_id {
            query = query.with_setting("query_id", query_id);
        }
        let rows = async { query.fetch_bytes("RowBinary")?.collect().await };
        self.server.answer(self.limit, rows).await.map_err(|error| match error {
            ClickHouseError::Silent { .. } => AskError::Timeout { limit: self.limit },
            error => AskError::Table { fact: words(&chain(&error)) },
        })
    }

    /// Reads a page. The server's log has it by `query_id`, or by an ID of the server's own.
    async fn read(
        &self,
        query_id: Option<&str>,
        question: &Question,
        cursor: Option<&str>,
    ) -> Result<Page, AskError> {
        let sql = statement(&self.server.source(), question, cursor)?;
        let bytes = self.fetch(&sql, query_id).await?;
        read_rows(&bytes, question)
            .ok_or_else(|| AskError::Form { fact: "the rows break off".to_owned() })
    }
}

impl Door for Sql {
    async fn ask(&self, question: &Question, cursor: Option<&str>) -> Result<Page, AskError> {
        self.read(None, question, cursor).await
    }

    async fn ask_as(
        &self,
        name: &str,
        question: &Question,
        cursor: Option<&str>,
    ) -> Result<Page, AskError> {
        self.read(Some(name), question, cursor).await
    }

    fn keeps_names(&self) -> bool {
        true
    }

    fn place(&self) -> &str {
        &self.server.url
    }
}

/// The columns of a row behind its event: its place in the order.
fn place_columns(order: Order) -> Vec<String> {
    let time = "toString(toUnixTimestamp64Milli(timestamp))".to_owned();
    let columns = order.columns().iter().chain(&["audit_id"]);
    std::iter::once(time).chain(columns.map(|column| format!("toString({column})"))).collect()
}

fn statement(source: &str, question: &Question, cursor: Option<&str>) -> Result<String, AskError> {
    let order = Order::of(&question.scope, &question.filter);
    let behind =
        match cursor {
            Some(cursor) => Some(behind(order, cursor).ok_or_else(|| AskError::Cursor {
                message: "it is none of this door's".to_owned(),
            })?),
            None => None,
        };
    let columns = [vec!["event_json".to_owned()], place_columns(order)].concat();
    Ok(select((&columns, source), question, behind, question.limit + 1))
}

/// The statement for the newest rows of an answer that meet one more condition.
fn select(
    (columns, source): (&[String], &str),
    question: &Question,
    more: Option<String>,
    limit: u32,
) -> String {
    let order = Order::of(&question.scope, &question.filter);
    let mut conditions = Vec::new();
    match &question.scope {
        Scope::Platform => {}
        Scope::User(uid) => conditions.push(format!("user_uid = {}", sql_text(uid))),
        Scope::Organization(_) | Scope::Project(_) | Scope::Stranger { .. } => {
            let (kind, name) = question.scope.headers().unwrap_or_default();
            conditions.push(format!("scope_type = {}", sql_text(kind)));
            conditions.push(format!("scope_name = {}", sql_text(name)));
        }
    }
    conditions.push(format!("timestamp >= {}", moment(question.from.millis())));
    conditions.push(format!("timestamp < {}", moment(question.until.millis())));
    let filter = question.filter.to_sql();
    conditions.extend((!filter.is_empty()).then_some(filter));
    conditions.extend(more);
    let scope: &[&str] = match &question.scope {
        Scope::Platform => &[],
        Scope::User(_) => &["user_uid"],
        _ => &["scope_type", "scope_name"],
    };
    let by = ["toStartOfHour(timestamp)", "timestamp"].iter().chain(scope);
    let by = by.chain(order.columns()).chain(&["audit_id"]);
    let by: Vec<String> = by.map(|column| format!("{column} DESC")).collect();
    format!(
        "SELECT {} FROM {source} WHERE {} ORDER BY {} LIMIT {limit}",
        columns.join(", "),
        conditions.join(" AND "),
        by.join(", "),
    )
}

/// The condition for all rows behind the place that a cursor names: a list of the values of time,
/// order and ID.
fn behind(order: Order, cursor: &str) -> Option<String> {
    let values: Vec<String> = serde_json::from_str(cursor).ok()?;
    let (millis, rest) = values.split_first()?;
    let (id, columns) = rest.split_last()?;
    if columns.len() != order.columns().len() {
        return None;
    }
    let at = moment(millis.parse().ok()?);
    let id = format!("toUUID('{}')", Uuid::try_parse(id).ok()?);
    let values = columns.iter().map(|value| sql_text(value)).chain([id]);
    let values = values.collect::<Vec<_>>().join(", ");
    let names = order.columns().join(", ");
    Some(format!("timestamp <= {at} AND (timestamp, {names}, audit_id) < ({at}, {values})"))
}

fn moment(millis: i64) -> String {
    format!("fromUnixTimestamp64Milli({millis})")
}

/// Reads rows of strings. `None` if they break off.
fn read_rows(bytes: &Bytes, question: &Question) -> Option<Page> {
    let order = Order::of(&question.scope, &question.filter);
    let columns = order.columns().len() + 2;
    let mut rest = &bytes[..];
    let mut page = Page { bytes: bytes.len() as u64, ..Page::default() };
    let mut place: Vec<String> = Vec::new();
    while !rest.is_empty() {
        let event = take_text(&mut rest)?;
        let values: Option<Vec<String>> = (0..columns)
            .map(|_| Some(String::from_utf8_lossy(take_text(&mut rest)?).into_owned()))
            .collect();
        if page.events.len() == question.limit as usize {
            page.next = serde_json::to_string(&place).ok();
            return Some(page);
        }
        place = values?;
        page.events.push(read_event(event).unwrap_or(Shown { id: None, received: None }));
    }
    Some(page)
}

/// Reads the places of rows, and the servers that they are of. `None` if they break off.
fn read_places(bytes: &Bytes, order: Order) -> Option<TableRows> {
    let mut rest = &bytes[..];
    let mut rows = TableRows::default();
    while !rest.is_empty() {
        let count = order.columns().len() + 3;
        let values =
            (0..count).map(|_| Some(std::str::from_utf8(take_text(&mut rest)?).ok()?.to_owned()));
        let values: Vec<String> = values.collect::<Option<_>>()?;
        let [millis, columns @ .., id, server] = &values[..] else { return None };
        let id = Uuid::try_parse(id).ok()?;
        rows.places.push(order.place_of_row(millis.parse().ok()?, columns, id)?);
        rows.servers.insert(server.clone());
    }
    Some(rows)
}

fn take_text<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(leb128::take(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text)
}
