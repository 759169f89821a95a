//! Secrets of the user appear nowhere: neither in files nor in messages nor in logs of any level,
//! whether they are right or wrong.

use std::fs;
use std::path::Path;

use walkdir::WalkDir;

use crate::stack::Stack;

/// Accounts of ClickHouse: one that needs a password, and the one that the sandbox uses.
const USERS: &str = "<clickhouse>
    <profiles><default/></profiles>
    <quotas><default/></quotas>
    <users>
        <default><password/><profile>default</profile><quota>default</quota></default>
        <secured>
            <password>planted-clickhouse</password><profile>default</profile>
            <quota>default</quota>
        </secured>
    </users>
</clickhouse>
";

/// All secrets of the tests begin with this.
const PLANTED: &str = "planted-";

/// Runs a program with all secrets, with all logs of its own and of its libraries, unless the flags
/// say otherwise. Checks that its output has none of the secrets, and returns its exit code.
fn run(stack: &Stack, name: &str, args: &[&str], password: &str) -> i32 {
    let mut command = stack.command(name, args);
    command
        .env("WEBHOOK_TOKEN", "planted-token")
        .env("CLICKHOUSE_USER", "secured")
        .env("CLICKHOUSE_PASSWORD", password)
        .env("NATS_USER", "somebody")
        .env("NATS_PASSWORD", "planted-nats")
        .env("RUST_BACKTRACE", "full")
        .env("RUST_LOG", "trace");
    let output = command.output().unwrap();
    for said in [&output.stdout, &output.stderr] {
        let said = String::from_utf8_lossy(said);
        assert!(!said.contains(PLANTED), "{name} {args:?} says: {said}");
    }
    let is_logged = output.stderr.windows(5).any(|bytes| bytes == b"level");
    assert!(is_logged || !output.status.success(), "{name} {args:?} logs nothing");
    output.status.code().unwrap()
}

/// Finds files that contain a secret, except those that the test itself has written.
fn tellers(dir: &Path) -> Vec<String> {
    let files = WalkDir::new(dir).into_iter().map(Result::unwrap).filter(|it| {
        it.file_type().is_file()
            && !["users.xml", "password"].iter().any(|own| it.file_name() == *own)
    });
    let holds = |path: &Path| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(PLANTED.len()).any(|window| window == PLANTED.as_bytes())
    };
    files.filter(|it| holds(it.path())).map(|it| it.path().display().to_string()).collect()
}

#[test]
fn secrets_are_told_to_nobody() {
    let stack = Stack::up_prepared(&[], |dir| {
        let data = dir.join("clickhouse");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("users.xml"), USERS).unwrap();
    });
    stack.profile(20, 2, 50);
    let right = "planted-clickhouse";
    let header = ["--header", "x-api-key: planted-header"];
    let send = ["run", "profile.yaml", "--no-self-test", "--out", "run"];
    assert_eq!(run(&stack, "auditstorm-generator", &[&send[..], &header].concat(), right), 0);
    let load = ["run", "profile.yaml", "--events", "2000", "--days", "2", "--out", "history"];
    assert_eq!(run(&stack, "auditstorm-backfill", &load, right), 0);
    let check = ["reconcile", "run", "history", "--report"];
    assert_eq!(run(&stack, "auditstorm-verifier", &check, right), 0);
    let again = ["reconcile", "run", "-vv", "--log-format", "json"];
    assert_eq!(run(&stack, "auditstorm-verifier", &again, right), 0);
    let look = ["preflight", "profile.yaml"];
    assert_eq!(run(&stack, "auditstorm-verifier", &look, right), 0);

    // The password can also be in a file. Messages about wrong secrets do not contain them.
    fs::write(stack.path("password"), "planted-clickhouse\n").unwrap();
    let filed = ["reconcile", "run", "--clickhouse-password-file", "password"];
    assert_eq!(run(&stack, "auditstorm-verifier", &filed, "planted-wrong"), 0);
    assert_eq!(run(&stack, "auditstorm-verifier", &["reconcile", "run"], "planted-wrong"), 2);
    let other = [&load[..7], &["--out", "other"]].concat();
    assert_eq!(run(&stack, "auditstorm-backfill", &other, "planted-wrong"), 2);
    let webhook = ["--webhook", "http://me:planted-webhook@127.0.0.1:9/"];
    let wrong = [&send[..4], &["other"], &webhook[..]].concat();
    assert_eq!(run(&stack, "auditstorm-generator", &wrong, right), 2);
    let nats = ["reconcile", "run", "--nats", "nats://me:planted-url@127.0.0.1:99999"];
    assert_eq!(run(&stack, "auditstorm-verifier", &nats, right), 2);

    let tellers = tellers(&stack.path(""));
    assert!(tellers.is_empty(), "these files hold a secret: {tellers:?}");
}
