//! One HTTP/1.1 connection to the webhook, kept alive from request to request.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::target::Target;

/// A connection, open or to be opened when it is needed.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Posts a body and waits for the whole answer, at most until `deadline`.
    pub(crate) async fn post(
        &mut self,
        target: &Target,
        body: Bytes,
        deadline: Instant,
    ) -> Outcome {
        let exchange = tokio::time::timeout_at(deadline, self.exchange(target, body));
        let Ok(outcome) = exchange.await else {
            // The answer may still come: this connection must not be asked again.
            let was_open = self.open.take().is_some();
            return if was_open { Outcome::TimedOut } else { Outcome::NotConnected };
        };
        if outcome == Outcome::Broken {
            self.open = None;
        }
        outcome
    }

    async fn exchange(&mut self, target: &Target, body: Bytes) -> Outcome {
        let mut request = request(target, body);
        loop {
            let is_new = match self.ensure_open(target).await {
                Ok(is_new) => is_new,
                Err(NotConnected) => return Outcome::NotConnected,
            };
            let Some(open) = &mut self.open else { return Outcome::NotConnected };
            match open.try_send_request(request).await {
                Ok(response) => return self.settle(response).await,
                Err(mut error) => match error.take_message() {
                    // A kept connection that the server has closed meanwhile gives the request
                    // back unsent: nothing was begun, so another connection may be tried.
                    Some(unsent) if !is_new => {
                        request = unsent;
                        self.open = None;
                    }
                    Some(_) => {
                        self.open = None;
                        return Outcome::NotConnected;
                    }
                    None => return Outcome::Broken,
                },
            }
        }
    }

    /// Reads the answer to its end, so that the connection can be used again.
    async fn settle(&mut self, response: Response<Incoming>) -> Outcome {
        let status = response.status();
        if Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.is_err() {
            self.open = None;
        }
        Outcome::Answered(status)
    }

    /// Opens the connection if it is not, and says whether it had to.
    async fn ensure_open(&mut self, target: &Target) -> Result<bool, NotConnected> {
        if let Some(open) = &mut self.open {
            if open.ready().await.is_ok() {
                return Ok(false);
            }
            self.open = None;
        }
        let connect = TcpStream::connect(&target.authority);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| NotConnected)?
            .map_err(|_| NotConnected)?;
        stream.set_nodelay(true).map_err(|_| NotConnected)?;
        let (sender, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| NotConnected)?;
        // It ends with its sender. What goes wrong in it, the request that it carries is told.
        tokio::spawn(async move { driver.await.ok() });
        self.open = Some(sender);
        Ok(true)
    }
}

/// There is no connection, and nothing was sent.
#[derive(Debug)]
struct NotConnected;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Returns a request as an API server sends it.
///
/// Source: wire captures of the audit webhook backend of Kubernetes.
fn request(target: &Target, body: Bytes) -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::POST)
        .uri(target.uri.clone())
        .header(HOST, target.host.clone())
        .header(USER_AGENT, "Go-http-client/1.1")
        .header(ACCEPT, "application/json, */*")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .expect("all parts of the request are valid")
}
