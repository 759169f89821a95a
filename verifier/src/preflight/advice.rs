//! What is to be known before a run: facts to findings, with reasons in figures. Pure.

mod stream;
mod table;

use std::fmt;

use serde::Serialize;

use super::facts::{Facts, VectorFacts};
use crate::vector::VectorState;

/// One finding, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    pub(crate) rank: Rank,
    /// Like `stream` or `table`.
    pub(crate) about: &'static str,
    pub(crate) reason: String,
    pub(crate) fix: String,
}

/// How much a finding weighs; the heaviest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rank {
    /// The run would lose events, or prove nothing.
    Blocker,
    /// It may, if something else happens.
    Warning,
    /// It is good to know.
    Note,
}

/// Says what is to be known, the weightiest first.
pub(crate) fn advise(facts: &Facts) -> Vec<Advice> {
    let mut found = Findings::default();
    stream::limits(facts, &mut found);
    stream::sizes(facts, &mut found);
    stream::repetitions(facts, &mut found);
    stream::durability(facts, &mut found);
    stream::consumer(facts, &mut found);
    table::layout(facts, &mut found);
    table::inserts(facts, &mut found);
    table::room(facts, &mut found);
    vectors(&facts.vectors, &mut found);
    clocks(facts, &mut found);
    found.0.sort_by_key(|advice| advice.rank);
    found.0
}

/// What has been found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Advice>);

impl Findings {
    fn block(&mut self, about: &'static str, reason: String, fix: impl Into<String>) {
        self.add(Rank::Blocker, about, reason, fix);
    }

    fn warn(&mut self, about: &'static str, reason: String, fix: impl Into<String>) {
        self.add(Rank::Warning, about, reason, fix);
    }

    fn note(&mut self, about: &'static str, reason: String, fix: impl Into<String>) {
        self.add(Rank::Note, about, reason, fix);
    }

    fn add(&mut self, rank: Rank, about: &'static str, reason: String, fix: impl Into<String>) {
        self.0.push(Advice { rank, about, reason, fix: fix.into() });
    }
}

fn vectors(vectors: &[VectorFacts], found: &mut Findings) {
    for VectorFacts { url, state } in vectors {
        let (held, buffered) = (state.held_events(), state.buffered_bytes());
        if held > 0 || buffered > 0 {
            let reason = format!(
                "{url}: it holds {held} events, in buffers of {buffered} bytes, in batches or in \
                 requests: events of this run come behind them"
            );
            found.warn("vector", reason, "wait until it holds none");
        }
        let VectorState { discarded_events, errors, .. } = state;
        if *discarded_events > 0 {
            let reason =
                format!("{url}: it has discarded {discarded_events} events since it started");
            found.warn(
                "vector",
                reason,
                "see its log for which, and why; restart it to count anew",
            );
        }
        if *errors > 0 {
            let reason = format!("{url}: it has counted {errors} errors since it started");
            found.note("vector", reason, "see its log for which");
        }
    }
}

/// Losses are looked for in the stream by time, and freshness is told by clocks.
fn clocks(facts: &Facts, found: &mut Findings) {
    for clock in &facts.clocks {
        let (server, off) = (&clock.server, clock.offset_ms);
        // At least so far is it off.
        let off_ms = off.abs() - clock.error_ms;
        let reason = format!(
            "the clock of {server} is {off:+.1} ms off this machine's, ± {:.1} ms",
            clock.error_ms
        );
        let fix = "let NTP set the clocks of all machines";
        if off_ms > CLOCK_BLOCK_MS {
            let why = "messages of the run are looked for by time, a minute off at most";
            found.block("clock", format!("{reason}: {why}"), fix);
        } else if off_ms > CLOCK_WARN_MS {
            found.warn("clock", format!("{reason}: freshness is wrong by as much"), fix);
        } else if off_ms > CLOCK_NOTE_MS {
            found.note("clock", format!("{reason}: freshness is wrong by as much"), fix);
        }
    }
}

const CLOCK_BLOCK_MS: f64 = 60_000.0;
const CLOCK_WARN_MS: f64 = 1_000.0;
const CLOCK_NOTE_MS: f64 = 10.0;

/// A time in seconds, for people.
struct Seconds(f64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            s if s < 120.0 => write!(f, "{s:.1} s"),
            s if s < 7_200.0 => write!(f, "{:.0} min", s / 60.0),
            s if s < 172_800.0 => write!(f, "{:.0} h", s / 3_600.0),
            s => write!(f, "{:.0} days", s / 86_400.0),
        }
    }
}

#[cfg(test)]
mod tests;
