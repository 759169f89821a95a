//! A verdict is printed even if its files cannot be written, if the terminal cannot be written to,
//! or if other runs fail.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output};

use serde_json::Value;

use crate::stack::{Stack, wait_until};

/// Starts a stack with two histories, each in its own table.
fn two_histories() -> Stack {
    let stack = Stack::up(&[]);
    stack.ask("CREATE TABLE audit.other AS audit.audit_logs");
    let profile = stack.profile(20, 1, 10);
    for (out, table) in [("one", "audit.audit_logs"), ("two", "audit.other")] {
        let args = ["run", &profile, "--events", "5000", "--days", "2", "--table", table];
        let output = stack.run("auditstorm-backfill", &[&args[..], &["--out", out]].concat());
        assert!(output.status.success(), "{output:?}");
    }
    stack
}

/// Runs a line of the shell, in which `$V` is the verifier.
fn by_shell(stack: &Stack, line: &str) -> Output {
    let verifier = stack.command("auditstorm-verifier", &[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).env("V", verifier.get_program());
    shell.envs(verifier.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(stack.path("")).output().unwrap()
}

fn story(output: &Output) -> String {
    let story = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!story.contains("panicked"), "{story}");
    story
}

fn verdict(dir: &Path) -> Option<String> {
    let report: Value = serde_json::from_slice(&fs::read(dir.join("report.json")).ok()?).unwrap();
    report["verdict"].as_str().map(str::to_owned)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_verdict_is_told_though_nothing_can_be_written_or_shown() {
    let stack = two_histories();
    // This simulates a full disk: files can be created, but nothing can be written to them.
    let full = "trap '' XFSZ; ulimit -f 0; exec $V reconcile one --report";
    let output = by_shell(&stack, full);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("\nverdict: whole\n"), "{output:?}");
    for name in ["run directory one", "one/report.html", "one/junit.xml", "digests"] {
        assert!(story(&output).contains(name), "{name}: {output:?}");
    }
    assert_eq!(output.status.code(), Some(6), "what is whole is not well told");
    let left = names(&stack.path("one"));
    assert!(left.iter().all(|name| !name.starts_with('.') && !name.contains("report")), "{left:?}");

    // The output cannot be written.
    let output = by_shell(&stack, "exec $V reconcile one > /dev/full");
    assert!(story(&output).contains("cannot write the output"), "{output:?}");
    assert_eq!(output.status.code(), Some(6));
    assert_eq!(verdict(&stack.path("one")).as_deref(), Some("whole"));
    for line in ["{ $V reconcile one; echo $? >&3; } 3>code | true", "$V reconcile one 2>&-"] {
        let output = by_shell(&stack, line);
        assert_eq!((story(&output).as_str(), output.status.code()), ("", Some(0)), "{line}");
    }
    assert_eq!(fs::read_to_string(stack.path("code")).unwrap(), "0\n");
    let output = by_shell(&stack, "$V reconcile missing 2> /dev/full");
    assert_eq!(output.status.code(), Some(2), "{output:?}");

    a_check_that_fails_leaves_nothing_that_looks_new(&stack);
    each_run_is_checked_in_its_own_table(&stack);
    what_is_lost_stays_lost_on_a_full_disk(&stack, full);
    a_generator_goes_on_where_nobody_reads(&stack);
}

fn a_check_that_fails_leaves_nothing_that_looks_new(stack: &Stack) {
    let junit = stack.path("one/junit.xml");
    assert!(stack.run("auditstorm-verifier", &["reconcile", "one", "--report"]).status.success());
    assert!(junit.exists());
    let away = ["reconcile", "one", "--clickhouse", "http://127.0.0.1:9", "--patience", "1s"];
    let output = stack.run("auditstorm-verifier", &away);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    for name in ["report.json", "report.html", "report.md", "junit.xml"] {
        let path = stack.path("one").join(name);
        assert!(!path.exists(), "{name} is of the check before");
        assert!(path.with_file_name(format!("{name}.earlier")).exists(), "{name}");
    }
    assert!(stack.run("auditstorm-verifier", &["reconcile", "one"]).status.success());
    assert!(junit.exists(), "it was there before, so it is written anew");
    let left = names(&stack.path("one"));
    assert!(left.iter().all(|name| !name.ends_with(".earlier")), "{left:?}");
}

fn each_run_is_checked_in_its_own_table(stack: &Stack) {
    fs::create_dir(stack.path("rotten")).unwrap();
    fs::copy(stack.path("two/run.json"), stack.path("rotten/run.json")).unwrap();
    let record = fs::read_to_string(stack.path("rotten/run.json")).unwrap();
    let changed = record.replace("\"seed\": ", "\"seed\": 7");
    fs::write(stack.path("rotten/run.json"), changed).unwrap();
    let mut ledger = fs::read(stack.path("two/ledger-0.bin")).unwrap();
    ledger[40] ^= 1;
    fs::write(stack.path("rotten/ledger-0.bin"), ledger).unwrap();
    let args = ["reconcile", "missing", "one", "rotten", "two"];
    let output = stack.run("auditstorm-verifier", &args);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    for dir in ["missing", "rotten"] {
        assert!(story(&output).contains(&format!("no verdict for {dir}: ")), "{output:?}");
    }
    for dir in ["one", "two"] {
        assert_eq!(verdict(&stack.path(dir)).as_deref(), Some("whole"), "{dir}: {output:?}");
    }
}

fn what_is_lost_stays_lost_on_a_full_disk(stack: &Stack, full: &str) {
    stack.ask(
        "ALTER TABLE audit.audit_logs DELETE WHERE audit_id = (SELECT min(audit_id) FROM \
         audit.audit_logs) SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1",
    );
    let output = by_shell(stack, full);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\nverdict: lossy\n"), "{output:?}");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // A proven loss outweighs a run that could not be checked.
    let output = stack.run("auditstorm-verifier", &["reconcile", "one", "missing", "two"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// Its messages go into a pipe that is full, and its summary to a disk that is full.
fn a_generator_goes_on_where_nobody_reads(stack: &Stack) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![b'.'; 65_536]).unwrap();
    let profile = stack.profile(20, 1, 10);
    let mut generator = stack.command("auditstorm-generator", &["run", &profile, "--out", "live"]);
    generator.args(["--durability", "power", "--metrics", "127.0.0.1:0", "-vv"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child: Child = generator.stdout(full).stderr(writer).spawn().unwrap();
    let mut status = None;
    wait_until("the generator has ended", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(6), "its summary was not shown");
    drop(reader);
    let summary = fs::read(stack.path("live/summary-0.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!(summary["acknowledged"], 200, "{summary}");
}
