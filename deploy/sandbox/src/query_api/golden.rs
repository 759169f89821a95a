//! Replays exchanges that were recorded from the real server: what is asked of the table, and what
//! is answered, must be the same byte by byte.
//!
//! The recording has at most three results of each answer. Times of the answers are taken from it,
//! because the real server's clock decided them.

use std::collections::BTreeMap;
use std::io::Read;

use chrono::{DateTime, Utc};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::{self, Asker, Count};
use super::check::{EVENTS_ACTION, FacetsQuery, check};
use super::page::{Page, Row, cut};
use super::request::{self, FacetsSpec, QuerySpec};
use super::scope::{Asked, ScopeHeaders, Strangers};
use super::sql::Paging;
use super::status::Status;
use super::{cursor, go_json};

#[derive(Deserialize)]
struct Exchange {
    name: String,
    resource: Option<String>,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    scope: Option<(String, String)>,
    #[serde(default)]
    status: u16,
    body: Option<Box<RawValue>>,
    #[serde(default)]
    sql: Vec<String>,
}

/// What the stand-in makes of a request.
struct Replayed {
    sql: Vec<String>,
    /// The code and the body; none where only `ClickHouse` knows how it ends.
    answer: Option<(u16, String)>,
}

fn exchanges() -> Vec<Exchange> {
    let packed = include_bytes!("../../tests/query-api/exchanges.jsonl.gz");
    let mut text = String::new();
    GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Exchange {
    /// The recorded body as Go wrote it: the recording keeps the order and not the escapes.
    fn body(&self) -> String {
        go_json::to_text(self.body.as_ref().unwrap())
    }

    fn value(&self) -> Value {
        serde_json::from_str(self.body.as_ref().unwrap().get()).unwrap()
    }

    /// When the server answered. Refusals do not tell; only one of them depends on it.
    fn now(&self) -> DateTime<Utc> {
        let value = self.value();
        let time = value["metadata"]["managedFields"][0]["time"].as_str();
        time.unwrap_or("2026-11-29T02:06:26Z").parse().unwrap()
    }

    fn headers(&self) -> ScopeHeaders {
        match (&self.scope, self.name.as_str()) {
            (Some((kind, name)), _) => ScopeHeaders::new(Some(kind), Some(name)),
            // The recording has no place for one header without the other.
            (None, "type header only" | "facets type only") => {
                ScopeHeaders::new(Some("Project"), None)
            }
            _ => ScopeHeaders::new(None, None),
        }
    }

    fn request_body(&self) -> Vec<u8> {
        json!({ "metadata": { "name": "q" }, "spec": self.spec }).to_string().into_bytes()
    }

    fn replay_query(&self) -> Replayed {
        let refused = |status: &Status| Replayed {
            sql: Vec::new(),
            answer: Some((status.code, go_json::to_text(status))),
        };
        let request = match request::read::<QuerySpec>(&self.request_body()) {
            Ok(request) => request,
            Err(status) => return refused(&status),
        };
        if let Some(status) =
            request.strict_refusal().filter(|_| self.name == "unknown field strict")
        {
            return refused(&status);
        }
        let now = self.now();
        let checked = match check(&request.spec, now) {
            Ok(checked) => checked,
            Err(wrong) => {
                return refused(&Status::invalid("AuditLogQuery", "q", wrong.causes));
            }
        };
        let scope = self.headers().scope(Asked::Events, Strangers::Admitted).unwrap();
        let Some(query) = checked.page_query(&request.spec, &scope, Paging::Real) else {
            return refused(&Status::unavailable(EVENTS_ACTION));
        };
        let answer = (self.status == 201).then(|| {
            let asker = Asker { user_agent: "rig/1.0", now };
            let page = self.recorded_page(&request.spec);
            (201, answer::events(&request, &checked, &page, asker))
        });
        Replayed { sql: vec![query.statement(Paging::Real)], answer }
    }

    /// The page that the recorded results make. Where the next one begins is recorded too.
    fn recorded_page(&self, spec: &QuerySpec) -> Page {
        let value = self.value();
        let results = value["status"]["results"].as_array().cloned().unwrap_or_default();
        let rows: Vec<Row> =
            results.iter().map(|event| Row { json: event.to_string(), key: None }).collect();
        let mut page = cut(&rows, rows.len(), Paging::Real);
        assert_eq!(page.events.len(), rows.len(), "{}: an event does not decode", self.name);
        page.next = value["status"]["continue"].as_str().map(|text| {
            let parameters = super::check::parameters(spec);
            cursor::Cursor::read(text, &parameters, self.now()).unwrap()
        });
        page
    }

    fn replay_facets(&self) -> Replayed {
        let refused = |status: &Status| Replayed {
            sql: Vec::new(),
            answer: Some((status.code, go_json::to_text(status))),
        };
        let request = match request::read::<FacetsSpec>(&self.request_body()) {
            Ok(request) => request,
            Err(status) => return refused(&status),
        };
        let now = self.now();
        let scope = self.headers().scope(Asked::Facets, Strangers::Admitted).unwrap();
        let sql = match FacetsQuery::new(&request.spec, &scope, Paging::Real, now) {
            Ok(query) => query.statements(Paging::Real),
            Err(status) => return refused(&status),
        };
        let value = self.value();
        let counts: Vec<Vec<Count>> = value["status"]["facets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|facet| {
                let values = facet["values"].as_array().cloned().unwrap_or_default();
                let count = |value: &Value| Count {
                    value: value["value"].as_str().unwrap().to_owned(),
                    count: value["count"].as_u64().unwrap(),
                };
                values.iter().map(count).collect()
            })
            .collect();
        let asker = Asker { user_agent: "rig/1.0", now };
        Replayed { sql, answer: Some((201, answer::facets(&request, &counts, asker))) }
    }
}

#[test]
fn every_recorded_exchange_of_a_served_resource_is_answered_alike() {
    let mut replayed = 0;
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for exchange in exchanges() {
        let outcome = match exchange.resource.as_deref() {
            Some("auditlogqueries") => exchange.replay_query(),
            Some("auditlogfacetsqueries") => exchange.replay_facets(),
            other => {
                *skipped.entry(other.unwrap_or("events, activities").to_owned()).or_default() += 1;
                continue;
            }
        };
        replayed += 1;
        let name = &exchange.name;
        if outcome.sql != exchange.sql {
            wrong.push(format!("{name}: {:#?}\nrecorded {:#?}", outcome.sql, exchange.sql));
        }
        if let Some((code, body)) = outcome.answer {
            let expected = issue_time_removed(&exchange.body());
            let body = issue_time_removed(&body);
            if (code, &body) != (exchange.status, &expected) {
                wrong.push(format!("{name}: {code} {body}\nrecorded {expected}"));
            }
        } else {
            // ClickHouse refused the statement, which the real server tells like all its failures.
            assert_eq!(exchange.status, 503, "{name}");
            let expected = go_json::to_text(&Status::unavailable(EVENTS_ACTION));
            assert_eq!(exchange.body(), expected, "{name}");
        }
    }
    assert!(wrong.is_empty(), "{} of {replayed} differ:\n{}", wrong.len(), wrong.join("\n\n"));
    assert_eq!(replayed, 155);
    let skipped: Vec<(&str, usize)> =
        skipped.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    let expected = [
        ("activityfacetqueries", 4),
        ("activityqueries", 12),
        ("eventfacetqueries", 2),
        ("eventqueries", 10),
        ("events, activities", 11),
    ];
    assert_eq!(skipped, expected);
}

/// A body whose `continue` is decoded, without the time of its issue: only seconds of that are
/// known.
fn issue_time_removed(body: &str) -> String {
    const KEY: &str = "\"continue\":\"";
    let Some(at) = body
        .rfind("},\"status\":{")
        .and_then(|status| body[status..].rfind(KEY).map(|at| status + at + KEY.len()))
    else {
        return body.to_owned();
    };
    let length = body[at..].find('"').unwrap();
    let bytes = super::go_base64::decode(&body[at..at + length]).unwrap();
    let json = String::from_utf8(bytes).unwrap();
    let (before, _) = json.split_once(",\"i\":").unwrap();
    format!("{}{before}{}", &body[..at], &body[at + length..])
}

#[test]
fn the_written_down_pair_is_reproduced_from_the_row_that_the_pipeline_stores() {
    let stored = include_str!("../../tests/query-api/pair-stored.json").trim_end();
    let sent = include_str!("../../tests/query-api/pair-sent.json").trim_end();
    let recorded = include_str!("../../tests/query-api/pair-answer.json").trim_end();
    let request = request::read::<QuerySpec>(sent.as_bytes()).unwrap();
    let now = "2026-11-29T02:31:51.876073544Z".parse().unwrap();
    let checked = check(&request.spec, now).unwrap();
    let row = Row { json: stored.to_owned(), key: None };
    let page = cut(&[row.clone(), row], 1, Paging::Real);
    let asker = Asker { user_agent: "rig", now };
    assert_eq!(answer::events(&request, &checked, &page, asker), recorded);
}
