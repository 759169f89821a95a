use std::fmt::Write as _;

use stores::jetstream::ConsumerState;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A pipeline that is up, idle and empty, and has no metrics. Nobody knows how long its parts may
/// hold an event.
fn idle() -> Seen {
    Seen {
        quiet: 20 * SECOND,
        webhook_answers: Some(true),
        stream: Some(stream(ConsumerState::default())),
        is_pulled: true,
        ..Seen::default()
    }
}

/// The same after a time without movement, with a declared bound.
fn bounded(quiet: Duration) -> Seen {
    Seen { quiet, delay_max: Some(370 * SECOND), ..idle() }
}

fn stream(consumer: ConsumerState) -> StreamState {
    StreamState {
        messages: 0,
        bytes: 0,
        bytes_max: None,
        first: 1,
        last: 0,
        duplicate_window: SECOND,
        keeps_what_is_read: true,
        consumer: Some(consumer),
    }
}

fn waiting(consumer: ConsumerState) -> Seen {
    Seen { stream: Some(stream(consumer)), ..idle() }
}

/// The metrics of a Vector whose sinks hold these numbers of events.
fn part(sinks: &[(&str, u64)]) -> Part {
    let mut text = String::new();
    for (sink, held) in sinks {
        writeln!(
            text,
            "vector_buffer_events{{component_id=\"{sink}\",component_kind=\"sink\",\
             component_type=\"{sink}\"}} {held}"
        )
        .unwrap();
    }
    Part { url: "http://v".to_owned(), told: Ok(VectorState::parse(&text)) }
}

fn told(sinks: &[(&str, u64)]) -> Seen {
    Seen { parts: vec![part(sinks)], ..idle() }
}

/// Checks which places are not excluded.
#[track_caller]
fn check(seen: &Seen, open: &[Place]) {
    let grounds = Grounds::of(seen);
    let found: Vec<Place> = grounds.open.keys().copied().collect();
    assert_eq!(found, open, "{grounds:#?}");
    let mut doubts = grounds.open.values().flatten();
    assert!(doubts.all(|doubt| !doubt.what.is_empty() && !doubt.remedy.is_empty()));
}

use Place::{Aggregator, Consumer, Sidecar, Table};

#[test]
fn a_part_is_excluded_by_what_it_tells() {
    check(&told(&[("nats", 0), ("clickhouse", 0)]), &[]);
    check(&told(&[("nats", 0)]), &[Aggregator]);
    check(&told(&[("clickhouse", 0)]), &[Sidecar]);
    check(&told(&[("nats", 1), ("clickhouse", 0)]), &[Sidecar]);
    check(&told(&[("nats", 0), ("clickhouse", 6_000)]), &[Aggregator]);
}

/// A disk buffer may keep its last events for ever.
#[test]
fn no_wait_excludes_a_part_that_may_hold_events_for_any_time() {
    check(&idle(), &[Sidecar, Aggregator]);
    check(&Seen { quiet: 36_000 * SECOND, ..idle() }, &[Sidecar, Aggregator]);
    check(&Seen { quiet: 36_000 * SECOND, ..told(&[("nats", 0)]) }, &[Aggregator]);
}

#[test]
fn a_wait_for_the_declared_delay_excludes_a_part() {
    check(&bounded(369 * SECOND), &[Sidecar, Aggregator]);
    check(&bounded(370 * SECOND), &[]);
    check(&Seen { parts: vec![part(&[("nats", 3)])], ..bounded(370 * SECOND) }, &[Sidecar]);
}

#[test]
fn a_wait_proves_nothing_of_a_part_that_is_down() {
    let waited = bounded(3_600 * SECOND);
    check(&Seen { is_pulled: false, ..waited.clone() }, &[Consumer]);
    check(&Seen { webhook_answers: Some(false), ..waited.clone() }, &[Sidecar]);
    check(&Seen { webhook_answers: None, ..waited.clone() }, &[Sidecar]);
    let silent = Part { url: "http://v".to_owned(), told: Err("it does not answer".to_owned()) };
    check(&Seen { parts: vec![silent.clone()], ..waited.clone() }, &[Sidecar, Aggregator]);
    let parts = vec![part(&[("nats", 0), ("clickhouse", 0)]), silent];
    check(&Seen { parts, ..waited }, &[Sidecar, Aggregator]);
}

#[test]
fn a_vector_that_has_forgotten_its_gauges_is_not_empty() {
    let forgetful = Part { url: "http://v".to_owned(), told: Ok(VectorState::default()) };
    let parts = vec![forgetful.clone()];
    check(&Seen { parts: parts.clone(), ..idle() }, &[Sidecar, Aggregator]);
    check(&Seen { parts, ..bounded(370 * SECOND) }, &[]);
    let parts = vec![part(&[("nats", 0), ("clickhouse", 0)]), forgetful];
    check(&Seen { parts, ..idle() }, &[Sidecar, Aggregator]);
    let mut without_gauge = part(&[("nats", 0), ("clickhouse", 0)]);
    let sinks = &mut without_gauge.told.as_mut().unwrap().sinks;
    sinks.get_mut("nats").unwrap().tells_buffer = false;
    check(&Seen { parts: vec![without_gauge], ..idle() }, &[Sidecar]);
}

#[test]
fn what_one_of_many_vectors_holds_counts() {
    let parts = vec![part(&[("nats", 0)]), part(&[("nats", 3)]), part(&[("clickhouse", 0)])];
    check(&Seen { parts, ..idle() }, &[Sidecar]);
}

#[test]
fn metrics_that_may_be_old_and_stores_that_move_prove_nothing() {
    let empty = told(&[("nats", 0), ("clickhouse", 0)]);
    check(&Seen { quiet: 4 * SECOND, ..empty.clone() }, &[Sidecar, Aggregator]);
    check(&Seen { quiet: 5 * SECOND, ..empty.clone() }, &[]);
    check(&Seen { is_still: false, ..empty }, &[Sidecar, Aggregator]);
    check(&Seen { is_still: false, ..bounded(370 * SECOND) }, &[Sidecar, Aggregator]);
}

#[test]
fn a_consumer_is_excluded_only_if_it_is_there_and_nothing_waits_for_it() {
    let also_open = [Sidecar, Consumer, Aggregator];
    check(&waiting(ConsumerState { pending: 1, ..ConsumerState::default() }), &also_open);
    check(&waiting(ConsumerState { unacknowledged: 1, ..ConsumerState::default() }), &also_open);
    check(&waiting(ConsumerState { is_paused: true, ..ConsumerState::default() }), &also_open);
    // The consumer exists and is idle. But nobody asks it for messages, so it may not be the
    // aggregator's.
    let idle_one = Seen { is_pulled: false, ..told(&[("nats", 0), ("clickhouse", 0)]) };
    check(&idle_one, &[Consumer]);
    let none = NoConsumer { name: "x".to_owned(), others: Vec::new() };
    check(&Seen { no_consumer: Some(none), ..idle() }, &also_open);
}

#[test]
fn a_table_is_excluded_only_if_it_was_read_whole() {
    check(&Seen::default(), &[]);
    check(&Seen { is_steady: false, ..Seen::default() }, &[Table]);
    let hidden = Hidden { what: "a row policy applies".to_owned(), remedy: "lift it".to_owned() };
    check(&Seen { hidden: vec![hidden], ..Seen::default() }, &[Table]);
}

/// Tries the places one by one: if one that the cause needs is open, the loss is not proven. If all
/// others are open, it is.
#[test]
fn a_cause_is_proven_exactly_if_its_places_are_excluded() {
    let all = [Sidecar, Consumer, Aggregator, Table];
    for path in [DeliveryPath::Pipeline, DeliveryPath::Bulk, DeliveryPath::Both] {
        for cause in Cause::ALL {
            let Some(needed) = places_of(cause, path) else {
                assert!(!Grounds::default().prove(cause, path), "{cause:?}");
                continue;
            };
            assert!(needed.contains(&Table), "any row may be hidden: {cause:?}");
            for place in all {
                let doubt = Doubt { place, what: String::new(), remedy: String::new() };
                let grounds = Grounds { open: BTreeMap::from([(place, vec![doubt])]) };
                let is_needed = needed.contains(&place);
                assert_eq!(grounds.prove(cause, path), !is_needed, "{cause:?} {place:?}");
                let against = grounds.against(cause, path).count();
                assert_eq!(against, usize::from(is_needed), "{cause:?} {place:?}");
            }
            assert!(Grounds::default().prove(cause, path), "{cause:?}");
        }
    }
}

#[test]
fn what_is_lost_before_the_stream_is_not_in_an_aggregator() {
    let buffered = Grounds::of(&told(&[("nats", 0), ("clickhouse", 9)]));
    assert!(buffered.prove(Cause::NeverInStream, DeliveryPath::Pipeline));
    assert!(!buffered.prove(Cause::ConsumedNotStored, DeliveryPath::Pipeline));
    assert!(!buffered.prove(Cause::NotConsumed, DeliveryPath::Pipeline));
    assert!(buffered.prove(Cause::Somewhere, DeliveryPath::Bulk));
}
