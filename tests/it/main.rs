//! Tests of the whole pipeline, with real servers, as a user would run it; and the rules of the
//! code.
#![expect(clippy::unwrap_used, reason = "what cannot be had here fails the test, as it should")]

mod accounts;
mod archived;
mod bounds;
mod browser;
mod causes;
mod certified;
mod circles;
mod crash;
mod exactly_once;
mod export;
mod extras;
mod faults;
mod folded;
mod harmless;
mod hidden;
mod history;
mod history_doors;
mod identity;
mod kept;
mod library;
mod metrics;
mod observe;
mod proxied;
mod queries;
mod query_history;
mod query_load;
mod query_witness;
mod readback;
mod readback_history;
mod readback_pairs;
mod refusals;
mod replay;
mod report;
mod restarted;
mod secrets;
mod seeds;
mod slow_queries;
mod stream;
mod suite;
mod synthetic;
mod tidy;
mod told;
mod whole;

use tests::{proxy, stack};
