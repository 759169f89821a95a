//! A run as a library makes it: sent, checked and judged in one process, by functions that take
//! options and return values.

use std::path::Path;
use std::time::Duration;

use auditstorm_generator::{Observers, RunContext, Watchdog, run};
use auditstorm_verifier::changes::Changes;
use auditstorm_verifier::patience::Patience;
use auditstorm_verifier::reconcile::{CheckOptions, Depth, Stores, reconcile};
use auditstorm_verifier::recorded::Recorded;
use auditstorm_verifier::scan::ScanOptions;
use auditstorm_verifier::settle::SettleOptions;
use auditstorm_verifier::verdict::CountedRows;
use edges::clock::Clock;
use edges::shutdown::Shutdown;
use load::sender::Shard;
use load::webhook::{Webhook, WebhookArgs};
use plans::plan::Plan;
use plans::spec::{RunOptions, Span, Targets};
use runs::ledger::Durability;
use runs::record::Summary;
use runs::report::Report;
use runs::report::verdict::Verdict;
use runs::run_dir::RunDir;
use stores::clickhouse::{ClickHouse, ClickHouseArgs};
use stores::jetstream::{AuditStream, NatsArgs, NatsLogin};
use uuid::Uuid;

use crate::stack::Stack;

const PROFILE: &str = "name: library\nstages: [{duration: 2s, rate: 50/s, tenants: 5}]\n\
     send: {batch_events: 20, batch_age: 200ms, lateness_max: 30s}\nthresholds: {}\n";

/// Sends a run whose first event is due in a moment.
async fn generate(stack: &Stack, dir: &Path) -> Summary {
    let clock = Clock::system();
    let id = Uuid::from_u128(0x7a1e_55d0_30cb_4d6f_8a15_9c3f_0b6d_2e41);
    let options = RunOptions::new(id, clock.now() + 200_000, Span::Live);
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
    };
    run(plan, &run_dir, context).await.unwrap()
}

/// Checks the run of a directory.
async fn check(stack: &Stack, dir: &Path) -> Report {
    let run = Recorded::open(dir).unwrap();
    let clickhouse = ClickHouseArgs {
        urls: vec![stack.address("CLICKHOUSE_URL").to_owned()],
        user: "default".to_owned(),
        password: None,
        password_file: None,
        table: None,
        columns: None,
    };
    let table = ClickHouse::connect(&clickhouse, &Targets::default()).await.unwrap();
    let nats = NatsArgs {
        url: None,
        stream: "AUDIT_EVENTS".to_owned(),
        consumer: "clickhouse-ingest".to_owned(),
        domain: None,
        login: NatsLogin::default(),
    };
    let stream = AuditStream::connect(stack.address("NATS_URL"), &nats).await.unwrap();
    let metrics = stack.address("VECTOR_METRICS_URL").split(',').map(str::to_owned).collect();
    let options = CheckOptions {
        settle: SettleOptions {
            quiet: Duration::from_secs(4),
            wait_max: Duration::from_mins(1),
            delay_max: Duration::from_secs(370),
            metrics,
        },
        scan: ScanOptions { rows_at_once: 1_000_000, progress_file: None },
        changes: Changes::of_vector(),
        depth: Depth::Json,
        duplicates: CountedRows::Logical,
    };
    let (_stop, shutdown) = Shutdown::manual();
    let limit = Duration::from_secs(10);
    let mut patience = Patience { clock: Clock::system(), shutdown, limit, story: |_| {} };
    let stores = Stores { table: &table, stream: Some(&stream) };
    reconcile(&run, stores, &options, &mut patience).await.unwrap().report
}

#[test]
fn a_run_is_sent_checked_and_judged_in_one_process() {
    let stack = Stack::up(&[]);
    let dir = stack.path("run");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (summary, whole) = runtime.block_on(async {
        let summary = generate(&stack, &dir).await;
        (summary, check(&stack, &dir).await)
    });
    assert_eq!((summary.planned, summary.acknowledged), (500, 500));
    assert_eq!((whole.verdict, whole.totals.stored), (Verdict::Whole, 500), "{:?}", whole.reasons);

    let victim = stack.ask("SELECT audit_id FROM audit.audit_logs ORDER BY audit_id LIMIT 1");
    let delete = format!("ALTER TABLE audit.audit_logs DELETE WHERE audit_id = '{victim}'");
    stack.ask(&format!("{delete} SETTINGS mutations_sync = 2"));
    let lossy = runtime.block_on(check(&stack, &dir));
    assert_eq!((lossy.verdict, lossy.totals.lost), (Verdict::Lossy, 1), "{:?}", lossy.reasons);
    assert_eq!(lossy.findings[0].audit_id.to_string(), victim);
}
