//! Rust and SQL agree on every audit ID, in the real engine.

use bytes::Bytes;
use events::draw::Draw;
use events::identity::{LocationSql, RunMark, SEQ_END, Seq, TenantIndex};
use uuid::Uuid;

use crate::stack::Stack;

const RUNS: u8 = 10;
const IDS_PER_RUN: u64 = 100_000;

/// Makes random coordinates, half of them dense as in real runs, as rows of run, tenant, seq and
/// ID.
fn rows(marks: &[RunMark]) -> Vec<u8> {
    let mut draw = Draw::new(1, 2, 3);
    let mut rows = Vec::new();
    for (run, mark) in (0..RUNS).zip(marks) {
        for index in 0..IDS_PER_RUN {
            let tenant = u16::try_from(draw.bits() >> 48).unwrap();
            let seq = if index % 2 == 0 { index } else { draw.bits() % SEQ_END };
            let (high, low) = mark.audit_id(TenantIndex(tenant), Seq(seq)).as_u64_pair();
            rows.push(run);
            rows.extend_from_slice(&tenant.to_le_bytes());
            for number in [seq, high, low] {
                rows.extend_from_slice(&number.to_le_bytes());
            }
        }
    }
    rows
}

#[test]
fn the_server_decodes_a_million_ids_as_rust_made_them_and_no_foreign_one() {
    let stack = Stack::up(&[]);
    let mut draw = Draw::new(9, 9, 9);
    let marks: Vec<RunMark> =
        (0..RUNS).map(|_| RunMark::of(Uuid::from_u64_pair(draw.bits(), draw.bits()))).collect();
    stack.ask(
        "CREATE TABLE ids (run UInt8, tenant UInt16, seq UInt64, id UUID) \
         ENGINE = MergeTree ORDER BY run",
    );
    let client = clickhouse::Client::default().with_url(stack.address("CLICKHOUSE_URL"));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut insert = client.insert_formatted_with("INSERT INTO ids FORMAT RowBinary");
        insert.send(Bytes::from(rows(&marks))).await.unwrap();
        insert.end().await.unwrap();
    });
    assert_eq!(stack.ask("SELECT uniqExact(id) FROM ids"), "1000000");
    for (run, mark) in (0..RUNS).zip(&marks) {
        let LocationSql { with, tenant, seq, is_ours } = mark.location_sql("id");
        let sql = format!(
            "WITH {with} SELECT countIf(run = {run} AND {is_ours} AND {tenant} = tenant \
             AND {seq} = seq), countIf({is_ours}) FROM ids"
        );
        assert_eq!(stack.ask(&sql), format!("{IDS_PER_RUN}\t{IDS_PER_RUN}"), "run {run}");
    }
    let LocationSql { with, is_ours, .. } = marks[0].location_sql("id");
    let foreign = "(SELECT generateUUIDv4(number) AS id FROM numbers(1000000))";
    assert_eq!(stack.ask(&format!("WITH {with} SELECT countIf({is_ours}) FROM {foreign}")), "0");
}
