//! One insert: rows made on all cores, sent as they are made, answered when they are in the table.

use std::time::Duration;

use bytes::Bytes;
use clickhouse::Compression;
use clickhouse::error::Error;
use clickhouse::insert_formatted::CompressedData;
use events::script::Script;
use rayon::prelude::*;
use stores::clickhouse::ClickHouse;
use stores::clickhouse::fault::{Fault, fault_of};

use crate::native::{BlockColumns, BlockMaker};
use crate::pool::Pool;
use crate::rows::Slot;

/// How an insert is sent, and under which name and token.
#[derive(Debug, Clone, Copy)]
pub struct InsertOptions<'o> {
    pub query_id: &'o str,
    pub token: &'o str,
    pub compress: Compress,
}

/// Whether bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compress {
    /// Compresses with LZ4, unless the server is on this machine: there it costs more than it
    /// saves.
    Auto,
    Lz4,
    None,
}

impl Compress {
    fn at(self, url: &str) -> Compression {
        let is_here = ["http://127.", "http://localhost", "http://[::1]"];
        match self {
            Self::None => Compression::None,
            Self::Auto if is_here.iter().any(|here| url.starts_with(here)) => Compression::None,
            Self::Auto | Self::Lz4 => Compression::Lz4,
        }
    }
}

/// What a failed insert asks for. Whatever it is, the rows may be in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The partition has more parts than the server likes: let it merge.
    TooManyParts,
    /// The server is short of memory: send less at once.
    Memory,
    /// It may work another time: a timeout, a lost connection, a replica that is behind.
    Passing,
    /// The server has no room for more.
    NoSpace,
    /// It will not work another time.
    Final,
}

impl Failure {
    /// Its name in metrics and summaries.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooManyParts => "too_many_parts",
            Self::Memory => "memory",
            Self::Passing => "passing",
            Self::NoSpace => "no_space",
            Self::Final => "final",
        }
    }

    /// Tells what an error asks for.
    pub fn of(error: &Error) -> Self {
        match fault_of(error) {
            Fault::Passing => Self::Passing,
            Fault::TooManyParts => Self::TooManyParts,
            // A limit of the account is handled like a lack of memory: send less at once.
            Fault::Memory | Fault::TooMuch => Self::Memory,
            Fault::NoSpace => Self::NoSpace,
            Fault::Denied | Fault::Final => Self::Final,
        }
    }
}

/// Inserts rows, and waits until the server says that it has them.
///
/// # Errors
///
/// Returns the client's error. The rows may be in the table all the same.
pub async fn insert(
    script: &Script,
    slots: &[Slot],
    server: &ClickHouse,
    columns: &BlockColumns,
    options: InsertOptions<'_>,
) -> Result<(), Error> {
    let names: Vec<_> = columns.sent.iter().map(|(_, name)| name.as_str()).collect();
    let sql = format!("INSERT INTO {} ({}) FORMAT Native", server.table, names.join(", "));
    let compression = options.compress.at(&server.url);
    let mut insert = server
        .client
        .clone()
        .with_compression(compression)
        .insert_formatted_with(sql)
        .with_timeouts(Some(ANSWER_TIMEOUT), Some(ANSWER_TIMEOUT))
        .with_setting("query_id", options.query_id)
        .with_setting("insert_deduplication_token", options.token)
        // The server must not send headers early: they would hide an error that comes later.
        .with_setting("send_progress_in_http_headers", "0")
        // An insert is answered when its rows are in the table, of every shard.
        .with_setting("async_insert", "0")
        .with_setting("insert_distributed_sync", "1")
        // The server joins what it gets to one block, and so to one part: all or nothing.
        .with_setting("min_insert_block_size_rows", (slots.len() + 1).to_string())
        .with_setting("min_insert_block_size_bytes", "0")
        // No two rows of an insert are equal in the sort key: there is nothing to fold.
        .with_setting("optimize_on_insert", "0");
    if columns.has_materialized {
        insert = insert.with_setting("insert_allow_materialized_columns", "1");
    }
    for part in slots.chunks(ROWS_AT_ONCE) {
        let blocks = || blocks(script, part, columns, compression);
        for block in tokio::task::block_in_place(blocks) {
            match block? {
                Block::Plain(bytes) => insert.send(bytes).await?,
                Block::Compressed(data) => insert.send_compressed(data).await?,
            }
        }
    }
    insert.end().await
}

/// Rows as they are sent.
enum Block {
    Plain(Bytes),
    Compressed(CompressedData),
}

/// Makes blocks on all cores.
fn blocks(
    script: &Script,
    slots: &[Slot],
    columns: &BlockColumns,
    compression: Compression,
) -> Vec<Result<Block, Error>> {
    slots
        .par_chunks(BLOCK_ROWS)
        .map(|slots| {
            let mut block = BUFFERS.lend();
            block.clear();
            MAKERS.lend().append(script, slots, columns, &mut block);
            let block = Bytes::from_owner(block);
            if compression == Compression::None {
                return Ok(Block::Plain(block));
            }
            CompressedData::new(&block, compression).map(Block::Compressed)
        })
        .collect()
}

/// Blocks of all inserts, and what they are made with.
static BUFFERS: Pool<Vec<u8>> = Pool::new();
static MAKERS: Pool<BlockMaker> = Pool::new();

/// Blocks of this size stay in a core's cache; the server joins them.
const BLOCK_ROWS: usize = 2_048;
const ROWS_AT_ONCE: usize = 8 * BLOCK_ROWS;

/// The longest time in which the server may take no byte, or not answer an insert that it has
/// received completely.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(5);
