//! Runs a whole performance test: checks that the pipeline is ready, loads a history, runs
//! scenarios one after the other with faults at their times, looks for every event, and reports.
//!
//! The steps are done by the other programs, by their documented interfaces. Whatever happens to
//! the suite, the same command goes on from the last step that ended.

pub mod advice;
pub mod budget;
pub mod capacity;
pub mod cli;
pub mod compare;
mod deliver;
pub mod error;
mod executor;
mod load;
pub mod order;
pub mod recovery;
mod render;
pub mod results;
mod run;
mod sandbox;
pub mod search;
mod step;
pub mod suite;
mod suite_dir;
pub mod summary;
