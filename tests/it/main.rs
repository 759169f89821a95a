//! The whole pipeline, with real servers, as a person would run it; and the laws of the tree.
#![expect(clippy::unwrap_used, reason = "what cannot be had here fails the test, as it should")]

mod crash;
mod export;
mod faults;
mod history;
mod identity;
mod metrics;
mod queries;
mod stack;
mod tidy;
mod whole;
