//! Histories as files: if the real engine loads a file of any format, the rows equal those of a
//! load.

use bytes::Bytes;
use clickhouse::{Client, Compression};

use crate::stack::{COLUMNS, Stack};

const ID: &str = "7d9f3c1a-2b64-4e58-9c07-1f2e3d4c5b6a";

/// Exports the same history each time, with the same profile, seed, days and run ID.
fn run(stack: &Stack, out: &str, more: &[&str]) {
    let profile = stack.profile(1, 1, 1);
    let now = "2026-09-01T12:00:00Z";
    let args = ["run", &profile, "--events", "30000", "--days", "120", "--now", now];
    let args = [&args[..], &["--run-id", ID, "--out", out], more].concat();
    let mut command = stack.command("auditstorm-backfill", &args);
    if more.contains(&"--to") {
        command.env_remove("CLICKHOUSE_URL");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Lets the server insert the bytes of a file unchanged.
fn load(stack: &Stack, file: &str, table: &str, format: &str) {
    let bytes = Bytes::from(std::fs::read(stack.path(file)).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut insert = Client::default()
            .with_url(stack.address("CLICKHOUSE_URL"))
            .with_compression(Compression::None)
            .insert_formatted_with(format!("INSERT INTO audit.{table} ({COLUMNS}) FORMAT {format}"))
            .with_setting("insert_allow_materialized_columns", "1")
            .with_setting("max_partitions_per_insert_block", "0")
            .with_setting("async_insert", "0");
        insert.send(bytes).await.unwrap();
        insert.end().await.unwrap();
    });
}

#[test]
fn files_of_every_format_hold_the_rows_that_bulk_inserts() {
    let stack = Stack::up(&[]);
    run(&stack, "bulk", &[]);
    for (file, format) in
        [("x.native", "Native"), ("x.parquet", "Parquet"), ("x.ndjson", "JSONEachRow")]
    {
        run(&stack, file.trim_start_matches("x."), &["--to", file]);
        let table = format!("from_{}", format.to_lowercase());
        stack.ask(&format!("CREATE TABLE audit.{table} AS audit.audit_logs"));
        load(&stack, file, &table, format);
        assert_eq!(stack.ask(&format!("SELECT count() FROM audit.{table}")), "30000");
        let ours = format!("SELECT {COLUMNS} FROM audit.{table}");
        let bulk = format!("SELECT {COLUMNS} FROM audit.audit_logs");
        for (left, right) in [(&ours, &bulk), (&bulk, &ours)] {
            let differing = format!("SELECT count() FROM ({left} EXCEPT {right})");
            assert_eq!(stack.ask(&differing), "0", "{format}");
        }
        // Whoever has loaded the file can reconcile it with the record of the export.
        stack.ask(&format!("EXCHANGE TABLES audit.audit_logs AND audit.{table}"));
        let (code, report) = stack.reconcile(file.trim_start_matches("x."));
        assert_eq!((code, &report["totals"]["stored"]), (0, &30_000.into()), "{report}");
    }
}

#[test]
fn a_file_that_cannot_be_is_refused_before_anything_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("taken.parquet"), "mine").unwrap();
    for (file, expected) in [("taken.parquet", "already exists"), ("x.csv", ".ndjson")] {
        let args = ["run", "smoke", "--events", "10", "--out", "run", "--to", file];
        let mut command = std::process::Command::new(crate::stack::program("auditstorm-backfill"));
        let output = command.args(args).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(expected), "{told}");
        assert!(!folder.path().join("run").exists());
    }
}
