//! Which rates were sustained, and what held events up.

use capacity::bottleneck::{Bottleneck, StreamSlack};
use capacity::judge::{Failure, Judgement, Verdict};
use capacity::ramp::Slice;
use capacity::units::EventsPerSecond;

use crate::figures::{self, as_f64, counted, milliseconds, number};
use crate::stages::{JudgedStage, Outcome};

/// The section about sustained rates.
#[derive(Debug)]
pub(crate) struct SustainedView {
    pub(crate) tone: &'static str,
    pub(crate) outcome: String,
    /// What held events up, and what it would take.
    pub(crate) notes: Vec<String>,
    pub(crate) rows: Vec<SustainedRow>,
}

/// A plateau, or a part of a ramp.
#[derive(Debug)]
pub(crate) struct SustainedRow {
    pub(crate) tone: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) time: String,
    pub(crate) rate: String,
    /// How the backlog grew, with its interval.
    pub(crate) backlog: String,
    pub(crate) visible: String,
    pub(crate) webhook: String,
    pub(crate) why: String,
}

/// What the rows have in common.
struct Piece<'j> {
    from_s: f64,
    until_s: f64,
    rates: (EventsPerSecond, EventsPerSecond),
    judgement: &'j Judgement,
    slice: Option<&'j Slice>,
    /// When the times of the judgement begin.
    origin_s: f64,
}

/// Puts the stages of a run into words; `None` if there is nothing to judge.
pub(super) fn sustained(stages: &[JudgedStage]) -> Option<SustainedView> {
    let pieces: Vec<Piece<'_>> = stages.iter().flat_map(pieces).collect();
    if pieces.is_empty() {
        return None;
    }
    let failing = pieces.iter().filter(|it| it.is_failed());
    let failing = failing.min_by(|one, other| one.first_bad().0.total_cmp(&other.first_bad().0));
    let limit = failing.map_or(f64::INFINITY, |it| it.first_bad().0);
    let good = pieces.iter().filter(|it| it.judgement.verdict == Verdict::Sustained);
    let good = good.filter(|it| it.top().0 < limit);
    let good = good.max_by(|one, other| one.top().0.total_cmp(&other.top().0));
    Some(SustainedView {
        tone: match (good, failing) {
            (_, Some(_)) => "bad",
            (Some(_), None) => "good",
            (None, None) => "doubt",
        },
        outcome: headline(good, failing),
        notes: failing.map(evidence).unwrap_or_default(),
        rows: pieces.iter().map(row).collect(),
    })
}

fn pieces(stage: &JudgedStage) -> Vec<Piece<'_>> {
    let &JudgedStage { from_s, until_s, ref outcome } = stage;
    match outcome {
        Outcome::Flat { rate, judgement } => {
            let rates = (*rate, *rate);
            vec![Piece { from_s, until_s, rates, judgement, slice: None, origin_s: from_s }]
        }
        Outcome::Ramp(slices) => slices.iter().map(|slice| piece_of(slice, from_s)).collect(),
    }
}

fn piece_of(slice: &Slice, origin_s: f64) -> Piece<'_> {
    Piece {
        from_s: origin_s + slice.from_s,
        until_s: origin_s + slice.until_s,
        rates: slice.rates,
        judgement: &slice.judgement,
        slice: Some(slice),
        origin_s,
    }
}

impl Piece<'_> {
    fn is_failed(&self) -> bool {
        matches!(self.judgement.verdict, Verdict::NotSustained { .. })
    }

    fn top(&self) -> EventsPerSecond {
        EventsPerSecond(self.rates.0.0.max(self.rates.1.0))
    }

    /// The rate from which on it was too much, as far as that is known.
    fn first_bad(&self) -> EventsPerSecond {
        let (Some(slice), Some(found)) = (self.slice, &self.judgement.bottleneck) else {
            return EventsPerSecond(self.rates.0.0.min(self.rates.1.0));
        };
        // It may have begun in an earlier slice, too late to be seen there.
        slice.rate_at(found.since_s.min(slice.until_s))
    }
}

fn headline(good: Option<&Piece<'_>>, failing: Option<&Piece<'_>>) -> String {
    let good = good.map(|it| match it.slice {
        Some(_) => format!("kept up to {}", it.top()),
        None => format!("sustained up to {}", it.top()),
    });
    let bad = failing.map(|it| {
        let what = match (&it.judgement.bottleneck, &it.judgement.verdict) {
            (Some(found), _) => format!("{} fell behind", found.hop),
            (None, Verdict::NotSustained { failed }) => failed[0].to_string(),
            _ => String::new(),
        };
        format!("from {} {what}", it.first_bad())
    });
    match (good, bad) {
        (Some(good), Some(bad)) => format!("{good}; {bad}"),
        (Some(good), None) => good,
        (None, Some(bad)) => format!("not sustained: {bad}"),
        (None, None) => "not known".to_owned(),
    }
}

/// What held events up first, and what it would take.
fn evidence(piece: &Piece<'_>) -> Vec<String> {
    let Some(found) = &piece.judgement.bottleneck else { return Vec::new() };
    let Bottleneck { hop, trend, since_s, passed, stream } = found;
    let [slope, low, high] =
        [trend.slope_per_s, trend.low_per_s, trend.high_per_s].map(EventsPerSecond);
    let since = figures::elapsed(piece.origin_s + since_s);
    let rate = EventsPerSecond(f64::midpoint(piece.rates.0.0, piece.rates.1.0));
    let mut notes = vec![format!(
        "The backlog of {hop} ({}) grew first, from {since} on, by {slope} (95 % interval: {low} \
         to {high}).",
        hop.between()
    )];
    if passed.0 > 0.0 && passed.0 < rate.0 {
        let more = number((rate.0 / passed.0 - 1.0) * 100.0);
        notes.push(format!(
            "It passed {passed} on. For {rate} it must become {more} % faster, or there must be \
             more of it."
        ));
    }
    notes.extend(stream.as_ref().map(slack));
    notes
}

fn slack(stream: &StreamSlack) -> String {
    let &StreamSlack { messages, bytes, is_full, lasts_s } = stream;
    let held = format!("{} in {}", counted(messages, "message"), figures::bytes(as_f64(bytes)));
    let lasts = number(lasts_s);
    if is_full {
        format!(
            "The stream was full with {held}: if the aggregator stalls for {lasts} s at this rate, \
             unread messages are evicted."
        )
    } else {
        format!("The stream held {held}, {lasts} s at this rate, and had evicted none.")
    }
}

fn row(piece: &Piece<'_>) -> SustainedRow {
    let &Piece { from_s, until_s, rates, judgement, slice, .. } = piece;
    let is_ramp = slice.is_some();
    let (tone, outcome, why) = match &judgement.verdict {
        Verdict::Sustained => {
            ("good", if is_ramp { "kept up" } else { "sustained" }, String::new())
        }
        Verdict::NotSustained { failed } => {
            let grew = |it: &Failure| matches!(it, Failure::Growing { .. });
            let fell_behind = is_ramp && failed.iter().any(grew);
            ("bad", if fell_behind { "fell behind" } else { "not sustained" }, listed(failed))
        }
        Verdict::NotKnown { missing } => ("doubt", "not known", listed(missing)),
    };
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    SustainedRow {
        tone,
        outcome,
        time: format!("{} to {}", figures::elapsed(from_s), figures::elapsed(until_s)),
        rate: if is_ramp { format!("{} → {}", rates.0, rates.1) } else { rates.0.to_string() },
        backlog: or_none(judgement.backlog.map(|trend| {
            let [slope, low, high] =
                [trend.slope_per_s, trend.low_per_s, trend.high_per_s].map(EventsPerSecond);
            format!("{slope} ({low} to {high})")
        })),
        visible: or_none(judgement.due_to_visible_p95_ms.map(milliseconds)),
        webhook: or_none(judgement.sent_to_acknowledged_p95_ms.map(milliseconds)),
        why,
    }
}

fn listed<T: ToString>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::tests::{judged, overtaken};
    use crate::versus::side::Side;

    fn view(stages: &str, limit: f64, change: impl FnOnce(&mut Side)) -> SustainedView {
        let mut side = overtaken(stages, limit);
        change(&mut side);
        sustained(&judged(&side)).expect("it has stages")
    }

    fn told(view: &SustainedView) -> Vec<String> {
        view.rows.iter().map(|row| format!("{} {}", row.outcome, row.rate)).collect()
    }

    #[test]
    fn stages_of_one_rate_are_told_one_by_one_and_what_was_too_much_with_its_evidence() {
        let stages = "[{duration: 3m, rate: 1000/s, tenants: 1}, \
                       {duration: 3m, rate: 1200/s, tenants: 1}]";
        let view = view(stages, 1_100.0, |_| {});
        let outcome = "sustained up to 1,000/s; from 1,200/s the aggregator fell behind";
        assert_eq!((view.outcome.as_str(), view.tone), (outcome, "bad"));
        assert_eq!(told(&view), ["sustained 1,000/s", "not sustained 1,200/s"]);
        let [grew, passed, stream] = &view.notes[..] else { panic!("{:?}", view.notes) };
        let since = "The backlog of the aggregator (consumer → table) grew first, from 3:";
        assert!(grew.starts_with(since) && grew.contains("by 100/s (95 % interval: "), "{grew}");
        assert!(passed.starts_with("It passed 1,100/s on. For 1,200/s it must"), "{passed}");
        assert!(stream.starts_with("The stream was full with 8,600 messages"), "{stream}");
        assert!(stream.contains("stalls for 7.17 s"), "{stream}");
        assert!(view.rows[1].why.contains("the backlog grew by 100/s"), "{:?}", view.rows);
    }

    #[test]
    fn a_ramp_is_told_as_a_range() {
        let view = view("[{duration: 20m, rate: 0/s -> 2000/s, tenants: 1}]", 1_000.0, |_| {});
        let begin = "kept up to 933/s; from 1,0";
        assert!(view.outcome.starts_with(begin), "{}", view.outcome);
        assert!(view.outcome.ends_with("/s the aggregator fell behind"), "{}", view.outcome);
        let rows = told(&view);
        assert_eq!(rows.len(), 15);
        assert!(rows[..7].iter().all(|row| row.starts_with("kept up")), "{rows:?}");
        assert!(rows[8..].iter().all(|row| row.starts_with("fell behind")), "{rows:?}");
    }

    #[test]
    fn without_a_watch_nothing_is_known_and_the_page_says_so() {
        let stages = "[{duration: 3m, rate: 1000/s, tenants: 1}]";
        let view = view(stages, 1_100.0, |side| side.records.observations.clear());
        assert_eq!((view.outcome.as_str(), view.tone), ("not known", "doubt"));
        assert!(view.rows[0].why.starts_with("nobody watched"), "{:?}", view.rows);
    }
}
