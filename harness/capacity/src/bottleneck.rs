//! Which part of the way held events up first. Pure.

use serde::{Deserialize, Serialize};

use crate::part::Part;
use crate::plateau::{Hop, Plateau, StreamHolds, as_events};
use crate::rules::{JudgeOptions, ONSET_SHARE, RISE_MIN_S};
use crate::trend::{Point, Trend, blocks, trend};
use crate::units::EventsPerSecond;

/// The hop whose backlog grew first, with the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bottleneck {
    pub hop: Hop,
    /// How its backlog grew.
    pub trend: Trend,
    /// From when it grew, in s from the start of the plateau.
    pub since_s: f64,
    /// What it passed on.
    pub passed: EventsPerSecond,
    /// What the stream held at the end, if it was seen.
    pub stream: Option<StreamSlack>,
}

/// For how long the stream can wait for a stalled consumer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StreamSlack {
    pub messages: u64,
    pub bytes: u64,
    /// Whether it evicts old messages for new ones, so that it never holds more.
    pub is_full: bool,
    /// How long it takes at this rate until it has taken as many messages as it holds.
    pub lasts_s: f64,
}

/// Finds the hop whose backlog grew first, and stayed. Of hops that began to
/// grow within the same block it is the last on the way, because what is held up there holds up
/// what comes before.
pub(crate) fn bottleneck(options: &JudgeOptions, part: &Part<'_>) -> Option<Bottleneck> {
    let &Part { plateau, window, .. } = part;
    let block_s = options.block_s();
    let grown = Hop::ALL.into_iter().filter_map(|hop| {
        let of_window = |window| part.blocks(plateau.backlog(hop), window, options);
        let all = of_window((0.0, window.1));
        let (since_s, rise) = onset(&all, block_s)?;
        let is_part = rise >= RISE_MIN_S * plateau.rate.0;
        let later = trend(&of_window((since_s, window.1))).or_else(|| trend(&all))?;
        (is_part && later.slope_per_s > 0.0).then_some((hop, later, since_s))
    });
    let (hop, growth, since_s) =
        grown.reduce(|first, next| if next.2 <= first.2 + block_s { next } else { first })?;
    let passed_on = trend(&blocks(&plateau.passed(hop), window, block_s))?;
    Some(Bottleneck {
        hop,
        trend: growth,
        since_s,
        passed: EventsPerSecond(passed_on.slope_per_s),
        stream: slack(plateau, window),
    })
}

/// When a backlog began to grow for good, the last time that it was low compared with its end, and
/// by how much it has risen.
fn onset(averages: &[Point], block_s: f64) -> Option<(f64, f64)> {
    let end = averages.last()?.1;
    let least = averages.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let low = least + (end - least) * ONSET_SHARE;
    let lowest_s = averages.iter().rev().find(|point| point.1 <= low).map(|point| point.0);
    Some((lowest_s.unwrap_or(0.0).max(block_s / 2.0) - block_s / 2.0, end - least))
}

fn slack(plateau: &Plateau, window: (f64, f64)) -> Option<StreamSlack> {
    let looks = plateau.looks.iter().filter(|look| look.at_s > window.0);
    let seen: Vec<(StreamHolds, u64)> =
        looks.filter_map(|it| Some((it.held?, it.lag.unwrap_or(0)))).collect();
    let ((first, _), (last, lag)) = (seen.first()?, seen.last()?);
    // A stream that drops what is read holds only what is not.
    let is_full = last.first > first.first && last.messages > lag.saturating_mul(2);
    let StreamHolds { messages, bytes, .. } = *last;
    let lasts_s = as_events(messages) / plateau.rate.0.max(f64::MIN_POSITIVE);
    Some(StreamSlack { messages, bytes, is_full, lasts_s })
}
