//! Headers that a person adds to every request.

use hyper::HeaderMap;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT,
    HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};

use super::args::HeaderText;
use super::error::WebhookError;

/// Reads all headers of a command line.
///
/// # Errors
///
/// Returns [`WebhookError`] for the first that is none, or that the client sets itself.
pub(super) fn parse_all(texts: &[HeaderText]) -> Result<HeaderMap, WebhookError> {
    let mut headers = HeaderMap::new();
    for (index, text) in texts.iter().enumerate() {
        let (name, value) = text
            .as_str()
            .split_once(':')
            .ok_or(WebhookError::HeaderForm { position: index + 1 })?;
        let (name, value) = parse(name.trim(), value.trim())
            .map_err(|fact| WebhookError::Header { name: name.trim().to_owned(), fact })?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn parse(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is no name of a header")?;
    if name == AUTHORIZATION {
        return Err("comes from --token-file or the environment variable WEBHOOK_TOKEN");
    }
    if OURS.contains(&name) || OURS_UNNAMED.contains(&name.as_str()) {
        return Err("is set by the client itself: leave it out");
    }
    let mut value =
        HeaderValue::from_str(value).map_err(|_| "has a value that no header can have")?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Headers that describe the body or the connection, or that an API server always sends.
const OURS: [HeaderName; 12] = [
    ACCEPT,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    USER_AGENT,
];

/// The same, for headers that the library has no constant for.
const OURS_UNNAMED: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, &str), &str>) {
        let texts = [HeaderText::from(text.to_owned())];
        let headers = parse_all(&texts).map_err(|error| error.to_string());
        match expected {
            Ok((name, value)) => assert_eq!(headers.unwrap()[name], value),
            Err(fact) => assert!(headers.as_ref().unwrap_err().contains(fact), "{headers:?}"),
        }
    }

    #[test]
    fn headers_are_a_name_a_colon_and_a_value() {
        check("X-Scope-OrgID: tenant-1", Ok(("x-scope-orgid", "tenant-1")));
        check("x:", Ok(("x", "")));
        check("a: b: c", Ok(("a", "b: c")));
        check("no colon", Err("number 1 has no colon"));
        check("two words: x", Err("is no name"));
        check("x: a\nb", Err("no header can have"));
    }

    #[test]
    fn headers_of_the_client_are_refused() {
        check("authorization: Bearer x", Err("--token-file"));
        for name in ["Host", "Content-Length", "CONTENT-TYPE", "User-Agent", "Keep-Alive"] {
            check(&format!("{name}: x"), Err("is set by the client itself"));
        }
    }

    #[test]
    fn values_are_not_shown() {
        let texts = [HeaderText::from("x-api-key: secret".to_owned())];
        let shown = format!("{texts:?} {:?}", parse_all(&texts).unwrap());
        assert!(shown.contains("x-api-key") && !shown.contains("secret"), "{shown}");
        let wrong = [HeaderText::from("authorization: secret".to_owned())];
        assert!(!format!("{:?}", parse_all(&wrong)).contains("secret"));
    }
}
