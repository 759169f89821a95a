//! How a history is loaded, and into which servers.

use std::time::Duration;

use runs::ledger::Durability;
use stores::clickhouse::ClickHouse;
use stores::survey::Survey;

use crate::insert::Compress;

/// How a history is loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadOptions {
    pub rows_per_insert: u64,
    pub lanes: usize,
    pub rows_per_second_max: Option<u64>,
    /// `None`: as many as the server likes.
    pub parts_per_partition_max: Option<u64>,
    pub patience: Duration,
    pub compress: Compress,
    /// What the ledger survives.
    pub durability: Durability,
}

/// The servers to load, and what they said of themselves.
#[derive(Debug)]
pub struct Surveyed {
    pub servers: Vec<ClickHouse>,
    pub surveys: Vec<Survey>,
}
