//! Reconciles what was sent with what NATS JetStream and ClickHouse hold, event by event.
//!
//! It knows from the ledger of a run which events were acknowledged, and from the IDs in stream and
//! table which events arrived. It compares sets, never counts, so that a duplicate cannot hide a
//! loss, and says at which hop each loss happened. A run that could not be checked is never called
//! whole.

pub mod absent;
pub mod certificate;
pub mod changes;
pub mod checks;
pub mod cli;
pub mod compare;
pub mod content;
pub mod deep;
mod digest;
mod earlier;
pub mod engine;
pub mod error;
pub mod eviction;
pub mod evidence;
pub mod expected;
pub mod http;
pub mod jetstream;
mod mark;
pub mod pages;
pub mod patience;
mod preflight;
pub mod query_costs;
pub mod readback;
pub mod reconcile;
pub mod recorded;
pub mod scan;
pub mod sections;
pub mod settle;
mod suspects;
pub mod trace;
pub mod vector;
mod vectors;
pub mod verdict;
pub mod watch;
pub mod ways;
pub mod windows;
