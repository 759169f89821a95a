//! Why events are lost. For every cause that the verifier can report, the test makes it happen on
//! real servers, and expects exactly these events in the report.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use async_nats::jetstream::{self, consumer::PullConsumer};
use events::identity::{RunMark, Seq, TenantIndex};
use serde_json::Value;
use uuid::Uuid;

use tests::seeded::wrong_clock;

use crate::stack::{Stack, found, wait_until};

/// Sends a run of two thousand events through a pipeline without faults.
fn sent() -> Stack {
    let stack = Stack::up(&[]);
    let profile = stack.profile(100, 2, 50);
    stack.generate(&profile, "run");
    stack
}

/// IDs of the stored events that meet a condition.
fn stored(stack: &Stack, condition: &str) -> BTreeSet<String> {
    let sql = format!("SELECT audit_id FROM audit.audit_logs WHERE {condition}");
    let ids: BTreeSet<String> = stack.ask(&sql).lines().map(str::to_owned).collect();
    assert!(!ids.is_empty(), "{condition}");
    ids
}

fn delete(stack: &Stack, condition: &str) {
    stack.ask(&format!(
        "ALTER TABLE audit.audit_logs DELETE WHERE {condition} SETTINGS mutations_sync = 2"
    ));
}

/// Waits until the table has this many rows.
fn await_rows(stack: &Stack, rows: &str) {
    wait_until("all is stored", || stack.ask("SELECT count() FROM audit.audit_logs") == rows);
}

/// Expects exactly these findings, each with exactly these events.
#[track_caller]
fn expect(report: &Value, expected: &[(&str, &BTreeSet<String>)]) {
    for (kind, ids) in expected {
        assert_eq!(found(report, kind), **ids, "{kind}: {}", report["totals"]);
    }
    let all: usize = expected.iter().map(|(_, ids)| ids.len()).sum();
    assert_eq!(report["findings"].as_array().unwrap().len(), all, "{}", report["totals"]);
}

fn run_async<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

async fn context(stack: &Stack) -> jetstream::Context {
    jetstream::new(async_nats::connect(stack.address("NATS_URL")).await.unwrap())
}

#[test]
fn rows_that_were_deleted_were_consumed_and_not_stored() {
    let stack = sent();
    await_rows(&stack, "2000");
    let gone = stored(&stack, "cityHash64(audit_id) % 97 = 3");
    delete(&stack, "cityHash64(audit_id) % 97 = 3");
    let (code, report) = stack.reconcile("run");
    assert_eq!(code, 1, "{}", report["reasons"]);
    expect(&report, &[("consumed_not_stored", &gone)]);
    let windows = report["loss_windows"].as_array().unwrap();
    assert!(windows.iter().all(|window| window["hop"] == "after_stream"), "{windows:?}");
}

#[test]
fn rows_in_another_table_and_rows_that_are_gone_are_told_apart() {
    let stack = sent();
    await_rows(&stack, "2000");
    let moved = stored(&stack, "cityHash64(audit_id) % 97 = 3");
    let gone = stored(&stack, "cityHash64(audit_id) % 97 = 4");
    stack.ask("CREATE TABLE audit.events AS audit.audit_logs");
    stack.ask(
        "INSERT INTO audit.events (event_json) SELECT event_json FROM audit.audit_logs \
         WHERE cityHash64(audit_id) % 97 = 3",
    );
    delete(&stack, "cityHash64(audit_id) % 97 IN (3, 4)");
    let (code, report) = stack.reconcile("run");
    assert_eq!(code, 1, "{}", report["reasons"]);
    expect(&report, &[("elsewhere", &moved), ("consumed_not_stored", &gone)]);
    assert_eq!(report["table"]["elsewhere"], serde_json::json!(["audit.events"]));
}

#[test]
fn stores_that_have_nothing_of_a_run_are_told_to_be_wrong() {
    let stack = sent();
    await_rows(&stack, "2000");
    stack.ask("CREATE TABLE audit.other AS audit.audit_logs");
    run_async(async {
        let config = jetstream::stream::Config {
            name: "OTHER".to_owned(),
            subjects: vec!["other".to_owned()],
            ..jetstream::stream::Config::default()
        };
        context(&stack).await.create_stream(config).await.unwrap();
    });
    let (_, report) = stack.reconcile_with("run", &["--table", "audit.other", "--stream", "OTHER"]);
    let reasons = report["reasons"].as_array().unwrap();
    let says = |words: &str| reasons.iter().any(|it| it.as_str().unwrap().contains(words));
    assert!(says("audit.other has no event of this run, but audit.audit_logs has"), "{reasons:?}");
    assert!(says("the stream has no message of this run"), "{reasons:?}");
    assert_eq!(report["totals"]["not_seen_by_cause"], serde_json::json!({"elsewhere": 2_000}));
}

#[test]
fn events_that_share_a_sorting_key_are_folded() {
    let stack = sent();
    await_rows(&stack, "2000");
    // Different events can have the same sorting key in this table, so it keeps one event for each
    // second and user.
    stack.ask(
        "CREATE TABLE audit.folding (event_json String, \
         timestamp DateTime64(3) MATERIALIZED parseDateTime64BestEffort(\
         JSONExtractString(event_json, 'requestReceivedTimestamp')), \
         user String MATERIALIZED JSONExtractString(event_json, 'user', 'username'), \
         audit_id UUID MATERIALIZED toUUIDOrZero(JSONExtractString(event_json, 'auditID'))) \
         ENGINE ReplacingMergeTree ORDER BY (toStartOfSecond(timestamp), user)",
    );
    stack.ask("INSERT INTO audit.folding SELECT event_json FROM audit.audit_logs");
    stack.ask("OPTIMIZE TABLE audit.folding FINAL");
    let kept = stack.ask("SELECT audit_id FROM audit.folding");
    let kept: BTreeSet<String> = kept.lines().map(str::to_owned).collect();
    let folded = &stored(&stack, "true") - &kept;
    stack.ask("TRUNCATE TABLE audit.audit_logs");
    let (code, report) = stack.reconcile_with("run", &["--table", "audit.folding"]);
    assert_eq!(code, 1, "{}", report["reasons"]);
    assert!(folded.len() > 100, "{}", folded.len());
    expect(&report, &[("folded", &folded)]);
    assert_eq!(report["table"]["duplicates"], "none_visible");
    // This key has a column that only the table knows, so the verifier cannot know which events
    // share it.
    stack.ask(
        "CREATE TABLE audit.own (event_json String, cluster String DEFAULT 'a', \
         timestamp DateTime64(3) MATERIALIZED parseDateTime64BestEffort(\
         JSONExtractString(event_json, 'requestReceivedTimestamp')), \
         user String MATERIALIZED JSONExtractString(event_json, 'user', 'username'), \
         audit_id UUID MATERIALIZED toUUIDOrZero(JSONExtractString(event_json, 'auditID'))) \
         ENGINE ReplacingMergeTree ORDER BY (cluster, toStartOfSecond(timestamp), user)",
    );
    stack.ask("INSERT INTO audit.own (event_json) SELECT event_json FROM audit.folding");
    stack.ask("DROP TABLE audit.folding SYNC");
    let (code, report) = stack.reconcile_with("run", &["--table", "audit.own"]);
    assert_eq!(code, 1, "{}", report["reasons"]);
    expect(&report, &[("consumed_not_stored", &folded)]);
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("its sorting key (cluster, toStartOfSecond(timestamp), user)"));
}

#[test]
fn a_row_with_a_timestamp_of_another_day_is_in_another_partition() {
    let stack = sent();
    await_rows(&stack, "2000");
    let moved = stored(&stack, "cityHash64(audit_id) % 97 = 3");
    stack.ask(
        "INSERT INTO audit.audit_logs (event_json) SELECT replaceRegexpOne(event_json, \
         '\"requestReceivedTimestamp\":\"[^\"]+\"', \
         '\"requestReceivedTimestamp\":\"2020-02-02T02:02:02.000000Z\"') FROM audit.audit_logs \
         WHERE cityHash64(audit_id) % 97 = 3",
    );
    delete(&stack, "cityHash64(audit_id) % 97 = 3 AND toYear(timestamp) != 2020");
    let (code, report) = stack.reconcile("run");
    assert_eq!(code, 1, "{}", report["reasons"]);
    expect(&report, &[("misplaced", &moved)]);
}

#[test]
fn what_a_pipeline_drops_by_design_is_filtered() {
    let stack = sent();
    await_rows(&stack, "2000");
    let dropped = stored(&stack, "verb = 'get'");
    let gone = stored(&stack, "verb = 'list' AND cityHash64(audit_id) % 17 = 3");
    delete(&stack, "verb = 'get' OR (verb = 'list' AND cityHash64(audit_id) % 17 = 3)");
    let changes = "adds: [/timestamp]\nkeeps:\n  - field: /verb\n    values: [list, watch, create, \
                   update, patch, delete, deletecollection]\n";
    std::fs::write(stack.path("changes.yaml"), changes).unwrap();
    let (code, report) = stack.reconcile_with("run", &["--changes", "changes.yaml"]);
    assert_eq!(code, 1, "{}", report["reasons"]);
    assert_eq!(report["totals"]["filtered"], dropped.len());
    expect(&report, &[("consumed_not_stored", &gone)]);
}

#[test]
fn a_change_that_no_column_shows_is_found_by_looking_into_the_event() {
    let stack = sent();
    await_rows(&stack, "2000");
    let changed = stored(&stack, "cityHash64(audit_id) % 97 = 3");
    stack.ask(
        "INSERT INTO audit.audit_logs (event_json) SELECT replaceRegexpOne(event_json, \
         '\"userAgent\":\"[^\"]+\"', '\"userAgent\":\"forged\"') FROM audit.audit_logs \
         WHERE cityHash64(audit_id) % 97 = 3",
    );
    delete(&stack, "cityHash64(audit_id) % 97 = 3 AND event_json NOT LIKE '%\"forged\"%'");
    assert_eq!(stack.reconcile("run").0, 0, "the columns are what they were");
    let (code, report) = stack.reconcile_with("run", &["--deep"]);
    assert_eq!(code, 1, "{}", report["reasons"]);
    expect(&report, &[("corrupted", &changed)]);
    let differences = report["differences"].as_array().unwrap();
    assert_eq!(differences.len(), changed.len());
    assert!(differences.iter().all(|it| it["column"] == "event_json/userAgent"));
    assert!(differences.iter().all(|it| it["stored"] == "\"forged\""));
}

#[test]
fn an_event_whose_other_stage_came_first_is_swallowed() {
    let stack = Stack::up(&[]);
    let run_id = Uuid::from_u128(0x1234_5678_9abc_def0);
    let mark = RunMark::of(run_id);
    let swallowed: BTreeSet<String> =
        (0..20).map(|seq| mark.audit_id(TenantIndex(3), Seq(seq * 7)).to_string()).collect();
    run_async(async {
        let context = context(&stack).await;
        for id in &swallowed {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
            let body = format!(r#"{{"auditID":"{id}","stage":"RequestReceived"}}"#);
            let subject = "audit.k8s.activity";
            let sent = context.publish_with_headers(subject, headers, body.into()).await.unwrap();
            assert!(!sent.await.unwrap().duplicate);
        }
    });
    let profile = stack.profile(100, 2, 50);
    let run_id = run_id.to_string();
    let args = ["run", &profile, "--out", "run", "--run-id", &run_id];
    let mut generator = stack.command("auditstorm-generator", &args);
    // By the generator's clock, the run begins after all its messages came into the stream.
    wrong_clock::set(&mut generator, 300);
    assert!(generator.output().unwrap().status.success());
    let (code, report) = stack.reconcile("run");
    assert_eq!(code, 1, "{}", report["reasons"]);
    expect(&report, &[("swallowed", &swallowed)]);
}

/// Stops the delivery of messages to the aggregator's consumer, for an hour or until it is resumed.
async fn pause(stack: &Stack) -> jetstream::stream::Stream {
    let stream = context(stack).await.get_stream("AUDIT_EVENTS").await.unwrap();
    let hour = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let paused = stream.pause_consumer("clickhouse-ingest", hour.into()).await.unwrap();
    assert!(paused.paused);
    stream
}

#[test]
fn what_a_consumer_has_not_been_given_is_not_lost_yet() {
    let stack = Stack::up(&[]);
    run_async(pause(&stack));
    let profile = stack.profile(100, 2, 50);
    stack.generate(&profile, "run");
    let args = ["--quiet", "2s", "--wait", "4s"];
    let (code, report) = stack.reconcile_with("run", &args);
    assert_eq!((code, &report["verdict"]), (4, &"unknown".into()), "{}", report["reasons"]);
    let not_seen = &report["totals"]["not_seen_by_cause"];
    assert_eq!(not_seen, &serde_json::json!({"not_consumed": 2_000}));
    run_async(async {
        let stream = context(&stack).await.get_stream("AUDIT_EVENTS").await.unwrap();
        stream.resume_consumer("clickhouse-ingest").await.unwrap();
    });
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["verdict"]), (0, &"whole".into()), "{}", report["reasons"]);
}

/// Sends a run while the consumer is paused and the stream keeps few messages.
fn evicted() -> Stack {
    let stack = Stack::up(&[]);
    let survivors = run_async(async {
        let stream = pause(&stack).await;
        let mut config = stream.get_info().await.unwrap().config;
        config.max_messages = 500;
        context(&stack).await.update_stream(config).await.unwrap();
        let profile = stack.profile(100, 2, 50);
        tokio::task::block_in_place(|| stack.generate(&profile, "run"));
        let survivors = stream.get_info().await.unwrap().state.messages;
        stream.resume_consumer("clickhouse-ingest").await.unwrap();
        survivors
    });
    assert_eq!(survivors, 500);
    await_rows(&stack, "500");
    stack
}

#[test]
fn messages_that_the_stream_evicted_unread_are_told_by_counting() {
    let stack = evicted();
    let (code, report) = stack.reconcile("run");
    assert_eq!(code, 1, "{}", report["reasons"]);
    assert_eq!(report["totals"]["lost_by_cause"], serde_json::json!({"evicted": 1_500}));
    assert_eq!(report["stream"]["evicted"], true);
    assert!(found(&report, "evicted").is_disjoint(&stored(&stack, "true")));
}

#[test]
fn where_the_stream_has_evicted_messages_and_counts_differ_a_loss_has_no_hop() {
    let stack = evicted();
    let gone = stored(&stack, "cityHash64(audit_id) % 7 = 3");
    delete(&stack, "cityHash64(audit_id) % 7 = 3");
    run_async(async {
        // The stream's messages of these events are gone, too.
        context(&stack).await.get_stream("AUDIT_EVENTS").await.unwrap().purge().await.unwrap();
    });
    let (code, report) = stack.reconcile("run");
    assert_eq!(code, 1, "{}", report["reasons"]);
    let lost = serde_json::json!({"somewhere": 1_500 + gone.len()});
    assert_eq!(report["totals"]["lost_by_cause"], lost);
    assert!(gone.is_subset(&found(&report, "somewhere")));
}

#[test]
fn a_purged_stream_takes_nothing_from_a_whole_run() {
    let stack = sent();
    await_rows(&stack, "2000");
    run_async(async {
        context(&stack).await.get_stream("AUDIT_EVENTS").await.unwrap().purge().await.unwrap();
    });
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["verdict"]), (0, &"whole".into()), "{}", report["reasons"]);
}

#[test]
fn what_an_aggregator_had_acknowledged_and_only_in_memory_is_named() {
    let stack = Stack::up(&["--fault", "delay:aggregator:20s"]);
    let profile = stack.profile(100, 2, 50);
    stack.generate(&profile, "run");
    // Everything is acknowledged to the stream, but only in the aggregator's memory.
    run_async(async {
        let stream = context(&stack).await.get_stream("AUDIT_EVENTS").await.unwrap();
        let mut consumer: PullConsumer = stream.get_consumer("clickhouse-ingest").await.unwrap();
        for _ in 0..100 {
            if consumer.info().await.unwrap().ack_floor.stream_sequence == 2_000 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the aggregator did not acknowledge");
    });
    stack.restart("relay", "100ms");
    let stored: u64 = stack.ask("SELECT count() FROM audit.audit_logs").parse().unwrap();
    let (code, report) = stack.reconcile("run");
    assert_eq!(code, 1, "{}", report["reasons"]);
    let lost = serde_json::json!({"consumed_not_stored": 2_000 - stored});
    assert_eq!(report["totals"]["lost_by_cause"], lost);
}

#[test]
fn shards_in_directories_of_their_own_are_one_run_and_a_missing_one_is_named() {
    let stack = Stack::up(&[]);
    let profile = stack.profile(100, 2, 50);
    let start = edges::clock::Clock::system().now() + 3_000_000;
    let start = chrono::DateTime::from_timestamp_micros(start).unwrap().to_rfc3339();
    let shards = [("1/2", "one"), ("2/2", "two")].map(|(part, out)| {
        let args = ["run", &profile, "--out", out, "--shard", part, "--start-at", &start];
        stack.command("auditstorm-generator", &args).spawn().unwrap()
    });
    for mut shard in shards {
        assert!(shard.wait().unwrap().success());
    }
    let (code, report) = stack.reconcile_with("one", &["two"]);
    assert_eq!((code, &report["verdict"]), (0, &"whole".into()), "{}", report["reasons"]);
    assert_eq!(report["totals"]["stored"], 2_000);
    let render = |args: &[&str]| {
        let output = stack.run("auditstorm-verifier", &[&["report"], args].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(render(&["one", "two", "--out", "both"]), (Some(0), String::new()));
    let (code, told) = render(&["one"]);
    assert!(told.contains("the seconds of shard 2 are not shown"), "{told}");
    assert_eq!(code, Some(0));
    let page = |dir: &str| std::fs::read_to_string(stack.path(dir).join("report.html")).unwrap();
    assert_ne!(page("one"), page("both"));
    let (code, report) = stack.reconcile("one");
    assert_eq!((code, &report["verdict"]), (4, &"unknown".into()), "{}", report["reasons"]);
    assert_eq!(report["reasons"][0], "the ledger of shard 2 is missing");
    let totals = &report["totals"];
    for (fate, expected) in [("recovered", 1_000), ("unexpected", 0), ("unsent", 0)] {
        assert_eq!(totals[fate], expected, "{fate}: {totals}");
    }
    let copied = stack.path("copy");
    std::fs::create_dir(&copied).unwrap();
    for file in ["run.json", "ledger-0.bin"] {
        std::fs::copy(stack.path("one").join(file), copied.join(file)).unwrap();
    }
    let output = stack.run("auditstorm-verifier", &["reconcile", "one", "copy"]);
    let story = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{story}");
    assert!(story.contains("shard 1 of the run has two ledgers"), "{story}");
}

#[test]
fn servers_that_are_restarted_during_a_check_change_nothing() {
    let stack = sent();
    await_rows(&stack, "2000");
    let gone = stored(&stack, "cityHash64(audit_id) % 97 = 3");
    delete(&stack, "cityHash64(audit_id) % 97 = 3");
    let args = ["reconcile", "run", "--quiet", "12s", "--wait", "90s"];
    let mut verifier = stack.command("auditstorm-verifier", &args);
    let mut verifier = verifier.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut story = BufReader::new(verifier.stderr.take().unwrap()).lines();
    assert!(story.next().unwrap().unwrap().contains("waiting until"));
    stack.restart("clickhouse", "1s");
    stack.restart("nats", "1s");
    stack.restart("clickhouse", "1s");
    let output = verifier.wait_with_output().unwrap();
    let story: Vec<_> = story.map(Result::unwrap).collect();
    assert_eq!(output.status.code(), Some(1), "{story:?}");
    assert!(story.iter().any(|line| line.ends_with("asking again")), "{story:?}");
    let counted = "auditstorm-verifier: asked again: ";
    assert!(story.iter().any(|line| line.starts_with(counted)), "{story:?}");
    let report = std::fs::read(stack.path("run/report.json")).unwrap();
    expect(&serde_json::from_slice(&report).unwrap(), &[("consumed_not_stored", &gone)]);
}
