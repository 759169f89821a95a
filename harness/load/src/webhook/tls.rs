//! TLS: which servers are trusted, and the certificate that the client shows.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::args::{HttpVersion, WebhookArgs};
use super::error::WebhookError;
use edges::trust::{Trusted, trusting};

/// What all TLS connections share. Its `Debug` output hides the contents.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

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
        if !args.urls.iter().any(|url| is_https(url)) {
            return match unused_flag(args) {
                Some(flag) => Err(WebhookError::NotTls { flag }),
                None => Ok(None),
            };
        }
        let trusted = trusted(args.ca_file.as_deref())?;
        let mut config = with_client_certificate(trusting(trusted), args)?;
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

/// Returns the first flag that has no effect, because no address uses TLS.
fn unused_flag(args: &WebhookArgs) -> Option<&'static str> {
    let flags = [
        (&args.ca_file, "--ca-file"),
        (&args.client_cert, "--client-cert"),
        (&args.client_key, "--client-key"),
    ];
    flags.iter().find(|(path, _)| path.is_some()).map(|(_, flag)| *flag)
}

/// Returns the certificates of a file, or else those that this machine trusts.
fn trusted(file: Option<&Path>) -> Result<Trusted, WebhookError> {
    let Some(path) = file else {
        let trusted = Trusted::of_machine();
        return if trusted.is_empty() { Err(WebhookError::NoAuthorities) } else { Ok(trusted) };
    };
    Trusted::these(read_certificates("--ca-file", path)?)
        .map_err(|source| WebhookError::Authority { path: path.to_owned(), source })
}

fn with_client_certificate(
    config: ConfigBuilder<ClientConfig, WantsClientCert>,
    args: &WebhookArgs,
) -> Result<ClientConfig, WebhookError> {
    const CERTIFICATE: &str = "--client-cert";
    const KEY: &str = "--client-key";
    match (&args.client_cert, &args.client_key) {
        (None, None) => Ok(config.with_no_client_auth()),
        (Some(_), None) => Err(WebhookError::Alone { given: CERTIFICATE, missing: KEY }),
        (None, Some(_)) => Err(WebhookError::Alone { given: KEY, missing: CERTIFICATE }),
        (Some(certificate), Some(key)) => config
            .with_client_auth_cert(
                read_certificates(CERTIFICATE, certificate)?,
                read_key(KEY, key)?,
            )
            .map_err(|source| WebhookError::ClientCertificate {
                certificate: certificate.clone(),
                key: key.clone(),
                source,
            }),
    }
}

fn read_certificates(
    flag: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, WebhookError> {
    let text = read(flag, path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|source| WebhookError::Pem { flag, path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(WebhookError::Missing { flag, path: path.to_owned(), wanted: "CERTIFICATE" });
    }
    Ok(certificates)
}

fn read_key(flag: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, WebhookError> {
    let path_buf = path.to_owned();
    PrivateKeyDer::from_pem_slice(&read(flag, path)?).map_err(|error| match error {
        PemError::NoItemsFound => {
            WebhookError::Missing { flag, path: path_buf, wanted: "PRIVATE KEY" }
        }
        source => WebhookError::Pem { flag, path: path_buf, source },
    })
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, WebhookError> {
    fs::read(path).map_err(|source| WebhookError::Read { flag, path: path.to_owned(), source })
}
