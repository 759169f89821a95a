//! Errors as Kubernetes tells them: a `Status` with code, reason and causes.

use serde::Serialize;

use super::go_json::quoted;

/// The group of the resources.
pub(super) const GROUP: &str = "activity.miloapis.com";

/// An answer that is no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    #[serde(rename = "status")]
    outcome: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Box<Details>>,
    pub(super) code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Empty {}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<CauseForm>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct CauseForm {
    reason: &'static str,
    message: String,
    field: &'static str,
}

/// One mistake in one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    reason: &'static str,
    message: String,
    field: &'static str,
}

impl Cause {
    /// The field is not there.
    pub(super) fn required(field: &'static str, text: &str) -> Self {
        let message = format!("Required value: {text}");
        Self { reason: "FieldValueRequired", message, field }
    }

    /// The field has a string that is wrong.
    pub(super) fn invalid(field: &'static str, value: &str, text: &str) -> Self {
        let message = format!("Invalid value: {}: {text}", quoted(value));
        Self { reason: "FieldValueInvalid", message, field }
    }

    /// The field has a number that is wrong.
    pub(super) fn invalid_number(field: &'static str, value: i32, text: &str) -> Self {
        let message = format!("Invalid value: {value}: {text}");
        Self { reason: "FieldValueInvalid", message, field }
    }
}

impl Status {
    fn new(code: u16, reason: &'static str, message: String) -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            outcome: "Failure",
            message,
            reason,
            details: None,
            code,
        }
    }

    /// The object was understood, and fields of it are wrong.
    pub(super) fn invalid(kind: &'static str, name: &str, causes: Vec<Cause>) -> Self {
        let lines: Vec<String> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let lines =
            if let [line] = &lines[..] { line.clone() } else { format!("[{}]", lines.join(", ")) };
        let message = format!("{kind}.{GROUP} {} is invalid: {lines}", quoted(name));
        let form = |cause| {
            let Cause { reason, message, field } = cause;
            CauseForm { reason, message, field }
        };
        let causes = causes.into_iter().map(form).collect();
        let details = Details { name: name.to_owned(), group: GROUP, kind, causes };
        Self { details: Some(Box::new(details)), ..Self::new(422, "Invalid", message) }
    }

    /// The body is not what the path takes.
    pub(super) fn bad_request(message: String) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The store did not answer, or the filter cannot be translated: the real server does not say.
    pub(super) fn unavailable(action: &str) -> Self {
        let message =
            format!("Failed to {action}. Please try again later or contact support for help.");
        Self::new(503, "ServiceUnavailable", message)
    }

    /// Nobody says who asks.
    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized".to_owned())
    }

    /// A scope that this server does not know: the real one shows everything then.
    pub(super) fn forbidden(resource: &'static str, user: &str) -> Self {
        let message = format!(
            "{resource}.{GROUP} is forbidden: User {} cannot create resource {} in API group {} \
             at the cluster scope: the scope headers name no known scope",
            quoted(user),
            quoted(resource),
            quoted(GROUP)
        );
        let details = Details { group: GROUP, kind: resource, ..Details::default() };
        Self { details: Some(Box::new(details)), ..Self::new(403, "Forbidden", message) }
    }

    /// There is nothing at the path.
    pub(super) fn not_found() -> Self {
        let message = "the server could not find the requested resource".to_owned();
        let details = Some(Box::default());
        Self { details, ..Self::new(404, "NotFound", message) }
    }

    /// The path takes another method.
    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource".to_owned();
        let details = Some(Box::default());
        Self { details, ..Self::new(405, "MethodNotAllowed", message) }
    }

    /// No answer of a type that the client accepts can be made.
    pub(super) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json".to_owned();
        Self::new(406, "NotAcceptable", message)
    }

    /// The body is of a type that cannot be read.
    pub(super) fn unsupported_media_type() -> Self {
        let message = "the body of the request was in an unknown format - \
            accepted media types include: application/json"
            .to_owned();
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// An ordered fault, with a code that was asked for, while something was to be done.
    pub(super) fn ordered(code: u16, action: &str) -> Self {
        let (reason, message) = match code {
            503 => return Self::unavailable(action),
            429 => ("TooManyRequests", "Too many requests, please try again later."),
            500 => ("InternalError", "Internal error occurred: ordered by --fault"),
            504 => ("Timeout", "Timeout: request did not complete within the allotted timeout"),
            _ => ("", "ordered by --fault"),
        };
        Self::new(code, reason, message.to_owned())
    }
}
