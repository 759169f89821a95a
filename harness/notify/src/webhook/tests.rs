//! Tests with a real server.

use std::collections::VecDeque;
use std::sync::Mutex;

use edges::exit::chain;
use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use super::*;
use crate::message::Colour;

const LIMITS: Limits =
    Limits { answer: Duration::from_secs(5), retry_after: Duration::from_secs(2) };

/// What is in the path of every webhook here, and in no error.
const SECRET: &str = "T0SECRET/B0SECRET/XyZzY";

/// A server that gives some answers, one after another, and keeps what it was sent.
struct Server {
    address: String,
    taken: Arc<Mutex<Vec<(String, Value)>>>,
}

type Given = (u16, &'static [(&'static str, &'static str)], &'static str);

impl Server {
    async fn start(answers: &[Given]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/services/{SECRET}", listener.local_addr().unwrap());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let answers: Arc<Mutex<VecDeque<Given>>> =
            Arc::new(Mutex::new(answers.iter().copied().collect()));
        let told = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (told, answers) = (Arc::clone(&told), Arc::clone(&answers));
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (told, answers) = (Arc::clone(&told), Arc::clone(&answers));
                    async move {
                        let path = request.uri().path().to_owned();
                        assert_eq!(request.headers()[CONTENT_TYPE], "application/json");
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let body = serde_json::from_slice(&body).unwrap();
                        told.lock().unwrap().push((path, body));
                        let (status, headers, text) = answers.lock().unwrap().pop_front().unwrap();
                        let mut answer = Response::builder().status(status);
                        for (name, value) in headers {
                            answer = answer.header(*name, *value);
                        }
                        answer.body(Full::new(Bytes::from(text)))
                    }
                });
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(served);
            }
        });
        Self { address, taken }
    }

    fn webhook(&self, form: Form) -> Webhook {
        Webhook::new(form, self.address.as_str().into()).unwrap()
    }

    fn taken(&self) -> usize {
        self.taken.lock().unwrap().len()
    }
}

fn message() -> Message {
    Message::new("nightly", "whole", Colour::Good)
}

#[track_caller]
fn told(error: &NotifyError, expected: &str, exit: Exit) {
    let shown = format!("{} {error:?}", chain(error));
    assert!(shown.contains(expected), "{shown}");
    assert!(SECRET.split('/').all(|part| !shown.contains(part)), "{shown}");
    assert!(!shown.contains("services"), "{shown}");
    assert_eq!(error.exit(), exit, "{shown}");
}

#[tokio::test]
async fn a_message_arrives_in_the_webhooks_form() {
    let server = Server::start(&[(200, &[], "ok"), (204, &[], "")]).await;
    server.webhook(Form::Slack).send(&message(), LIMITS).await.unwrap();
    server.webhook(Form::Json).send(&message(), LIMITS).await.unwrap();
    let taken = server.taken.lock().unwrap();
    assert!(taken.iter().all(|(path, _)| path == &format!("/services/{SECRET}")));
    assert_eq!(taken[0].1, slack_body(&message()));
    assert_eq!(taken[1].1, json_body(&message()));
}

#[tokio::test]
async fn each_refusal_has_its_cause_and_nothing_is_sent_twice() {
    for (given, expected, exit) in [
        ((400, &[][..], "invalid_payload"), "400 \"invalid_payload\"", Exit::Usage),
        ((403, &[], "invalid_token"), "still valid?", Exit::Usage),
        ((404, &[], "no_service"), "404 \"no_service\"; is the webhook's", Exit::Usage),
        ((410, &[], "channel_is_archived"), "410", Exit::Usage),
        ((302, &[("location", "/x")], ""), "points elsewhere", Exit::Unreachable),
        ((500, &[], "<html><body>Bad</body></html>"), "500", Exit::Unreachable),
        ((404, &[], "no route /services/T0SECRET/B0SECRET/XyZzY"), "address in them", Exit::Usage),
    ] {
        let server = Server::start(&[given]).await;
        let error = server.webhook(Form::Slack).send(&message(), LIMITS).await.unwrap_err();
        told(&error, expected, exit);
        assert_eq!(server.taken(), 1);
    }
}

#[tokio::test]
async fn too_many_messages_are_tried_again_once_and_not_after_a_long_time() {
    let busy: Given = (429, &[("retry-after", "0")], "rate_limited");
    let server = Server::start(&[busy, (200, &[], "ok")]).await;
    server.webhook(Form::Slack).send(&message(), LIMITS).await.unwrap();
    assert_eq!(server.taken(), 2);
    let server = Server::start(&[busy, busy]).await;
    let error = server.webhook(Form::Slack).send(&message(), LIMITS).await.unwrap_err();
    told(&error, "429 twice", Exit::Unreachable);
    assert_eq!(server.taken(), 2);
    let server = Server::start(&[(429, &[("retry-after", "3600")], "")]).await;
    let error = server.webhook(Form::Slack).send(&message(), LIMITS).await.unwrap_err();
    told(&error, "wants 3600 s", Exit::Unreachable);
    assert_eq!(server.taken(), 1);
}

#[tokio::test]
async fn a_server_that_is_silent_or_gone_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/services/{SECRET}", listener.local_addr().unwrap());
    let webhook = Webhook::new(Form::Slack, address.into()).unwrap();
    let limits = Limits { answer: Duration::from_millis(200), ..LIMITS };
    let error = webhook.send(&message(), limits).await.unwrap_err();
    told(&error, "may have arrived", Exit::Unreachable);
    drop(listener);
    let error = webhook.send(&message(), LIMITS).await.unwrap_err();
    told(&error, "cannot be reached: Connection refused", Exit::Unreachable);
    assert!(!format!("{webhook:?}").contains("SECRET"), "{webhook:?}");
}

#[test]
fn what_is_no_address_is_not_repeated() {
    for (wrong, expected) in [
        ("", "it is empty"),
        ("hooks.example/services/T0SECRET/B0SECRET/XyZzY", "scheme is missing"),
        ("ftp://hooks.example/services/T0SECRET/B0SECRET/XyZzY", "not one of those"),
        ("https://me:T0SECRET@hooks.example/", "user or password"),
    ] {
        let error = Webhook::new(Form::Slack, wrong.into()).unwrap_err();
        told(&error, expected, Exit::Usage);
    }
}
