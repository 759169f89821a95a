//! What sidecar and aggregator do to an event: pure, and the same as Vector's programs in
//! `deploy/vector` do.

use std::net::IpAddr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// An event, with its keys in order.
pub(super) type Event = Map<String, Value>;

/// Why a body holds no events.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotEvents {
    /// It is no JSON.
    #[error("body is no JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// It is JSON of another kind.
    #[error("body is neither an event nor a list of events")]
    Shape,
}

/// An event on its way to NATS: not taken apart, for only the aggregator looks into it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Posted {
    /// Its auditID, if it has one.
    pub(super) audit_id: Option<String>,
    /// Its JSON, with `timestamp` added: the moment of its stage.
    pub(super) json: Vec<u8>,
}

/// What the sidecar does: splits a webhook body, one `Event` or an `EventList`, into events, and
/// adds to each when its stage was.
///
/// # Errors
///
/// Returns why the body holds no events.
pub(super) fn split(body: &[u8]) -> Result<Vec<Posted>, NotEvents> {
    let items = match serde_json::from_slice(body) {
        Ok(List { kind: Some(kind), items: Some(items) }) if kind.get() == "\"EventList\"" => items,
        _ => vec![serde_json::from_slice(body)?],
    };
    items.into_iter().map(posted).collect()
}

#[derive(serde::Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

/// What the sidecar reads of an event. The values may have any type, because a webhook takes any
/// object.
#[derive(serde::Deserialize)]
struct Head<'a> {
    #[serde(rename = "auditID")]
    audit_id: Option<Value>,
    #[serde(rename = "stageTimestamp")]
    stage_timestamp: Option<Value>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
}

fn posted(item: &RawValue) -> Result<Posted, NotEvents> {
    let text = item.get();
    let Some(fields) = text.strip_prefix('{') else { return Err(NotEvents::Shape) };
    let head: Head<'_> = serde_json::from_str(text)?;
    let audit_id = head.audit_id.as_ref().and_then(Value::as_str).map(str::to_owned);
    let moment = head.stage_timestamp.as_ref().and_then(Value::as_str).and_then(moment);
    let json = match moment {
        None => text.to_owned(),
        // This path may be slow, because it is rare: the event has a `timestamp` already, which
        // must be replaced.
        Some(moment) if head.timestamp.is_some() => {
            let mut event: Event = serde_json::from_str(text)?;
            event.insert("timestamp".to_owned(), rfc3339(moment).into());
            serde_json::to_string(&event)?
        }
        // There is a field to come, `stageTimestamp` at least, so a comma is due.
        Some(moment) => format!("{{\"timestamp\":\"{}\",{fields}", rfc3339(moment)),
    };
    Ok(Posted { audit_id, json: json.into_bytes() })
}

/// A record of a buffer: an event's JSON, behind whether it is to be passed on twice by order.
pub(super) fn flagged(is_twice: bool, json: &[u8]) -> Vec<u8> {
    [&[u8::from(is_twice)], json].concat()
}

/// Takes a record of a buffer apart.
pub(super) fn unflagged(record: &[u8]) -> (bool, &[u8]) {
    record.split_first().map_or((false, record), |(flag, json)| (*flag != 0, json))
}

/// The auditID in an event's JSON, if it has one.
pub(super) fn audit_id_in(json: &[u8]) -> Option<String> {
    let head: Head<'_> = serde_json::from_slice(json).ok()?;
    head.audit_id.as_ref().and_then(Value::as_str).map(str::to_owned)
}

/// The event's auditID, if it has one.
pub(super) fn audit_id(event: &Event) -> Option<&str> {
    event.get("auditID").and_then(Value::as_str)
}

/// Says whether the aggregator passes the event on: only the last stage of a request is stored.
pub(super) fn is_kept(event: &Event) -> bool {
    event.get("stage").is_some_and(|stage| stage == "ResponseComplete")
}

/// What the aggregator does: adds where and how late the event came, and removes the addresses of
/// the cluster's own networks.
pub(super) fn complete(event: &mut Event, subject: &str, now: DateTime<Utc>) {
    event.entry("source_type").or_insert_with(|| "nats".into());
    event.entry("subject").or_insert_with(|| subject.into());
    let moment = stage_moment(event);
    if let Some(moment) = moment {
        let seconds = now.timestamp() - moment.timestamp();
        event.insert("end_to_end_latency_seconds".to_owned(), seconds.into());
    }
    event.insert("timestamp".to_owned(), rfc3339(moment.unwrap_or(now)).into());
    if let Some(Value::Array(addresses)) = event.get_mut("sourceIPs") {
        addresses.retain(|address| !address.as_str().is_some_and(is_internal));
    }
    // Vector keeps the fields of an event in the order of their names.
    event.values_mut().for_each(Value::sort_all_objects);
    event.sort_keys();
}

fn stage_moment(event: &Event) -> Option<DateTime<Utc>> {
    let text = event.get("stageTimestamp")?.as_str()?;
    moment(text)
}

fn moment(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.to_utc())
}

/// Writes a moment as Vector does: with as many digits as it needs, in groups of three.
fn rfc3339(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Says whether an address is private (RFC 1918), loopback, link-local or unique local.
fn is_internal(address: &str) -> bool {
    match address.parse() {
        Ok(IpAddr::V4(v4)) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => {
            v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Event {
        let Value::Object(event) = value else { panic!("not an object: {value}") };
        event
    }

    #[track_caller]
    fn check_split(body: &str, expected: Result<usize, &str>) {
        let count = split(body.as_bytes()).map(|events| events.len()).map_err(|e| e.to_string());
        match (count, expected) {
            (Ok(count), Ok(expected)) => assert_eq!(count, expected),
            (Err(error), Err(fragment)) => assert!(error.contains(fragment), "{error}"),
            (got, _) => panic!("{body}: {got:?}"),
        }
    }

    #[test]
    fn a_body_is_one_event_or_a_list() {
        check_split(r#"{"kind":"Event","auditID":"a"}"#, Ok(1));
        check_split(r#"{"kind":"EventList","metadata":{},"items":[{"a":1},{"b":2}]}"#, Ok(2));
        check_split(r#"{"kind":"EventList","items":[]}"#, Ok(0));
        check_split(r#"{"kind":"Event","items":[1]}"#, Ok(1));
        check_split(r#"{"kind":"Event","items":1}"#, Ok(1));
        check_split(r#" { "items" : [ {} ] , "kind" : "EventList" } "#, Ok(1));
        check_split(r#"{"kind":"EventList","items":[1]}"#, Err("neither an event"));
        check_split("[]", Err("neither an event"));
        check_split("{", Err("no JSON"));
        check_split("", Err("no JSON"));
    }

    #[test]
    fn a_record_is_an_event_and_how_often_it_goes_on() {
        for is_twice in [false, true] {
            let record = flagged(is_twice, br#"{"auditID":"a"}"#);
            let (twice, json) = unflagged(&record);
            assert_eq!((twice, audit_id_in(json).as_deref()), (is_twice, Some("a")));
        }
        assert_eq!(audit_id_in(br#"{"auditID":7}"#), None);
        assert_eq!(unflagged(b""), (false, &b""[..]));
    }

    #[track_caller]
    fn check_posted(event: &str, audit_id: Option<&str>, json: &str) {
        let posted = split(event.as_bytes()).unwrap().remove(0);
        assert_eq!(posted.audit_id.as_deref(), audit_id);
        assert_eq!(String::from_utf8(posted.json).unwrap(), json);
    }

    #[test]
    fn the_sidecar_adds_when_the_stage_was() {
        check_posted(
            r#"{"auditID":"a","stageTimestamp":"2026-03-01T12:00:00.250000Z"}"#,
            Some("a"),
            "{\"timestamp\":\"2026-03-01T12:00:00.250Z\",\"auditID\":\"a\",\
             \"stageTimestamp\":\"2026-03-01T12:00:00.250000Z\"}",
        );
        check_posted(
            r#"{"stageTimestamp":"2026-03-01T12:00:00.000001Z","timestamp":"x"}"#,
            None,
            "{\"stageTimestamp\":\"2026-03-01T12:00:00.000001Z\",\
             \"timestamp\":\"2026-03-01T12:00:00.000001Z\"}",
        );
        check_posted(
            r#"{"stageTimestamp":"yesterday"}"#,
            None,
            r#"{"stageTimestamp":"yesterday"}"#,
        );
        check_posted(r#"{"auditID":7}"#, None, r#"{"auditID":7}"#);
        check_posted("{}", None, "{}");
    }

    #[track_caller]
    fn check_address(address: &str, internal: bool) {
        assert_eq!(is_internal(address), internal, "{address}");
    }

    #[test]
    fn addresses_of_own_networks_are_internal() {
        for address in [
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.9.9",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.1.1",
            "::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "febf::1",
        ] {
            check_address(address, true);
        }
        for address in
            ["11.0.0.1", "172.15.0.1", "172.32.0.1", "203.0.113.9", "2001:db8::1", "fec0::1", "x"]
        {
            check_address(address, false);
        }
    }

    #[test]
    fn the_aggregator_adds_four_keys_and_sorts_all() {
        let mut event = object(json!({
            "stageTimestamp": "2026-03-01T12:00:00.250000Z",
            "auditID": "a",
            "sourceIPs": ["10.1.2.3", "203.0.113.9", "::1"],
            "level": "Metadata",
        }));
        let now = "2026-03-01T12:00:03.100Z".parse().unwrap();
        complete(&mut event, "audit.k8s.activity", now);
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            "{\"auditID\":\"a\",\"end_to_end_latency_seconds\":3,\"level\":\"Metadata\",\
             \"sourceIPs\":[\"203.0.113.9\"],\"source_type\":\"nats\",\
             \"stageTimestamp\":\"2026-03-01T12:00:00.250000Z\",\
             \"subject\":\"audit.k8s.activity\",\"timestamp\":\"2026-03-01T12:00:00.250Z\"}"
        );
    }

    #[test]
    fn an_event_without_a_readable_stage_time_goes_on() {
        let mut event = object(json!({ "stageTimestamp": "yesterday" }));
        let now = "2026-03-01T12:00:03Z".parse().unwrap();
        complete(&mut event, "s", now);
        assert_eq!(event["timestamp"], "2026-03-01T12:00:03Z");
        assert_eq!(event.get("end_to_end_latency_seconds"), None);
    }

    #[test]
    fn only_a_completed_response_is_kept() {
        assert!(is_kept(&object(json!({ "stage": "ResponseComplete" }))));
        assert!(!is_kept(&object(json!({ "stage": "RequestReceived" }))));
        assert!(!is_kept(&object(json!({}))));
    }
}
