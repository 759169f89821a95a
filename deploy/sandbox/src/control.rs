//! How `restart`, `stop` and `start` talk to the `up` that owns a directory: one line over a socket
//! in it.
//!
//! `restart PART MILLISECONDS`, `stop PART` or `start PART` goes in; what comes out, before the
//! end, is `done` or why not. If either side is killed the other one sees the end of the stream.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::error::SandboxError;
use crate::nats_server;
use crate::query_api_server;
use crate::report::with_causes;
use crate::stack::remove_stale;

/// A part that can be restarted, stopped and started by order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Clickhouse,
    Nats,
    /// Sidecar and aggregator together, whether they are the relay or Vectors
    Relay,
    /// The part before NATS, if it is a process of its own
    #[value(alias = "vector-sidecar", alias = "relay-sidecar")]
    Sidecar,
    /// The part behind NATS, if it is a process of its own
    #[value(alias = "vector-aggregator", alias = "relay-aggregator")]
    Aggregator,
    /// The sandbox's own query API
    QueryApi,
}

impl Part {
    /// The names that the part's processes may have.
    pub(crate) fn process_names(self) -> &'static [&'static str] {
        match self {
            Self::Clickhouse => &["clickhouse"],
            Self::Nats => &[nats_server::NAME],
            Self::Relay => {
                &["relay", "sidecar", "aggregator", "vector-sidecar", "vector-aggregator"]
            }
            Self::Sidecar => &["sidecar", "vector-sidecar"],
            Self::Aggregator => &["aggregator", "vector-aggregator"],
            Self::QueryApi => &[query_api_server::NAME],
        }
    }

    /// The part's name, as it is ordered.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clickhouse => "clickhouse",
            Self::Nats => "nats",
            Self::Relay => "relay",
            Self::Sidecar => "sidecar",
            Self::Aggregator => "aggregator",
            Self::QueryApi => query_api_server::NAME,
        }
    }
}

/// What to do to which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) part: Part,
    pub(crate) act: Act,
}

/// What can be done to a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Kill it, leave it down for a time, and start it.
    Restart(Duration),
    /// Kill it, and leave it down.
    Stop,
    /// Start it if it is down.
    Start,
}

/// The longest time for which a part can be ordered down.
pub(crate) const DOWN_FOR_MAX: Duration = Duration::from_mins(10);

/// Where orders arrive. The socket's file goes with it.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// The client that waits for an order. If this is dropped without an answer, the client learns that
/// nobody carried the order out.
#[derive(Debug)]
pub(crate) struct Client(UnixStream);

impl Control {
    /// Listens for orders to the sandbox in a directory, which the caller owns.
    ///
    /// # Errors
    ///
    /// Returns an error if the socket cannot be made.
    pub(crate) fn listen(dir: &Path) -> Result<Self, SandboxError> {
        let path = socket_path(dir);
        remove_stale(&path)?;
        let listener = by_short_path(dir, |path| UnixListener::bind(path));
        let listener = listener.map_err(SandboxError::io("listen on", &path))?;
        Ok(Self { listener, path })
    }

    /// Waits for the next order that makes sense; others are ignored.
    pub(crate) async fn next(&self) -> (Order, Client) {
        const LINE_LIMIT: Duration = Duration::from_secs(5);
        loop {
            let Ok((mut stream, _)) = self.listener.accept().await else {
                // Most likely no file descriptor is left; some other work must end first.
                tokio::task::yield_now().await;
                continue;
            };
            let mut line = String::new();
            if let Ok(Ok(_)) = timeout(LINE_LIMIT, stream.read_to_string(&mut line)).await
                && let Some(order) = Order::parse(&line)
            {
                return (order, Client(stream));
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // This fails only if somebody has removed the file already.
        remove_stale(&self.path).ok();
    }
}

impl Client {
    /// Says how the order ended. A client that has gone away is no failure.
    pub(crate) async fn answer(mut self, outcome: Result<(), &SandboxError>) {
        let text = match outcome {
            Ok(()) => DONE.to_owned(),
            Err(error) => with_causes(error),
        };
        self.0.write_all(text.as_bytes()).await.ok();
    }
}

/// Gives an order to the sandbox in a directory, and waits until it is done.
///
/// # Errors
///
/// Returns an error if nobody takes orders there, or the order could not be done.
pub(crate) async fn give(dir: &Path, order: Order) -> Result<(), SandboxError> {
    /// Longer than any part may take to answer again.
    const ANSWER_LIMIT: Duration = Duration::from_secs(90);
    let path = socket_path(dir);
    let connected = by_short_path(dir, |path| {
        let stream = std::os::unix::net::UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    });
    let mut stream = connected.map_err(|_| SandboxError::NoOrders { dir: dir.to_owned() })?;
    let talk = async {
        stream.write_all(order.to_line().as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map(|_| answer)
    };
    let down_for = if let Act::Restart(down_for) = order.act { down_for } else { Duration::ZERO };
    let limit = down_for + ANSWER_LIMIT;
    let late = |_| Err(Error::from(ErrorKind::TimedOut));
    let answer = timeout(limit, talk).await.unwrap_or_else(late);
    let answer = answer.map_err(SandboxError::io("have an answer from", &path))?;
    let part = order.part.name();
    let why = match answer.as_str() {
        DONE => return Ok(()),
        "" => "the sandbox ended before it was done".to_owned(),
        _ => answer,
    };
    Err(SandboxError::NotDone { part, done: order.act.done(), why })
}

impl Order {
    /// What is told once the order is done.
    pub(crate) fn done(self) -> String {
        format!("{} {}", self.act.done(), self.part.name())
    }

    fn to_line(self) -> String {
        let part = self.part.name();
        match self.act {
            Act::Restart(down_for) => format!("restart {part} {}", down_for.as_millis()),
            Act::Stop => format!("stop {part}"),
            Act::Start => format!("start {part}"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let (act, part) = match words[..] {
            ["restart", part, millis] => {
                let down_for = Duration::from_millis(millis.parse().ok()?);
                Some((Act::Restart(down_for), part)).filter(|_| down_for <= DOWN_FOR_MAX)?
            }
            ["stop", part] => (Act::Stop, part),
            ["start", part] => (Act::Start, part),
            _ => return None,
        };
        Part::from_str(part, false).ok().map(|part| Self { part, act })
    }
}

impl Act {
    /// What has been done to a part then.
    fn done(self) -> &'static str {
        match self {
            Self::Restart(_) => "restarted",
            Self::Stop => "stopped",
            Self::Start => "started",
        }
    }
}

const DONE: &str = "done";
const SOCKET: &str = "control";

/// The file of the socket in a sandbox's directory.
pub(crate) fn socket_path(dir: &Path) -> PathBuf {
    dir.join(SOCKET)
}

/// Calls `act` with a path to the socket that is short whatever the directory's is: the system
/// takes no more than 107 bytes.
fn by_short_path<T>(dir: &Path, act: impl FnOnce(&Path) -> Result<T, Error>) -> Result<T, Error> {
    let folder = File::open(dir)?;
    act(Path::new(&format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        for part in Part::value_variants() {
            for act in [Act::Restart(Duration::from_millis(1_500)), Act::Stop, Act::Start] {
                let order = Order { part: *part, act };
                assert_eq!(Order::parse(&order.to_line()), Some(order));
            }
        }
        for wrong in ["", "restart", "restart moon 0", "stop nats 0", "restart nats x", "start x"] {
            assert_eq!(Order::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Order::parse("restart nats 600001"), None, "longer than anybody waits");
    }

    #[tokio::test]
    async fn an_order_is_answered_and_an_unanswered_one_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        // Longer than a socket's path may be.
        let dir = dir.path().join("d".repeat(120));
        std::fs::create_dir(&dir).unwrap();
        let order = Order { part: Part::Nats, act: Act::Restart(Duration::ZERO) };
        let nobody = give(&dir, order).await.unwrap_err();
        assert!(matches!(nobody, SandboxError::NoOrders { .. }), "{nobody}");

        let control = Control::listen(&dir).unwrap();
        let serve = async {
            let (order, client) = control.next().await;
            client.answer(Ok(())).await;
            let (_, client) = control.next().await;
            client.answer(Err(&SandboxError::Unstoppable(7))).await;
            drop(control.next().await);
            order
        };
        let ask =
            async { [give(&dir, order).await, give(&dir, order).await, give(&dir, order).await] };
        let (taken, [done, refused, unanswered]) = tokio::join!(serve, ask);
        assert_eq!(taken, order);
        assert!(done.is_ok(), "{done:?}");
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("process 7 does not end"), "{refused}");
        let unanswered = unanswered.unwrap_err().to_string();
        assert!(unanswered.contains("ended before it was done"), "{unanswered}");
        drop(control);
        assert!(!socket_path(&dir).exists());
    }
}
