//! What an error of a store means, in a few words. Pure.
//!
//! The errors of the library have whole answers of servers in them, and addresses of whatever it
//! asked for credentials. So nothing of them is shown but the status, the code and the first line
//! of the message.

use std::error::Error as _;
use std::iter::successors;

use object_store::Error;
use object_store::client::HttpError;

use crate::error::ArchiveError;
use crate::http::Unsent;

/// Puts an error of a store into our words.
pub(crate) fn fault(place: &str, error: &Error) -> ArchiveError {
    let place = place.to_owned();
    let text = error.to_string();
    let code = between(&text, "<Code>", "</Code>").unwrap_or_default();
    if code == "NoSuchBucket" || code == "ContainerNotFound" {
        return ArchiveError::NoBucket { place };
    }
    if METADATA_SERVERS.iter().any(|server| text.contains(server)) {
        return ArchiveError::Denied { place, fact: NO_CREDENTIALS.to_owned() };
    }
    let first: &(dyn std::error::Error + 'static) = error;
    let mut causes = successors(Some(first), |&error| error.source());
    if let Some(unanswered) = causes.find_map(|cause| cause.downcast_ref::<HttpError>()) {
        return match unanswered.source().and_then(|it| it.downcast_ref::<Unsent>()) {
            Some(unsent) => ArchiveError::Settings { place, fact: unsent.to_string() },
            None => ArchiveError::Unreachable { place, fact: last_of(unanswered) },
        };
    }
    let status = status(&text);
    let fact = fact(&text, status, code);
    match (error, status) {
        (Error::PermissionDenied { .. } | Error::Unauthenticated { .. }, _) => {
            ArchiveError::Denied { place, fact }
        }
        (_, Some(429 | 500..)) => ArchiveError::Unreachable { place, fact },
        _ if text.contains("redirect") => {
            let fact = "it points elsewhere: AWS_REGION is not that of the bucket".to_owned();
            ArchiveError::Settings { place, fact }
        }
        _ => ArchiveError::Refused { place, fact },
    }
}

fn fact(text: &str, status: Option<u16>, code: &str) -> String {
    let message = between(text, "<Message>", "</Message>").unwrap_or_default();
    let message = message.lines().next().unwrap_or_default().trim();
    let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    let status = status.map(|status| status.to_string()).unwrap_or_default();
    let said = [status.as_str(), code, &message];
    let said: Vec<&str> = said.into_iter().filter(|part| !part.is_empty()).collect();
    if said.is_empty() { "without a word of why".to_owned() } else { said.join(" ") }
}

/// The status in an error's text.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

fn between<'t>(text: &'t str, from: &str, to: &str) -> Option<&'t str> {
    Some(text.split_once(from)?.1.split_once(to)?.0)
}

fn last_of(error: &(dyn std::error::Error + 'static)) -> String {
    let last = successors(Some(error), |&error| error.source()).last();
    last.map(ToString::to_string).unwrap_or_default()
}

const MESSAGE_CHARS_MAX: usize = 200;

/// Whom the library asks for credentials if the environment has none.
const METADATA_SERVERS: [&str; 3] = ["169.254.", "metadata.google", "metadata/identity"];

const NO_CREDENTIALS: &str = "the environment has none, and this machine has no role: set \
    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_SERVICE_ACCOUNT, or \
    AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY";

#[cfg(test)]
mod tests {
    use edges::exit::Exit;
    use object_store::client::HttpErrorKind;

    use super::*;

    const PLACE: &str = "s3://bucket/runs/1";

    #[track_caller]
    fn check(error: &Error, expected: &str, exit: Exit) {
        let found = fault(PLACE, error);
        let text = found.to_string();
        assert!(text.starts_with(PLACE) && text.contains(expected), "{text}");
        assert!(!text.contains("SeCrEt"), "{text}");
        assert_eq!(found.exit(), exit, "{text}");
    }

    fn answer(status: &str, body: &str) -> Box<dyn std::error::Error + Send + Sync> {
        let text = "Error performing PUT http://h/bucket/x?sig=SeCrEt in 3ms - Server returned \
                    non-2xx status code: ";
        format!("{text}{status}: <Error>{body}<K>SeCrEt</K></Error>").into()
    }

    fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::Generic { store: "S3", source }
    }

    #[test]
    fn each_fault_of_a_store_has_its_own_words_and_exit_code() {
        let path = || "x".to_owned();
        let bucket = "<Code>NoSuchBucket</Code><Message>The bucket does not exist</Message>";
        let source = answer("404 Not Found", bucket);
        check(&Error::NotFound { path: path(), source }, "no bucket of this name", Exit::Usage);
        let denied = "<Code>AccessDenied</Code><Message>Access Denied\nSeCrEt</Message>";
        let source = answer("403 Forbidden", denied);
        let error = Error::PermissionDenied { path: path(), source };
        check(&error, "may not be used with these credentials: 403 AccessDenied", Exit::Usage);
        let slow = answer("503 Service Unavailable", "<Code>SlowDown</Code>");
        check(&generic(slow), "does not answer: 503 SlowDown", Exit::Unreachable);
        let full = answer("507 Insufficient Storage", "<Code>XMinioStorageFull</Code>");
        check(&generic(full), "507 XMinioStorageFull", Exit::Unreachable);
        let bad = answer("400 Bad Request", "<Code>InvalidArgument</Code>");
        check(&generic(bad), "does not accept this: 400 InvalidArgument", Exit::Usage);
        let bare = "Received redirect without LOCATION".into();
        check(&generic(bare), "AWS_REGION", Exit::Usage);
        let metadata = "Error performing PUT http://169.254.169.254/latest/api/token".into();
        check(&generic(metadata), "AWS_ACCESS_KEY_ID", Exit::Usage);
        let refused = HttpError::new_boxed(HttpErrorKind::Connect, "Connection refused".into());
        let error = generic(Box::new(refused));
        check(&error, "does not answer: Connection refused", Exit::Unreachable);
        let unsent = HttpError::new(HttpErrorKind::Unknown, Unsent::Insecure);
        check(&generic(Box::new(unsent)), "AWS_ALLOW_HTTP", Exit::Usage);
    }
}
