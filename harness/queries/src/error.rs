//! Why a question has no answer: one clear cause each. Nothing here holds a secret, and what a
//! server said is fit for a terminal.

use std::time::Duration;

use edges::plain::{plain, said};

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("no connection: {fact}")]
    Connection { fact: String },
    #[error("no answer within {} ms", limit.as_millis())]
    Timeout { limit: Duration },
    #[error("the answer broke off: {fact}")]
    Cut { fact: String },
    /// 401.
    #[error("the server does not know who asks (401): the token may have expired; {message}")]
    Expired { message: String },
    /// 403.
    #[error("the server does not let this be asked (403): {message}")]
    Forbidden { message: String },
    /// 422 at `spec.filter`.
    #[error("the server refuses the filter: {message}")]
    Filter { message: String },
    /// 422 at `spec.continue`.
    #[error("the server refuses its own cursor: {message}")]
    Cursor { message: String },
    /// Any other status that is no success.
    #[error("status {code}{}: {message}", in_brackets(reason))]
    Status { code: u16, reason: String, message: String },
    #[error("the server redirects (status {code}) to {to}: name that address")]
    Redirected { code: u16, to: String },
    /// A page of HTML, which no API answers: of a proxy, or to log in.
    #[error("status {code}, and {said}")]
    WebPage { code: u16, said: String },
    /// A success by its status, and a failure by its body.
    #[error("status 2xx with a failure in the body: {message}")]
    Failure { message: String },
    /// A success by its status, and not what an answer looks like.
    #[error("an answer of another form: {fact}")]
    Form { fact: String },
    #[error("an answer of more than {limit} bytes")]
    TooLong { limit: u64 },
    /// The table could not be asked.
    #[error("the table does not answer: {fact}")]
    Table { fact: String },
}

impl AskError {
    /// The same word for all errors of one kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connection { .. } => "connection",
            Self::Timeout { .. } => "timeout",
            Self::Cut { .. } => "cut",
            Self::Expired { .. } => "expired",
            Self::Forbidden { .. } => "forbidden",
            Self::Filter { .. } => "filter",
            Self::Cursor { .. } => "cursor",
            Self::Status { .. } => "status",
            Self::Redirected { .. } => "redirected",
            Self::WebPage { .. } => "web_page",
            Self::Failure { .. } => "failure",
            Self::Form { .. } => "form",
            Self::TooLong { .. } => "too_long",
            Self::Table { .. } => "table",
        }
    }

    /// The word under which it is counted: its status, or its kind.
    pub fn cause(&self) -> String {
        match self {
            Self::Status { code, .. } => code.to_string(),
            _ => self.kind().to_owned(),
        }
    }

    /// Whether the same question may be answered if it is asked again.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connection { .. }
            | Self::Timeout { .. }
            | Self::Cut { .. }
            | Self::Failure { .. }
            | Self::Table { .. } => true,
            Self::Status { code, .. } | Self::WebPage { code, .. } => *code == 429 || *code >= 500,
            Self::Expired { .. }
            | Self::Forbidden { .. }
            | Self::Filter { .. }
            | Self::Cursor { .. }
            | Self::Redirected { .. }
            | Self::Form { .. }
            | Self::TooLong { .. } => false,
        }
    }
}

/// What a server said, on one line and not too long.
pub(crate) fn words(text: &str) -> String {
    let text = plain(&said(text));
    match text.char_indices().nth(WORDS_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

const WORDS_CHARS_MAX: usize = 300;

fn in_brackets(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}
