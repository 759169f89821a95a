//! Simulated control planes that post audit events to a webhook, on schedule.
//!
//! Each tenant of the plan has its own schedule. Tenants are spread over lanes; a lane waits for
//! the next batch that is due, fills its body, and posts it over one of its connections. What was
//! reserved, begun and answered goes into the ledger of the run directory.

mod abort;
mod backend;
mod body;
pub mod cli;
mod delivery;
mod draw;
pub mod emit;
pub mod error;
mod faults;
mod feed;
mod lane;
mod lines;
mod metrics;
mod observe;
mod progress;
mod report;
mod reservation;
mod run;
mod schedule;
mod screen;
mod self_test;
mod summary_export;
mod tally;
mod terminal;
mod view;

pub use abort::{AbortCondition, Watchdog};
pub use observe::Observers;
pub use report::{ClassLatencies, Summary};
pub use run::{RunContext, Shard, run};
