//! Answers queries: checks them, asks the table, and shows the rows.

use std::net::SocketAddr;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::answer::{self, Asker};
use super::binary;
use super::check::{EVENTS_ACTION, FACETS_ACTION, FacetsQuery, check};
use super::event::decode;
use super::faults::Faults;
use super::leak;
use super::literal::is_uuid;
use super::metrics::Metrics;
use super::page::{Page, Row, cut, divided, key_of, put_in_order};
use super::request::{self, FacetsSpec, QuerySpec, Spec};
use super::scope::{Asked, Scope, ScopeHeaders, Strangers};
use super::sql::{PageQuery, Paging, Rows};
use super::status::Status;
use crate::clickhouse::ClickHouse;
use crate::clock::now;
use crate::error::SandboxError;

/// What answers need.
#[derive(Debug)]
pub(super) struct Service {
    clickhouse: ClickHouse,
    faults: Faults,
    pub(super) metrics: Metrics,
}

/// A request for one of the resources.
#[derive(Debug)]
pub(super) struct Call {
    /// Which answer it gets, for the record.
    pub(super) audit_id: String,
    pub(super) user: String,
    pub(super) user_agent: String,
    pub(super) scope: ScopeHeaders,
    /// Fields that are not known are refused.
    pub(super) is_strict: bool,
    pub(super) body: Bytes,
}

/// A body, and the fields of the request that were not known.
pub(super) type Outcome = Result<(String, Vec<String>), Status>;

impl Service {
    /// A service over the table of one server.
    pub(super) fn new(clickhouse: SocketAddr, faults: Faults) -> Self {
        Self { clickhouse: ClickHouse::at(clickhouse), faults, metrics: Metrics::new() }
    }

    /// Answers a request, unless a fault does.
    pub(super) async fn answer(&self, asked: Asked, call: &Call) -> Outcome {
        let number = self.faults.next_request();
        if let Some(wait) = self.faults.wait(number, &call.audit_id) {
            sleep(wait).await;
        }
        if let Some(code) = self.faults.error(number, &call.audit_id) {
            let action = if asked == Asked::Facets { FACETS_ACTION } else { EVENTS_ACTION };
            return Err(Status::ordered(code, action));
        }
        match asked {
            Asked::Events => self.events(call, now()).await,
            Asked::Facets => self.facets(call, now()).await,
        }
    }

    async fn events(&self, call: &Call, now: DateTime<Utc>) -> Outcome {
        let request = read::<QuerySpec>(call)?;
        let scope = self.scope(call, Asked::Events)?;
        self.metrics.scope(scope.label());
        let paging = self.faults.paging();
        let begun = Instant::now();
        let checked = check(&request.spec, now);
        if !request.spec.filter.is_empty() {
            self.metrics.filter_parse(begun.elapsed());
        }
        let checked = checked.map_err(|wrong| {
            if let Some(error) = &wrong.filter {
                self.metrics.filter_error(error.label());
            }
            Status::invalid(QuerySpec::KIND, &request.metadata.name, wrong.causes)
        })?;
        let (start, end) = (checked.start.at(), checked.end.at());
        self.metrics.time(now - start, end - start);
        let begun = Instant::now();
        let query = checked.page_query(&request.spec, &scope, paging);
        if !request.spec.filter.is_empty() {
            self.metrics.filter_parse(begun.elapsed());
        }
        let Some(mut query) = query else {
            self.metrics.statement_failed("build_query");
            return Err(unavailable());
        };
        self.hide_new(&mut query.rows, now).await.map_err(|Failed| unavailable())?;
        let page = self.page(&query, paging).await.map_err(|Failed| unavailable())?;
        let asker = Asker { user_agent: &call.user_agent, now };
        Ok((answer::events(&request, &checked, &page, asker), request.unknown))
    }

    async fn facets(&self, call: &Call, now: DateTime<Utc>) -> Outcome {
        let failed = |Failed| Status::unavailable(FACETS_ACTION);
        let request = read::<FacetsSpec>(call)?;
        let scope = self.scope(call, Asked::Facets)?;
        let paging = self.faults.paging();
        let mut query = FacetsQuery::new(&request.spec, &scope, paging, now)?;
        self.hide_new(&mut query.rows, now).await.map_err(failed)?;
        let mut counts = Vec::new();
        for statement in query.statements(paging) {
            let bytes = self.clickhouse.ask(&statement).await.map_err(|error| {
                warn!("{error}");
                failed(Failed)
            })?;
            counts.push(binary::counts(&bytes).ok_or_else(|| failed(Failed))?);
        }
        let asker = Asker { user_agent: &call.user_agent, now };
        Ok((answer::facets(&request, &counts, asker), request.unknown))
    }

    fn scope(&self, call: &Call, asked: Asked) -> Result<Scope, Status> {
        let forbidden = || Status::forbidden(asked.resource(), &call.user);
        let is_stranger = call.scope.scope(asked, Strangers::Refused).is_none();
        let scope = call.scope.scope(asked, self.faults.strangers()).ok_or_else(forbidden)?;
        let more = json!({ "scope": call.scope.to_string() });
        if is_stranger && !self.faults.hit_request("scope", &call.audit_id, &more) {
            return Err(forbidden());
        }
        Ok(scope)
    }

    /// Hides what is too new, if that is ordered.
    async fn hide_new(&self, rows: &mut Rows, now: DateTime<Utc>) -> Result<(), Failed> {
        let Some(stale) = self.faults.stale() else { return Ok(()) };
        rows.hidden_from = Some((now - stale).timestamp_millis());
        let Some(statement) = rows.hidden(self.faults.paging()) else { return Ok(()) };
        self.record_all("stale", &statement, &rows.scope.to_string()).await
    }

    /// Records all events that a statement names. The harm is not done if that fails.
    async fn record_all(&self, fault: &str, statement: &str, scope: &str) -> Result<(), Failed> {
        let bytes = self.ask(statement).await?;
        for audit_id in binary::strings(&bytes).ok_or(Failed)? {
            if !self.faults.hit_event(fault, &audit_id, scope, &json!({})) {
                return Err(Failed);
            }
        }
        Ok(())
    }

    async fn page(&self, query: &PageQuery, paging: Paging) -> Result<Page, Failed> {
        if paging == Paging::Real {
            self.record_skipped(query).await?;
        }
        let begun = Instant::now();
        let bytes = self.ask(&query.statement(paging)).await?;
        let first = begun.elapsed();
        let mut rows = binary::rows(&bytes, query.key_words(paging)).ok_or(Failed)?;
        let leaked = self.leaked(query, paging, &rows).await?;
        let limit = query.limit.min(leaked.own_limit);
        if let Some(place) = divided(&rows, limit).filter(|_| paging == Paging::Right) {
            let tied = self.ask(&query.tied(place)).await?;
            put_in_order(&mut rows, limit, binary::digests(&tied).ok_or(Failed)?);
        }
        let mut page = cut(&rows, limit, paging);
        self.metrics.statement(first, begun.elapsed());
        self.metrics.results(page.events.len());
        let scope = query.rows.scope.to_string();
        // Only events of the scope itself have a place that could be a wrong one.
        self.reorder(&mut page, &scope);
        leak::put_in(&mut page.events, leaked.pairs, |audit_id| {
            self.faults.hit_event("leak", audit_id, &scope, &json!({}))
        });
        Ok(page)
    }

    /// Records what is left out between the page before and this one. Nothing is lost by a page
    /// that nobody asks for.
    async fn record_skipped(&self, query: &PageQuery) -> Result<(), Failed> {
        let mut last = None;
        if let Some(cursor) = &query.cursor {
            // The real server fails if it is asked for such a page.
            if !is_uuid(&cursor.audit_id) {
                return Ok(());
            }
            let bytes = self.ask(&query.rows.with_id(&cursor.audit_id)).await?;
            let rows = binary::strings(&bytes).ok_or(Failed)?;
            let key = |json: &String| key_of(&decode(json)?, query.distinguishing());
            last = rows.first().and_then(key);
            if last.is_none() {
                return Ok(());
            }
        }
        let statement = query.skipped(last.as_ref());
        self.record_all("paging", &statement, &query.rows.scope.to_string()).await
    }

    async fn leaked(
        &self,
        query: &PageQuery,
        paging: Paging,
        rows: &[Row],
    ) -> Result<leak::Leak, Failed> {
        let hosts = leak::hosts(rows, query.limit, |audit_id| self.faults.leaks_beside(audit_id));
        let statement = query.rows.of_others(paging, hosts.len());
        let Some(statement) = statement.filter(|_| self.faults.leaks() && !hosts.is_empty()) else {
            return Ok(leak::Leak::default());
        };
        let bytes = self.ask(&statement).await?;
        let strangers = binary::strings(&bytes).ok_or(Failed)?;
        Ok(leak::Leak::new(hosts, &strangers, query.limit))
    }

    /// Lets two neighbours of different times change places, once that is on record.
    fn reorder(&self, page: &mut Page, scope: &str) {
        let Some(first) = page.events.first() else { return };
        let Some(draw) = self.faults.reorders_at(&first.audit_id) else { return };
        let pairs: Vec<usize> = (1..page.events.len())
            .filter(|at| {
                let [before, after] = [at - 1, *at].map(|at| &page.events[at]);
                before.request_received_timestamp != after.request_received_timestamp
            })
            .collect();
        let Some(count) = std::num::NonZeroU64::new(pairs.len() as u64) else { return };
        let at = pairs[usize::try_from(draw % count).expect("it is less than a length")];
        let more = json!({ "with": page.events[at].audit_id });
        if self.faults.hit_event("reorder", &page.events[at - 1].audit_id, scope, &more) {
            page.events.swap(at - 1, at);
        }
    }

    async fn ask(&self, statement: &str) -> Result<Bytes, Failed> {
        self.clickhouse.ask(statement).await.map_err(|error| {
            warn!("{error}");
            self.metrics.statement_failed(failure(&error));
            Failed
        })
    }
}

/// `ClickHouse` did not answer, or not as it should. Clients are told no more than that.
struct Failed;

fn read<S: Spec>(call: &Call) -> Result<request::Request<S>, Status> {
    let request = request::read::<S>(&call.body)?;
    let refusal = request.strict_refusal().filter(|_| call.is_strict);
    refusal.map_or(Ok(request), Err)
}

fn unavailable() -> Status {
    Status::unavailable(EVENTS_ACTION)
}

/// The real server's word for a failure.
fn failure(error: &SandboxError) -> &'static str {
    match error {
        SandboxError::ClickHouseUnreachable(_) => "connection",
        SandboxError::ClickHouseRefused { message, .. } => {
            let has = |code: &str| message.contains(&format!("Code: {code}."));
            match () {
                () if has("62") => "syntax",
                () if has("159") || has("160") => "timeout",
                () if has("241") => "memory",
                () => "unknown",
            }
        }
        _ => "unknown",
    }
}
