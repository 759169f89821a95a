//! The flags for the address of the webhook, and for how to talk to it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::encoding::Encoding;
use edges::address::without_secrets;
use plans::quantity::parse_wait;

/// Flags for the address of the webhook, and for how to talk to it.
///
/// A token comes from a file or from the environment. It is never a flag, because other users of
/// the machine can see flags.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Webhook")]
pub struct WebhookArgs {
    /// Address of the webhook. Can be given several times; connections are spread over all
    /// addresses.
    #[arg(
        long = "webhook",
        env = "VECTOR_WEBHOOK_URL",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ','
    )]
    pub urls: Vec<String>,
    /// HTTP version. With `auto`, http:// uses 1.1, and https:// uses 2 if the server has it, else
    /// 1.1.
    #[arg(long, value_name = "VERSION", default_value = "auto")]
    pub http: HttpVersion,
    /// File with certificates (PEM) to trust instead of this machine's.
    #[arg(long, value_name = "PEM")]
    pub ca_file: Option<PathBuf>,
    /// File with a certificate (PEM) to show to the server.
    #[arg(long, value_name = "PEM")]
    pub client_cert: Option<PathBuf>,
    /// File with the private key (PEM) of that certificate.
    #[arg(long, value_name = "PEM")]
    pub client_key: Option<PathBuf>,
    /// File with a bearer token. It is read for every new connection. `WEBHOOK_TOKEN` can hold the
    /// token instead.
    #[arg(
        long,
        value_name = "PATH",
        help = "File with a bearer token. It is read for every new connection \
                [env: WEBHOOK_TOKEN can hold the token instead]"
    )]
    pub token_file: Option<PathBuf>,
    /// Header to send with every request; can be given several times.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<HeaderText>,
    /// Compression of the bodies of requests.
    #[arg(long = "compress", value_name = "ENCODING", default_value = "none")]
    pub encoding: Encoding,
    /// Replaces each connection when it is this old, like 30s or 10m [default: never].
    #[arg(long = "connection-lifetime", value_name = "DURATION", value_parser = parse_lifetime)]
    pub lifetime: Option<Duration>,
}

impl WebhookArgs {
    /// Makes the flags for some addresses, with defaults for everything else.
    pub fn at(urls: Vec<String>) -> Self {
        Self {
            urls,
            http: HttpVersion::Auto,
            ca_file: None,
            client_cert: None,
            client_key: None,
            token_file: None,
            headers: Vec::new(),
            encoding: Encoding::None,
            lifetime: None,
        }
    }

    /// Returns the addresses for a record: comma-separated, without what may be secret in them.
    pub fn shown(&self) -> String {
        self.urls.iter().map(|url| without_secrets(url)).collect::<Vec<_>>().join(",")
    }
}

/// The environment variable that may hold a token.
pub(super) const TOKEN_VARIABLE: &str = "WEBHOOK_TOKEN";

/// A header as typed: `Name: value`. Its value may be a secret, so only its name is ever shown.
#[derive(Clone)]
pub struct HeaderText(String);

impl From<String> for HeaderText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl HeaderText {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.split_once(':').map_or("", |(name, _)| name);
        write!(f, "HeaderText({name}: …)")
    }
}

/// The version of HTTP to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HttpVersion {
    Auto,
    #[value(name = "1.1")]
    One,
    /// With http://, the server must support it without negotiation (RFC 9113, section 3.3).
    #[value(name = "2")]
    Two,
}

fn parse_lifetime(text: &str) -> Result<Duration, String> {
    parse_wait(text).map_err(|_| "write it like 500ms, 30s or 10m, above zero".to_owned())
}
