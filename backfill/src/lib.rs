//! Seeds histories of audit events, straight into ClickHouse and through the pipeline.
//!
//! The part that goes straight into the table is cut into chunks: slices of time within one day,
//! so that each is one insert into one partition. A chunk is reserved in the ledger, its rows are
//! made on all cores and streamed to the server, and it is settled when the server has confirmed
//! it. What a crash or a lost answer leaves in doubt is looked up in the table before anything of
//! it is sent again.

pub mod bulk;
pub mod chunk;
pub mod cli;
pub mod counted;
pub mod error;
pub mod export;
pub mod forecast;
pub mod governor;
pub mod history;
pub mod insert;
pub mod lookup;
pub mod native;
pub mod options;
pub mod piece;
mod pool;
pub mod probe;
pub mod progress;
pub mod pulse;
pub mod readiness;
pub mod repair;
pub mod replay;
mod replay_all;
mod report;
pub mod rows;
pub mod run;

pub use report::Summary;
