//! Reads the events of a run from a table, some partitions at a time. This needs limited memory,
//! and a check that was stopped can continue where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use clickhouse::Row;
use edges::exit::chain;
use events::identity::TenantIndex;
use events::script::Script;
use serde::{Deserialize, Serialize};
use stores::clickhouse::fault::{Fault, fault_of};
use stores::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT, server_code};
use stores::sight::read::{
    ROWS_SQL, SERVER_SQL, Seen, Sight, TableEngine, count_elsewhere, read_engine, read_sight,
    read_unseen,
};
use stores::sight::{EngineKind, Hidden, Whereabouts};
use stores::stored::{Arrivals, Rows, Stored, Stretch, Sums, read_rows, read_stored};
use tracing::debug;

use crate::digest::read_digested;
use crate::error::VerifyError;
use crate::patience::Patience;

/// What a table holds of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    pub by_tenant: BTreeMap<TenantIndex, Arrivals>,
    /// Digests of the columns of the rows, by tenant and stretch.
    pub digests: Sums,
    /// Whether the table did not change while it was read.
    pub is_steady: bool,
    /// Ways in which rows may be hidden from the account. If there are any, events that were not
    /// seen may exist.
    pub hidden: Vec<Hidden>,
}

/// Options for reading a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOptions {
    /// Partitions are read together up to this many rows. A larger partition is read alone.
    pub rows_at_once: u64,
    /// The file that keeps finished parts of the check until the check ends, or `None` to keep
    /// none.
    pub progress_file: Option<PathBuf>,
}

/// Reads only the IDs of a run's events from a table.
///
/// # Errors
///
/// Returns [`VerifyError`] if the server does not answer.
pub async fn scan_ids(
    server: &ClickHouse,
    script: &Script,
    rows_at_once: u64,
    patience: &mut Patience,
) -> Result<BTreeMap<TenantIndex, Arrivals>, VerifyError> {
    let partitions = read_partitions(server, patience, &mut Sight::default()).await?;
    let mut parts: Vec<Rows> = chunks(&partitions, rows_at_once).into_iter().map(rows_of).collect();
    if parts.is_empty() {
        parts.push(Rows::All);
    }
    let mut by_tenant: BTreeMap<TenantIndex, Arrivals> = BTreeMap::new();
    for rows in parts {
        let part = patience.ask(async || read_stored(server, script, &rows).await).await?;
        for (tenant, arrivals) in part {
            by_tenant.entry(tenant).or_default().add(&arrivals);
        }
    }
    Ok(by_tenant)
}

/// Reads IDs and digests of a run's events from a table.
///
/// # Errors
///
/// Returns [`VerifyError`] if the server does not answer.
pub async fn scan(
    server: &ClickHouse,
    script: &Script,
    options: &ScanOptions,
    patience: &mut Patience,
) -> Result<Holdings, VerifyError> {
    let engine = patience.ask(async || read_engine(server).await).await?;
    let mut sight = patience.ask(async || read_sight(server, &engine).await).await?;
    let partitions = read_partitions(server, patience, &mut sight).await?;
    if partitions.is_empty() {
        return scan_whole(server, script, &engine, sight, patience).await;
    }
    let origin = Origin::new(server, &engine, script);
    let mut progress = ScanProgress::open(options.progress_file.clone(), origin, patience.story);
    let mut wanted = partitions;
    let mut is_steady = false;
    for _ in 0..ROUNDS_MAX {
        let known = progress.known(&wanted);
        let open: Vec<Partition> =
            wanted.iter().filter(|it| !known.contains(*it)).cloned().collect();
        for chunk in chunks(&open, options.rows_at_once) {
            read_chunk(server, script, chunk, patience, &mut progress).await?;
        }
        let now = read_partitions(server, patience, &mut sight).await?;
        is_steady = now == wanted;
        wanted = now;
        if is_steady {
            break;
        }
    }
    let mut holdings = progress.holdings(&wanted, is_steady);
    let used = progress.used(&wanted);
    sight.servers.extend(used.iter().flat_map(|done| done.part.servers.clone()));
    if is_steady {
        let has = wanted.iter().map(|partition| partition.rows).sum();
        let seen = used.iter().map(|done| done.part.rows).sum();
        let unseen = patience.ask(async || read_unseen(server, has, seen).await).await?;
        sight.hidden.extend(unseen.map(|unseen| unseen.hidden));
    }
    holdings.see(sight);
    Ok(holdings)
}

/// Reads a table that has no partitions: it is empty, or its rows are in other tables.
async fn scan_whole(
    server: &ClickHouse,
    script: &Script,
    engine: &TableEngine,
    mut sight: Sight,
    patience: &mut Patience,
) -> Result<Holdings, VerifyError> {
    let kind = EngineKind::of(&engine.engine_name);
    let before = patience.ask(async || read_rows(server).await).await?;
    let part = patience.ask(async || read_part(server, script, &Rows::All).await).await?;
    let after = patience.ask(async || read_rows(server).await).await?;
    let mut holdings = Holdings { is_steady: before == after, ..Holdings::default() };
    holdings.add(&part);
    sight.servers.extend(part.servers);
    match kind.rows() {
        // A table without parts has no rows. If there are some now, they were added meanwhile.
        Whereabouts::Here => {
            let now = read_partitions(server, patience, &mut sight).await?;
            holdings.is_steady &= now.is_empty() && part.rows == 0;
        }
        Whereabouts::Elsewhere => {
            holdings.is_steady &= part.rows == before;
            let counted =
                patience.ask(async || count_elsewhere(server, kind, engine).await).await?;
            match counted {
                Seen::All => {}
                Seen::Some(unseen) => sight.hidden.push(unseen.hidden),
                Seen::Unknown(hidden) => sight.hidden.push(hidden),
                Seen::Moving => holdings.is_steady = false,
            }
        }
    }
    holdings.see(sight);
    Ok(holdings)
}

/// How often partitions are read again if they changed meanwhile.
const ROUNDS_MAX: u32 = 4;

/// A partition, and its state when it was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Partition {
    pub(crate) id: String,
    rows: u64,
    /// Merges change neither this nor the fields around it. Inserts, mutations and dropped parts
    /// do.
    block_max: i64,
    data_version: u64,
}

#[derive(Debug, Row, Deserialize)]
struct PartitionRow {
    id: String,
    rows: u64,
    block_max: i64,
    data_version: u64,
    server: String,
}

pub(crate) async fn read_partitions(
    server: &ClickHouse,
    patience: &mut Patience,
    sight: &mut Sight,
) -> Result<Vec<Partition>, VerifyError> {
    let sql = format!(
        "SELECT partition_id AS id, {ROWS_SQL} AS rows, max(max_block_number) AS block_max, \
         max(data_version) AS data_version, {SERVER_SQL} AS server \
         FROM system.parts WHERE active \
         AND database = '{}' AND table = '{}' GROUP BY partition_id ORDER BY partition_id",
        server.table.database(),
        server.table.name()
    );
    let rows = patience
        .ask(async || server.answer(QUERY_TIMEOUT, server.client.query_raw(&sql).fetch_all()).await)
        .await?;
    let mut partitions = Vec::new();
    for PartitionRow { id, rows, block_max, data_version, server } in rows {
        sight.servers.insert(server);
        partitions.push(Partition { id, rows, block_max, data_version });
    }
    Ok(partitions)
}

/// Groups consecutive partitions, so that each group has at most `rows_max` rows.
fn chunks(partitions: &[Partition], rows_max: u64) -> Vec<&[Partition]> {
    let mut chunks = Vec::new();
    let (mut start, mut rows) = (0, 0);
    for (index, partition) in partitions.iter().enumerate() {
        if index > start && rows + partition.rows > rows_max {
            chunks.push(&partitions[start..index]);
            (start, rows) = (index, 0);
        }
        rows += partition.rows;
    }
    if start < partitions.len() {
        chunks.push(&partitions[start..]);
    }
    chunks
}

/// Reads some partitions together. If that exceeds the server's memory or a limit of the account,
/// they are read one by one.
async fn read_chunk(
    server: &ClickHouse,
    script: &Script,
    chunk: &[Partition],
    patience: &mut Patience,
    progress: &mut ScanProgress,
) -> Result<(), VerifyError> {
    let rows = rows_of(chunk);
    let expected: u64 = chunk.iter().map(|partition| partition.rows).sum();
    debug!(partitions = chunk.len(), rows = expected, "reading partitions");
    let whole = patience.ask(async || match read_part(server, script, &rows).await {
        // Asking for the same again would take as long.
        Err(error) if is_too_much(&error) && chunk.len() > 1 => Ok(None),
        part => part.map(Some),
    });
    if let Some(part) = whole.await? {
        progress.add(chunk, part);
        return Ok(());
    }
    debug!(partitions = chunk.len(), "too much at once: reading them one by one");
    for single in chunk.chunks(1) {
        let rows = rows_of(single);
        let part = patience.ask(async || read_part(server, script, &rows).await).await?;
        progress.add(single, part);
    }
    Ok(())
}

fn rows_of(some: &[Partition]) -> Rows {
    Rows::Partitions(some.iter().map(|it| it.id.clone()).collect())
}

/// Whether a smaller query may succeed where this one failed. That includes queries that took too
/// long.
fn is_too_much(error: &ClickHouseError) -> bool {
    let ClickHouseError::Query { source, .. } = error else { return false };
    matches!(fault_of(source), Fault::Memory | Fault::TooMuch)
        || server_code(source) == Some(TIMEOUT_EXCEEDED)
}

/// Source: `ClickHouse`, `src/Common/ErrorCodes.cpp`.
const TIMEOUT_EXCEEDED: u32 = 159;

/// The contents of some partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    tenants: Vec<(u16, Arrivals)>,
    digests: Vec<(Stretch, u64)>,
    /// All rows that were read, including those of other runs.
    rows: u64,
    /// The names of the servers that answered.
    servers: Vec<String>,
}

async fn read_part(
    server: &ClickHouse,
    script: &Script,
    rows: &Rows,
) -> Result<Part, ClickHouseError> {
    let Stored { by_tenant, sums, rows, servers } = read_digested(server, script, rows).await?;
    Ok(Part {
        tenants: by_tenant.into_iter().map(|(tenant, arrivals)| (tenant.0, arrivals)).collect(),
        digests: sums.into_iter().collect(),
        rows,
        servers: servers.into_iter().collect(),
    })
}

impl Holdings {
    /// Takes over what may hide rows. If several servers answered, the result is not of one moment.
    fn see(&mut self, sight: Sight) {
        self.is_steady &= sight.servers.len() <= 1;
        self.hidden = sight.hidden();
    }

    fn add(&mut self, part: &Part) {
        for (tenant, arrivals) in &part.tenants {
            self.by_tenant.entry(TenantIndex(*tenant)).or_default().add(arrivals);
        }
        for (stretch, digest) in &part.digests {
            let sum = self.digests.entry(*stretch).or_default();
            *sum = sum.wrapping_add(*digest);
        }
    }
}

/// Identifies a check. Finished parts are only reused by a check with the same origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    format: u32,
    server: String,
    /// Name and UUID of the table, because a table that was dropped and created again has another
    /// UUID.
    table: String,
    /// The account, because another account may see other rows.
    user: String,
    run: String,
}

/// Version of the format of the progress file.
const PROGRESS_FORMAT: u32 = 2;

impl Origin {
    fn new(server: &ClickHouse, engine: &TableEngine, script: &Script) -> Self {
        Self {
            format: PROGRESS_FORMAT,
            server: format!("{} {}", server.url, engine.server),
            table: format!("{} {} {:?}", server.table, engine.uuid, server.names),
            user: server.user.clone(),
            run: format!("{:?}", script.mark()),
        }
    }
}

/// A line of the progress file.
#[derive(Debug, Serialize, Deserialize)]
struct Finished {
    origin: Origin,
    partitions: Vec<Partition>,
    part: Part,
}

/// The finished parts of a check.
struct ScanProgress {
    file: Option<PathBuf>,
    origin: Origin,
    finished: Vec<Finished>,
    /// Called with a message if parts cannot be kept.
    story: fn(&str),
}

impl ScanProgress {
    /// Reads the parts that a stopped check of the same origin has left. Lines that are cut, or
    /// that belong to another check, are ignored.
    fn open(file: Option<PathBuf>, origin: Origin, story: fn(&str)) -> Self {
        let text = file.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let finished = text.lines().filter_map(|line| {
            let (sum, line) = line.split_once(' ')?;
            (sum == checksum(line)).then(|| serde_json::from_str(line).ok()).flatten()
        });
        let is_same = |done: &Finished| done.origin == origin;
        let finished = finished.filter(is_same).collect();
        Self { file, origin, finished, story }
    }

    /// Returns those of the wanted partitions that were already read in their present state.
    fn known<'p>(&self, wanted: &'p [Partition]) -> BTreeSet<&'p Partition> {
        let used = self.used(wanted);
        wanted.iter().filter(|it| used.iter().any(|done| done.partitions.contains(it))).collect()
    }

    /// Returns the finished parts whose partitions are all in the state in which they were read.
    fn used(&self, wanted: &[Partition]) -> Vec<&Finished> {
        let is_present = |done: &&Finished| done.partitions.iter().all(|it| wanted.contains(it));
        let mut taken: BTreeSet<&Partition> = BTreeSet::new();
        let mut used = Vec::new();
        for done in self.finished.iter().filter(is_present) {
            if done.partitions.iter().all(|it| !taken.contains(it)) {
                taken.extend(&done.partitions);
                used.push(done);
            }
        }
        used
    }

    /// Adds a finished part and writes it to the file. If that fails, the check continues without
    /// it.
    fn add(&mut self, partitions: &[Partition], part: Part) {
        let (origin, partitions) = (self.origin.clone(), partitions.to_vec());
        let finished = Finished { origin, partitions, part };
        if let Some(path) = &self.file {
            let line = serde_json::to_string(&finished).expect("it has string keys");
            let line = format!("{} {line}\n", checksum(&line));
            let mut file = OpenOptions::new();
            let write = file.append(true).create(true).open(path).and_then(|mut file| {
                file.write_all(line.as_bytes())?;
                file.sync_data()
            });
            if let Err(source) = write {
                (self.story)(&chain(&VerifyError::Progress { path: path.clone(), source }));
                self.file = None;
            }
        }
        self.finished.push(finished);
    }

    fn holdings(&self, wanted: &[Partition], is_steady: bool) -> Holdings {
        let mut holdings = Holdings { is_steady, ..Holdings::default() };
        self.used(wanted).into_iter().for_each(|done| holdings.add(&done.part));
        holdings
    }
}

fn checksum(line: &str) -> String {
    format!("{:08x}", crc32fast::hash(line.as_bytes()))
}

#[cfg(test)]
mod tests {
    use runs::ranges::RangeSet;

    use super::*;

    fn partition(id: &str, rows: u64) -> Partition {
        Partition { id: id.to_owned(), rows, block_max: 1, data_version: 1 }
    }

    fn part(seqs: std::ops::Range<u64>) -> Part {
        let count = seqs.end - seqs.start;
        let arrivals = Arrivals { seqs: RangeSet::of(seqs), repeated: RangeSet::new(), count };
        let (tenants, digests) = (vec![(3, arrivals)], vec![((3, 0), u64::MAX)]);
        Part { tenants, digests, rows: count, servers: Vec::new() }
    }

    fn origin() -> Origin {
        let [server, table, user, run] = ["s", "t", "u", "r"].map(str::to_owned);
        Origin { format: PROGRESS_FORMAT, server, table, user, run }
    }

    #[test]
    fn partitions_are_read_together_up_to_a_number_of_rows() {
        let check = |rows: &[u64], expected: &[usize]| {
            let all: Vec<_> = rows.iter().map(|rows| partition("p", *rows)).collect();
            let lengths: Vec<_> = chunks(&all, 10).iter().map(|chunk| chunk.len()).collect();
            assert_eq!(lengths, expected, "{rows:?}");
        };
        check(&[], &[]);
        check(&[4, 4, 4], &[2, 1]);
        check(&[30, 1, 1], &[1, 2]);
        check(&[5, 5, 30, 5, 5], &[2, 1, 2]);
    }

    #[test]
    fn a_check_goes_on_with_what_is_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("progress");
        let (one, two) = (partition("1", 10), partition("2", 10));
        let mut progress = ScanProgress::open(Some(path.clone()), origin(), |_| {});
        progress.add(std::slice::from_ref(&one), part(0..10));
        progress.add(std::slice::from_ref(&two), part(8..20));
        let text = fs::read_to_string(&path).unwrap();
        let check = |text: &str, wanted: &[Partition], expected: usize| {
            fs::write(&path, text).unwrap();
            let known = ScanProgress::open(Some(path.clone()), origin(), |_| {});
            assert_eq!(known.known(wanted).len(), expected, "{text}");
        };
        check(&text, &[one.clone(), two.clone()], 2);
        check(&text, &[one.clone(), partition("2", 11)], 1);
        check(&text[..text.len() - 5], &[one.clone(), two.clone()], 1);
        check(&text.replace("[8,20]", "[8,19]"), &[one.clone(), two.clone()], 1);

        // Nothing can be written to this file, but it can be opened.
        let full = Some(PathBuf::from("/dev/full"));
        let mut unkept =
            ScanProgress { file: full, origin: origin(), finished: Vec::new(), story: |_| {} };
        unkept.add(std::slice::from_ref(&one), part(0..10));
        assert_eq!(unkept.known(std::slice::from_ref(&one)).len(), 1);

        let holdings = progress.holdings(&[one, two], true);
        let arrivals = &holdings.by_tenant[&TenantIndex(3)];
        assert_eq!(arrivals.seqs, RangeSet::of(0..20));
        assert_eq!(arrivals.repeated, RangeSet::of(8..10), "in two partitions");
        assert_eq!((arrivals.count, holdings.digests[&(3, 0)]), (22, u64::MAX - 1));
    }

    #[test]
    fn a_check_of_another_server_table_account_or_run_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("progress");
        let one = partition("1", 10);
        let mut progress = ScanProgress::open(Some(path.clone()), origin(), |_| {});
        progress.add(std::slice::from_ref(&one), part(0..10));
        let check = |origin: Origin, expected: usize| {
            let known = ScanProgress::open(Some(path.clone()), origin, |_| {});
            assert_eq!(known.known(std::slice::from_ref(&one)).len(), expected);
        };
        let other = || "other".to_owned();
        check(origin(), 1);
        check(Origin { format: PROGRESS_FORMAT + 1, ..origin() }, 0);
        check(Origin { server: other(), ..origin() }, 0);
        check(Origin { table: other(), ..origin() }, 0);
        check(Origin { user: other(), ..origin() }, 0);
        check(Origin { run: other(), ..origin() }, 0);
    }
}
