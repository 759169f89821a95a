//! The bodies of answers with results: the object as it was sent, and a status.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::check::{Checked, parameters};
use super::event::Event;
use super::go_json;
use super::page::Page;
use super::request::{FacetsSpec, Metadata, QuerySpec, Request, Spec};
use super::status::GROUP;

/// Who asked when, which the object's metadata tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) user_agent: &'a str,
    pub(super) now: DateTime<Utc>,
}

/// One value of a facet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Count {
    pub(super) value: String,
    pub(super) count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a, S, T> {
    kind: &'static str,
    api_version: String,
    metadata: FullMetadata<'a>,
    spec: &'a S,
    status: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FullMetadata<'a> {
    #[serde(flatten)]
    sent: &'a Metadata,
    managed_fields: [Managed<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Managed<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    manager: &'a str,
    operation: &'static str,
    api_version: String,
    time: String,
    fields_type: &'static str,
    fields_v1: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueryStatus<'a> {
    #[serde(skip_serializing_if = "<[Event]>::is_empty")]
    results: &'a [Event],
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    effective_start_time: String,
    effective_end_time: String,
}

#[derive(Serialize)]
struct FacetsStatus<'a> {
    facets: Vec<Facet<'a>>,
}

#[derive(Serialize)]
struct Facet<'a> {
    field: &'a str,
    #[serde(skip_serializing_if = "<[Count]>::is_empty")]
    values: &'a [Count],
}

/// The answer to a query for events.
pub(super) fn events(
    request: &Request<QuerySpec>,
    checked: &Checked,
    page: &Page,
    asker: Asker<'_>,
) -> String {
    let parameters = parameters(&request.spec);
    let status = QueryStatus {
        results: &page.events,
        next: page.next.as_ref().map(|next| next.to_text(&parameters, asker.now)),
        effective_start_time: checked.start.effective(),
        effective_end_time: checked.end.effective(),
    };
    answer(request, status, asker)
}

/// The answer to a query for facets, whose counts are in the order of the spec's facets.
pub(super) fn facets(
    request: &Request<FacetsSpec>,
    counts: &[Vec<Count>],
    asker: Asker<'_>,
) -> String {
    let facets = request.spec.facets.iter().zip(counts);
    let facets = facets.map(|(facet, values)| Facet { field: &facet.field, values }).collect();
    answer(request, FacetsStatus { facets }, asker)
}

fn answer<S: Spec + Serialize>(
    request: &Request<S>,
    status: impl Serialize,
    asker: Asker<'_>,
) -> String {
    let api_version = format!("{GROUP}/v1alpha1");
    let managed = Managed {
        manager: asker.user_agent.split('/').next().unwrap_or_default(),
        operation: "Update",
        api_version: api_version.clone(),
        time: asker.now.to_rfc3339_opts(SecondsFormat::Secs, true),
        fields_type: "FieldsV1",
        fields_v1: json!({ "f:spec": request.spec.managed() }),
    };
    go_json::to_text(&Answer {
        kind: S::KIND,
        api_version,
        metadata: FullMetadata { sent: &request.metadata, managed_fields: [managed] },
        spec: &request.spec,
        status,
    })
}
