//! Asks the questions of `docs/history.md` without their SQL: the query API and the table are asked
//! for the rows that each question is about, and what the question makes of them is made here.
//!
//! All ten can be asked of the API, though it neither groups nor counts rows by several columns,
//! and has no filter for subresources: that much of a question is left to whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Datelike as _, NaiveDate};
use clap::Parser as _;
use edges::exit::chain;
use events::script::Script;
use plans::spec::Targets;
use queries::api::{Api, AskLimits};
use queries::check::check_page;
use queries::door::Door;
use queries::page::Page;
use queries::question::{
    Condition, Filter, LIMIT_MAX, Scope, StatusTest, TextField, TextTest, UnixSeconds,
};
use queries::sql::Sql;
use queries::windows::Windows;
use runs::run_dir::RunDir;
use serde_json::Value;
use stores::clickhouse::ClickHouse;
use uuid::Uuid;

use crate::readback::Flags;
use crate::stack::Stack;

/// What a question needs of a row.
#[derive(Debug, Clone)]
struct Row {
    millis: i64,
    user: String,
    verb: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    status: u64,
    scope: (String, String),
}

/// A question: which rows it is about, and what becomes of them.
struct Asked {
    scope: Scope,
    filter: Vec<Condition>,
    /// The first day, and the first one that is out of range again.
    days: (&'static str, &'static str),
    answer: fn(Vec<Row>) -> Vec<Vec<String>>,
}

fn is(field: TextField, value: &str) -> Condition {
    Condition::is(field, value)
}

fn has(field: TextField, test: TextTest) -> Condition {
    Condition::Text { field, test, is_negated: false }
}

fn has_not(field: TextField, test: TextTest) -> Condition {
    Condition::Text { field, test, is_negated: true }
}

fn one_of(values: &[&str]) -> TextTest {
    TextTest::In(values.iter().map(|value| (*value).to_owned()).collect())
}

fn production() -> Condition {
    has(TextField::Namespace, TextTest::EndsWith("-prod".to_owned()))
}

/// People's names are addresses; parts of the system have none.
fn person() -> Condition {
    has(TextField::Username, TextTest::Contains("@".to_owned()))
}

fn no_system() -> Condition {
    has_not(TextField::Username, TextTest::StartsWith("system:".to_owned()))
}

fn writes() -> Condition {
    has(TextField::Verb, one_of(&["create", "update", "patch", "delete"]))
}

/// The ten questions, in the order of the guide.
fn questions() -> [Asked; 10] {
    let asked = |filter, days, answer| Asked { scope: Scope::Platform, filter, days, answer };
    let all_days = ("2026-06-03", "2026-09-01");
    let (last_week, august) = (("2026-08-25", "2026-09-01"), ("2026-08-01", "2026-09-01"));
    let user = "edwina.collier@kirlin-retail.example.com";
    let secrets = is(TextField::Resource, "secrets");
    let no_node = TextTest::StartsWith("system:node:".to_owned());
    let roles = has(TextField::Resource, one_of(&["roles", "rolebindings"]));
    [
        asked(vec![is(TextField::Username, user)], ("2026-08-24", "2026-08-31"), person_week),
        asked(
            vec![
                is(TextField::Resource, "pods"),
                has(TextField::Verb, one_of(&["get", "create"])),
                production(),
            ],
            all_days,
            shells,
        ),
        asked(
            vec![
                secrets,
                is(TextField::Verb, "get"),
                Condition::Status(StatusTest::Is(200)),
                no_system(),
            ],
            august,
            secret_readers,
        ),
        asked(vec![is(TextField::Verb, "delete"), production(), no_system()], last_week, deletions),
        asked(
            vec![is(TextField::ApiGroup, "rbac.authorization.k8s.io"), roles, writes()],
            last_week,
            rights,
        ),
        Asked {
            scope: Scope::Project("facetoface-48540e".to_owned()),
            filter: vec![
                is(TextField::ApiGroup, "apps"),
                is(TextField::Resource, "deployments"),
                is(TextField::Namespace, "grassroots-dev"),
                is(TextField::Name, "advanced-cache"),
                writes(),
                person(),
            ],
            days: all_days,
            answer: hands,
        },
        asked(
            vec![Condition::Status(StatusTest::Is(403)), has_not(TextField::Username, no_node)],
            august,
            refusals,
        ),
        asked(vec![person()], all_days, joined_and_left),
        asked(Vec::new(), ("2026-06-08", "2026-08-31"), week),
        asked(Vec::new(), last_week, load),
    ]
}

/// Asks every question through both doors, and expects the answers of the guide.
pub(crate) fn check_doors(stack: &Stack, run: &str, documented: &[Vec<Vec<String>>]) {
    let (_, plan) = RunDir::open(&stack.path(run)).unwrap();
    let flags = ["x", "--query-api", stack.address("QUERY_API_URL"), "--clickhouse"];
    let flags = flags.into_iter().chain([stack.address("CLICKHOUSE_URL")]);
    let flags = Flags::try_parse_from(flags).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let api = Api::from_args(&flags.api, AskLimits::default()).unwrap();
        let server = ClickHouse::connect(&flags.clickhouse, &Targets::default()).await.unwrap();
        let sql = Sql::new(server, Duration::from_mins(1));
        assert_eq!(documented.len(), questions().len());
        for (number, (asked, documented)) in (1..).zip(questions().into_iter().zip(documented)) {
            let of_api = read(&api, &plan.script, &asked).await;
            let of_table = read(&sql, &plan.script, &asked).await;
            let ids = of_api.keys().collect::<BTreeSet<_>>();
            assert!(ids == of_table.keys().collect(), "the doors differ in question {number}");
            let rows = of_api.into_values().map(|row| row.expect("the API shows all of a row"));
            let mut rows: Vec<Row> = rows.collect();
            rows.sort_by_key(|row| row.millis);
            assert_eq!((asked.answer)(rows), *documented, "question {number}");
        }
    });
}

/// All rows that a question is about, and what they say, if the door shows it. The API takes
/// periods of at most thirty days, so a longer one is read in several.
async fn read(door: &impl Door, script: &Script, asked: &Asked) -> BTreeMap<Uuid, Option<Row>> {
    let second = |day: &str| {
        let midnight = day.parse::<NaiveDate>().unwrap().and_hms_opt(0, 0, 0).unwrap();
        UnixSeconds(midnight.and_utc().timestamp())
    };
    let period = (second(asked.days.0), second(asked.days.1));
    let filter = Filter::new(asked.filter.clone());
    let mut windows = Windows::new(asked.scope.clone(), filter, period, LIMIT_MAX);
    let mut rows = BTreeMap::new();
    while let Some(question) = windows.question() {
        let page = door.ask(&question, None).await;
        let page = page.unwrap_or_else(|error| panic!("{question:?}: {}", chain(&error)));
        let step = check_page(script, &question, &page);
        assert_eq!(step.findings, [], "{question:?} at {}", door.place());
        windows.take(step.oldest, page.next.is_some());
        let mut said = said(&page).into_iter();
        for shown in &page.events {
            let row = said.next();
            // A window is asked for up to a second more than it has.
            if shown.received.is_some_and(|at| at < period.1.micros()) {
                rows.insert(shown.id.unwrap(), row);
            }
        }
    }
    assert_eq!(windows.unread(), []);
    rows
}

/// What the events of a page say; nothing, if the door shows no more than their places.
fn said(page: &Page) -> Vec<Row> {
    if page.body.is_empty() {
        return Vec::new();
    }
    let body: Value = serde_json::from_slice(&page.body).unwrap();
    let results = body["status"]["results"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |event: &Value| {
        let object = &event["objectRef"];
        let received = event["requestReceivedTimestamp"].as_str().unwrap();
        let scope = ["type", "name"]
            .map(|part| text(&event["annotations"][format!("platform.miloapis.com/scope.{part}")]));
        Row {
            millis: DateTime::parse_from_rfc3339(received).unwrap().timestamp_millis(),
            user: text(&event["user"]["username"]),
            verb: text(&event["verb"]),
            resource: text(&object["resource"]),
            subresource: text(&object["subresource"]),
            namespace: text(&object["namespace"]),
            name: text(&object["name"]),
            status: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
            scope: scope.into(),
        }
    };
    results.map(row).collect()
}

impl Row {
    fn at(&self) -> String {
        self.format("%Y-%m-%d %H:%M:%S")
    }

    fn day(&self) -> String {
        self.format("%Y-%m-%d")
    }

    fn format(&self, form: &str) -> String {
        DateTime::from_timestamp_millis(self.millis).unwrap().format(form).to_string()
    }

    fn is_person(&self) -> bool {
        self.user.contains('@')
    }
}

/// Some fields of each row, in the order of time and then of another field.
fn listed<const N: usize>(
    mut rows: Vec<Row>,
    then: fn(&Row) -> [&str; 3],
    fields: fn(&Row) -> [String; N],
) -> Vec<Vec<String>> {
    rows.sort_by(|one, other| (one.millis, then(one)).cmp(&(other.millis, then(other))));
    rows.into_iter().map(|row| Vec::from(fields(&row))).collect()
}

fn person_week(rows: Vec<Row>) -> Vec<Vec<String>> {
    let mut lines = listed(
        rows,
        |row| [&row.verb, &row.resource, &row.name],
        |row| {
            let [verb, resource] = [&row.verb, &row.resource].map(Clone::clone);
            let [namespace, name] = [&row.namespace, &row.name].map(Clone::clone);
            [row.at(), verb, resource, namespace, name, row.status.to_string()]
        },
    );
    lines.truncate(12);
    lines
}

fn shells(mut rows: Vec<Row>) -> Vec<Vec<String>> {
    rows.retain(|row| ["exec", "attach"].contains(&row.subresource.as_str()));
    listed(
        rows,
        |row| [&row.name, "", ""],
        |row| {
            let [user, namespace, pod] = [&row.user, &row.namespace, &row.name].map(Clone::clone);
            [row.at(), user, namespace, pod, row.status.to_string()]
        },
    )
}

/// Groups rows.
fn grouped<K: Ord>(rows: Vec<Row>, key: impl Fn(&Row) -> K) -> BTreeMap<K, Vec<Row>> {
    let mut groups: BTreeMap<K, Vec<Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(key(&row)).or_default().push(row);
    }
    groups
}

fn distinct<T: Ord>(rows: &[Row], value: impl Fn(&Row) -> T) -> usize {
    rows.iter().map(value).collect::<BTreeSet<T>>().len()
}

/// The largest groups, and of equal ones the first.
fn largest<K>(groups: BTreeMap<K, Vec<Row>>, count: usize) -> Vec<(K, Vec<Row>)> {
    let mut groups: Vec<(K, Vec<Row>)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
    groups.truncate(count);
    groups
}

fn secret_readers(rows: Vec<Row>) -> Vec<Vec<String>> {
    let readers = largest(grouped(rows, |row| row.user.clone()), 5);
    let line = |(user, rows): (String, Vec<Row>)| {
        let secret = |row: &Row| (row.scope.1.clone(), row.namespace.clone(), row.name.clone());
        vec![user, rows.len().to_string(), distinct(&rows, secret).to_string()]
    };
    readers.into_iter().map(line).collect()
}

fn deletions(rows: Vec<Row>) -> Vec<Vec<String>> {
    listed(
        rows,
        |row| [&row.name, "", ""],
        |row| {
            let [user, resource] = [&row.user, &row.resource].map(Clone::clone);
            let [namespace, name] = [&row.namespace, &row.name].map(Clone::clone);
            [row.at(), user, resource, namespace, name, row.status.to_string()]
        },
    )
}

fn rights(rows: Vec<Row>) -> Vec<Vec<String>> {
    listed(
        rows,
        |row| [&row.name, "", ""],
        |row| {
            let [user, verb, resource] = [&row.user, &row.verb, &row.resource].map(Clone::clone);
            let [namespace, name] = [&row.namespace, &row.name].map(Clone::clone);
            [row.at(), user, verb, resource, namespace, name, row.status.to_string()]
        },
    )
}

fn hands(rows: Vec<Row>) -> Vec<Vec<String>> {
    listed(
        rows,
        |row| [&row.user, "", ""],
        |row| [row.at(), row.user.clone(), row.verb.clone(), row.status.to_string()],
    )
}

fn refusals(rows: Vec<Row>) -> Vec<Vec<String>> {
    let wanted = |row: &Row| [&row.user, &row.verb, &row.resource].map(Clone::clone);
    let line = |(wanted, rows): ([String; 3], Vec<Row>)| {
        let counts = [rows.len(), distinct(&rows, Row::day)].map(|count| count.to_string());
        wanted.into_iter().chain(counts).collect()
    };
    largest(grouped(rows, wanted), 6).into_iter().map(line).collect()
}

fn joined_and_left(rows: Vec<Row>) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    for (user, rows) in grouped(rows, |row| row.user.clone()) {
        let (first, last) = (rows[0].day(), rows[rows.len() - 1].day());
        let has_joined = *first >= *"2026-07-06";
        if rows.len() >= 20 && (has_joined || *last < *"2026-08-17") {
            let what = if has_joined { "joined" } else { "left" };
            lines.push(vec![user, first, last, rows.len().to_string(), what.to_owned()]);
        }
    }
    lines.sort_by_key(|line| line[4].clone());
    lines
}

fn week(rows: Vec<Row>) -> Vec<Vec<String>> {
    let weekday = |row: &Row| {
        let at = DateTime::from_timestamp_millis(row.millis).unwrap();
        at.weekday().number_from_monday()
    };
    let line = |(weekday, rows): (u32, Vec<Row>)| {
        let days = distinct(&rows, Row::day);
        let people = rows.iter().filter(|row| row.is_person()).count();
        let leases = rows.iter().filter(|row| row.resource == "leases").count();
        let a_day = [people, leases, rows.len()].map(|count| ratio(count, days, 1.0));
        std::iter::once(weekday.to_string()).chain(a_day).collect()
    };
    grouped(rows, weekday).into_iter().map(line).collect()
}

fn load(rows: Vec<Row>) -> Vec<Vec<String>> {
    let all = rows.len();
    let line = |((kind, name), rows): ((String, String), Vec<Row>)| {
        let failed = rows.iter().filter(|row| row.status >= 400).count();
        let shares = [ratio(rows.len() * 100, all, 10.0), ratio(failed * 100, rows.len(), 10.0)];
        [kind, name, rows.len().to_string()].into_iter().chain(shares).collect()
    };
    largest(grouped(rows, |row| row.scope.clone()), 5).into_iter().map(line).collect()
}

/// A quotient as ClickHouse rounds and prints it, in such parts of one.
#[expect(clippy::cast_precision_loss, reason = "these are some thousands")]
fn ratio(count: usize, of: usize, parts: f64) -> String {
    let rounded = (count as f64 / of as f64 * parts).round_ties_even() / parts;
    rounded.to_string()
}
