//! Why a webhook is not to be used.

use std::io;

use edges::address::AddressError;
use edges::credentials::CredentialsError;
use edges::exit::Exit;
use runs::outcome::{Outcome, Want};

/// Why a webhook cannot be used. A failed request is not such an error: it is an [`Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("no webhook is named; name its address with --webhook or VECTOR_WEBHOOK_URL")]
    NoUrl,
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("{flag} is of use only with addresses that begin with https://")]
    NotTls { flag: &'static str },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("--header number {position} has no colon: write it like 'X-Cluster: east-1'")]
    HeaderForm { position: usize },
    #[error("--header {name:?} {fact}")]
    Header { name: String, fact: &'static str },
    #[error("the webhook {webhook} cannot be connected to from here: {}", want.name())]
    NotTried { webhook: String, want: Want, source: io::Error },
    #[error("the webhook {webhook} does not answer; is the pipeline up?")]
    Unreachable { webhook: String, source: io::Error },
    #[error(
        "the webhook {webhook} refuses TLS, or its certificate is not trusted; check --ca-file, \
         --client-cert"
    )]
    Handshake { webhook: String, source: io::Error },
    #[error("the webhook {webhook} has no HTTP/2; leave --http to auto")]
    NoHttp2 { webhook: String },
}

impl WebhookError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotTried { want: Want::Files | Want::Ports | Want::Memory, .. } => Exit::Machine,
            Self::NotTried { .. }
            | Self::Unreachable { .. }
            | Self::Handshake { .. }
            | Self::NoHttp2 { .. } => Exit::Unreachable,
            Self::NoUrl
            | Self::Address(_)
            | Self::NotTls { .. }
            | Self::Credentials(_)
            | Self::HeaderForm { .. }
            | Self::Header { .. } => Exit::Usage,
        }
    }

    /// What becomes of a request for which no connection could be had.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::NotTried { want, .. } => Outcome::NotTried(*want),
            Self::Credentials(CredentialsError::Read { source, .. }) => {
                Outcome::NotTried(Want::of(source).unwrap_or(Want::Token))
            }
            Self::Credentials(_) => Outcome::NotTried(Want::Token),
            Self::Unreachable { source, .. } | Self::Handshake { source, .. } => {
                Want::of(source).map_or(Outcome::NotConnected, Outcome::NotTried)
            }
            // All other errors are found before a run.
            _ => Outcome::NotConnected,
        }
    }
}
