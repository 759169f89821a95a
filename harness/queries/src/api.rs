//! The query API as a door: `POST …/auditlogqueries` over HTTP.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Flags that name the query API, and say who asks.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Query API")]
pub struct ApiArgs {
    /// Address of the query API, like `https://activity.example`.
    #[arg(id = "query_api", long, env = "QUERY_API_URL", value_name = "URL")]
    #[arg(hide_env_values = true)]
    pub url: Option<String>,
    /// How the server is told whose events are asked for.
    #[arg(id = "query_as", long, value_enum, value_name = "WAY", default_value_t = Identity::FrontProxy)]
    pub identity: Identity,
    /// The user that asks.
    #[arg(id = "query_user", long, value_name = "NAME", default_value = "auditstorm")]
    pub user: String,
    /// File with a bearer token, which is read for every request. `QUERY_API_TOKEN` can hold the
    /// token instead.
    #[arg(id = "query_token_file", long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// File with certificates (PEM) to trust instead of this machine's.
    #[arg(id = "query_ca_file", long, value_name = "PEM")]
    pub ca_file: Option<PathBuf>,
    /// File with a certificate (PEM) to show to the server.
    #[arg(id = "query_client_cert", long, value_name = "PEM")]
    pub client_cert: Option<PathBuf>,
    /// File with the private key (PEM) of that certificate.
    #[arg(id = "query_client_key", long, value_name = "PEM")]
    pub client_key: Option<PathBuf>,
}

/// How the server is told who asks, and for which scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Identity {
    /// With the headers of a front proxy, as kube-apiserver sends them: `X-Remote-User` and
    /// `X-Remote-Extra-…`.
    FrontProxy,
    /// With the headers of an impersonating user: `Impersonate-User` and `Impersonate-Extra-…`.
    Impersonation,
    /// With token or certificate alone: only the platform's scope can be asked for.
    Own,
}

/// The query API.
#[derive(Debug, Clone)]
pub struct Api {
    place: String,
    limit: Duration,
}
