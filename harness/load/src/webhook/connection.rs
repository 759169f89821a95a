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
use tracing::debug;

use super::error::WebhookError;
use super::target::{Head, Stage, Stream, Target, Version};
use edges::clock::{Clock, micros};
use edges::errors::OneError;
use edges::exit::chain;
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
    /// Why the present request has no answer.
    error: Option<Box<OneError>>,
}

impl Connection {
    pub(super) fn new(target: Arc<Target>, clock: Clock) -> Self {
        let stage = Stage::Connecting;
        let (retry_after, location, error) = (None, None, None);
        Self { target, clock, open: None, stage, retry_after, location, error }
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

    /// Takes why the last request had no answer, if it had none.
    pub fn take_error(&mut self) -> Option<Box<OneError>> {
        self.error.take()
    }

    /// Posts a body and waits for the whole answer, at most until `deadline`.
    pub async fn post(&mut self, body: Bytes, deadline: Instant) -> Outcome {
        self.close_if_old();
        (self.retry_after, self.location, self.error) = (None, None, None);
        self.stage = Stage::Connecting;
        let exchange = tokio::time::timeout_at(deadline, self.exchange(body));
        let Ok(outcome) = exchange.await else {
            // The answer may still come: this connection must not be asked again.
            self.open = None;
            let (outcome, kind) = match self.stage {
                Stage::Naming => (Outcome::NotTried(Want::Name), "no address of its name in time"),
                Stage::Connecting => (Outcome::NotConnected, "no connection in time"),
                Stage::Begun => (Outcome::TimedOut, "no answer in time"),
            };
            let (server, kind) = (self.target.place(), kind.to_owned());
            self.fail(OneError { server, text: kind.clone(), kind });
            return outcome;
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
                    Err(Unopened { outcome, error }) => {
                        self.fail(error);
                        return outcome;
                    }
                },
            };
            self.stage = Stage::Begun;
            let unanswered = match open.sender.send(open.head.request(body.clone())).await {
                Ok(response) => return self.settle(response).await,
                Err(unanswered) => unanswered,
            };
            self.open = None;
            let (reach, error) = Reach::of(*unanswered);
            if reach != Reach::Begun {
                self.stage = Stage::Connecting;
            }
            match reach {
                // The server closed an idle connection and did nothing with the request, so the
                // request may be sent over another connection. Once is enough, because that one is
                // new.
                Reach::Unsent | Reach::Unprocessed if is_kept => continue,
                _ => self.fail(OneError::of(self.target.place(), &error)),
            }
            return match reach {
                Reach::Unsent => Outcome::NotConnected,
                Reach::Unprocessed => Outcome::Unprocessed,
                Reach::Begun => Outcome::Broken,
            };
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
            Err(error) => {
                self.fail(OneError::of(self.target.place(), &error));
                Outcome::Broken
            }
        }
    }

    /// Remembers why the present request has no answer.
    fn fail(&mut self, error: OneError) {
        let OneError { server, kind, text } = &error;
        debug!(server, kind, error = text, "a request has no answer");
        self.error = Some(Box::new(error));
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
    sender: HttpSender,
    /// Headers of its requests.
    head: Head,
    since: UnixMicros,
}

/// A connection that could not be opened.
struct Unopened {
    /// What becomes of the request that wanted it.
    outcome: Outcome,
    error: OneError,
}

impl Open {
    /// Opens a connection.
    async fn new(target: &Target, clock: Clock, stage: &mut Stage) -> Result<Self, Unopened> {
        let unopened = |error: WebhookError| {
            let (outcome, server) = (error.outcome(), target.place());
            Unopened { outcome, error: OneError::of(server, &error) }
        };
        let begun = clock.now();
        let (stream, version) = target.dial(stage).await.map_err(unopened)?;
        let head = target.head(version).await.map_err(unopened)?;
        let opened = HttpSender::new(stream, version, target).await.map_err(|error| {
            let error = OneError::of(target.place(), &error);
            Unopened { outcome: Outcome::NotConnected, error }
        });
        let (sender, since) = (opened?, clock.now());
        let took_us = since - begun;
        debug!(server = target.place(), ?version, took_us, "connection opened");
        Ok(Self { sender, head, since })
    }
}

#[derive(Debug)]
enum HttpSender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl HttpSender {
    /// Starts a task that drives the connection. The task ends when its sender is dropped. If the
    /// connection fails, the request that it carries gets the error.
    async fn new(
        stream: Box<dyn Stream>,
        version: Version,
        target: &Target,
    ) -> hyper::Result<Self> {
        let stream = TokioIo::new(stream);
        let server = target.place();
        match version {
            Version::Http1 => {
                let (sender, driver) = http1::handshake(stream).await?;
                tokio::spawn(async move { tell_end(&server, driver.await) });
                Ok(Self::Http1(sender))
            }
            Version::Http2 => {
                let (sender, driver) = http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(async move { tell_end(&server, driver.await) });
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
    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Box<Unanswered>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await.map_err(Box::new),
            Self::Http2(sender) => sender.try_send_request(request).await.map_err(Box::new),
        }
    }
}

type Unanswered = TrySendError<Request<Full<Bytes>>>;

/// Logs how a connection ended.
fn tell_end(server: &str, ended: hyper::Result<()>) {
    match ended {
        Ok(()) => debug!(server, "connection closed"),
        Err(error) => debug!(server, error = chain(&error), "connection lost"),
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
    fn of(mut unanswered: Unanswered) -> (Self, hyper::Error) {
        let is_unsent = unanswered.take_message().is_some();
        let error = unanswered.into_error();
        (if is_unsent { Self::Unsent } else { Self::after_begun(&error) }, error)
    }

    fn after_begun(error: &hyper::Error) -> Self {
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
