//! Replicas that lag, balancers and shards, as a stand-in server plays them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clickhouse::{Client, Compression};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use plans::spec::ColumnNames;
use stores::clickhouse::ClickHouse;
use stores::schema::TableColumns;
use stores::sight::read::{Seen, prove};
use tokio::net::TcpListener;

/// What a cluster has, and what of it is told.
#[derive(Debug, Clone, Copy)]
struct Cluster {
    engine: &'static str,
    /// What system.replicas says of how late it is.
    delay_s: u64,
    /// Whether the account may have a replica catch up.
    may_sync: bool,
    /// Whether the account may look at replicas, and at the shards' parts.
    may_look: bool,
    /// How many servers answer in turn.
    servers: usize,
    has: u64,
    seen: u64,
}

const WELL: Cluster = Cluster {
    engine: "ReplicatedMergeTree",
    delay_s: 0,
    may_sync: true,
    may_look: true,
    servers: 1,
    has: 20_000,
    seen: 20_000,
};

/// A value of one row, with its type.
enum Value {
    Text(String),
    U8(u8),
    U64(u64),
    I64(i64),
    Nothing,
    /// An array of one.
    Texts(&'static str),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "String",
            Self::U8(_) => "UInt8",
            Self::U64(_) => "UInt64",
            Self::I64(_) => "Int64",
            Self::Nothing => "Nullable(UInt64)",
            Self::Texts(_) => "Array(String)",
        }
    }

    fn write(&self, into: &mut Vec<u8>) {
        match self {
            Self::Text(text) => write_text(text, into),
            Self::U8(number) => into.push(*number),
            Self::U64(number) => into.extend(number.to_le_bytes()),
            Self::I64(number) => into.extend(number.to_le_bytes()),
            Self::Nothing => into.push(1),
            Self::Texts(text) => {
                into.push(1);
                write_text(text, into);
            }
        }
    }
}

fn write_text(text: &str, into: &mut Vec<u8>) {
    into.push(u8::try_from(text.len()).unwrap());
    into.extend(text.as_bytes());
}

/// One row as `RowBinaryWithNamesAndTypes`.
fn row(columns: &[(&str, Value)]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(columns.len()).unwrap()];
    for (name, _) in columns {
        write_text(name, &mut bytes);
    }
    for (_, value) in columns {
        write_text(value.kind(), &mut bytes);
    }
    for (_, value) in columns {
        value.write(&mut bytes);
    }
    bytes
}

impl Cluster {
    /// Answers a query, the n-th; `Err` is the code of an error.
    fn answer(self, sql: &str, n: usize) -> Result<Vec<u8>, u32> {
        let server = || Value::Text(format!("replica-{}", n % self.servers));
        let number = |number| Ok(row(&[("n", Value::U64(number))]));
        let denied = Err(497);
        let has = |part: &str| sql.contains(part);
        if has("SYNC REPLICA") {
            if self.may_sync { Ok(Vec::new()) } else { denied }
        } else if has("system.settings") {
            let names = ("names", Value::Texts("read_overflow_mode"));
            Ok(row(&[names, ("texts", Value::Texts("throw"))]))
        } else if has("system.replicas") {
            let columns = [
                ("is_cut_off", Value::U8(0)),
                ("inserts_in_queue", Value::U64(0)),
                ("delay_s", Value::U64(self.delay_s)),
                ("log_behind", Value::U64(0)),
                ("server", server()),
            ];
            if self.may_look { Ok(row(&columns)) } else { denied }
        } else if has("cluster('c', system.parts)") {
            if self.may_look { number(self.has) } else { denied }
        } else if has("system.parts") {
            Ok(row(&[
                ("rows", Value::U64(self.has)),
                ("block_max", Value::I64(1)),
                ("data_version", Value::U64(1)),
                ("server", server()),
            ]))
        } else if has("asynchronous_inserts") || has("distribution_queue") || has("'Buffer'") {
            number(0)
        } else if has("system.tables") {
            Ok(row(&[
                ("engine_name", Value::Text(self.engine.to_owned())),
                ("definition", Value::Text("Distributed('c', 'a', 'b')".to_owned())),
                ("uuid", Value::Text(String::new())),
                ("rows", Value::Nothing),
                ("server", server()),
            ]))
        } else if has("_row_exists") {
            number(0)
        } else if has("EXPLAIN") {
            Ok(b"ReadFromMergeTree (a.b)\n".to_vec())
        } else if has("AS seen") {
            Ok(row(&[("seen", Value::U64(self.seen)), ("server", server())]))
        } else if has("count()") {
            number(self.seen)
        } else {
            Ok(row(&[("1", Value::U8(1))]))
        }
    }

    async fn serve(self, listener: TcpListener) {
        let asked = Arc::new(AtomicUsize::new(0));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let asked = Arc::clone(&asked);
            let answer = service_fn(move |request: Request<Incoming>| {
                let asked = Arc::clone(&asked);
                async move {
                    let uri = request.uri().to_string().replace('+', " ");
                    let uri = percent_decode_str(&uri).decode_utf8_lossy().into_owned();
                    let body = request.into_body().collect().await?.to_bytes();
                    let sql = uri + &String::from_utf8_lossy(&body);
                    let n = asked.fetch_add(1, Ordering::Relaxed);
                    let response = match self.answer(&sql, n) {
                        Ok(bytes) => Response::new(Full::new(Bytes::from(bytes))),
                        Err(code) => Response::builder()
                            .status(403)
                            .header("X-ClickHouse-Exception-Code", code)
                            .body(Full::new(Bytes::from(format!("Code: {code}. DB::Exception"))))
                            .unwrap(),
                    };
                    Ok::<_, hyper::Error>(response)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    }
}

async fn proven(cluster: Cluster) -> Seen {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(cluster.serve(listener));
    let server = ClickHouse {
        client: Client::default().with_url(&url).with_compression(Compression::None),
        url,
        user: "somebody".to_owned(),
        table: "a.b".parse().unwrap(),
        names: ColumnNames::new(),
        columns: TableColumns::default(),
    };
    let seen = prove(&server).await.unwrap();
    serving.abort();
    seen
}

/// Expects that not all rows are known to be seen, and why.
async fn check(cluster: Cluster, expected: &str) {
    let told = match proven(cluster).await {
        Seen::Unknown(hidden) => hidden.what,
        Seen::Some(unseen) => unseen.hidden.what,
        seen => panic!("{cluster:?}: {seen:?}"),
    };
    assert!(told.contains(expected), "{told}");
}

#[tokio::test]
async fn one_replica_that_has_all_shows_all() {
    assert_eq!(proven(WELL).await, Seen::All);
    assert_eq!(proven(Cluster { may_sync: false, ..WELL }).await, Seen::All);
    assert_eq!(proven(Cluster { may_look: false, ..WELL }).await, Seen::All);
}

#[tokio::test]
async fn a_replica_that_lags_or_may_lag_does_not_show_all() {
    check(Cluster { delay_s: 40, may_sync: false, ..WELL }, "replica-0 is behind").await;
    let blind = Cluster { may_sync: false, may_look: false, ..WELL };
    check(blind, "whether this replica of the ReplicatedMergeTree has caught up").await;
}

#[tokio::test]
async fn replicas_behind_a_balancer_are_named() {
    let two = Cluster { servers: 2, ..WELL };
    check(two, "answers of one check came from 2 servers: replica-0, replica-1").await;
}

#[tokio::test]
async fn rows_that_are_counted_and_not_seen_are_hidden() {
    let policed = Cluster { seen: 12_032, ..WELL };
    check(policed, "the server has 20000 rows, this account sees 12032").await;
}

#[tokio::test]
async fn shards_that_cannot_be_counted_or_have_more_do_not_show_all() {
    let shards = Cluster { engine: "Distributed", ..WELL };
    assert_eq!(proven(shards).await, Seen::All);
    check(Cluster { seen: 10_062, ..shards }, "has 20000 rows, this account sees 10062").await;
    check(Cluster { may_look: false, ..shards }, "the rows of the shards could not be counted")
        .await;
    check(Cluster { engine: "View", ..WELL }, "the engine \"View\" shows rows of other").await;
}
