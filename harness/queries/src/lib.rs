//! Questions to what shows audit events, and what is right to answer.
//!
//! Events are a pure function of the plan, so the right answer of a [question] can be computed
//! without the table: [`expected`]. A [`door::Door`] is a way to ask: the query API over HTTP
//! ([`api`]), or the table itself ([`sql`]). What a door showed is checked, page by page and over a
//! whole walk through the pages, by what the events were planned to say and never by the answer's
//! own text ([`check`]).

mod answer;
pub mod api;
pub mod check;
pub mod content;
pub mod door;
pub mod error;
pub mod expected;
pub mod order;
pub mod page;
pub mod question;
pub mod sql;
pub mod windows;

/// Those of the tests of the webhook.
#[cfg(test)]
#[path = "../../load/tests/it/certificates.rs"]
mod certificates;
#[cfg(test)]
mod testing;
