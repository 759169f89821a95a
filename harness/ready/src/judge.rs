//! Turns facts and an intent into findings, with figures in their reasons. Pure.

mod absent;
mod reader;
mod stream;
mod table;

use crate::facts::{Facts, VectorFacts};
use crate::finding::{Finding, Findings};
use crate::intent::Intent;

/// Returns the findings, the most serious first.
pub fn judge(facts: &Facts, intent: &Intent) -> Vec<Finding> {
    let mut found = Findings::default();
    if let Some(piped) = &intent.piped {
        stream::judge(facts, piped, &mut found);
    }
    for of_server in &facts.tables {
        found.turn_to(Some(&of_server.url));
        table::layout(of_server, intent, &mut found);
        absent::expired(of_server, intent, &mut found);
        absent::detached(of_server, intent, &mut found);
        table::account(of_server, intent, &mut found);
        table::inserts(of_server, intent, &mut found);
        table::partitions(of_server, intent, &mut found);
    }
    table::room(&facts.tables, intent, &mut found);
    found.turn_to(None);
    vectors(&facts.vectors, &mut found);
    if let Some(facts) = &facts.reader {
        found.turn_to(Some(&facts.url));
        reader::judge(facts, &mut found);
        found.turn_to(None);
    }
    clocks(facts, intent, &mut found);
    found.sorted()
}

fn vectors(vectors: &[VectorFacts], found: &mut Findings) {
    for VectorFacts { url, held_events, buffered_bytes, discarded_events, errors } in vectors {
        if *held_events > 0 || *buffered_bytes > 0 {
            let reason = format!(
                "{url}: it holds {held_events} events, in buffers of {buffered_bytes} bytes, in \
                 batches or in requests: events of this run come behind them"
            );
            found.warn("vector", reason, "wait until it holds none");
        }
        if *discarded_events > 0 {
            let reason =
                format!("{url}: it has discarded {discarded_events} events since it started");
            let fix = "see its log for which, and why; restart it to count anew";
            found.warn("vector", reason, fix);
        }
        if *errors > 0 {
            let reason = format!("{url}: it has counted {errors} errors since it started");
            found.note("vector", reason, "see its log for which");
        }
    }
}

/// Clocks matter because losses are looked for in the stream by time, and because freshness is
/// measured with clocks. A history ends by this machine's clock; a TTL uses the server's clock.
fn clocks(facts: &Facts, intent: &Intent, found: &mut Findings) {
    let is_piped = intent.piped.is_some();
    for clock in &facts.clocks {
        let (server, off) = (&clock.server, clock.offset_ms);
        // The least difference that the measurement allows.
        let off_ms = off.abs() - clock.error_ms;
        let reason = format!(
            "the clock of {server} is {off:+.1} ms off this machine's, ± {:.1} ms",
            clock.error_ms
        );
        let fix = "let NTP set the clocks of all machines";
        if is_piped && off_ms > CLOCK_BLOCK_MS {
            let why = "messages of the run are looked for by time, a minute off at most";
            found.block("clock", format!("{reason}: {why}"), fix);
        } else if off_ms > CLOCK_HISTORY_BLOCK_MS {
            let why = "which days a history has, and which are too old, follows from the time";
            found.block("clock", format!("{reason}: {why}"), fix);
        } else if is_piped && off_ms > CLOCK_WARN_MS {
            found.warn("clock", format!("{reason}: freshness is wrong by as much"), fix);
        } else if is_piped && off_ms > CLOCK_NOTE_MS {
            found.note("clock", format!("{reason}: freshness is wrong by as much"), fix);
        }
    }
}

const CLOCK_BLOCK_MS: f64 = 60_000.0;
const CLOCK_HISTORY_BLOCK_MS: f64 = 300_000.0;
const CLOCK_WARN_MS: f64 = 1_000.0;
const CLOCK_NOTE_MS: f64 = 10.0;

#[cfg(test)]
mod tests;
