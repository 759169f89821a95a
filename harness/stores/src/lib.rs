//! How all programs ask ClickHouse and NATS JetStream: which server, with which account, what may
//! be hidden from that account, and which errors are worth another try.
//!
//! ```rust
//! use stores::sight::keeps_every_row;
//! use stores::schema::Table;
//!
//! let table: Table = "audit.audit_logs".parse().unwrap();
//! assert_eq!((table.database(), table.name()), ("audit", "audit_logs"));
//! assert!("audit_logs; DROP TABLE x".parse::<Table>().is_err());
//!
//! // This engine folds rows with equal keys, so its row counts prove nothing.
//! assert!(!keeps_every_row("ReplacingMergeTree"));
//! ```

pub mod absent;
pub mod bitmap;
pub mod bounds;
pub mod clickhouse;
pub mod jetstream;
pub mod query_log;
pub mod schema;
pub mod sight;
pub mod stored;
pub mod survey;
