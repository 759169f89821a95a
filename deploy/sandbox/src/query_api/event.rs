//! Events as the answers show them: decoded and encoded again by the rules of Go's types, so what
//! these do not know is gone, and the order of the keys is theirs.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

use super::times::read_absolute;

/// An `audit.k8s.io/v1` event.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(default, deserialize_with = "or_zero")]
    level: String,
    #[serde(rename = "auditID", default, deserialize_with = "or_zero")]
    pub(super) audit_id: String,
    #[serde(default, deserialize_with = "or_zero")]
    stage: String,
    #[serde(rename = "requestURI", default, deserialize_with = "or_zero")]
    request_uri: String,
    #[serde(default, deserialize_with = "or_zero")]
    verb: String,
    #[serde(default, deserialize_with = "or_zero")]
    user: User,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_metadata: Option<Authentication>,
    #[serde(rename = "sourceIPs", default, deserialize_with = "or_zero")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    source_ips: Vec<String>,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<Box<Outcome>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) request_received_timestamp: MicroTime,
    #[serde(default)]
    pub(super) stage_timestamp: MicroTime,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
struct User {
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Option<Vec<String>>>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Authentication {
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    impersonation_constraint: String,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    resource: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    api_group: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    resource_version: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    subresource: String,
}

/// A `Status`, whose `metadata` is written even if it is empty.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(default, deserialize_with = "or_zero")]
    metadata: ListMeta,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "is_zero")]
    code: i32,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    self_link: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    resource_version: String,
    #[serde(rename = "continue", default, deserialize_with = "or_zero")]
    #[serde(skip_serializing_if = "String::is_empty")]
    next: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_item_count: Option<i64>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause>,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "is_zero")]
    retry_after_seconds: i32,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Cause {
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    field: String,
}

/// Go takes `null` for the zero value.
fn or_zero<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// A time with exactly six decimals, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MicroTime(pub(super) Option<DateTime<Utc>>);

impl Serialize for MicroTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(at) => serializer.collect_str(&at.format("%Y-%m-%dT%H:%M:%S%.6fZ")),
            None => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for MicroTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(Self(None));
        };
        // Go's layout has six zeros, which stand for six digits and no other number of them.
        let has_six = text.find('.').is_some_and(|point| {
            text[point + 1..].bytes().take_while(u8::is_ascii_digit).count() == 6
        });
        let at = read_absolute(&text).filter(|_| has_six);
        let at = at.ok_or_else(|| de::Error::custom(NoMicroTime(text)))?.at();
        let is_zero = at.timestamp() == GO_ZERO_SECONDS && at.timestamp_subsec_nanos() == 0;
        Ok(Self((!is_zero).then_some(at)))
    }
}

/// The first moment of year 1, which Go shows as no time at all.
const GO_ZERO_SECONDS: i64 = -62_135_596_800;

struct NoMicroTime(String);

impl fmt::Display for NoMicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no time with six decimals", self.0)
    }
}

impl Event {
    /// What the table has in a column by which pages are ordered.
    pub(super) fn column(&self, name: &str) -> &str {
        let reference = self.object_ref.as_ref();
        match name {
            "user" => &self.user.username,
            "api_group" => reference.map_or("", |reference| &reference.api_group),
            "resource" => reference.map_or("", |reference| &reference.resource),
            _ => "",
        }
    }
}

/// Decodes what the table has; `None` if Go could not.
pub(super) fn decode(json: &str) -> Option<Event> {
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use super::super::go_json::to_text;
    use super::*;

    #[test]
    fn keys_that_the_pipeline_adds_are_gone_and_the_rest_is_in_gos_order() {
        let stored = r#"{"annotations":{"b":"2","a":"<1>"},"auditID":"x","kind":"Event",
            "end_to_end_latency_seconds":3,"source_type":"nats","sourceIPs":[],"subject":"s",
            "objectRef":{"apiGroup":"apps","resource":"deployments","uid":null},
            "requestObject":{"z": 1.0, "a":[ ]},"responseObject":null,
            "responseStatus":{"code":404,"details":{"kind":"pods","causes":[{"field":"f"}]}},
            "requestReceivedTimestamp":"2026-11-28T08:00:01.633256+02:00","verb":"get",
            "timestamp":"2026-11-28T06:00:01Z","user":{"uid":"u","extra":{"k":["v"],"j":null}}}"#;
        let expected = r#"{"kind":"Event","level":"","auditID":"x","stage":"","requestURI":"",
            "verb":"get",
            "user":{"uid":"u","extra":{"j":null,"k":["v"]}},
            "objectRef":{"resource":"deployments","apiGroup":"apps"},
            "responseStatus":{"metadata":{},"details":{"kind":"pods",
            "causes":[{"field":"f"}]},"code":404},
            "requestObject":{"z":1.0,"a":[]},
            "requestReceivedTimestamp":"2026-11-28T06:00:01.633256Z",
            "stageTimestamp":null,
            "annotations":{"a":"\u003c1\u003e","b":"2"}}"#;
        let expected: String = expected.lines().map(str::trim).collect();
        assert_eq!(to_text(&decode(stored).unwrap()), expected);
    }

    #[test]
    fn what_go_cannot_decode_is_no_event() {
        for wrong in [
            r#"{"auditID":5}"#,
            r#"{"responseStatus":{"code":404.5}}"#,
            r#"{"requestReceivedTimestamp":"2026-11-28T06:00:01Z"}"#,
            r#"{"requestReceivedTimestamp":"2026-11-28T06:00:01.123Z"}"#,
            r#"{"stageTimestamp":"2026-11-28T06:00:01.123456789Z"}"#,
            r#"{"user":"alice"}"#,
            "{",
        ] {
            assert!(decode(wrong).is_none(), "{wrong}");
        }
        let zero = decode(r#"{"stageTimestamp":"0001-01-01T00:00:00.000000Z"}"#).unwrap();
        assert_eq!(zero.stage_timestamp, MicroTime(None));
    }
}
