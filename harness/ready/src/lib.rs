//! Whether servers are ready for what is to be sent to them: the one engine behind `preflight` and
//! the `plan` of a load.
//!
//! A program says what it intends ([`intent::Intent`]). Facts are read once ([`read::read_facts`]),
//! and a pure function turns both into findings ([`judge::judge`]). So what one program knows to
//! look for, the other looks for too:
//!
//! ```rust
//! use ready::facts::Facts;
//! use ready::finding::is_refused;
//! use ready::intent::Intent;
//! use ready::judge::judge;
//!
//! // Where nothing is intended and nothing was looked at, nothing is found.
//! let findings = judge(&Facts::default(), &Intent::default());
//! assert!(findings.is_empty() && !is_refused(&findings));
//! ```

pub mod facts;
pub mod finding;
pub mod intent;
pub mod judge;
pub mod piped;
pub mod read;
