//! The story of a watch where there is no terminal: a line every ten seconds, and at once when a
//! server falls silent or answers again, or messages are evicted unread; in logfmt. Pure.

use std::fmt::Write as _;

use events::timeline::UnixMicros;

use super::view::{View, rate};

/// Says when it is time for a line.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    told_at_us: Option<i64>,
    has_evicted: bool,
    silent: Vec<String>,
    /// When a line last told of the table's rows, and how many there were.
    rows: Option<(UnixMicros, u64)>,
}

impl Lines {
    /// Returns a line, if it is time for one.
    pub(crate) fn line(&mut self, view: &View) -> Option<String> {
        let now = view.observation.at.0;
        let has_evicted = view.evicted_unread > 0;
        let silent: Vec<String> = view.silent.iter().map(|(name, _)| name.clone()).collect();
        let is_time = self.told_at_us.is_none_or(|told| now - told >= LINE_EVERY_US);
        if !is_time && has_evicted == self.has_evicted && silent == self.silent {
            return None;
        }
        (self.told_at_us, self.has_evicted, self.silent) = (Some(now), has_evicted, silent);
        Some(told(view, self.rows_per_second(view)))
    }

    /// Returns how fast the table has grown since the last line; nothing at the first. Where rows
    /// come in batches, most looks see none.
    fn rows_per_second(&mut self, view: &View) -> Option<u64> {
        let (now, rows) = (view.observation.at.0, view.observation.table?.rows);
        let (at, before) = self.rows.replace((now, rows))?;
        Some(rate(rows, before, now - at))
    }
}

fn told(view: &View, rows_per_second: Option<u64>) -> String {
    let at = serde_json::to_string(&view.observation.at).expect("a calendar has this year");
    let mut line = format!("at={} elapsed_s={}", at.trim_matches('"'), view.elapsed.as_secs());
    let mut tell = |name: &str, value: u64| {
        write!(line, " {name}={value}").expect("a string takes what is written to it");
    };
    if let Some(stream) = &view.observation.stream {
        tell("stream_last", stream.last);
        tell("stream_bytes", stream.bytes);
        if let Some(consumer) = &stream.consumer {
            tell("delivered", consumer.delivered);
            tell("pending", consumer.pending);
            tell("unacknowledged", consumer.unacknowledged);
            tell("redelivered", consumer.redelivered);
        }
    }
    tell("evicted_unread", view.evicted_unread);
    if let Some(least) = view.observation.backlog_min {
        tell("backlog_min", least);
    }
    for held in &view.held {
        tell(&format!("held_{}", held.part), held.events);
    }
    if let Some(table) = &view.observation.table {
        tell("rows", table.rows);
        if let Some(rows_per_second) = rows_per_second {
            tell("rows_per_second", rows_per_second);
        }
        tell("parts", table.parts);
    }
    let fresh = &view.observation.freshness;
    tell("samples_waiting", fresh.waiting);
    let recent = &view.due_to_visible;
    write!(line, " oldest_ms={:.0}", fresh.oldest_ms)
        .expect("a string takes what is written to it");
    if recent.samples > 0 {
        write!(
            line,
            " due_to_visible_p50_ms={:.0} due_to_visible_p95_ms={:.0}",
            recent.p50_ms, recent.p95_ms
        )
        .expect("a string takes what is written to it");
    }
    if !view.silent.is_empty() {
        // In logfmt, a value ends at a blank.
        let silent: Vec<String> =
            view.silent.iter().map(|(name, _)| name.replace(' ', ":")).collect();
        write!(line, " no_answer={}", silent.join(","))
            .expect("a string takes what is written to it");
    }
    line
}

const LINE_EVERY_US: i64 = 10_000_000;

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::watch::view::Phase;
    use crate::watch::view::tests::{NONE, gatherer, observation};

    #[test]
    fn what_must_not_be_missed_is_told_at_once() {
        let mut gatherer = gatherer();
        let mut lines = Lines::default();
        let mut told = |at, silent: &[&str], evicted| {
            let mut view = gatherer.view(&observation(at), silent, Phase::Going);
            view.evicted_unread = evicted;
            lines.line(&view).is_some()
        };
        assert!(told(1, &[], 0));
        assert!(!told(2, &[], 0));
        assert!(told(3, &["nats"], 0));
        assert!(!told(4, &["nats"], 0));
        assert!(told(5, &[], 0));
        assert!(told(6, &[], 7));
        assert!(!told(7, &[], 9));
    }

    #[test]
    fn a_line_tells_the_rate_since_the_line_before() {
        let mut gatherer = gatherer();
        let mut lines = Lines::default();
        let mut told = |at, rows| {
            let mut seen = observation(at);
            // An aggregator's batches, of seven seconds each.
            seen.table.as_mut().unwrap().rows = rows;
            lines.line(&gatherer.view(&seen, NONE, Phase::Going))
        };
        let rates: Vec<Option<u64>> = (1..=31)
            .filter_map(|at| told(at, at / 7 * 700))
            .map(|line| {
                let word = line.split(' ').find_map(|it| it.strip_prefix("rows_per_second="));
                word.map(|rate| rate.parse().unwrap())
            })
            .collect();
        assert_eq!(rates, [None, Some(70), Some(140), Some(70)]);
    }

    #[test]
    fn no_latency_is_told_before_anything_is_visible() {
        let mut seen = observation(1);
        seen.freshness.due_to_visible_ms.clear();
        let view = gatherer().view(&seen, &[] as &[&str], Phase::Going);
        let line = Lines::default().line(&view).unwrap();
        assert!(line.contains("oldest_ms=900") && !line.contains("due_to_visible"), "{line}");
    }

    #[test]
    fn every_ten_seconds_there_is_a_line() {
        let mut gatherer = gatherer();
        let mut lines = Lines::default();
        let views =
            (1..=25).map(|at| gatherer.view(&observation(at), &["vector a:1"], Phase::Going));
        let told: Vec<String> = views.filter_map(|view| lines.line(&view)).collect();
        assert_eq!(told.len(), 3);
        expect![[r#"
            at=2026-09-21T14:13:41.000000Z
            elapsed_s=21
            stream_last=2520
            stream_bytes=2520000
            delivered=2310
            pending=210
            unacknowledged=210
            redelivered=5
            evicted_unread=0
            backlog_min=630
            held_sidecar=429603
            held_aggregator=40
            rows=3100
            rows_per_second=100
            parts=12
            samples_waiting=4
            oldest_ms=900
            due_to_visible_p50_ms=1200
            due_to_visible_p95_ms=2500
            no_answer=vector:a:1"#]]
        .assert_eq(&told[2].replace(' ', "\n"));
    }
}
