//! Runs the real program with real servers, as a person would.
#![expect(clippy::unwrap_used, reason = "what cannot be had here fails the test, as it should")]

mod honest;
mod query_api;
mod restart;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use procfs::ProcResult;
use procfs::process::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_auditstorm-sandbox");

#[test]
fn events_pass_from_the_webhook_to_the_table() {
    let mut sandbox = Sandbox::up(&[]);
    let events: Vec<Value> = (0..300).map(event).collect();
    assert_eq!(sandbox.post(&events), 200);
    let count = "SELECT count() FROM audit.audit_logs";
    // Every tenth is of another stage, which the aggregator leaves out.
    sandbox.wait_until("all rows are there", |sandbox| sandbox.ask(count) == "270");

    let columns = "toUnixTimestamp64Milli(timestamp), scope_type, scope_name, user, user_uid, \
        audit_id, verb, api_group, resource, namespace, resource_name, status_code";
    let sql = format!("SELECT {columns} FROM audit.audit_logs WHERE resource_name = 'web-7'");
    assert_eq!(
        sandbox.ask(&sql),
        format!(
            "1772366400007\tProject\tp-1\talice@example.com\tu-1\t{}\tget\tapps\tdeployments\t\
             production\tweb-7\t404",
            audit_id(7)
        )
    );
    let sql = "SELECT event_json FROM audit.audit_logs WHERE resource_name = 'web-7'";
    let stored: Value = serde_json::from_str(&sandbox.ask(sql)).unwrap();
    assert_eq!(stored["sourceIPs"], json!(["203.0.113.9"]));
    assert_eq!(stored["source_type"], "nats");
    assert_eq!(stored["subject"], "audit.k8s.activity");
    assert!(stored["end_to_end_latency_seconds"].is_i64());

    // A second `up` is refused, and the data outlives a stop.
    let before = std::fs::read_to_string(sandbox.env_file()).unwrap();
    assert_eq!(before.lines().count(), 6, "{before}");
    let second = run(&["up", "--dir", &sandbox.dir_text()]);
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    let down = run(&["down", "--dir", &sandbox.dir_text()]);
    assert!(down.status.success(), "{down:?}");
    assert!(String::from_utf8_lossy(&down.stdout).starts_with("stopped the sandbox"));
    assert_eq!(sandbox.child.wait().unwrap().code(), Some(0));
    assert!(!sandbox.env_file().exists());
    sandbox.start(&[]);
    assert_eq!(sandbox.ask(count), "270");
    assert_eq!(std::fs::read_to_string(sandbox.env_file()).unwrap(), before);
}

#[test]
fn nothing_survives_a_killed_sandbox_and_its_data_does() {
    let mut sandbox = Sandbox::up(&[]);
    let children = children_of(sandbox.child.id());
    assert_eq!(children.len(), 3, "NATS, ClickHouse and the relay");
    assert_eq!(sandbox.post(&[event(1)]), 200);
    let count = "SELECT count() FROM audit.audit_logs";
    sandbox.wait_until("the row is there", |sandbox| sandbox.ask(count) == "1");
    sandbox.child.kill().unwrap();
    sandbox.child.wait().unwrap();
    sandbox.wait_until("no part is left", |_| !children.iter().any(|pid| runs(*pid)));

    let down = run(&["down", "--dir", &sandbox.dir_text()]);
    assert!(down.status.success(), "{down:?}");
    assert!(String::from_utf8_lossy(&down.stdout).starts_with("no sandbox runs in"));
    sandbox.start(&[]);
    assert_eq!(sandbox.ask(count), "1");
}

#[test]
fn a_part_that_dies_stops_the_rest_and_is_named() {
    let mut sandbox = Sandbox::up(&[]);
    let children = children_of(sandbox.child.id());
    let nats = children.iter().find(|pid| command_of(**pid).contains("nats-server")).unwrap();
    let killed = Command::new("kill").args(["-KILL", &nats.to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(sandbox.child.wait().unwrap().code(), Some(3));
    assert!(!children.iter().any(|pid| runs(*pid)));
    let mut story = String::new();
    sandbox.child.stderr.take().unwrap().read_to_string(&mut story).unwrap();
    assert!(story.contains("nats-server ended by itself"), "{story}");
}

#[test]
fn ordered_faults_are_done_and_recorded() {
    let faults = ["drop:sidecar:0.1", "drop:aggregator:0.1", "corrupt:aggregator:0.1"];
    let twice = ["duplicate:sidecar:0.1", "duplicate:aggregator:0.1", "delay:aggregator:300ms"];
    let flags: Vec<&str> = faults.iter().chain(&twice).flat_map(|f| ["--fault", f]).collect();
    let mut sandbox = Sandbox::up(&[&flags[..], &["--seed", "7"]].concat());
    let events: Vec<Value> = (0..400).filter(|i| i % 10 != 0).map(event).collect();
    assert_eq!(sandbox.post(&events), 200);

    let ids = |sandbox: &Sandbox, kind: &str, at: &str| -> BTreeSet<String> {
        let lines = sandbox.faults();
        let hit = lines.iter().filter(|line| line["fault"] == kind && line["at"] == at);
        hit.map(|line| line["auditID"].as_str().unwrap().to_owned()).collect()
    };
    let rows = |sandbox: &Sandbox| -> Vec<String> {
        let all = sandbox.ask("SELECT audit_id FROM audit.audit_logs ORDER BY audit_id");
        all.lines().map(str::to_owned).collect()
    };
    // Nothing more comes once each event is stored, once or twice, or is on record as dropped.
    sandbox.wait_until("every event is accounted for", |sandbox| {
        let dropped: BTreeSet<String> =
            &ids(sandbox, "drop", "sidecar") | &ids(sandbox, "drop", "aggregator");
        let again = ids(sandbox, "duplicate", "aggregator");
        let published_again = &ids(sandbox, "duplicate", "sidecar") - &dropped;
        let both = again.intersection(&published_again).count();
        let extra = again.len() + published_again.len() + both;
        rows(sandbox).len() == events.len() - dropped.len() + extra
    });
    let dropped: BTreeSet<String> =
        &ids(&sandbox, "drop", "sidecar") | &ids(&sandbox, "drop", "aggregator");
    let stored: BTreeSet<String> = rows(&sandbox).into_iter().collect();
    let posted: BTreeSet<String> =
        events.iter().map(|event| event["auditID"].as_str().unwrap().to_owned()).collect();
    assert_eq!(&posted - &stored, dropped);
    for at in ["sidecar", "aggregator"] {
        assert!(!ids(&sandbox, "drop", at).is_empty(), "nobody was dropped at the {at}");
        assert!(!ids(&sandbox, "duplicate", at).is_empty(), "nobody was doubled at the {at}");
    }
    assert!(!ids(&sandbox, "corrupt", "aggregator").is_empty());
    check_corrupted(&sandbox);
}

#[test]
fn a_command_gets_the_addresses_and_gives_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let script = "test -n \"$VECTOR_WEBHOOK_URL\" && test -n \"$NATS_URL\" && \
        test -n \"$CLICKHOUSE_URL\" && exit 42";
    let words = ["up", "--dir", &dir.path().to_string_lossy(), "--", "sh", "-c", script];
    let done = run(&words);
    assert_eq!(done.status.code(), Some(42), "{done:?}");
    assert!(!dir.path().join("env").exists());
}

#[test]
fn wrong_orders_are_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_string_lossy().into_owned();
    let twice = ["--fault", "drop:sidecar:0.1", "--fault", "drop:sidecar:0.2"];
    let [moon, nowhere, nothing] =
        [["--fault", "drop:moon:0.1"], ["--nats-server", "/nowhere"], ["--", "/no/command"]];
    for flags in [&moon[..], &twice, &nowhere, &nothing] {
        let refused = run(&[&["up", "--dir", &dir][..], flags].concat());
        assert_eq!(refused.status.code(), Some(2), "{flags:?}: {refused:?}");
    }
}

/// Every corrupted event has, in the table, the value that is on record.
fn check_corrupted(sandbox: &Sandbox) {
    let columns = [
        ("user.username", "user"),
        ("verb", "verb"),
        ("objectRef.resource", "resource"),
        ("objectRef.namespace", "namespace"),
        ("objectRef.name", "resource_name"),
        ("responseStatus.code", "status_code"),
    ];
    for line in sandbox.faults().iter().filter(|line| line["fault"] == "corrupt") {
        let (_, column) = columns.iter().find(|(field, _)| line["field"] == *field).unwrap();
        let id = line["auditID"].as_str().unwrap();
        let to = line["to"].as_str().map_or_else(|| line["to"].to_string(), str::to_owned);
        let sql = format!(
            "SELECT DISTINCT toString({column}) FROM audit.audit_logs WHERE audit_id = '{id}'"
        );
        assert_eq!(sandbox.ask(&sql), to, "{line}");
        assert_ne!(line["from"], line["to"]);
    }
}

/// A running `up` in a directory of its own, killed when dropped.
struct Sandbox {
    dir: TempDir,
    child: Child,
    /// How many processes it has: one more where the relay is two, or a query API is asked for.
    parts: usize,
}

impl Sandbox {
    fn up(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = spawn_up(dir.path(), flags);
        let more = ["honest", "--query-api"].iter().filter(|flag| flags.contains(flag)).count();
        let parts = 3 + more;
        let mut sandbox = Self { dir, child, parts };
        sandbox.wait_for_env();
        sandbox
    }

    fn start(&mut self, flags: &[&str]) {
        self.child = spawn_up(self.dir.path(), flags);
        self.wait_for_env();
    }

    fn wait_for_env(&mut self) {
        // A killed sandbox leaves its file, which the next one removes before anything else.
        let pid = self.child.id();
        self.wait_until("it is up", |sandbox| {
            let record = std::fs::read_to_string(sandbox.dir.path().join("pid"));
            let is_owner = record.is_ok_and(|record| record.starts_with(&format!("{pid} ")));
            is_owner && sandbox.env_file().exists() && children_of(pid).len() == sandbox.parts
        });
    }

    fn dir_text(&self) -> String {
        self.dir.path().to_string_lossy().into_owned()
    }

    fn env_file(&self) -> PathBuf {
        self.dir.path().join("env")
    }

    fn address(&self, name: &str) -> String {
        let env = std::fs::read_to_string(self.env_file()).unwrap();
        let line = env.lines().find_map(|line| line.strip_prefix(&format!("{name}=http://")));
        line.unwrap().split('/').next().unwrap().to_owned()
    }

    fn post(&self, events: &[Value]) -> u16 {
        let list = json!({
            "kind": "EventList",
            "apiVersion": "audit.k8s.io/v1",
            "metadata": {},
            "items": events,
        });
        let address = self.address("VECTOR_WEBHOOK_URL");
        http(&address, "/events?timeout=30s", &list.to_string()).unwrap().0
    }

    /// The answer of `ClickHouse`, or nothing while it gives none.
    fn ask(&self, sql: &str) -> String {
        match http(&self.address("CLICKHOUSE_URL"), "/", sql) {
            Some((200, answer)) => answer.trim_end().to_owned(),
            _ => String::new(),
        }
    }

    /// The values of a metric of a component, of all parts that tell it.
    fn metric(&self, name: &str, component: &str) -> Vec<u64> {
        let env = std::fs::read_to_string(self.env_file()).unwrap();
        let urls = env.lines().find_map(|line| line.strip_prefix("VECTOR_METRICS_URL=")).unwrap();
        let texts = urls.split(',').map(|url| {
            let address = url.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
            let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
            exchange(address, &request).unwrap_or_default().1
        });
        let component = format!("component_id=\"{component}\"");
        let lines = texts.collect::<Vec<_>>().join("\n");
        let lines = lines.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        let values = lines.filter(|line| line.contains(&component)).map(|line| {
            let (_, value) = line.rsplit_once("} ").unwrap();
            value.split(' ').next().unwrap().parse().unwrap()
        });
        values.collect()
    }

    fn faults(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("faults.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        const PAUSE: Duration = Duration::from_millis(20);
        const PAUSES_MAX: u32 = 1500;
        for _ in 0..PAUSES_MAX {
            if holds(self) {
                return;
            }
            sleep(PAUSE);
        }
        self.child.kill().unwrap();
        let mut story = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut story).unwrap();
        panic!("waited in vain until {what}; the sandbox said:\n{story}");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Its parts end with it.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn_up(dir: &Path, flags: &[&str]) -> Child {
    program()
        .args(["up", "--batch-wait", "200ms", "--dir"])
        .arg(dir)
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn run(words: &[&str]) -> Output {
    program().args(words).stdin(Stdio::null()).output().unwrap()
}

/// The program, with the servers that `make setup` put into the workspace.
fn program() -> Command {
    let home = std::env::var_os("AUDITSTORM_SANDBOX_HOME").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.sandbox"),
        PathBuf::from,
    );
    assert!(home.is_dir(), "no servers in {}: run `make setup`", home.display());
    let mut command = Command::new(PROGRAM);
    command.env("AUDITSTORM_SANDBOX_HOME", home).env_remove("VECTOR_BIN");
    command
}

fn http(address: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut request = format!("POST {path} HTTP/1.0\r\nHost: {address}\r\n");
    write!(request, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    exchange(address, &request)
}

fn exchange(address: &str, request: &str) -> Option<(u16, String)> {
    const LIMIT: Duration = Duration::from_secs(20);
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

fn audit_id(index: u32) -> String {
    format!("00000000-0000-4000-8000-{index:012}")
}

fn event(index: u32) -> Value {
    let stage = if index.is_multiple_of(10) { "RequestReceived" } else { "ResponseComplete" };
    json!({
        "level": "Metadata",
        "auditID": audit_id(index),
        "stage": stage,
        "requestURI": "/apis/apps/v1/namespaces/production/deployments",
        "verb": "get",
        "user": { "username": "alice@example.com", "uid": "u-1" },
        "sourceIPs": ["10.1.2.3", "203.0.113.9"],
        "objectRef": {
            "resource": "deployments",
            "namespace": "production",
            "name": format!("web-{index}"),
            "apiGroup": "apps",
        },
        "responseStatus": { "metadata": {}, "code": 404 },
        "requestReceivedTimestamp": format!("2026-03-01T12:00:00.{index:03}000Z"),
        "stageTimestamp": format!("2026-03-01T12:00:00.{index:03}900Z"),
        "annotations": {
            "platform.miloapis.com/scope.type": "Project",
            "platform.miloapis.com/scope.name": "p-1",
        },
    })
}

fn process(pid: u32) -> ProcResult<Process> {
    Process::new(pid.cast_signed())
}

fn children_of(pid: u32) -> Vec<u32> {
    let children = process(pid).and_then(|it| it.task_main_thread()?.children());
    children.unwrap_or_default()
}

fn command_of(pid: u32) -> String {
    process(pid).and_then(|it| it.cmdline()).unwrap_or_default().join(" ")
}

/// Says whether a process still does anything: one that nobody waits for yet does not.
fn runs(pid: u32) -> bool {
    process(pid).and_then(|it| it.stat()).is_ok_and(|stat| stat.state != 'Z')
}
