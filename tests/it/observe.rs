//! What the verifier sees of the pipeline before and during a run.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use edges::clock::{Clock, micros};
use runs::observation::{Observation, StreamSeen};
use runs::run_dir::RunDir;
use serde_json::Value;

use crate::metrics::get;
use crate::stack::{Running, Stack, wait_until};

/// A watch of run directory `run` in the background, which writes its messages into a file.
struct Watch(Running);

impl Watch {
    fn begin(stack: &Stack, flags: &[&str]) -> Self {
        Self::begin_with(stack, flags, &[])
    }

    /// Like [`Self::begin`], with other environment variables.
    fn begin_with(stack: &Stack, flags: &[&str], env: &[(&str, &str)]) -> Self {
        let told = std::fs::File::options();
        let told = { told }.create(true).append(true).open(stack.path("told")).unwrap();
        let mut command = stack.command("auditstorm-verifier", &["watch", "run"]);
        command.envs(env.iter().copied());
        Self(Running(command.args(flags).stdout(Stdio::null()).stderr(told).spawn().unwrap()))
    }

    /// Waits until the watch ends by itself, and returns its exit code.
    fn end(&mut self) -> i32 {
        let mut code = None;
        wait_until("the watch is over", || {
            code = self.0.0.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code().unwrap()
    }

    fn interrupt(&mut self) -> i32 {
        let pid = self.0.0.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.end()
    }
}

/// A server that gives every request the same answer, and counts them. It stops when it is dropped.
struct StandIn {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    fn up(body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, over) = (Arc::clone(&asked), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let Ok(mut stream) = stream else { continue };
                let Ok(1..) = stream.read(&mut [0; 4096]) else { continue };
                let date = chrono::DateTime::from_timestamp_micros(Clock::system().now()).unwrap();
                let date = date.format("%a, %d %b %Y %H:%M:%S GMT");
                let head = format!("content-length: {}\r\ndate: {date}", body.len());
                stream
                    .write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes())
                    .ok();
            }
        });
        Self { address, asked, is_over, thread: Some(thread) }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        self.thread.take().map(JoinHandle::join);
    }
}

/// The metrics of a sidecar whose buffer is full.
const SIDECAR: &str = "\
vector_buffer_events{component_id=\"n\",component_kind=\"sink\",component_type=\"nats\"} 429603
vector_buffer_size_events{component_id=\"n\",component_kind=\"sink\",component_type=\"nats\"} 429603
";

fn observations(stack: &Stack) -> Vec<Observation> {
    let Ok((dir, _)) = RunDir::open(&stack.path("run")) else { return Vec::new() };
    dir.read_observations().unwrap()
}

fn rows(observation: &Observation) -> Option<u64> {
    observation.table.map(|table| table.rows)
}

fn all(observations: &[Observation], of: fn(&Observation) -> &Vec<f64>) -> Vec<f64> {
    observations.iter().flat_map(|it| of(it).iter().copied()).collect()
}

/// Runs a function with the stream and its consumer.
fn with_stream<T>(
    stack: &Stack,
    work: impl AsyncFnOnce(stream::Stream, jetstream::Context) -> T,
) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = async_nats::connect(stack.address("NATS_URL")).await.unwrap();
        let context = jetstream::new(client);
        work(context.get_stream("AUDIT_EVENTS").await.unwrap(), context).await
    })
}

/// Limits the size of the stream, in bytes.
fn shrink(stack: &Stack, max_bytes: i64) {
    with_stream(stack, async |stream, context| {
        let config = stream::Config { max_bytes, ..stream.cached_info().config.clone() };
        context.update_stream(config).await.unwrap();
    });
}

#[test]
fn a_watch_begun_before_its_run_sees_it_to_its_end() {
    let stack = Stack::up(&[]);
    let sandbox = stack.path("sandbox");
    let (webhook, vector) = (StandIn::up("pong"), StandIn::up(SIDECAR));
    let metrics_url = format!("http://{}/metrics", vector.address);
    let flags = ["--metrics", "127.0.0.1:0", "--sandbox", sandbox.to_str().unwrap()];
    let flags = [&flags[..], &["--vector-metrics", &metrics_url]].concat();
    let webhook_url = format!("http://{}/events", webhook.address);
    let mut watch = Watch::begin_with(&stack, &flags, &[("VECTOR_WEBHOOK_URL", &webhook_url)]);
    let profile = stack.profile(20, 8, 20);
    let mut generator = stack.begin_to_generate(&profile, 200);
    let marked = stack.run("auditstorm-verifier", &["mark", "run", "killed \"nats-1\""]);
    assert!(marked.status.success(), "{marked:?}");
    scraped_while_events_become_visible(&stack, &format!("vector {}", vector.address));
    // If a Vector goes away, the watch goes on.
    drop(vector);
    assert!(generator.wait().unwrap().success());
    assert_eq!(watch.end(), 0);
    assert_eq!(webhook.asked(), 0, "a witness does not disturb the webhook");

    let seen = observations(&stack);
    assert!((8..40).contains(&seen.len()), "{} looks", seen.len());
    let counts: Vec<u64> = seen.iter().filter_map(rows).collect();
    assert_eq!(counts.len(), seen.len(), "the table answered each time");
    assert!(counts.is_sorted(), "{counts:?}");
    let last = seen.last().unwrap();
    assert_eq!((rows(last), last.freshness.waiting), (Some(1_600), 0), "{last:?}");
    let stream = last.stream.unwrap();
    let consumer = stream.consumer.unwrap();
    assert_eq!((stream.first, stream.last, stream.messages), (1, 1_600, 1_600));
    assert_eq!((consumer.delivered, consumer.deliveries), (1_600, 1_600));
    assert_eq!((consumer.ack_floor, consumer.pending, consumer.unacknowledged), (1_600, 0, 0));

    let due = all(&seen, |it| &it.freshness.due_to_visible_ms);
    let acknowledged = all(&seen, |it| &it.freshness.acknowledged_to_visible_ms);
    assert!(due.len() >= 60, "{} samples of 80", due.len());
    assert!(acknowledged.len() * 10 >= due.len() * 9, "{} of {}", acknowledged.len(), due.len());
    assert!(due.iter().all(|ms| (0.0..15_000.0).contains(ms)), "{due:?}");
    assert!(acknowledged.iter().all(|ms| (0.0..15_000.0).contains(ms)), "{acknowledged:?}");
    let first = &seen[0];
    assert_eq!(first.clocks.len(), 3, "{first:?}");
    for offset in &first.clocks {
        assert!(offset.offset_ms.abs() <= offset.error_ms + 5.0, "{offset:?}: it is one machine");
    }
    let held: Vec<(&str, u64)> = first.held.iter().map(|it| (&*it.kind, it.events)).collect();
    assert_eq!((held, last.held.len()), (vec![("nats", 429_603)], 0));
    assert_eq!(last.backlog_min, Some(0), "all that was acknowledged was taken");
    let told = std::fs::read_to_string(stack.path("told")).unwrap();
    assert!(told.contains("held_sidecar=429603"), "{told}");
    assert!(told.contains("no_answer=vector:127.0.0.1:"), "{told}");
    let parts: Vec<&str> = last.resources.iter().map(|used| used.part.as_str()).collect();
    assert_eq!(parts, ["clickhouse", "nats", "relay"]);
    assert!(last.resources.iter().all(|used| used.memory_bytes > 1 << 20), "{last:?}");
    let busy = seen.iter().flat_map(|it| &it.resources).any(|used| used.cpu_cores > 0.01);
    assert!(busy, "no part used any CPU time");
    let (dir, _) = RunDir::open(&stack.path("run")).unwrap();
    let marks = dir.read_marks().unwrap();
    assert_eq!(marks.len(), 1);
    assert_eq!(marks[0].text, "killed \"nats-1\"");
    assert!((seen[0].at.0..last.at.0).contains(&marks[0].at.0));
}

/// Waits until the metrics show visible samples, and checks some other metrics.
fn scraped_while_events_become_visible(stack: &Stack, vector: &str) {
    let mut address = String::new();
    wait_until("the watch serves metrics", || {
        let told = std::fs::read_to_string(stack.path("told")).unwrap();
        let told = told.lines().find_map(|line| {
            line.strip_prefix("metrics on http://")?.strip_suffix("/metrics").map(str::to_owned)
        });
        address = told.unwrap_or_default();
        !address.is_empty()
    });
    let mut text = String::new();
    wait_until("samples are visible", || {
        text = get(&address, "/metrics").unwrap().1;
        value(&text, "auditstorm_watch_samples_visible_total") > 0.0
    });
    assert!(value(&text, "auditstorm_watch_table_rows") > 0.0, "{text}");
    assert!(value(&text, "auditstorm_watch_stream_last_sequence") > 0.0, "{text}");
    assert!(value(&text, "auditstorm_watch_due_to_visible_seconds_count") > 0.0, "{text}");
    let held = value(&text, "auditstorm_watch_part_backlog_events{part=\"sidecar\"}");
    assert!((held - 429_603.0).abs() < 1e-9, "{text}");
    for server in ["clickhouse", "nats", vector] {
        let up = format!("auditstorm_watch_up{{server=\"{server}\"}}");
        assert!((value(&text, &up) - 1.0).abs() < 1e-9, "{text}");
    }
    assert!(value(&text, "auditstorm_watch_stream_evicted_unread").abs() < 1e-9, "{text}");
}

fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[test]
fn a_server_that_is_down_leaves_a_gap_and_the_watch_goes_on() {
    let stack = Stack::up(&[]);
    let profile = stack.profile(20, 20, 20);
    let mut generator = stack.begin_to_generate(&profile, 100);
    let mut watch = Watch::begin(&stack, &["--interval", "500ms"]);
    wait_until("the watch has seen rows", || observations(&stack).len() > 2);
    stack.restart("clickhouse", "2s");
    stack.restart("nats", "2s");
    assert!(generator.wait().unwrap().success());
    assert_eq!(watch.end(), 0);
    let seen = observations(&stack);
    let gap = |is_seen: fn(&Observation) -> bool| {
        let blind = seen.iter().filter(|it| !is_seen(it)).count();
        blind > 0 && is_seen(&seen[0]) && is_seen(seen.last().unwrap())
    };
    assert!(gap(|it| it.table.is_some()), "{seen:?}");
    assert!(gap(|it| it.stream.is_some()), "{seen:?}");
    // A watch ends with its last sample. Some events may follow after it.
    let in_the_end = rows(seen.last().unwrap());
    assert!(in_the_end > Some(3_900), "{in_the_end:?}");
    let held = |it: &Observation| it.held.iter().any(|it| it.kind == "nats" && it.events > 0);
    assert!(seen.iter().any(held), "the sidecar held what NATS could not take: {seen:?}");
    assert!(!held(seen.last().unwrap()), "and has handed it on");
    let due = all(&seen, |it| &it.freshness.due_to_visible_ms);
    let longest = due.iter().copied().fold(0.0, f64::max);
    assert!(longest > 2_000.0, "an event waited for the server: {longest} ms");
    let told = std::fs::read_to_string(stack.path("told")).unwrap();
    assert!(told.contains("rows_per_second="), "{told}");
    for server in ["clickhouse", "nats"] {
        let counted = format!("\nno answer from {server}: ");
        assert!(told.contains(&counted), "{server}: {told}");
    }
}

#[test]
fn a_watch_that_is_stopped_or_killed_and_begun_again_goes_on() {
    let stack = Stack::up(&[]);
    let profile = stack.profile(20, 15, 20);
    let asked = "thresholds: {end_to_end: [max<5m, p(50)<5m]}";
    let text = std::fs::read_to_string(&profile).unwrap().replace("thresholds: {}", asked);
    std::fs::write(&profile, text).unwrap();
    let mut generator = stack.begin_to_generate(&profile, 100);
    let mut watch = Watch::begin(&stack, &["--quiet", "--interval", "200ms"]);
    wait_until("it has looked", || observations(&stack).len() > 3);
    assert_eq!(watch.interrupt(), 130);
    let mut watch = Watch::begin(&stack, &["--quiet", "--interval", "200ms"]);
    let before = observations(&stack).len();
    wait_until("it has looked again", || observations(&stack).len() > before + 3);
    drop(std::mem::replace(&mut watch, Watch::begin(&stack, &["--quiet", "--until-still"])));
    assert!(generator.wait().unwrap().success());
    assert_eq!(watch.end(), 0);
    let seen = observations(&stack);
    assert!(seen.is_sorted_by_key(|it| it.at.0), "one after the other");
    assert_eq!(rows(seen.last().unwrap()), Some(3_000));
    let after: Vec<u64> = seen.iter().rev().take(9).filter_map(rows).collect();
    assert_eq!(after, [3_000; 9], "it saw ten seconds of stillness");
    assert_eq!(std::fs::read_to_string(stack.path("told")).unwrap(), "", "it was to be quiet");
    what_a_killed_watch_waited_for_leaves_the_longest_open(&stack);
    let limited = stack.run("auditstorm-verifier", &["watch", "run", "--for", "1s", "--quiet"]);
    assert_eq!(limited.status.code(), Some(0));
    let none = stack.run("auditstorm-verifier", &["watch", "none", "--wait", "300ms"]);
    let message = String::from_utf8(none.stderr).unwrap();
    assert_eq!((none.status.code(), message.lines().count()), (Some(2), 1), "{message}");
    assert!(message.contains("there is no run in none"), "{message}");
    let none = stack.run("auditstorm-verifier", &["watch", "run", "--sandbox", "nowhere"]);
    let message = String::from_utf8(none.stderr).unwrap();
    assert_eq!(none.status.code(), Some(2), "{message}");
    assert!(message.contains("no sandbox in nowhere"), "{message}");
}

/// Everything was stored, and no sample that was seen took long. But two watches were stopped or
/// killed while they waited for samples, so nobody knows how long those took.
fn what_a_killed_watch_waited_for_leaves_the_longest_open(stack: &Stack) {
    let (code, report) = stack.reconcile("run");
    assert_eq!((report["verdict"].as_str(), code), (Some("whole"), 4), "{report}");
    let outcomes: Vec<&str> = report["thresholds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["unknown", "passed"], "{}", report["thresholds"]);
    let measured = report["thresholds"][0]["measured"].as_str().unwrap();
    let count = measured.split(": ").nth(1).and_then(|it| it.split(' ').next());
    let count: usize = count.unwrap().parse().unwrap();
    assert!((2..60).contains(&count) && measured.contains("were not visible yet"), "{measured}");
}

#[test]
fn what_the_stream_evicts_unread_is_seen() {
    let stack = Stack::up(&[]);
    shrink(&stack, 100_000);
    with_stream(&stack, async |stream, _| {
        let until = Clock::system().now() + micros(Duration::from_mins(5));
        let until = chrono::DateTime::from_timestamp_micros(until).unwrap();
        stream.pause_consumer("clickhouse-ingest", until).await.unwrap();
    });
    let profile = stack.profile(20, 4, 20);
    let mut watch = Watch::begin(&stack, &["--linger", "4s"]);
    stack.generate(&profile, "run");
    assert_eq!(watch.end(), 0);
    // Otherwise the relay would wait for it at the end.
    with_stream(&stack, async |stream, _| {
        stream.resume_consumer("clickhouse-ingest").await.unwrap();
    });
    let seen: Vec<StreamSeen> = observations(&stack).iter().filter_map(|it| it.stream).collect();
    let last = seen.last().unwrap();
    let evicted = last.evicted_unread();
    assert!(evicted.end - evicted.start > 300, "{last:?}");
    assert_eq!(evicted.end, last.first);
    let told = std::fs::read_to_string(stack.path("told")).unwrap();
    let loud =
        told.lines().any(|line| line.contains("evicted_unread=") && !line.contains("unread=0"));
    assert!(loud, "{told}");
    let hint = "when the watch ended; `auditstorm-verifier reconcile run` says why";
    assert!(told.contains("sampled events were not visible") && told.contains(hint), "{told}");
}

/// Runs a preflight. Returns the exit code, the findings as `rank about: reason`, and the output.
fn preflight(stack: &Stack, args: &[&str]) -> (i32, Vec<String>, Output) {
    let output = stack.run("auditstorm-verifier", &[&["preflight", "--json"], args].concat());
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let advice = findings["advice"].as_array().cloned().unwrap_or_default();
    let line = |advice: &Value| {
        let word = |name: &str| advice[name].as_str().unwrap().to_owned();
        format!("{} {}: {}", word("rank"), word("about"), word("reason"))
    };
    (output.status.code().unwrap(), advice.iter().map(line).collect(), output)
}

#[test]
fn before_a_run_the_pipeline_is_compared_with_what_the_profile_will_do() {
    let stack = Stack::up(&[]);
    let (code, advice, output) = preflight(&stack, &["smoke"]);
    assert_eq!(code, 0, "{output:?}");
    assert!(advice.iter().all(|line| line.starts_with("note ")), "{advice:#?}");
    assert!(advice.iter().any(|line| line.contains("one replica")), "{advice:#?}");

    let (code, advice, _) = preflight(&stack, &["stress"]);
    let burst = "blocker stream: at the peak of ";
    assert_eq!(code, 5, "a gigabyte is some seconds of it: {advice:#?}");
    assert!(advice[0].starts_with(burst) && advice[0].contains("1.0 GiB hold "), "{advice:#?}");
    let (code, advice, _) = preflight(&stack, &["stress", "--rate-scale", "0.01"]);
    assert_eq!(code, 0, "{advice:#?}");
    shrink(&stack, 1 << 20);
    let (code, advice, _) = preflight(&stack, &["smoke"]);
    assert_eq!(code, 5, "{advice:#?}");
    assert!(advice[0].starts_with("blocker stream: at the peak of "), "{advice:#?}");
    assert!(advice[0].contains("1.0 MiB hold "), "{advice:#?}");
    let (code, advice, _) = preflight(&stack, &["smoke", "--consumer", "other"]);
    assert_eq!(code, 5);
    let named = "blocker consumer: the stream has no consumer other, but has clickhouse-ingest";
    assert!(advice.iter().any(|line| line.starts_with(named)), "{advice:#?}");
    let text = stack.run("auditstorm-verifier", &["preflight", "smoke"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("\nBLOCKER  stream: ") && text.contains("\n         fix: "), "{text}");
}

#[test]
fn before_a_run_the_query_api_is_asked_to_whom_it_shows_what() {
    let stack = Stack::up(&["--query-api", "--fault", "scope:open"]);
    let profile = stack.profile(100, 1, 50);
    let of_reader = |flags: &[&str]| {
        let (code, advice, output) = preflight(&stack, &[&[&*profile], flags].concat());
        let advice: Vec<_> = advice.into_iter().filter(|it| it.contains(" reader: ")).collect();
        assert!(!output.stdout.is_empty(), "{output:?}");
        (code, advice)
    };
    assert_eq!(of_reader(&[]), (0, Vec::new()), "nothing is stored that it could show");
    stack.generate(&profile, "run");
    // The API answers nothing about the last seconds, since clocks may differ.
    wait_until("the events are old enough to be asked for", || {
        let (_, advice) = of_reader(&[]);
        advice.iter().any(|it| it.contains("is shown everybody's events"))
    });
    let (code, advice) = of_reader(&["--query-api", "http://127.0.0.1:9"]);
    assert_eq!(code, 5);
    assert!(advice[0].starts_with("blocker reader: it does not answer a question"), "{advice:?}");
}

#[test]
fn what_cannot_be_asked_is_said_in_one_line() {
    let stack = Stack::up(&[]);
    for (flags, code, expected) in [
        (&["smoke", "--nats", "nats://127.0.0.1:9"][..], 3, "NATS at nats://127.0.0.1:9 does not"),
        (&["smoke", "--clickhouse", "http://127.0.0.1:9"], 3, "does not answer; is it up?"),
        (&["smoke", "--vector-metrics", "http://127.0.0.1:9/metrics"], 3, "does not answer"),
        (&["smoke", "--stream", "NONE"], 2, "no stream NONE"),
        (&["smoke", "--table", "audit.none"], 2, "has no table audit.none"),
        (&["no-such-profile"], 2, "no-such-profile"),
    ] {
        let (found, _, output) = preflight(&stack, flags);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(expected), "{message}");
        assert_eq!((found, message.lines().count()), (code, 1), "{message}");
    }
    let (code, _, output) = preflight(&stack, &["smoke", "--vector-metrics", "localhost"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(code == 2 && message.contains("its scheme is missing"), "{message}");
    assert!(!Path::new(&stack.path("run")).exists());
}
