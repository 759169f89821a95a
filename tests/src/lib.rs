//! What the whole-pipeline tests and the bench of verdicts share: a sandbox of their own, and runs
//! of which a seed alone decides what happens to them.
#![expect(clippy::unwrap_used, reason = "what cannot be had here fails the test, as it should")]

pub mod proxy;
pub mod seeded;
pub mod stack;
