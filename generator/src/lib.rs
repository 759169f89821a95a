//! Simulated control planes that post audit events to a webhook, on schedule.
//!
//! Each tenant of the plan has its own schedule, which [`load::sender`] keeps to. The ledger in the
//! run directory records what was reserved, begun and answered. The counts are shown every second,
//! and at the end.

mod abort;
mod asking;
pub mod cli;
mod draw;
pub mod emit;
pub mod error;
mod lines;
mod metrics;
mod observe;
mod progress;
mod query_metrics;
mod run;
mod self_test;
mod summary_export;
mod view;

pub use abort::Watchdog;
pub use asking::door::AnyDoor;
pub use observe::Observers;

pub use run::{RunContext, run};
