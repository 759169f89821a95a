//! Edges that the programs share: profiles and plans, run directories and ledgers, the clock,
//! the stores and the webhook, and the sending of batches to it.

pub mod absent;
pub mod bitmap;
pub mod clickhouse;
pub mod jetstream;
pub mod json_lines;
pub mod latency;
pub mod ledger;
pub mod metrics;
pub mod observation;
pub mod output;
pub mod plan;
pub mod profile;
pub mod quantity;
pub mod ranges;
pub mod record;
pub mod run_dir;
pub mod samples;
pub mod scale;
pub mod screen;
pub mod sender;
pub mod sight;
pub mod stored;
pub mod survey;
pub mod table;
pub mod threshold;
pub mod webhook;
