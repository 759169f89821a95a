//! The types of `audit.k8s.io/v1`, and their JSON as Go writes it.
//!
//! This is the reference implementation: plain owned types that `serde_json` writes under Go's
//! rules. Fields are in the order of the Go structs, empty optional fields are left out, `&`, `<`
//! and `>` are escaped, and times have six digits. [`crate::render`] writes the same bytes without
//! building any of these types.
//!
//! Source: `k8s.io/apiserver/pkg/apis/audit/v1/types.go`, `k8s.io/api/authentication/v1/types.go`,
//! `k8s.io/apimachinery/pkg/apis/meta/v1/types.go`.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;
use std::{fmt, io};

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::actor::Credential;
use crate::catalog::{Outcome, Resource, Subresource};
use crate::facts::{Facts, INTERNAL_CAUSE, INVALID_FIELD, PodSecurity};
use crate::objects::{Answer, answer, write_request, write_response};
use crate::policy::Level;
use crate::prose::told;
use crate::timeline::UnixMicros;
use crate::world::Scope;

/// One audit event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    /// "Event"; absent in the items of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// "audit.k8s.io/v1"; absent in the items of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    pub level: String,
    #[serde(rename = "auditID")]
    pub audit_id: Uuid,
    pub stage: String,
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    pub verb: String,
    pub user: UserInfo,
    #[serde(rename = "sourceIPs", default, skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<ObjectReference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_status: Option<Status>,
    /// The object that the client sent, as JSON of any form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_object: Option<Value>,
    /// The object that the server answered, as JSON of any form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_object: Option<Value>,
    pub request_received_timestamp: MicroTime,
    pub stage_timestamp: MicroTime,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The user, as the authenticator sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserInfo {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The object that the request is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectReference {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

/// The status of the answer, without the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    pub metadata: ListMeta,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<StatusDetails>,
    pub code: u16,
}

/// Always empty here. Go writes an empty struct even where it is declared `omitempty`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListMeta {}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusDetails {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusCause {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// A moment in µs since the Unix epoch, written with exactly six fractional digits, because Go's
/// decoder of audit events refuses any other number of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MicroTime(pub UnixMicros);

/// As in JSON; a time outside the years of a calendar as a number.
impl fmt::Display for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_micros(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true)),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for MicroTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = DateTime::from_timestamp_micros(self.0)
            .ok_or_else(|| serde::ser::Error::custom("a time outside the years of a calendar"))?;
        serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl<'de> Deserialize<'de> for MicroTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let has_six_digits = text.len() == 27 && text.as_bytes()[19] == b'.' && text.ends_with('Z');
        match DateTime::parse_from_rfc3339(&text) {
            Ok(time) if has_six_digits => Ok(Self(time.timestamp_micros())),
            _ => Err(serde::de::Error::custom(format!("{text:?} is no time with six digits"))),
        }
    }
}

impl Event {
    /// Makes an event from facts, as an item of a list: without `kind` and `apiVersion`.
    pub fn of(facts: &Facts<'_>) -> Self {
        Self {
            kind: None,
            api_version: None,
            level: facts.level.as_str().to_owned(),
            audit_id: facts.audit_id,
            stage: "ResponseComplete".to_owned(),
            request_uri: told(|out| facts.uri(out)),
            verb: facts.verb.as_str().to_owned(),
            user: user_info(facts),
            source_ips: facts.sources.iter().flatten().copied().map(ip).collect(),
            user_agent: told(|out| facts.user_agent(out)),
            object_ref: object_reference(facts),
            response_status: Some(status(facts)),
            request_object: request_object(facts),
            response_object: response_object(facts),
            request_received_timestamp: MicroTime(facts.received),
            stage_timestamp: MicroTime(facts.completed),
            annotations: annotations(facts),
        }
    }

    /// Serializes the event as Go's JSON encoder does, without the line feed.
    ///
    /// # Errors
    ///
    /// Returns the error of `serde_json` if a time is outside the calendar.
    pub fn to_go_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = Vec::with_capacity(1_500);
        self.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, GoFormatter))?;
        Ok(bytes)
    }
}

/// Escapes the characters that Go's `encoding/json` escapes in addition to JSON's own rules.
struct GoFormatter;

impl serde_json::ser::Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let special = |c: char| matches!(c, '&' | '<' | '>' | '\u{2028}' | '\u{2029}');
        for piece in fragment.split_inclusive(special) {
            match piece.chars().last().filter(|&last| special(last)) {
                None => writer.write_all(piece.as_bytes())?,
                Some(last) => {
                    writer.write_all(&piece.as_bytes()[..piece.len() - last.len_utf8()])?;
                    write!(writer, "\\u{:04x}", u32::from(last))?;
                }
            }
        }
        Ok(())
    }
}

/// Only one place writes objects, [`crate::objects`]. Here its JSON is read; the event then writes
/// it again, which shows that it was in Go's form.
fn request_object(facts: &Facts<'_>) -> Option<Value> {
    let mut bytes = Vec::new();
    let is_there = facts.level >= Level::Request && write_request(facts, &mut bytes);
    is_there.then(|| serde_json::from_slice(&bytes).expect("objects are JSON"))
}

fn response_object(facts: &Facts<'_>) -> Option<Value> {
    let answer =
        if facts.level == Level::RequestResponse { answer(facts) } else { Answer::Nothing };
    match answer {
        Answer::Nothing => None,
        Answer::Object => {
            let mut bytes = Vec::new();
            write_response(facts, &mut bytes);
            Some(serde_json::from_slice(&bytes).expect("objects are JSON"))
        }
        Answer::Status => {
            let mut object = Map::new();
            object.insert("kind".to_owned(), "Status".into());
            object.insert("apiVersion".to_owned(), "v1".into());
            let status = serde_json::to_value(status(facts)).expect("it has string keys");
            object.extend(status.as_object().cloned().unwrap_or_default());
            Some(Value::Object(object))
        }
    }
}

fn user_info(facts: &Facts<'_>) -> UserInfo {
    let key = facts.actor.key(facts.tenant);
    let mut groups = Vec::new();
    facts.actor.groups(|pieces| groups.push(pieces.concat()));
    let mut extra = BTreeMap::new();
    if let Some(credential) = facts.actor.credential(key) {
        let id = match credential {
            Credential::Certificate(high, low) => format!("X509SHA256={high:032x}{low:032x}"),
            Credential::Token(id) => format!("JTI={}", Uuid::from_u128(id)),
        };
        extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![id]);
    }
    let scope = facts.tenant.scope;
    if scope != Scope::Global && facts.actor.came_through_platform() {
        let mut parent = |key: &str, value: &str| {
            extra.insert(format!("iam.miloapis.com/parent-{key}"), vec![value.to_owned()])
        };
        parent("api-group", scope.api_group());
        parent("name", &facts.tenant.scope_name);
        parent("type", scope.as_str());
    }
    UserInfo {
        username: told(|out| facts.actor.username(out)),
        uid: facts.actor.uid(key).map(Uuid::from_u128),
        groups,
        extra,
    }
}

fn object_reference(facts: &Facts<'_>) -> Option<ObjectReference> {
    let version = facts.refers_to_version();
    (facts.resource != Resource::None).then(|| ObjectReference {
        resource: facts.resource.plural().to_owned(),
        namespace: facts.namespace.unwrap_or_default().to_owned(),
        name: facts.name().to_owned(),
        uid: facts.refers_to_uid().then(|| Uuid::from_u128(facts.object_uid())),
        api_group: facts.resource.group().to_owned(),
        api_version: "v1".to_owned(),
        resource_version: if version { facts.version_before().to_string() } else { String::new() },
        subresource: facts.subresource.as_str().to_owned(),
    })
}

fn status(facts: &Facts<'_>) -> Status {
    let outcome = facts.outcome;
    let status = match outcome {
        Outcome::Created if facts.subresource == Subresource::Binding => "Success",
        Outcome::Ok | Outcome::Created | Outcome::Switched => "",
        Outcome::Deleted => "Success",
        _ => "Failure",
    };
    Status {
        metadata: ListMeta {},
        status: status.to_owned(),
        message: told(|out| facts.message(out)),
        reason: outcome.reason().unwrap_or_default().to_owned(),
        details: details(facts),
        code: outcome.code(),
    }
}

fn details(facts: &Facts<'_>) -> Option<StatusDetails> {
    let cause = |reason: &str, message: String, field: &str| StatusCause {
        reason: reason.to_owned(),
        message,
        field: field.to_owned(),
    };
    let named = StatusDetails {
        name: facts.details_name().to_owned(),
        group: facts.details_group().to_owned(),
        kind: facts.details_kind().to_owned(),
        ..StatusDetails::default()
    };
    match facts.outcome {
        Outcome::Ok
        | Outcome::Created
        | Outcome::Switched
        | Outcome::BadRequest
        | Outcome::Expired
        | Outcome::Unavailable => None,
        Outcome::Deleted => {
            Some(StatusDetails { uid: Some(Uuid::from_u128(facts.object_uid())), ..named })
        }
        Outcome::Invalid => {
            let message = told(|out| facts.invalid_cause(out));
            let causes = vec![cause("FieldValueInvalid", message, INVALID_FIELD)];
            Some(StatusDetails { causes, ..named })
        }
        Outcome::TooManyRequests => {
            Some(StatusDetails { retry_after_seconds: Some(1), ..StatusDetails::default() })
        }
        Outcome::InternalError => {
            let causes = vec![cause("", INTERNAL_CAUSE.to_owned(), "")];
            Some(StatusDetails { causes, ..StatusDetails::default() })
        }
        Outcome::Timeout => Some(StatusDetails::default()),
        _ => Some(named),
    }
}

fn annotations(facts: &Facts<'_>) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let mut add = |key: &str, value: String| annotations.insert(key.to_owned(), value);
    let forbidden = facts.outcome == Outcome::Forbidden;
    let decision = if forbidden { "forbid" } else { "allow" };
    add("authorization.k8s.io/decision", decision.to_owned());
    add("authorization.k8s.io/reason", told(|out| facts.authorization_reason(out)));
    if let Some(token) = facts.issued_token() {
        let id = format!("JTI={}", Uuid::from_u128(token));
        add("authentication.kubernetes.io/issued-credential-id", id);
    }
    if facts.is_deprecated() {
        add("k8s.io/deprecated", "true".to_owned());
    }
    add("platform.miloapis.com/scope.type", facts.tenant.scope.as_str().to_owned());
    if facts.tenant.scope != Scope::Global {
        add("platform.miloapis.com/scope.name", facts.tenant.scope_name.clone());
    }
    match facts.pod_security {
        PodSecurity::None => {}
        PodSecurity::Enforced => {
            add("pod-security.kubernetes.io/enforce-policy", "privileged:latest".to_owned());
        }
        PodSecurity::Violated => {
            add("pod-security.kubernetes.io/audit-violations", told(|out| facts.violation(out)));
        }
    }
    annotations
}

fn ip(bytes: [u8; 4]) -> String {
    Ipv4Addr::from(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_escapes_what_json_need_not() {
        let mut bytes = Vec::new();
        "a&b<c>\u{2028}\"é"
            .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, GoFormatter))
            .unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text, r#""a\u0026b\u003cc\u003e\u2028\"é""#);
    }

    #[test]
    fn times_have_exactly_six_digits() {
        let text = serde_json::to_string(&MicroTime(1_795_231_782_120_000)).unwrap();
        assert_eq!(text, r#""2026-11-21T03:29:42.120000Z""#);
        assert_eq!(serde_json::from_str::<MicroTime>(&text).unwrap().0, 1_795_231_782_120_000);
        assert!(serde_json::from_str::<MicroTime>(r#""2026-11-21T03:29:42.12Z""#).is_err());
    }
}
