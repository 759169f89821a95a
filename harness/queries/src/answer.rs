//! What an answer of the API is: a page, or one clear cause why there is none. Pure.

use bytes::Bytes;
use edges::address::without_secrets;
use edges::secret::{ExposeSecret as _, SecretString};
use hyper::StatusCode;
use serde::Deserialize;

use crate::error::{AskError, words};
use crate::page::{Page, read_answer};

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<&'a str>,
    pub(crate) body: Bytes,
    /// What must not be shown, should the server repeat it.
    pub(crate) secret: Option<&'a SecretString>,
}

/// Reads an answer.
///
/// # Errors
///
/// Returns [`AskError`] if there is no page in it.
pub(crate) fn judge(answer: Answer<'_>) -> Result<Page, AskError> {
    let code = answer.status.as_u16();
    if answer.status.is_success() {
        return read_answer(answer.body).map_err(|error| hide(error, answer.secret));
    }
    let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(BODY_BYTES)]);
    let text = without(&text, answer.secret);
    if answer.status.is_redirection() {
        let to = answer.location.map_or_else(|| "nowhere".to_owned(), without_secrets);
        return Err(AskError::Redirected { code, to: words(&without(&to, answer.secret)) });
    }
    let (reason, message, field) = match serde_json::from_str::<Status>(&text) {
        Ok(Status { reason, message, details }) => {
            let causes = details.unwrap_or_default().causes;
            let field = causes.into_iter().find_map(|cause| cause.field);
            (words(&reason.unwrap_or_default()), words(&message.unwrap_or_default()), field)
        }
        Err(_) => (String::new(), words(&text), None),
    };
    let is_page = text.trim_start().starts_with('<');
    Err(match (code, field.as_deref()) {
        (401, _) => AskError::Expired { message },
        _ if is_page => AskError::WebPage { code, said: message },
        (403, _) => AskError::Forbidden { message },
        (422, Some("spec.filter")) => AskError::Filter { message },
        (422, Some("spec.continue")) => AskError::Cursor { message },
        _ => AskError::Status { code, reason, message },
    })
}

/// The failure that Kubernetes answers. Source: `k8s.io/apimachinery/pkg/apis/meta/v1`, `Status`.
#[derive(Debug, Deserialize)]
struct Status {
    reason: Option<String>,
    message: Option<String>,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Debug, Deserialize)]
struct Cause {
    field: Option<String>,
}

/// A body that is longer is not looked at in full.
const BODY_BYTES: usize = 64 << 10;

/// Leaves a secret out of a text.
fn without(text: &str, secret: Option<&SecretString>) -> String {
    let Some(secret) = secret else { return text.to_owned() };
    let secret = secret.expose_secret();
    let token = secret.strip_prefix("Bearer ").unwrap_or(secret);
    text.replace(token, "…")
}

fn hide(error: AskError, secret: Option<&SecretString>) -> AskError {
    match error {
        AskError::Failure { message } => AskError::Failure { message: without(&message, secret) },
        AskError::Form { fact } => AskError::Form { fact: without(&fact, secret) },
        AskError::WebPage { code, said } => {
            AskError::WebPage { code, said: without(&said, secret) }
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_one_clear_cause_and_shows_no_secret() {
        let secret = SecretString::from("Bearer hidden-token");
        let check = |code: u16, body: &str, location: Option<&str>, kind: &str, part: &str| {
            let status = StatusCode::from_u16(code).unwrap();
            let body = Bytes::copy_from_slice(body.as_bytes());
            let answer = Answer { status, location, body, secret: Some(&secret) };
            let error = judge(answer).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            let told = error.to_string();
            assert!(told.contains(part), "{told}");
            assert!(!told.contains("hidden-token") && !told.contains(['\u{1b}', '<']), "{told}");
        };
        let status = |code: u16, field: &str| {
            format!(
                r#"{{"kind":"Status","status":"Failure","message":"no hidden-token\u001b[2J",
                "reason":"Invalid","details":{{"causes":[{{"field":"{field}"}}]}},"code":{code}}}"#
            )
        };
        check(422, &status(422, "spec.filter"), None, "filter", "no …");
        check(422, &status(422, "spec.continue"), None, "cursor", "no …");
        check(422, &status(422, "spec.limit"), None, "status", "422 (Invalid): no …");
        check(401, &status(401, ""), None, "expired", "token may have expired");
        check(401, "<html>hidden-token</html>", None, "expired", "");
        check(403, &status(403, ""), None, "forbidden", "(403)");
        check(503, "", None, "status", "503");
        check(503, r#"{"reason":7}"#, None, "status", "503");
        check(502, "<html><h1>Bad Gateway</h1>hidden-token</html>", None, "web_page", "Bad Gate");
        let to = Some("https://me:hidden-token@login.example/?t=hidden-token\u{1b}[2J");
        check(302, "", to, "redirected", "https://login.example/");
        check(200, "<html><h1>Log in hidden-token</h1></html>", None, "web_page", "Log in …");
        check(200, r#"{"status":"Failure","message":"hidden-token"}"#, None, "failure", "…");
        check(200, r#"{"status":"#, None, "cut", "");
    }
}
