//! The account at NATS, and what the server says to an account that it refuses.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError,
};
use clap::Args;
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tracing::{debug, info};

use super::error::JetStreamError;
use edges::address::{Address, AddressError, NATS, without_secrets};
use edges::plain::plain;
use edges::secret::{self, ExposeSecret as _, SecretString};
use edges::trust::{Trusted, trusting};

/// How long NATS may take to answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Flags that name the account in NATS. Without them, the address may contain it.
#[derive(Debug, Clone, Default, Args)]
pub struct NatsLogin {
    /// NATS user.
    #[arg(id = "nats_user", long = "nats-user", env = "NATS_USER", value_name = "USER")]
    #[arg(hide_env_values = true)]
    user: Option<String>,
    /// Password of the NATS user. Other users of this machine can see it, so better use
    /// `--nats-password-file` or the environment variable `NATS_PASSWORD`.
    #[arg(id = "nats_password", long = "nats-password", value_name = "PASSWORD")]
    #[arg(requires = "nats_user")]
    password: Option<SecretString>,
    /// File with the password of the NATS user.
    #[arg(id = "nats_password_file", long = "nats-password-file", value_name = "FILE")]
    #[arg(requires = "nats_user", conflicts_with = "nats_password")]
    password_file: Option<PathBuf>,
    /// File with credentials of a NATS user (a JWT and its key), as `nsc` writes it.
    #[arg(id = "nats_creds", long = "nats-creds", env = "NATS_CREDS", value_name = "FILE")]
    #[arg(conflicts_with = "nats_user", hide_env_values = true)]
    creds: Option<PathBuf>,
    /// File with certificates (PEM) that NATS's certificate is signed by [default: those that this
    /// machine trusts].
    #[arg(id = "nats_ca_file", long = "nats-ca-file", env = "NATS_CA", value_name = "FILE")]
    #[arg(hide_env_values = true)]
    ca_file: Option<PathBuf>,
}

/// The last thing that the server forbade, if it forbade anything.
#[derive(Debug, Clone, Default)]
pub(super) struct Complaint(Arc<Mutex<Option<String>>>);

impl Complaint {
    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers an error of the server. A request that is forbidden gets no other answer.
    fn hear(&self, event: &Event) {
        if let Event::ServerError(ServerError::Other(text)) = event
            && text.to_lowercase().contains("permissions violation")
        {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
        }
    }
}

/// Connects to one of several servers. Their addresses are separated by commas.
pub(super) async fn connect(
    urls: &str,
    login: &NatsLogin,
) -> Result<(Client, Complaint), JetStreamError> {
    let shown = || urls.split(',').map(without_secrets).collect::<Vec<_>>().join(",");
    let addresses: Vec<ServerAddr> =
        urls.split(',').map(read_address).collect::<Result<_, AddressError>>()?;
    let complaint = Complaint::default();
    let (hears, server) = (complaint.clone(), shown());
    let options = login
        .options(&addresses)?
        .connection_timeout(ANSWER_TIMEOUT)
        .request_timeout(Some(ANSWER_TIMEOUT))
        .event_callback(move |event| {
            hears.hear(&event);
            log(&server, &event);
            async {}
        });
    let client = options.connect(addresses).await.map_err(|error| {
        let (url, kind) = (shown(), error.kind());
        match kind {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                JetStreamError::Denied { url, source: error.into() }
            }
            _ if is_of_tls(&error) => JetStreamError::Tls { url, source: error.into() },
            _ => JetStreamError::Unreachable { url, source: error.into() },
        }
    })?;
    Ok((client, complaint))
}

/// Logs what becomes of a connection.
fn log(server: &str, event: &Event) {
    match event {
        Event::Connected | Event::Disconnected | Event::LameDuckMode | Event::ServerError(_) => {
            info!(server, event = plain(&event.to_string()), "NATS");
        }
        _ => debug!(server, event = plain(&event.to_string()), "NATS"),
    }
}

/// Whether an error is of TLS. A handshake that fails is reported as a failure to read or write.
fn is_of_tls(error: &ConnectError) -> bool {
    let causes = successors(error.source(), |&cause| cause.source());
    let of_tls = |cause: &(dyn Error + 'static)| match cause
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(inner) => inner.is::<rustls::Error>(),
        None => cause.is::<rustls::Error>(),
    };
    error.kind() == ConnectErrorKind::Tls || causes.into_iter().any(of_tls)
}

impl NatsLogin {
    fn options(&self, addresses: &[ServerAddr]) -> Result<ConnectOptions, JetStreamError> {
        let options = match (&self.creds, &self.user) {
            (Some(path), _) => {
                let text = read(path)?;
                let unread = |source| JetStreamError::LoginFile { path: path.clone(), source };
                ConnectOptions::with_credentials(&text).map_err(unread)?
            }
            (None, Some(user)) => {
                let (flag, file) = (self.password.as_ref(), self.password_file.as_deref());
                let password = secret::password(flag, file, "NATS_PASSWORD")?.unwrap_or_default();
                let password = password.expose_secret().to_owned();
                ConnectOptions::with_user_and_password(user.clone(), password)
            }
            (None, None) => of_addresses(addresses),
        };
        Ok(match &self.ca_file {
            Some(path) => options.tls_client_config(trusting_file(path)?),
            None => options,
        })
    }
}

/// Takes the user from the first address that has one. A user without a password is a token.
///
/// Source: <https://docs.nats.io/using-nats/developer/connecting/userpass>.
fn of_addresses(addresses: &[ServerAddr]) -> ConnectOptions {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let named = addresses.iter().find_map(|it| Some((it.username()?, it.password())));
    match named {
        None => ConnectOptions::new(),
        Some((token, None)) => ConnectOptions::with_token(decoded(token)),
        Some((user, Some(password))) => {
            ConnectOptions::with_user_and_password(decoded(user), decoded(password))
        }
    }
}

/// Trusts only the certificates of a file.
fn trusting_file(path: &Path) -> Result<ClientConfig, JetStreamError> {
    let wrong = |source| JetStreamError::LoginFile { path: path.to_owned(), source };
    let text = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    if certificates.is_empty() {
        let fact = "it has no certificate in it";
        return Err(wrong(io::Error::new(io::ErrorKind::InvalidData, fact)));
    }
    let trusted = Trusted::these(certificates)
        .map_err(|error| wrong(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Ok(trusting(trusted).with_no_client_auth())
}

fn read(path: &Path) -> Result<String, JetStreamError> {
    let unread = |source| JetStreamError::LoginFile { path: path.to_owned(), source };
    std::fs::read_to_string(path).map_err(unread)
}

/// Reads one address with our strict rules, and converts it for the client.
fn read_address(text: &str) -> Result<ServerAddr, AddressError> {
    Address::read(text, &NATS)?;
    text.parse().map_err(|_| NATS.error(text, "its user or password is not written as it must be"))
}

/// Reads a domain, which is one word of a subject.
pub(super) fn read_domain(text: &str) -> Result<String, String> {
    let ends_word = |c: char| c.is_whitespace() || c.is_control() || ".*>$".contains(c);
    if text.is_empty() || text.contains(ends_word) {
        return Err("a domain is one word, without dots, * and >".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_are_written() {
        let check = |text, host, port| {
            let address = read_address(text).unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
        };
        check("nats://me:secret@10.0.0.1:4223", "10.0.0.1", 4223);
        check("token@host", "host", 4222);
        check("tls://[::1]", "::1", 4222);
        for text in ["nats://host:99999", "nats://me:secret@host:0", "http://host", "nats://127.1"]
        {
            let error = read_address(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
