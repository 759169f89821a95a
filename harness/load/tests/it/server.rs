//! Webhooks of all kinds.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// What a server does with a request that it has read in full.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    Answer(StatusCode),
    /// Answers with so many bytes.
    AnswerLong(usize),
    /// Resets the stream of HTTP/2.
    Reset(h2::Reason),
    /// Answers, but ends every connection in order after it.
    AnswerOnce,
}

/// What a server speaks.
#[derive(Debug, Clone)]
pub(crate) enum Wire {
    Http1,
    Http2,
    /// The version is agreed on in the handshake.
    Tls(Arc<ServerConfig>),
}

/// A request, as the server sees it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Counted from zero.
    pub(crate) connection: usize,
    pub(crate) version: Version,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A server that ends with its test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(wire: Wire, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let peer = Peer { connection, behaviour, log: Arc::clone(&log) };
                tokio::spawn(peer.serve(stream, wire.clone()));
            }
        });
        Self { address, seen, task }
    }

    /// Returns what it has seen so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection of a server.
struct Peer {
    connection: usize,
    behaviour: Behaviour,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Peer {
    async fn serve(self, stream: TcpStream, wire: Wire) {
        match wire {
            Wire::Http1 => self.converse(stream, false).await,
            Wire::Http2 => self.converse(stream, true).await,
            Wire::Tls(config) => {
                let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.converse(stream, is_http2).await;
            }
        }
    }

    /// Answers until the client goes away, or until the first answer.
    async fn converse<S>(self, stream: S, is_http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let is_once = matches!(self.behaviour, Behaviour::AnswerOnce);
        let (peer, answered) = (Arc::new(self), Arc::new(Notify::new()));
        let told = Arc::clone(&answered);
        let service = service_fn(move |request| {
            let (peer, told) = (Arc::clone(&peer), Arc::clone(&told));
            async move {
                let answer = peer.answer(request).await;
                told.notify_one();
                answer
            }
        });
        let stream = TokioIo::new(stream);
        if is_http2 {
            let served =
                http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service);
            let mut served = pin!(served);
            tokio::select! {
                biased;
                _ = served.as_mut() => return,
                () = answered.notified(), if is_once => served.as_mut().graceful_shutdown(),
            }
            served.await.ok();
        } else {
            let mut served = pin!(http1::Builder::new().serve_connection(stream, service));
            tokio::select! {
                biased;
                _ = served.as_mut() => return,
                () = answered.notified(), if is_once => served.as_mut().graceful_shutdown(),
            }
            served.await.ok();
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, h2::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| h2::Reason::CANCEL)?.to_bytes();
        self.log.lock().unwrap().push(Seen {
            connection: self.connection,
            version: parts.version,
            uri: parts.uri,
            headers: parts.headers,
            body,
        });
        let (status, length) = match self.behaviour {
            Behaviour::Answer(status) => (status, 2),
            Behaviour::AnswerLong(length) => (StatusCode::OK, length),
            Behaviour::AnswerOnce => (StatusCode::OK, 0),
            Behaviour::Reset(reason) => return Err(reason.into()),
        };
        let mut response = Response::new(Full::new(vec![b'x'; length].into()));
        *response.status_mut() = status;
        Ok(response)
    }
}
