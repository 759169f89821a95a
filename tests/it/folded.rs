//! Whether a table folds duplicates is told from one look at it: rows that come meanwhile prove
//! nothing.

use std::path::Path;

use auditstorm_verifier::engine::{Engine, Folding, read_folding};
use plans::spec::Targets;
use runs::report::TableReport;
use runs::run_dir::RunDir;
use stores::clickhouse::ClickHouse;

use crate::stack::{Stack, wait_until};

/// Reads the table as if the last `later` events had come after its IDs were read.
fn read(stack: &Stack, run: &Path, later: u64) -> (TableReport, Folding) {
    let (_, plan) = RunDir::open(run).unwrap();
    let count = |what: &str| -> u64 {
        stack.ask(&format!("SELECT {what} FROM audit.audit_logs")).parse().unwrap()
    };
    let (rows, distinct) = (count("count()"), count("uniqExact(audit_id)"));
    assert!(rows > distinct, "there are duplicates");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let server = ClickHouse::connect(&stack.clickhouse(), &Targets::default()).await.unwrap();
        let engine = Engine::read(&server).await.unwrap();
        let (rows, distinct) = (rows - later, distinct - later);
        let table = engine.report(&server, &plan.script, rows, distinct).await.unwrap();
        let folding = read_folding(&server, &plan.script, &table).await.unwrap();
        (table, folding)
    })
}

#[test]
fn rows_that_come_while_a_table_is_read_do_not_prove_that_it_keeps_duplicates() {
    let stack = Stack::up(&["--fault", "duplicate:aggregator:0.2"]);
    stack.generate(&stack.profile(100, 1, 50), "run");
    wait_until("all is stored, and some of it twice", || {
        let sql = "SELECT uniqExact(audit_id) = 1000 AND count() > 1100 FROM audit.audit_logs";
        stack.ask(sql) == "1"
    });
    let run = stack.path("run");
    let look = |later| read(&stack, &run, later);
    assert_eq!(look(0).1, Folding::All);
    let (table, folding) = look(10);
    assert!(table.folded > Some(table.distinct), "{table:?}");
    assert_eq!(folding, Folding::All);
    // A copy with another sorting key stays apart.
    stack.ask(
        "INSERT INTO audit.audit_logs (event_json) \
         SELECT replaceOne(event_json, '\"username\":\"', '\"username\":\"x') \
         FROM audit.audit_logs LIMIT 1",
    );
    assert_eq!((look(0).1, look(10).1), (Folding::NotAll, Folding::NotAll));
}
