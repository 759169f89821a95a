//! Why a stream cannot be read.

use std::io;
use std::path::PathBuf;

use edges::address::AddressError;
use edges::exit::Exit;
use edges::secret::SecretError;

/// Any error of the NATS client.
pub type NatsError = Box<dyn std::error::Error + Send + Sync>;

/// Why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JetStreamError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("cannot use {}", path.display())]
    LoginFile { path: PathBuf, source: io::Error },
    #[error("NATS at {url} does not answer; is it up?")]
    Unreachable { url: String, source: NatsError },
    #[error("NATS at {url} refuses TLS, or its certificate is not trusted; check --nats-ca-file")]
    Tls { url: String, source: NatsError },
    #[error(
        "NATS at {url} does not let this user in; name one with --nats-user and NATS_PASSWORD, or \
         with --nats-creds"
    )]
    Denied { url: String, source: NatsError },
    #[error(
        "NATS does not let this user read the stream {stream}; the user needs the rights to \
         publish to $JS.API.> and to subscribe to _INBOX.>: {told}"
    )]
    Forbidden { stream: String, told: String },
    #[error("NATS has no stream {stream}; name another with --stream")]
    NoStream { stream: String, source: NatsError },
    #[error("cannot read the stream {stream}")]
    Read { stream: String, source: NatsError },
}

impl JetStreamError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Address(_)
            | Self::Secret(_)
            | Self::LoginFile { .. }
            | Self::Denied { .. }
            | Self::Forbidden { .. }
            | Self::NoStream { .. } => Exit::Usage,
            Self::Unreachable { .. } | Self::Tls { .. } | Self::Read { .. } => Exit::Unreachable,
        }
    }
}
