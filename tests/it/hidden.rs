//! Accounts that do not see all rows: hidden rows are neither called lost nor sent again.

use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::proxy::{Mode, Proxy};
use crate::stack::{Stack, wait_until};

/// Accounts that may all do everything. Some of them do not see all rows.
const USERS: &str = "<clickhouse>
    <profiles>
        <default/>
        <limited><limit>5</limit></limited>
        <only_five><limit>5</limit><constraints><limit><const/></limit></constraints></only_five>
        <filtered>
        <additional_table_filters>{'audit.plain':'status_code != 200'}</additional_table_filters>
        </filtered>
        <only_failed>
        <additional_table_filters>{'audit.plain':'status_code != 200'}</additional_table_filters>
            <constraints><additional_table_filters><const/></additional_table_filters></constraints>
        </only_failed>
        <breaking>
            <read_overflow_mode>break</read_overflow_mode><max_rows_to_read>7</max_rows_to_read>
            <use_query_cache>1</use_query_cache><max_execution_time>60</max_execution_time>
        </breaking>
        <only_first>
            <read_overflow_mode>break</read_overflow_mode><max_rows_to_read>7</max_rows_to_read>
            <constraints>
                <read_overflow_mode><const/></read_overflow_mode>
                <max_rows_to_read><const/></max_rows_to_read>
            </constraints>
        </only_first>
        <by_parts>
            <max_rows_to_read>9000</max_rows_to_read>
            <constraints><max_rows_to_read><const/></max_rows_to_read></constraints>
        </by_parts>
        <reading><readonly>1</readonly></reading>
        <shards_left_out>
            <skip_unavailable_shards>1</skip_unavailable_shards>
            <constraints><skip_unavailable_shards><const/></skip_unavailable_shards></constraints>
        </shards_left_out>
    </profiles>
    <quotas><default/></quotas>
    <users>
        <default><password/><profile>default</profile><quota>default</quota></default>
        <policed>
            <password/><profile>default</profile><quota>default</quota>
            <databases><audit><plain><filter>verb != 'get'</filter></plain></audit></databases>
        </policed>
        PROFILES
    </users>
</clickhouse>
";

const PROFILES: [&str; 9] = [
    "limited",
    "only_five",
    "filtered",
    "only_failed",
    "breaking",
    "only_first",
    "by_parts",
    "reading",
    "shards_left_out",
];

/// A table that keeps every row, so that a row that was sent twice is visible.
const PLAIN: &str = "CREATE TABLE audit.plain AS audit.audit_logs ENGINE = MergeTree \
     PARTITION BY toYYYYMMDD(timestamp) ORDER BY (toStartOfHour(timestamp), timestamp, audit_id)";

const EVENTS: &str = "24000";

fn users() -> String {
    let user = |name: &&str| {
        format!("<{name}><password/><profile>{name}</profile><quota>default</quota></{name}>")
    };
    USERS.replace("PROFILES", &PROFILES.iter().map(user).collect::<String>())
}

/// Loads a part of a history, and kills the loader while the server works on inserts.
fn load_and_kill(stack: &Stack, proxy: &Proxy, load: &[&str]) -> String {
    stack.ask(PLAIN);
    stack.profile(1, 1, 1);
    proxy.set(Mode::DelayAnswers { by: Duration::from_millis(300) });
    let mut loader = stack.command("auditstorm-backfill", load);
    let mut loader = loader.stdout(Stdio::null()).spawn().unwrap();
    let rows = || stack.ask("SELECT count() FROM audit.plain");
    wait_until("inserts are begun", || rows().parse::<u64>().unwrap() > 3_000);
    loader.kill().unwrap();
    loader.wait().unwrap();
    proxy.set(Mode::Pass);
    wait_until("the server is idle", || {
        let running = "SELECT count() FROM system.processes WHERE query_id LIKE 'auditstorm%'";
        stack.ask(running) == "0"
    });
    rows()
}

/// Runs a program with an account. Returns its exit code and its output.
fn run_as(stack: &Stack, user: &str, name: &str, args: &[&str]) -> (i32, String) {
    let output = stack.run(name, &[args, &["--clickhouse-user", user]].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// A proxy for a server that turns a reset of a connection into an ordinary close.
///
/// A query that fails at one shard resets its connection to the others. Version 26.7 of the
/// `ClickHouse` library aborts if that happens to a connection that it reads from, because nobody
/// handles the error.
fn without_resets(server: &str) -> SocketAddr {
    let server: SocketAddr = server.parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(server) else { continue };
            for (mut from, mut to) in [pair(&client, &server), pair(&server, &client)] {
                thread::spawn(move || {
                    io::copy(&mut from, &mut to).ok();
                    to.shutdown(Shutdown::Write).ok();
                });
            }
        }
    });
    here
}

fn pair(from: &TcpStream, to: &TcpStream) -> (TcpStream, TcpStream) {
    (from.try_clone().unwrap(), to.try_clone().unwrap())
}

#[test]
fn what_an_account_does_not_see_is_neither_lost_nor_sent_again() {
    let stack = Stack::up(&[]);
    let load = ["run", "profile.yaml", "--events", EVENTS, "--days", "4", "--quiet"];
    let load = [&load[..], &["--rows-per-insert", "1500", "--lanes", "2"]].concat();
    let proxy = Proxy::before_clickhouse(&stack);
    let url = proxy.url();
    let place = ["--table", "audit.plain", "--out", "run", "--clickhouse", url.as_str()];
    let load = [&load[..], &place].concat();
    let rows = load_and_kill(&stack, &proxy, &load);
    fs::write(stack.path("sandbox/clickhouse/users.xml"), users()).unwrap();
    stack.restart("clickhouse", "100ms");

    // None of them continues, because inserts that were begun may be among the rows that it does
    // not see.
    for (user, expected) in [
        ("policed", "a row policy lets it see those with verb != 'get'"),
        ("only_five", "the setting limit=(locked)"),
        ("only_failed", "the setting additional_table_filters={"),
        ("only_first", "ends a query without an error at max_rows_to_read=7"),
    ] {
        let (code, said) = run_as(&stack, user, "auditstorm-backfill", &load);
        assert_eq!(code, 4, "{user}: {said}");
        assert!(said.contains(expected), "{user}: {said}");
        assert_eq!(stack.ask("SELECT count() FROM audit.plain"), rows, "{user} sent something");
        if user == "policed" {
            assert!(said.contains(&format!("took {rows} rows, this account (policed) sees ")));
        }
    }
    // An account that may change its settings continues.
    let (code, said) = run_as(&stack, "filtered", "auditstorm-backfill", &load);
    assert_eq!(code, 0, "{said}");
    assert_eq!(stack.ask("SELECT count() FROM audit.plain"), EVENTS);

    let check = |user: &str, more: &[&str], code: i32, expected: &str| {
        let args = [&["reconcile", "run", "--patience", "1s"], more].concat();
        let (ended, said) = run_as(&stack, user, "auditstorm-verifier", &args);
        assert_eq!(ended, code, "{user}: {said}");
        assert!(said.contains(expected), "{user}: {said}");
    };
    // A Buffer table hides rows that it holds.
    stack.ask(
        "CREATE TABLE audit.buffer AS audit.plain \
         ENGINE = Buffer('audit', 'plain', 1, 600, 600, 1000000, 1000000, 10000000, 10000000)",
    );
    for user in ["default", "limited", "filtered", "breaking", "by_parts", "reading"] {
        check(user, &[], 0, "whole");
    }
    check("policed", &[], 4, "a row policy lets it see those with verb != 'get'");
    check("only_five", &[], 4, "the setting limit=(locked)");
    check("only_failed", &[], 4, "the setting additional_table_filters={");
    check("only_first", &[], 4, "read_overflow_mode=break of this account");

    // One of two shards is away. That is an error, unless the account's settings ignore it; then
    // hidden rows are not excluded.
    let here = without_resets(stack.address("CLICKHOUSE_NATIVE_ADDRESS"));
    stack.ask(&format!(
        "CREATE TABLE audit.shards AS remote('{here},127.0.0.1:1', audit.plain, 'default', '')"
    ));
    let shards = ["--table", "audit.shards"];
    check("default", &shards, 3, "cannot query ClickHouse");
    check("shards_left_out", &shards, 4, "the setting skip_unavailable_shards=1");
    stack.ask("INSERT INTO audit.buffer (event_json) VALUES ('{}')");
    check("default", &[], 4, "bytes wait in Buffer tables");
}
