//! How requests reach a store: over our own HTTP client, which trusts whom the other clients of the
//! programs trust (`SSL_CERT_FILE`), and heeds no proxy, as they do.

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use edges::trust::{Trusted, trusting};
use http_body_util::BodyExt as _;
use hyper::http::uri::Scheme;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::TokioExecutor;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};

/// Makes clients for the stores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connector {
    /// Longest time until the head of an answer.
    pub(crate) limit: Duration,
}

/// Why no request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsent {
    #[error("its address is http://, which only AWS_ALLOW_HTTP=true allows (or GOOGLE_, AZURE_)")]
    Insecure,
    #[error("this machine has no trusted certificates: name a file with SSL_CERT_FILE")]
    NoAuthorities,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let mut tcp = Tcp::new();
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        tcp.set_nodelay(true);
        let client = legacy::Client::builder(TokioExecutor::new());
        let trusted = Trusted::of_machine();
        let tls = (!trusted.is_empty()).then(|| {
            let mut tcp = tcp.clone();
            tcp.enforce_http(false);
            let config = trusting(trusted).with_no_client_auth();
            client.build(HttpsConnector::from((tcp, Arc::new(config))))
        });
        let plain = (allows_http.as_deref() == Some("true")).then(|| client.build(tcp));
        Ok(HttpClient::new(Client { tls, plain, limit: self.limit }))
    }
}

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Client {
    tls: Option<legacy::Client<HttpsConnector<Tcp>, HttpRequestBody>>,
    plain: Option<legacy::Client<Tcp, HttpRequestBody>>,
    limit: Duration,
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let unsent = |why| HttpError::new(HttpErrorKind::Unknown, why);
        let asked = if request.uri().scheme() == Some(&Scheme::HTTP) {
            self.plain.as_ref().ok_or(unsent(Unsent::Insecure))?.request(request)
        } else {
            self.tls.as_ref().ok_or(unsent(Unsent::NoAuthorities))?.request(request)
        };
        let answer = match tokio::time::timeout(self.limit, asked).await {
            Ok(answered) => answered.map_err(|error| {
                let kind = if error.is_connect() {
                    HttpErrorKind::Connect
                } else {
                    HttpErrorKind::Interrupted
                };
                HttpError::new_boxed(kind, cause(&error))
            })?,
            Err(late) => return Err(HttpError::new(HttpErrorKind::Timeout, late)),
        };
        Ok(answer.map(|body| {
            let interrupted = |error: hyper::Error| {
                HttpError::new_boxed(HttpErrorKind::Interrupted, cause(&error))
            };
            HttpResponseBody::new(body.map_err(interrupted))
        }))
    }
}

/// What is behind an error of the client, whose own words only say in which of its parts it was.
fn cause(error: &(dyn Error + 'static)) -> Box<dyn Error + Send + Sync> {
    let last = successors(Some(error), |&error| error.source()).last();
    last.map(ToString::to_string).unwrap_or_default().into()
}
