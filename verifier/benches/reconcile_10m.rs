//! Measures how fast ten million rows are reconciled, compared with one `uniqExact` over the same
//! rows.
//!
//! It runs inside a sandbox, whose addresses are in the environment, and loads the rows with
//! `auditstorm-backfill`, which must be built in the same directory. It prints
//! `bench reconcile-10m …` for IDs alone, `bench reconcile-10m-content …` with the digests of all
//! columns (for the first check of a run and for later ones), and `bench backfill-10m …` for the
//! loading. `AUDITSTORM_BENCH_ROWS` sets the number of rows.
#![expect(clippy::print_stdout, reason = "the figures are the result")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends there")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use auditstorm_verifier::compare::{Held, StreamMemory, compare};
use auditstorm_verifier::content::read_differences;
use auditstorm_verifier::expected::Expected;
use auditstorm_verifier::patience::Patience;
use auditstorm_verifier::scan::{ScanOptions, scan};
use edges::clock::Clock;
use edges::shutdown::Shutdown;
use plans::spec::Targets;
use runs::run_dir::RunDir;
use stores::clickhouse::{ClickHouse, ClickHouseArgs};
use stores::stored::{Rows, read_stored};

const ROUNDS: usize = 7;
const BAR_RECONCILE: f64 = 0.5;
const BAR_CONTENT: f64 = 2.0;
const LIMIT_BACKFILL: Duration = Duration::from_mins(5);

fn main() {
    let rows = std::env::var("AUDITSTORM_BENCH_ROWS").unwrap_or_else(|_| "10000000".to_owned());
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("history");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let clock = Clock::system();
        let loaded_s = timed(&clock, async { load(&rows, &out) }).await;
        print_line("backfill-10m", loaded_s, "limit", LIMIT_BACKFILL.as_secs_f64(), 1.0);
        let args = ClickHouseArgs {
            urls: vec![std::env::var("CLICKHOUSE_URL").unwrap()],
            user: "default".to_owned(),
            password: None,
            password_file: None,
            table: None,
            columns: None,
        };
        let server = ClickHouse::connect(&args, &Targets::default()).await.unwrap();
        let [mut ids, mut first, mut again, mut peer] = [(); 4].map(|()| Vec::new());
        for _ in 0..ROUNDS {
            peer.push(timed(&clock, count_distinct(&server, &rows)).await);
            ids.push(timed(&clock, reconcile(&server, &out)).await);
            // An empty file has the effect that no earlier check has kept digests.
            fs::write(out.join("digests.json"), "").unwrap();
            first.push(timed(&clock, reconcile_content(&server, &out, &clock)).await);
            assert_ne!(fs::read(out.join("digests.json")).unwrap(), b"");
            again.push(timed(&clock, reconcile_content(&server, &out, &clock)).await);
        }
        let peer = median(peer);
        print_line("reconcile-10m", median(ids), "uniqExact", peer, BAR_RECONCILE);
        print_line("reconcile-10m-content-first", median(first), "uniqExact", peer, BAR_CONTENT);
        print_line("reconcile-10m-content-again", median(again), "uniqExact", peer, BAR_CONTENT);
    });
}

/// Loads a history with `auditstorm-backfill`.
fn load(rows: &str, out: &Path) {
    let program = std::env::current_exe().unwrap();
    let program = program.ancestors().nth(2).unwrap().join("auditstorm-backfill");
    let mut command = Command::new(program);
    command.args(["run", "demo", "--events", rows, "--days", "90", "--out"]).arg(out);
    assert!(command.status().unwrap().success());
}

/// Opens the run, reads the IDs of its rows, and compares them with the ledger, tenant by tenant.
async fn reconcile(server: &ClickHouse, out: &Path) {
    let (dir, plan) = RunDir::open(out).unwrap();
    let ledger = dir.read_ledger(&plan).unwrap();
    let table = read_stored(server, &plan.script, &Rows::All).await.unwrap();
    for (tenant, account) in plan.script.tenants().zip(&ledger.accounts) {
        let in_table = table[&tenant].clone();
        let held = Held { in_table, ..Held::default() };
        let planned = plan.script.timeline(tenant).count();
        let fates = compare(planned, account, &held, StreamMemory::Whole);
        assert_eq!((fates.stored.count(), fates.lost().count()), (planned, 0));
    }
}

/// Reads IDs and digests of all columns as the verifier does, and compares them with the plan.
async fn reconcile_content(server: &ClickHouse, out: &Path, clock: &Clock) {
    let (dir, plan) = RunDir::open(out).unwrap();
    let mut expected = Expected::open(&dir, &plan, |_| {});
    let (_stop, shutdown) = Shutdown::manual();
    let limit = Duration::from_secs(10);
    let mut patience = Patience::new(*clock, shutdown, limit, |_| {});
    let options = ScanOptions { rows_at_once: 50_000_000, progress_file: None };
    let held = scan(server, &plan.script, &options, &mut patience).await.unwrap();
    let differing = read_differences(server, &mut expected, &held, &mut patience).await.unwrap();
    assert!(held.is_steady && differing.listed.is_empty());
    let stored: u64 = held.by_tenant.values().map(|arrivals| arrivals.seqs.count()).sum();
    assert_eq!(stored, plan.script.planned());
}

async fn count_distinct(server: &ClickHouse, rows: &str) {
    let sql = "SELECT uniqExact(audit_id) FROM audit.audit_logs";
    let distinct: u64 = server.client.query_raw(sql).fetch_one().await.unwrap();
    assert_eq!(distinct.to_string(), rows);
}

async fn timed(clock: &Clock, work: impl Future<Output = ()>) -> f64 {
    let begun = clock.now();
    work.await;
    Duration::from_micros((clock.now() - begun).unsigned_abs()).as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a time in seconds, for which less is better.
fn print_line(name: &str, ours_s: f64, peer: &str, peer_s: f64, bar: f64) {
    let ratio = ours_s / peer_s;
    let verdict = if ratio <= bar { "ok" } else { "short" };
    println!(
        "bench {name} ours={ours_s:.3} s peer={peer}:{peer_s:.3} s ratio={ratio:.3} bar={bar} \
         {verdict}"
    );
}
