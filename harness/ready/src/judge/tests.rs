use std::time::Duration;

use runs::observation::ClockOffset;
use stores::absent::{AbsentRows, DetachedPart, Ttl};
use stores::bounds::SecondBounds;
use stores::sight::Hidden;
use stores::sight::read::Standing;
use stores::survey::Survey;

use super::*;
use crate::facts::{
    Acks, ConsumerFacts, Deleted, InsertSettings, Keeps, ReaderFacts, Storage, StreamFacts,
    TableFacts, WhenFull,
};
use crate::finding::Rank;
use crate::intent::{Bulk, RowSizes};
use crate::piped::{Load, Pace, Piped};

/// What is intended, and what was read.
#[derive(Debug, Clone)]
struct Case {
    facts: Facts,
    intent: Intent,
}

/// A small run into a pipeline against which nothing is to be said but two notes.
fn sound() -> Case {
    let load = Load {
        events: 6_000,
        duration_s: 30.0,
        peak_events_per_s: 200,
        event_bytes: 1_060,
        event_bytes_max: 3_000,
        oversized_bytes: None,
        resend_s: 0.0,
    };
    let piped = Some(Piped { load, pace: Pace::OfPlan });
    Case { facts: sound_facts(), intent: Intent { piped, ..Intent::default() } }
}

/// A load of twenty days straight into the same table, against which nothing is to be said.
fn sound_history() -> Case {
    let bulk = Some(Bulk { events: 6_000, bytes: 6_000_000 });
    let intent = Intent { bulk, history: Some(START..END), ..Intent::default() };
    let facts = Facts { stream: None, ..sound_facts() };
    Case { facts, intent }
}

/// 2026-01-01, and twenty days later.
const START: i64 = 1_767_225_600_000_000;
const END: i64 = START + 20 * events::script::DAY_US;

fn sound_facts() -> Facts {
    Facts {
        stream: Some(StreamFacts {
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
        }),
        unseen: None,
        tables: vec![TableFacts {
            name: "audit.audit_logs".to_owned(),
            url: "http://h:8123".to_owned(),
            survey: survey(),
            missing: Vec::new(),
            unfilled: Vec::new(),
            settings: InsertSettings { is_async: false, waits_for_async: true, deduplicates: true },
            parts_of_a_partition_max: 8,
            absent: AbsentRows { are_detached_known: true, ..AbsentRows::default() },
            deleted: Deleted::Nothing,
            standing: Standing::default(),
            copies: Vec::new(),
        }],
        vectors: Vec::new(),
        clocks: vec![clock(2.0)],
        reader: None,
    }
}

fn clock(offset_ms: f64) -> ClockOffset {
    ClockOffset { server: "nats".to_owned(), offset_ms, error_ms: 1.0 }
}

fn survey() -> Survey {
    Survey {
        version: "26.7".to_owned(),
        now_us: END,
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
fn check(change: impl Fn(&mut Case), expected: &[(Rank, &str)]) {
    check_of(sound(), change, expected);
}

/// The same, of a load straight into the table.
#[track_caller]
fn check_history(change: impl Fn(&mut Case), expected: &[(Rank, &str)]) {
    check_of(sound_history(), change, expected);
}

#[track_caller]
fn check_of(mut case: Case, change: impl Fn(&mut Case), expected: &[(Rank, &str)]) {
    let always = judge(&case.facts, &case.intent);
    change(&mut case);
    let findings = judge(&case.facts, &case.intent);
    let new: Vec<&Finding> = findings.iter().filter(|it| !always.contains(it)).collect();
    let told: Vec<(Rank, String)> =
        new.iter().map(|it| (it.rank, format!("{}; {}", it.reason, it.fix))).collect();
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for ((rank, text), (expected_rank, part)) in told.iter().zip(expected) {
        assert!(rank == expected_rank && text.contains(part), "{rank:?}: {text}");
    }
    assert!(new.iter().all(|finding| !finding.fix.is_empty()));
    assert!(findings.is_sorted_by_key(|finding| finding.rank));
}

use Rank::{Blocker, Note, Warning};

fn load(case: &mut Case) -> &mut Load {
    &mut case.intent.piped.as_mut().unwrap().load
}

fn stream(case: &mut Case) -> &mut StreamFacts {
    case.facts.stream.as_mut().unwrap()
}

fn consumer(case: &mut Case) -> &mut ConsumerFacts {
    stream(case).consumer.as_mut().unwrap()
}

fn table(case: &mut Case) -> &mut TableFacts {
    &mut case.facts.tables[0]
}

#[test]
fn of_a_sound_pipeline_only_what_it_is_made_of_is_told() {
    let Case { facts, intent } = sound();
    let findings = judge(&facts, &intent);
    let told: Vec<(Rank, &str)> = findings.iter().map(|it| (it.rank, it.reason.as_str())).collect();
    let replica = "the stream has one replica: what it holds is lost with its server";
    let folds = "ReplacingMergeTree folds rows with equal sorting keys into one: of duplicates, \
                 only those that are still apart can be found";
    assert_eq!(told, [(Note, replica), (Note, folds)]);
    assert_eq!(findings[0].place(), "stream");
    assert_eq!(findings[1].place(), "http://h:8123");
    let Case { facts, intent } = sound_history();
    assert_eq!(judge(&facts, &intent), []);
}

#[test]
fn a_stream_holds_a_stall_of_the_aggregator_or_loses_what_was_not_read() {
    let held = "hold 4.4 s: if the aggregator stalls for longer, what it has not read is evicted";
    let small = |case: &mut Case| stream(case).bytes_max = Some(1 << 20);
    check(small, &[(Blocker, held), (Warning, "6.9 MiB into a stream of 1.0 MiB: it evicts")]);
    check(|case| stream(case).bytes_max = Some(20 << 20), &[(Warning, "20.0 MiB hold 87.4 s")]);
    check(|case| stream(case).messages_max = Some(1_000), &[(Blocker, "1000 messages hold 5.0 s")]);
    let full = |case: &mut Case| {
        stream(case).when_full = WhenFull::RefusesNew;
        stream(case).bytes = (1 << 30) - (1 << 20);
    };
    check(full, &[(Blocker, "6.9 MiB into a stream that has room for 1.0 MiB")]);
    let brief = |case: &mut Case| stream(case).age_max = Some(Duration::from_secs(20));
    check(brief, &[(Warning, "after 20.0 s: an agg"), (Warning, "cannot tell the hop")]);
    check(|case| stream(case).storage = Storage::Memory, &[(Warning, "kept in memory")]);
    check(|case| stream(case).keeps = Keeps::UntilRead, &[(Warning, "once they are ackn")]);
    check(|case| stream(case).evicted_unread = 7, &[(Warning, "7 messages of before")]);
}

#[test]
fn an_event_that_no_message_can_hold_stops_all_behind_it() {
    check(|case| stream(case).message_bytes_max = None, &[]);
    let told = "events of 3000 bytes, 3200 as a message, and NATS, by its max_payload, takes none \
                above 3199: its sidecar tries it again for ever";
    check(|case| stream(case).payload_bytes_max = 3_199, &[(Blocker, told)]);
    let near = "3200 as a message, and NATS, by its max_payload, takes none above 6399: if another";
    check(|case| stream(case).payload_bytes_max = 6_399, &[(Warning, near)]);
    check(|case| stream(case).payload_bytes_max = 6_400, &[]);
    let of_stream = "and the stream, by its max_msg_size, takes none above 2048";
    check(|case| stream(case).message_bytes_max = Some(2_048), &[(Blocker, of_stream)]);
    let oversized = |case: &mut Case| load(case).oversized_bytes = Some(1_051_576);
    let told = "faults.oversized sends events of 1051576 bytes, 1051776 as a message, and NATS, by \
                its max_payload, takes none above 1048576";
    check(oversized, &[(Blocker, told)]);
    let roomy = |case: &mut Case| {
        oversized(case);
        stream(case).payload_bytes_max = 8 << 20;
    };
    check(roomy, &[]);
}

#[test]
fn what_is_sent_again_must_come_within_the_duplicate_window_which_takes_memory() {
    check(|case| load(case).resend_s = 601.0, &[(Warning, "for up to 10 min")]);
    check(|case| load(case).resend_s = 599.0, &[]);
    let busy = |case: &mut Case| {
        load(case).events = 100_000_000;
        load(case).peak_events_per_s = 50_000;
        stream(case).bytes_max = None;
        consumer(case).ack_pending_max = None;
    };
    check(busy, &[(Warning, "up to 30000000 message IDs: about 7.0 GiB of memory")]);
}

#[test]
fn a_consumer_must_be_there_read_all_and_acknowledge_each() {
    let none = |others: usize| {
        move |case: &mut Case| {
            let stream = stream(case);
            (stream.consumer, stream.consumers) = (None, others);
        }
    };
    check(none(0), &[(Blocker, "no consumer clickhouse-ingest, and no other")]);
    check(none(2), &[(Blocker, "no consumer clickhouse-ingest, but 2 others")]);
    let named = |case: &mut Case| {
        none(2)(case);
        stream(case).others = ["a", "b"].map(str::to_owned).to_vec();
    };
    check(named, &[(Blocker, "no consumer clickhouse-ingest, but has a, b: what waits")]);
    check(|case| consumer(case).is_paused = true, &[(Blocker, "is paused")]);
    check(|case| consumer(case).is_read = false, &[(Warning, "nobody waits for messages of")]);
    check(|case| consumer(case).waiting = 100, &[(Note, "100 messages of before wait")]);
    check(|case| consumer(case).waiting = 100_000, &[(Warning, "100000 messages")]);
    check(|case| consumer(case).acks = Acks::None, &[(Warning, "acknowledges nothing")]);
    check(|case| consumer(case).acks = Acks::AllBefore, &[(Note, "covers all messages")]);
    let hasty = |case: &mut Case| consumer(case).ack_wait = Duration::from_secs(5);
    check(hasty, &[(Warning, "given messages again after 5.0 s")]);
    check(|case| consumer(case).ack_pending_max = Some(100), &[(Warning, "100 messages unack")]);
    check(|case| consumer(case).deliveries_max = Some(3), &[(Warning, "at most 3 times")]);
    let narrow = |case: &mut Case| consumer(case).filters = vec!["audit.k8s.x".to_owned()];
    check(narrow, &[(Warning, "does not read all of the stream's subject audit.k8s.>")]);
    check(|case| consumer(case).filters.clear(), &[]);
}

#[test]
fn a_table_must_keep_its_rows_and_tell_them_apart() {
    let survey = |change: fn(&mut Survey)| move |case: &mut Case| change(&mut table(case).survey);
    check(survey(|it| it.engine = "Null".to_owned()), &[(Blocker, "does not keep rows")]);
    check(survey(|it| it.replica_is_readonly = true), &[(Blocker, "read-only")]);
    check(survey(|it| it.timezone = "Asia/Tokyo".to_owned()), &[(Note, "Asia/Tokyo")]);
    check(|case| table(case).missing = vec!["verb", "user"], &[(Note, "lacks verb, user")]);
    check(|case| table(case).missing = vec!["audit_id"], &[(Warning, "lacks audit_id")]);
}

#[test]
fn settings_without_effect_are_told() {
    let survey = |change: fn(&mut Survey)| move |case: &mut Case| change(&mut table(case).survey);
    let other = |it: &mut Survey| {
        it.engine_full.push_str(", replicated_deduplication_window = 100");
    };
    check(survey(other), &[(Warning, "replicated_deduplication_window has no effect")]);
    let quorum = |it: &mut Survey| it.insert_quorum = "2".to_owned();
    check(survey(quorum), &[(Note, "insert_quorum = 2 has no effect")]);
    check(survey(|it| it.deduplication_window = 0), &[(Warning, "remembers no inserts")]);
    let settings =
        |change: fn(&mut InsertSettings)| move |case: &mut Case| change(&mut table(case).settings);
    check(settings(|it| it.deduplicates = false), &[(Note, "a window of 1000 inserts has no eff")]);
    check(settings(|it| it.is_async = true), &[(Note, "are asynchronous")]);
    let careless = settings(|it| (it.is_async, it.waits_for_async) = (true, false));
    check(careless, &[(Warning, "answered before they are in the table")]);
    check(|case| case.intent.replayed_days = 101, &[(Blocker, "101 days in one insert")]);
    check(|case| case.intent.replayed_days = 100, &[]);
}

#[test]
fn parts_and_disk_have_limits() {
    check(|case| table(case).parts_of_a_partition_max = 500, &[(Warning, "has 500 parts")]);
    check(|case| table(case).parts_of_a_partition_max = 3_000, &[(Blocker, "has 3000 parts")]);
    let full = |case: &mut Case| table(case).survey.disk_free_bytes = 1 << 20;
    check(full, &[(Warning, "need up to 6.1 MiB on disk, and 1.0 MiB are free")]);
    let measured = |case: &mut Case| {
        full(case);
        (table(case).survey.rows, table(case).survey.bytes_on_disk) = (100_000, 1 << 30);
    };
    check(measured, &[(Blocker, "need about 61.4 MiB on disk")]);
}

#[test]
fn clocks_that_disagree_spoil_freshness_and_in_the_end_the_verdict() {
    let off = |ms: f64| move |case: &mut Case| case.facts.clocks = vec![clock(ms)];
    check(off(11.0), &[]);
    check(off(-11.1), &[(Note, "is -11.1 ms off this machine's, ± 1.0 ms")]);
    check(off(1_500.0), &[(Warning, "freshness is wrong by as much")]);
    check(off(-61_000.0), &[(Blocker, "looked for by time")]);
}

#[test]
fn what_a_vector_holds_back_and_dropped_is_told() {
    let vector = |held_events, discarded_events, errors| VectorFacts {
        url: "http://v:1/metrics".to_owned(),
        held_events,
        buffered_bytes: held_events * 1_000,
        discarded_events,
        errors,
    };
    check(|case| case.facts.vectors = vec![vector(0, 0, 0)], &[]);
    let expected = [
        (Warning, "it holds 5 events, in buffers of 5000 bytes"),
        (Warning, "discarded 2"),
        (Note, "1 errors"),
    ];
    check(|case| case.facts.vectors = vec![vector(5, 2, 1)], &expected);
}

#[test]
fn a_replay_sends_no_more_than_is_read_and_is_told_what_no_message_can_hold() {
    let replay = |case: &mut Case| {
        let Piped { load, pace } = case.intent.piped.as_mut().unwrap();
        *pace = Pace::AsRead;
        load.peak_events_per_s = 0;
    };
    check(replay, &[]);
    let small = |case: &mut Case| {
        replay(case);
        stream(case).bytes_max = Some(1 << 20);
    };
    check(small, &[(Warning, "6.9 MiB into a stream of 1.0 MiB: it evicts")]);
    let wedged = |case: &mut Case| {
        replay(case);
        stream(case).payload_bytes_max = 3_199;
    };
    check(wedged, &[(Blocker, "its sidecar tries it again for ever")]);
    check(|case| case.facts.stream = None, &[(Warning, "not looked at: no NATS is named")]);
    let silent = |case: &mut Case| {
        case.facts.stream = None;
        case.facts.unseen = Some("NATS does not answer".to_owned());
    };
    check(silent, &[(Warning, "not looked at: NATS does not answer")]);
}

#[test]
fn what_a_ttl_deletes_is_not_to_be_sent_and_what_it_will_delete_is_told() {
    let ttl = |case: &mut Case, deleted| {
        let rules = vec!["toDateTime(timestamp) + toIntervalDay(30)".to_owned()];
        table(case).absent.ttl = Some(Ttl { rules });
        table(case).deleted = deleted;
    };
    for case in [sound, sound_history] {
        let check = |change: &dyn Fn(&mut Case), expected: &[(Rank, &str)]| {
            check_of(case(), change, expected);
        };
        let has = "the table has a TTL (toDateTime(timestamp) + toIntervalDay(30)): rows older";
        check(&|case| ttl(case, Deleted::Nothing), &[(Warning, has)]);
        check(&|case| ttl(case, Deleted::Untold), &[(Warning, "cannot be told from times alone")]);
    }
    let until = Deleted::Until(START + events::script::DAY_US + 1);
    let told = "deletes what was received before 2026-01-02 00:00, and the history begins earlier; \
                give --days 18 at most, or lengthen it";
    check_history(|case| ttl(case, until), &[(Blocker, told)]);
    let told = "and the run begins earlier; lengthen it";
    check(|case| ttl(case, until), &[(Blocker, told)]);
}

#[test]
fn detached_parts_are_in_the_way_of_what_is_in_doubt_and_cast_doubt_on_the_rest() {
    let detach = |case: &mut Case, id: &str| {
        table(case).absent.detached = vec![DetachedPart {
            partition_id: Some(id.to_owned()),
            name: format!("{id}_1_1_0"),
            reason: String::new(),
        }];
    };
    let blind = |case: &mut Case| table(case).absent.are_detached_known = false;
    let doubt = |case: &mut Case| case.intent.doubtful_days = [START].into();
    check(|case| detach(case, "20260105"), &[]);
    check(blind, &[]);
    let told = "what is missing later may be in one; attach or drop them first (ALTER TABLE \
                audit.audit_logs ATTACH PARTITION ID '…'); partitions 20260105";
    check_history(|case| detach(case, "20260105"), &[(Warning, told)]);
    check_history(|case| detach(case, "20260305"), &[]);
    check_history(blind, &[(Note, "cannot be seen")]);
    let doubtful = |case: &mut Case| {
        doubt(case);
        detach(case, "20260101");
    };
    let told = "would be there twice once they are attached; attach or drop them first (ALTER \
                TABLE audit.audit_logs ATTACH PARTITION ID '…'), then reconcile anew; partitions \
                20260101";
    check_history(doubtful, &[(Blocker, told)]);
    let both = |case: &mut Case| {
        doubt(case);
        blind(case);
    };
    check_history(both, &[(Blocker, "grant SELECT on system.detached_parts")]);
}

#[test]
fn a_reader_is_told_whether_it_answers_and_to_whom_it_shows_what() {
    let sound = ReaderFacts {
        url: "http://api".to_owned(),
        unanswered: None,
        shows_strangers: Some(false),
        bounds: SecondBounds::Kept,
    };
    let read = |change: fn(&mut ReaderFacts)| {
        let mut facts = sound.clone();
        change(&mut facts);
        move |case: &mut Case| case.facts.reader = Some(facts.clone())
    };
    check(read(|_| {}), &[]);
    let unanswered = |it: &mut ReaderFacts| it.unanswered = Some("401".to_owned());
    check(read(unanswered), &[(Blocker, "does not answer a question: 401")]);
    let open = |it: &mut ReaderFacts| it.shows_strangers = Some(true);
    check(read(open), &[(Warning, "is shown everybody's events")]);
    check(read(|it| it.shows_strangers = None), &[]);
    let short = |it: &mut ReaderFacts| it.bounds = SecondBounds::LosesRows;
    check(read(short), &[(Warning, "rows of the last second")]);
    check(read(|it| it.bounds = SecondBounds::Untold), &[]);
}

#[test]
fn an_account_that_may_not_see_or_send_is_told_what_it_lacks() {
    let hide = |case: &mut Case| {
        let (what, remedy) = ("a row policy lets it see less".to_owned(), "ask as x".to_owned());
        table(case).standing.hidden = vec![Hidden { what, remedy }];
    };
    let limit = |case: &mut Case| {
        table(case).standing.limits = vec!["max_rows_to_read=9".to_owned()];
    };
    for case in [sound, sound_history] {
        let check = |change: &dyn Fn(&mut Case), expected: &[(Rank, &str)]| {
            check_of(case(), change, expected);
        };
        let told = "a row policy lets it see less: what it does not see cannot be proven";
        check(&hide, &[(Warning, told)]);
        check(&limit, &[(Note, "end long queries: max_rows_to_read=9")]);
    }
    let survey = |change: fn(&mut Survey)| move |case: &mut Case| change(&mut table(case).survey);
    check(survey(|it| it.account_is_readonly = true), &[]);
    check_history(survey(|it| it.account_is_readonly = true), &[(Blocker, "may only read")]);
    check(survey(|it| it.takes_materialized = false), &[]);
    check_history(survey(|it| it.takes_materialized = false), &[(Note, "cannot be sent")]);
}

#[test]
fn a_history_ends_in_the_past_and_its_days_are_parts() {
    let survey = |change: fn(&mut Survey)| move |case: &mut Case| change(&mut table(case).survey);
    check_history(survey(|it| it.now_us = END - 1), &[(Blocker, "in the server's future")]);
    check(survey(|it| it.now_us = 0), &[]);
    check_history(survey(|it| it.max_parts_in_total = 27), &[(Blocker, "have 28 parts or more")]);
    check_history(survey(|it| it.max_parts_in_total = 28), &[]);
    let full = |case: &mut Case| table(case).parts_of_a_partition_max = 3_000;
    check_history(full, &[(Warning, "has 3000 parts, and inserts are refused at 3000")]);
    let off = |ms: f64| move |case: &mut Case| case.facts.clocks = vec![clock(ms)];
    check_history(off(61_000.0), &[]);
    check_history(off(-301_002.0), &[(Blocker, "which days a history has")]);
}

#[test]
fn an_estimate_of_the_rows_size_is_no_reason_to_refuse_them() {
    let full = |case: &mut Case| table(case).survey.disk_free_bytes = 1 << 20;
    check_history(full, &[(Warning, "need up to 5.7 MiB on disk, and 1.0 MiB are free")]);
    let probed = |case: &mut Case| {
        full(case);
        case.intent.probed = Some(RowSizes { rows: 100_000, bytes_on_disk: 1 << 30 });
    };
    check_history(probed, &[(Blocker, "need about 61.4 MiB on disk")]);
    let few = |case: &mut Case| {
        probed(case);
        case.intent.probed.as_mut().unwrap().rows = 99_999;
    };
    check_history(few, &[(Warning, "need up to 5.7 MiB")]);
    let shards = |case: &mut Case| {
        probed(case);
        let other = TableFacts { url: "http://i:8123".to_owned(), ..table(case).clone() };
        case.facts.tables.push(other);
        case.facts.tables[0].survey.disk_free_bytes = 1 << 40;
    };
    check_history(shards, &[(Warning, "need about 61.4 MiB on disk")]);
}

#[test]
fn what_a_table_has_beside_events_is_told() {
    for case in [sound, sound_history] {
        let check = |change: &dyn Fn(&mut Case), expected: &[(Rank, &str)]| {
            check_of(case(), change, expected);
        };
        let cluster = |case: &mut Case| table(case).unfilled = vec!["cluster".to_owned()];
        check(&cluster, &[(Note, "nothing fills cluster; name the event's columns with")]);
        let copy = |case: &mut Case| table(case).copies = vec!["audit.probe_x".to_owned()];
        check(&copy, &[(Note, "DROP TABLE audit.probe_x SYNC")]);
    }
}
