//! Sends messages to a webhook.

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edges::address::{Address, PAGE};
use edges::exit::Exit;
use edges::plain::said;
use edges::secret::{ExposeSecret as _, SecretString};
use edges::trust::{Trusted, trusting};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;

use crate::json::json_body;
use crate::message::Message;
use crate::slack::slack_body;

/// A webhook that takes messages. Its address is never shown.
#[derive(Debug, Clone)]
pub struct Webhook {
    address: SecretString,
    form: Form,
}

/// What a webhook takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An incoming webhook of Slack, or of what accepts its form.
    Slack,
    /// Anything that takes the message as plain JSON.
    Json,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Slack => "Slack webhook",
            Self::Json => "JSON webhook",
        }
    }
}

/// How long is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For an answer.
    pub answer: Duration,
    /// For the next try, if the webhook says that there are too many messages now.
    pub retry_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { answer: Duration::from_secs(10), retry_after: Duration::from_secs(30) }
    }
}

/// Why nobody was told. The address of the webhook is never in it.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("the address of the {form} cannot be used: {fact}")]
    Address { form: &'static str, fact: &'static str },
    #[error(
        "this machine has no trusted certificates for the {form}: name a file with SSL_CERT_FILE"
    )]
    NoAuthorities { form: &'static str },
    #[error("the {form} cannot be reached: {fact}")]
    Unreachable { form: &'static str, fact: String },
    #[error(
        "the {form} does not answer within {} s; the message may have arrived", limit.as_secs()
    )]
    Silent { form: &'static str, limit: Duration },
    #[error("the {form} takes no more messages now: it answered 429{fact}")]
    TooMany { form: &'static str, fact: String },
    #[error("the {form} refused the message: it answered {status}{fact}")]
    Refused { form: &'static str, status: u16, fact: String },
}

impl NotifyError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        let is_usage = match self {
            Self::Address { .. } | Self::NoAuthorities { .. } => true,
            // What Slack answers about a wrong address or a wrong message.
            Self::Refused { status, .. } => (400..500).contains(status),
            Self::Unreachable { .. } | Self::Silent { .. } | Self::TooMany { .. } => false,
        };
        if is_usage { Exit::Usage } else { Exit::Unreachable }
    }
}

impl Webhook {
    /// Takes the address of a webhook.
    ///
    /// # Errors
    ///
    /// Returns [`NotifyError::Address`] if it is none.
    pub fn new(form: Form, address: SecretString) -> Result<Self, NotifyError> {
        let webhook = Self { address, form };
        webhook.read_address().map(|_| webhook)
    }

    fn read_address(&self) -> Result<Address, NotifyError> {
        // Secrets in files end with a line break.
        let read = Address::read(self.address.expose_secret().trim(), &PAGE);
        read.map_err(|error| NotifyError::Address { form: self.form.name(), fact: error.fact })
    }

    /// Sends a message. If the webhook takes no more messages now, this waits as long as it says,
    /// and tries once more.
    ///
    /// # Errors
    ///
    /// Returns [`NotifyError`] if the message did not arrive, or may not have arrived.
    pub async fn send(&self, message: &Message, limits: Limits) -> Result<(), NotifyError> {
        let body = match self.form {
            Form::Slack => slack_body(message),
            Form::Json => json_body(message),
        };
        let body = Bytes::from(body.to_string());
        let form = self.form.name();
        let first = self.post(body.clone(), limits.answer).await?;
        let answer = if first.status == StatusCode::TOO_MANY_REQUESTS {
            let wait = retry_after(&first.headers).unwrap_or(Duration::from_secs(1));
            if wait > limits.retry_after {
                let fact = format!(", and wants {} s of quiet", wait.as_secs());
                return Err(NotifyError::TooMany { form, fact });
            }
            tokio::time::sleep(wait).await;
            self.post(body, limits.answer).await?
        } else {
            first
        };
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS => {
                Err(NotifyError::TooMany { form, fact: " twice".to_owned() })
            }
            status => {
                let fact = self.said(&answer.body, status);
                Err(NotifyError::Refused { form, status: status.as_u16(), fact })
            }
        }
    }

    async fn post(&self, body: Bytes, limit: Duration) -> Result<Answer, NotifyError> {
        let form = self.form.name();
        let address = self.read_address()?;
        // Not the text itself: so the client dials what was read, and nothing else.
        let uri = format!("{}://{}{}", address.scheme, address.authority(), address.target());
        let request = Request::builder().method(Method::POST).uri(uri);
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body));
        let request = request
            .map_err(|_| NotifyError::Address { form, fact: "it is none that HTTP can ask" })?;
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(limit));
        let asked = if address.is_tls() {
            let trusted = Trusted::of_machine();
            if trusted.is_empty() {
                return Err(NotifyError::NoAuthorities { form });
            }
            tcp.enforce_http(false);
            let tls = Arc::new(trusting(trusted).with_no_client_auth());
            tokio::time::timeout(limit, exchange(HttpsConnector::from((tcp, tls)), request)).await
        } else {
            tokio::time::timeout(limit, exchange(tcp, request)).await
        };
        match asked {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let fact = self.without_address(&last_of(&*error));
                Err(NotifyError::Unreachable { form, fact })
            }
            Err(_) => Err(NotifyError::Silent { form, limit }),
        }
    }

    /// What the answer says of the reason, and what to do.
    fn said(&self, body: &[u8], status: StatusCode) -> String {
        let text = String::from_utf8_lossy(body);
        let text: String = said(&text).lines().next().unwrap_or_default().into();
        let text: String = self.without_address(&text).chars().take(SAID_CHARS_MAX).collect();
        let hint = match status.as_u16() {
            301..=308 => "; it points elsewhere: use the address that it points to",
            403 | 404 | 410 => "; is the webhook's address still valid?",
            _ => "",
        };
        if text.is_empty() { hint.to_owned() } else { format!(" {text:?}{hint}") }
    }

    /// Returns a text, or nothing of it if any part of the webhook's address is in it.
    fn without_address(&self, text: &str) -> String {
        let address = self.address.expose_secret().trim();
        let (_, rest) = address.split_once("://").unwrap_or(("", address));
        let parts = rest.split(['/', '?', '&', '=', '#']).filter(|part| part.len() >= 4);
        if parts.into_iter().any(|part| text.contains(part)) {
            return "(its words have the address in them)".to_owned();
        }
        text.to_owned()
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

type BoxError = Box<dyn Error + Send + Sync>;

async fn exchange<C>(connector: C, request: Request<Full<Bytes>>) -> Result<Answer, BoxError>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let mut client = legacy::Client::builder(TokioExecutor::new());
    let client = client.pool_max_idle_per_host(0).build(connector);
    let (head, body) = client.request(request).await?.into_parts();
    // What matters is the status. A body that cannot be read says nothing.
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Ok(Answer { status: head.status, headers: head.headers, body })
}

/// The wait that an answer asks for, in seconds. Slack sends no dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn last_of(error: &(dyn Error + 'static)) -> String {
    let last = successors(Some(error), |&error| error.source()).last();
    last.map(ToString::to_string).unwrap_or_default()
}

const BODY_BYTES_MAX: usize = 64 << 10;
const SAID_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests;
