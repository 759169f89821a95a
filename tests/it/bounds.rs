//! Bounds of time lose no row of ours. ClickHouse 26.3 to 26.9 itself loses rows before a bound in
//! whole seconds.

use plans::spec::Targets;
use stores::bounds::{SecondBounds, read_second_bounds};
use stores::clickhouse::{ClickHouse, ClickHouseArgs};
use stores::stored::received_sql;

use crate::stack::Stack;

/// 2026-11-28 11:59:59. All rows are of this second.
const SECOND: i64 = 1_795_867_199;

/// Makes a table whose index has a mark for every eight rows, with 5,000 rows in one second.
fn fill(stack: &Stack, name: &str, precision: u32) {
    stack.ask(&format!(
        "CREATE TABLE audit.{name} (event_json String, audit_id UUID, \
         timestamp DateTime64({precision}, 'UTC')) \
         ENGINE = MergeTree ORDER BY timestamp SETTINGS index_granularity = 8"
    ));
    stack.ask(&format!(
        "INSERT INTO audit.{name} SELECT '{{}}', generateUUIDv4(), \
         fromUnixTimestamp64Micro({SECOND} * 1000000 + number * 200) FROM numbers(5000)"
    ));
}

/// How many rows meet a condition. With its index, the server should find as many as without.
fn count(stack: &Stack, table: &str, condition: &str, uses_index: bool) -> u64 {
    let index = u8::from(uses_index);
    let sql = format!(
        "SELECT count() FROM audit.{table} WHERE {condition} SETTINGS use_primary_key = {index}"
    );
    stack.ask(&sql).parse().unwrap()
}

#[test]
fn our_bounds_of_time_lose_no_row_whatever_the_precision_of_the_column() {
    let stack = Stack::up(&[]);
    for precision in [0, 3, 6] {
        let table = format!("precise_{precision}");
        fill(&stack, &table, precision);
        for (from_ms, until_ms) in [(0, 1_000), (0, 1), (1, 999), (500, 501), (999, 1_000)] {
            let at = |ms: i64| SECOND * 1_000_000 + ms * 1_000;
            let condition = received_sql(&(at(from_ms)..at(until_ms)));
            let found = count(&stack, &table, &condition, true);
            let all = count(&stack, &table, &condition, false);
            assert_eq!(found, all, "{condition} in {table}");
            let expected = 5 * u64::try_from(until_ms - from_ms).unwrap();
            assert!(precision == 0 || found == expected, "{found} rows: {condition} in {table}");
        }
    }
}

#[test]
fn a_server_that_leaves_out_rows_before_a_bound_in_seconds_is_known() {
    let stack = Stack::up(&[]);
    fill(&stack, "events", 3);
    let condition = format!("timestamp < toDateTime({})", SECOND + 1);
    let loses = count(&stack, "events", &condition, true) < 5_000;
    assert_eq!(count(&stack, "events", &condition, false), 5_000);
    let args =
        |table: &str| ClickHouseArgs { table: Some(table.parse().unwrap()), ..stack.clickhouse() };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let read = async |table: &str| {
            let server = ClickHouse::connect(&args(table), &Targets::default()).await.unwrap();
            read_second_bounds(&server).await.unwrap()
        };
        let expected = if loses { SecondBounds::LosesRows } else { SecondBounds::Kept };
        assert_eq!(read("audit.events").await, expected);
        assert_eq!(read("audit.audit_logs").await, SecondBounds::Untold, "it has no rows");
    });
}
