//! A run that uses the crates as libraries: it is sent, checked and judged in one process, by
//! functions that take options and return values.

use std::path::{Path, PathBuf};
use std::time::Duration;

use auditstorm_generator::{Observers, RunContext, Watchdog, run};
use auditstorm_verifier::changes::Changes;
use auditstorm_verifier::checks::{Checks, ChecksOptions};
use auditstorm_verifier::error::VerifyError;
use auditstorm_verifier::pages::write_pages;
use auditstorm_verifier::patience::Patience;
use auditstorm_verifier::reconcile::{Checked, Depth};
use auditstorm_verifier::recorded::Recorded;
use auditstorm_verifier::settle::SettleOptions;
use auditstorm_verifier::verdict::CountedRows;
use auditstorm_verifier::watch::{
    self, EndingOptions, Look, Phase, Servers, WatchEnd, WatchOptions, WatchSummary,
};
use edges::clock::Clock;
use edges::shutdown::Shutdown;
use load::sender::Shard;
use load::webhook::{Webhook, WebhookArgs};
use plans::plan::Plan;
use plans::spec::{RunOptions, Span, Targets};
use runs::ledger::Durability;
use runs::record::Summary;
use runs::report::verdict::Verdict;
use runs::report::{REPORT_FILE, Report};
use runs::run_dir::RunDir;
use stores::jetstream::{NatsArgs, NatsLogin};
use uuid::Uuid;

use crate::stack::Stack;

const PROFILE: &str = "name: library\nstages: [{duration: 2s, rate: 50/s, tenants: 5}]\n\
     send: {batch_events: 20, batch_age: 200ms, lateness_max: 30s}\nthresholds: {}\n";

/// Sends a run whose first event is due once somebody may watch it.
async fn generate(stack: &Stack, dir: &Path) -> Summary {
    let clock = Clock::system();
    let id = Uuid::from_u128(0x7a1e_55d0_30cb_4d6f_8a15_9c3f_0b6d_2e41);
    let options = RunOptions::new(id, clock.now() + 3_000_000, Span::Live);
    let plan = Plan::parse(PROFILE, "the test", options).unwrap();
    let args = WebhookArgs::at(vec![stack.address("VECTOR_WEBHOOK_URL").to_owned()]);
    let webhook = Webhook::from_args(&args, plan.send.timeout).unwrap();
    let run_dir = RunDir::create(dir, &plan.spec).unwrap();
    let (_stop, shutdown) = Shutdown::manual();
    let context = RunContext {
        webhook,
        clock,
        shutdown,
        observers: Observers::none(),
        shard: Shard::WHOLE,
        watchdog: Watchdog::new(Vec::new()),
        durability: Durability::Process,
        reading: None,
    };
    run(plan, &run_dir, context).await.unwrap()
}

fn nats(stack: &Stack) -> NatsArgs {
    NatsArgs {
        url: Some(stack.address("NATS_URL").to_owned()),
        stream: "AUDIT_EVENTS".to_owned(),
        consumer: "clickhouse-ingest".to_owned(),
        domain: None,
        login: NatsLogin::default(),
    }
}

fn vectors(stack: &Stack) -> Vec<String> {
    stack.address("VECTOR_METRICS_URL").split(',').map(str::to_owned).collect()
}

/// Watches the run of a directory, which need not be there yet. Returns all looks, and the sum.
async fn watch_run(stack: &Stack, dir: &Path) -> (Vec<Look>, WatchSummary) {
    let clock = Clock::system();
    let deadline = clock.now() + 30_000_000;
    let (run_dir, plan) = watch::open(dir, &clock, deadline).await.unwrap();
    let (clickhouse, nats) = (stack.clickhouse(), nats(stack));
    let connected = Servers::connect(&plan, &clickhouse, &nats, &clock, deadline).await.unwrap();
    let servers = Servers { vectors: vectors(stack), ..connected };
    let ending = EndingOptions { until: None, linger: Duration::from_mins(1), until_still: false };
    let options = WatchOptions { interval: Duration::from_secs(1), ending };
    let mut looks = Vec::new();
    let (_stop, shutdown) = Shutdown::manual();
    let listen = |look: &Look| looks.push(look.clone());
    let watching = watch::watch((run_dir, plan), servers, options, clock, shutdown, listen);
    let summary = watching.await.unwrap();
    (looks, summary)
}

/// Checks runs, and returns what became of each.
async fn check(stack: &Stack, dirs: &[PathBuf]) -> Vec<Result<Report, VerifyError>> {
    let options = ChecksOptions {
        nats: nats(stack),
        clickhouse: stack.clickhouse(),
        memory_bytes_max: None,
        settle: SettleOptions {
            quiet: Duration::from_secs(4),
            wait_max: Duration::from_mins(1),
            delay_max: None,
            metrics: vectors(stack),
        },
        changes: Changes::of_vector(),
        depth: Depth::Json,
        duplicates: CountedRows::Logical,
    };
    let (_stop, shutdown) = Shutdown::manual();
    let limit = Duration::from_secs(10);
    let patience = Patience::new(Clock::system(), shutdown, limit, |_| {});
    let (runs, unread) = Recorded::open_each(dirs);
    assert!(unread.is_empty(), "{unread:?}");
    let mut ends = Vec::new();
    let take = |_: &Recorded, checked: Result<Checked, VerifyError>| {
        ends.push(checked.map(|checked| checked.report));
    };
    Checks::new(options, patience).check_each(&runs, take).await;
    ends
}

#[test]
fn a_run_is_sent_watched_checked_and_judged_in_one_process() {
    let stack = Stack::up(&[]);
    let dir = stack.path("run");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (summary, (looks, watched)) =
        runtime.block_on(async { tokio::join!(generate(&stack, &dir), watch_run(&stack, &dir)) });
    assert_eq!((summary.planned, summary.acknowledged), (500, 500));

    assert_eq!((watched.end, watched.samples_missed), (WatchEnd::Over, 0), "{watched:?}");
    assert!(watched.samples_visible > 0 && watched.evicted_unread == 0, "{watched:?}");
    assert_eq!(watched.looks, looks.len() as u64);
    assert_eq!(looks.last().map(|look| look.phase), Some(Phase::Closed));
    let rows = looks.iter().filter_map(|look| look.observation.table).map(|table| table.rows);
    assert_eq!(rows.max(), Some(500), "{looks:?}");
    // What it told is what it wrote down.
    let told: Vec<_> = looks.into_iter().map(|look| look.observation).collect();
    let (run_dir, _) = RunDir::open(&dir).unwrap();
    assert_eq!(told, run_dir.read_observations().unwrap());

    // A second run is to be found in a table that is not there.
    let plan = elsewhere();
    RunDir::create(&stack.path("other"), &plan.spec).unwrap();
    let dirs = [stack.path("other"), dir.clone()];
    let ends = runtime.block_on(check(&stack, &dirs));
    let [Err(other), Ok(whole)] = &ends[..] else { panic!("{ends:?}") };
    assert!(other.to_string().contains("has no table audit.none"), "{other}");
    assert_eq!((whole.verdict, whole.totals.stored), (Verdict::Whole, 500), "{:?}", whole.reasons);

    // Its pages show what was watched.
    run_dir.write_json(REPORT_FILE, whole).unwrap();
    let pages = write_pages(&Recorded::open(&dir).unwrap(), None, |_| {}).unwrap();
    assert!(pages.len() > 2 && pages.iter().all(|(_, written)| written.is_ok()), "{pages:?}");
    let page = std::fs::read_to_string(dir.join("report.md")).unwrap();
    assert!(
        page.contains("| end to end p95 |") && !page.contains("| end to end p95 | –"),
        "{page}"
    );

    let victim = stack.ask("SELECT audit_id FROM audit.audit_logs ORDER BY audit_id LIMIT 1");
    let delete = format!("ALTER TABLE audit.audit_logs DELETE WHERE audit_id = '{victim}'");
    stack.ask(&format!("{delete} SETTINGS mutations_sync = 2"));
    let ends = runtime.block_on(check(&stack, &dirs[1..]));
    let [Ok(lossy)] = &ends[..] else { panic!("{ends:?}") };
    assert_eq!((lossy.verdict, lossy.totals.lost), (Verdict::Lossy, 1), "{:?}", lossy.reasons);
    assert_eq!(lossy.findings[0].audit_id.to_string(), victim);
}

/// The plan of a run that was to go into another table.
fn elsewhere() -> Plan {
    let targets = Targets { table: Some("audit.none".to_owned()), ..Targets::default() };
    let id = Uuid::from_u128(0x0d3c_9a51_7e62_4f08_9b1d_6a2e_41c8_5f70);
    let options = RunOptions::new(id, Clock::system().now(), Span::Live);
    Plan::parse(PROFILE, "the test", RunOptions { targets, ..options }).unwrap()
}
