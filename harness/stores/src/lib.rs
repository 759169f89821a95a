//! ClickHouse and NATS JetStream as all programs ask them: whom, as which account, what may be
//! hidden from it, and which errors may pass.

pub mod absent;
pub mod bitmap;
pub mod clickhouse;
pub mod jetstream;
pub mod sight;
pub mod stored;
pub mod survey;
pub mod table;
