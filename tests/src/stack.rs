//! A sandbox for each test, and the programs that run against it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use stores::clickhouse::ClickHouseArgs;
use tempfile::TempDir;

/// The columns of the table.
pub const COLUMNS: &str = "event_json, timestamp, scope_type, scope_name, user, user_uid, \
     audit_id, verb, api_group, resource, namespace, resource_name, status_code";

/// A running pipeline in a temporary directory. It is stopped and removed at the end of the test.
pub struct Stack {
    dir: TempDir,
    sandbox: Child,
    env: Vec<(String, String)>,
}

impl Stack {
    /// Starts a pipeline with these flags. It stores events within a second.
    pub fn up(flags: &[&str]) -> Self {
        Self::up_prepared(flags, |_| {})
    }

    /// Like [`Self::up`], but first puts something into the sandbox's directory.
    pub fn up_prepared(flags: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(&dir.path().join("sandbox"));
        let parts = root().join(".sandbox");
        assert!(parts.exists(), "no servers in {}: run `make setup`", parts.display());
        let mut sandbox = Command::new(program("auditstorm-sandbox"))
            .args(["up", "--dir"])
            .arg(dir.path().join("sandbox"))
            .arg("--parts")
            .arg(parts)
            .args(if flags.contains(&"--batch-wait") { &[][..] } else { &STORED_SOON })
            .args(flags)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let env_file = dir.path().join("sandbox/env");
        wait_until("the pipeline is up", || {
            assert_eq!(sandbox.try_wait().unwrap(), None, "the sandbox ended");
            env_file.exists()
        });
        let text = std::fs::read_to_string(env_file).unwrap();
        let pair = |line: &str| {
            let (name, value) = line.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        Self { sandbox, env: text.lines().map(pair).collect(), dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An address that the sandbox has given.
    pub fn address(&self, name: &str) -> &str {
        self.find_address(name).unwrap()
    }

    /// Like [`Self::address`], for an address that the sandbox may not have given.
    pub fn find_address(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The arguments that name its ClickHouse.
    pub fn clickhouse(&self) -> ClickHouseArgs {
        ClickHouseArgs {
            urls: vec![self.address("CLICKHOUSE_URL").to_owned()],
            user: "default".to_owned(),
            password: None,
            password_file: None,
            table: None,
            columns: None,
        }
    }

    /// Writes a profile of ten tenants for some seconds to a file.
    pub fn profile(&self, rate: u32, seconds: u32, batch_events: u32) -> String {
        let path = self.path("profile.yaml");
        let text = format!(
            "name: test\nstages: [{{duration: {seconds}s, rate: {rate}/s, tenants: 10}}]\n\
             send: {{batch_events: {batch_events}, batch_age: 200ms, lateness_max: 30s}}\n\
             thresholds: {{}}\n"
        );
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Prepares a program to run against this pipeline.
    pub fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program(name));
        command.args(args).envs(self.env.iter().cloned()).current_dir(self.dir.path());
        command
    }

    /// Runs a program to its end.
    pub fn run(&self, name: &str, args: &[&str]) -> Output {
        self.command(name, args).output().unwrap()
    }

    /// Sends a profile into run directory `out`, and expects it to end in order.
    pub fn generate(&self, profile: &str, out: &str) {
        let output = self.run("auditstorm-generator", &["run", profile, "--out", out]);
        assert!(output.status.success(), "{output:?}");
    }

    /// Begins to send a profile into run directory `run`. Returns when at least `stored_min` events
    /// are stored.
    pub fn begin_to_generate(&self, profile: &str, stored_min: u64) -> Child {
        let generator = self
            .command("auditstorm-generator", &["run", profile, "--out", "run"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("events are stored", || {
            self.ask("SELECT count() FROM audit.audit_logs").parse::<u64>().unwrap() > stored_min
        });
        generator
    }

    /// Reconciles a run directory. Returns exit code and report.
    pub fn reconcile(&self, out: &str) -> (i32, Value) {
        self.reconcile_with(out, &[])
    }

    /// Like [`Self::reconcile`], with more flags or directories.
    pub fn reconcile_with(&self, out: &str, args: &[&str]) -> (i32, Value) {
        let defaults = ["--quiet", "8s", "--wait", "90s"];
        let defaults = if args.contains(&"--quiet") { &[][..] } else { &defaults };
        let args = [&["reconcile", out], args, defaults].concat();
        let output = self.run("auditstorm-verifier", &args);
        let code = output.status.code().unwrap();
        let report = std::fs::read(self.path(out).join("report.json"));
        let report = report.unwrap_or_else(|_| panic!("no report: {output:?}"));
        (code, serde_json::from_slice(&report).unwrap())
    }

    /// Stops or starts a part. Returns whether that succeeded.
    pub fn order(&self, act: &str, part: &str) -> bool {
        let done = Command::new(program("auditstorm-sandbox"))
            .args([act, part, "--dir"])
            .arg(self.path("sandbox"))
            .stderr(Stdio::null())
            .status()
            .unwrap();
        done.success()
    }

    /// Kills a part (`clickhouse`, `nats` or `relay`), leaves it down for this time (written as for
    /// the flag), and starts it again in the same place. Returns when it answers.
    pub fn restart(&self, part: &str, down_for: &str) {
        let done = Command::new(program("auditstorm-sandbox"))
            .args(["restart", part, "--down-for", down_for, "--dir"])
            .arg(self.path("sandbox"))
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// Audit IDs of the victims of a kind of fault at a place.
    pub fn victims(&self, kind: &str, at: &str) -> BTreeSet<String> {
        let text = std::fs::read_to_string(self.path("sandbox/faults.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|line| line["fault"] == kind && line["at"] == at)
            .map(|line| line["auditID"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Whether ClickHouse answers.
    pub fn answers(&self) -> bool {
        let client = clickhouse::Client::default().with_url(self.address("CLICKHOUSE_URL"));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(client.query("SELECT 1").execute()).is_ok()
    }

    /// Queries ClickHouse and returns the answer as text.
    pub fn ask(&self, sql: &str) -> String {
        self.try_ask(sql).unwrap()
    }

    /// Like [`Self::ask`], for a server that may be down.
    ///
    /// # Errors
    ///
    /// Returns the client's error if there is no answer.
    pub fn try_ask(&self, sql: &str) -> Result<String, clickhouse::error::Error> {
        let client = clickhouse::Client::default().with_url(self.address("CLICKHOUSE_URL"));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let answer = async { client.query_raw(sql).fetch_bytes("TSV")?.collect().await };
        let bytes = runtime.block_on(answer)?;
        Ok(String::from_utf8(bytes.to_vec()).unwrap().trim_end().to_owned())
    }
}

/// Lets the aggregator store events within a second.
const STORED_SOON: [&str; 2] = ["--batch-wait", "1s"];

impl Drop for Stack {
    fn drop(&mut self) {
        let stop = Command::new(program("auditstorm-sandbox"))
            .args(["down", "--dir"])
            .arg(self.path("sandbox"))
            .stdout(Stdio::null())
            .status();
        if !stop.is_ok_and(|status| status.success()) {
            self.sandbox.kill().ok();
        }
        self.sandbox.wait().ok();
    }
}

/// A process that is killed when the test ends.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Audit IDs in the findings of one kind: a fault, or the cause of a loss.
pub fn found(report: &Value, kind: &str) -> BTreeSet<String> {
    let findings = report["findings"].as_array().unwrap();
    let of_kind =
        findings.iter().filter(|finding| finding["fault"] == kind || finding["cause"] == kind);
    of_kind.map(|finding| finding["audit_id"].as_str().unwrap().to_owned()).collect()
}

/// Waits for a condition, at most a minute.
pub fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    wait_minutes(1, what, is_so);
}

/// Waits for a condition, at most some minutes.
pub fn wait_minutes(minutes: u32, what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..minutes * 600 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("waited {minutes} min until {what}");
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The path of a program of the workspace, in the directory of this test.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "no {}: run `cargo build --workspace`", path.display());
    path
}
