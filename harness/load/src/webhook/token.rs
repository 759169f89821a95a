//! The bearer token, by which the server knows the client.

use std::env;
use std::path::{Path, PathBuf};

use hyper::header::HeaderValue;

use super::args::{TOKEN_VARIABLE, WebhookArgs};
use super::error::WebhookError;

/// Where the bearer token comes from. The token itself is never shown.
#[derive(Debug, Clone)]
pub(super) enum Token {
    /// A value that is marked as sensitive: its `Debug` does not show it.
    Fixed(HeaderValue),
    /// Read for every new connection, for tokens are rotated.
    File(PathBuf),
}

impl Token {
    /// Finds the token that the flags or the environment name, and makes sure that it can be used.
    /// The flag wins. An empty variable is none.
    ///
    /// # Errors
    ///
    /// Returns [`WebhookError`] if there is no token where it should be.
    pub(super) fn from_args(args: &WebhookArgs) -> Result<Option<Self>, WebhookError> {
        if let Some(path) = &args.token_file {
            from_file(path, std::fs::read_to_string(path))?;
            return Ok(Some(Self::File(path.clone())));
        }
        let wrong = |fact| WebhookError::TokenVariable { fact };
        match env::var(TOKEN_VARIABLE) {
            Ok(text) if !text.is_empty() => bearer(&text).map(Self::Fixed).map(Some).map_err(wrong),
            Ok(_) | Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => Err(wrong(NO_TOKEN)),
        }
    }

    /// Returns the value of an `Authorization` header.
    ///
    /// # Errors
    ///
    /// Returns [`WebhookError`] if the file no longer holds a token.
    pub(super) async fn authorization(&self) -> Result<HeaderValue, WebhookError> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::File(path) => from_file(path, tokio::fs::read_to_string(path).await),
        }
    }
}

fn from_file(path: &Path, text: std::io::Result<String>) -> Result<HeaderValue, WebhookError> {
    let text = text.map_err(|source| WebhookError::Read {
        flag: "--token-file",
        path: path.to_owned(),
        source,
    })?;
    bearer(&text).map_err(|fact| WebhookError::TokenFile { path: path.to_owned(), fact })
}

/// Returns the header's value for a token; white space around it is not part of it.
fn bearer(text: &str) -> Result<HeaderValue, &'static str> {
    let token = text.trim();
    if token.is_empty() {
        return Err("is empty: put a bearer token into it");
    }
    let mut value = match HeaderValue::try_from(format!("Bearer {token}")) {
        Ok(value) if !token.contains(char::is_whitespace) => value,
        _ => return Err(NO_TOKEN),
    };
    value.set_sensitive(true);
    Ok(value)
}

const NO_TOKEN: &str = "holds no token: a token is one word, without line breaks";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_is_not_shown() {
        let value = bearer(" abc.def\n").unwrap();
        assert_eq!(value, "Bearer abc.def");
        assert_eq!(format!("{:?}", Token::Fixed(value)), "Fixed(Sensitive)");
        for wrong in ["", " \n", "two words", "two\nlines"] {
            assert!(bearer(wrong).is_err(), "{wrong:?}");
        }
    }
}
