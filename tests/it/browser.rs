//! A real Chromium without a window, controlled over its `DevTools` protocol.
//!
//! Source: <https://chromedevtools.github.io/devtools-protocol/>, over pipes: messages are JSON,
//! each followed by a zero byte.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one page. It ends with its processes when it is dropped.
pub(crate) struct Browser {
    child: Child,
    stdin: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    last_id: u64,
    events: Vec<Value>,
    // Dropped last, because the browser writes there until it has ended.
    _profile: TempDir,
}

/// What a page did when it was opened.
#[derive(Debug)]
pub(crate) struct Visit {
    /// Addresses that the page requested, including its own.
    pub(crate) requests: Vec<String>,
    /// Errors in the page, and everything that it wrote to the console.
    pub(crate) complaints: Vec<String>,
    /// How many pixels the page is wider than the window.
    pub(crate) overflow_px: i64,
    /// Time from the start of navigation until everything was loaded.
    pub(crate) load_ms: f64,
    pub(crate) title: String,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The pipes must be the file descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null", "sh"])
            .arg(chromium())
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--disable-dev-shm-usage"])
            .args(["--hide-scrollbars", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while stdout.read_until(0, &mut message).is_ok_and(|bytes| bytes > 0) {
                message.pop();
                let told = serde_json::from_slice(&message).map(|it| sender.send(it));
                if !told.is_ok_and(|sent| sent.is_ok()) {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            stdin,
            messages,
            session: String::new(),
            last_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &target);
        session["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Opens a file in a window of this width, in light or dark colours.
    pub(crate) fn visit(&mut self, file: &Path, width: u32, scheme: &str) -> Visit {
        let height = 900;
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
        let feature = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": feature }));
        self.events.clear();
        let url = format!("file://{}", file.canonicalize().unwrap().display());
        self.call("Page.navigate", &json!({ "url": url }));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.receive();
            self.events.push(event);
        }
        let asked = "JSON.stringify([document.documentElement.scrollWidth - innerWidth, \
                     performance.getEntriesByType('navigation')[0].loadEventStart, \
                     document.title])";
        let told = self.call("Runtime.evaluate", &json!({ "expression": asked }));
        let told = told["result"]["value"].as_str().unwrap();
        let told: (f64, f64, String) = serde_json::from_str(told).unwrap();
        let of = |method: &str| {
            let method = method.to_owned();
            self.events.iter().filter(move |event| event["method"] == *method)
        };
        let complaints = ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"];
        Visit {
            requests: of("Network.requestWillBeSent")
                .map(|event| event["params"]["request"]["url"].as_str().unwrap().to_owned())
                .collect(),
            complaints: complaints.into_iter().flat_map(of).map(Value::to_string).collect(),
            #[expect(clippy::cast_possible_truncation, reason = "pixels are whole")]
            overflow_px: told.0 as i64,
            load_ms: told.1,
            title: told.2,
        }
    }

    /// Calls a method of the protocol, and returns its result.
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.stdin.write_all(&bytes).unwrap();
        loop {
            let mut message = self.receive();
            if message["id"] == self.last_id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    fn receive(&self) -> Value {
        self.messages.recv_timeout(Duration::from_mins(1)).expect("the browser answers")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to close, the browser ends its processes. If it were killed, they would go on.
        self.stdin.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0").ok();
        for _ in 0..100 {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn chromium() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
        .expect("no chromium on PATH: run `make setup`, or install it")
}
