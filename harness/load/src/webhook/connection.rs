//! One connection to the webhook, kept alive from request to request.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use events::timeline::UnixMicros;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::header::{HeaderMap, LOCATION, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;

use super::target::{Head, Stage, Stream, Target, Version};
use edges::clock::{Clock, micros};
use edges::plain::plain;
use runs::outcome::{Outcome, Want};

/// A connection, open or to be opened when it is needed.
#[derive(Debug)]
pub struct Connection {
    target: Arc<Target>,
    clock: Clock,
    open: Option<Open>,
    /// How far the present request is.
    stage: Stage,
    retry_after: Option<Duration>,
    location: Option<String>,
}

impl Connection {
    pub(super) fn new(target: Arc<Target>, clock: Clock) -> Self {
        let stage = Stage::Connecting;
        Self { target, clock, open: None, stage, retry_after: None, location: None }
    }

    /// Returns how long the server wants one to wait before the last request is sent again, if it
    /// said so with a status of 429 or 5xx.
    ///
    /// Source: `k8s.io/client-go/rest/with_retry.go`.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Where the last answer redirected to, made safe for a terminal.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// Posts a body and waits for the whole answer, at most until `deadline`.
    pub async fn post(&mut self, body: Bytes, deadline: Instant) -> Outcome {
        self.close_if_old();
        (self.retry_after, self.location) = (None, None);
        self.stage = Stage::Connecting;
        let exchange = tokio::time::timeout_at(deadline, self.exchange(body));
        let Ok(outcome) = exchange.await else {
            // The answer may still come: this connection must not be asked again.
            self.open = None;
            return match self.stage {
                Stage::Naming => Outcome::NotTried(Want::Name),
                Stage::Connecting => Outcome::NotConnected,
                Stage::Begun => Outcome::TimedOut,
            };
        };
        if outcome == Outcome::Broken {
            self.open = None;
        }
        self.close_if_old();
        outcome
    }

    async fn exchange(&mut self, body: Bytes) -> Outcome {
        loop {
            let is_kept = self.is_ready().await;
            let open = match &mut self.open {
                Some(open) if is_kept => open,
                closed => match Open::new(&self.target, self.clock, &mut self.stage).await {
                    Ok(open) => closed.insert(open),
                    Err(outcome) => return outcome,
                },
            };
            self.stage = Stage::Begun;
            let reach = match open.sender.send(open.head.request(body.clone())).await {
                Ok(response) => return self.settle(response).await,
                Err(reach) => reach,
            };
            self.open = None;
            if reach != Reach::Begun {
                self.stage = Stage::Connecting;
            }
            match reach {
                // The server closed an idle connection and did nothing with the request, so the
                // request may be sent over another connection. Once is enough, because that one is
                // new.
                Reach::Unsent | Reach::Unprocessed if is_kept => {}
                Reach::Unsent => return Outcome::NotConnected,
                Reach::Unprocessed => return Outcome::Unprocessed,
                Reach::Begun => return Outcome::Broken,
            }
        }
    }

    /// Waits until the connection can take a request; says no if there is none or it has ended.
    async fn is_ready(&mut self) -> bool {
        match &mut self.open {
            Some(open) => open.sender.is_ready().await,
            None => false,
        }
    }

    /// Reads the answer to its end, so that the connection can be used again.
    async fn settle(&mut self, response: Response<Incoming>) -> Outcome {
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            self.retry_after = retry_after(response.headers());
        }
        if status.is_redirection() {
            self.location = location(response.headers());
        }
        match drain(response.into_body()).await {
            Ok(Drained::Whole) => Outcome::Answered(status),
            Ok(Drained::TooLong) => {
                self.open = None;
                Outcome::Answered(status)
            }
            // An answer that breaks off does not count as one.
            Err(_) => Outcome::Broken,
        }
    }

    /// Closes a connection that has reached the age at which it is to be replaced.
    fn close_if_old(&mut self) {
        let (Some(lifetime), Some(open)) = (self.target.lifetime, &self.open) else { return };
        if self.clock.now() - open.since >= micros(lifetime) {
            self.open = None;
        }
    }
}

/// An open connection.
#[derive(Debug)]
struct Open {
    sender: Sender,
    /// Headers of its requests.
    head: Head,
    since: UnixMicros,
}

impl Open {
    /// Opens a connection, or returns the outcome of the request if it cannot. The reason of a
    /// failure is told before a run, by [`super::Webhook::reach`].
    async fn new(target: &Target, clock: Clock, stage: &mut Stage) -> Result<Self, Outcome> {
        let (stream, version) = target.dial(stage).await.map_err(|error| error.outcome())?;
        let head = target.head(version).await.map_err(|error| error.outcome())?;
        let sender = Sender::new(stream, version).await.map_err(|_| Outcome::NotConnected)?;
        Ok(Self { sender, head, since: clock.now() })
    }
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    /// Starts a task that drives the connection. The task ends when its sender is dropped. If the
    /// connection fails, the request that it carries gets the error.
    async fn new(stream: Box<dyn Stream>, version: Version) -> hyper::Result<Self> {
        let stream = TokioIo::new(stream);
        match version {
            Version::Http1 => {
                let (sender, driver) = http1::handshake(stream).await?;
                tokio::spawn(async move { driver.await.ok() });
                Ok(Self::Http1(sender))
            }
            Version::Http2 => {
                let (sender, driver) = http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(async move { driver.await.ok() });
                Ok(Self::Http2(sender))
            }
        }
    }

    async fn is_ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends a request and waits for the head of its answer.
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Reach> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await.map_err(Reach::of),
            Self::Http2(sender) => sender.try_send_request(request).await.map_err(Reach::of),
        }
    }
}

/// How far a request without an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// No byte of it has left.
    Unsent,
    /// The server says that it did nothing with it.
    Unprocessed,
    /// It may have arrived, or not.
    Begun,
}

impl Reach {
    /// An HTTP/2 server that refuses a stream has done nothing with it (RFC 9113, section 8.7). A
    /// GOAWAY names the last stream that the server may act on (section 6.8), and h2 reports it
    /// only for streams after that one.
    fn of<T>(mut error: TrySendError<T>) -> Self {
        if error.take_message().is_some() {
            return Self::Unsent;
        }
        let error = error.into_error();
        let http2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        match http2 {
            Some(error) if error.is_remote() && error.is_go_away() => Self::Unprocessed,
            Some(error)
                if error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM) =>
            {
                Self::Unprocessed
            }
            _ => Self::Begun,
        }
    }
}

/// Reads a wait in whole seconds, of an hour at most; client-go takes no dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(3_600)))
}

fn location(headers: &HeaderMap) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(LOCATION)?.as_bytes()).into_owned();
    Some(plain(&text).chars().take(LOCATION_CHARS_MAX).collect())
}

const LOCATION_CHARS_MAX: usize = 200;

/// How much of an answer's body was read.
enum Drained {
    Whole,
    TooLong,
}

/// Reads a body to its end, or to more than [`ANSWER_BYTES_MAX`], and forgets it.
async fn drain(mut body: Incoming) -> hyper::Result<Drained> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
        if bytes > ANSWER_BYTES_MAX {
            return Ok(Drained::TooLong);
        }
    }
    Ok(Drained::Whole)
}

const ANSWER_BYTES_MAX: usize = 1 << 20;
