//! Code that the whole-pipeline tests and the bench of verdicts share: each has a sandbox of its
//! own, and runs for which one seed decides everything that happens.
#![expect(clippy::unwrap_used, reason = "what cannot be had here fails the test, as it should")]

pub mod proxy;
pub mod seeded;
pub mod stack;
