//! One address of the webhook: where to connect to, and what every request to it says.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{HeaderMap, Method, Request, Uri};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;

use super::args::{HttpVersion, without_secrets};
use super::error::WebhookError;
use super::tls::{ALPN_HTTP2, Tls};
use super::token::Token;

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
    /// Host and port to connect to.
    authority: String,
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
        Self::build(url, options)
            .map_err(|fact| WebhookError::Address { url: without_secrets(url), fact })
    }

    fn build(url: &str, options: &Options) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "it is not a URL")?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("it must begin with http:// or https://"),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it must not hold a user or password");
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = match &options.tls {
            Some(tls) if is_tls => Some((tls.clone(), server_name(authority.host())?)),
            None if is_tls => return Err("it must begin with http:// or https://"),
            _ => None,
        };
        let path = with_timeout(&uri, options.timeout)?;
        Ok(Self {
            authority: format!("{}:{port}", authority.host()),
            tls,
            http: options.http,
            token: options.token.clone(),
            http1: Head::http1(authority, path.clone(), &options.headers)?,
            http2: Head::http2(uri.scheme(), authority, path, &options.headers),
            lifetime: options.lifetime,
        })
    }

    /// Makes sure that it can be connected to and that there is a token, if there must be.
    ///
    /// # Errors
    ///
    /// Returns [`WebhookError`] if not.
    pub(super) async fn reach(&self) -> Result<(), WebhookError> {
        self.head(Version::Http1).await?;
        let (mut stream, _) = self.dial().await?;
        if self.tls.is_none() {
            return Ok(());
        }
        // TLS 1.3 lets a client finish before the server has looked at its certificate: a server
        // that refuses it says so only now.
        let first = tokio::time::timeout(REFUSAL_WAIT, stream.read_u8()).await;
        match first {
            Err(_) | Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => {
                Err(WebhookError::Handshake { webhook: self.authority.clone(), source })
            }
        }
    }

    /// Connects, within a time limit, and agrees on a version of HTTP.
    ///
    /// # Errors
    ///
    /// Returns [`WebhookError`] if that is not possible.
    pub(super) async fn dial(&self) -> Result<(Box<dyn Stream>, Version), WebhookError> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.dial_unlimited()).await.unwrap_or_else(|_| {
            let source = io::ErrorKind::TimedOut.into();
            Err(WebhookError::Unreachable { webhook: self.authority.clone(), source })
        })
    }

    async fn dial_unlimited(&self) -> Result<(Box<dyn Stream>, Version), WebhookError> {
        let webhook = || self.authority.clone();
        let unreachable = |source| WebhookError::Unreachable { webhook: webhook(), source };
        let stream = TcpStream::connect(&self.authority).await.map_err(unreachable)?;
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
            head.headers.insert(AUTHORIZATION, token.authorization().await?);
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
    fn http2(
        scheme: Option<&Scheme>,
        authority: &Authority,
        path: PathAndQuery,
        extra: &HeaderMap,
    ) -> Self {
        let uri = Uri::builder()
            .scheme(scheme.cloned().unwrap_or(Scheme::HTTP))
            .authority(authority.clone())
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
fn with_timeout(uri: &Uri, timeout: Duration) -> Result<PathAndQuery, &'static str> {
    let query = uri.query().map(|query| format!("{query}&")).unwrap_or_default();
    format!("{}?{query}timeout={}s", uri.path(), timeout.as_secs())
        .parse()
        .map_err(|_| "its path is wrong")
}

/// Returns the name, or the address, that a server's certificate must be of.
fn server_name(host: &str) -> Result<ServerName<'static>, &'static str> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).map_err(|_| "no certificate can be of its host")
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may take to refuse a client's certificate.
const REFUSAL_WAIT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::args::WebhookArgs;
    use crate::webhook::encoding::Encoding;

    fn parse(url: &str) -> Result<Target, WebhookError> {
        let args = WebhookArgs {
            urls: vec![url.to_owned()],
            http: HttpVersion::Auto,
            ca_file: None,
            client_cert: None,
            client_key: None,
            token_file: None,
            headers: Vec::new(),
            encoding: Encoding::None,
            lifetime: None,
        };
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
        let check = |url, authority, http1, http2| {
            let target = parse(url).unwrap();
            assert_eq!(target.authority, authority);
            assert_eq!(target.http1.uri, http1);
            assert_eq!(target.http2.uri, http2);
        };
        check(
            "http://vector:8080/events",
            "vector:8080",
            "/events?timeout=30s",
            "http://vector:8080/events?timeout=30s",
        );
        check(
            "https://[::1]?a=b",
            "[::1]:443",
            "/?a=b&timeout=30s",
            "https://[::1]/?a=b&timeout=30s",
        );
        assert_eq!(parse("http://vector").unwrap().authority, "vector:80");
        // A scheme is the same in capitals, and never spoken in the clear for that.
        assert!(parse("HTTPS://vector").unwrap().tls.is_some());
    }

    #[test]
    fn servers_prove_a_name_or_an_address() {
        for host in ["vector.example", "127.0.0.1", "[::1]"] {
            assert!(server_name(host).is_ok(), "{host}");
        }
        assert_eq!(server_name("[::1]"), server_name("::1"));
        assert!(server_name("a_b?").is_err());
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for url in ["", "vector:8080", "ftp://vector/events", "http://me:secret@vector/"] {
            let error = parse(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
