//! Measures how fast, and in how much memory, the verifier accounts for a billion events of 65,000
//! tenants: from the ledger of a day, which reserves a slice every quarter of a second, to the
//! report.
//!
//! It needs no server, because it makes up what stream and table hold: some events are lost one by
//! one, and all events of one minute are lost together. Prints `bench accounts-1e9 …` and
//! `bench accounts-1e9-memory …`. `AUDITSTORM_BENCH_EVENTS` sets the number of events.
#![expect(clippy::print_stdout, reason = "the figures are the result")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends there")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use auditstorm_verifier::compare::{Held, StreamMemory, compare};
use auditstorm_verifier::sections::findings;
use auditstorm_verifier::windows::loss_windows;
use edges::clock::Clock;
use events::identity::TenantIndex;
use events::timeline::UnixMicros;
use plans::plan::Plan;
use plans::spec::{RunOptions, Span};
use procfs::process::Process;
use runs::ledger::{Ledger, LedgerHead, LedgerWriter, Settlement};
use runs::ranges::RangeSet;
use runs::report::TenantReport;
use runs::report::fates::{Fates, Totals};
use stores::stored::Arrivals;
use uuid::Uuid;

const TENANTS: u64 = 65_000;
const LIMIT: Duration = Duration::from_mins(1);
const LIMIT_BYTES: u64 = 1_000_000_000;

const HEAD: LedgerHead = LedgerHead { seal: [7; 16], shard: 0, shards: 1 };
const SLICE_US: i64 = 250_000;
/// After this many slices, the events that were due in them are acknowledged, tenant by tenant.
const SLICES_A_STEP: i64 = 1_440;
/// Of this many events one is lost; of `DOUBLED_EVERY` one is stored twice.
const LOST_EVERY: usize = 1_009;
const DOUBLED_EVERY: usize = 5_003;

type Arrived = BTreeMap<TenantIndex, Arrivals>;

fn main() {
    let events = std::env::var("AUDITSTORM_BENCH_EVENTS").map(|it| it.parse().unwrap());
    let events: u64 = events.unwrap_or(1_000_000_000);
    let clock = Clock::system();
    let plan = plan(events);
    assert!(plan.script.planned() >= events, "{}", plan.script.planned());
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("ledger-0.bin");
    write_ledger(&plan, &path);
    let (stream, table, lost) = arrived(&plan);

    let begun = clock.now();
    let mut ledger = Ledger::empty(&plan.script);
    ledger.read(&path, &plan.script, &HEAD).unwrap();
    let (totals, json_bytes) = account(&plan, &ledger, &stream, &table);
    let ours = Duration::from_micros((clock.now() - begun).unsigned_abs()).as_secs_f64();

    assert_eq!((totals.planned, totals.unknown), (plan.script.planned(), 0));
    assert_eq!((totals.acknowledged, totals.lost), (totals.planned, lost));
    assert!(json_bytes > 0);
    print_line("accounts-1e9", ours, LIMIT.as_secs_f64(), "s");
    print_line("accounts-1e9-memory", megabytes(peak_bytes()), megabytes(LIMIT_BYTES), "MB");
}

/// Makes a plan of a day with 65,000 tenants, cut off after this many events.
fn plan(events: u64) -> Plan {
    let rate_milli = 179;
    let seconds = (events * 1_000).div_ceil(TENANTS * rate_milli).max(60) + 60;
    let text = format!(
        "name: accounts\nstages: [{{duration: {seconds}s, rate: 0.179/s, tenants: {TENANTS}}}]\n"
    );
    let options = RunOptions::new(Uuid::from_u128(7), 1_760_000_000_000_000, Span::Live);
    Plan::parse(&text, "accounts", options).unwrap()
}

/// Writes the ledger that a generator would write: slices that are reserved, and batches that are
/// acknowledged.
fn write_ledger(plan: &Plan, path: &Path) {
    let writer = LedgerWriter::create(path, &HEAD).unwrap();
    let mut from = plan.start;
    while from < plan.end {
        let mut until = from;
        for _ in 0..SLICES_A_STEP {
            writer.reserve(&(until..until + SLICE_US)).unwrap();
            until += SLICE_US;
        }
        for tenant in plan.script.tenants() {
            let seqs = due(plan, tenant, &(from..until));
            if !seqs.is_empty() {
                writer.settle(tenant, seqs, Settlement::Acknowledged);
            }
        }
        writer.flush().unwrap();
        from = until;
    }
    writer.close().unwrap();
}

/// Makes up what stream and table hold, and counts the events that are missing in the table.
fn arrived(plan: &Plan) -> (Arrived, Arrived, u64) {
    let (mut stream, mut table) = (Arrived::new(), Arrived::new());
    let mut all_lost = 0;
    let outage = plan.start + 30_000_000..plan.start + 90_000_000;
    for tenant in plan.script.tenants() {
        let seqs = RangeSet::of(0..plan.script.timeline(tenant).count());
        let count = seqs.count();
        let first = usize::from(tenant.0) % LOST_EVERY;
        let mut lost: RangeSet = seqs.iter().skip(first).step_by(LOST_EVERY).collect();
        lost = lost.union(&RangeSet::of(due(plan, tenant, &outage)));
        let stored = seqs.difference(&lost);
        let repeated: RangeSet = stored.iter().step_by(DOUBLED_EVERY).collect();
        all_lost += lost.count();
        let rows = stored.count() + repeated.count();
        table.insert(tenant, Arrivals { seqs: stored, repeated, count: rows });
        stream.insert(tenant, Arrivals { seqs, repeated: RangeSet::new(), count });
    }
    (stream, table, all_lost)
}

fn due(plan: &Plan, tenant: TenantIndex, due: &Range<UnixMicros>) -> Range<u64> {
    let timeline = plan.script.timeline(tenant);
    timeline.count_before(due.start)..timeline.count_before(due.end)
}

/// Computes everything that a report says of events. Returns the totals, and the size of the
/// report.
fn account(plan: &Plan, ledger: &Ledger, stream: &Arrived, table: &Arrived) -> (Totals, usize) {
    let script = &plan.script;
    let fates: Vec<Fates> = script
        .tenants()
        .zip(&ledger.accounts)
        .map(|(tenant, account)| {
            let held = Held {
                in_stream: stream.get(&tenant).cloned(),
                in_table: table.get(&tenant).cloned().unwrap_or_default(),
                ..Held::default()
            };
            compare(script.timeline(tenant).count(), account, &held, StreamMemory::Whole)
        })
        .collect();
    assert!(fates.iter().all(Fates::add_up));
    let rows = table.values().map(|arrivals| arrivals.count).sum();
    let totals = Totals::of(&fates, rows);
    let (listed, left_out) = findings(script, &fates);
    assert_eq!(listed.len() as u64 + left_out, totals.lost + totals.duplicated);
    let windows = loss_windows(script, &fates, &[]);
    assert_eq!(windows.iter().map(|window| window.events).sum::<u64>(), totals.lost);
    let tenants = script.tenants().zip(fates);
    let tenants: Vec<_> = tenants.map(|it| TenantReport::new(plan, it.0, it.1)).collect();
    let bytes = |tenant| serde_json::to_vec(tenant).unwrap().len();
    (totals, tenants.iter().map(bytes).sum())
}

/// The most memory that this process has used.
fn peak_bytes() -> u64 {
    let status = Process::myself().and_then(|own| own.status()).unwrap();
    status.vmhwm.unwrap() * 1_024
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Prints a figure for which less is better.
fn print_line(name: &str, ours: f64, limit: f64, unit: &str) {
    let ratio = ours / limit;
    let verdict = if ratio <= 1.0 { "ok" } else { "short" };
    println!(
        "bench {name} ours={ours:.3} {unit} peer=limit:{limit:.0} {unit} ratio={ratio:.3} bar=1 \
         {verdict}"
    );
}
