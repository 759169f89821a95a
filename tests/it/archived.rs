//! Archived runs, as users keep and read them.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::stack::program;
use crate::synthetic::{PROFILE, write_hour};

fn verifier(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(program("auditstorm-verifier"));
    command.args(args).current_dir(dir).output().unwrap()
}

#[track_caller]
fn told(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    (out, err)
}

#[test]
fn archived_runs_are_reported_compared_and_listed_like_others() {
    let dir = tempfile::tempdir().unwrap();
    let here = |args: &[&str]| verifier(args, dir.path());
    write_hour(&dir.path().join("one"), 1, PROFILE, 4_000);
    write_hour(&dir.path().join("two"), 2, PROFILE, 8_000);
    let kept = format!("file://{}", dir.path().join("kept").display());
    for name in ["one", "two"] {
        let (out, err) = told(&here(&["archive", name, &kept]), 0);
        assert_eq!(out, format!("{}/{name}\n", dir.path().join("kept").display()));
        assert!(err.contains("sent 6 files"), "{err}");
    }
    let (_, err) = told(&here(&["archive", "one", &kept]), 0);
    assert!(err.contains("sent 0 files"), "{err}");

    let (one, two) = (format!("{kept}/one"), format!("{kept}/two"));
    let compare = |base: &str, run: &str| {
        let output = here(&["compare", base, run, "--json"]);
        let mut compared: Value = serde_json::from_slice(&output.stdout).unwrap();
        for (side, name) in [("bases", base), ("runs", run)] {
            assert_eq!(compared[side][0]["dir"], name, "it is shown as it was named");
            compared[side][0]["dir"] = Value::Null;
        }
        (output.status.code(), compared)
    };
    assert_eq!(compare(&one, &two), compare("one", "two"));
    let (out, _) = told(&here(&["trend", "one", &two]), 0);
    assert!(out.contains(&two) && out.lines().count() >= 3, "{out}");

    let (_, err) = told(&here(&["report", &one]), 2);
    assert!(err.contains("name a directory with --out"), "{err}");
    told(&here(&["report", &one, "--out", "pages"]), 0);
    told(&here(&["report", "one", "--out", "own"]), 0);
    let page = |place: &str| fs::read_to_string(dir.path().join(place)).unwrap();
    assert_eq!(page("pages/report.md"), page("own/report.md"));

    told(&here(&["fetch", &two, "again"]), 0);
    for name in ["run.json", "report.json", "timeline-0.jsonl"] {
        assert_eq!(page(&format!("again/{name}")), page(&format!("two/{name}")), "{name}");
    }
    assert!(!dir.path().join("again/manifest.json").exists());
}

#[test]
fn what_is_no_archive_is_refused_with_its_own_words_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    write_hour(&dir.path().join("one"), 1, PROFILE, 4_000);
    let here = |args: &[&str]| verifier(args, dir.path());
    let kept = dir.path().join("kept");
    told(&here(&["archive", "one", kept.to_str().unwrap()]), 0);
    let address = format!("file://{}/one", kept.display());
    // Somebody changed a byte.
    let path = kept.join("one/report.json");
    let mut text = fs::read(&path).unwrap();
    text[20] ^= 1;
    fs::write(&path, text).unwrap();
    let (_, err) = told(&here(&["trend", &address]), 2);
    assert!(err.contains("report.json has another SHA-256"), "{err}");
    fs::remove_file(kept.join("one/manifest.json")).unwrap();
    let (_, err) = told(&here(&["trend", &address]), 2);
    assert!(err.contains("no complete archive in"), "{err}");
    let (_, err) = told(&here(&["reconcile", &address]), 2);
    assert!(err.contains("auditstorm-verifier fetch"), "{err}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let s3 = |variables: &[(&str, &str)]| {
        let mut command = Command::new(program("auditstorm-verifier"));
        command.args(["archive", "one", "s3://bucket/runs"]).current_dir(dir.path());
        command.env("AWS_ENDPOINT", &endpoint).env("AWS_SECRET_ACCESS_KEY", "SeCrEt");
        command.envs(variables.iter().copied()).output().unwrap()
    };
    let (key, http) = (("AWS_ACCESS_KEY_ID", "me"), ("AWS_ALLOW_HTTP", "true"));
    for (variables, code, expected) in [
        (&[][..], 2, "Missing AccessKeyId"),
        (&[key], 2, "AWS_ALLOW_HTTP=true allows"),
        (&[key, http], 3, "s3://bucket/runs/one does not answer: Connection refused"),
    ] {
        let (out, err) = told(&s3(variables), code);
        assert!(err.contains(expected), "{err}");
        assert!(!err.contains("SeCrEt") && out.is_empty(), "{out}{err}");
    }
}
