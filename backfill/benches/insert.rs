//! How fast a history goes into the full table, against the server's own `INSERT … SELECT` of the
//! same rows from Native files.
//!
//! Runs inside a sandbox, whose addresses are in the environment, with `auditstorm-backfill` built
//! beside it. The peer gets what costs the loader time for nothing: rows that are made already, on
//! the server's own disk. It takes them in two ways: all in one statement, on as many threads as
//! the loader has lanes, and, harder to keep up with, chunk by chunk in as many statements at once.
//! Like the loader, it need not look for rows to fold.
//! `AUDITSTORM_BENCH_ROWS` sets the number of rows; the server goes on merging while it loads, so
//! a history that is much shorter than usual weighs the making of rows too much.
#![expect(clippy::print_stdout, reason = "the figures are the result")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends there")]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use auditstorm_backfill::chunk::chunks;
use auditstorm_backfill::native::{all_columns, block};
use auditstorm_backfill::piece::all_due;
use auditstorm_backfill::rows::slots;
use clickhouse::Client;
use edges::clock::Clock;
use futures_util::StreamExt as _;
use futures_util::stream;
use plans::plan::Plan;
use plans::profile::read_profile;
use plans::spec::{RunOptions, Span};
use rayon::prelude::*;
use stores::schema::COLUMNS;
use uuid::Uuid;

const ROUNDS: usize = 3;
const BAR: f64 = 0.9;
const LANES: usize = 3;
const DAYS: u32 = 90;

#[tokio::main]
async fn main() {
    let rows = std::env::var("AUDITSTORM_BENCH_ROWS").unwrap_or_else(|_| "10000000".to_owned());
    let rows: u64 = rows.parse().unwrap();
    let place = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let client = Client::default().with_url(std::env::var("CLICKHOUSE_URL").unwrap());
    let files = write_files(rows, clock, place.path());
    let (mut ours, mut by_chunk, mut at_once) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        empty(&client).await;
        let out = place.path().join(format!("run-{round}"));
        ours.push(timed(&clock, async { load(rows, &out) }).await);
        check(&client, rows).await;
        empty(&client).await;
        by_chunk.push(timed(&clock, insert_by_chunk(&client, place.path(), files)).await);
        check(&client, rows).await;
        empty(&client).await;
        at_once.push(timed(&clock, insert_at_once(&client, place.path())).await);
        check(&client, rows).await;
    }
    let [ours, by_chunk, at_once] = [ours, by_chunk, at_once].map(|times| rate(rows, times));
    let peers = [("insert-select", at_once), ("insert-select-by-chunk", by_chunk)];
    for (name, peer) in peers {
        let (ratio, verdict) = (ours / peer, if ours / peer >= BAR { "ok" } else { "short" });
        println!(
            "bench backfill-insert ours={ours:.0} rows/s peer={name}:{peer:.0} rows/s \
             ratio={ratio:.3} bar={BAR} {verdict}"
        );
    }
}

/// Writes the rows of a history as Native files, one for each chunk, and returns how many.
fn write_files(rows: u64, clock: Clock, place: &Path) -> usize {
    let text = read_profile("demo").unwrap();
    let options =
        RunOptions::new(Uuid::from_u128(1), clock.now(), Span::history(DAYS, rows, clock.now()));
    let plan = Plan::parse(&text.text, "demo", options).unwrap();
    let chunks = chunks(&plan.script, &(plan.start..plan.end), 100_000);
    for (index, chunk) in chunks.iter().enumerate() {
        let mut file = File::create(place.join(format!("{index:04}.native"))).unwrap();
        let slots = slots(&plan.script, &all_due(&plan.script, &chunk.due));
        let make = |part| block(&plan.script, part, &all_columns());
        let blocks: Vec<_> = slots.par_chunks(2_048).map(make).collect();
        for block in blocks {
            file.write_all(&block).unwrap();
        }
    }
    chunks.len()
}

/// Loads a history with the program that does it.
fn load(rows: u64, out: &Path) {
    let program = std::env::current_exe().unwrap();
    let program = program.ancestors().nth(2).unwrap().join("auditstorm-backfill");
    let mut command = Command::new(program);
    command.args(["run", "demo", "--quiet", "--days", &DAYS.to_string()]);
    command.args(["--lanes", &LANES.to_string(), "--events", &rows.to_string(), "--out"]).arg(out);
    assert!(command.output().unwrap().status.success());
}

async fn insert_by_chunk(client: &Client, place: &Path, files: usize) {
    let insert = async |index| {
        let path = place.join(format!("{index:04}.native"));
        client.query_raw(&select_from(&path, "")).execute().await.unwrap();
    };
    stream::iter(0..files).for_each_concurrent(LANES, insert).await;
}

async fn insert_at_once(client: &Client, place: &Path) {
    let more = format!(
        ", max_partitions_per_insert_block = 0, max_threads = {LANES}, max_insert_threads = {LANES}"
    );
    let sql = select_from(&place.join("*.native"), &more);
    client.query_raw(&sql).execute().await.unwrap();
}

fn select_from(path: &Path, settings: &str) -> String {
    let columns = COLUMNS.map(|column| column.name).join(", ");
    format!(
        "INSERT INTO audit.audit_logs ({columns}) SELECT {columns} FROM file('{}', Native) \
         SETTINGS insert_allow_materialized_columns = 1, optimize_on_insert = 0{settings}",
        path.display()
    )
}

async fn empty(client: &Client) {
    client.query_raw("TRUNCATE TABLE audit.audit_logs SYNC").execute().await.unwrap();
}

async fn check(client: &Client, rows: u64) {
    let count = client.query_raw("SELECT count() FROM audit.audit_logs").fetch_one::<u64>().await;
    assert_eq!(count.unwrap(), rows);
}

async fn timed(clock: &Clock, work: impl Future<Output = ()>) -> f64 {
    let begun = clock.now();
    work.await;
    Duration::from_micros((clock.now() - begun).unsigned_abs()).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 rows")]
fn rate(rows: u64, mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    rows as f64 / seconds[seconds.len() / 2]
}
