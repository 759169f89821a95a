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

const URL_FLAG: &str = "--query-api";
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
    /// level `RequestResponse`; usual ones have a kilobyte.
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
        let mut builder = Client::builder(TokioExecutor::new());
        builder.http1_max_buf_size(BUFFER_BYTES_MAX);
        let client = if address.is_tls() {
            tcp.enforce_http(false);
            let tls = Arc::new(files.config(&TLS_FLAGS)?);
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
    let causes = || successors(error.source(), |&error| inside(error));
    let mut of_http = causes().filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    let fact = last_cause(error);
    if !error.is_connect() && of_http.any(hyper::Error::is_incomplete_message) {
        return AskError::Cut { fact };
    }
    match causes().find_map(|cause| cause.downcast_ref()).and_then(flag_to_check) {
        Some(flag) => AskError::Connection { fact: format!("{fact}; check {flag}") },
        None => AskError::Connection { fact },
    }
}

/// The flag to look at if one side does not trust the other.
fn flag_to_check(error: &rustls::Error) -> Option<&'static str> {
    use rustls::AlertDescription as Alert;
    use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
    match error {
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            Some(URL_FLAG)
        }
        rustls::Error::InvalidCertificate(_) => Some(TLS_FLAGS.authorities),
        rustls::Error::AlertReceived(
            Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate,
        ) => Some(TLS_FLAGS.certificate),
        _ => None,
    }
}

/// What is behind an error, whose own words only say in which part of a client it was.
fn last_cause(error: &(dyn Error + 'static)) -> String {
    let last = successors(Some(error), |&error| inside(error)).last().unwrap_or(error);
    words(&last.to_string())
}

/// The error that another one wraps. Those of input or output do not name it as their source.
fn inside<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let of_io = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    of_io.map(|inside| inside as &(dyn Error + 'static)).or_else(|| error.source())
}

const RESOURCE: &str = "/apis/activity.miloapis.com/v1alpha1/auditlogqueries";
const AGENT: &str = concat!("auditstorm/", env!("CARGO_PKG_VERSION"));
/// What a connection reads at once. By default, each of many idle ones keeps up to 400 kB.
const BUFFER_BYTES_MAX: usize = 16 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use tempfile::TempDir;
    use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::certificates::Authority;
    use crate::question::{Condition, Filter, TextField, UnixSeconds};

    fn args(url: &str) -> ApiArgs {
        ApiArgs {
            url: Some(url.to_owned()),
            identity: Identity::FrontProxy,
            user: "alice".to_owned(),
            token_file: None,
            ca_file: None,
            client_cert: None,
            client_key: None,
        }
    }

    fn question(scope: Scope) -> Question {
        let filter = Filter::new(vec![Condition::is(TextField::Verb, "get")]);
        let (from, until) = (UnixSeconds(1_795_845_600), UnixSeconds(1_795_845_602));
        Question { scope, filter, from, until, limit: 7 }
    }

    /// A server that gives one answer and then closes the connection. Returns the request.
    async fn server(answer: &'static [u8]) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            answer_once(stream, answer).await.unwrap()
        });
        (url, asked)
    }

    /// The same behind TLS. It gives no answer, and returns no request, to those whom it does not
    /// let in.
    async fn secure_server(config: Arc<ServerConfig>) -> (String, JoinHandle<Option<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/base/", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
            answer_once(stream, EMPTY).await.ok()
        });
        (url, asked)
    }

    /// Reads a request, and answers it. Returns the request.
    async fn answer_once(
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        answer: &[u8],
    ) -> io::Result<String> {
        let mut request = Vec::new();
        while !request.ends_with(b"}}") {
            request.push(stream.read_u8().await?);
        }
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        Ok(String::from_utf8_lossy(&request).into_owned())
    }

    async fn ask(args: &ApiArgs, scope: Scope) -> Result<Page, AskError> {
        let limits = AskLimits { timeout: Duration::from_secs(5), body_bytes_max: 1_000 };
        Api::from_args(args, limits).unwrap().ask(&question(scope), Some("c")).await
    }

    const EMPTY: &[u8] = b"HTTP/1.1 201 Created\r\ncontent-length: 13\r\n\r\n{\"status\":{}}";

    #[tokio::test]
    async fn a_question_says_who_asks_for_which_scope_and_nothing_of_it_in_errors() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hidden-token\n").unwrap();
        let token_file = Some(file.path().to_owned());
        for (identity, names) in [
            (Identity::FrontProxy, ["x-remote-user", "x-remote-extra-"]),
            (Identity::Impersonation, ["impersonate-user", "impersonate-extra-"]),
        ] {
            let (url, asked) = server(EMPTY).await;
            let args = ApiArgs { identity, token_file: token_file.clone(), ..args(&url) };
            assert!(!format!("{args:?}").contains("hidden"));
            ask(&args, Scope::Project("shop".to_owned())).await.unwrap();
            let request = asked.await.unwrap();
            let [user, extra] = names;
            for part in [
                format!("POST /base{RESOURCE} HTTP/1.1\r\n"),
                format!("{user}: alice\r\n"),
                format!("{extra}iam.miloapis.com%2fparent-type: Project\r\n"),
                format!("{extra}iam.miloapis.com%2fparent-name: shop\r\n"),
                "authorization: Bearer hidden-token\r\n".to_owned(),
                r#""startTime":"2026-11-28T06:00:00Z","endTime":"2026-11-28T06:00:02Z""#.to_owned(),
                r#""limit":7,"filter":"verb == 'get'","continue":"c""#.to_owned(),
            ] {
                assert!(request.contains(&part), "{part} is not in\n{request}");
            }
        }
        let own = ApiArgs { identity: Identity::Own, ..args("http://127.0.0.1:1") };
        let error = ask(&own, Scope::Project("shop".to_owned())).await.unwrap_err();
        assert_eq!(error.kind(), "forbidden");
        let error = ask(&args("http://127.0.0.1:1"), Scope::Project("a\nb".to_owned())).await;
        assert_eq!(error.unwrap_err().kind(), "form");
    }

    /// Writes files that flags name, and returns such flags: to trust an authority, and to show a
    /// certificate that another one has signed.
    fn secured(place: &TempDir, trusted: &Authority, known_to: Option<&Authority>) -> ApiArgs {
        let put = |name: &str, text: &str| {
            let path = place.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let own = known_to.map(|authority| authority.sign("client"));
        ApiArgs {
            token_file: put("token", "hidden-token"),
            ca_file: put("ca.pem", &trusted.pem),
            client_cert: own.as_ref().and_then(|own| put("client.pem", &own.certificate)),
            client_key: own.as_ref().and_then(|own| put("client.key", &own.key)),
            ..args("")
        }
    }

    #[tokio::test]
    async fn behind_tls_a_known_client_is_answered_and_says_who_asks_for_which_scope() {
        let (place, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let (url, asked) = secure_server(authority.server(&[], Some(&authority))).await;
        let args = ApiArgs { url: Some(url), ..secured(&place, &authority, Some(&authority)) };
        ask(&args, Scope::Project("shop".to_owned())).await.unwrap();
        let request = asked.await.unwrap().unwrap();
        for part in [
            &*format!("POST /base{RESOURCE} HTTP/1.1\r\n"),
            "x-remote-user: alice\r\n",
            "x-remote-extra-iam.miloapis.com%2fparent-type: Project\r\n",
            "x-remote-extra-iam.miloapis.com%2fparent-name: shop\r\n",
            "authorization: Bearer hidden-token\r\n",
        ] {
            assert!(request.contains(part), "{part} is not in\n{request}");
        }
    }

    #[tokio::test]
    async fn whoever_does_not_trust_the_other_side_says_so_and_nothing_is_asked() {
        let place = tempfile::tempdir().unwrap();
        let [ours, other, elsewhere] = [(); 3].map(|()| Authority::named("127.0.0.2"));
        let check = async |server: Arc<ServerConfig>, args: ApiArgs, fact: &str, flag: &str| {
            let (url, asked) = secure_server(server).await;
            let args = ApiArgs { url: Some(url), ..args };
            let error = ask(&args, Scope::Platform).await.unwrap_err();
            assert_eq!(error.kind(), "connection", "{fact}: {error}");
            let told = error.to_string();
            assert!(told.contains(fact) && told.ends_with(flag), "{fact}: {told}");
            assert!(!told.contains("hidden") && !told.contains("PRIVATE"), "{told}");
            assert_eq!(asked.await.unwrap(), None, "{fact}");
        };
        let flags = |trusted, known_to| secured(&place, trusted, known_to);
        let demanding = || ours.server(&[], Some(&ours));
        let own = "; check --query-client-cert";
        check(demanding(), flags(&ours, None), "CertificateRequired", own).await;
        check(demanding(), flags(&ours, Some(&other)), "UnknownCA", own).await;
        let theirs = "; check --query-ca-file";
        check(demanding(), flags(&other, Some(&ours)), "UnknownIssuer", theirs).await;
        let address = "; check --query-api";
        check(elsewhere.itself(), flags(&elsewhere, None), "not valid for name", address).await;
    }

    #[tokio::test]
    async fn what_happens_on_the_way_has_one_clear_cause() {
        let check = async |answer: &'static [u8], kind: &str, part: &str| {
            let (url, _asked) = server(answer).await;
            let error = ask(&args(&url), Scope::Platform).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(part), "{error}");
        };
        check(b"HTTP/1.1 201 Created\r\ncontent-length: 99\r\n\r\n{\"sta", "cut", "").await;
        let chunked = b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"sta\r\n";
        check(chunked, "cut", "").await;
        check(b"", "cut", "").await;
        check(b"HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\n{\"sta", "cut", "5 bytes").await;
        let head = "HTTP/1.1 201 Created\r\ncontent-length: 2000\r\n\r\n";
        let long = Box::leak(format!("{head}{}", "x".repeat(2_000)).into_boxed_str());
        check(long.as_bytes(), "too_long", "1000").await;
        let moved =
            b"HTTP/1.1 302 Found\r\nlocation: https://login/?s=1\r\ncontent-length: 0\r\n\r\n";
        check(moved, "redirected", "https://login/: name").await;
        let error = ask(&args("http://127.0.0.1:1"), Scope::Platform).await.unwrap_err();
        assert_eq!(error.kind(), "connection");
        assert!(error.to_string().contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn a_silent_server_is_waited_for_but_not_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let limit = Duration::from_millis(200);
        let api = Api::from_args(&args(&url), AskLimits { timeout: limit, body_bytes_max: 9 });
        let error = api.unwrap().ask(&question(Scope::Platform), None).await.unwrap_err();
        assert_eq!(error, AskError::Timeout { limit });
    }

    #[test]
    fn wrong_flags_are_named() {
        let check = |args: ApiArgs, part: &str| {
            let error = Api::from_args(&args, AskLimits::default()).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        };
        check(ApiArgs { url: None, ..args("") }, "--query-api or QUERY_API_URL");
        check(args("http://h/?x=1"), "must not hold a query");
        check(ApiArgs { user: "a\nb".to_owned(), ..args("http://h") }, "--query-user");
        let none = Some("/none".into());
        check(ApiArgs { ca_file: none.clone(), ..args("http://h") }, "--query-ca-file is of use");
        check(ApiArgs { ca_file: none.clone(), ..args("https://h") }, "--query-ca-file /none");
        check(ApiArgs { token_file: none, ..args("http://h") }, "--query-token-file /none");
    }
}
