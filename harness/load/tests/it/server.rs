//! Webhooks of all kinds, and the certificates that they need.

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
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
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

/// Someone who signs certificates.
pub(crate) struct Authority {
    /// Its own certificate, in PEM.
    pub(crate) pem: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::of(Vec::new())
    }

    /// One that is a server of that name itself, as `openssl req -x509` makes them.
    pub(crate) fn named(name: &str) -> Self {
        Self::of(vec![name.to_owned()])
    }

    fn of(names: Vec<String>) -> Self {
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, key: key.serialize_pem(), issuer: Issuer::new(params, key) }
    }

    pub(crate) fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// Returns what a server on 127.0.0.1 needs to be trusted by those who trust this authority.
    pub(crate) fn server(&self, alpn: &[&str], clients: Option<&Authority>) -> Wire {
        serve_as(&self.sign("127.0.0.1"), alpn, clients)
    }

    /// Returns what a server needs that shows this authority's own certificate.
    pub(crate) fn itself(&self) -> Wire {
        let identity = Identity { certificate: self.pem.clone(), key: self.key.clone() };
        serve_as(&identity, &[], None)
    }
}

fn serve_as(identity: &Identity, alpn: &[&str], clients: Option<&Authority>) -> Wire {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(der(&authority.pem)).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(vec![der(&identity.certificate)], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Wire::Tls(Arc::new(config))
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}
