//! Writes events directly as JSON bytes: the same bytes as [`crate::event`], but almost as fast as
//! copying them.

use crate::actor::Credential;
use crate::catalog::{Outcome, Resource, Subresource};
use crate::clock_face::{write_later_time, write_time};
use crate::facts::{Facts, INTERNAL_CAUSE, INVALID_FIELD, PodSecurity};
use crate::objects::{Answer, answer, write_request, write_response};
use crate::policy::Level;
use crate::prose::{Prose, decimal_bytes};
use crate::timeline::UnixMicros;
use crate::world::Scope;

/// Whether an event is in a list, which decides whether it has `kind` and `apiVersion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An item of an `EventList`, without `kind` and `apiVersion`.
    Item,
    /// A single event, with both.
    Alone,
}

/// The bytes before and after the items of an `EventList`. Commas separate the items.
pub const LIST_START: &[u8] =
    br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
pub const LIST_END: &[u8] = b"]}\n";

/// The most bytes of an event at level `Metadata`. Source: a test over all outcomes.
pub const METADATA_BYTES_MAX: usize = 4_096;

/// The most bytes of an event at any level, because NATS refuses messages of more than 1 MiB.
pub const EVENT_BYTES_MAX: usize = 900 << 10;

/// Appends one event, without a line feed.
pub fn render(facts: &Facts<'_>, form: Form, bytes: &mut Vec<u8>) {
    bytes.reserve(METADATA_BYTES_MAX);
    let out = &mut Json(bytes);
    request(facts, form, "ResponseComplete", out);
    object_reference(facts, Known::AtTheEnd, out);
    out.raw(r#","responseStatus":{"metadata":{}"#);
    status(facts, out);
    out.raw("}");
    objects_of(facts, out);
    times(facts.received, facts.completed, out);
    out.raw(r#","annotations":{"#);
    annotations(facts, out);
    out.raw("}}");
}

/// Appends the event of the same request in stage `RequestReceived`, which has the same audit ID.
/// It contains nothing that follows from the body of the request or from its answer.
pub fn render_received(facts: &Facts<'_>, form: Form, bytes: &mut Vec<u8>) {
    bytes.reserve(METADATA_BYTES_MAX);
    let out = &mut Json(bytes);
    request(facts, form, "RequestReceived", out);
    object_reference(facts, Known::AtTheStart, out);
    times(facts.received, facts.received, out);
    out.raw("}");
}

/// What is known about the object of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Only what the path says.
    AtTheStart,
    /// Also what the bodies say.
    AtTheEnd,
}

/// Writes everything that is known when a request comes in, except its object.
fn request(facts: &Facts<'_>, form: Form, stage: &str, out: &mut Json<'_>) {
    out.raw(match form {
        Form::Item => r#"{"level":""#,
        Form::Alone => r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":""#,
    });
    out.raw(facts.level.as_str());
    out.raw(r#"","auditID":""#);
    out.uuid(facts.audit_id.as_u128());
    out.raw(r#"","stage":""#);
    out.raw(stage);
    out.raw(r#"","requestURI":""#);
    facts.uri(out);
    out.raw(r#"","verb":""#);
    out.raw(facts.verb.as_str());
    out.raw(r#"","user":{"username":""#);
    user(facts, out);
    sources(facts, out);
    out.raw(r#","userAgent":""#);
    facts.user_agent(out);
    out.raw("\"");
}

fn times(received: UnixMicros, staged: UnixMicros, out: &mut Json<'_>) {
    out.raw(r#","requestReceivedTimestamp":""#);
    let at = out.0.len();
    write_time(received, out.0);
    out.raw(r#"","stageTimestamp":""#);
    write_later_time(staged, received, at, out.0);
    out.raw("\"");
}

/// Appends to JSON text, inside or outside of strings.
struct Json<'b>(&'b mut Vec<u8>);

impl Json<'_> {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Appends `,"name":"value"`, unless the value is empty.
    fn field(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.raw(name);
            self.raw(value);
            self.raw("\"");
        }
    }

    fn uuid(&mut self, id: u128) {
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in id.to_be_bytes().into_iter().enumerate() {
            at += usize::from(matches!(index, 4 | 6 | 8 | 10));
            text[at..at + 2].copy_from_slice(&HEX[usize::from(byte)]);
            at += 2;
        }
        self.0.extend_from_slice(&text);
    }

    fn hex(&mut self, number: u128) {
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
            pair.copy_from_slice(&HEX[usize::from(byte)]);
        }
        self.0.extend_from_slice(&text);
    }
}

impl Prose for Json<'_> {
    fn plain(&mut self, text: &str) {
        self.raw(text);
    }

    fn quote(&mut self) {
        self.raw("\\\"");
    }

    fn ampersand(&mut self) {
        self.raw("\\u0026");
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(decimal_bytes(number, &mut [0; 20]));
    }
}

/// The two hexadecimal digits of every byte.
static HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    table
};

fn user(facts: &Facts<'_>, out: &mut Json<'_>) {
    let key = facts.actor.key(facts.tenant);
    facts.actor.username(out);
    if let Some(uid) = facts.actor.uid(key) {
        out.raw(r#"","uid":""#);
        out.uuid(uid);
    }
    let mut before = r#"","groups":[""#;
    facts.actor.groups(|pieces| {
        out.raw(before);
        for piece in pieces {
            out.raw(piece);
        }
        before = r#"",""#;
    });
    out.raw(r#""]"#);
    let mut before = r#","extra":{""#;
    if let Some(credential) = facts.actor.credential(key) {
        out.raw(before);
        out.raw(r#"authentication.kubernetes.io/credential-id":[""#);
        match credential {
            Credential::Certificate(high, low) => {
                out.raw("X509SHA256=");
                out.hex(high);
                out.hex(low);
            }
            Credential::Token(id) => {
                out.raw("JTI=");
                out.uuid(id);
            }
        }
        out.raw(r#""]"#);
        before = r#",""#;
    }
    let scope = facts.tenant.scope;
    if scope != Scope::Global && facts.actor.came_through_platform() {
        out.raw(before);
        out.raw(r#"iam.miloapis.com/parent-api-group":[""#);
        out.raw(scope.api_group());
        out.raw(r#""],"iam.miloapis.com/parent-name":[""#);
        out.raw(&facts.tenant.scope_name);
        out.raw(r#""],"iam.miloapis.com/parent-type":[""#);
        out.raw(scope.as_str());
        out.raw(r#""]"#);
        before = r#",""#;
    }
    out.raw(if before == r#",""# { "}}" } else { "}" });
}

fn sources(facts: &Facts<'_>, out: &mut Json<'_>) {
    let mut before = r#","sourceIPs":[""#;
    for address in facts.sources.iter().flatten() {
        out.raw(before);
        for (index, &byte) in address.iter().enumerate() {
            out.raw(if index == 0 { "" } else { "." });
            out.number(byte.into());
        }
        before = r#"",""#;
    }
    if before == r#"",""# {
        out.raw(r#""]"#);
    }
}

fn object_reference(facts: &Facts<'_>, known: Known, out: &mut Json<'_>) {
    if facts.resource == Resource::None {
        return;
    }
    out.raw(r#","objectRef":{"resource":""#);
    out.raw(facts.resource.plural());
    out.raw("\"");
    out.field(r#","namespace":""#, facts.namespace.unwrap_or_default());
    let in_path = facts.verb.is_of_one() || facts.subresource != Subresource::None;
    if in_path || known == Known::AtTheEnd {
        out.field(r#","name":""#, facts.name());
    }
    if known == Known::AtTheEnd && facts.refers_to_uid() {
        out.raw(r#","uid":""#);
        out.uuid(facts.object_uid());
        out.raw("\"");
    }
    out.field(r#","apiGroup":""#, facts.resource.group());
    out.raw(r#","apiVersion":"v1""#);
    if known == Known::AtTheEnd && facts.refers_to_version() {
        out.raw(r#","resourceVersion":""#);
        out.number(facts.version_before());
        out.raw("\"");
    }
    out.field(r#","subresource":""#, facts.subresource.as_str());
    out.raw("}");
}

/// Writes the objects of request and response, if the level has them.
fn objects_of(facts: &Facts<'_>, out: &mut Json<'_>) {
    if facts.level == Level::Metadata {
        return;
    }
    let before = out.0.len();
    out.raw(r#","requestObject":"#);
    if !write_request(facts, out.0) {
        out.0.truncate(before);
    }
    if facts.level == Level::Request {
        return;
    }
    match answer(facts) {
        Answer::Nothing => {}
        Answer::Object => {
            out.raw(r#","responseObject":"#);
            write_response(facts, out.0);
        }
        Answer::Status => {
            out.raw(r#","responseObject":{"kind":"Status","apiVersion":"v1","metadata":{}"#);
            status(facts, out);
            out.raw("}");
        }
    }
}

fn status(facts: &Facts<'_>, out: &mut Json<'_>) {
    match facts.outcome {
        Outcome::Ok => out.raw(r#","code":200"#),
        Outcome::Switched => out.raw(r#","code":101"#),
        Outcome::Created if facts.subresource == Subresource::Binding => {
            out.raw(r#","status":"Success","code":201"#);
        }
        Outcome::Created => out.raw(r#","code":201"#),
        Outcome::Deleted => {
            out.raw(r#","status":"Success","details":{"#);
            named_details(facts, out);
            out.raw(r#","uid":""#);
            out.uuid(facts.object_uid());
            out.raw(r#""},"code":200"#);
        }
        outcome => {
            out.raw(r#","status":"Failure","message":""#);
            facts.message(out);
            out.raw(r#"","reason":""#);
            out.raw(outcome.reason().unwrap_or_default());
            out.raw("\"");
            failure_details(facts, out);
            out.raw(r#","code":"#);
            out.number(outcome.code().into());
        }
    }
}

fn failure_details(facts: &Facts<'_>, out: &mut Json<'_>) {
    match facts.outcome {
        Outcome::BadRequest | Outcome::Expired | Outcome::Unavailable => {}
        Outcome::TooManyRequests => out.raw(r#","details":{"retryAfterSeconds":1}"#),
        Outcome::Timeout | Outcome::NoSuchPath => out.raw(r#","details":{}"#),
        Outcome::InternalError => {
            out.raw(r#","details":{"causes":[{"message":""#);
            out.raw(INTERNAL_CAUSE);
            out.raw(r#""}]}"#);
        }
        Outcome::Invalid => {
            out.raw(r#","details":{"#);
            named_details(facts, out);
            out.raw(r#","causes":[{"reason":"FieldValueInvalid","message":""#);
            facts.invalid_cause(out);
            out.raw(r#"","field":""#);
            out.raw(INVALID_FIELD);
            out.raw(r#""}]}"#);
        }
        _ => {
            out.raw(r#","details":{"#);
            named_details(facts, out);
            out.raw("}");
        }
    }
}

fn named_details(facts: &Facts<'_>, out: &mut Json<'_>) {
    let name = facts.details_name();
    if !name.is_empty() {
        out.raw(r#""name":""#);
        out.raw(name);
        out.raw(r#"","#);
    }
    let group = facts.details_group();
    if !group.is_empty() {
        out.raw(r#""group":""#);
        out.raw(group);
        out.raw(r#"","#);
    }
    out.raw(r#""kind":""#);
    out.raw(facts.details_kind());
    out.raw("\"");
}

fn annotations(facts: &Facts<'_>, out: &mut Json<'_>) {
    if let Some(token) = facts.issued_token() {
        out.raw(r#""authentication.kubernetes.io/issued-credential-id":"JTI="#);
        out.uuid(token);
        out.raw(r#"","#);
    }
    out.raw(r#""authorization.k8s.io/decision":""#);
    out.raw(if facts.outcome == Outcome::Forbidden { "forbid" } else { "allow" });
    out.raw(r#"","authorization.k8s.io/reason":""#);
    facts.authorization_reason(out);
    out.raw("\"");
    if facts.is_deprecated() {
        out.raw(r#","k8s.io/deprecated":"true""#);
    }
    if facts.tenant.scope != Scope::Global {
        out.field(r#","platform.miloapis.com/scope.name":""#, &facts.tenant.scope_name);
    }
    out.field(r#","platform.miloapis.com/scope.type":""#, facts.tenant.scope.as_str());
    match facts.pod_security {
        PodSecurity::None => {}
        PodSecurity::Enforced => {
            out.raw(r#","pod-security.kubernetes.io/enforce-policy":"privileged:latest""#);
        }
        PodSecurity::Violated => {
            out.raw(r#","pod-security.kubernetes.io/audit-violations":""#);
            facts.violation(out);
            out.raw("\"");
        }
    }
}
