//! TLS: which servers are trusted, and the certificate that the client shows.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::args::{HttpVersion, WebhookArgs};
use super::error::WebhookError;
use edges::credentials::{TlsFiles, TlsFlags};

/// What all TLS connections share. Its `Debug` output hides the contents.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

const FLAGS: TlsFlags =
    TlsFlags { authorities: "--ca-file", certificate: "--client-cert", key: "--client-key" };

/// Schemes are the same in capitals (RFC 3986, section 3.1).
fn is_https(url: &str) -> bool {
    url.get(.."https://".len()).is_some_and(|start| start.eq_ignore_ascii_case("https://"))
}

impl Tls {
    /// Reads the files that the flags name; nothing, if no address needs TLS.
    ///
    /// # Errors
    ///
    /// Returns [`WebhookError`] with the flag and file that are wrong.
    pub(super) fn from_args(args: &WebhookArgs) -> Result<Option<Self>, WebhookError> {
        let files = TlsFiles {
            authorities: args.ca_file.as_deref(),
            certificate: args.client_cert.as_deref(),
            key: args.client_key.as_deref(),
        };
        if !args.urls.iter().any(|url| is_https(url)) {
            return match files.first_named(&FLAGS) {
                Some(flag) => Err(WebhookError::NotTls { flag }),
                None => Ok(None),
            };
        }
        let mut config = files.config(&FLAGS)?;
        config.alpn_protocols = match args.http {
            HttpVersion::Auto => vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()],
            HttpVersion::One => vec![ALPN_HTTP1.to_vec()],
            HttpVersion::Two => vec![ALPN_HTTP2.to_vec()],
        };
        Ok(Some(Self(Arc::new(config))))
    }

    /// Shakes hands with a server and makes sure that it is the one named.
    ///
    /// # Errors
    ///
    /// Returns an error whose source is rustls's, or the operating system's.
    pub(super) async fn connect(
        &self,
        server: ServerName<'static>,
        stream: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(Arc::clone(&self.0)).connect(server, stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// The name of HTTP/2 in the handshake (RFC 9113, section 3.2).
pub(super) const ALPN_HTTP2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";
