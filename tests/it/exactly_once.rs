//! Whatever is killed while a history is loaded, in the end every event is there exactly once.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::proxy::{Mode, Proxy};
use crate::stack::{Stack, wait_until};

/// How long the proxy holds every answer back. It is many times the duration of an insert in these
/// tests, so that a kill hits most inserts before they are confirmed.
const ANSWER_DELAY: Duration = Duration::from_millis(40);

/// A table that keeps every row, so that neither merges nor tokens hide a row that was sent twice.
const PLAIN: &str = "CREATE TABLE audit.plain AS audit.audit_logs ENGINE = MergeTree \
     PARTITION BY toYYYYMMDD(timestamp) ORDER BY (toStartOfHour(timestamp), timestamp, audit_id)";

/// A history that is loaded into a table, and continued as often as necessary.
struct Load<'s> {
    stack: &'s Stack,
    table: &'s str,
    events: u64,
    /// Flags in addition to those that describe the history.
    flags: Vec<String>,
}

impl<'s> Load<'s> {
    fn new(stack: &'s Stack, table: &'s str, events: u64) -> Self {
        stack.ask(PLAIN);
        stack.profile(1, 1, 1);
        let flags =
            ["--rows-per-insert", "2000", "--patience", "60s", "--compress-rows", "lz4", "--quiet"];
        Self { stack, table, events, flags: flags.map(str::to_owned).to_vec() }
    }

    fn begin(&self) -> Child {
        let events = self.events.to_string();
        let which = ["run", "profile.yaml", "--events", &events, "--days", "30", "--table"];
        let flags = self.flags.iter().map(String::as_str);
        let args: Vec<_> =
            which.into_iter().chain([self.table, "--out", "run"]).chain(flags).collect();
        let mut command = self.stack.command("auditstorm-backfill", &args);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Sends the load through proxies.
    fn through<const COUNT: usize>(mut self, proxies: [&Proxy; COUNT]) -> Self {
        let urls = proxies.map(Proxy::url).join(",");
        self.flags.extend(["--clickhouse".to_owned(), urls]);
        self
    }

    /// Sends the load through a proxy that holds every answer back.
    fn slowly(self, by: Duration) -> (Self, Proxy) {
        let proxy = Proxy::before_clickhouse(self.stack);
        proxy.set(Mode::DelayAnswers { by });
        (self.through([&proxy]), proxy)
    }

    /// Waits until there are this many rows. The loader must still be at work then.
    fn wait_for(&self, rows: u64, child: &mut Child) {
        let ended = |child: &mut Child| child.try_wait().unwrap().is_some();
        wait_until("it goes on", || self.rows() >= rows || ended(child));
        assert!(!ended(child), "it ended with {} rows, not hit at {rows}", self.rows());
    }

    /// Lets the load run to its end.
    fn finish(&self) {
        let output = self.begin().wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn rows(&self) -> u64 {
        self.stack.ask(&format!("SELECT count() FROM {}", self.table)).parse().unwrap()
    }

    /// Checks that every event is there, and that every row is one of them.
    fn check(&self) {
        let (code, report) = self.stack.reconcile("run");
        assert_eq!((code, &report["verdict"]), (0, &"whole".into()), "{}", report["reasons"]);
        let totals = &report["totals"];
        for count in ["planned", "acknowledged", "stored", "rows"] {
            assert_eq!(totals[count], self.events, "{count}: {totals}");
        }
        assert_eq!(self.rows(), self.events);
    }
}

#[test]
fn a_loader_that_is_killed_twenty_times_brings_every_event_once() {
    let stack = Stack::up(&[]);
    let (load, _proxy) = Load::new(&stack, "audit.plain", 240_000).slowly(ANSWER_DELAY);
    for kill in 1..=20u64 {
        let mut child = load.begin();
        load.wait_for(kill * load.events / 26, &mut child);
        // This is during one of the next inserts, each time at another point of it.
        sleep(Duration::from_millis(kill * 7 % 40));
        assert_eq!(child.try_wait().unwrap(), None, "it is at work when it is killed");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(load.rows() < load.events, "something is left to do");
    load.finish();
    load.check();
    // If everything is done, the same command does nothing.
    load.finish();
    load.check();
}

#[test]
fn a_server_that_is_killed_five_times_has_every_event_once() {
    let stack = Stack::up(&[]);
    let (load, _proxy) = Load::new(&stack, "audit.plain", 120_000).slowly(ANSWER_DELAY);
    let mut child = load.begin();
    for kill in 1..=5 {
        load.wait_for(kill * load.events / 7, &mut child);
        stack.restart("clickhouse", "300ms");
    }
    assert!(child.wait().unwrap().success(), "it goes on by itself");
    load.check();
}

#[test]
fn answers_that_are_lost_twenty_times_double_nothing() {
    for table in ["audit.plain", "audit.audit_logs"] {
        let stack = Stack::up(&[]);
        let proxy = Proxy::before_clickhouse(&stack);
        let load = Load::new(&stack, table, 60_000).through([&proxy]);
        proxy.set(Mode::CutAnswers { times: 20 });
        load.finish();
        assert_eq!(proxy.done().answers_cut.len(), 20);
        load.check();
    }
}

#[test]
fn a_run_is_taken_up_with_inserts_of_another_size() {
    let stack = Stack::up(&[]);
    let (mut load, _proxy) = Load::new(&stack, "audit.plain", 60_000).slowly(4 * ANSWER_DELAY);
    for (kill, rows) in [(1, "2000"), (2, "700"), (3, "5000")] {
        load.flags[1] = rows.to_owned();
        let mut child = load.begin();
        load.wait_for(kill * load.events / 5, &mut child);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    load.flags[1] = "100000".to_owned();
    load.finish();
    load.check();
}

#[test]
fn rows_that_a_server_swallows_for_their_token_are_found_missing_and_sent_with_another() {
    let stack = Stack::up(&[]);
    // This table keeps the tokens of inserts even after the rows are deleted.
    let load = Load::new(&stack, "audit.audit_logs", 20_000);
    load.finish();
    stack.ask("ALTER TABLE audit.audit_logs DELETE WHERE 1 SETTINGS mutations_sync = 2");
    assert_eq!(load.rows(), 0);
    let (_, report) = stack.reconcile("run");
    assert_eq!(report["totals"]["lost"], load.events);
    // A server forgets tokens at some time after their rows are gone.
    let patience = ["--patience", "15s", "--rows-per-insert", "2000"];
    let repair = [&["repair", "run", "--json", "--quiet"], &patience[..]].concat();
    let output = stack.run("auditstorm-backfill", &repair);
    assert!(output.status.success(), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["sent"], load.events, "{summary}");
    load.check();
}

#[test]
fn gateways_that_answer_in_the_servers_place_lose_nothing() {
    let stack = Stack::up(&[]);
    let proxy = Proxy::before_clickhouse(&stack);
    let load = Load::new(&stack, "audit.plain", 30_000).through([&proxy]);
    proxy.set(Mode::AnswerWith { times: 5, status: 502, code: 0 });
    load.finish();
    assert_eq!(proxy.done().answered, 5);
    load.check();
}

#[test]
fn while_a_server_is_away_nothing_new_is_begun() {
    let stack = Stack::up(&[]);
    let proxy = Proxy::before_clickhouse(&stack);
    let load = Load::new(&stack, "audit.plain", 60_000).through([&proxy]);
    proxy.set(Mode::AnswerWith { times: 1_000, status: 502, code: 0 });
    let mut child = load.begin();
    wait_until("it has tried", || proxy.done().answered >= 10);
    child.kill().unwrap();
    child.wait().unwrap();
    let (_, report) = stack.reconcile("run");
    let attempted = report["totals"]["attempted"].as_u64().unwrap();
    assert!((1..=10_000).contains(&attempted), "{attempted} rows of ten failed inserts");
}

#[test]
fn several_addresses_take_turns_and_what_one_leaves_in_doubt_is_looked_for_at_all() {
    let stack = Stack::up(&[]);
    let proxies = [0, 1].map(|_| Proxy::before_clickhouse(&stack));
    let load = Load::new(&stack, "audit.plain", 60_000).through(proxies.each_ref());
    proxies[0].set(Mode::CutAnswers { times: 5 });
    load.finish();
    let inserts = proxies.map(|proxy| proxy.done().inserts);
    assert!(inserts.iter().all(|inserts| *inserts > 10), "{inserts:?}");
    load.check();
}

#[test]
fn lost_rows_are_repaired_and_nothing_else_is_sent() {
    let stack = Stack::up(&[]);
    let load = Load::new(&stack, "audit.audit_logs", 20_000);
    load.finish();
    let delete = "ALTER TABLE audit.audit_logs DELETE WHERE cityHash64(audit_id) % 100 = 0";
    stack.ask(&format!("{delete} SETTINGS mutations_sync = 2"));
    let lost = load.events - load.rows();
    assert!(lost > 50, "{lost}");
    let (code, report) = stack.reconcile("run");
    assert_eq!((code, &report["totals"]["lost"]), (1, &lost.into()));
    for (sent, found) in [(lost, 0), (0, lost)] {
        let output = stack.run("auditstorm-backfill", &["repair", "run", "--json", "--quiet"]);
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["lost"], lost, "{summary}");
        assert_eq!((&summary["sent"], &summary["found"]), (&sent.into(), &found.into()));
    }
    load.check();
    let (_, report) = stack.reconcile("run");
    assert_eq!(report["totals"]["repaired"], lost);
    // A report without losses gives nothing to do.
    let output = stack.run("auditstorm-backfill", &["repair", "run", "--json", "--quiet"]);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["lost"], &summary["sent"]), (&0.into(), &0.into()));
}
