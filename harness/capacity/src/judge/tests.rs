use std::time::Duration;

use super::*;
use crate::plateau::{Look, SentSecond, StreamHolds};

/// A plateau of 1,000 events a second. `behind` returns the backlogs of the three hops at a moment
/// in s, in events.
pub(crate) fn plateau(seconds: u32, behind: impl Fn(f64) -> [f64; 3]) -> Plateau {
    let second = |at: u32| SentSecond {
        at_s: f64::from(at),
        planned: 1_000,
        failed: 0,
        spoiled: 0,
        acknowledged: 1_000,
        acknowledged_until: u64::from(at) * 1_000,
        sent_to_acknowledged_p95_ms: Some(20.0),
    };
    let look = |at: u32| {
        let at_s = f64::from(at);
        let [sidecar, consumer, aggregator] = behind(at_s);
        let in_stream = at_s * 1_000.0 - sidecar;
        Look {
            at_s,
            in_stream: Some(count(in_stream)),
            lag: Some(count(consumer)),
            stored: Some(count(in_stream - consumer - aggregator)),
            held: Some(StreamHolds { messages: 8_600, bytes: 8_600_000, first: u64::from(at) }),
            due_to_visible_ms: vec![sidecar + consumer + aggregator + 100.0; 10],
            oldest_waiting_ms: 50.0,
        }
    };
    Plateau {
        rate: EventsPerSecond(1_000.0),
        duration: Duration::from_secs(seconds.into()),
        is_confirmation: false,
        seconds: (1..=seconds).map(second).collect(),
        looks: (1..=seconds).map(look).collect(),
        lost_events: Some(0),
        is_saturated: Some(false),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
fn count(events: f64) -> u64 {
    events.max(0.0).round() as u64
}

/// A saw of batches of 5 s, and a wave: what a pipeline that keeps up looks like.
fn steady(at_s: f64) -> [f64; 3] {
    [60.0 + 50.0 * (at_s / 7.0).sin(), 100.0 + 80.0 * (at_s / 3.0).cos(), at_s % 5.0 * 1_000.0]
}

fn options() -> JudgeOptions {
    JudgeOptions {
        batch_time: Duration::from_secs(5),
        retry_time: Duration::from_secs(30),
        ..JudgeOptions::default()
    }
}

/// Judges a steady plateau of three minutes after a change, and tells the verdict in words.
fn told(change: impl FnOnce(&mut Plateau)) -> String {
    let mut plateau = plateau(180, steady);
    change(&mut plateau);
    words(&judge(&options(), &plateau).verdict)
}

fn words(verdict: &Verdict) -> String {
    let joined = |all: Vec<String>| all.join("; ");
    match verdict {
        Verdict::Sustained => "sustained".to_owned(),
        Verdict::NotSustained { failed } => {
            format!("not: {}", joined(failed.iter().map(ToString::to_string).collect()))
        }
        Verdict::NotKnown { missing } => {
            format!("unknown: {}", joined(missing.iter().map(ToString::to_string).collect()))
        }
    }
}

#[track_caller]
fn check(change: impl FnOnce(&mut Plateau), expected: &str) {
    let told = told(change);
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn a_pipeline_that_keeps_up_sustains_the_rate() {
    check(|_| {}, "sustained");
}

#[test]
fn each_criterion_fails_alone() {
    check(|it| it.lost_events = Some(3), "not: 3 events were lost");
    let slow = |it: &mut Plateau| {
        it.seconds.iter_mut().for_each(|it| it.sent_to_acknowledged_p95_ms = Some(120.0));
    };
    check(slow, "not: the webhook took 120 ms (p95; asked: below 100 ms)");
    let stale = |it: &mut Plateau| {
        it.looks.iter_mut().for_each(|it| it.due_to_visible_ms = vec![12_000.0]);
    };
    check(stale, "not: events took 12.0 s until visible (p95; asked: below 10.0 s)");
    let never = |it: &mut Plateau| {
        for look in &mut it.looks {
            (look.due_to_visible_ms, look.oldest_waiting_ms) = (Vec::new(), look.at_s * 1_000.0);
        }
    };
    check(never, "not: events took 180 s until visible");
    let refused = |it: &mut Plateau| it.seconds.iter_mut().for_each(|it| it.failed = 2);
    check(refused, "not: 0.20 % of the events were not acknowledged");
    let held_up = |it: &mut Plateau| it.seconds.iter_mut().for_each(|it| it.acknowledged = 980);
    check(held_up, "not: the webhook acknowledged 980/s of 1,000/s");
}

#[test]
fn each_missing_piece_is_named_alone() {
    check(|it| it.looks.clear(), "unknown: nobody watched");
    check(|it| it.lost_events = None, "unknown: whether events were lost is not known");
    check(|it| it.is_saturated = None, "unknown: not all generators");
    check(|it| it.is_saturated = Some(true), "unknown: the generator itself was saturated");
    let no_table = |it: &mut Plateau| it.looks.iter_mut().for_each(|it| it.stored = None);
    check(no_table, "unknown: the table was not seen often enough");
    let no_samples = |it: &mut Plateau| {
        it.looks.iter_mut().for_each(|it| it.due_to_visible_ms.clear());
    };
    check(no_samples, "unknown: no sampled event was seen");
    let untimed = |it: &mut Plateau| {
        it.seconds.iter_mut().for_each(|it| it.sent_to_acknowledged_p95_ms = None);
    };
    check(untimed, "unknown: no answer of the webhook was timed");
    check(|it| it.seconds[9].spoiled = 1, "unknown: events were spoiled on purpose");
    check(|it| it.looks.truncate(40), "unknown: it lasted 43 s, and 60 s are needed");
    let others = |it: &mut Plateau| {
        it.looks.iter_mut().for_each(|it| it.stored = it.stored.map(|stored| stored * 2));
    };
    check(others, "unknown: the table got more than was acknowledged");
}

#[test]
fn a_late_generator_voids_what_was_measured_but_no_loss() {
    let late = |lost| {
        move |it: &mut Plateau| {
            *it = plateau(180, |at_s| [0.0, at_s * 100.0, 0.0]);
            (it.is_saturated, it.lost_events) = (Some(true), Some(lost));
        }
    };
    check(late(0), "unknown: the generator itself was saturated");
    check(late(1), "not: 1 events were lost");
}

#[track_caller]
fn check_backlog(behind: impl Fn(f64) -> [f64; 3], expected: &str) {
    check(|it| *it = plateau(180, behind), expected);
}

#[test]
fn a_backlog_that_grows_is_found_in_the_noise_and_only_then() {
    let with = |more: fn(f64) -> f64| {
        move |at_s: f64| {
            let [sidecar, consumer, aggregator] = steady(at_s);
            [sidecar, consumer + more(at_s), aggregator]
        }
    };
    check_backlog(with(|at_s| at_s * 20.0), "not: the backlog grew by 20/s");
    check_backlog(with(|at_s| at_s * 2.0), "sustained");
    // From the second half on, when the first has proven nothing.
    check_backlog(with(|at_s| (at_s - 120.0).max(0.0) * 40.0), "not: the backlog grew");
    // Warming up is over within the first third.
    check_backlog(with(|at_s| (60.0 - at_s).max(0.0) * 30.0), "sustained");
    // An autoscaler came after 70 s: what has gathered is falling.
    let scaled = with(|at_s| at_s.min(70.0) * 300.0 - (at_s - 70.0).max(0.0) * 100.0);
    check_backlog(scaled, "unknown: a backlog from before was still falling");
    // In two minutes that is less than two seconds' worth: looks and batches alone may do it.
    check_backlog(with(|at_s| at_s * 12.0), "unknown: the backlog was too noisy");
}

/// The hop that grew first, since when, and what it passed on.
fn grown(behind: impl Fn(f64) -> [f64; 3]) -> (Hop, f64, f64) {
    let found = judge(&options(), &plateau(180, behind)).bottleneck.expect("something grew");
    (found.hop, found.since_s.round(), found.passed.0.round())
}

#[test]
fn the_bottleneck_is_the_hop_whose_backlog_grew_first() {
    let after = |at_s: f64, from_s: f64| (at_s - from_s).max(0.0);
    let consumer = grown(|at_s| [100.0, at_s * 50.0, 0.0]);
    assert_eq!(consumer, (Hop::Consumer, 15.0, 950.0));
    let aggregator = grown(move |at_s| [0.0, after(at_s, 90.0) * 50.0, at_s.min(90.0) * 50.0]);
    assert_eq!(aggregator.0, Hop::Aggregator, "it was full when the consumer's began to grow");
    let both = grown(move |at_s| [0.0, after(at_s, 50.0) * 50.0, after(at_s, 10.0) * 30.0]);
    assert_eq!((both.0, both.2), (Hop::Aggregator, 920.0));
    let at_once = grown(|at_s| [at_s * 50.0, at_s * 50.0, 0.0]);
    assert_eq!(at_once.0, Hop::Consumer, "it is later on the way");
    let steady = judge(&options(), &plateau(180, steady));
    assert_eq!(steady.bottleneck, None);
}

#[test]
fn a_stream_that_is_full_lasts_as_long_as_what_it_holds() {
    let judgement = judge(&options(), &plateau(180, |at_s| [0.0, 0.0, at_s * 50.0]));
    let stream = judgement.bottleneck.unwrap().stream.unwrap();
    assert!(stream.is_full && (stream.lasts_s - 8.6).abs() < 1e-9, "{stream:?}");
    let mut plateau = plateau(180, |at_s| [0.0, at_s * 50.0, 0.0]);
    plateau.looks.iter_mut().for_each(|it| it.held.as_mut().unwrap().first = 1);
    let stream = judge(&options(), &plateau).bottleneck.unwrap().stream.unwrap();
    assert!(!stream.is_full, "{stream:?}");
}
