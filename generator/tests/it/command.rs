//! Bad input gets one clear message and a documented exit code.

use assert_cmd::Command;
use tempfile::TempDir;

use crate::targets::{Behaviour, Server};

const GOOD: &str = "name: x\nstages: [{duration: 1s, rate: 5/s, tenants: 2}]\n";

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::write(place.0.path().join("good.yaml"), GOOD).unwrap();
        place
    }

    /// Runs the generator. Returns exit code and what it said.
    fn run(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::cargo_bin("auditstorm-generator").unwrap();
        command
            .env_remove("VECTOR_WEBHOOK_URL")
            .env_remove("WEBHOOK_TOKEN")
            .current_dir(self.0.path())
            .args(args);
        let output = command.output().unwrap();
        let story = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), story)
    }

    #[track_caller]
    fn check(&self, args: &[&str], code: i32, expected: &str) {
        let (exit, story) = self.run(args);
        assert_eq!(exit, code, "{story}");
        assert!(story.contains(expected), "{story}");
        assert!(!story.contains("panicked"), "{story}");
    }
}

#[test]
fn wrong_usage_is_told_with_exit_code_2() {
    let place = Place::new();
    let webhook = ["--webhook", "http://127.0.0.1:1/events"];
    let run = |args: &[&'static str]| [&["run"], args, &webhook[..]].concat();
    place.check(&run(&["nowhere"]), 2, "no profile is called \"nowhere\"");
    place.check(&run(&["./no.yaml"]), 2, "there is no file ./no.yaml");
    place.check(&run(&["no.yaml"]), 2, "there is no file no.yaml");
    place.check(&["run", "good.yaml"], 2, "with --webhook or VECTOR_WEBHOOK_URL");
    place.check(&run(&["good.yaml", "--rate-scale", "-1"]), 2, "a number from 0.001 to 1000");
    place.check(&["emit", "good.yaml", "--events", "1e6"], 2, "like 1000000");
    place.check(&["run", "good.yaml", "--webhook", "vector:80"], 2, "its scheme is missing");
    place.check(
        &["run", "good.yaml", "--webhook", "http://127.0.0.1:99999/events"],
        2,
        "\"http://127.0.0.1:99999/events\" is no webhook address: its port is no number from 1 to",
    );
    place.check(&run(&["good.yaml", "--ca-file", "ca.pem"]), 2, "begin with https://");
    place.check(&run(&["good.yaml", "--token-file", "no"]), 2, "cannot read --token-file no");
    place.check(&run(&["good.yaml", "--header", "Authorization: x"]), 2, "--token-file");
    place.check(&run(&["good.yaml", "--connection-lifetime", "0s"]), 2, "above zero");
    let many = ["http://x"; 100].join(",");
    place.check(&["run", "good.yaml", "--webhook", &many], 2, "raise `send.connections`");
    place.check(&["emit", "good.yaml", "--events", "11"], 2, "has 10 events");
    place.check(
        &["emit", "good.yaml", "--events", "1", "--start", "today"],
        2,
        "2026-01-31T12:00:00Z",
    );
    place.check(&["profiles", "nothing"], 2, "one of: demo, smoke");
}

#[test]
fn a_bad_profile_is_shown_where_it_is_bad() {
    let place = Place::new();
    let check = |from: &str, to: &str, expected: &str| {
        std::fs::write(place.0.path().join("bad.yaml"), GOOD.replace(from, to)).unwrap();
        place.check(&["emit", "bad.yaml", "--events", "1"], 2, expected);
    };
    check("rate", "speed", "line 2 column 25: unknown field `speed`");
    check("5/s", "5 per second", "line 2 column 31: \"5 per second\" is no rate");
    check("5/s", "-5/s", "line 2 column 31: \"-5/s\" is negative");
    check("1s", "0s", "write a duration above zero for `stages[0].duration`");
    check("tenants: 2", "tenants: 0", "a stage needs at least one tenant");
    check("tenants: 2", "tenants: 65537", "65537 tenants are more than the 65536");
}

#[test]
fn a_webhook_that_is_not_there_is_told_with_exit_code_3_and_leaves_no_run() {
    let place = Place::new();
    let args = ["run", "good.yaml", "--out", "run", "--webhook", "http://127.0.0.1:1/events"];
    place.check(&args, 3, "the webhook 127.0.0.1:1 does not answer");
    assert!(!place.0.path().join("run").exists());
}

#[test]
fn a_run_of_which_nothing_is_taken_ends_with_exit_code_3_and_says_what_to_do() {
    let place = Place::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (answer, code, expected) in [
        (
            "404 Not Found",
            3,
            "NOTHING WAS ACKNOWLEDGED: what came most was 404; is the path right?",
        ),
        (
            "401 Unauthorized",
            3,
            "    401: 10; it wants a token: see --token-file and WEBHOOK_TOKEN",
        ),
        (
            "301 Moved\r\nlocation: https://other/\t[2J",
            3,
            r"    301: 10; it says to go to https://other/\t[2J: name that address",
        ),
        ("413 Too Large", 3, "    413: 10; a batch is too large for it: lower send.batch_events"),
        ("503 Busy", 3, "    503: 10; it has more load than it takes"),
        ("200 OK", 0, "acknowledged            10"),
    ] {
        let server = runtime.block_on(Server::start(Behaviour::Answer(answer)));
        let url = format!("http://{}/typo", server.address);
        let mut command = Command::cargo_bin("auditstorm-generator").unwrap();
        command.env_remove("WEBHOOK_TOKEN").current_dir(place.0.path());
        // Proxies of the environment are for others: nothing listens there.
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
            command.env(name, "http://127.0.0.1:9");
        }
        let run = ["run", "good.yaml", "--no-self-test", "--webhook", &url];
        let output = command.args(run).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{answer}: {output:?}");
        assert!(told.contains(expected), "{answer}: {told}");
    }
}

#[test]
fn what_cannot_be_observed_is_told_before_anything_is_sent() {
    let place = Place::new();
    let sink = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = sink.local_addr().unwrap().to_string();
    let webhook = format!("http://{address}/events");
    let check = |args: &[&str], code, expected: &str| {
        let run = ["run", "good.yaml", "--out", "run", "--webhook", &webhook];
        place.check(&[&run, args].concat(), code, expected);
        assert!(!place.0.path().join("run").exists());
    };
    check(&["--summary-export", "no/k6.json"], 2, "cannot write the summary to no/k6.json");
    check(&["--metrics", &address], 6, "cannot serve metrics on");
    check(&["--metrics", ":9464"], 2, "write it like 127.0.0.1:9464");
    check(&["--metrics", "127.0.0.1:99999"], 2, "its port is no number from");
    check(&["--metrics-per-tenant"], 2, "--metrics <ADDR>");
}

#[test]
fn a_disk_that_is_full_has_an_exit_code_of_its_own() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = std::process::Command::new(assert_cmd::cargo::cargo_bin("auditstorm-generator"))
        .args(["emit", "demo", "--events", "3"])
        .stdout(full)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("cannot write the output: No space left on device"), "{told}");
    assert_eq!(output.status.code(), Some(6), "{told}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let program = assert_cmd::cargo::cargo_bin("auditstorm-generator");
    let script = format!("{} emit demo --events 100000 | head -n 1 > /dev/null", program.display());
    let output = std::process::Command::new("bash")
        .args(["-o", "pipefail", "-c", &script])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn help_lists_the_exit_codes() {
    let output =
        Command::cargo_bin("auditstorm-generator").unwrap().arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for code in ["  0 ", "  1 ", "  2 ", "  3 ", "  4 ", "  5 ", "  6 ", "  130 "] {
        assert!(help.contains(code), "{help}");
    }
}
