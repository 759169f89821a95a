//! Where events are posted to.

use hyper::Uri;
use hyper::header::HeaderValue;

use crate::error::GeneratorError;

/// A webhook over plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host and port to connect to.
    pub authority: String,
    pub host: HeaderValue,
    /// Path and query, with the timeout that API servers add to it.
    pub uri: Uri,
}

impl Target {
    /// Reads a webhook address like `http://127.0.0.1:8080/events`.
    ///
    /// # Errors
    ///
    /// Returns [`GeneratorError::Target`] with what is wrong.
    pub fn parse(url: &str, timeout_s: u64) -> Result<Self, GeneratorError> {
        let wrong = |fact| GeneratorError::Target { url: url.to_owned(), fact };
        let parsed: Uri = url.parse().map_err(|_| wrong("it is not a URL"))?;
        if parsed.scheme_str() != Some("http") {
            return Err(wrong("it must begin with http://"));
        }
        let authority = parsed.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it must not hold a user or password"));
        }
        let host =
            HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("its host is wrong"))?;
        let query = parsed.query().map(|query| format!("{query}&")).unwrap_or_default();
        let uri = format!("{}?{query}timeout={timeout_s}s", parsed.path())
            .parse()
            .map_err(|_| wrong("its path is wrong"))?;
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self { authority: format!("{}:{port}", authority.host()), host, uri })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_posted_to_as_api_servers_do() {
        let target = Target::parse("http://vector:8080/events", 30).unwrap();
        assert_eq!(target.authority, "vector:8080");
        assert_eq!(target.uri, "/events?timeout=30s");
        assert_eq!(Target::parse("http://vector", 5).unwrap().authority, "vector:80");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in ["", "vector:8080", "https://vector/events", "http://me:secret@vector/"] {
            assert!(Target::parse(url, 30).is_err(), "{url}");
        }
    }
}
