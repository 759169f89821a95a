//! Small questions over plain HTTP: what a page says, and what its server's clock does.

use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use edges::address::{Address, AddressError, PAGE};
use edges::clock::Clock;
use events::timeline::UnixMicros;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{DATE, HOST, HeaderMap, HeaderValue, LOCATION};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use runs::observation::ClockOffset;
use runs::outcome::status_hint;
use tokio::net::TcpStream;

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
    #[error("{url} does not answer")]
    Unreachable { url: String, source: BoxError },
    #[error("{url} does not answer within {} s", limit.as_secs())]
    Silent { url: String, limit: Duration },
    #[error("{url} answered {status}{}", hint(*status, location.as_deref()))]
    Refused { url: String, status: StatusCode, location: Option<String> },
    #[error("{url} answered what cannot be read: {fact}")]
    Answer { url: String, fact: String },
}

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Asks for a page, and returns whatever the server answered.
///
/// # Errors
///
/// Returns [`HttpError`] if the address is none, or the server does not answer in time.
pub(crate) async fn ask(method: Method, url: &str, limit: Duration) -> Result<Answer, HttpError> {
    let address = Address::read(url, &PAGE)?;
    let request =
        Request::builder().method(method).uri(address.target()).header(HOST, address.authority());
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| HttpError::Unreachable { url: url.to_owned(), source: error.into() })?;
    match tokio::time::timeout(limit, exchange(&address.place(), request)).await {
        Ok(answer) => {
            answer.map_err(|source| HttpError::Unreachable { url: url.to_owned(), source })
        }
        Err(_) => Err(HttpError::Silent { url: url.to_owned(), limit }),
    }
}

async fn exchange(authority: &str, request: Request<Empty<Bytes>>) -> Result<Answer, BoxError> {
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    // The connection is driven only as long as an answer is awaited.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
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

/// `Date` is in whole seconds, rounded down.
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
    let offset = ClockOffset::new(server, times, told + HALF_SECOND_US);
    Some(ClockOffset { error_ms: offset.error_ms + 500.0, ..offset })
}

const HALF_SECOND_US: i64 = 500_000;

/// The metrics of a large Vector are less.
const BODY_BYTES_MAX: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

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
        for wrong in ["127.0.0.1:80", "https://host/", "http://", "x y", "http://127.0.0.1:99999/"]
        {
            let error = get_text(wrong, LIMIT).await.unwrap_err();
            assert!(matches!(error, HttpError::Address(_)), "{wrong}: {error}");
        }
        let error = get_text(&server("").await, LIMIT).await.unwrap_err();
        assert!(matches!(error, HttpError::Unreachable { .. }), "{error}");
    }

    #[test]
    fn a_date_is_right_to_within_half_a_second() {
        let at = 1_790_000_000_000_000;
        let offset = date_offset("w", (at, at + 2_000), "Mon, 21 Sep 2026 14:13:22 GMT").unwrap();
        assert!((offset.offset_ms - 2_499.0).abs() < 1.0, "{offset:?}");
        assert!((offset.error_ms - 501.0).abs() < 1e-6, "{offset:?}");
        assert_eq!(date_offset("w", (at, at), "yesterday"), None);
    }
}
