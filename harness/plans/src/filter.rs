//! Filters of queries: a conjunction of conditions on fields of events. One filter has three
//! readings, which agree: CEL for the query API, SQL for the table, and [`Filter::holds`], which
//! decides by what an event was planned to say. Pure.
//!
//! In a profile, a filter is a map of fields:
//!
//! ```yaml
//! verb: delete
//! resource: {in: [pods, secrets]}
//! username: {not: "system:apiserver"}
//! status: {at_least: 400, below: 500}
//! ```

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use chrono::{DateTime, SecondsFormat};
use events::row::Columns;
use events::timeline::UnixMicros;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// A moment in whole seconds since 1970: the query API cuts all bounds of time to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixSeconds(pub i64);

/// A conjunction of conditions. An empty one admits every event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenFilter", into = "WrittenFilter")]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// A condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Text {
        field: TextField,
        test: TextTest,
        is_negated: bool,
    },
    Status(StatusTest),
    /// The audit ID is in a range.
    Ids(IdRange),
    /// The request was received at this moment or before.
    ReceivedAtMost(UnixSeconds),
}

/// A field with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TextField {
    Verb,
    ApiGroup,
    Resource,
    Namespace,
    Name,
    Username,
    UserUid,
}

/// What a text must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextTest {
    Is(String),
    In(Vec<String>),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
}

/// What a status code must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusTest {
    Is(u16),
    IsNot(u16),
    In(Vec<u16>),
    AtLeast(u16),
    Below(u16),
}

/// IDs by the first 32 bits of their second half, from `from` to below `until`, which is at most
/// 2^32. This is the order in which ClickHouse sorts UUIDs. Random IDs lie in 0x80000000 to
/// 0xbfffffff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdRange {
    pub from: u64,
    pub until: u64,
}

impl UnixSeconds {
    /// The second that a moment is in.
    pub fn of(at: UnixMicros) -> Self {
        Self(at.div_euclid(1_000_000))
    }

    /// The first whole second that is not before a moment.
    pub fn from_then(at: UnixMicros) -> Self {
        Self::of(at + 999_999)
    }

    pub fn micros(self) -> UnixMicros {
        self.0 * 1_000_000
    }

    pub fn millis(self) -> i64 {
        self.0 * 1_000
    }

    /// As the query API takes it, like `2026-11-28T06:00:00Z`.
    pub fn rfc3339(self) -> String {
        let at = DateTime::from_timestamp(self.0, 0).unwrap_or_default();
        at.to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0 + seconds)
    }
}

impl TextField {
    pub const ALL: [Self; 7] = [
        Self::Verb,
        Self::ApiGroup,
        Self::Resource,
        Self::Namespace,
        Self::Name,
        Self::Username,
        Self::UserUid,
    ];

    /// As a profile names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verb => "verb",
            Self::ApiGroup => "api_group",
            Self::Resource => "resource",
            Self::Namespace => "namespace",
            Self::Name => "name",
            Self::Username => "username",
            Self::UserUid => "user_uid",
        }
    }

    fn cel(self) -> &'static str {
        match self {
            Self::Verb => "verb",
            Self::ApiGroup => "objectRef.apiGroup",
            Self::Resource => "objectRef.resource",
            Self::Namespace => "objectRef.namespace",
            Self::Name => "objectRef.name",
            Self::Username => "user.username",
            Self::UserUid => "user.uid",
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::Verb => "verb",
            Self::ApiGroup => "api_group",
            Self::Resource => "resource",
            Self::Namespace => "namespace",
            Self::Name => "resource_name",
            Self::Username => "user",
            Self::UserUid => "user_uid",
        }
    }

    fn of(self, columns: &Columns) -> &str {
        match self {
            Self::Verb => columns.verb,
            Self::ApiGroup => columns.api_group,
            Self::Resource => columns.resource,
            Self::Namespace => &columns.namespace,
            Self::Name => &columns.resource_name,
            Self::Username => &columns.user,
            Self::UserUid => &columns.user_uid,
        }
    }
}

impl Filter {
    /// A filter of these conditions, all of which must hold.
    pub fn new(conditions: Vec<Condition>) -> Self {
        Self { conditions }
    }

    /// The filter with one condition more.
    #[must_use]
    pub fn and(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// In the query API's language, or an empty text if there is no condition.
    pub fn to_cel(&self) -> String {
        self.conditions.iter().map(Condition::to_cel).collect::<Vec<_>>().join(" && ")
    }

    /// As a condition of SQL over the table's standard columns, or an empty text.
    pub fn to_sql(&self) -> String {
        self.conditions.iter().map(Condition::to_sql).collect::<Vec<_>>().join(" AND ")
    }

    /// Whether an event is admitted, by its columns and its audit ID.
    pub fn holds(&self, columns: &Columns, audit_id: Uuid) -> bool {
        self.conditions.iter().all(|condition| condition.holds(columns, audit_id))
    }
}

impl Condition {
    /// A text that must be this one.
    pub fn is(field: TextField, text: &str) -> Self {
        Self::Text { field, test: TextTest::Is(text.to_owned()), is_negated: false }
    }

    fn to_cel(&self) -> String {
        match self {
            Self::Text { field, test, is_negated } => test.to_cel(*field, *is_negated),
            Self::Status(test) => test.written("responseStatus.code", CEL),
            Self::Ids(range) => {
                let bounds =
                    range.bounds().map(|(operator, bound)| format!("auditID {operator} '{bound}'"));
                bounds.collect::<Vec<_>>().join(" && ")
            }
            Self::ReceivedAtMost(at) => {
                format!("requestReceivedTimestamp <= timestamp('{}')", at.rfc3339())
            }
        }
    }

    fn to_sql(&self) -> String {
        match self {
            Self::Text { field, test, is_negated } => test.to_sql(*field, *is_negated),
            Self::Status(test) => test.written("status_code", SQL),
            Self::Ids(range) => {
                let bounds = range
                    .bounds()
                    .map(|(operator, bound)| format!("audit_id {operator} toUUID('{bound}')"));
                bounds.collect::<Vec<_>>().join(" AND ")
            }
            Self::ReceivedAtMost(at) => {
                format!("timestamp <= fromUnixTimestamp64Milli({})", at.millis())
            }
        }
    }

    fn holds(&self, columns: &Columns, audit_id: Uuid) -> bool {
        match self {
            Self::Text { field, test, is_negated } => test.holds(field.of(columns)) != *is_negated,
            Self::Status(test) => test.holds(columns.status_code),
            Self::Ids(range) => range.has(audit_id),
            Self::ReceivedAtMost(at) => columns.timestamp_ms <= at.millis(),
        }
    }
}

impl TextTest {
    fn to_cel(&self, field: TextField, is_negated: bool) -> String {
        let name = field.cel();
        let call = |function: &str, text: &str| format!("{name}.{function}({})", cel_text(text));
        let positive = match self {
            Self::Is(text) if is_negated => return format!("{name} != {}", cel_text(text)),
            Self::Is(text) => format!("{name} == {}", cel_text(text)),
            Self::In(texts) => format!("{name} in [{}]", joined(texts, |text| cel_text(text))),
            Self::StartsWith(text) => call("startsWith", text),
            Self::EndsWith(text) => call("endsWith", text),
            Self::Contains(text) => call("contains", text),
        };
        if is_negated { format!("!({positive})") } else { positive }
    }

    fn to_sql(&self, field: TextField, is_negated: bool) -> String {
        let name = field.column();
        let call = |function: &str, text: &str| format!("{function}({name}, {})", sql_text(text));
        let positive = match self {
            Self::Is(text) if is_negated => return format!("{name} != {}", sql_text(text)),
            Self::Is(text) => format!("{name} = {}", sql_text(text)),
            Self::In(texts) => format!("{name} IN ({})", joined(texts, |text| sql_text(text))),
            Self::StartsWith(text) => call("startsWith", text),
            Self::EndsWith(text) => call("endsWith", text),
            Self::Contains(text) => format!("{} > 0", call("position", text)),
        };
        if is_negated { format!("NOT ({positive})") } else { positive }
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Is(text) => value == text,
            Self::In(texts) => texts.iter().any(|text| value == text),
            Self::StartsWith(text) => value.starts_with(text.as_str()),
            Self::EndsWith(text) => value.ends_with(text.as_str()),
            Self::Contains(text) => value.contains(text.as_str()),
        }
    }
}

/// The words of a language for what has different ones.
#[derive(Debug, Clone, Copy)]
struct Words {
    equals: &'static str,
    is_in: &'static str,
    open: char,
    close: char,
}

const CEL: Words = Words { equals: "==", is_in: "in", open: '[', close: ']' };
const SQL: Words = Words { equals: "=", is_in: "IN", open: '(', close: ')' };

impl StatusTest {
    fn written(&self, name: &str, Words { equals, is_in, open, close }: Words) -> String {
        match self {
            Self::Is(code) => format!("{name} {equals} {code}"),
            Self::IsNot(code) => format!("{name} != {code}"),
            Self::In(codes) => {
                format!("{name} {is_in} {open}{}{close}", joined(codes, u16::to_string))
            }
            Self::AtLeast(code) => format!("{name} >= {code}"),
            Self::Below(code) => format!("{name} < {code}"),
        }
    }

    fn holds(&self, value: u16) -> bool {
        match self {
            Self::Is(code) => value == *code,
            Self::IsNot(code) => value != *code,
            Self::In(codes) => codes.contains(&value),
            Self::AtLeast(code) => value >= *code,
            Self::Below(code) => value < *code,
        }
    }
}

impl IdRange {
    pub const ALL: Self = Self { from: 0, until: 1 << 32 };

    pub fn has(self, id: Uuid) -> bool {
        (self.from..self.until).contains(&(id.as_u64_pair().1 >> 32))
    }

    /// Two ranges of about as many IDs each, if they are random; `None` if it cannot be divided.
    pub fn halves(self) -> Option<[Self; 2]> {
        let (from, until) = (self.from.max(RANDOM.from), self.until.min(RANDOM.until));
        let middle =
            if until > from + 1 { from.midpoint(until) } else { self.from.midpoint(self.until) };
        let is_inside = self.from < middle && middle < self.until;
        let halves = [Self { until: middle, ..self }, Self { from: middle, ..self }];
        is_inside.then_some(halves)
    }

    /// The bounds that are needed, as IDs: a bound that excludes none is left out.
    fn bounds(self) -> impl Iterator<Item = (&'static str, Uuid)> {
        let of = |prefix: u64| Uuid::from_u64_pair(0, prefix << 32);
        let lower = (self.from > 0).then(|| (">=", of(self.from)));
        let upper = (self.until < Self::ALL.until).then(|| ("<", of(self.until)));
        // Without any bound, the condition must still be one.
        let none = (lower.is_none() && upper.is_none()).then(|| (">=", Uuid::nil()));
        lower.into_iter().chain(upper).chain(none)
    }
}

const RANDOM: IdRange = IdRange { from: 0x8000_0000, until: 0xc000_0000 };

fn joined<T>(values: &[T], written: impl Fn(&T) -> String) -> String {
    values.iter().map(written).collect::<Vec<_>>().join(", ")
}

/// A string of CEL. Control characters are escaped, for they may not stand in one.
fn cel_text(text: &str) -> String {
    let mut quoted = String::from("'");
    for c in text.chars() {
        match c {
            '\\' | '\'' => quoted.extend(['\\', c]),
            c if c.is_control() => write!(quoted, "\\u{:04x}", u32::from(c)).expect("it has room"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// A string of ClickHouse's SQL.
pub fn sql_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A filter as a profile has it: conditions by field.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct WrittenFilter(BTreeMap<String, WrittenTests>);

/// The conditions on one field, all of which must hold.
#[derive(Debug, Clone, Default, Serialize)]
struct WrittenTests {
    #[serde(skip_serializing_if = "Option::is_none")]
    is: Option<Scalar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not: Option<Scalar>,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    is_in: Option<Vec<Scalar>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_in: Option<Vec<Scalar>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_with: Option<Scalar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_with: Option<Scalar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contains: Option<Scalar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<Scalar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    below: Option<Scalar>,
}

/// A text or a whole number, as a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfScalar;
        impl Visitor<'_> for OfScalar {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }
        }
        deserializer.deserialize_any(OfScalar)
    }
}

/// A text or a number alone means that the field is this.
impl<'de> Deserialize<'de> for WrittenTests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfTests;
        impl<'de> Visitor<'de> for OfTests {
            type Value = WrittenTests;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, or a map like {in: [pods, secrets]}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WrittenTests, E> {
                Ok(WrittenTests { is: Some(Scalar(text.to_owned())), ..WrittenTests::default() })
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<WrittenTests, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<WrittenTests, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WrittenTests, A::Error> {
                let mut tests = WrittenTests::default();
                while let Some(key) = map.next_key::<String>()? {
                    let one = match key.as_str() {
                        "is" => &mut tests.is,
                        "not" => &mut tests.not,
                        "starts_with" => &mut tests.starts_with,
                        "ends_with" => &mut tests.ends_with,
                        "contains" => &mut tests.contains,
                        "at_least" => &mut tests.at_least,
                        "below" => &mut tests.below,
                        "in" => {
                            tests.is_in = Some(map.next_value()?);
                            continue;
                        }
                        "not_in" => {
                            tests.not_in = Some(map.next_value()?);
                            continue;
                        }
                        _ => return Err(de::Error::unknown_field(&key, &TESTS)),
                    };
                    *one = Some(map.next_value()?);
                }
                Ok(tests)
            }
        }
        deserializer.deserialize_any(OfTests)
    }
}

const TESTS: [&str; 9] =
    ["is", "not", "in", "not_in", "starts_with", "ends_with", "contains", "at_least", "below"];

const STATUS: &str = "status";

impl TryFrom<WrittenFilter> for Filter {
    type Error = String;

    fn try_from(written: WrittenFilter) -> Result<Self, String> {
        let mut filter = Self::default();
        for (name, tests) in written.0 {
            let field = TextField::ALL.into_iter().find(|field| field.name() == name);
            let before = filter.conditions.len();
            match field {
                Some(field) => tests.of_text(field, &mut filter.conditions),
                None if name == STATUS => tests.of_status(&mut filter.conditions),
                None => {
                    let known = joined(&TextField::ALL, |field| field.name().to_owned());
                    return Err(format!(
                        "a filter has no field {name:?}; it has {known}, {STATUS}"
                    ));
                }
            }
            .map_err(|fact| format!("the filter's field {name} {fact}"))?;
            if filter.conditions.len() == before {
                return Err(format!("the filter's field {name} has no condition"));
            }
        }
        Ok(filter)
    }
}

impl WrittenTests {
    fn of_text(self, field: TextField, conditions: &mut Vec<Condition>) -> Result<(), String> {
        let Self { is, not, is_in, not_in, starts_with, ends_with, contains, at_least, below } =
            self;
        if at_least.is_some() || below.is_some() {
            return Err("is a text: at_least and below are of numbers".to_owned());
        }
        let list = |list: Vec<Scalar>| {
            let of: Vec<String> = list.into_iter().map(|Scalar(text)| text).collect();
            let empty = "has an empty list, which would admit nothing";
            if of.is_empty() { Err(empty.to_owned()) } else { Ok(TextTest::In(of)) }
        };
        let mut add = |test: Option<TextTest>, is_negated| {
            conditions.extend(test.map(|test| Condition::Text { field, test, is_negated }));
        };
        add(is.map(|Scalar(text)| TextTest::Is(text)), false);
        add(not.map(|Scalar(text)| TextTest::Is(text)), true);
        add(is_in.map(list).transpose()?, false);
        add(not_in.map(list).transpose()?, true);
        add(starts_with.map(|Scalar(text)| TextTest::StartsWith(text)), false);
        add(ends_with.map(|Scalar(text)| TextTest::EndsWith(text)), false);
        add(contains.map(|Scalar(text)| TextTest::Contains(text)), false);
        Ok(())
    }

    fn of_status(self, conditions: &mut Vec<Condition>) -> Result<(), String> {
        let Self { is, not, is_in, not_in, starts_with, ends_with, contains, at_least, below } =
            self;
        if [&not_in.is_some(), &starts_with.is_some(), &ends_with.is_some(), &contains.is_some()]
            .contains(&&true)
        {
            return Err("is a number: it takes is, not, in, at_least and below".to_owned());
        }
        let code = |Scalar(text): Scalar| {
            text.parse::<u16>().map_err(|_| format!("has {text:?}, which is no status code"))
        };
        let one = |value: Option<Scalar>, test: fn(u16) -> StatusTest| {
            value.map(|value| code(value).map(test)).transpose()
        };
        let list = is_in.map(|list| list.into_iter().map(code).collect::<Result<Vec<_>, _>>());
        let list = list.transpose()?;
        if list.as_ref().is_some_and(Vec::is_empty) {
            return Err("has an empty list, which would admit nothing".to_owned());
        }
        let tests = [
            one(is, StatusTest::Is)?,
            one(not, StatusTest::IsNot)?,
            list.map(StatusTest::In),
            one(at_least, StatusTest::AtLeast)?,
            one(below, StatusTest::Below)?,
        ];
        conditions.extend(tests.into_iter().flatten().map(Condition::Status));
        Ok(())
    }
}

/// Conditions that no profile can have are left out.
impl From<Filter> for WrittenFilter {
    fn from(filter: Filter) -> Self {
        let mut written = Self::default();
        for condition in filter.conditions {
            match condition {
                Condition::Text { field, test, is_negated } => {
                    let tests = written.0.entry(field.name().to_owned()).or_default();
                    let all = |of: Vec<String>| Some(of.into_iter().map(Scalar).collect());
                    let one = |text: String| Some(Scalar(text));
                    match (test, is_negated) {
                        (TextTest::Is(text), false) => tests.is = one(text),
                        (TextTest::Is(text), true) => tests.not = one(text),
                        (TextTest::In(of), false) => tests.is_in = all(of),
                        (TextTest::In(of), true) => tests.not_in = all(of),
                        (TextTest::StartsWith(text), false) => tests.starts_with = one(text),
                        (TextTest::EndsWith(text), false) => tests.ends_with = one(text),
                        (TextTest::Contains(text), false) => tests.contains = one(text),
                        (_, true) => {}
                    }
                }
                Condition::Status(test) => {
                    let tests = written.0.entry(STATUS.to_owned()).or_default();
                    let code = |code: u16| Some(Scalar(code.to_string()));
                    match test {
                        StatusTest::Is(of) => tests.is = code(of),
                        StatusTest::IsNot(of) => tests.not = code(of),
                        StatusTest::AtLeast(of) => tests.at_least = code(of),
                        StatusTest::Below(of) => tests.below = code(of),
                        StatusTest::In(codes) => {
                            let codes = codes.iter().map(|code| Scalar(code.to_string()));
                            tests.is_in = Some(codes.collect());
                        }
                    }
                }
                Condition::Ids(_) | Condition::ReceivedAtMost(_) => {}
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Filter, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn a_filter_is_written_in_both_languages() {
        let check = |yaml: &str, cel: &str, sql: &str| {
            let filter = read(yaml).unwrap();
            assert_eq!((filter.to_cel().as_str(), filter.to_sql().as_str()), (cel, sql), "{yaml}");
            let again = serde_saphyr::to_string(&filter).unwrap();
            assert_eq!(read(&again).unwrap(), filter, "{again}");
        };
        check("{}", "", "");
        check("verb: get", "verb == 'get'", "verb = 'get'");
        check("{name: 7}", "objectRef.name == '7'", "resource_name = '7'");
        check(
            "resource: {in: [pods, secrets]}",
            "objectRef.resource in ['pods', 'secrets']",
            "resource IN ('pods', 'secrets')",
        );
        check(
            "{api_group: {not: apps}, namespace: {not_in: [a]}}",
            "objectRef.apiGroup != 'apps' && !(objectRef.namespace in ['a'])",
            "api_group != 'apps' AND NOT (namespace IN ('a'))",
        );
        check(
            "username: {starts_with: \"o'\", ends_with: '\\', contains: \"\\t\"}",
            "user.username.startsWith('o\\'') && user.username.endsWith('\\\\') && \
             user.username.contains('\\u0009')",
            "startsWith(user, 'o\\'') AND endsWith(user, '\\\\') AND position(user, '\t') > 0",
        );
        check(
            "status: {at_least: 400, below: 500, not: 404}",
            "responseStatus.code != 404 && responseStatus.code >= 400 && responseStatus.code < 500",
            "status_code != 404 AND status_code >= 400 AND status_code < 500",
        );
        check(
            "status: {in: [200, 201]}",
            "responseStatus.code in [200, 201]",
            "status_code IN (200, 201)",
        );
    }

    #[test]
    fn what_is_no_filter_is_told_with_its_field() {
        let check = |yaml: &str, part: &str| {
            let error = read(yaml).unwrap_err();
            assert!(error.contains(part), "{yaml}: {error}");
        };
        check("level: Metadata", "has no field \"level\"");
        check("verb: {}", "field verb has no condition");
        check("verb: {in: []}", "field verb has an empty list");
        check("verb: {at_least: 3}", "field verb is a text");
        check("verb: {like: x}", "like");
        check("verb: [get]", "a text, a number, or a map");
        check("status: {starts_with: 4}", "field status is a number");
        check("status: many", "\"many\", which is no status code");
        check("status: 70000", "\"70000\", which is no status code");
        check("status: {in: []}", "field status has an empty list");
        check("verb == 'get'", "");
    }

    #[test]
    fn ids_are_divided_where_random_ones_lie() {
        let mut open = vec![IdRange::ALL];
        let mut leaves = Vec::new();
        while let Some(range) = open.pop() {
            match range.halves() {
                Some(halves) if range.until - range.from > 1 << 28 => open.extend(halves),
                _ => leaves.push(range),
            }
        }
        leaves.sort_unstable();
        assert_eq!((leaves[0].from, leaves[leaves.len() - 1].until), (0, 1 << 32));
        assert!(leaves.is_sorted_by(|one, other| one.until == other.from), "{leaves:?}");
        assert_eq!(IdRange { from: 7, until: 8 }.halves(), None);
        let range = IdRange { from: 0x9abc_0001, until: 0x9abc_0002 };
        let id = Uuid::from_u64_pair(u64::MAX, 0x9abc_0001 << 32);
        assert!(range.has(id) && !IdRange { from: 0, until: range.from }.has(id));
        let filter = Filter::new(vec![Condition::Ids(range)]);
        let cel = "auditID >= '00000000-0000-0000-9abc-000100000000' \
                   && auditID < '00000000-0000-0000-9abc-000200000000'";
        assert_eq!(filter.to_cel(), cel);
    }

    #[test]
    fn seconds_are_cut_and_written_as_the_api_reads_them() {
        assert_eq!(UnixSeconds::of(-1), UnixSeconds(-1));
        assert_eq!(UnixSeconds::of(1_999_999), UnixSeconds(1));
        assert_eq!(UnixSeconds::from_then(1_000_001), UnixSeconds(2));
        assert_eq!(UnixSeconds(1_795_845_600).rfc3339(), "2026-11-28T06:00:00Z");
    }
}
