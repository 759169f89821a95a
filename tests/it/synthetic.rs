//! Makes the directory of a run that never took place: an hour of two hundred tenants, with
//! observations and losses.

use std::path::Path;

use events::event::MicroTime;
use plans::plan::Plan;
use plans::spec::{RunOptions, Span};
use runs::observation::{
    ClockOffset, ConsumerSeen, Freshness, Mark, Observation, ResourceUse, StreamSeen, TableSeen,
};
use runs::record::{Ending, Histograms, Second, Summary};
use runs::run_dir::RunDir;
use runs::tally::Tally;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stack::root;

const START: i64 = 1_769_860_800_000_000;
const SECONDS: i64 = 3_600;
const SECOND_US: i64 = 1_000_000;
const TENANTS: u64 = 200;
const RATE: u64 = 20_000;

/// A profile of an hour with two hundred tenants.
pub(crate) const PROFILE: &str =
    "name: hour\nstages: [{duration: 1h, rate: 100/s, tenants: 200}]\n";

/// Writes the directory of a run with this latency of the webhook. `number` distinguishes runs.
pub(crate) fn write_hour(dir: &Path, number: u128, profile: &str, latency_us: u32) {
    let run_id = Uuid::from_u128(0x6f1c_1c52_6a5e_4b53_9b0f_0f3c_8d3a_9f10 + number);
    let options = RunOptions::new(run_id, START, Span::Live);
    let plan = Plan::parse(profile, "hour", options).unwrap();
    RunDir::create(dir, &plan.spec).unwrap();
    let mut total = Tally::new(1);
    let mut timeline = String::new();
    let mut observations = String::new();
    for at in 1..=SECONDS {
        let second = second(at, latency_us, &mut total);
        push_line(&mut timeline, &second);
        push_line(&mut observations, &observation(at));
    }
    push_line(&mut timeline, &Histograms::new(&plan.classes, &total));
    let mut marks = String::new();
    for (at, text) in MARKS {
        push_line(&mut marks, &mark(at, text));
    }
    total.events.sent = plan.script.planned();
    total.events.acknowledged = total.events.sent;
    let at = START + SECONDS * SECOND_US;
    let ending = Ending { at, stopped: false, aborted: None };
    let summary = Summary::new(&plan, plan.script.planned(), &total, ending);
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write("timeline-0.jsonl", &timeline);
    write("observations.jsonl", &observations);
    write("marks.jsonl", &marks);
    write("summary-0.json", &serde_json::to_string(&summary).unwrap());
    write("report.json", &report(run_id).to_string());
}

const MARKS: [(i64, &str); 2] =
    [(1_200, "restart clickhouse <&\"'|`>"), (2_400, "restart nats --down-for 5s")];

fn push_line(text: &mut String, record: &impl Serialize) {
    text.push_str(&serde_json::to_string(record).unwrap());
    text.push('\n');
}

fn mark(at_s: i64, text: &str) -> Mark {
    Mark { at: MicroTime(START + at_s * SECOND_US), text: text.to_owned() }
}

/// Returns a number from 0 to 1 that looks random.
fn noise(at: i64, salt: i64) -> f64 {
    f64::from(u16::try_from((at * 7_919 + salt * 104_729) % 1_000).unwrap()) / 1_000.0
}

/// Whether ClickHouse is away at this moment, according to the marks.
fn is_down(at: i64) -> bool {
    (1_200..1_260).contains(&at)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
fn second(at: i64, latency_us: u32, total: &mut Tally) -> Second {
    let mut tally = Tally::new(1);
    let slower = if is_down(at) { 20.0 } else { 1.0 };
    for part in 0..20 {
        let spread = 0.5 + noise(at, part) + 4.0 * noise(at, part + 50).powi(8);
        let micros = (f64::from(latency_us) * spread * slower) as u64;
        for tally in [&mut tally, &mut *total] {
            tally.latencies[0].sent_to_acknowledged.record(micros).unwrap();
            tally.latencies[0].due_to_acknowledged.record(micros + 500_000).unwrap();
        }
    }
    tally.events.sent = RATE - (noise(at, 3) * 100.0) as u64;
    tally.events.acknowledged = tally.events.sent;
    Second::new(START + at * SECOND_US + 800, RATE, &tally)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some millions")]
fn observation(at: i64) -> Observation {
    let behind = if is_down(at) { (at - 1_200) * 20_000 } else { 0 };
    let pending = behind.unsigned_abs() + (noise(at, 1) * 900.0) as u64;
    let late_ms = if is_down(at) { 30_000.0 } else { 0.0 };
    let visible: Vec<f64> =
        (0..5).map(|it| 1_500.0 + late_ms + 2_000.0 * noise(at, it + 9)).collect();
    let used = |part: &str, cpu_cores: f64, mib: f64| ResourceUse {
        part: part.to_owned(),
        cpu_cores: cpu_cores * (0.8 + 0.4 * noise(at, 21)),
        memory_bytes: (mib * 1_048_576.0) as u64,
    };
    Observation {
        at: MicroTime(START + at * SECOND_US),
        stream: Some(StreamSeen {
            messages: 400_000,
            consumer: Some(ConsumerSeen {
                pending,
                unacknowledged: 100,
                ..ConsumerSeen::default()
            }),
            ..StreamSeen::default()
        }),
        table: Some(TableSeen { rows: at.unsigned_abs() * RATE, ..TableSeen::default() }),
        freshness: Freshness {
            acknowledged_to_visible_ms: visible.iter().map(|ms| ms - 20.0).collect(),
            due_to_visible_ms: visible,
            // At the end, all samples have been seen.
            waiting: if at < SECONDS { 3 } else { 0 },
            oldest_ms: 1_000.0 + late_ms,
            watched: None,
        },
        clocks: vec![ClockOffset {
            server: "clickhouse".to_owned(),
            offset_ms: 0.1,
            error_ms: 0.4,
        }],
        resources: vec![
            used("clickhouse", 1.4, 1_900.0 + f64::from(i32::try_from(at).unwrap()) / 10.0),
            used("nats", 0.4, 220.0),
            used("vector", 0.9, 310.0),
        ],
        backlog_min: None,
        held: Vec::new(),
    }
}

/// The report that the guide shows, with this many tenants and findings.
fn report(run_id: Uuid) -> Value {
    let guide = std::fs::read_to_string(root().join("docs/report.md")).unwrap();
    let example = guide.split("```json").nth(1).unwrap().split("```").next().unwrap();
    let mut report: Value = serde_json::from_str(example).unwrap();
    let end = START + SECONDS * SECOND_US;
    report["run_id"] = json!(run_id);
    report["profile"] = "hour".into();
    report["start"] = json!(MicroTime(START));
    report["end"] = json!(MicroTime(end));
    report["checked_at"] = json!(MicroTime(end + 30 * SECOND_US));
    let totals = &mut report["totals"];
    for name in ["planned", "attempted", "acknowledged", "in_stream", "rows"] {
        totals[name] = (SECONDS.unsigned_abs() * RATE).into();
    }
    totals["stored"] = (SECONDS.unsigned_abs() * RATE - 1_250).into();
    for name in ["unknown", "recovered", "unresolved", "duplicated"] {
        totals[name] = 0.into();
    }
    totals["lost"] = 1_250.into();
    totals["lost_by_cause"] = json!({ "evicted": 50, "consumed_not_stored": 1_200 });
    report["table"]["duplicates"] = "none_visible".into();
    report["reasons"] = json!(["1250 acknowledged events are not stored"]);
    let at = |second: i64| MicroTime(START + second * SECOND_US);
    report["loss_windows"] = json!([
        { "cause": "consumed_not_stored", "hop": "after_stream", "from": at(1_201),
          "until": at(1_258), "events": 1_200, "marks": [mark(MARKS[0].0, MARKS[0].1)] },
        { "cause": "evicted", "hop": "in_stream", "from": at(2_401), "until": at(2_404),
          "events": 50, "marks": [mark(MARKS[1].0, MARKS[1].1)] },
    ]);
    let finding = report["findings"][0].clone();
    report["findings"] = vec![finding; 1_250].into();
    report["differences"] = json!([]);
    let tenant = report["tenants"][0].clone();
    let tenants = (0..TENANTS).map(|index| {
        let mut tenant = tenant.clone();
        tenant["tenant"] = index.into();
        tenant["scope_name"] = format!("acme-{index}-with-a-name-that-is-rather-long").into();
        if index % 7 != 0 {
            tenant["fates"]["lost"] = json!({});
            tenant["fates"]["duplicated_in_table"] = json!([]);
        }
        tenant
    });
    report["tenants"] = tenants.collect();
    report
}
