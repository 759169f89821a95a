//! Who posts besides us, and to whom all of us post.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use plans::profile::Sending;
use tempfile::TempDir;

use crate::process::{Process, Run};

/// How all senders are run, ours among them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) seconds: u32,
    pub(crate) connections: u32,
    /// Events of a request, or of a page.
    pub(crate) events: u32,
}

/// The programs that `make bench-setup` fetches, or that are on PATH.
#[derive(Debug)]
pub(crate) struct Peers {
    k6: PathBuf,
    wrk: PathBuf,
    nginx: PathBuf,
    /// Where the libraries are that wrk needs.
    libraries: PathBuf,
}

/// What a peer posted, and what it cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Posted {
    pub(crate) requests: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) cpu_s: f64,
}

impl Settings {
    /// As in a profile that says nothing of them.
    pub(crate) fn defaults(seconds: u32) -> Self {
        let Sending { connections, batch_events, .. } = Sending::default();
        Self { seconds, connections, events: batch_events }
    }
}

impl Peers {
    /// Finds the peers; `None` if one of them is not there.
    pub(crate) fn find() -> Option<Self> {
        let home = std::env::var_os("AUDITSTORM_SANDBOX_HOME").map(PathBuf::from);
        let home = home.unwrap_or_else(|| Path::new(ROOT).join(".sandbox")).join("bench-peers");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let find = |name: &str| {
            let mut folders = std::iter::once(home.join("bin")).chain(std::env::split_paths(&path));
            folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
        };
        let (k6, wrk, nginx) = (find("k6")?, find("wrk")?, find("nginx")?);
        Some(Self { k6, wrk, nginx, libraries: home.join("lib") })
    }

    /// k6 with as many users as there are connections, each posting as fast as it can what a
    /// script says.
    pub(crate) fn k6(&self, script: &str, url: &str, settings: Settings) -> Posted {
        let env = [
            ("URL", url),
            ("EVENTS", &settings.events.to_string()),
            ("CONNECTIONS", &settings.connections.to_string()),
            ("DURATION", &format!("{}s", settings.seconds)),
        ];
        let script = file(script);
        let script = script.to_str().unwrap();
        let args = ["run", "--quiet", "--no-usage-report", "--address", "", script];
        Posted::of(&Process::start(&self.k6, &args, &env).finish())
    }

    /// wrk with one thread, which is what costs it least, and the same body in every request.
    pub(crate) fn wrk(&self, url: &str, body: &Path, settings: Settings) -> Posted {
        let env = [
            ("BODY", body.to_str().unwrap()),
            ("LD_LIBRARY_PATH", self.libraries.to_str().unwrap()),
        ];
        let (connections, duration) =
            (format!("-c{}", settings.connections), format!("-d{}s", settings.seconds));
        let script = file("wrk.lua");
        let args = ["-t1", &connections, &duration, "-s", script.to_str().unwrap(), url];
        Posted::of(&Process::start(&self.wrk, &args, &env).finish())
    }
}

impl Posted {
    fn of(run: &Run) -> Self {
        let line = run.stdout.lines().find_map(|line| line.strip_prefix("posted "));
        let numbers = line.expect("a peer says what it posted").split(' ');
        let numbers: Vec<u64> = numbers.map(|number| number.parse().unwrap()).collect();
        let &[requests, 0, bytes_sent, bytes_received] = &numbers[..] else {
            panic!("{numbers:?}: posts failed");
        };
        assert!(requests > 0, "nothing was posted");
        Self { requests, bytes_sent, bytes_received, cpu_s: run.cpu_s }
    }
}

/// What answers 204 to events, and a page to questions.
#[derive(Debug)]
pub(crate) struct Sink {
    /// Like `http://127.0.0.1:4711`.
    pub(crate) url: String,
    /// nginx; `None` for the threads of this program that stand in for it. It is before its
    /// folder, so that it ends before the folder does.
    _nginx: Option<Process>,
    place: TempDir,
}

impl Sink {
    /// nginx with one worker.
    pub(crate) fn nginx(peers: &Peers) -> Self {
        let place = tempfile::tempdir().unwrap();
        let address = free_address();
        std::fs::write(place.path().join("listen.conf"), format!("listen {address};\n")).unwrap();
        std::fs::copy(file("sink.conf"), place.path().join("sink.conf")).unwrap();
        let args = ["-e", "stderr", "-p", place.path().to_str().unwrap(), "-c", "sink.conf"];
        let process = Process::start(&peers.nginx, &args, &[]);
        let answers = |_: &u32| {
            sleep(Duration::from_millis(50));
            TcpStream::connect(address).is_ok()
        };
        assert!((0..100).any(|attempt| answers(&attempt)), "nginx does not answer");
        Self { url: format!("http://{address}"), _nginx: Some(process), place }
    }

    /// Threads of this program: slower than nginx, but always there.
    pub(crate) fn threads() -> Self {
        let place = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let page = place.path().join(PAGE);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, page) = (stream.unwrap(), page.clone());
                // It ends when its client goes away, however that does.
                std::thread::spawn(move || answer(&stream, &page).ok());
            }
        });
        Self { url, _nginx: None, place }
    }

    /// Where events go to.
    pub(crate) fn events(&self) -> String {
        format!("{}/events", self.url)
    }

    /// Where questions go to.
    pub(crate) fn questions(&self) -> String {
        format!("{}/apis/activity.miloapis.com/v1alpha1/auditlogqueries", self.url)
    }

    /// Sets what the answer to all questions is. Nobody may be asking meanwhile.
    pub(crate) fn put_page(&self, page: &[u8]) {
        std::fs::write(self.place.path().join(PAGE), page).unwrap();
    }
}

/// Answers one connection's requests.
fn answer(mut stream: &TcpStream, page: &Path) -> std::io::Result<()> {
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    let (mut body_bytes, mut is_question) = (0, false);
    while input.read_line(&mut line)? > 0 {
        if let Some(path) = line.strip_prefix("POST ") {
            is_question = path.starts_with("/apis/");
        } else if let Some(length) = line.strip_prefix("content-length: ") {
            body_bytes = length.trim().parse().unwrap();
        } else if line == "\r\n" {
            std::io::copy(&mut input.by_ref().take(body_bytes), &mut std::io::sink())?;
            stream.write_all(&if is_question { page_answer(page)? } else { NOTHING.to_vec() })?;
        }
        line.clear();
    }
    Ok(())
}

const NOTHING: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

fn page_answer(page: &Path) -> std::io::Result<Vec<u8>> {
    let body = std::fs::read(page)?;
    let head = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n", body.len());
    Ok([head.as_bytes(), &body].concat())
}

/// The file with the page, as nginx's configuration has it too.
const PAGE: &str = "page.json";

/// An address that was free just now.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn file(name: &str) -> PathBuf {
    Path::new(ROOT).join("generator/benches/post").join(name)
}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
