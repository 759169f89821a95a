//! Recognizes the statement with which the query API asks the table for a page. Pure.
//!
//! Its form was recorded from the Activity server at 2660e4bf:
//!
//! ```sql
//! SELECT event_json FROM audit.audit_logs WHERE <scope> AND timestamp >= <start>
//! AND timestamp < <end> AND <filter> AND <cursor> ORDER BY … LIMIT <limit + 1>
//! ```
//!
//! Parentheses and blanks differ from server to server, so they are left out before texts are
//! compared; those within strings are kept.

use chrono::DateTime;
use plans::filter::sql_text;
use runs::slow_queries::SlowQuery;

/// What the statement of a page must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    /// The conditions but for the cursor's, bare, for each way in which servers write times.
    conditions: Vec<String>,
    after: After,
    /// The most rows.
    limit: String,
    /// Parts of the statement as it is written, for a first choice.
    parts: Vec<String>,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
enum After {
    /// At the newest event: the statement has no cursor.
    Nothing,
    /// Behind this event, which its cursor names.
    Event(String),
    /// Behind an event without a name.
    Nameless,
}

impl Expected {
    /// What the statement of a page must say; `None` if the record of its question is damaged.
    pub(super) fn of(query: &SlowQuery) -> Option<Self> {
        let seconds = |part: &str| {
            let at = DateTime::parse_from_rfc3339(query.asks(part)).ok()?;
            Some(at.timestamp())
        };
        let (start, end) = (seconds("startTime")?, seconds("endTime")?);
        let rows = query.question["limit"].as_u64()? + 1;
        let scope = scope_conditions(query.asks("scope"))?;
        let filter = (!query.filter_sql.is_empty()).then(|| query.filter_sql.clone());
        let of_form = |written: fn(i64) -> String| {
            let time = [
                format!("timestamp >= {}", written(start)),
                format!("timestamp < {}", written(end)),
            ];
            let all = scope.iter().cloned().chain(time).chain(filter.clone());
            bare(&all.collect::<Vec<String>>().join(" AND "))
        };
        // The last string of the scope is its name.
        let name = scope.last().and_then(|it| it.split_once(" = "));
        let name = name.map(|(_, name)| name.to_owned());
        let limit = format!("LIMIT {rows}");
        Some(Self {
            conditions: TIMES.into_iter().map(of_form).collect(),
            after: match query.after {
                _ if query.page == 1 => After::Nothing,
                Some(id) => After::Event(id.to_string()),
                None => After::Nameless,
            },
            parts: name.into_iter().chain(["event_json".to_owned(), limit.clone()]).collect(),
            limit: bare(&limit),
        })
    }

    /// Texts that the statement has somewhere.
    pub(super) fn parts(&self) -> &[String] {
        &self.parts
    }

    /// Whether a statement asks for this page.
    pub(super) fn is_met_by(&self, statement: &str) -> bool {
        let statement = bare(without_comment(statement));
        let Some((head, rest)) = statement.split_once("WHERE") else { return false };
        // No column of the order holds a string, so this is found behind all strings.
        let Some((conditions, tail)) = rest.rsplit_once(ORDER) else { return false };
        let is_page = head.starts_with("SELECTevent_json");
        let Some(limit) = tail.rfind("LIMIT").map(|at| &tail[at..]) else { return false };
        let is_asked = |expected: &String| {
            let Some(more) = conditions.strip_prefix(expected.as_str()) else { return false };
            match &self.after {
                After::Nothing => more.is_empty(),
                After::Event(id) => more.starts_with("AND") && more.contains(id.as_str()),
                After::Nameless => more.starts_with("AND"),
            }
        };
        is_page && limit == self.limit && self.conditions.iter().any(is_asked)
    }
}

/// The beginning of the order of all pages.
const ORDER: &str = "ORDERBYtoStartOfHourtimestampDESC,timestampDESC,";

/// How servers write bounds of time: by the digits of UTC, by seconds since 1970, or in the
/// column's own type.
const TIMES: [fn(i64) -> String; 3] = [
    |at| {
        let at = DateTime::from_timestamp(at, 0).unwrap_or_default();
        format!("toDateTime('{}')", at.format("%Y-%m-%d %H:%M:%S"))
    },
    |at| format!("toDateTime('{at}')"),
    |at| format!("fromUnixTimestamp64Milli({})", at * 1_000),
];

/// The conditions for a scope like `Project/acme-shop`.
fn scope_conditions(scope: &str) -> Option<Vec<String>> {
    if scope == "platform" {
        return Some(Vec::new());
    }
    let (kind, name) = scope.split_once('/')?;
    if kind == "User" {
        return Some(vec![format!("user_uid = {}", sql_text(name))]);
    }
    Some(vec![
        format!("scope_type = {}", sql_text(kind)),
        format!("scope_name = {}", sql_text(name)),
    ])
}

/// With tracing, the server puts a comment before the statement.
fn without_comment(statement: &str) -> &str {
    let statement = statement.trim_start();
    let rest = statement.strip_prefix("/*").and_then(|rest| rest.split_once("*/"));
    rest.map_or(statement, |(_, rest)| rest)
}

/// Leaves parentheses and blanks out that are in no string.
fn bare(sql: &str) -> String {
    let mut bare = String::with_capacity(sql.len());
    let mut chars = sql.chars();
    let mut is_string = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if is_string => {
                bare.push(c);
                bare.extend(chars.next());
            }
            '\'' => {
                is_string = !is_string;
                bare.push(c);
            }
            c if is_string || !(c.is_whitespace() || "()[]".contains(c)) => bare.push(c),
            _ => {}
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use events::event::MicroTime;
    use plans::queries::QueryScope;
    use serde_json::json;

    use super::*;

    const ID: &str = "f1627421-ff3c-4f19-910d-06c6cf91c7b7";

    fn slow(scope: &str, filter_sql: &str, page: u32) -> SlowQuery {
        SlowQuery {
            asked: MicroTime(0),
            latency_ms: 1.0,
            waited_ms: 0.0,
            kind: "x".to_owned(),
            scope: QueryScope::Tenant,
            question: json!({
                "scope": scope,
                "startTime": "2026-11-28T00:00:00Z",
                "endTime": "2026-11-29T00:00:00Z",
                "limit": 5,
            }),
            filter_sql: filter_sql.to_owned(),
            page,
            after: (page > 1).then(|| ID.parse().unwrap()),
            failure: None,
            rows: 0,
            bytes: 0,
            query_id: None,
        }
    }

    #[track_caller]
    fn check(query: &SlowQuery, statement: &str, is_its: bool) {
        let expected = Expected::of(query).unwrap();
        assert_eq!(expected.is_met_by(statement), is_its, "{expected:?}\n{statement}");
        assert!(!is_its || expected.parts().iter().all(|part| statement.contains(part.as_str())));
    }

    const TIMES: &str = "timestamp >= toDateTime('2026-11-28 00:00:00') \
        AND timestamp < toDateTime('2026-11-29 00:00:00')";
    const TENANT: &str = "ORDER BY toStartOfHour(timestamp) DESC, timestamp DESC, \
        scope_type DESC, scope_name DESC, user DESC, audit_id DESC LIMIT 6";
    const PLATFORM: &str = "ORDER BY toStartOfHour(timestamp) DESC, timestamp DESC, \
        api_group DESC, resource DESC, audit_id DESC LIMIT 6";
    const SELECT: &str = "SELECT event_json FROM audit.audit_logs WHERE";

    #[test]
    fn statements_of_the_real_server_are_recognized_as_they_were_recorded() {
        let shop = r"scope_type = 'Project' AND scope_name = 'a\'b\\c'";
        let of_shop = slow(r"Project/a'b\c", "", 1);
        check(&of_shop, &format!("{SELECT} {shop} AND {TIMES} {TENANT}"), true);
        let traced = format!("/* traceparent: 00-1 */ {SELECT} {shop} AND {TIMES} {TENANT}");
        check(&of_shop, &traced, true);
        check(&slow("platform", "", 1), &format!("{SELECT} {TIMES} {PLATFORM}"), true);
        let user = format!("{SELECT} user_uid = 'u-1' AND {TIMES} {PLATFORM}");
        check(&slow("User/u-1", "", 1), &user, true);
        let filter = "api_group = '' AND resource = 'pods' AND verb IN ('get', 'list')";
        let theirs = "((api_group = '' AND resource = 'pods') AND verb IN ['get', 'list'])";
        let filtered = format!("{SELECT} {TIMES} AND {theirs} {PLATFORM}");
        check(&slow("platform", filter, 1), &filtered, true);
        let unix = TIMES
            .replace("2026-11-28 00:00:00", "1795824000")
            .replace("2026-11-29 00:00:00", "1795910400");
        check(&slow("platform", "", 1), &format!("{SELECT} {unix} {PLATFORM}"), true);
        let cursor = format!(
            "(toStartOfHour(timestamp) < toStartOfHour(toDateTime('2026-11-28 23:51:21')) OR \
             (timestamp = toDateTime('2026-11-28 23:51:21') AND audit_id < '{ID}'))"
        );
        let second = format!("{SELECT} {TIMES} AND {cursor} {PLATFORM}");
        check(&slow("platform", "", 2), &second, true);
    }

    #[test]
    fn what_was_asked_otherwise_is_another_query() {
        let platform = slow("platform", "verb = 'get'", 1);
        let right = format!("{SELECT} {TIMES} AND verb = 'get' {PLATFORM}");
        check(&platform, &right, true);
        for (part, other) in [
            ("LIMIT 6", "LIMIT 61"),
            ("LIMIT 6", "LIMIT 16"),
            ("2026-11-29", "2026-11-30"),
            ("'get'", "'g e t'"),
            ("verb = 'get'", "verb = 'get' AND user = 'x'"),
            ("verb = 'get' ", ""),
            ("WHERE ", "WHERE scope_type = 'Project' AND scope_name = 'x' AND "),
            ("SELECT event_json", "SELECT count()"),
            ("ORDER BY toStartOfHour(timestamp) DESC, ", "ORDER BY "),
        ] {
            let statement = right.replace(part, other);
            assert_ne!(statement, right, "{part}");
            check(&platform, &statement, false);
        }
        // A page is told from the others of its question by where it goes on.
        let behind =
            |id: &str| right.replace("'get' ORDER", &format!("'get' AND x < '{id}' ORDER"));
        check(&platform, &behind(ID), false);
        let next = slow("platform", "verb = 'get'", 2);
        check(&next, &behind(ID), true);
        check(&next, &behind("00000000-ff3c-4f19-910d-06c6cf91c7b7"), false);
        check(&next, &right, false);
        let behind_nobody = SlowQuery { after: None, ..next };
        check(&behind_nobody, &behind("other"), true);
    }

    #[test]
    fn a_string_that_looks_like_sql_stays_a_string() {
        let filter = r"resource_name = '\') ORDER BY (x) LIMIT 1'";
        let query = slow("platform", filter, 1);
        check(&query, &format!("{SELECT} {TIMES} AND {filter} {PLATFORM}"), true);
        assert_eq!(bare(r"(a = 'b (\' ) c' )"), r"a='b (\' ) c'");
    }

    #[test]
    fn a_damaged_question_has_no_statement() {
        assert_eq!(Expected::of(&slow("Project", "", 1)), None);
        let nothing = SlowQuery { question: json!({}), ..slow("platform", "", 1) };
        assert_eq!(Expected::of(&nothing), None);
    }
}
