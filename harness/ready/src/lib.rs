//! Checks whether servers are ready for what will be sent to them. `preflight` and the `plan` of a
//! load use this one engine.
//!
//! A program describes what it will send ([`intent::Intent`]). [`read::read_facts`] reads the facts
//! once, and the pure function [`judge::judge`] turns both into findings. So both programs check
//! the same things:
//!
//! ```rust
//! use ready::facts::Facts;
//! use ready::finding::is_refused;
//! use ready::intent::Intent;
//! use ready::judge::judge;
//!
//! // Without an intent and without facts, there are no findings.
//! let findings = judge(&Facts::default(), &Intent::default());
//! assert!(findings.is_empty() && !is_refused(&findings));
//! ```

pub mod facts;
pub mod finding;
pub mod intent;
pub mod judge;
pub mod piped;
pub mod read;
