//! What a run tells while it goes on: on a terminal, elsewhere, and when told to be quiet.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::targets::{Behaviour, Server};

/// Runs the generator for some seconds through a shell, as `$GENERATOR`. Returns what it wrote to
/// standard output and standard error.
fn shell(script: &str, seconds: u32) -> (TempDir, String, String) {
    let place = tempfile::tempdir().unwrap();
    let profile = format!("name: x\nstages: [{{duration: {seconds}s, rate: 10/s, tenants: 6}}]\n");
    std::fs::write(place.path().join("x.yaml"), profile).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(Behaviour::Answer("200 OK")));
    let webhook = format!("http://{}/events", server.address);
    let generator = assert_cmd::cargo::cargo_bin("auditstorm-generator");
    let output = Command::new("bash")
        .args(["-c", script])
        .env("GENERATOR", format!("{} run x.yaml --out run --no-self-test", generator.display()))
        .env("VECTOR_WEBHOOK_URL", webhook)
        .env("TERM", "xterm")
        .current_dir(place.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (place, text(output.stdout), text(output.stderr))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// `script` gives a terminal to its command, and passes on what is written to it.
fn on_a_terminal(command: &str, seconds: u32) -> String {
    let script = format!("script -qec \"stty rows 24 cols 80; {command}\" /dev/null");
    shell(&script, seconds).1
}

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

#[test]
fn a_terminal_gets_a_screen_and_then_the_summary_and_is_given_back() {
    let told = on_a_terminal("$GENERATOR; stty -a", 3);
    let (before, rest) = told.split_once(ENTER).unwrap_or_else(|| panic!("{told}"));
    let (screen, after) = rest.split_once(LEAVE).unwrap_or_else(|| panic!("{told}"));
    assert_eq!(before, "");
    assert!(screen.contains("on time: the generator was at most"), "{screen}");
    assert!(screen.contains("tenants that send most"), "{screen}");
    assert!(after.contains("acknowledged           180"), "{after}");
    assert!(after.contains(" icanon") && after.contains(" echo "), "{after}");
    assert!(!after.contains(ENTER), "{after}");
}

#[test]
fn a_screen_that_is_interrupted_or_hung_up_stops_in_order_and_gives_the_terminal_back() {
    for signal in ["INT", "HUP", "QUIT"] {
        let command =
            format!("\\$GENERATOR & pid=\\$!; sleep 1; kill -{signal} \\$pid; wait \\$pid");
        let foreground = format!("set +m; {command}; echo exit \\$?; stty -a");
        let told = on_a_terminal(&foreground, 60);
        let (_, after) = told.split_once(LEAVE).unwrap_or_else(|| panic!("{signal}: {told}"));
        assert!(after.contains("stopped by the user"), "{signal}: {after}");
        assert!(after.contains("exit 130"), "{signal}: {after}");
        assert!(after.contains(" icanon") && after.contains(" echo "), "{signal}: {after}");
    }
}

#[test]
fn elsewhere_there_is_a_line_every_ten_seconds() {
    let (place, stdout, stderr) = shell("$GENERATOR --summary-export k6.json", 11);
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    assert!(lines[0].starts_with("at=20"), "{stderr}");
    assert!(lines[0].contains(" elapsed_s=10 planned=600 "), "{stderr}");
    assert!(stdout.contains("acknowledged           660"), "{stdout}");
    let exported = json(&place.path().join("k6.json"));
    assert_eq!(exported["metrics"]["iterations"]["count"], 660);
    let summary = json(&place.path().join("run/summary-0.json"));
    assert_eq!(summary["classes"]["all"]["due_to_sent"], summary["due_to_sent"]);
    let timeline = std::fs::read_to_string(place.path().join("run/timeline-0.jsonl")).unwrap();
    let histograms: Value = serde_json::from_str(timeline.lines().last().unwrap()).unwrap();
    assert_eq!(histograms["classes"]["all"]["due_to_sent"], histograms["due_to_sent"]);
}

#[test]
fn quiet_tells_the_summary_alone_and_json_has_no_screen() {
    let (_place, stdout, stderr) = shell("$GENERATOR --quiet --metrics 127.0.0.1:0", 1);
    assert!(stdout.contains("acknowledged            60"), "{stdout}");
    assert_eq!(stderr, "");
    let told = on_a_terminal("$GENERATOR --json", 1);
    let summary: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(summary["acknowledged"], 60);
}

#[test]
fn logs_go_to_standard_error_as_asked_and_hold_nothing_up() {
    let (_place, stdout, stderr) = shell("$GENERATOR -vv --json", 1);
    let summary: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(summary["acknowledged"], 60);
    for told in
        [" level=info ", " level=debug ", " message=\"connection opened\" server=127.0.0.1:"]
    {
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
    let (_place, _, stderr) = shell("$GENERATOR -v --log-format json --quiet", 1);
    let lines: Vec<Value> =
        stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "sending"), "{stderr}");
    assert!(lines.iter().all(|line| line["level"] == "INFO"), "{stderr}");
    let (_place, _, stderr) = shell("RUST_LOG=load=debug $GENERATOR --quiet", 1);
    assert!(stderr.lines().all(|line| line.contains(" target=load::")), "{stderr}");
    assert!(stderr.contains("connection opened"), "{stderr}");
    let (_place, stdout, stderr) = shell("$GENERATOR -vv --quiet 2>&-; echo exit $?", 1);
    assert!(stdout.ends_with("\nexit 0\n") && stderr.is_empty(), "{stdout}{stderr}");
}

#[test]
fn a_screen_is_not_spoilt_by_logs_which_follow_it() {
    let told = on_a_terminal("$GENERATOR -vv", 2);
    let (before, rest) = told.split_once(ENTER).unwrap_or_else(|| panic!("{told}"));
    let (screen, after) = rest.split_once(LEAVE).unwrap_or_else(|| panic!("{told}"));
    assert!(before.contains(" message=\"the webhook answers\""), "{before}");
    assert!(!screen.contains("level="), "{screen}");
    assert!(after.contains(" message=\"connection opened\""), "{after}");
    assert!(after.contains("acknowledged           120"), "{after}");
}
