//! Reconciles what was sent with what NATS JetStream and ClickHouse hold, event by event.
//!
//! From the ledger of a run it knows which events were acknowledged; from the IDs in stream and
//! table, which arrived. It compares sets, never counts, so that a duplicate cannot hide a loss,
//! and says of each loss at which hop it happened. What could not be checked is never called
//! whole.

pub mod cause;
pub mod cli;
pub mod compare;
pub mod content;
pub mod error;
pub mod jetstream;
pub mod reconcile;
pub mod records;
mod render;
pub mod report;
pub mod settle;
pub mod thresholds;
mod trend;
pub mod verdict;
mod versus;
