//! Who asks NATS, and what it says to those whom it does not let in.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError,
};
use clap::Args;
use percent_encoding::percent_decode_str;

use super::{ANSWER_TIMEOUT, JetStreamError};

/// Flags that say who asks NATS. What they leave open may stand in the address.
#[derive(Debug, Clone, Default, Args)]
pub struct NatsLogin {
    /// NATS user.
    #[arg(id = "nats_user", long = "nats-user", env = "NATS_USER", value_name = "USER")]
    #[arg(hide_env_values = true)]
    user: Option<String>,
    /// NATS password; the environment keeps it out of process lists.
    #[arg(
        id = "nats_password",
        long = "nats-password",
        env = "NATS_PASSWORD",
        hide_env_values = true
    )]
    #[arg(value_name = "PASSWORD", requires = "nats_user")]
    password: Option<String>,
    /// File with a NATS user's credentials, a JWT and its key, as `nsc` writes it.
    #[arg(id = "nats_creds", long = "nats-creds", env = "NATS_CREDS", value_name = "FILE")]
    #[arg(conflicts_with = "nats_user", hide_env_values = true)]
    creds: Option<PathBuf>,
    /// Certificates that NATS's is signed by, as PEM [default: those that the machine trusts].
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

    /// Remembers what a server says; a request that is forbidden gets no answer but this.
    fn hear(&self, event: &Event) {
        if let Event::ServerError(ServerError::Other(text)) = event
            && text.to_lowercase().contains("permissions violation")
        {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
        }
    }
}

/// Connects to one of some servers, with commas between their addresses.
pub(super) async fn connect(
    urls: &str,
    login: &NatsLogin,
) -> Result<(Client, Complaint), JetStreamError> {
    let shown = || shown(urls);
    let addresses: Vec<ServerAddr> = urls
        .split(',')
        .map(str::parse)
        .collect::<io::Result<_>>()
        .map_err(|source| JetStreamError::Address { url: shown(), source })?;
    let complaint = Complaint::default();
    let hears = complaint.clone();
    let options = login
        .options(&addresses)?
        .connection_timeout(ANSWER_TIMEOUT)
        .request_timeout(Some(ANSWER_TIMEOUT))
        .event_callback(move |event| {
            hears.hear(&event);
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

/// A handshake that fails is told as a failure to read or write.
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
                let password = self.password.clone().unwrap_or_default();
                ConnectOptions::with_user_and_password(user.clone(), password)
            }
            (None, None) => of_addresses(addresses),
        };
        Ok(match &self.ca_file {
            Some(path) => {
                read(path)?;
                options.add_root_certificates(path.clone())
            }
            None => options,
        })
    }
}

/// Takes the user from the first address that has one; what stands there alone is a token.
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

fn read(path: &Path) -> Result<String, JetStreamError> {
    let unread = |source| JetStreamError::LoginFile { path: path.to_owned(), source };
    std::fs::read_to_string(path).map_err(unread)
}

/// Returns addresses without users and passwords.
fn shown(urls: &str) -> String {
    let one = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.to_owned(),
    };
    urls.split(',').map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_an_address_holds_no_secret() {
        let check = |url, expected| assert_eq!(shown(url), expected, "{url}");
        check("nats://127.0.0.1:4222", "nats://127.0.0.1:4222");
        check("nats://me:secret@host:4222", "nats://host:4222");
        check("secret@host", "host");
        check("nats://a:b@one:1,nats://a:b@two:2", "nats://one:1,nats://two:2");
    }
}
