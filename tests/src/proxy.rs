//! A proxy in front of ClickHouse that loses answers, breaks bodies and answers wrongly, when it is
//! told to.
//!
//! It stands between a program and the server's HTTP port. It knows where requests begin and end,
//! and only touches INSERTs: requests whose address contains `query=INSERT…`.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::stack::Stack;

/// A running proxy. When it is dropped, it stops and cuts all connections.
pub struct Proxy {
    address: SocketAddr,
    orders: Arc<Orders>,
    _runtime: Runtime,
}

/// What the proxy does to INSERTs that begin from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Cuts the connection of the next INSERTs when the server's answer arrives. The server has the
    /// rows, but the client does not know.
    CutAnswers {
        times: u32,
    },
    /// Cuts the connection of the next INSERTs after this many bytes of the body, as sent. A
    /// shorter body passes completely.
    CutBodies {
        times: u32,
        after_bytes: u64,
    },
    /// Delays all answers.
    DelayAnswers {
        by: Duration,
    },
    /// Answers the next INSERTs itself, with this status and exception code (0 for none). They
    /// never reach the server.
    AnswerWith {
        times: u32,
        status: u16,
        code: u16,
    },
}

/// What the proxy has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// How many INSERTs began.
    pub inserts: u32,
    /// The status of each answer that did not reach the client.
    pub answers_cut: Vec<u16>,
    /// How many bodies were cut.
    pub bodies_cut: u32,
    /// How many answers the proxy gave in the server's place.
    pub answered: u32,
}

impl Proxy {
    /// Starts a proxy in front of the ClickHouse of a stack.
    pub fn before_clickhouse(stack: &Stack) -> Self {
        let server = stack.address("CLICKHOUSE_URL").strip_prefix("http://").unwrap();
        Self::before(server.parse().unwrap())
    }

    /// Starts a proxy in front of a server, on a free port.
    pub fn before(server: SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let orders = Arc::new(Orders::default());
        runtime.spawn(accept(listener, server, Arc::clone(&orders)));
        Self { address, orders, _runtime: runtime }
    }

    /// The address of the proxy.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what the proxy does to INSERTs that begin from now on.
    pub fn set(&self, mode: Mode) {
        self.orders.state.lock().unwrap().0 = mode;
    }

    /// What was done so far.
    pub fn done(&self) -> Done {
        self.orders.state.lock().unwrap().1.clone()
    }
}

struct Orders {
    state: Mutex<(Mode, Done)>,
}

impl Default for Orders {
    fn default() -> Self {
        Self { state: Mutex::new((Mode::Pass, Done::default())) }
    }
}

/// What the proxy does to one request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Pass,
    CutAnswer,
    CutBody { bytes_left: u64 },
    Delay(Duration),
    Answer { status: u16, code: u16 },
}

impl Orders {
    /// Decides what to do to an INSERT that begins.
    fn decide(&self) -> Fate {
        let (mode, done) = &mut *self.state.lock().unwrap();
        done.inserts += 1;
        let (times, fate) = match mode {
            Mode::Pass => return Fate::Pass,
            Mode::DelayAnswers { by } => return Fate::Delay(*by),
            Mode::CutAnswers { times } => (times, Fate::CutAnswer),
            Mode::CutBodies { times, after_bytes } => {
                (times, Fate::CutBody { bytes_left: *after_bytes })
            }
            Mode::AnswerWith { times, status, code } => {
                (times, Fate::Answer { status: *status, code: *code })
            }
        };
        match times.checked_sub(1) {
            Some(left) => *times = left,
            None => return Fate::Pass,
        }
        fate
    }

    fn count(&self, count: impl FnOnce(&mut Done)) {
        count(&mut self.state.lock().unwrap().1);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, orders: Arc<Orders>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let orders = Arc::clone(&orders);
        tokio::spawn(async move {
            let mut carrier = match TcpStream::connect(server).await {
                Ok(server) => Carrier::new(client, server, orders),
                // A reset is the closest to what happens when the server itself is down.
                Err(_) => return client.set_zero_linger().unwrap(),
            };
            if !matches!(carrier.carry().await, Ok(End::Orderly)) {
                // The other side gets a reset, because an orderly close might look like the end of
                // an answer.
                carrier.client.set_zero_linger().ok();
                carrier.server.set_zero_linger().ok();
            }
        });
    }
}

/// One connection through the proxy.
struct Carrier {
    client: TcpStream,
    server: TcpStream,
    orders: Arc<Orders>,
    framing: Framing,
    fate: Fate,
}

/// How a connection ends, unless it breaks.
enum End {
    Orderly,
    Cut,
}

impl Carrier {
    fn new(client: TcpStream, server: TcpStream, orders: Arc<Orders>) -> Self {
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        Self { client, server, orders, framing: Framing::default(), fate: Fate::Pass }
    }

    async fn carry(&mut self) -> io::Result<End> {
        let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            let end = tokio::select! {
                read = self.client.read(&mut up) => match read? {
                    0 => Some(End::Orderly),
                    length => self.request(&up[..length]).await?,
                },
                read = self.server.read(&mut down) => match read? {
                    0 => Some(End::Orderly),
                    length => self.answer(&down[..length]).await?,
                },
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    async fn request(&mut self, mut bytes: &[u8]) -> io::Result<Option<End>> {
        while let Some(piece) = self.framing.next(&mut bytes) {
            match (piece, &mut self.fate) {
                (Piece::Head(head), fate) => {
                    let is_insert = is_insert(&head);
                    *fate = if is_insert { self.orders.decide() } else { Fate::Pass };
                    if !matches!(fate, Fate::Answer { .. }) {
                        self.server.write_all(&head).await?;
                    }
                }
                (Piece::Body(_), Fate::Answer { .. }) => {}
                (Piece::Body(raw), Fate::CutBody { bytes_left }) => {
                    let length = raw.len().min(usize::try_from(*bytes_left).unwrap());
                    *bytes_left -= length as u64;
                    self.server.write_all(&raw[..length]).await?;
                    if length < raw.len() {
                        self.orders.count(|done| done.bodies_cut += 1);
                        return Ok(Some(End::Cut));
                    }
                }
                (Piece::Body(raw), _) => self.server.write_all(raw).await?,
                (Piece::End, Fate::Answer { status, code }) => {
                    let answer = made_answer(*status, *code);
                    self.orders.count(|done| done.answered += 1);
                    self.client.write_all(answer.as_bytes()).await?;
                }
                (Piece::End, _) => {}
            }
        }
        Ok(None)
    }

    /// Handles the first bytes of an answer. The server only answers an INSERT when it has stored
    /// or refused it.
    async fn answer(&mut self, bytes: &[u8]) -> io::Result<Option<End>> {
        match std::mem::replace(&mut self.fate, Fate::Pass) {
            Fate::CutAnswer => {
                self.orders.count(|done| done.answers_cut.push(status_of(bytes)));
                return Ok(Some(End::Cut));
            }
            Fate::Delay(by) => sleep(by).await,
            Fate::Pass | Fate::CutBody { .. } | Fate::Answer { .. } => {}
        }
        self.client.write_all(bytes).await?;
        Ok(None)
    }
}

fn is_insert(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line).to_ascii_lowercase().contains("query=insert")
}

/// Reads the status from the first bytes of an answer: `HTTP/1.1 200 …`.
fn status_of(answer: &[u8]) -> u16 {
    let line = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Makes an answer as the server would send it or, without a code, as a gateway before it would.
fn made_answer(status: u16, code: u16) -> String {
    let (header, text) = match code {
        0 => (String::new(), "Bad Gateway\n".to_owned()),
        _ => (
            format!("X-ClickHouse-Exception-Code: {code}\r\n"),
            format!("Code: {code}. DB::Exception: Said by the proxy. (MADE_UP)\n"),
        ),
    };
    format!(
        "HTTP/1.1 {status} Made up\r\n{header}\
         Content-Type: text/plain; charset=UTF-8\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// The position of the next byte in the requests of one connection.
pub enum Framing {
    Head(Vec<u8>),
    /// In a body of known length; the number of bytes that are left.
    Counted(u64),
    /// In the line that gives the size of a chunk.
    ChunkSize(Vec<u8>),
    /// In a chunk; the number of bytes that are left, with its line break.
    Chunk(u64),
    /// In the lines after the last chunk; the present line.
    Trailer(Vec<u8>),
    Ended,
}

/// A piece of a request, unchanged.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'b> {
    Head(Vec<u8>),
    Body(&'b [u8]),
    End,
}

impl Default for Framing {
    /// Before the first request.
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl Framing {
    /// Takes the next piece from the front of `bytes`, if it is complete.
    pub fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<Piece<'b>> {
        if matches!(self, Self::Ended) {
            *self = Self::default();
            return Some(Piece::End);
        }
        if bytes.is_empty() {
            return None;
        }
        let (length, next) = match self {
            Self::Head(head) => {
                let (taken, is_whole) = take_until(head, bytes, b"\r\n\r\n");
                *bytes = &bytes[taken..];
                if !is_whole {
                    return None;
                }
                let head = std::mem::take(head);
                *self = Self::of_body(&head);
                return Some(Piece::Head(head));
            }
            Self::Counted(left) => {
                let length = count_down(left, bytes);
                (length, (*left == 0).then_some(Self::Ended))
            }
            Self::Chunk(left) => {
                let length = count_down(left, bytes);
                (length, (*left == 0).then_some(Self::ChunkSize(Vec::new())))
            }
            Self::ChunkSize(line) => {
                let (length, is_whole) = take_until(line, bytes, b"\r\n");
                (length, is_whole.then(|| Self::of_chunk(line)))
            }
            Self::Trailer(line) => {
                let (length, is_whole) = take_until(line, bytes, b"\r\n");
                let is_last = line == b"\r\n";
                let next = if is_last { Self::Ended } else { Self::Trailer(Vec::new()) };
                (length, is_whole.then_some(next))
            }
            Self::Ended => (0, None),
        };
        if let Some(next) = next {
            *self = next;
        }
        let (piece, rest) = bytes.split_at(length);
        *bytes = rest;
        Some(Piece::Body(piece))
    }

    fn of_body(head: &[u8]) -> Self {
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let value = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.filter(|(known, _)| *known == name).map(|(_, value)| value.trim()).next()
        };
        if value("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            return Self::ChunkSize(Vec::new());
        }
        match value("content-length").map_or(0, |length| length.parse().unwrap()) {
            0 => Self::Ended,
            length => Self::Counted(length),
        }
    }

    fn of_chunk(line: &[u8]) -> Self {
        let line = str::from_utf8(line).unwrap().trim();
        let size = line.split(';').next().unwrap();
        match u64::from_str_radix(size, 16).unwrap() {
            0 => Self::Trailer(Vec::new()),
            size => Self::Chunk(size + 2),
        }
    }
}

/// Moves bytes to the end of `line` until it ends with `end`. Returns how many were moved, and
/// whether the line is complete.
fn take_until(line: &mut Vec<u8>, bytes: &[u8], end: &[u8]) -> (usize, bool) {
    for (index, byte) in bytes.iter().enumerate() {
        line.push(*byte);
        if line.ends_with(end) {
            return (index + 1, true);
        }
    }
    (bytes.len(), false)
}

fn count_down(left: &mut u64, bytes: &[u8]) -> usize {
    let length = bytes.len().min(usize::try_from(*left).unwrap());
    *left -= length as u64;
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts requests into pieces, with a few bytes at a time. Bodies are joined.
    #[track_caller]
    fn check_framing(requests: &str, at_once: usize, expected: &[&str]) {
        let mut framing = Framing::default();
        let mut pieces: Vec<String> = Vec::new();
        let mut was_body = false;
        for mut bytes in requests.as_bytes().chunks(at_once) {
            while let Some(piece) = framing.next(&mut bytes) {
                let (text, is_body) = match piece {
                    Piece::Head(head) => (String::from_utf8(head).unwrap(), false),
                    Piece::Body(raw) => (str::from_utf8(raw).unwrap().to_owned(), true),
                    Piece::End => ("|".to_owned(), false),
                };
                match pieces.last_mut() {
                    Some(last) if was_body && is_body => last.push_str(&text),
                    _ => pieces.push(text),
                }
                was_body = is_body;
            }
        }
        assert_eq!(pieces, expected, "{at_once} bytes at once");
    }

    #[test]
    fn requests_are_told_apart_however_their_bytes_come() {
        let heads = [
            "POST /?query=INSERT+INTO+t HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 8\r\n\r\n",
        ];
        let bodies = ["5\r\nab\r\nc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", "SELECT 1"];
        let requests = [heads[0], bodies[0], heads[1], heads[2], bodies[1]].concat();
        let expected = [heads[0], bodies[0], "|", heads[1], "|", heads[2], bodies[1], "|"];
        for at_once in 1..=requests.len() {
            check_framing(&requests, at_once, &expected);
        }
        assert!(is_insert(heads[0].as_bytes()) && !is_insert(heads[2].as_bytes()));
    }
}
