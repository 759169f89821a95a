//! A real Prometheus scrapes the generator while it runs.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::stack::{Running, program, root, wait_until};

/// Starts a webhook that accepts everything and ignores it, until this process ends. Returns its
/// address.
fn null_sink() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            thread::spawn(move || take_all(&stream).ok());
        }
    });
    format!("http://{address}/events")
}

fn take_all(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut body_bytes = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(length) = line.to_lowercase().strip_prefix("content-length:") {
                body_bytes = length.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        std::io::copy(&mut reader.by_ref().take(body_bytes), &mut std::io::sink())?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}

/// Sends a GET request to a server on this machine. Returns head and body, or `None` if it does not
/// answer.
pub(crate) fn get(address: &str, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}

/// Finds a program of Prometheus: the one that `auditstorm-sandbox setup` downloaded, else on PATH.
fn prometheus_program(name: &str) -> PathBuf {
    let fetched = root().join(".sandbox/prometheus").join(name);
    if fetched.exists() { fetched } else { PathBuf::from(name) }
}

/// Starts a generator that serves metrics. Returns it with the address that it printed.
fn generator(place: &Path) -> (Running, String) {
    let profile = "name: x\nstages: [{duration: 120s, rate: 20/s, tenants: 10}]\n\
                   send: {batch_events: 10, batch_age: 100ms, lateness_max: 60s}\n";
    std::fs::write(place.join("profile.yaml"), profile).unwrap();
    let mut child = Command::new(program("auditstorm-generator"))
        .args(["run", "profile.yaml", "--no-self-test", "--out", "run", "--webhook", &null_sink()])
        .args(["--metrics", "127.0.0.1:0", "--metrics-per-tenant"])
        .args(["--summary-export", "k6.json"])
        .current_dir(place)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut told).unwrap();
    // Somebody must read its later lines, else it might block.
    thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let address = told
        .trim()
        .strip_prefix("metrics on http://")
        .and_then(|rest| rest.strip_suffix("/metrics"));
    (Running(child), address.unwrap_or_else(|| panic!("{told}")).to_owned())
}

/// Starts a Prometheus that scrapes the address. Returns it with its own address.
fn prometheus(place: &Path, scraped: &str) -> (Running, String) {
    let config = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
         scrape_configs: [{{job_name: x, static_configs: [{{targets: [\"{scraped}\"]}}]}}]\n"
    );
    std::fs::write(place.join("prometheus.yaml"), config).unwrap();
    let log = place.join("prometheus.log");
    let child = Command::new(prometheus_program("prometheus"))
        .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"])
        .args(["--web.listen-address=127.0.0.1:0"])
        .current_dir(place)
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("no Prometheus, run `make setup`: {error}"));
    let mut running = Running(child);
    let mut address = None;
    wait_until("Prometheus listens", || {
        let told = std::fs::read_to_string(&log).unwrap();
        assert_eq!(running.0.try_wait().unwrap(), None, "Prometheus ended: {told}");
        let line = told.lines().find(|line| line.contains("msg=\"Listening on\""));
        let bound = line.and_then(|line| line.split_once("address=")).map(|(_, rest)| rest);
        address = bound.and_then(|rest| rest.split_whitespace().next()).map(str::to_owned);
        address.is_some()
    });
    (running, address.unwrap())
}

/// The value of a query, or `None` if Prometheus has none yet.
fn queried(prometheus: &str, query: &str) -> Option<f64> {
    let (_, body) = get(prometheus, &format!("/api/v1/query?query={query}"))?;
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

fn promtool_finds_no_fault(text: &str) {
    let mut promtool = Command::new(prometheus_program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_real_prometheus_scrapes_the_generator() {
    let place = TempDir::new().unwrap();
    let (mut generator, metrics) = generator(place.path());
    let (_running, prometheus) = prometheus(place.path(), &metrics);
    let value = |query: &str| queried(&prometheus, query);
    wait_until("acknowledged events and their latencies are scraped", || {
        let acknowledged = value("auditstorm_generator_events_acknowledged_total");
        let latencies = value("auditstorm_generator_due_to_acknowledged_seconds_count");
        acknowledged.is_some_and(|events| events > 0.0) && latencies.is_some_and(|all| all > 0.0)
    });
    // One query is used, so that all values are from the same scrape.
    let of_minute = "auditstorm_generator_due_to_acknowledged_seconds_bucket{le=\"60.0\"}";
    let behind =
        format!("auditstorm_generator_events_acknowledged_total-ignoring(le,class){of_minute}");
    assert_eq!(value(&behind), Some(0.0), "every acknowledged event has its latency");
    let tenants = "count(auditstorm_generator_tenant_events_attempted_total)";
    assert_eq!(value(tenants), Some(10.0));
    assert_eq!(value("auditstorm_generator_saturated"), Some(0.0));
    assert!(value("process_resident_memory_bytes").unwrap() > 1e6);

    let (head, text) = get(&metrics, "/metrics").unwrap();
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    promtool_finds_no_fault(&text);

    let pid = generator.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(generator.0.wait().unwrap().code(), Some(130));
    let exported = std::fs::read(place.path().join("k6.json")).unwrap();
    let exported: Value = serde_json::from_slice(&exported).unwrap();
    let sent = exported["metrics"]["iterations"]["count"].as_f64().unwrap();
    assert!(sent >= value("auditstorm_generator_events_attempted_total").unwrap());
}
