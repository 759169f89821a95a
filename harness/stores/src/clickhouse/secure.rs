//! ClickHouse behind TLS.

use std::time::Duration;

use clickhouse::Client;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;

use edges::trust::{Trusted, trusting};

/// Returns a client for servers whose certificates are trusted: by this machine, or by the file in
/// the environment variable `SSL_CERT_FILE`. `None` if there are no trusted certificates.
pub(super) fn secure_client() -> Option<Client> {
    let trusted = Trusted::of_machine();
    if trusted.is_empty() {
        return None;
    }
    let config = trusting(trusted).with_no_client_auth();
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    Some(Client::with_http_client(builder.pool_idle_timeout(IDLE_TIMEOUT).build(connector)))
}

/// Sooner than the server, which closes connections that are idle for three seconds by default:
/// the same as the client's own without TLS.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
