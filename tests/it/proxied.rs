//! Tests the proxy itself in front of the real server: it does what it is ordered to, and nothing
//! else.

use std::time::Duration;

use bytes::Bytes;
use clickhouse::Client;
use edges::clock::Clock;
use tokio::runtime::Runtime;

use crate::proxy::{Done, Mode, Proxy};
use crate::stack::{Stack, wait_until};

/// Rows of an INSERT. They are some megabytes, more than sockets buffer.
const ROWS: u64 = 200_000;

/// A table, and a client that reaches it through a proxy, over one connection as long as that
/// lasts.
struct Bench {
    stack: Stack,
    proxy: Proxy,
    client: Client,
    runtime: Runtime,
}

impl Bench {
    fn new() -> Self {
        let stack = Stack::up(&[]);
        stack.ask("CREATE TABLE audit.t (n UInt64, text String) ENGINE = MergeTree ORDER BY n");
        let proxy = Proxy::before_clickhouse(&stack);
        let client = Client::default().with_url(proxy.url());
        Self { stack, proxy, client, runtime: Runtime::new().unwrap() }
    }

    fn insert(&self) -> Result<(), String> {
        const PIECE_BYTES: usize = 1 << 16;
        let row = |n: u64| format!("{n}\t{:x}\n", n.wrapping_mul(u64::MAX / 7));
        let body = Bytes::from((0..ROWS).map(row).collect::<String>());
        let insert = self.client.insert_formatted_with("INSERT INTO audit.t FORMAT TSV");
        let mut insert = insert.with_setting("async_insert", "0");
        let insert = async {
            for begin in (0..body.len()).step_by(PIECE_BYTES) {
                insert.send(body.slice(begin..body.len().min(begin + PIECE_BYTES))).await?;
            }
            insert.end().await
        };
        self.runtime.block_on(insert).map_err(|error: clickhouse::error::Error| error.to_string())
    }

    /// How many rows the table has, in INSERTs. The query goes through the proxy.
    fn inserts_stored(&self) -> u64 {
        let count = self.client.query("SELECT count() FROM audit.t").fetch_one::<u64>();
        let count = self.runtime.block_on(count).unwrap();
        assert_eq!(count % ROWS, 0, "an INSERT is all or nothing");
        count / ROWS
    }
}

#[test]
fn what_is_not_ordered_to_be_harmed_passes() {
    let bench = Bench::new();
    for inserts in 1..=3 {
        bench.insert().unwrap();
        assert_eq!(bench.inserts_stored(), inserts);
    }
    assert_eq!(bench.proxy.done(), Done { inserts: 3, ..Done::default() });
}

#[test]
fn a_cut_answer_leaves_the_rows_in_the_table_and_the_client_in_doubt() {
    let bench = Bench::new();
    bench.proxy.set(Mode::CutAnswers { times: 2 });
    for inserts in 1..=2 {
        bench.insert().unwrap_err();
        assert_eq!(bench.inserts_stored(), inserts);
    }
    bench.insert().unwrap();
    let done = Done { inserts: 3, answers_cut: vec![200, 200], ..Done::default() };
    assert_eq!(bench.proxy.done(), done);
    assert_eq!(bench.inserts_stored(), 3);
}

#[test]
fn a_cut_body_leaves_nothing() {
    let bench = Bench::new();
    bench.proxy.set(Mode::CutBodies { times: 1, after_bytes: 1 << 20 });
    bench.insert().unwrap_err();
    let running = "SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO audit.t%'";
    wait_until("the server has given up", || bench.stack.ask(running) == "0");
    assert_eq!(bench.inserts_stored(), 0);
    bench.insert().unwrap();
    let done = Done { inserts: 2, bodies_cut: 1, ..Done::default() };
    assert_eq!(bench.proxy.done(), done);
    assert_eq!(bench.inserts_stored(), 1);
}

#[test]
fn a_delayed_answer_comes() {
    const DELAY: Duration = Duration::from_secs(2);
    let bench = Bench::new();
    bench.proxy.set(Mode::DelayAnswers { by: DELAY });
    let clock = Clock::system();
    let begin = clock.now();
    bench.insert().unwrap();
    assert!(clock.now() - begin >= i64::try_from(DELAY.as_micros()).unwrap());
    assert_eq!(bench.inserts_stored(), 1);
}

#[test]
fn an_answer_can_be_made_up() {
    let bench = Bench::new();
    bench.proxy.set(Mode::AnswerWith { times: 1, status: 500, code: 242 });
    let error = bench.insert().unwrap_err();
    assert!(error.contains("Code: 242. DB::Exception"), "{error}");
    assert_eq!(bench.inserts_stored(), 0);
    bench.insert().unwrap();
    let done = Done { inserts: 2, answered: 1, ..Done::default() };
    assert_eq!(bench.proxy.done(), done);
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    let bench = Bench::new();
    bench.insert().unwrap();
    bench.stack.restart("clickhouse", "0s");
    wait_until("an INSERT passes", || bench.insert().is_ok());
    assert!(bench.inserts_stored() >= 2);
}
