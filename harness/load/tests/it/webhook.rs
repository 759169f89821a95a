//! The webhook client against real servers: what arrives, and what each answer comes to.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use edges::clock::Clock;
use edges::exit::{Exit, chain};
use hyper::{StatusCode, Version};
use load::webhook::{Connection, Webhook, WebhookArgs, WebhookError};
use runs::outcome::{Outcome, Want};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;
use crate::server::{Behaviour, Server, Wire};

const BODY: &[u8] = br#"{"kind":"EventList","items":[]}"#;
const OK: Outcome = Outcome::Answered(StatusCode::OK);
const TAKES_ALL: Behaviour = Behaviour::Answer(StatusCode::OK);

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    webhook: WebhookArgs,
}

fn open(urls: &[String], flags: &[&str]) -> Result<Webhook, WebhookError> {
    let urls = urls.iter().flat_map(|url| ["--webhook", url]);
    let flags = Flags::parse_from(["x"].into_iter().chain(urls).chain(flags.iter().copied()));
    Webhook::from_args(&flags.webhook, Duration::from_secs(30))
}

/// Opens a webhook of one server, with flags.
fn webhook_of(server: &Server, scheme: &str, flags: &[&str]) -> Webhook {
    open(&[format!("{scheme}://{}/events", server.address)], flags).unwrap()
}

fn connection_of(server: &Server, scheme: &str, flags: &[&str]) -> Connection {
    webhook_of(server, scheme, flags).connection(0, Clock::system())
}

async fn post(connection: &mut Connection) -> Outcome {
    post_within(connection, Duration::from_secs(10)).await
}

async fn post_within(connection: &mut Connection, limit: Duration) -> Outcome {
    connection.post(Bytes::from_static(BODY), Instant::now() + limit).await
}

/// A folder for the files that flags name.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn put(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(Path::new(&path), text).unwrap();
        path
    }
}

/// Posts twice, and checks which version of HTTP both requests speak on one connection.
async fn check_version(wire: Wire, scheme: &str, flags: &[&str], expected: Version) {
    let server = Server::start(wire, TAKES_ALL).await;
    let webhook = webhook_of(&server, scheme, flags);
    webhook.reach().await.unwrap();
    let mut connection = webhook.connection(0, Clock::system());
    for _ in 0..2 {
        assert_eq!(post(&mut connection).await, OK);
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].connection, seen[1].connection);
    for seen in seen {
        assert_eq!(seen.version, expected);
        assert_eq!(seen.body, BODY);
        assert_eq!(seen.uri.path_and_query().unwrap(), "/events?timeout=30s");
        assert_eq!(seen.headers["content-type"], "application/json");
        assert_eq!(seen.headers["accept"], "application/json, */*");
        assert_eq!(seen.headers["content-length"], BODY.len().to_string());
        let authority = server.address.to_string();
        if expected == Version::HTTP_2 {
            assert_eq!(seen.headers["user-agent"], "Go-http-client/2.0");
            assert_eq!(seen.uri.authority().unwrap().as_str(), authority);
            assert_eq!(seen.uri.scheme_str(), Some(scheme));
            assert!(!seen.headers.contains_key("host"));
        } else {
            assert_eq!(seen.headers["user-agent"], "Go-http-client/1.1");
            assert_eq!(seen.headers["host"], authority);
        }
    }
}

#[tokio::test]
async fn without_tls_it_speaks_what_it_is_told() {
    check_version(Wire::Http1, "http", &[], Version::HTTP_11).await;
    check_version(Wire::Http1, "http", &["--http", "1.1"], Version::HTTP_11).await;
    check_version(Wire::Http2, "http", &["--http", "2"], Version::HTTP_2).await;
}

#[tokio::test]
async fn with_tls_the_server_has_a_say() {
    let (place, authority) = (Place::new(), Authority::new());
    let ca = place.put("ca.pem", &authority.pem);
    let flags = |http| ["--ca-file", &ca, "--http", http].map(str::to_owned);
    let check = async |alpn: &[&str], http, expected| {
        let flags = flags(http);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let wire = Wire::Tls(authority.server(alpn, None));
        check_version(wire, "https", &flags, expected).await;
    };
    check(&["h2", "http/1.1"], "auto", Version::HTTP_2).await;
    check(&["http/1.1"], "auto", Version::HTTP_11).await;
    check(&[], "auto", Version::HTTP_11).await;
    check(&["h2", "http/1.1"], "1.1", Version::HTTP_11).await;
    check(&["h2", "http/1.1"], "2", Version::HTTP_2).await;
}

/// Checks that nothing reaches a server, and that this is told before a run.
async fn check_refused(server: &Server, flags: &[&str], expected: &str) {
    let webhook = webhook_of(server, "https", flags);
    let error = webhook.reach().await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    let message = chain(&error);
    assert!(message.contains(&server.address.to_string()), "{message}");
    assert!(message.contains(expected), "{message}");
    let outcome = post(&mut webhook.connection(0, Clock::system())).await;
    assert_eq!(outcome, Outcome::NotConnected);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_server_that_cannot_prove_itself_gets_nothing() {
    let (place, authority) = (Place::new(), Authority::new());
    let other = place.put("other.pem", &Authority::new().pem);
    let server = Server::start(Wire::Tls(authority.server(&["h2"], None)), TAKES_ALL).await;
    check_refused(&server, &["--ca-file", &other], "check --ca-file").await;
    check_refused(&server, &[], "invalid peer certificate").await;
    let plain = Server::start(Wire::Http1, TAKES_ALL).await;
    check_refused(&plain, &["--ca-file", &other], "refuses TLS").await;
}

#[tokio::test]
async fn a_server_without_http_2_gets_nothing_where_that_is_demanded() {
    let (place, authority) = (Place::new(), Authority::new());
    let ca = place.put("ca.pem", &authority.pem);
    let flags = ["--ca-file", &ca, "--http", "2"];
    let silent = Server::start(Wire::Tls(authority.server(&[], None)), TAKES_ALL).await;
    check_refused(&silent, &flags, "has no HTTP/2").await;
    let older = Server::start(Wire::Tls(authority.server(&["http/1.1"], None)), TAKES_ALL).await;
    check_refused(&older, &flags, "NoApplicationProtocol").await;
}

#[tokio::test]
async fn a_client_shows_its_certificate_to_a_server_that_asks() {
    let (place, authority) = (Place::new(), Authority::new());
    let ca = place.put("ca.pem", &authority.pem);
    let identity = authority.sign("client");
    let certificate = place.put("client.pem", &identity.certificate);
    let key = place.put("client.key", &identity.key);
    for alpn in ["h2", "http/1.1"] {
        let wire = Wire::Tls(authority.server(&[alpn], Some(&authority)));
        let server = Server::start(wire, TAKES_ALL).await;
        let known = ["--ca-file", &ca, "--client-cert", &certificate, "--client-key", &key];
        let webhook = webhook_of(&server, "https", &known);
        webhook.reach().await.unwrap();
        assert_eq!(post(&mut webhook.connection(0, Clock::system())).await, OK);
        assert_eq!(server.seen().len(), 1);

        let webhook = webhook_of(&server, "https", &["--ca-file", &ca]);
        let error = webhook.reach().await.unwrap_err();
        assert!(chain(&error).contains("CertificateRequired"), "{}", chain(&error));
        // With TLS 1.3 the request may leave before the refusal comes.
        let outcome = post(&mut webhook.connection(0, Clock::system())).await;
        assert!(matches!(outcome, Outcome::NotConnected | Outcome::Broken), "{outcome:?}");
        assert!(server.seen().is_empty());
    }
}

#[tokio::test]
async fn a_token_is_read_for_every_new_connection_and_never_shown() {
    let place = Place::new();
    let token = place.put("token", "first-secret\n");
    let server = Server::start(Wire::Http1, TAKES_ALL).await;
    let webhook = webhook_of(&server, "http", &["--token-file", &token]);
    webhook.reach().await.unwrap();
    let [mut old, mut new] = [0, 1].map(|index| webhook.connection(index, Clock::system()));
    assert_eq!(post(&mut old).await, OK);
    place.put("token", "second-secret");
    assert_eq!(post(&mut new).await, OK);
    assert_eq!(post(&mut old).await, OK);
    let tokens: Vec<_> =
        server.seen().iter().map(|seen| seen.headers["authorization"].clone()).collect();
    assert_eq!(tokens, ["Bearer first-secret", "Bearer second-secret", "Bearer first-secret"]);
    let shown = format!("{webhook:?} {old:?} {new:?}");
    assert!(!shown.contains("secret"), "{shown}");

    place.put("token", "");
    let mut late = webhook.connection(2, Clock::system());
    assert_eq!(post(&mut late).await, Outcome::NotTried(Want::Token));
    assert!(webhook.reach().await.unwrap_err().to_string().contains("is empty"));
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_not_the_target_s_refusal() {
    let webhook = open(&["http://webhook.invalid:8080/events".to_owned()], &[]).unwrap();
    let error = webhook.reach().await.unwrap_err();
    assert!(chain(&error).contains("from here: name not resolved"), "{}", chain(&error));
    assert_eq!(error.exit(), Exit::Unreachable);
    let outcome = post(&mut webhook.connection(0, Clock::system())).await;
    assert_eq!(outcome, Outcome::NotTried(Want::Name));
}

/// Reads a request on a connection, and answers it.
async fn answer_once(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut request = Vec::new();
    while !request.ends_with(BODY) {
        request.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
}

#[tokio::test]
async fn what_is_cut_off_while_it_connects_again_was_not_sent() {
    let (place, authority) = (Place::new(), Authority::new());
    let ca = place.put("ca.pem", &authority.pem);
    let config = authority.server(&[], None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (closed, is_closed) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(config).accept(stream).await.unwrap();
        answer_once(&mut stream).await;
        stream.shutdown().await.unwrap();
        drop(stream);
        closed.send(()).unwrap();
        // From now on it takes connections, and shakes no hands.
        let _silent = listener.accept().await.unwrap();
        std::future::pending::<()>().await;
    });
    let webhook = open(&[url], &["--ca-file", &ca]).unwrap();
    let mut connection = webhook.connection(0, Clock::system());
    assert_eq!(post(&mut connection).await, OK);
    is_closed.await.unwrap();
    let outcome = post_within(&mut connection, Duration::from_millis(500)).await;
    assert_eq!(outcome, Outcome::NotConnected);
    server.abort();
}

#[tokio::test]
async fn a_server_that_signs_itself_as_openssl_does_is_trusted_if_it_is_named() {
    let place = Place::new();
    let authority = Authority::named("127.0.0.1");
    let ca = place.put("ca.pem", &authority.pem);
    let server = Server::start(Wire::Tls(authority.itself()), TAKES_ALL).await;
    let webhook = webhook_of(&server, "https", &["--ca-file", &ca]);
    webhook.reach().await.unwrap();
    assert_eq!(post(&mut webhook.connection(0, Clock::system())).await, OK);
    let other = place.put("other.pem", &Authority::named("127.0.0.1").pem);
    let error = webhook_of(&server, "https", &["--ca-file", &other]).reach().await.unwrap_err();
    assert!(chain(&error).contains("CaUsedAsEndEntity"), "{}", chain(&error));
    let elsewhere = Authority::named("127.0.0.2");
    let ca = place.put("elsewhere.pem", &elsewhere.pem);
    let server = Server::start(Wire::Tls(elsewhere.itself()), TAKES_ALL).await;
    check_refused(&server, &["--ca-file", &ca], "not valid for name").await;
}

#[tokio::test]
async fn headers_and_compressed_bodies_arrive() {
    for (wire, http) in [(Wire::Http1, "1.1"), (Wire::Http2, "2")] {
        for encoding in ["gzip", "zstd"] {
            let server = Server::start(wire.clone(), TAKES_ALL).await;
            let flags = ["--header", "X-Cluster: a", "--header", "x-cluster: b", "--compress"];
            let flags = [&flags[..], &[encoding, "--http", http]].concat();
            let webhook = webhook_of(&server, "http", &flags);
            let mut body = Vec::new();
            webhook.encoder().unwrap().encode(BODY, &mut body);
            let deadline = Instant::now() + Duration::from_secs(10);
            let mut connection = webhook.connection(0, Clock::system());
            assert_eq!(connection.post(body.into(), deadline).await, OK);
            let seen = server.seen().pop().unwrap();
            assert!(seen.headers.get_all("x-cluster").iter().eq(["a", "b"]));
            assert_eq!(seen.headers["content-encoding"], encoding);
            let decoded = match encoding {
                "gzip" => std::io::read_to_string(flate2::read::GzDecoder::new(&*seen.body)),
                _ => zstd::stream::decode_all(&*seen.body).map(|b| String::from_utf8(b).unwrap()),
            };
            assert_eq!(decoded.unwrap().as_bytes(), BODY);
        }
    }
}

#[tokio::test]
async fn connections_go_round_the_addresses_and_a_dead_one_shows() {
    let servers =
        [Server::start(Wire::Http1, TAKES_ALL).await, Server::start(Wire::Http1, TAKES_ALL).await];
    let [first, second] = servers.each_ref().map(|server| format!("http://{}", server.address));
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let urls = [format!("{first},{second}"), format!("http://{dead}")];
    let webhook = open(&urls, &[]).unwrap();
    assert_eq!(webhook.addresses(), 3);
    for index in 0..6 {
        let expected = if index % 3 == 2 { Outcome::NotConnected } else { OK };
        let mut connection = webhook.connection(index, Clock::system());
        assert_eq!(post(&mut connection).await, expected, "{index}");
    }
    for server in &servers {
        assert_eq!(server.seen().len(), 2);
    }
    let error = webhook.reach().await.unwrap_err().to_string();
    assert!(error.contains(&dead.to_string()), "{error}");
}

#[tokio::test]
async fn connections_end_with_their_lifetime() {
    let check = async |wire: Wire, http, lifetime, expected: [usize; 3]| {
        let server = Server::start(wire, TAKES_ALL).await;
        let flags = ["--http", http, "--connection-lifetime", lifetime];
        let mut connection = connection_of(&server, "http", &flags);
        for _ in 0..3 {
            assert_eq!(post(&mut connection).await, OK);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let connections: Vec<_> = server.seen().iter().map(|seen| seen.connection).collect();
        assert_eq!(connections, expected, "{lifetime}");
    };
    for (wire, http) in [(Wire::Http1, "1.1"), (Wire::Http2, "2")] {
        check(wire.clone(), http, "0.001s", [0, 1, 2]).await;
        check(wire, http, "1h", [0, 0, 0]).await;
    }
}

#[tokio::test]
async fn connections_that_a_server_ends_in_order_are_replaced() {
    for (wire, http) in [(Wire::Http1, "1.1"), (Wire::Http2, "2")] {
        let server = Server::start(wire, Behaviour::AnswerOnce).await;
        let mut connection = connection_of(&server, "http", &["--http", http]);
        for _ in 0..20 {
            assert_eq!(post(&mut connection).await, OK);
        }
        assert_eq!(server.seen().len(), 20);
    }
}

#[tokio::test]
async fn answers_and_resets_of_http_2_are_what_they_say() {
    let check = async |behaviour, expected| {
        let server = Server::start(Wire::Http2, behaviour).await;
        let mut connection = connection_of(&server, "http", &["--http", "2"]);
        for _ in 0..2 {
            assert_eq!(post(&mut connection).await, expected, "{behaviour:?}");
        }
    };
    let overloaded = StatusCode::SERVICE_UNAVAILABLE;
    check(Behaviour::Answer(overloaded), Outcome::Answered(overloaded)).await;
    check(Behaviour::Reset(h2::Reason::INTERNAL_ERROR), Outcome::Broken).await;
    check(Behaviour::Reset(h2::Reason::REFUSED_STREAM), Outcome::Unprocessed).await;
}

#[tokio::test]
async fn an_answer_that_does_not_end_soon_ends_its_connection() {
    for (length, connections) in [(1 << 20, [0, 0]), ((1 << 20) + 1, [0, 1])] {
        let server = Server::start(Wire::Http1, Behaviour::AnswerLong(length)).await;
        let mut connection = connection_of(&server, "http", &[]);
        for _ in 0..2 {
            assert_eq!(post(&mut connection).await, OK);
        }
        let seen: Vec<_> = server.seen().iter().map(|seen| seen.connection).collect();
        assert_eq!(seen, connections);
    }
}

/// Posts to a server that takes one whole request and then writes these bytes.
async fn check_bytes(http: &str, answer: Vec<u8>, is_closed: bool, expected: Outcome) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shown = answer.escape_ascii().to_string();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(BODY) {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(&answer).await.unwrap();
        if !is_closed {
            std::future::pending::<()>().await;
        }
    });
    let webhook = open(&[url], &["--http", http]).unwrap();
    let mut connection = webhook.connection(0, Clock::system());
    let outcome = post_within(&mut connection, Duration::from_millis(500)).await;
    assert_eq!(outcome, expected, "{shown}");
    server.abort();
}

#[tokio::test]
async fn only_a_complete_answer_counts() {
    let check = async |rest: &str, is_closed, expected| {
        let answer = format!("HTTP/1.1 200 OK\r\n{rest}");
        check_bytes("1.1", answer.into_bytes(), is_closed, expected).await;
    };
    check("content-length: 3\r\n\r\nabc", false, OK).await;
    check("connection: close\r\n\r\nabc", true, OK).await;
    check("content-length: 100\r\n\r\nabc", true, Outcome::Broken).await;
    check("transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", true, Outcome::Broken).await;
    check("content-len", true, Outcome::Broken).await;
    check("content-length: 100\r\n\r\nabc", false, Outcome::TimedOut).await;
}

#[tokio::test]
async fn a_server_that_goes_away_says_which_streams_it_took() {
    let check = async |last_stream: u8, is_closed, expected| {
        // Frames have a length, a type, flags and a stream (RFC 9113, section 4.1): SETTINGS
        // without any, and GOAWAY with the last stream and no error.
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let go_away = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last_stream, 0, 0, 0, 0];
        let answer = [&settings[..], &go_away[..]].concat();
        check_bytes("2", answer, is_closed, expected).await;
    };
    check(0, false, Outcome::Unprocessed).await;
    check(0, true, Outcome::Unprocessed).await;
    // The request is the connection's first stream, which is number 1.
    check(1, true, Outcome::Broken).await;
    check(1, false, Outcome::TimedOut).await;
}

#[test]
fn what_is_wrong_is_named_with_its_flag() {
    let (place, authority) = (Place::new(), Authority::new());
    let [identity, other] = ["a", "b"].map(|name| authority.sign(name));
    let certificate = place.put("client.pem", &identity.certificate);
    let key = place.put("client.key", &identity.key);
    let other_key = place.put("other.key", &other.key);
    let text = place.put("text", "hello world");
    let empty = place.put("empty", "");
    let absent = place.path("absent");
    let check = |url: &str, flags: &[&str], expected: &[&str]| {
        let error = open(&[url.to_owned()], flags).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        let message = chain(&error);
        for part in expected {
            assert!(message.contains(part), "{message}");
        }
    };
    let (http, https) = ("http://x", "https://x");
    check("x:80", &[], &["x:80", "its scheme is missing"]);
    check("http://x:99999", &[], &["\"http://x:99999\" is no webhook address", "1 to 65535"]);
    check(https, &["--ca-file", &absent], &["--ca-file", &absent, "No such file"]);
    check(https, &["--ca-file", &text], &["--ca-file", &text, "no CERTIFICATE"]);
    check(http, &["--ca-file", &certificate], &["--ca-file", "https://"]);
    check(https, &["--client-cert", &certificate], &["only together with --client-key"]);
    check(https, &["--client-key", &key], &["only together with --client-cert"]);
    let pair = |key| ["--client-cert", &certificate, "--client-key", key];
    check(https, &pair(&certificate), &["--client-key", "no PRIVATE KEY"]);
    check(https, &pair(&other_key), &["--client-cert", &other_key, "cannot be used together"]);
    check(http, &["--token-file", &absent], &["--token-file", &absent]);
    check(http, &["--token-file", &empty], &["--token-file", &empty, "put a bearer token"]);
    check(http, &["--token-file", &text], &["--token-file", &text, "one word"]);
    check(http, &["--header", "Host: y"], &["--header \"Host\"", "leave it out"]);
    check(http, &["--header", "x: y", "--header", "z"], &["--header number 2"]);
}
