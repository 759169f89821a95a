//! Reports as users and CI see them: the page in a real browser, JUnit, comparisons, trends.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::browser::Browser;
use crate::stack::{Stack, program};
use crate::synthetic::{PROFILE, write_hour};

fn verifier(args: &[&str], dir: &Path) -> Output {
    Command::new(program("auditstorm-verifier")).args(args).current_dir(dir).output().unwrap()
}

/// Checks that the page is a single file that is legible everywhere. Returns the shortest time that
/// it took to load, in ms.
fn page_is_good(page: &Path) -> f64 {
    let html = std::fs::read_to_string(page).unwrap();
    for remote in ["src=\"http", "href=\"http", "url(http", "@import", "<script"] {
        assert!(!html.contains(remote), "{remote}");
    }
    let mut browser = Browser::start();
    let mut load_ms = f64::MAX;
    for (width, scheme) in [(400, "light"), (400, "dark"), (1_400, "light"), (1_400, "dark")] {
        let visit = browser.visit(page, width, scheme);
        assert_eq!(visit.complaints, Vec::<String>::new());
        let is_beyond = |url: &&String| !url.starts_with("file://") && !url.starts_with("data:");
        assert_eq!(visit.requests.iter().find(is_beyond), None);
        assert_eq!(visit.overflow_px, 0, "at {width} px");
        assert!(visit.title.contains(':'), "{}", visit.title);
        load_ms = load_ms.min(visit.load_ms);
    }
    load_ms
}

#[test]
fn a_run_that_misses_a_threshold_is_reported_to_people_and_to_ci() {
    let stack = Stack::up(&[]);
    let text = "name: missed\nstages: [{duration: 3s, rate: 100/s, tenants: 10}]\n\
                send: {batch_events: 100, batch_age: 200ms, lateness_max: 30s}\n\
                thresholds: {webhook: [p(95)<1µs], ingested: [rate==100%], lost: [count<1]}\n";
    std::fs::write(stack.path("missed.yaml"), text).unwrap();
    stack.generate("missed.yaml", "run");
    let args = ["reconcile", "run", "--quiet", "8s", "--wait", "90s", "--report"];
    let output = stack.run("auditstorm-verifier", &args);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("\n  threshold sent_to_acknowledged p(95)<1µs: "), "{told}");
    let report = std::fs::read(stack.path("run/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["verdict"], "whole");
    let outcomes = report["thresholds"].as_array().unwrap().iter().map(|it| &it["outcome"]);
    assert_eq!(outcomes.collect::<Vec<_>>(), ["passed", "passed", "failed"]);

    let junit = std::fs::read_to_string(stack.path("run/junit.xml")).unwrap();
    let junit = quick_junit::Report::deserialize_from_str(&junit).unwrap();
    assert_eq!((junit.tests, junit.failures, junit.errors), (10, 1, 0));
    let markdown = std::fs::read_to_string(stack.path("run/report.md")).unwrap();
    assert!(markdown.starts_with("# ! WHOLE: missed\n"), "{markdown}");
    let html = std::fs::read_to_string(stack.path("run/report.html")).unwrap();
    assert!(html.contains("Nobody watched the run"), "{html}");
    page_is_good(&stack.path("run/report.html"));

    // The same report is written elsewhere, from the files alone.
    let again = stack.run("auditstorm-verifier", &["report", "run", "--out", "again"]);
    assert!(again.status.success(), "{again:?}");
    assert_eq!(std::fs::read_to_string(stack.path("again/report.html")).unwrap(), html);

    // Files of an earlier check are written anew, even if nobody asks for it.
    std::fs::write(stack.path("run/junit.xml"), "of before").unwrap();
    std::fs::remove_file(stack.path("run/report.md")).unwrap();
    assert_eq!(stack.reconcile("run").0, 5);
    let junit = std::fs::read_to_string(stack.path("run/junit.xml")).unwrap();
    let junit = quick_junit::Report::deserialize_from_str(&junit).unwrap();
    assert_eq!((junit.tests, junit.failures), (10, 1));
    assert_ne!(std::fs::read_to_string(stack.path("run/report.html")).unwrap(), html);
    assert!(!stack.path("run/report.md").exists());
}

#[test]
fn the_page_of_an_hour_of_two_hundred_tenants_is_small_and_quick() {
    let place = tempfile::tempdir().unwrap();
    write_hour(&place.path().join("run"), 0, PROFILE, 8_000);
    let output = verifier(&["report", "run"], place.path());
    assert!(output.status.success(), "{output:?}");
    let page = place.path().join("run/report.html");
    let bytes = std::fs::metadata(&page).unwrap().len();
    assert!(bytes < 1_000_000, "{bytes} bytes");
    let load_ms = page_is_good(&page);
    assert!(load_ms < 1_000.0, "{load_ms} ms");
    println!("{bytes} bytes, loaded in {load_ms:.0} ms");
}

#[test]
fn a_run_is_compared_with_one_like_it_and_with_no_other() {
    let place = tempfile::tempdir().unwrap();
    let other = PROFILE.replace("100/s", "99/s");
    for (name, number, profile, latency_us) in [
        ("base", 0, PROFILE, 8_000),
        ("copy", 0, PROFILE, 8_000),
        ("same", 1, PROFILE, 8_000),
        ("slow", 2, PROFILE, 13_000),
        ("slow-again", 3, PROFILE, 13_000),
        ("other", 4, other.as_str(), 8_000),
        ("less", 5, PROFILE, 9_500),
    ] {
        write_hour(&place.path().join(name), number, profile, latency_us);
    }
    let compare = |args: &[&str]| verifier(&[&["compare"], args].concat(), place.path());
    let check = |args: &[&str], code: i32, told: &str| {
        let output = compare(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        let texts = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        assert!(texts.concat().contains(told), "{args:?}: {output:?}");
    };
    check(&["base", "same"], 0, "\nno regression\n");
    // A fifth more is allowed.
    check(&["base", "less"], 0, "\nno regression\n");
    check(&["base", "slow"], 4, "\nregression suspected: webhook p95 +6");
    check(&["slow", "base"], 0, "\nno regression\n");
    check(&["--base", "base", "--base", "same", "slow", "slow-again"], 5, "\nregression: webhook");
    check(&["base", "other"], 2, "different profiles");
    check(&["base"], 2, "there must be at least one base and one run");
    for run in ["base", "copy"] {
        check(&["base", run], 2, "two of them are the same run: 6f1c1c52-");
    }

    let json = compare(&["--base", "base", "--base", "same", "slow", "slow-again", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["outcome"], "regression");
    assert_eq!([&json["bases"], &json["runs"]].map(|it| it.as_array().unwrap().len()), [2, 2]);
    let worse = json["measures"].as_array().unwrap().iter();
    let worse: Vec<&Value> = worse.filter(|it| it["outcome"] == "regression").collect();
    assert!(worse.iter().all(|it| it["name"].as_str().unwrap().starts_with("webhook")));
    assert_eq!(worse.len(), 2, "{json}");

    let trend = verifier(&["trend", "slow", "base", "other", "--json"], place.path());
    let trend: Value = serde_json::from_slice(&trend.stdout).unwrap();
    let lost: Vec<&Value> = trend.as_array().unwrap().iter().map(|it| &it["lost"]).collect();
    assert_eq!(lost, [1_250; 3]);
}

#[test]
fn reports_of_several_runs_do_not_overwrite_each_other() {
    let place = tempfile::tempdir().unwrap();
    for (number, name) in (0..).zip(["one", "two"]) {
        write_hour(&place.path().join(name), number, PROFILE, 8_000);
    }
    let output = verifier(&["report", "one", "two", "--out", "pages"], place.path());
    let story = String::from_utf8_lossy(&output.stderr);
    assert!(story.contains("belong to 2 runs, whose files would have the same names"), "{story}");
    assert_eq!(output.status.code(), Some(2), "{story}");
    assert!(!place.path().join("pages").exists());
    let output = verifier(&["report", "one", "two"], place.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for name in ["one", "two"] {
        let page = std::fs::read_to_string(place.path().join(name).join("report.md")).unwrap();
        let record = std::fs::read(place.path().join(name).join("run.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        assert!(page.contains(record["run_id"].as_str().unwrap()), "{page}");
    }
}

#[test]
fn what_was_not_reconciled_has_no_report() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    write_hour(&run, 0, PROFILE, 8_000);
    let check = |expected: &str| {
        let output = verifier(&["report", "run"], place.path());
        let story = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{story}");
        assert!(story.contains(expected), "{story}");
    };
    std::fs::write(run.join("report.json"), "{\"format\": 1}").unwrap();
    check("has format 1, this version reads 3: reconcile the run again");
    std::fs::write(run.join("report.json"), "{").unwrap();
    check("report.json is no report");
    std::fs::remove_file(run.join("report.json")).unwrap();
    check("reconcile it first");
    std::fs::write(run.join("observations.jsonl"), "{}\n{}\n").unwrap();
    write_report_only(&run);
    check("line 1 of run/observations.jsonl is no record");
}

fn write_report_only(run: &Path) {
    let place = tempfile::tempdir().unwrap();
    let whole = place.path().join("whole");
    write_hour(&whole, 0, PROFILE, 8_000);
    std::fs::copy(whole.join("report.json"), run.join("report.json")).unwrap();
}
