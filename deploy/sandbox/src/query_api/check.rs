//! The checks that a query must pass before anything is asked, in the real server's order.

use chrono::{DateTime, TimeDelta, Utc};

use super::cursor::{Cursor, Parameters};
use super::filter::{Filter, FilterError};
use super::request::{FacetSpec, FacetsSpec, QuerySpec};
use super::scope::Scope;
use super::sql::{PageQuery, Paging, Rows};
use super::status::{Cause, Status};
use super::times::{Moment, go_duration, read_time};

/// A query without mistakes.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) start: Moment,
    pub(super) end: Moment,
    filter: Option<Filter>,
    cursor: Option<Cursor>,
    limit: usize,
}

/// The mistakes in a query.
#[derive(Debug)]
pub(super) struct Mistakes {
    pub(super) causes: Vec<Cause>,
    /// What is wrong with the filter, for the metrics.
    pub(super) filter: Option<FilterError>,
}

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: i32 = 1_000;
const WINDOW_MAX: TimeDelta = TimeDelta::days(30);

/// Checks all of a query.
///
/// # Errors
///
/// Returns every mistake.
pub(super) fn check(spec: &QuerySpec, now: DateTime<Utc>) -> Result<Checked, Mistakes> {
    let mut causes = Vec::new();
    let times = check_times(spec, now, &mut causes);
    let limit = check_limit(spec.limit, &mut causes);
    let cursor = check_cursor(spec, now).unwrap_or_else(|text| {
        causes.push(Cause::invalid("spec.continue", &spec.cursor, &text));
        None
    });
    let mut wrong_filter = None;
    let filter = read_filter(&spec.filter).unwrap_or_else(|error| {
        causes.push(Cause::invalid("spec.filter", &spec.filter, &error.to_text()));
        wrong_filter = Some(error);
        None
    });
    match times {
        Some((start, end)) if causes.is_empty() => {
            Ok(Checked { start, end, filter, cursor, limit })
        }
        _ => Err(Mistakes { causes, filter: wrong_filter }),
    }
}

impl Checked {
    /// What to ask, or `None` if the filter has no words in SQL.
    pub(super) fn page_query(
        &self,
        spec: &QuerySpec,
        scope: &Scope,
        paging: Paging,
    ) -> Option<PageQuery> {
        let rows = Rows {
            scope: scope.clone(),
            start: Some(self.start),
            end: Some(self.end),
            filter: translated(self.filter.as_ref(), paging)?,
            hidden_from: None,
        };
        Some(PageQuery {
            rows,
            filter_text: spec.filter.clone(),
            cursor: self.cursor.clone(),
            limit: self.limit,
        })
    }
}

/// The parts of a query to which a cursor belongs.
pub(super) fn parameters(spec: &QuerySpec) -> Parameters<'_> {
    Parameters {
        start: &spec.start_time,
        end: &spec.end_time,
        filter: &spec.filter,
        limit: spec.limit,
    }
}

fn check_times(
    spec: &QuerySpec,
    now: DateTime<Utc>,
    causes: &mut Vec<Cause>,
) -> Option<(Moment, Moment)> {
    let mut read = |field, text: &str, missing| {
        if text.is_empty() {
            causes.push(Cause::required(field, missing));
            return None;
        }
        let moment = read_time(text, now);
        moment.map_err(|error| causes.push(Cause::invalid(field, text, &error))).ok()
    };
    let start = read("spec.startTime", &spec.start_time, "must specify a start time");
    let end = read("spec.endTime", &spec.end_time, "must specify an end time");
    let (start, end) = start.zip(end)?;
    let window = end.at() - start.at();
    if window <= TimeDelta::zero() {
        let text = "endTime must be after startTime";
        causes.push(Cause::invalid("spec.endTime", &spec.end_time, text));
    } else if window > WINDOW_MAX {
        let value = format!("{} to {}", spec.start_time, spec.end_time);
        let text = format!(
            "time range of {} exceeds maximum of {}. \
             Reduce the time range or split into smaller queries",
            go_duration(window),
            go_duration(WINDOW_MAX)
        );
        causes.push(Cause::invalid("spec", &value, &text));
    }
    Some((start, end))
}

fn check_limit(limit: i32, causes: &mut Vec<Cause>) -> usize {
    if limit < 0 {
        let text = "limit must be non-negative";
        causes.push(Cause::invalid_number("spec.limit", limit, text));
    } else if limit > LIMIT_MAX {
        let text = format!(
            "limit of {limit} exceeds maximum of {LIMIT_MAX}. Set limit to {LIMIT_MAX} or less"
        );
        causes.push(Cause::invalid_number("spec.limit", limit, &text));
    }
    usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(LIMIT_DEFAULT)
}

fn check_cursor(spec: &QuerySpec, now: DateTime<Utc>) -> Result<Option<Cursor>, String> {
    let text = Some(&spec.cursor).filter(|text| !text.is_empty());
    text.map(|text| Cursor::read(text, &parameters(spec), now)).transpose()
}

fn read_filter(text: &str) -> Result<Option<Filter>, FilterError> {
    (!text.is_empty()).then(|| Filter::read(text)).transpose()
}

/// The filter as SQL; `None` if there is one without words in SQL.
#[expect(clippy::option_option, reason = "no filter and no translation are different things")]
fn translated(filter: Option<&Filter>, paging: Paging) -> Option<Option<String>> {
    match filter {
        Some(filter) => filter.sql(paging).map(Some),
        None => Some(None),
    }
}

/// A facets query without mistakes.
#[derive(Debug)]
pub(super) struct FacetsQuery {
    pub(super) rows: Rows,
    columns: Vec<(&'static str, usize)>,
}

impl FacetsQuery {
    /// Checks all of a query.
    ///
    /// # Errors
    ///
    /// Returns the answer to a wrong one. Of times and filters the real server only says that it
    /// failed.
    pub(super) fn new(
        spec: &FacetsSpec,
        scope: &Scope,
        paging: Paging,
        now: DateTime<Utc>,
    ) -> Result<Self, Status> {
        let columns = check_facets(&spec.facets).map_err(Status::bad_request)?;
        let failed = || Status::unavailable(FACETS_ACTION);
        let time = |text: &str| {
            (!text.is_empty()).then(|| read_time(text, now)).transpose().map_err(|_| failed())
        };
        let filter = read_filter(&spec.filter).map_err(|_| failed())?;
        let rows = Rows {
            scope: scope.clone(),
            start: time(&spec.time_range.start)?,
            end: time(&spec.time_range.end)?,
            filter: translated(filter.as_ref(), paging).ok_or_else(failed)?,
            hidden_from: None,
        };
        Ok(Self { rows, columns })
    }

    /// The statements, one for each facet, in turn.
    pub(super) fn statements(&self, paging: Paging) -> Vec<String> {
        let facet = |(column, limit): &(&str, usize)| self.rows.facet(paging, column, *limit);
        self.columns.iter().map(facet).collect()
    }
}

/// What fails, in the words of the answer to a query for events.
pub(super) const EVENTS_ACTION: &str = "execute query";

/// What fails, in the words of the answer to a facets query.
pub(super) const FACETS_ACTION: &str = "retrieve facets";

fn check_facets(facets: &[FacetSpec]) -> Result<Vec<(&'static str, usize)>, String> {
    const FACETS_MAX: usize = 10;
    const VALUES_DEFAULT: usize = 20;
    const VALUES_MAX: usize = 100;
    if facets.is_empty() {
        return Err("at least one facet is required".to_owned());
    }
    if facets.len() > FACETS_MAX {
        return Err(format!("maximum {FACETS_MAX} facets allowed per query"));
    }
    let check = |(index, facet): (usize, &FacetSpec)| {
        if facet.field.is_empty() {
            return Err(format!("facet {index}: field is required"));
        }
        let Some((_, column)) = FACETS.iter().find(|(field, _)| *field == facet.field) else {
            let fields: Vec<&str> = FACETS.iter().map(|(field, _)| *field).collect();
            return Err(format!(
                "facet {index}: unsupported field \"{}\". Supported fields: {}",
                facet.field,
                fields.join(", ")
            ));
        };
        let Ok(limit) = usize::try_from(facet.limit) else {
            return Err(format!("facet {index}: limit must be non-negative"));
        };
        let limit = if limit == 0 { VALUES_DEFAULT } else { limit.min(VALUES_MAX) };
        Ok((*column, limit))
    };
    facets.iter().enumerate().map(check).collect()
}

/// The fields whose values can be counted, in the order of the real server's text.
const FACETS: [(&str, &str); 7] = [
    ("objectRef.apiGroup", "api_group"),
    ("objectRef.namespace", "namespace"),
    ("objectRef.resource", "resource"),
    ("responseStatus.code", "status_code"),
    ("user.uid", "user_uid"),
    ("user.username", "user"),
    ("verb", "verb"),
];
