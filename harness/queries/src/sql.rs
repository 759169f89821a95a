//! The table as a door: the questions that the API asks it, in the same words but for the bounds of
//! time, which are written so that the index loses no row.

use std::time::Duration;

use bytes::Bytes;
use edges::exit::chain;
use plans::filter::sql_text;
use stores::clickhouse::ClickHouse;
use uuid::Uuid;

use crate::door::Door;
use crate::error::{AskError, words};
use crate::order::Order;
use crate::page::{Page, Shown};
use crate::question::{Question, Scope};

/// Asks the table.
#[derive(Debug, Clone)]
pub struct Sql {
    server: ClickHouse,
    limit: Duration,
}

impl Sql {
    /// Asks this server, and waits for each answer for at most `limit`.
    pub fn new(server: ClickHouse, limit: Duration) -> Self {
        Self { server, limit }
    }
}
