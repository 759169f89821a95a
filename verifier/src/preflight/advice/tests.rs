use std::collections::BTreeMap;
use std::time::Duration;

use runs::observation::ClockOffset;
use stores::survey::Survey;

use super::*;
use crate::preflight::facts::{
    Acks, ConsumerFacts, InsertSettings, Keeps, Storage, StreamFacts, TableFacts, WhenFull,
};
use crate::preflight::load::Load;
use crate::vector::Sink;

/// A small run into a pipeline against which nothing is to be said but two notes.
fn sound() -> Facts {
    Facts {
        load: Load {
            events: 6_000,
            duration_s: 30.0,
            peak_events_per_s: 200,
            event_bytes: 1_060,
            event_bytes_max: 3_000,
            oversized_bytes: None,
            resend_s: 0.0,
        },
        stream: StreamFacts {
            name: "AUDIT_EVENTS".to_owned(),
            subjects: vec!["audit.k8s.>".to_owned()],
            bytes: 0,
            bytes_max: Some(1 << 30),
            messages_max: None,
            age_max: Some(Duration::from_hours(168)),
            message_bytes_max: Some(10 << 20),
            payload_bytes_max: 1 << 20,
            when_full: WhenFull::EvictsOld,
            keeps: Keeps::ToItsLimits,
            storage: Storage::File,
            replicas: 1,
            duplicate_window: Duration::from_mins(10),
            consumers: 1,
            others: Vec::new(),
            evicted_unread: 0,
        },
        consumer_name: "clickhouse-ingest".to_owned(),
        consumer: Some(ConsumerFacts {
            acks: Acks::Each,
            ack_wait: Duration::from_mins(1),
            ack_pending_max: Some(10_000),
            deliveries_max: None,
            filters: vec!["audit.k8s.>".to_owned()],
            is_paused: false,
            is_read: true,
            waiting: 0,
        }),
        table: TableFacts {
            name: "audit.audit_logs".to_owned(),
            survey: survey(),
            missing: Vec::new(),
            settings: InsertSettings { is_async: false, waits_for_async: true, deduplicates: true },
            parts_of_a_partition_max: 8,
        },
        vectors: Vec::new(),
        clocks: vec![clock(2.0)],
        history_days: 0,
    }
}

fn clock(offset_ms: f64) -> ClockOffset {
    ClockOffset { server: "nats".to_owned(), offset_ms, error_ms: 1.0 }
}

fn survey() -> Survey {
    Survey {
        version: "26.7".to_owned(),
        now_us: 0,
        timezone: "UTC".to_owned(),
        engine: "ReplacingMergeTree".to_owned(),
        engine_full: "ReplacingMergeTree ORDER BY x SETTINGS \
                      non_replicated_deduplication_window = 1000"
            .to_owned(),
        partition_key: "toYYYYMMDD(timestamp)".to_owned(),
        rows: 0,
        bytes_on_disk: 0,
        parts: 8,
        disk_free_bytes: 1 << 40,
        disk_total_bytes: 1 << 41,
        replica_is_readonly: false,
        account_is_readonly: false,
        takes_materialized: true,
        max_partitions_per_insert_block: 100,
        max_memory_usage: 0,
        insert_quorum: "0".to_owned(),
        parts_to_delay_insert: 1_000,
        parts_to_throw_insert: 3_000,
        max_parts_in_total: 100_000,
        deduplication_window: 1_000,
    }
}

/// Expects, beside what is always to be said, just the findings that begin so.
#[track_caller]
fn check(change: impl Fn(&mut Facts), expected: &[(Rank, &str)]) {
    let mut facts = sound();
    let always = advise(&facts);
    change(&mut facts);
    let advice = advise(&facts);
    let new: Vec<&Advice> = advice.iter().filter(|advice| !always.contains(advice)).collect();
    let told: Vec<(Rank, &str)> = new.iter().map(|it| (it.rank, it.reason.as_str())).collect();
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for ((rank, reason), (expected_rank, part)) in told.iter().zip(expected) {
        assert!(rank == expected_rank && reason.contains(part), "{rank:?}: {reason}");
    }
    assert!(new.iter().all(|advice| !advice.fix.is_empty()));
    assert!(advice.is_sorted_by_key(|advice| advice.rank));
}

use Rank::{Blocker, Note, Warning};

fn consumer(facts: &mut Facts) -> &mut ConsumerFacts {
    facts.consumer.as_mut().unwrap()
}

#[test]
fn of_a_sound_pipeline_only_what_it_is_made_of_is_told() {
    let advice = advise(&sound());
    let told: Vec<(Rank, &str)> = advice.iter().map(|it| (it.rank, it.reason.as_str())).collect();
    let replica = "the stream has one replica: what it holds is lost with its server";
    let folds = "ReplacingMergeTree folds rows with equal sorting keys into one: of duplicates, \
                 only those that are still apart can be found";
    assert_eq!(told, [(Note, replica), (Note, folds)]);
}

#[test]
fn a_stream_holds_a_stall_of_the_aggregator_or_loses_what_was_not_read() {
    let held = "hold 4.4 s: if the aggregator stalls for longer, what it has not read is evicted";
    let small = |facts: &mut Facts| facts.stream.bytes_max = Some(1 << 20);
    check(small, &[(Blocker, held), (Warning, "6.9 MiB into a stream of 1.0 MiB: it evicts")]);
    check(|facts| facts.stream.bytes_max = Some(20 << 20), &[(Warning, "20.0 MiB hold 87.4 s")]);
    check(
        |facts| facts.stream.messages_max = Some(1_000),
        &[(Blocker, "1000 messages hold 5.0 s")],
    );
    let full = |facts: &mut Facts| {
        facts.stream.when_full = WhenFull::RefusesNew;
        facts.stream.bytes = (1 << 30) - (1 << 20);
    };
    check(full, &[(Blocker, "6.9 MiB into a stream that has room for 1.0 MiB")]);
    let brief = |facts: &mut Facts| facts.stream.age_max = Some(Duration::from_secs(20));
    check(brief, &[(Warning, "after 20.0 s: an agg"), (Warning, "cannot tell the hop")]);
    check(|facts| facts.stream.storage = Storage::Memory, &[(Warning, "kept in memory")]);
    check(|facts| facts.stream.keeps = Keeps::UntilRead, &[(Warning, "once they are ackn")]);
    check(|facts| facts.stream.evicted_unread = 7, &[(Warning, "7 messages of before")]);
}

#[test]
fn an_event_that_no_message_can_hold_stops_all_behind_it() {
    check(|facts| facts.stream.message_bytes_max = None, &[]);
    let told = "events of 3000 bytes, 3200 as a message, and NATS, by its max_payload, takes none \
                above 3199: its sidecar tries it again for ever";
    check(|facts| facts.stream.payload_bytes_max = 3_199, &[(Blocker, told)]);
    let near = "3200 as a message, and NATS, by its max_payload, takes none above 6399: if another";
    check(|facts| facts.stream.payload_bytes_max = 6_399, &[(Warning, near)]);
    check(|facts| facts.stream.payload_bytes_max = 6_400, &[]);
    let of_stream = "and the stream, by its max_msg_size, takes none above 2048";
    check(|facts| facts.stream.message_bytes_max = Some(2_048), &[(Blocker, of_stream)]);
    let oversized = |facts: &mut Facts| facts.load.oversized_bytes = Some(1_051_576);
    let told = "faults.oversized sends events of 1051576 bytes, 1051776 as a message, and NATS, by \
                its max_payload, takes none above 1048576";
    check(oversized, &[(Blocker, told)]);
    let roomy = |facts: &mut Facts| {
        oversized(facts);
        facts.stream.payload_bytes_max = 8 << 20;
    };
    check(roomy, &[]);
}

#[test]
fn what_is_sent_again_must_come_within_the_duplicate_window_which_takes_memory() {
    check(|facts| facts.load.resend_s = 601.0, &[(Warning, "for up to 10 min")]);
    check(|facts| facts.load.resend_s = 599.0, &[]);
    let busy = |facts: &mut Facts| {
        facts.load.events = 100_000_000;
        facts.load.peak_events_per_s = 50_000;
        facts.stream.bytes_max = None;
        consumer(facts).ack_pending_max = None;
    };
    check(busy, &[(Warning, "up to 30000000 message IDs: about 7.0 GiB of memory")]);
}

#[test]
fn a_consumer_must_be_there_read_all_and_acknowledge_each() {
    let none = |others: usize| {
        move |facts: &mut Facts| (facts.consumer, facts.stream.consumers) = (None, others)
    };
    check(none(0), &[(Blocker, "no consumer clickhouse-ingest, and no other")]);
    check(none(2), &[(Blocker, "no consumer clickhouse-ingest, but 2 others")]);
    let named = |facts: &mut Facts| {
        none(2)(facts);
        facts.stream.others = ["a", "b"].map(str::to_owned).to_vec();
    };
    check(named, &[(Blocker, "no consumer clickhouse-ingest, but has a, b: what waits")]);
    check(|facts| consumer(facts).is_paused = true, &[(Blocker, "is paused")]);
    check(|facts| consumer(facts).is_read = false, &[(Warning, "nobody waits for messages of")]);
    check(|facts| consumer(facts).waiting = 100, &[(Note, "100 messages of before wait")]);
    check(|facts| consumer(facts).waiting = 100_000, &[(Warning, "100000 messages")]);
    check(|facts| consumer(facts).acks = Acks::None, &[(Warning, "acknowledges nothing")]);
    check(|facts| consumer(facts).acks = Acks::AllBefore, &[(Note, "covers all messages")]);
    let hasty = |facts: &mut Facts| consumer(facts).ack_wait = Duration::from_secs(5);
    check(hasty, &[(Warning, "given messages again after 5.0 s")]);
    check(|facts| consumer(facts).ack_pending_max = Some(100), &[(Warning, "100 messages unack")]);
    check(|facts| consumer(facts).deliveries_max = Some(3), &[(Warning, "at most 3 times")]);
    let narrow = |facts: &mut Facts| consumer(facts).filters = vec!["audit.k8s.x".to_owned()];
    check(narrow, &[(Warning, "does not read all of the stream's subject audit.k8s.>")]);
    check(|facts| consumer(facts).filters.clear(), &[]);
}

#[test]
fn a_table_must_keep_its_rows_and_tell_them_apart() {
    let survey = |change: fn(&mut Survey)| move |facts: &mut Facts| change(&mut facts.table.survey);
    check(survey(|it| it.engine = "Null".to_owned()), &[(Blocker, "does not keep rows")]);
    check(survey(|it| it.replica_is_readonly = true), &[(Blocker, "read-only")]);
    check(survey(|it| it.engine_full.push_str(" TTL x")), &[(Warning, "has a TTL")]);
    check(survey(|it| it.timezone = "Asia/Tokyo".to_owned()), &[(Note, "Asia/Tokyo")]);
    check(|facts| facts.table.missing = vec!["verb", "user"], &[(Note, "lacks verb, user")]);
    check(|facts| facts.table.missing = vec!["audit_id"], &[(Warning, "lacks audit_id")]);
}

#[test]
fn settings_without_effect_are_told() {
    let survey = |change: fn(&mut Survey)| move |facts: &mut Facts| change(&mut facts.table.survey);
    let other = |it: &mut Survey| {
        it.engine_full.push_str(", replicated_deduplication_window = 100");
    };
    check(survey(other), &[(Warning, "replicated_deduplication_window has no effect")]);
    let quorum = |it: &mut Survey| it.insert_quorum = "2".to_owned();
    check(survey(quorum), &[(Note, "insert_quorum = 2 has no effect")]);
    check(survey(|it| it.deduplication_window = 0), &[(Warning, "remembers no inserts")]);
    let settings = |change: fn(&mut InsertSettings)| {
        move |facts: &mut Facts| change(&mut facts.table.settings)
    };
    check(settings(|it| it.deduplicates = false), &[(Note, "a window of 1000 inserts has no eff")]);
    check(settings(|it| it.is_async = true), &[(Note, "are asynchronous")]);
    let careless = settings(|it| (it.is_async, it.waits_for_async) = (true, false));
    check(careless, &[(Warning, "answered before they are in the table")]);
    check(|facts| facts.history_days = 101, &[(Blocker, "101 days in one insert")]);
    check(|facts| facts.history_days = 100, &[]);
}

#[test]
fn parts_and_disk_have_limits() {
    check(|facts| facts.table.parts_of_a_partition_max = 500, &[(Warning, "has 500 parts")]);
    check(|facts| facts.table.parts_of_a_partition_max = 3_000, &[(Blocker, "has 3000 parts")]);
    let full = |facts: &mut Facts| facts.table.survey.disk_free_bytes = 1 << 20;
    check(full, &[(Warning, "need up to 6.1 MiB on disk, and 1.0 MiB are free")]);
    let measured = |facts: &mut Facts| {
        full(facts);
        (facts.table.survey.rows, facts.table.survey.bytes_on_disk) = (100_000, 1 << 30);
    };
    check(measured, &[(Blocker, "need about 61.4 MiB on disk")]);
}

#[test]
fn clocks_that_disagree_spoil_freshness_and_in_the_end_the_verdict() {
    let off = |ms: f64| move |facts: &mut Facts| facts.clocks = vec![clock(ms)];
    check(off(11.0), &[]);
    check(off(-11.1), &[(Note, "is -11.1 ms off this machine's, ± 1.0 ms")]);
    check(off(1_500.0), &[(Warning, "freshness is wrong by as much")]);
    check(off(-61_000.0), &[(Blocker, "looked for by time")]);
}

#[test]
fn what_a_vector_holds_back_and_dropped_is_told() {
    let vector = |buffered_events, discarded_events, errors| {
        let buffered_bytes = buffered_events * 1_000;
        let sink = Sink { buffered_events, buffered_bytes, ..Sink::default() };
        let sinks = BTreeMap::from([("nats".to_owned(), sink)]);
        let state = VectorState { sinks, discarded_events, errors };
        VectorFacts { url: "http://v:1/metrics".to_owned(), state }
    };
    check(|facts| facts.vectors = vec![vector(0, 0, 0)], &[]);
    let expected = [
        (Warning, "it holds 5 events, in buffers of 5000 bytes"),
        (Warning, "discarded 2"),
        (Note, "1 errors"),
    ];
    check(|facts| facts.vectors = vec![vector(5, 2, 1)], &expected);
}
