//! The webhook, as all programs reach it: addresses, TLS, tokens, and connections to post over.
//!
//! Connections are not pooled: each belongs to its caller, carries one request at a time, and is
//! one connection of the operating system. What speaks on it is Go's `net/http`, as closely as a
//! server can tell: HTTP/1.1 with `http://`, HTTP/2 with `https://` if the server agrees.

mod args;
mod connection;
mod encoding;
mod error;
mod header;
mod target;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use hyper::header::CONTENT_ENCODING;

pub use args::{HeaderText, HttpVersion, WebhookArgs};
pub use connection::Connection;
pub use encoding::{Encoder, Encoding};
pub use error::WebhookError;

use args::TOKEN_VARIABLE;
use edges::clock::Clock;
use edges::credentials::Token;
use target::{Options, Target};
use tls::Tls;

const TOKEN_FLAG: &str = "--token-file";

/// All addresses of a webhook, ready to be connected to.
#[derive(Debug, Clone)]
pub struct Webhook {
    targets: Vec<Arc<Target>>,
    encoding: Encoding,
}

impl Webhook {
    /// Reads addresses, files and headers. Each request tells the server `timeout`, in whole
    /// seconds, as the time that it is willing to wait.
    ///
    /// # Errors
    ///
    /// Returns [`WebhookError`] with the flag that is wrong.
    pub fn from_args(args: &WebhookArgs, timeout: Duration) -> Result<Self, WebhookError> {
        if args.urls.is_empty() {
            return Err(WebhookError::NoUrl);
        }
        let mut headers = header::parse_all(&args.headers)?;
        if let Some(encoding) = args.encoding.content_encoding() {
            headers.insert(CONTENT_ENCODING, encoding);
        }
        let options = Options {
            timeout,
            http: args.http,
            headers,
            tls: Tls::from_args(args)?,
            token: Token::find((TOKEN_FLAG, args.token_file.as_deref()), TOKEN_VARIABLE)?,
            lifetime: args.lifetime,
        };
        let target = |url: &String| Target::parse(url, &options).map(Arc::new);
        let targets = args.urls.iter().map(target).collect::<Result<_, _>>()?;
        Ok(Self { targets, encoding: args.encoding })
    }

    /// Makes sure that every address can be connected to, its TLS handshake included.
    ///
    /// # Errors
    ///
    /// Returns [`WebhookError`] with the first address that cannot.
    pub async fn reach(&self) -> Result<(), WebhookError> {
        try_join_all(self.targets.iter().map(|target| target.reach())).await.map(drop)
    }

    /// Returns a connection, to be opened when it is needed. Connections are assigned to the
    /// addresses in turn. A connection never changes its address, so that a dead address is
    /// noticed.
    pub fn connection(&self, index: usize, clock: Clock) -> Connection {
        Connection::new(Arc::clone(&self.targets[index % self.targets.len()]), clock)
    }

    /// Returns how many addresses it has.
    pub fn addresses(&self) -> usize {
        self.targets.len()
    }

    /// Returns what bodies must go through before they are posted; none, if they go as they are.
    pub fn encoder(&self) -> Option<Encoder> {
        Encoder::new(self.encoding)
    }
}
