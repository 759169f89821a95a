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
    /// Events of a request.
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
    pub(crate) bytes: u64,
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

    /// k6 with as many users as there are connections, each posting as fast as it can.
    pub(crate) fn k6(&self, url: &str, settings: Settings) -> Posted {
        let env = [
            ("URL", url),
            ("EVENTS", &settings.events.to_string()),
            ("CONNECTIONS", &settings.connections.to_string()),
            ("DURATION", &format!("{}s", settings.seconds)),
        ];
        let script = file("k6.js");
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
        assert!(numbers[0] > 0 && numbers[1] == 0, "{} posts failed", numbers[1]);
        Self { requests: numbers[0], bytes: numbers[2], cpu_s: run.cpu_s }
    }
}

/// What answers 204 to every request.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) url: String,
    /// nginx and its folder, the process first, so that it ends before its folder does; `None`
    /// for the threads of this program that stand in for it.
    _nginx: Option<(Process, TempDir)>,
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
        Self { url: format!("http://{address}/events"), _nginx: Some((process, place)) }
    }

    /// Threads of this program: slower than nginx, but always there.
    pub(crate) fn threads() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                // It ends when its client goes away, however that does.
                std::thread::spawn(move || swallow(&stream).ok());
            }
        });
        Self { url, _nginx: None }
    }
}

/// Answers one connection's requests.
fn swallow(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    let mut body_bytes = 0;
    while input.read_line(&mut line)? > 0 {
        if let Some(length) = line.strip_prefix("content-length: ") {
            body_bytes = length.trim().parse().unwrap();
        } else if line == "\r\n" {
            std::io::copy(&mut input.by_ref().take(body_bytes), &mut std::io::sink())?;
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        }
        line.clear();
    }
    Ok(())
}

/// An address that was free just now.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn file(name: &str) -> PathBuf {
    Path::new(ROOT).join("generator/benches/post").join(name)
}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
