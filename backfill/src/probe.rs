//! How fast a server takes rows: measured with a few inserts into a copy of the table.

use std::time::Duration;

use clickhouse::Row;
use edges::clock::{Clock, micros};
use edges::shutdown::{Shutdown, Stop};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use plans::plan::Plan;
use ready::intent::RowSizes;
use ready::read::COPY_PREFIX;
use serde::{Deserialize, Serialize};
use stores::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT};

use crate::chunk::Chunk;
use crate::insert::{InsertOptions, insert};
use crate::native::BlockColumns;
use crate::options::{LoadOptions, Surveyed};
use crate::piece::all_due;
use crate::rows::slots;

/// What a probe measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Probe {
    pub rows: u64,
    pub seconds: f64,
    /// What those rows take on disk.
    pub bytes_on_disk: u64,
}

impl Probe {
    #[expect(clippy::cast_precision_loss, reason = "a measured rate is no exact number")]
    pub fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.seconds.max(0.001)
    }

    /// What its rows take on disk.
    pub fn sizes(&self) -> RowSizes {
        RowSizes { rows: self.rows, bytes_on_disk: self.bytes_on_disk }
    }
}

/// Inserts some chunks into a copy of the table for some seconds, and drops the copy.
///
/// # Errors
///
/// Returns [`ProbeError`] if a server does not let itself be asked so, or there is nothing to ask.
pub async fn probe(
    plan: &Plan,
    chunks: &[Chunk],
    to: &Surveyed,
    options: LoadOptions,
    clock: &Clock,
    shutdown: &mut Shutdown,
) -> Result<Probe, ProbeError> {
    if chunks.is_empty() {
        return Err(ProbeError::Nothing);
    }
    if let Some(survey) = to.surveys.iter().find(|survey| !survey.is_merge_tree()) {
        // A copy of such a table would write to the same place as the table itself.
        return Err(ProbeError::Engine { engine: survey.engine.clone() });
    }
    let columns = to.columns();
    let mut copies = Vec::new();
    let mut made = Ok(());
    for (index, (server, survey)) in to.servers.iter().zip(&to.surveys).enumerate() {
        let id = format!("{}_{index}", plan.spec.run_id.simple());
        match Copy::make(&id, server, &survey.engine_full).await {
            Ok(copy) => copies.push(copy),
            Err(error) => made = Err(error),
        }
    }
    let measured = async {
        made?;
        tokio::select! {
            measured = measure(plan, chunks, &copies, &columns, options, clock) => Ok(measured?),
            () = shutdown.asked(Stop::Drain) => Err(ProbeError::Stopped),
        }
    };
    let measured = measured.await;
    let mut taken_away = Ok(());
    for copy in &copies {
        taken_away = taken_away.and(copy.take_away().await);
    }
    taken_away?;
    measured
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("nothing goes straight into the table")]
    Nothing,
    #[error("a table of engine {engine} cannot be copied")]
    Engine { engine: String },
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    #[error("stopped by the user")]
    Stopped,
}

async fn measure(
    plan: &Plan,
    chunks: &[Chunk],
    copies: &[Copy],
    columns: &BlockColumns,
    options: LoadOptions,
    clock: &Clock,
) -> Result<Probe, ClickHouseError> {
    // From the middle on: the first days may be a weekend.
    let mut next = chunks.iter().cycle().skip(chunks.len() / 2).take(chunks.len()).enumerate();
    let begun = clock.now();
    let mut under_way = FuturesUnordered::new();
    let mut rows = 0;
    loop {
        while under_way.len() < options.lanes && clock.now() - begun < micros(PROBE_TIME) {
            let Some((index, chunk)) = next.next() else { break };
            let copy = &copies[index % copies.len()];
            under_way.push(async move {
                let name = InsertOptions {
                    query_id: &format!("{}-{index}", copy.name),
                    token: "",
                    compress: options.compress,
                };
                let script = &plan.script;
                let events = all_due(script, &chunk.due);
                let slots = tokio::task::block_in_place(|| slots(script, &events));
                let inserted = insert(script, &slots, &copy.server, columns, name).await;
                inserted.map_err(|source| copy.server.failed(source)).map(|()| chunk.rows)
            });
        }
        match under_way.next().await {
            Some(inserted) => rows += inserted?,
            None => break,
        }
    }
    let seconds = Duration::from_micros((clock.now() - begun).unsigned_abs()).as_secs_f64();
    let mut bytes_on_disk = 0;
    for copy in copies {
        bytes_on_disk += copy.read_bytes_on_disk().await?;
    }
    Ok(Probe { rows, seconds, bytes_on_disk })
}

/// A table of the same shape as the real one, on one server.
struct Copy {
    /// Knows the copy as its table.
    server: ClickHouse,
    name: String,
}

#[derive(Debug, Row, Deserialize)]
struct BytesRow {
    bytes: u64,
}

impl Copy {
    async fn make(
        id: &str,
        original: &ClickHouse,
        engine_full: &str,
    ) -> Result<Self, ClickHouseError> {
        let name = format!("{}.{COPY_PREFIX}{id}", original.table.database());
        let table = name.parse().map_err(|message| ClickHouseError::Recorded { message })?;
        let mut server = original.clone();
        server.table = table;
        let sql =
            format!("CREATE TABLE {name} AS {} ENGINE = {}", original.table, copied(engine_full));
        server.answer(QUERY_TIMEOUT, server.client.query_raw(&sql).execute()).await?;
        Ok(Self { server, name })
    }

    async fn read_bytes_on_disk(&self) -> Result<u64, ClickHouseError> {
        let row = self
            .server
            .client
            .query(
                "SELECT sum(bytes_on_disk) AS bytes FROM system.parts \
                 WHERE active AND database = ? AND table = ?",
            )
            .bind(self.server.table.database())
            .bind(self.server.table.name())
            .fetch_one::<BytesRow>();
        Ok(self.server.answer(QUERY_TIMEOUT, row).await?.bytes)
    }

    async fn take_away(&self) -> Result<(), ClickHouseError> {
        let sql = format!("DROP TABLE IF EXISTS {} SYNC", self.name);
        self.server.answer(QUERY_TIMEOUT, self.server.client.query_raw(&sql).execute()).await
    }
}

/// Returns the engine of a copy: that of the table, but not replicated, as the copy has no path
/// of its own in Keeper.
fn copied(engine_full: &str) -> String {
    let prefixes = ["Replicated", "Shared"];
    let Some(rest) = prefixes.iter().find_map(|prefix| engine_full.strip_prefix(prefix)) else {
        return engine_full.to_owned();
    };
    match (rest.find('('), rest.find(')')) {
        (Some(open), Some(close)) if open < close => {
            // The first two arguments are path and replica; others are the engine's own.
            let own: Vec<_> = rest[open + 1..close].split(',').skip(2).map(str::trim).collect();
            format!("{}({}){}", &rest[..open], own.join(", "), &rest[close + 1..])
        }
        _ => rest.to_owned(),
    }
}

const PROBE_TIME: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_replicated_table_is_not_replicated() {
        let check = |engine: &str, expected: &str| assert_eq!(copied(engine), expected);
        check("ReplacingMergeTree ORDER BY x", "ReplacingMergeTree ORDER BY x");
        check(
            "ReplicatedReplacingMergeTree('/a/{shard}', '{replica}', ver) ORDER BY f(x)",
            "ReplacingMergeTree(ver) ORDER BY f(x)",
        );
        check("ReplicatedMergeTree('/a', 'b') ORDER BY x", "MergeTree() ORDER BY x");
        check("ReplicatedMergeTree ORDER BY x", "MergeTree ORDER BY x");
    }
}
