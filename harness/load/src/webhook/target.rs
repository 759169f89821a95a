//! One address of the webhook: where to connect to, and what every request to it says.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{HeaderMap, Method, Request, Uri};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};

use super::args::HttpVersion;
use super::error::WebhookError;
use super::tls::{ALPN_HTTP2, Tls};
use edges::address::{Address, Host, WEBHOOK};
use edges::credentials::Token;
use edges::secret::ExposeSecret as _;
use runs::outcome::Want;

/// What all addresses share.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) timeout: Duration,
    pub(super) http: HttpVersion,
    /// Headers beside those that an API server sends.
    pub(super) headers: HeaderMap,
    pub(super) tls: Option<Tls>,
    pub(super) token: Option<Token>,
    pub(super) lifetime: Option<Duration>,
}

/// One address of the webhook.
#[derive(Debug)]
pub(super) struct Target {
    host: Host,
    port: u16,
    /// TLS and the name that the server must prove, with `https://`.
    tls: Option<(Tls, ServerName<'static>)>,
    http: HttpVersion,
    token: Option<Token>,
    http1: Head,
    http2: Head,
    /// The age at which a connection is closed.
    pub(super) lifetime: Option<Duration>,
}

/// The version of HTTP that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// How far a request came before its first byte was sent, in case the caller stops waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The name of the target is being resolved.
    Naming,
    /// A connection is being opened, or an open one is not ready: no byte of the request has left.
    Connecting,
    /// The request may have left.
    Begun,
}

/// An open stream of bytes, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Target {
    /// Reads an address like `https://vector.example:8443/events`.
    ///
    /// # Errors
    ///
    /// Returns [`WebhookError::Address`] with what is wrong.
    pub(super) fn parse(url: &str, options: &Options) -> Result<Self, WebhookError> {
        let address = Address::read(url, &WEBHOOK)?;
        Self::build(&address, options).map_err(|fact| WEBHOOK.error(url, fact).into())
    }

    fn build(address: &Address, options: &Options) -> Result<Self, &'static str> {
        let is_tls = address.is_tls();
        let tls = match &options.tls {
            Some(tls) if is_tls => Some((tls.clone(), server_name(&address.host)?)),
            None if is_tls => return Err("its TLS is not made ready"),
            _ => None,
        };
        let path = with_timeout(address, options.timeout)?;
        let authority: Authority =
            address.authority().parse().map_err(|_| "its host is not a valid name")?;
        let scheme = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
        Ok(Self {
            host: address.host.clone(),
            port: address.port,
            tls,
            http: options.http,
            token: options.token.clone(),
            http1: Head::http1(&authority, path.clone(), &options.headers)?,
            http2: Head::http2(scheme, authority, path, &options.headers),
            lifetime: options.lifetime,
        })
    }

    /// Host and port, as they are shown to people.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Makes sure that it can be connected to and that there is a token, if there must be.
    ///
    /// # Errors
    ///
    /// Returns [`WebhookError`] if not.
    pub(super) async fn reach(&self) -> Result<(), WebhookError> {
        self.head(Version::Http1).await?;
        let (mut stream, _) = self.dial(&mut Stage::Connecting).await?;
        if self.tls.is_none() {
            return Ok(());
        }
        // TLS 1.3 lets a client finish before the server has looked at its certificate: a server
        // that refuses it says so only now.
        let first = tokio::time::timeout(REFUSAL_WAIT, stream.read_u8()).await;
        match first {
            Err(_) | Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(WebhookError::Handshake { webhook: self.place(), source }),
        }
    }

    /// Connects, within a time limit, and agrees on a version of HTTP. Says how far it is.
    ///
    /// # Errors
    ///
    /// Returns [`WebhookError`] if that is not possible.
    pub(super) async fn dial(
        &self,
        stage: &mut Stage,
    ) -> Result<(Box<dyn Stream>, Version), WebhookError> {
        *stage = Stage::Naming;
        let places = self.resolve().await?;
        *stage = Stage::Connecting;
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, self.dial_unlimited(&places));
        dialled.await.unwrap_or_else(|_| {
            let source = io::ErrorKind::TimedOut.into();
            Err(WebhookError::Unreachable { webhook: self.place(), source })
        })
    }

    /// Finds the addresses of the host, within a time limit.
    async fn resolve(&self) -> Result<Vec<SocketAddr>, WebhookError> {
        let name = match &self.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(name) => name.as_str(),
        };
        let asked = tokio::time::timeout(CONNECT_TIMEOUT, lookup_host((name, self.port)));
        let found = match asked.await {
            Ok(Ok(places)) => Ok(places.collect::<Vec<_>>()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let error = match found {
            Ok(places) if !places.is_empty() => return Ok(places),
            Ok(_) => io::ErrorKind::NotFound.into(),
            Err(error) => error,
        };
        let want = Want::of(&error).unwrap_or(Want::Name);
        Err(WebhookError::NotTried { webhook: self.place(), want, source: error })
    }

    /// Connects to the first of these addresses that accepts a connection.
    async fn connect(&self, places: &[SocketAddr]) -> Result<TcpStream, WebhookError> {
        let mut errors = Vec::new();
        for place in places {
            match TcpStream::connect(place).await {
                Ok(stream) => return Ok(stream),
                Err(error) => errors.push(error),
            }
        }
        let (webhook, want) = (self.place(), Want::of_all(&errors));
        let source = errors.pop().unwrap_or_else(|| io::ErrorKind::NotFound.into());
        Err(match want {
            Some(want) => WebhookError::NotTried { webhook, want, source },
            None => WebhookError::Unreachable { webhook, source },
        })
    }

    async fn dial_unlimited(
        &self,
        places: &[SocketAddr],
    ) -> Result<(Box<dyn Stream>, Version), WebhookError> {
        let webhook = || self.place();
        let unreachable = |source| WebhookError::Unreachable { webhook: webhook(), source };
        let stream = self.connect(places).await?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Some((tls, name)) = &self.tls else {
            let version = match self.http {
                HttpVersion::Auto | HttpVersion::One => Version::Http1,
                HttpVersion::Two => Version::Http2,
            };
            return Ok((Box::new(stream), version));
        };
        let stream = tls
            .connect(name.clone(), stream)
            .await
            .map_err(|source| WebhookError::Handshake { webhook: webhook(), source })?;
        let version = match stream.get_ref().1.alpn_protocol() {
            Some(ALPN_HTTP2) => Version::Http2,
            _ if self.http == HttpVersion::Two => {
                return Err(WebhookError::NoHttp2 { webhook: webhook() });
            }
            _ => Version::Http1,
        };
        Ok((Box::new(stream), version))
    }

    /// Returns what all requests of a new connection say, the token of this moment included.
    ///
    /// # Errors
    ///
    /// Returns [`WebhookError`] if the token cannot be read.
    pub(super) async fn head(&self, version: Version) -> Result<Head, WebhookError> {
        let mut head = match version {
            Version::Http1 => self.http1.clone(),
            Version::Http2 => self.http2.clone(),
        };
        if let Some(token) = &self.token {
            let value = token.authorization().await?;
            let mut value = HeaderValue::from_str(value.expose_secret())
                .expect("a token has no control characters");
            value.set_sensitive(true);
            head.headers.insert(AUTHORIZATION, value);
        }
        Ok(head)
    }
}

/// A request without its body, made once and copied for each.
#[derive(Debug, Clone)]
pub(super) struct Head {
    uri: Uri,
    headers: HeaderMap,
}

impl Head {
    fn http1(
        authority: &Authority,
        path: PathAndQuery,
        extra: &HeaderMap,
    ) -> Result<Self, &'static str> {
        let mut headers = headers("Go-http-client/1.1", extra);
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| "its host is wrong")?;
        headers.insert(HOST, host);
        Ok(Self { uri: path.into(), headers })
    }

    /// The host is part of the address here (RFC 9113, section 8.3.1).
    fn http2(scheme: Scheme, authority: Authority, path: PathAndQuery, extra: &HeaderMap) -> Self {
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(path)
            .build()
            .expect("all parts of the address are valid");
        Self { uri, headers: headers("Go-http-client/2.0", extra) }
    }

    /// Returns the request that posts a body.
    pub(super) fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Returns headers as an API server sends them, and a person's own.
///
/// Source: wire captures of the audit webhook backend of Kubernetes.
fn headers(user_agent: &'static str, extra: &HeaderMap) -> HeaderMap {
    let mut headers = extra.clone();
    headers.insert(USER_AGENT, HeaderValue::from_static(user_agent));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, */*"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// Returns path and query, with the timeout that API servers add to it.
fn with_timeout(address: &Address, timeout: Duration) -> Result<PathAndQuery, &'static str> {
    let query = address.query.as_ref().map(|query| format!("{query}&")).unwrap_or_default();
    let path = if address.path.is_empty() { "/" } else { &address.path };
    format!("{path}?{query}timeout={}s", timeout.as_secs()).parse().map_err(|_| "its path is wrong")
}

/// Returns the name, or the address, that a server's certificate must be of.
fn server_name(host: &Host) -> Result<ServerName<'static>, &'static str> {
    match host {
        Host::Ip(ip) => Ok(ServerName::IpAddress((*ip).into())),
        Host::Name(name) => {
            ServerName::try_from(name.clone()).map_err(|_| "no certificate can be of its host")
        }
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may take to refuse a client's certificate.
const REFUSAL_WAIT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::args::WebhookArgs;
    use edges::address::without_secrets;

    fn parse(url: &str) -> Result<Target, WebhookError> {
        let args = WebhookArgs::at(vec![url.to_owned()]);
        let options = Options {
            timeout: Duration::from_secs(30),
            http: HttpVersion::Auto,
            headers: HeaderMap::new(),
            tls: Tls::from_args(&args)?,
            token: None,
            lifetime: None,
        };
        Target::parse(url, &options)
    }

    #[test]
    fn addresses_are_posted_to_as_api_servers_do() {
        let check = |url, place, host: &str, http1, http2| {
            let target = parse(url).unwrap();
            assert_eq!(target.place(), place);
            assert_eq!(target.http1.headers[HOST], host);
            assert_eq!(target.http1.uri, http1);
            assert_eq!(target.http2.uri, http2);
        };
        check(
            "http://vector:8080/events",
            "vector:8080",
            "vector:8080",
            "/events?timeout=30s",
            "http://vector:8080/events?timeout=30s",
        );
        check(
            "https://[::1]?a=b",
            "[::1]:443",
            "[::1]",
            "/?a=b&timeout=30s",
            "https://[::1]/?a=b&timeout=30s",
        );
        assert_eq!(parse("http://vector").unwrap().place(), "vector:80");
        // A scheme in capitals means the same: HTTPS in capitals must not be sent unencrypted.
        assert!(parse("HTTPS://vector").unwrap().tls.is_some());
    }

    #[test]
    fn servers_prove_a_name_or_an_address() {
        let is_ok = |host| server_name(&host).is_ok();
        assert!(is_ok(Host::Name("vector.example".to_owned())));
        assert!(is_ok(Host::Ip([127, 0, 0, 1].into())));
        assert!(!is_ok(Host::Name("a_b?".to_owned())));
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for url in ["", "vector:8080", "http://me:secret@vector/", "http://127.0.0.1:99999"] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.exit(), edges::exit::Exit::Usage);
            let error = edges::exit::chain(&error);
            assert!(error.contains(&format!("{:?}", without_secrets(url))), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
