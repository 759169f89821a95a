//! Finds the periods in which events were lost, and the user's marks near them. Pure.

use std::collections::BTreeMap;

use events::event::MicroTime;
use events::identity::Seq;
use events::script::Script;
use events::timeline::UnixMicros;
use runs::observation::Mark;
use runs::report::LossWindow;
use runs::report::cause::Cause;
use runs::report::fates::Fates;

/// Returns the periods in which events were lost, by cause, the earliest first. Losses that are
/// less than [`GAP_US`] apart are in one window. A cause has at most [`WINDOWS_MAX`] windows; if
/// there are more, those with the shortest gaps are joined.
pub fn loss_windows(script: &Script, fates: &[Fates], marks: &[Mark]) -> Vec<LossWindow> {
    let mut spans: BTreeMap<Cause, Vec<Span>> = BTreeMap::new();
    for (tenant, fates) in script.tenants().zip(fates) {
        let timeline = script.timeline(tenant);
        for (cause, seqs) in &fates.lost {
            for range in seqs.ranges() {
                let due = |seq| timeline.due(Seq(seq)).ok();
                let (Some(from), Some(until)) = (due(range.start), due(range.end - 1)) else {
                    continue;
                };
                let events = range.end - range.start;
                spans.entry(*cause).or_default().push(Span { from, until, events });
            }
            // There may be many ranges over all tenants, but few windows of time.
            if let Some(spans) = spans.get_mut(cause).filter(|it| it.len() >= SPANS_MAX) {
                *spans = join(std::mem::take(spans), SPANS_MAX / 2);
            }
        }
    }
    let mut windows: Vec<_> = spans
        .into_iter()
        .flat_map(|(cause, spans)| {
            join(spans, WINDOWS_MAX).into_iter().map(move |span| (cause, span))
        })
        .map(|(cause, span)| window(cause, span, marks))
        .collect();
    windows.sort_by_key(|window| (window.from.0, window.cause));
    windows
}

/// Losses that are further apart are in different windows, in µs.
pub const GAP_US: i64 = 2_000_000;

/// The most windows of one cause.
pub const WINDOWS_MAX: usize = 200;

/// A mark that was set at most this long before or after a window is shown with it, in µs. The
/// cause and the loss may be apart: batches wait, buffers drain, and a process that is killed loses
/// events from before.
const MARK_NEAR_US: i64 = 30_000_000;

/// When there are this many spans, they are joined before more are added.
const SPANS_MAX: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    from: UnixMicros,
    until: UnixMicros,
    events: u64,
}

/// Joins spans that are close to each other, until there are few enough.
fn join(spans: Vec<Span>, spans_max: usize) -> Vec<Span> {
    let mut gap = GAP_US;
    let mut spans = joined(spans, gap);
    while spans.len() > spans_max {
        gap = gap.saturating_mul(2);
        spans = joined(spans, gap);
    }
    spans
}

/// Joins spans with less than `gap` between them.
fn joined(mut spans: Vec<Span>, gap: i64) -> Vec<Span> {
    spans.sort_unstable();
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.from - last.until < gap => {
                last.until = last.until.max(span.until);
                last.events += span.events;
            }
            _ => joined.push(span),
        }
    }
    joined
}

fn window(cause: Cause, Span { from, until, events }: Span, marks: &[Mark]) -> LossWindow {
    let is_near = |mark: &&Mark| (from - MARK_NEAR_US..=until + MARK_NEAR_US).contains(&mark.at.0);
    LossWindow {
        cause,
        hop: cause.hop(),
        from: MicroTime(from),
        until: MicroTime(until),
        events,
        marks: marks.iter().filter(is_near).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: i64, until: i64, events: u64) -> Span {
        Span { from, until, events }
    }

    #[test]
    fn losses_close_to_each_other_are_of_one_window() {
        let spans =
            vec![span(5_000_000, 5_000_000, 1), span(0, 10, 3), span(1_900_000, 1_900_000, 1)];
        assert_eq!(
            join(spans, WINDOWS_MAX),
            [span(0, 1_900_000, 4), span(5_000_000, 5_000_000, 1)]
        );
    }

    #[test]
    fn many_windows_are_joined_to_few_without_losing_an_event() {
        let spans =
            (0..10_000).map(|index| span(index * 3_000_000, index * 3_000_000, 2)).collect();
        let joined = join(spans, WINDOWS_MAX);
        assert!(joined.len() <= WINDOWS_MAX, "{}", joined.len());
        assert_eq!(joined.iter().map(|span| span.events).sum::<u64>(), 20_000);
    }

    #[test]
    fn what_is_joined_early_is_joined_alike() {
        let spans: Vec<_> = (0..4_000)
            .map(|index| (index * 7_919 % 4_001) * 1_500_000)
            .map(|at| if at % 5 == 0 { span(at, at + 40, 3) } else { span(at * 3, at * 3, 1) })
            .collect();
        let (first, rest) = spans.split_at(1_700);
        let early = [join(first.to_vec(), 1_000_000), rest.to_vec()].concat();
        assert_eq!(joined(early, GAP_US), joined(spans.clone(), GAP_US));
        let early = [join(first.to_vec(), 500), rest.to_vec()].concat();
        let windows = join(early, WINDOWS_MAX);
        assert_eq!(windows, join(spans, WINDOWS_MAX));
    }

    #[test]
    fn a_window_has_the_marks_of_its_time() {
        let mark = |at: i64, text: &str| Mark { at: MicroTime(at), text: text.to_owned() };
        let own = [mark(50_000_000, "killed nats"), mark(75_000_000, "killed the aggregator")];
        let others = [mark(0, "long before"), mark(101_000_000, "long after")];
        let marks = [&others[..], &own[..]].concat();
        let window = window(Cause::NeverInStream, span(60_000_000, 70_000_000, 5), &marks);
        assert_eq!(window.marks, own);
    }
}
