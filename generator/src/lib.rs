//! Simulated control planes that post audit events to a webhook, on schedule.
//!
//! Each tenant of the plan has its own schedule. Tenants are spread over lanes; a lane waits for
//! the next batch that is due, fills its body, and posts it over one of its connections. What was
//! reserved, begun and answered goes into the ledger of the run directory.

pub mod cli;
pub mod emit;
pub mod error;
mod lane;
mod progress;
mod report;
mod reservation;
mod run;
mod schedule;
mod tally;

pub use report::Summary;
pub use run::run;
