//! The query API as a door: `POST …/auditlogqueries` over HTTP.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use edges::address::{Address, AddressError, QUERY_API};
use edges::credentials::{CredentialsError, TlsFiles, TlsFlags, Token};
use edges::exit::chain;
use edges::secret::{ExposeSecret as _, SecretString};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use hyper::{Method, Request, Response};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use serde_json::json;

use crate::answer::{Answer, judge};
use crate::door::Door;
use crate::error::{AskError, words};
use crate::page::Page;
use crate::question::{Question, Scope};

/// Flags that name the query API, and say who asks.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Query API")]
pub struct ApiArgs {
    /// Address of the query API, like `https://activity.example:6443`.
    #[arg(id = "query_api", long = "query-api", env = "QUERY_API_URL", value_name = "URL")]
    #[arg(hide_env_values = true)]
    pub url: Option<String>,
    /// How the server is told who asks, and for which scope.
    #[arg(id = "query_as", long = "query-as", value_enum, value_name = "WAY")]
    #[arg(default_value_t = Identity::FrontProxy)]
    pub identity: Identity,
    /// The user that asks.
    #[arg(id = "query_user", long = "query-user", value_name = "NAME")]
    #[arg(default_value = "auditstorm")]
    pub user: String,
    /// File with a bearer token, which is read for every request. `QUERY_API_TOKEN` can hold the
    /// token instead.
    #[arg(id = "query_token_file", long = TOKEN_FLAG_NAME, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// File with certificates (PEM) to trust instead of this machine's.
    #[arg(id = "query_ca_file", long = "query-ca-file", value_name = "PEM")]
    pub ca_file: Option<PathBuf>,
    /// File with a certificate (PEM) to show to the server.
    #[arg(id = "query_client_cert", long = "query-client-cert", value_name = "PEM")]
    pub client_cert: Option<PathBuf>,
    /// File with the private key (PEM) of that certificate.
    #[arg(id = "query_client_key", long = "query-client-key", value_name = "PEM")]
    pub client_key: Option<PathBuf>,
}

const TOKEN_FLAG_NAME: &str = "query-token-file";
const TOKEN_FLAG: &str = "--query-token-file";
const TOKEN_VARIABLE: &str = "QUERY_API_TOKEN";

const TLS_FLAGS: TlsFlags = TlsFlags {
    authorities: "--query-ca-file",
    certificate: "--query-client-cert",
    key: "--query-client-key",
};

/// How the server is told who asks, and for which scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Identity {
    /// With the headers of a front proxy, as kube-apiserver sends them: `X-Remote-User` and
    /// `X-Remote-Extra-…`.
    FrontProxy,
    /// With the headers of an impersonating user: `Impersonate-User` and `Impersonate-Extra-…`.
    Impersonation,
    /// With token or certificate alone: only the platform's events can be asked for.
    Own,
}

/// Why the query API cannot be used. A question without an answer is an [`AskError`].
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("no query API is named; name its address with --query-api or QUERY_API_URL")]
    NoUrl,
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("{flag} is of use only with an address that begins with https://")]
    NotTls { flag: &'static str },
    #[error("--query-user {name:?} cannot be written into a header")]
    User { name: String },
}

/// The query API of one server. It keeps connections open and uses them again; a clone shares them.
#[derive(Debug, Clone)]
pub struct Api {
    client: AnyClient,
    /// Address without secrets.
    place: String,
    uri: hyper::Uri,
    identity: Identity,
    user: HeaderValue,
    token: Option<Token>,
    limits: AskLimits,
}

/// How much of a server's time and of this machine's memory a question may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskLimits {
    /// From the first byte of the request to the last one of the answer, connecting included.
    pub timeout: Duration,
    /// Length of an answer.
    pub body_bytes_max: usize,
}

impl Default for AskLimits {
    /// The server itself gives up after 60 s. A page has 1,000 events, of up to 1.5 MB each at the
    /// level RequestResponse; usual ones have a kilobyte.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(65), body_bytes_max: 512 << 20 }
    }
}

#[derive(Debug, Clone)]
enum AnyClient {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Api {
    /// Reads address and files. It connects when the first question is asked.
    ///
    /// # Errors
    ///
    /// Returns [`ApiError`] with the flag that is wrong.
    pub fn from_args(args: &ApiArgs, limits: AskLimits) -> Result<Self, ApiError> {
        let url = args.url.as_deref().ok_or(ApiError::NoUrl)?;
        let address = Address::read(url, &QUERY_API)?;
        let files = TlsFiles {
            authorities: args.ca_file.as_deref(),
            certificate: args.client_cert.as_deref(),
            key: args.client_key.as_deref(),
        };
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let builder = Client::builder(TokioExecutor::new());
        let client = if address.is_tls() {
            tcp.enforce_http(false);
            let tls = Arc::new(files.config(TLS_FLAGS)?);
            AnyClient::Tls(builder.build(HttpsConnector::from((tcp, tls))))
        } else if let Some(flag) = files.first_named(&TLS_FLAGS) {
            return Err(ApiError::NotTls { flag });
        } else {
            AnyClient::Plain(builder.build(tcp))
        };
        let path = address.path.trim_end_matches('/');
        let uri = format!("{}://{}{path}{RESOURCE}", address.scheme, address.authority());
        let uri = uri.parse().map_err(|_| QUERY_API.error(url, "its path is wrong"))?;
        let name = || args.user.clone();
        let user =
            HeaderValue::from_str(&args.user).map_err(|_| ApiError::User { name: name() })?;
        let token = Token::find((TOKEN_FLAG, args.token_file.as_deref()), TOKEN_VARIABLE)?;
        let (place, identity) = (address.to_string(), args.identity);
        Ok(Self { client, place, uri, identity, user, token, limits })
    }

    async fn exchange(&self, question: &Question, cursor: Option<&str>) -> Result<Page, AskError> {
        let token = match &self.token {
            Some(token) => Some(
                token
                    .authorization()
                    .await
                    .map_err(|error| AskError::Expired { message: words(&chain(&error)) })?,
            ),
            None => None,
        };
        let request = self.request(question, cursor, token.as_ref())?;
        let answered = match &self.client {
            AnyClient::Plain(client) => client.request(request).await,
            AnyClient::Tls(client) => client.request(request).await,
        };
        let response = answered.map_err(|error| connection_error(&error))?;
        self.read(response, token.as_ref()).await
    }

    fn request(
        &self,
        question: &Question,
        cursor: Option<&str>,
        token: Option<&SecretString>,
    ) -> Result<Request<Full<Bytes>>, AskError> {
        let mut request = Request::new(Full::new(body(question, cursor)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose_secret())
                .expect("a token has no control characters");
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        for (name, value) in self.scope_headers(&question.scope)? {
            headers.insert(name, value);
        }
        Ok(request)
    }

    /// The headers that say who asks, and for which scope.
    fn scope_headers(&self, scope: &Scope) -> Result<Vec<(HeaderName, HeaderValue)>, AskError> {
        let (user, kind, name) = match self.identity {
            Identity::FrontProxy => (
                HeaderName::from_static("x-remote-user"),
                HeaderName::from_static("x-remote-extra-iam.miloapis.com%2fparent-type"),
                HeaderName::from_static("x-remote-extra-iam.miloapis.com%2fparent-name"),
            ),
            Identity::Impersonation => (
                HeaderName::from_static("impersonate-user"),
                HeaderName::from_static("impersonate-extra-iam.miloapis.com%2fparent-type"),
                HeaderName::from_static("impersonate-extra-iam.miloapis.com%2fparent-name"),
            ),
            Identity::Own if *scope == Scope::Platform => return Ok(Vec::new()),
            Identity::Own => {
                let message = format!("{scope} can only be asked for with another --query-as");
                return Err(AskError::Forbidden { message });
            }
        };
        let mut headers = vec![(user, self.user.clone())];
        if let Some((of_kind, of_name)) = scope.headers() {
            let value = |text: &str| {
                HeaderValue::from_str(text).map_err(|_| AskError::Form {
                    fact: format!("{:?} cannot be written into a header", words(text)),
                })
            };
            headers.extend([(kind, value(of_kind)?), (name, value(of_name)?)]);
        }
        Ok(headers)
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        token: Option<&SecretString>,
    ) -> Result<Page, AskError> {
        let (head, body) = response.into_parts();
        let limit = self.limits.body_bytes_max;
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return AskError::TooLong { limit: limit as u64 };
            }
            AskError::Cut { fact: last_cause(&*error) }
        })?;
        let location = head.headers.get(LOCATION).map(HeaderValue::as_bytes);
        let location = location.map(|text| String::from_utf8_lossy(text).into_owned());
        judge(Answer {
            status: head.status,
            location: location.as_deref(),
            body: body.to_bytes(),
            secret: token,
        })
    }
}

impl Door for Api {
    async fn ask(&self, question: &Question, cursor: Option<&str>) -> Result<Page, AskError> {
        let limit = self.limits.timeout;
        match tokio::time::timeout(limit, self.exchange(question, cursor)).await {
            Ok(answer) => answer,
            Err(_) => Err(AskError::Timeout { limit }),
        }
    }

    fn place(&self) -> &str {
        &self.place
    }
}

/// The query as the API takes it.
fn body(question: &Question, cursor: Option<&str>) -> Bytes {
    let mut spec = json!({
        "startTime": question.from.rfc3339(),
        "endTime": question.until.rfc3339(),
        "limit": question.limit,
    });
    let filter = question.filter.to_cel();
    if !filter.is_empty() {
        spec["filter"] = filter.into();
    }
    if let Some(cursor) = cursor {
        spec["continue"] = cursor.into();
    }
    let query = json!({
        "apiVersion": "activity.miloapis.com/v1alpha1",
        "kind": "AuditLogQuery",
        "metadata": { "name": "auditstorm" },
        "spec": spec,
    });
    query.to_string().into()
}

/// Why there is no answer at all.
fn connection_error(error: &legacy::Error) -> AskError {
    let causes = successors(error.source(), |&error| error.source());
    let is_cut = causes.filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    let fact = last_cause(error);
    if !error.is_connect() && is_cut.into_iter().any(hyper::Error::is_incomplete_message) {
        return AskError::Cut { fact };
    }
    AskError::Connection { fact }
}

/// What is behind an error, whose own words only say in which part of a client it was.
fn last_cause(error: &(dyn Error + 'static)) -> String {
    let inside = |error: &(dyn Error + 'static)| -> Option<String> {
        // An error of input or output does not name its own inside as its source.
        let error = error.downcast_ref::<io::Error>()?;
        error.get_ref().map(ToString::to_string)
    };
    let last = successors(Some(error), |&error| error.source()).last().unwrap_or(error);
    words(&inside(last).unwrap_or_else(|| last.to_string()))
}

const RESOURCE: &str = "/apis/activity.miloapis.com/v1alpha1/auditlogqueries";
const AGENT: &str = concat!("auditstorm/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
