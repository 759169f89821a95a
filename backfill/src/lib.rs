//! Seeds a table of audit logs with a history, straight and in bulk.
//!
//! The history is cut into chunks: slices of time within one day, so that each is one insert into
//! one partition. A chunk is reserved in the ledger, its rows are made on all cores and streamed
//! to the server, and it is settled when the server has confirmed it.

pub mod bulk;
pub mod chunk;
pub mod cli;
pub mod error;
pub mod export;
pub mod native;
mod report;

pub use report::Summary;
