//! Simulates a replica that lags: copies of the tables that do not change while the originals do,
//! and a proxy that shows the copies.
//!
//! The copies are in a database of their own on the same server. The proxy changes the text of a
//! checker's queries, so that they read the copies, and what `system.replicas` says about them. At
//! some time, or never, the replica catches up; then the queries read the original tables.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, sleep};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use super::tables::tables;
use crate::proxy::{Framing, Piece};
use crate::stack::Stack;

/// How far behind a replica is, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// How many of the newest parts of each table are missing.
    pub parts: usize,
    /// How long after the check begins the replica catches up. It never does if this is `None`.
    pub lasts: Option<Duration>,
}

/// A running replica. It is removed when dropped.
pub struct Replica<'s> {
    stack: &'s Stack,
    address: SocketAddr,
    has_caught_up: Arc<AtomicBool>,
    _runtime: Runtime,
}

impl<'s> Replica<'s> {
    /// Makes a replica that lags from now on. It lacks this many parts of each table.
    pub fn start(stack: &'s Stack, parts: usize) -> Self {
        stack.ask("CREATE DATABASE lagging");
        for table in tables() {
            copy_table(stack, &table, parts);
        }
        tell_lag(stack);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let has_caught_up = Arc::new(AtomicBool::new(false));
        let server = stack.address("CLICKHOUSE_URL").strip_prefix("http://").unwrap();
        runtime.spawn(accept(listener, server.parse().unwrap(), Arc::clone(&has_caught_up)));
        Self { stack, address, has_caught_up, _runtime: runtime }
    }

    /// The address of the replica.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets the replica catch up after a while.
    pub fn catch_up_after<'t>(&'t self, threads: &'t Scope<'t, '_>, lasts: Duration) {
        threads.spawn(move || {
            sleep(lasts);
            self.has_caught_up.store(true, Ordering::Relaxed);
        });
    }
}

impl Drop for Replica<'_> {
    fn drop(&mut self) {
        // Otherwise the verifier would find lost events in these tables.
        self.stack.ask("DROP DATABASE lagging SYNC");
    }
}

/// Copies a table without its newest parts.
fn copy_table(stack: &Stack, table: &str, parts: usize) {
    let (from, to) = (format!("audit.{table}"), format!("lagging.{table}"));
    stack.ask(&format!("CREATE TABLE {to} AS {from}"));
    stack.ask(&format!("SYSTEM STOP MERGES {to}"));
    let partitions = stack.ask(&format!(
        "SELECT DISTINCT partition_id FROM system.parts \
         WHERE active AND database = 'audit' AND table = '{table}'"
    ));
    for partition in partitions.lines() {
        stack.ask(&format!("ALTER TABLE {to} ATTACH PARTITION ID '{partition}' FROM {from}"));
    }
    let newest = stack.ask(&format!(
        "SELECT _part FROM {to} GROUP BY _part ORDER BY max(timestamp) DESC, _part LIMIT {parts}"
    ));
    for part in newest.lines() {
        stack.ask(&format!("ALTER TABLE {to} DROP PART '{part}'"));
    }
}

/// Makes a stand-in for `system.replicas`, in which the copies are behind and the originals are
/// not.
fn tell_lag(stack: &Stack) {
    let all = tables().map(|it| format!("'{it}'")).collect::<Vec<_>>().join(", ");
    stack.ask(&format!(
        "CREATE VIEW lagging.replicas AS SELECT database = 'lagging' AS behind, \
         arrayJoin(['audit', 'lagging']) AS database, arrayJoin([{all}]) AS table, \
         0 AS is_readonly, 0 AS is_session_expired, toUInt32(behind * 3) AS inserts_in_queue, \
         toUInt64(behind * 7) AS absolute_delay, toUInt64(9) AS log_max_index, \
         toUInt64(10 - behind) AS log_pointer"
    ));
}

async fn accept(listener: TcpListener, server: SocketAddr, has_caught_up: Arc<AtomicBool>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let has_caught_up = Arc::clone(&has_caught_up);
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else {
                return client.set_zero_linger().unwrap();
            };
            let ((mut asks, mut hears), (mut answers, mut told)) = (split(client), split(server));
            // When one direction ends, the connection ends.
            tokio::select! {
                _ = pass_on(&mut asks, &mut told, &has_caught_up) => {}
                _ = copy(&mut answers, &mut hears) => {}
            }
        });
    }
}

/// Passes queries on, changed for the replica.
async fn pass_on(
    asks: &mut ReadHalf<TcpStream>,
    told: &mut WriteHalf<TcpStream>,
    has_caught_up: &AtomicBool,
) -> io::Result<()> {
    let mut framing = Framing::default();
    let (mut head, mut body) = (Vec::new(), Vec::new());
    let mut read = vec![0; 1 << 16];
    loop {
        let length = asks.read(&mut read).await?;
        if length == 0 {
            return Ok(());
        }
        let mut bytes = &read[..length];
        while let Some(piece) = framing.next(&mut bytes) {
            match piece {
                Piece::Head(bytes) => head = bytes,
                Piece::Body(bytes) => body.extend(bytes),
                Piece::End => {
                    let is_behind = !has_caught_up.load(Ordering::Relaxed);
                    told.write_all(&reworded(&head, &body, is_behind)).await?;
                    body.clear();
                }
            }
        }
    }
}

/// Changes a whole request. A checker sends text with a `Content-Length`.
fn reworded(head: &[u8], body: &[u8], is_behind: bool) -> Vec<u8> {
    let (head, body) = (str::from_utf8(head).unwrap(), str::from_utf8(body).unwrap());
    let body = other_words(body, is_behind);
    let mut request = String::new();
    for line in head.trim_end().lines() {
        if line.to_ascii_lowercase().starts_with("content-length:") {
            write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
        } else {
            write!(request, "{}\r\n", other_words(line, is_behind)).unwrap();
        }
    }
    (request + "\r\n" + &body).into_bytes()
}

fn other_words(text: &str, is_behind: bool) -> String {
    let mut text = text.to_owned();
    if is_behind {
        text = text.replace("'audit'", "'lagging'").replace("=audit&", "=lagging&");
        for table in tables() {
            text = text.replace(&format!("audit.{table}"), &format!("lagging.{table}"));
        }
    }
    // Copies and originals look like a single table, and there are no others.
    text.replace("NOT IN ('system'", "NOT IN ('audit', 'lagging', 'system'")
        .replace("any(engine)", "concat('Replicated', any(engine))")
        .replace("system.replicas", "lagging.replicas")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_put_to_the_copies_until_they_have_caught_up() {
        let ask = |body: &str, is_behind| {
            let head = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
            let request = reworded(head.as_bytes(), body.as_bytes(), is_behind);
            let request = String::from_utf8(request).unwrap();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
            body.to_owned()
        };
        let question = "SELECT 1 FROM audit.plain_0, system.parts WHERE database = 'audit'";
        let put = "SELECT 1 FROM lagging.plain_0, system.parts WHERE database = 'lagging'";
        assert_eq!(ask(question, true), put);
        assert_eq!(ask(question, false), question);
        assert_eq!(ask("SELECT system.replicas", false), "SELECT lagging.replicas");
    }
}
