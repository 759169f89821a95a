//! The HTTP side: paths, headers and media types, around the service that answers queries.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, USER_AGENT, VARY, WARNING,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::{debug, warn};
use xxhash_rust::xxh3::xxh3_128;

use super::go_json;
use super::scope::{Asked, ScopeHeaders};
use super::service::{Call, Outcome, Service};
use super::status::{GROUP, Status};
use crate::clock::now;

/// Serves as long as the process lives.
pub(super) async fn serve(listener: TcpListener, service: Service) {
    let server = Arc::new(Server { service, answers: AtomicU64::new(0) });
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let server = Arc::clone(&server);
                        async move { Ok::<_, Infallible>(server.answer(request).await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service);
                    if let Err(error) = connection.await {
                        debug!("a connection broke: {error}");
                    }
                });
            }
            Err(error) => {
                // Most likely no file descriptor is left; some connection must end first.
                warn!("cannot accept a connection: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}

struct Server {
    service: Service,
    answers: AtomicU64,
}

/// What a path and a method ask for.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Query(Asked),
    Discovery,
    Metrics,
    Health,
    NotAllowed,
    Nowhere,
}

/// How the client wants its answer written.
struct Form {
    is_pretty: bool,
    takes_gzip: bool,
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let audit_id = self.next_audit_id();
        let headers = request.headers();
        let form = Form::of(headers, request.uri().query().unwrap_or_default());
        let user = text(headers, "x-remote-user").unwrap_or_default().to_owned();
        let route = Route::of(request.method(), request.uri().path());
        let refused = |status: &Status| (status.code, go_json::to_text(status), Vec::new());
        let (code, body, unknown) = match route {
            Route::Metrics => return plain(METRICS_TYPE, self.service.metrics.to_text()),
            Route::Health => return plain("text/plain; charset=utf-8", "ok".to_owned()),
            _ if user.is_empty() => refused(&Status::unauthorized()),
            Route::Nowhere => refused(&Status::not_found()),
            Route::NotAllowed => refused(&Status::method_not_allowed()),
            Route::Discovery => (200, discovery(), Vec::new()),
            Route::Query(asked) => {
                let begun = Instant::now();
                let outcome = self.query(asked, &audit_id, user, request).await;
                let code = outcome.as_ref().map_or_else(|status| status.code, |_| 201);
                self.service.metrics.request(asked.resource(), code, begun.elapsed());
                match outcome {
                    Ok((body, unknown)) => (201, body, unknown),
                    Err(status) => refused(&status),
                }
            }
        };
        form.response(code, body, &unknown, &audit_id)
    }

    async fn query(
        &self,
        asked: Asked,
        audit_id: &str,
        user: String,
        request: Request<Incoming>,
    ) -> Outcome {
        /// As the apiserver library's.
        const BODY_MAX: usize = 3 * 1024 * 1024;
        let headers = request.headers();
        if !accepts_json(text(headers, ACCEPT.as_str())) {
            return Err(Status::not_acceptable());
        }
        if !is_json(text(headers, CONTENT_TYPE.as_str())) {
            return Err(Status::unsupported_media_type());
        }
        let query = request.uri().query().unwrap_or_default();
        let validation = query.split('&').find_map(|pair| pair.strip_prefix("fieldValidation="));
        let (is_strict, is_silent) = (validation == Some("Strict"), validation == Some("Ignore"));
        let scope = ScopeHeaders::new(
            text(headers, "x-remote-extra-iam.miloapis.com%2fparent-type"),
            text(headers, "x-remote-extra-iam.miloapis.com%2fparent-name"),
        );
        let user_agent = text(headers, USER_AGENT.as_str()).unwrap_or_default().to_owned();
        let body = Limited::new(request.into_body(), BODY_MAX).collect().await;
        let body = body.map_err(|error| Status::bad_request(error.to_string()))?.to_bytes();
        let audit_id = audit_id.to_owned();
        let call = Call { audit_id, user, user_agent, scope, is_strict, body };
        let (body, unknown) = self.service.answer(asked, &call).await?;
        Ok((body, if is_silent { Vec::new() } else { unknown }))
    }

    /// An identifier that looks random, as the real server's.
    fn next_audit_id(&self) -> String {
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let seed = format!("{}:{}:{:?}", std::process::id(), number, now());
        let hex = format!("{:032x}", xxh3_128(seed.as_bytes()));
        let [a, b, c, d] = [&hex[..8], &hex[8..12], &hex[13..16], &hex[17..20]];
        format!("{a}-{b}-4{c}-8{d}-{}", &hex[20..])
    }
}

impl Route {
    fn of(method: &Method, path: &str) -> Self {
        let Some(rest) = path.strip_prefix(BASE) else {
            return match (method, path) {
                (&Method::GET, "/metrics") => Self::Metrics,
                (&Method::GET, "/readyz" | "/livez" | "/healthz") => Self::Health,
                _ => Self::Nowhere,
            };
        };
        let rest = rest.trim_start_matches('/');
        if rest.is_empty() && method == Method::GET {
            return Self::Discovery;
        }
        let all = [Asked::Events, Asked::Facets];
        let Some(asked) = all.into_iter().find(|asked| asked.resource() == rest) else {
            return Self::Nowhere;
        };
        if method == Method::POST { Self::Query(asked) } else { Self::NotAllowed }
    }
}

impl Form {
    fn of(headers: &HeaderMap, query: &str) -> Self {
        let agent = text(headers, USER_AGENT.as_str()).unwrap_or_default();
        let is_person = ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| agent.starts_with(name));
        let wish = query.split('&').find_map(|pair| pair.strip_prefix("pretty="));
        let is_pretty = wish.map_or(is_person, |wish| !matches!(wish, "0" | "false"));
        let encodings = text(headers, ACCEPT_ENCODING.as_str()).unwrap_or_default();
        let takes_gzip = encodings
            .split(',')
            .any(|encoding| encoding.split(';').next().is_some_and(|name| name.trim() == "gzip"));
        Self { is_pretty, takes_gzip }
    }

    fn response(
        &self,
        code: u16,
        body: String,
        unknown: &[String],
        audit_id: &str,
    ) -> Response<Full<Bytes>> {
        /// As the apiserver library's.
        const GZIP_FROM: usize = 128 * 1024;
        // Go ends compact JSON with a line end, and pretty JSON without.
        let body = if self.is_pretty { go_json::indented(&body) } else { body + "\n" };
        let is_large = body.len() >= GZIP_FROM;
        let packed = if is_large && self.takes_gzip { gzip(&body) } else { None };
        let is_packed = packed.is_some();
        let body = packed.unwrap_or_else(|| body.into_bytes());
        let mut response = Response::new(Full::from(body));
        *response.status_mut() =
            StatusCode::from_u16(code).expect("all codes here are from 200 to 599");
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        set(CACHE_CONTROL, "no-cache, private");
        set(CONTENT_TYPE, "application/json");
        set(HeaderName::from_static("x-kubernetes-pf-flowschema-uid"), "");
        set(HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid"), "");
        if is_packed {
            set(CONTENT_ENCODING, "gzip");
            set(VARY, "Accept-Encoding");
        }
        let id = HeaderValue::from_str(audit_id).expect("it consists of digits and dashes");
        headers.insert(HeaderName::from_static("audit-id"), id);
        for path in unknown {
            let field = go_json::quoted(&format!("unknown field {}", go_json::quoted(path)));
            if let Ok(warning) = HeaderValue::from_str(&format!("299 - {field}")) {
                headers.append(WARNING, warning);
            }
        }
        response
    }
}

/// Every path of the resources begins with it.
const BASE: &str = "/apis/activity.miloapis.com/v1alpha1";

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The first value of a header, if it is text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn accepts_json(accept: Option<&str>) -> bool {
    accept.is_none_or(|accept| {
        accept.split(',').any(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            matches!(kind, "*/*" | "application/*" | "application/json" | "")
        })
    })
}

fn is_json(kind: Option<&str>) -> bool {
    kind.is_none_or(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
    })
}

fn gzip(body: &str) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.as_bytes()).and_then(|()| encoder.finish()).ok()
}

fn plain(kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder().header(CONTENT_TYPE, kind);
    response.body(Full::from(body)).expect("a constant header makes a response")
}

fn discovery() -> String {
    let resource = |asked: Asked, kind: &str| {
        json!({
            "name": asked.resource(),
            "singularName": "",
            "namespaced": false,
            "kind": kind,
            "verbs": ["create"],
        })
    };
    go_json::to_text(&json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/v1alpha1"),
        "resources": [
            resource(Asked::Facets, "AuditLogFacetsQuery"),
            resource(Asked::Events, "AuditLogQuery"),
        ],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &Method, path: &str, expected: &Route) {
        assert_eq!(Route::of(method, path), *expected, "{method} {path}");
    }

    #[test]
    fn each_path_takes_its_method() {
        let events = format!("{BASE}/auditlogqueries");
        let facets = format!("{BASE}/auditlogfacetsqueries");
        check(&Method::POST, &events, &Route::Query(Asked::Events));
        check(&Method::POST, &facets, &Route::Query(Asked::Facets));
        check(&Method::GET, &events, &Route::NotAllowed);
        check(&Method::POST, &format!("{events}/name"), &Route::Nowhere);
        check(&Method::POST, &format!("{BASE}/namespaces/n/auditlogqueries"), &Route::Nowhere);
        check(&Method::POST, &format!("{BASE}/eventqueries"), &Route::Nowhere);
        check(&Method::GET, BASE, &Route::Discovery);
        check(&Method::GET, "/metrics", &Route::Metrics);
        check(&Method::GET, "/readyz", &Route::Health);
        check(&Method::GET, "/", &Route::Nowhere);
    }

    #[test]
    fn only_json_is_read_and_written() {
        for kind in [None, Some("*/*"), Some("text/html, application/json;q=0.9")] {
            assert!(accepts_json(kind), "{kind:?}");
        }
        assert!(!accepts_json(Some("application/vnd.kubernetes.protobuf")));
        assert!(is_json(None));
        assert!(is_json(Some("application/json; charset=utf-8")));
        assert!(!is_json(Some("application/x-www-form-urlencoded")));
    }

    #[test]
    fn persons_get_pretty_answers_and_large_ones_are_packed_on_demand() {
        let form = |agent: &'static str, query: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_static(agent));
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("br, gzip;q=0.5"));
            Form::of(&headers, query)
        };
        assert!(form("curl/8.0", "").is_pretty);
        assert!(!form("curl/8.0", "pretty=false").is_pretty);
        assert!(!form("k6/1.1", "").is_pretty);
        assert!(form("k6/1.1", "a=b&pretty=true").is_pretty);
        let large = format!("\"{}\"", "x".repeat(200_000));
        let response = form("k6/1.1", "").response(201, large, &["spec.x".to_owned()], "a-1");
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        let warning = r#"299 - "unknown field \"spec.x\"""#;
        assert_eq!(response.headers()[WARNING], warning);
        let small = form("k6/1.1", "").response(201, "{}".to_owned(), &[], "a-1");
        assert!(!small.headers().contains_key(CONTENT_ENCODING));
    }
}
