//! Reads runs back through the query API, and expects of each of its faults exactly that finding.

use std::collections::BTreeSet;

use clap::Parser as _;
use edges::clock::Clock;
use edges::exit::chain;
use events::identity::Seq;
use events::row::Columns;
use plans::spec::Targets;
use queries::api::{Api, ApiArgs, AskLimits};
use queries::check::{Next, Walk};
use queries::door::Door;
use queries::expected::{Expected, Part, period_of};
use queries::question::{
    Condition, Filter, IdRange, Question, Scope, StatusTest, TextField, TextTest, UnixSeconds,
};
use queries::sql::Sql;
use runs::ranges::TenantRanges;
use runs::run_dir::RunDir;
use serde_json::Value;
use stores::clickhouse::{ClickHouse, ClickHouseArgs};

use crate::stack::{Stack, wait_until};

/// Events of a run: ten tenants.
const EVENTS: u64 = 4_000;

/// Starts a pipeline with a query API that has these faults, and a run whose events are all stored.
pub(crate) fn stored(faults: &[&str]) -> Stack {
    let faults = faults.iter().flat_map(|fault| ["--fault", *fault]);
    let flags: Vec<&str> = ["--query-api"].into_iter().chain(faults).collect();
    let stack = Stack::up(&flags);
    let profile = stack.profile(100, 4, 100);
    stack.generate(&profile, "run");
    wait_until("all events are stored", || {
        stack.ask("SELECT count() FROM audit.audit_logs") == EVENTS.to_string()
    });
    stack
}

/// Reads the run back. Returns exit code and result.
pub(crate) fn read_back(stack: &Stack, args: &[&str]) -> (i32, Value) {
    let args = [&["readback", "run", "--rate", "1000"], args].concat();
    let output = stack.run("auditstorm-verifier", &args);
    let text = std::fs::read(stack.path("run/readback.json"));
    let text = text.unwrap_or_else(|_| panic!("no result: {output:?}"));
    (output.status.code().unwrap(), serde_json::from_slice(&text).unwrap())
}

/// Expects a verdict, and findings of no other kinds.
#[track_caller]
pub(crate) fn expect(found: &(i32, Value), code: i32, verdict: &str, faults: &[&str]) {
    let (exit, result) = found;
    assert_eq!((*exit, &result["verdict"]), (code, &verdict.into()), "{result}");
    let kinds: BTreeSet<&str> =
        findings(result).iter().map(|it| it["fault"].as_str().unwrap()).collect();
    assert_eq!(kinds, faults.iter().copied().collect(), "{}", result["reasons"]);
}

pub(crate) fn findings(result: &Value) -> &Vec<Value> {
    result["findings"].as_array().unwrap()
}

/// Scope and event of the findings of a kind.
pub(crate) fn found(result: &Value, fault: &str) -> BTreeSet<(String, String)> {
    let of_kind = findings(result).iter().filter(|it| it["fault"] == fault);
    of_kind.map(|it| (text(&it["scope"]), text(&it["audit_id"]))).collect()
}

/// Scope and event of the victims of a fault.
pub(crate) fn victims(stack: &Stack, fault: &str) -> BTreeSet<(String, String)> {
    let lines = lines(stack, fault);
    lines.iter().map(|line| (text(&line["scope"]), text(&line["auditID"]))).collect()
}

/// What the sandbox wrote down of a fault.
pub(crate) fn lines(stack: &Stack, fault: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(stack.path("sandbox/faults.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["fault"] == fault && line["at"] == "query-api").collect()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn what_is_stored_can_be_read_with_every_page_size_and_by_the_platform() {
    let stack = stored(&[]);
    let result = read_back(&stack, &["--page-sizes", "37,1000", "--platform"]);
    expect(&result, 0, "whole", &[]);
    let totals = &result.1["totals"];
    let counts = ["stored", "readable", "not_asked", "not_stored", "unanswered", "foreign"];
    let counts = counts.map(|name| totals[name].as_u64().unwrap());
    // The platform is shown the events of all tenants, of which only those are counted that nobody
    // else can ask for.
    assert_eq!(counts[..5], [EVENTS, EVENTS, 0, 0, 0], "{totals}");
    assert_eq!(result.1["walks"].as_array().unwrap().len(), 3);
    assert!(!stack.path("run/readback-progress.jsonl").exists());
    // A few tenants are enough for a look.
    let few = read_back(&stack, &["--tenants", "2", "--page-sizes", "100"]);
    expect(&few, 0, "whole", &[]);
    assert_eq!(few.1["totals"]["stored"], 800);
    assert_eq!(few.1["totals"]["not_asked"], EVENTS - 800);
    // Without the table, nothing says what is stored, but for the walks themselves.
    let output = stack
        .command("auditstorm-verifier", &["readback", "run", "--json"])
        .env_remove("CLICKHOUSE_URL")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["with_table"], false);
}

#[test]
fn events_that_the_cursor_leaves_out_are_lost_in_paging() {
    let stack = stored(&["paging:real"]);
    let (code, result) = read_back(&stack, &["--page-sizes", "100"]);
    assert_eq!((code, &result["verdict"]), (1, &"lossy".into()), "{result}");
    let walks = result["walks"].as_array().unwrap();
    let of = |kind: &str| walks.iter().find(|walk| walk["walk"] == kind).unwrap();
    assert_eq!(of("windows")["shown"], of("windows")["stored"]);
    let unreachable = found(&result, "unreachable");
    let blames: BTreeSet<String> = findings(&result)
        .iter()
        .filter(|it| it["fault"] == "unreachable")
        .map(|it| text(&it["blame"]))
        .collect();
    assert_eq!(blames, BTreeSet::from(["paging".to_owned()]));
    assert_eq!(unreachable, victims(&stack, "paging"));
    let shown = of("cursor")["shown"].as_u64().unwrap();
    assert_eq!(shown + unreachable.len() as u64, of("cursor")["stored"].as_u64().unwrap());
    assert!(result["reasons"][0].as_str().unwrap().contains("lost in paging"), "{result}");
}

#[test]
fn events_of_other_tenants_are_leaked() {
    let stack = stored(&["leak:0.02"]);
    let result = read_back(&stack, &[]);
    expect(&result, 1, "lossy", &["leaked"]);
    let leaked = found(&result.1, "leaked");
    assert!(!leaked.is_empty());
    assert_eq!(leaked, victims(&stack, "leak"));
    assert_eq!(result.1["totals"]["readable"], result.1["totals"]["stored"]);
}

#[test]
fn a_replica_that_is_late_is_waited_for() {
    let stack = stored(&["stale:12s"]);
    let result = read_back(&stack, &["--page-sizes", "1000"]);
    expect(&result, 0, "whole", &[]);
    assert!(!victims(&stack, "stale").is_empty());
    assert!(result.1["totals"]["late"].as_u64().unwrap() > 0, "{}", result.1);
}

#[test]
fn a_replica_that_stays_late_has_events_that_are_not_readable() {
    let stack = stored(&["stale:60m"]);
    let args = ["--page-sizes", "1000", "--wait", "3s", "--tenants", "1"];
    let result = read_back(&stack, &args);
    expect(&result, 1, "lossy", &["unreachable", "ended_early"]);
    let unreachable = found(&result.1, "unreachable");
    assert_eq!(unreachable, victims(&stack, "stale"));
    let reader = |it: &&Value| it["fault"] != "unreachable" || it["blame"] == "reader";
    assert_eq!(findings(&result.1).iter().filter(reader).count(), findings(&result.1).len());
}

#[test]
fn neighbours_that_changed_places_are_out_of_order() {
    let stack = stored(&["reorder"]);
    let result = read_back(&stack, &["--page-sizes", "100"]);
    expect(&result, 1, "lossy", &["out_of_order"]);
    let pair = |line: &Value, first: &str, second: &str| (text(&line[first]), text(&line[second]));
    let expected: BTreeSet<(String, String)> =
        lines(&stack, "reorder").iter().map(|line| pair(line, "auditID", "with")).collect();
    let found: BTreeSet<(String, String)> =
        findings(&result.1).iter().map(|it| pair(it, "audit_id", "beside")).collect();
    assert!(!expected.is_empty());
    assert_eq!(found, expected);
}

#[test]
fn a_scope_that_nobody_has_must_not_be_shown_anything() {
    let stack = stored(&["scope:open"]);
    let result = read_back(&stack, &["--page-sizes", "1000"]);
    expect(&result, 1, "lossy", &["scope_ignored"]);
    assert_eq!(lines(&stack, "scope").len(), 1);
    assert_eq!(findings(&result.1).len(), 1);
    let scope = text(&findings(&result.1)[0]["scope"]);
    assert!(scope.starts_with("Nowhere/auditstorm-nobody-"), "{scope}");
}

#[test]
fn answers_that_fail_or_come_late_are_asked_for_again_and_counted() {
    let stack = stored(&["error:503:0.2", "slow:4s:0.05"]);
    let result = read_back(&stack, &["--query-timeout", "3s", "--patience", "50s"]);
    expect(&result, 0, "whole", &[]);
    let count = |fault: &str| lines(&stack, fault).len() as u64;
    assert!(count("error") > 0 && count("slow") > 0);
    let count_of = |kind: &str| {
        let errors = result.1["errors"].as_array().unwrap();
        let of_kind = errors.iter().find(|error| error["kind"] == kind);
        of_kind.map_or(0, |error| error["count"].as_u64().unwrap())
    };
    let known = (count_of("status"), count_of("timeout"));
    // An answer that waits and then fails is given up while it waits.
    assert_eq!(known.1, count("slow"), "{}", result.1["errors"]);
    assert!(known.0 <= count("error") && known.0 > 0, "{}", result.1["errors"]);
    assert_eq!(result.1["totals"]["unanswered"], known.0 + known.1);
}

#[test]
fn a_reader_that_is_down_or_stays_broken_is_not_called_whole() {
    let stack = stored(&["error:500:1.0"]);
    let refused = ["readback", "run", "--query-api", "http://127.0.0.1:1"];
    let output = stack.run("auditstorm-verifier", &refused);
    let story = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{story}");
    assert!(story.contains("cannot read from the query API at http://127.0.0.1:1"), "{story}");
    let args = ["--patience", "1s", "--tenants", "1", "--page-sizes", "1000"];
    let (code, result) = read_back(&stack, &args);
    assert_eq!((code, &result["verdict"]), (4, &"unknown".into()), "{result}");
    assert!(result["reasons"][0].as_str().unwrap().contains("status 500"), "{result}");
}

/// Parses flags as a program does.
#[derive(Debug, clap::Parser)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    #[command(flatten)]
    pub(crate) clickhouse: ClickHouseArgs,
}

/// Every page of a question.
async fn pages(door: &impl Door, walk: &mut Walk<'_>, question: &Question) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = door.ask(question, cursor.as_deref()).await;
        let page = page.unwrap_or_else(|error| panic!("{question:?}: {}", chain(&error)));
        ids.extend(page.events.iter().filter_map(|shown| shown.id).map(|id| id.to_string()));
        let step = walk.take(&page);
        assert_eq!(step.findings, [], "{question:?} at {}", door.place());
        match step.next {
            Next::Page(next) => cursor = Some(next),
            Next::End => return ids,
            Next::Endless => panic!("{question:?} does not end"),
        }
    }
}

/// Filters of all kinds, made of what some events say.
fn filters(columns: &[Columns]) -> Vec<Filter> {
    let [one, other] = columns else { panic!("two events") };
    let text = |field, test, is_negated| Condition::Text { field, test, is_negated };
    let middle = UnixSeconds(one.timestamp_ms / 1_000);
    let all = [
        Condition::is(TextField::Verb, one.verb),
        Condition::is(TextField::Namespace, &one.namespace),
        Condition::is(TextField::Name, &other.resource_name),
        Condition::is(TextField::UserUid, &one.user_uid),
        Condition::is(TextField::Name, "o'br\\ien \u{7}\n <&> ü"),
        text(TextField::Resource, TextTest::In(vec!["pods".into(), one.resource.into()]), false),
        text(TextField::Resource, TextTest::In(vec!["pods".into(), one.resource.into()]), true),
        text(TextField::ApiGroup, TextTest::Is(other.api_group.into()), true),
        text(TextField::Username, TextTest::StartsWith("system:".into()), false),
        text(TextField::Username, TextTest::EndsWith(".example.com".into()), true),
        text(TextField::Name, TextTest::Contains("-".into()), false),
        Condition::Status(StatusTest::Is(one.status_code)),
        Condition::Status(StatusTest::IsNot(200)),
        Condition::Status(StatusTest::In(vec![200, 404])),
        Condition::Status(StatusTest::AtLeast(400)),
        Condition::Status(StatusTest::Below(300)),
        Condition::Ids(IdRange { from: 0x9000_0000, until: 0xa123_4567 }),
        Condition::Ids(IdRange::ALL),
        Condition::ReceivedAtMost(middle),
    ];
    let single = all.iter().map(|condition| Filter::new(vec![condition.clone()]));
    let pairs = all.windows(2).map(|pair| Filter::new(pair.to_vec()));
    std::iter::once(Filter::default()).chain(single).chain(pairs).collect()
}

#[test]
fn facts_api_and_table_agree_on_every_filter_scope_and_order() {
    let stack = stored(&[]);
    let flags = ["x", "--query-api", stack.address("QUERY_API_URL"), "--clickhouse"];
    let flags = flags.into_iter().chain([stack.address("CLICKHOUSE_URL")]);
    let flags = Flags::try_parse_from(flags).unwrap();
    let (_, plan) = RunDir::open(&stack.path("run")).unwrap();
    let script = &plan.script;
    let stored: TenantRanges = script
        .tenants()
        .map(|tenant| (tenant, [0..script.timeline(tenant).count()].into_iter().collect()))
        .collect();
    let scoped = |tenant| Scope::of_tenant(script.world().tenant(tenant)).map(|it| (tenant, it));
    let (tenant, scope) = script.tenants().find_map(scoped).unwrap();
    let columns_of = |seq| {
        let mut columns = Columns::default();
        columns.fill(&script.facts(tenant, Seq(seq)).unwrap());
        columns
    };
    let of_person = (0..400).map(columns_of).find(|it| !it.user_uid.is_empty()).unwrap();
    let user = Scope::User(of_person.user_uid.clone());
    let columns = [of_person, columns_of(200)];
    let (from, _) = period_of(script, plan.start, plan.end);
    let until = UnixSeconds::of(plan.end).plus(1);
    let clock = Clock::system();
    wait_until("the last second is over", || clock.now() > until.micros());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let api = Api::from_args(&flags.api, AskLimits::default()).unwrap();
        let server = ClickHouse::connect(&flags.clickhouse, &Targets::default()).await.unwrap();
        let sql = Sql::new(server, std::time::Duration::from_secs(30));
        let mut expected = Expected::new(script);
        let mut answers = 0;
        for scope in [scope, Scope::Platform, user] {
            for filter in filters(&columns) {
                let scope = scope.clone();
                let question = Question { scope, filter, from, until, limit: 700 };
                let due = expected.answer(&question, &Part::default(), &stored, u64::MAX).unwrap();
                let due: Vec<String> = due.iter().map(|due| due.audit_id.to_string()).collect();
                let mut walk = Walk::new(script, question.clone());
                let of_api = pages(&api, &mut walk, &question).await;
                let mut walk = Walk::new(script, question.clone());
                let of_table = pages(&sql, &mut walk, &question).await;
                assert!(of_api == due, "{question:?}: the API has another answer");
                assert!(of_table == due, "{question:?}: the table has another answer");
                answers += usize::from(!due.is_empty());
            }
        }
        assert!(answers > 70, "only {answers} filters admit anything");
    });
}
