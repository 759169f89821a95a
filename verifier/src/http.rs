//! Small questions over HTTP: what a page says, and what its server's clock does.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use edges::address::{Address, AddressError, PAGE};
use edges::clock::Clock;
use edges::exit::chain;
use edges::trust::{Trusted, trusting};
use events::timeline::UnixMicros;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{DATE, HeaderMap, HeaderValue, LOCATION};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use runs::observation::ClockOffset;
use runs::outcome::status_hint;
use rustls::ClientConfig;
use tokio::time::Instant;
use tracing::debug;

/// What a server answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("this machine has no trusted certificates for {url}: name a file with SSL_CERT_FILE")]
    NoAuthorities { url: String },
    #[error("{url} refuses TLS, or is not to be trusted; check SSL_CERT_FILE")]
    Untrusted { url: String, source: BoxError },
    #[error("{url} does not answer")]
    Unreachable { url: String, source: BoxError },
    #[error("{url} does not answer within {} s", limit.as_secs())]
    Silent { url: String, limit: Duration },
    #[error("{url} answered {status}{}", hint(*status, location.as_deref()))]
    Refused { url: String, status: StatusCode, location: Option<String> },
    #[error("{url} answered what cannot be read: {fact}")]
    Answer { url: String, fact: String },
}

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Asks for a page, and returns whatever the server answered. With https, the server's certificate
/// must be one that this machine trusts, or the file that `SSL_CERT_FILE` names.
///
/// # Errors
///
/// Returns [`HttpError`] if the address is none, or the server does not answer in time.
pub(crate) async fn ask(method: Method, url: &str, limit: Duration) -> Result<Answer, HttpError> {
    ask_trusting(method, url, limit, || OF_MACHINE.clone()).await
}

/// Certificates are read once, when the first page needs them.
static OF_MACHINE: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
    let trusted = Trusted::of_machine();
    (!trusted.is_empty()).then(|| Arc::new(trusting(trusted).with_no_client_auth()))
});

async fn ask_trusting(
    method: Method,
    url: &str,
    limit: Duration,
    tls: impl FnOnce() -> Option<Arc<ClientConfig>>,
) -> Result<Answer, HttpError> {
    let address = Address::read(url, &PAGE)?;
    // Not the text itself: so the client dials what was read, and nothing else.
    let uri = format!("{}://{}{}", address.scheme, address.authority(), address.target());
    let request = Request::builder().method(method).uri(uri).body(Empty::<Bytes>::new());
    let url = || url.to_owned();
    let request =
        request.map_err(|error| HttpError::Unreachable { url: url(), source: error.into() })?;
    let (server, sent) = (address.place(), Instant::now());
    let mut tcp = HttpConnector::new();
    let asked = if address.is_tls() {
        let tls = tls().ok_or_else(|| HttpError::NoAuthorities { url: url() })?;
        tcp.enforce_http(false);
        let tls = HttpsConnector::from((tcp, tls));
        tokio::time::timeout(limit, exchange(tls, request)).await
    } else {
        tokio::time::timeout(limit, exchange(tcp, request)).await
    };
    let answer = match asked {
        Ok(Err(error)) if is_of_tls(&*error) => {
            Err(HttpError::Untrusted { url: url(), source: cause(&*error) })
        }
        Ok(Err(error)) => Err(HttpError::Unreachable { url: url(), source: cause(&*error) }),
        Ok(Ok(answer)) => Ok(answer),
        Err(_) => Err(HttpError::Silent { url: url(), limit }),
    };
    let took_ms = sent.elapsed().as_millis();
    match &answer {
        Ok(answer) => debug!(server, took_ms, status = answer.status.as_u16(), "answered"),
        Err(error) => debug!(server, took_ms, error = chain(error), "no answer"),
    }
    answer
}

async fn exchange<C>(connector: C, request: Request<Empty<Bytes>>) -> Result<Answer, BoxError>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    // Each question has a connection of its own, so that the time of an answer says as much as
    // that of any other.
    let mut client = legacy::Client::builder(TokioExecutor::new());
    let client = client.pool_max_idle_per_host(0).build(connector);
    let (head, body) = client.request(request).await?.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await?.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body })
}

/// What is behind an error of the client, whose own words only say in which of its parts it was.
fn cause(error: &(dyn Error + 'static)) -> BoxError {
    let last = successors(Some(error), |&error| error.source()).last();
    last.map(ToString::to_string).unwrap_or_default().into()
}

/// Whether TLS is behind an error. An error of input or output does not name its own inside as its
/// source.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    let inside: Option<&(dyn Error + 'static)> = match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|inside| inside as _),
        None => error.source(),
    };
    error.is::<rustls::Error>() || inside.is_some_and(is_of_tls)
}

fn hint(status: StatusCode, location: Option<&str>) -> String {
    status_hint(status, location).map(|hint| format!("; {hint}")).unwrap_or_default()
}

/// Reads a page as text.
///
/// # Errors
///
/// Returns [`HttpError`] if there is no answer, or no good one.
pub(crate) async fn get_text(url: &str, limit: Duration) -> Result<String, HttpError> {
    text_of(&ask(Method::GET, url, limit).await?, url)
}

fn text_of(answer: &Answer, url: &str) -> Result<String, HttpError> {
    if !answer.status.is_success() {
        let location = answer.headers.get(LOCATION).map(HeaderValue::as_bytes);
        return Err(HttpError::Refused {
            url: url.to_owned(),
            status: answer.status,
            location: location.map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
        });
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

/// Reads a page as text, and compares the clock of a server, to be called so, by the header `Date`
/// of its answer.
///
/// # Errors
///
/// Returns [`HttpError`] if there is no answer, or no good one.
pub(crate) async fn get_dated_text(
    server: &str,
    url: &str,
    clock: &Clock,
    limit: Duration,
) -> Result<(String, Option<ClockOffset>), HttpError> {
    let asked = clock.now();
    let answer = ask(Method::GET, url, limit).await?;
    let offset = offset_of(&answer, server, (asked, clock.now()));
    Ok((text_of(&answer, url)?, offset))
}

/// Compares the clock of a webhook by the header `Date`. `None` if it does not tell.
///
/// It asks for `/ping`, which Vector answers beside its source. All else but a POST to the source's
/// path is an error to it, in its log and in its metrics.
///
/// Source: Vector 0.57, `src/sources/util/http/prelude.rs`.
///
/// # Errors
///
/// Returns [`HttpError`] if there is no answer. Any status will do.
pub(crate) async fn read_webhook_date(
    url: &str,
    clock: &Clock,
    limit: Duration,
) -> Result<Option<ClockOffset>, HttpError> {
    let uri: Option<Uri> = url.parse().ok();
    let authority = uri.as_ref().and_then(Uri::authority).map_or("", |it| it.as_str());
    let asked = clock.now();
    let answer = ask(Method::GET, &format!("http://{authority}/ping"), limit).await?;
    Ok(offset_of(&answer, "webhook", (asked, clock.now())))
}

/// `Date` is in whole seconds, rounded down, and servers renew it only once a second. So what it
/// tells is up to two seconds old.
fn offset_of(
    answer: &Answer,
    server: &str,
    times: (UnixMicros, UnixMicros),
) -> Option<ClockOffset> {
    let date = answer.headers.get(DATE)?.to_str().ok()?;
    date_offset(server, times, date)
}

fn date_offset(server: &str, times: (UnixMicros, UnixMicros), date: &str) -> Option<ClockOffset> {
    let told = DateTime::parse_from_rfc2822(date).ok()?.timestamp_micros();
    let offset = ClockOffset::new(server, times, told + SECOND_US);
    Some(ClockOffset { error_ms: offset.error_ms + 1_000.0, ..offset })
}

const SECOND_US: i64 = 1_000_000;

/// The metrics of a large Vector are less.
const BODY_BYTES_MAX: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::crypto::ring::default_provider;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    async fn server(answer: &'static str) -> String {
        server_of("/x?y=1", answer).await
    }

    /// A server that answers one request, for a path.
    async fn server_of(path: &'static str, answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x?y=1", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            let line = format!("GET {path} HTTP/1.1\r\n");
            let asked = String::from_utf8_lossy(&request[..read]).into_owned();
            let answer = if asked.starts_with(&line) { answer } else { "not what was expected" };
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        url
    }

    #[tokio::test]
    async fn a_webhook_is_asked_for_what_does_not_disturb_it() {
        let pong = "HTTP/1.1 200 OK\r\ndate: Mon, 21 Sep 2026 14:13:22 GMT\r\n\
                    content-length: 4\r\n\r\npong";
        let clock = Clock::system();
        let url = server_of("/ping", pong).await;
        let offset = read_webhook_date(&url, &clock, LIMIT).await.unwrap().unwrap();
        assert_eq!(offset.server, "webhook");
        let without = server_of("/ping", "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(read_webhook_date(&without, &clock, LIMIT).await.unwrap(), None);
        let page = get_dated_text("v", &server(pong).await, &clock, LIMIT).await.unwrap();
        assert_eq!((page.0.as_str(), page.1.unwrap().server.as_str()), ("pong", "v"));
    }

    #[tokio::test]
    async fn a_page_is_read_however_its_end_is_told() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\nhi",
        ] {
            assert_eq!(get_text(&server(answer).await, LIMIT).await.unwrap(), "hi");
        }
        let busy = server("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
        let error = get_text(&busy, LIMIT).await.unwrap_err();
        assert!(error.to_string().contains("503 Service Unavailable; it has more load"), "{error}");
        let moved = "HTTP/1.1 301 Moved\r\nlocation: https://v/\t[2J\r\ncontent-length: 0\r\n\r\n";
        let error = get_text(&server(moved).await, LIMIT).await;
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with(r"go to https://v/\t[2J: name that address"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_and_silence_has_a_limit() {
        for wrong in ["127.0.0.1:80", "ftp://host/", "http://", "x y", "http://127.0.0.1:99999/"] {
            let error = get_text(wrong, LIMIT).await.unwrap_err();
            assert!(matches!(error, HttpError::Address(_)), "{wrong}: {error}");
        }
        let error = get_text(&server("").await, LIMIT).await.unwrap_err();
        assert!(matches!(error, HttpError::Unreachable { .. }), "{error}");
    }

    /// A server behind TLS that answers one request, and what trusts it.
    async fn secure_server() -> (String, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/metrics", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /metrics HTTP/1.1\r\n"));
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nvector_";
            stream.write_all(answer).await.unwrap();
        });
        let trusted = Trusted::these(vec![made.cert.der().clone()]).unwrap();
        (url, Arc::new(trusting(trusted).with_no_client_auth()))
    }

    #[tokio::test]
    async fn a_page_behind_tls_is_read_from_whom_the_machine_trusts_only() {
        let (url, trusted) = secure_server().await;
        let answer = ask_trusting(Method::GET, &url, LIMIT, || Some(trusted)).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"vector_"[..]));
        let ((url, _), (_, other)) = (secure_server().await, secure_server().await);
        let error = ask_trusting(Method::GET, &url, LIMIT, || Some(other)).await.unwrap_err();
        let HttpError::Untrusted { source, .. } = &error else { panic!("{error}: {error:?}") };
        assert!(source.to_string().starts_with("invalid peer certificate"), "{source}");
        assert!(error.to_string().ends_with("check SSL_CERT_FILE"), "{error}");
        let error = ask_trusting(Method::GET, &url, LIMIT, || None).await.unwrap_err();
        assert!(matches!(error, HttpError::NoAuthorities { .. }), "{error}");
    }

    #[tokio::test]
    async fn why_there_is_no_answer_is_told_in_the_words_of_the_machine() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = get_text(&url, LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{url} does not answer"));
        let source = error.source().unwrap().to_string();
        assert_eq!(source, "Connection refused (os error 111)");
    }

    #[test]
    fn a_date_is_right_to_within_a_second() {
        let at = 1_790_000_000_000_000;
        let offset = date_offset("w", (at, at + 2_000), "Mon, 21 Sep 2026 14:13:22 GMT").unwrap();
        assert!((offset.offset_ms - 2_999.0).abs() < 1.0, "{offset:?}");
        assert!((offset.error_ms - 1_001.0).abs() < 1e-6, "{offset:?}");
        assert_eq!(date_offset("w", (at, at), "yesterday"), None);
    }
}
