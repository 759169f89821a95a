//! Findings about the stream and its consumer.

use std::time::Duration;

use stores::jetstream::NoConsumer;
use tell::screen::picture::bytes;

use crate::facts::{Acks, ConsumerFacts, Facts, Keeps, Storage, StreamFacts, WhenFull};
use crate::finding::{Findings, Rank, Seconds};
use crate::piped::{Load, Pace, Piped};

/// Checks everything that concerns events that go through the pipeline.
pub(super) fn judge(facts: &Facts, piped: &Piped, found: &mut Findings) {
    let Some(stream) = &facts.stream else {
        let why = facts.unseen.as_deref().unwrap_or("no NATS is named");
        let reason = format!("the stream was not looked at: {why}");
        return found.warn("stream", reason, "name its NATS with --nats or NATS_URL");
    };
    let load = &piped.load;
    limits(stream, piped, found);
    sizes(stream, load, found);
    repetitions(stream, load, found);
    durability(stream, found);
    consumer(stream, load, found);
}

/// Checks whether the stream keeps unread messages, and those that the verifier needs later.
fn limits(stream: &StreamFacts, piped: &Piped, found: &mut Findings) {
    let load = &piped.load;
    if let Some(most) = stream.bytes_max {
        full(stream, piped, most, found);
    }
    if let Some(most) = stream.messages_max {
        let bytes = most.saturating_mul(load.message_bytes());
        stall(stream, piped, (&format!("{most} messages"), bytes), found);
    }
    if let Some(age) = stream.age_max {
        if age < Duration::from_mins(10) {
            let age = Seconds(age.as_secs_f64());
            let reason = format!(
                "messages are evicted after {age}: an aggregator that stalls for longer loses \
                 what was not read"
            );
            found.warn("stream", reason, "raise max_age above the longest stall to survive");
        }
        if age.as_secs_f64() < load.duration_s {
            let reason = format!(
                "the run takes {}, and messages are evicted after {}: of what is lost, the \
                 verifier cannot tell the hop",
                Seconds(load.duration_s),
                Seconds(age.as_secs_f64())
            );
            found.warn("stream", reason, "raise max_age, or run `watch` beside the generator");
        }
    }
}

/// Checks whether every event fits into a message. A sidecar that waits for each acknowledgement
/// repeats an event that does not fit forever, and all events behind it wait.
fn sizes(stream: &StreamFacts, load: &Load, found: &mut Findings) {
    let of_stream = stream.message_bytes_max.unwrap_or(u64::MAX);
    let (most, setting) = match stream.payload_bytes_max {
        of_server if of_server <= of_stream => (of_server, "NATS, by its max_payload"),
        _ => (of_stream, "the stream, by its max_msg_size"),
    };
    let message = |event_bytes: u64| event_bytes + MESSAGE_EXTRA_BYTES;
    let wedged = "its sidecar tries it again for ever, and nothing behind it reaches the stream";
    let raise = |bytes: u64| {
        let to = message(bytes).next_power_of_two();
        format!("raise max_payload of NATS and max_msg_size of the stream to {to}")
    };
    if let Some(bytes) = load.oversized_bytes.filter(|bytes| message(*bytes) > most) {
        let reason = format!(
            "the profile's faults.oversized sends events of {bytes} bytes, {} as a message, and \
             {setting}, takes none above {most}: {wedged}",
            message(bytes)
        );
        let fix = format!("take oversized out of the profile, or {}", raise(bytes));
        found.block("stream", reason, fix);
    }
    let largest = load.event_bytes_max;
    if message(largest) > most {
        let reason = format!(
            "the profile has events of {largest} bytes, {} as a message, and {setting}, takes \
             none above {most}: {wedged}",
            message(largest)
        );
        found.block("stream", reason, format!("lower the profile's level, or {}", raise(largest)));
    } else if message(largest) > most / 2 {
        let reason = format!(
            "the largest event of a sample has {largest} bytes, {} as a message, and {setting}, \
             takes none above {most}: if another is twice as large, {wedged}",
            message(largest)
        );
        found.warn("stream", reason, raise(2 * largest));
    }
}

/// Checks what happens when the stream is full.
fn full(stream: &StreamFacts, piped: &Piped, most: u64, found: &mut Findings) {
    let load = &piped.load;
    let whole = load.events.saturating_mul(load.message_bytes());
    match stream.when_full {
        WhenFull::EvictsOld => {
            stall(stream, piped, (&bytes(most), most), found);
            if whole > most {
                let reason = format!(
                    "the run writes {} into a stream of {}: it evicts meanwhile, and of what is \
                     lost the verifier cannot tell the hop",
                    bytes(whole),
                    bytes(most)
                );
                let fix = "raise max_bytes, or run `watch` beside the generator";
                found.warn("stream", reason, fix);
            }
        }
        WhenFull::RefusesNew if stream.keeps == Keeps::ToItsLimits => {
            if stream.bytes.saturating_add(whole) > most {
                let reason = format!(
                    "the run writes {} into a stream that has room for {}, evicts nothing and \
                     then refuses all",
                    bytes(whole),
                    bytes(most.saturating_sub(stream.bytes))
                );
                found.block("stream", reason, "raise max_bytes, or set discard to old");
            }
        }
        WhenFull::RefusesNew => {}
    }
}

/// Checks how long the aggregator may stall before a limit of this many bytes evicts unread
/// messages. A sender that follows the aggregator's pace stalls with it.
fn stall(
    stream: &StreamFacts,
    piped: &Piped,
    (limit, limit_bytes): (&str, u64),
    found: &mut Findings,
) {
    let Piped { load, pace: Pace::OfPlan } = piped else { return };
    let held_s = load.seconds_held(limit_bytes);
    let rank = match held_s {
        s if s < STALL_BLOCK_S => Rank::Blocker,
        s if s < STALL_WARN_S => Rank::Warning,
        _ => return,
    };
    let reason = format!(
        "at the peak of {} events/s of {} bytes each, {limit} hold {}: if the aggregator stalls \
         for longer, what it has not read is evicted",
        load.peak_events_per_s,
        load.message_bytes(),
        Seconds(held_s)
    );
    let fix = format!(
        "for a stall of ten minutes: nats stream edit {} --max-bytes {}",
        stream.name,
        load.bytes_of_peak(600)
    );
    found.add(rank, "stream", reason, fix);
}

/// Checks events that may be sent again.
fn repetitions(stream: &StreamFacts, load: &Load, found: &mut Findings) {
    let window_s = stream.duplicate_window.as_secs_f64();
    let window = Seconds(window_s);
    if load.resend_s > window_s {
        let reason = format!(
            "a batch without an answer is sent again for up to {}, and the duplicate window is \
             {window}: events can be stored twice",
            Seconds(load.resend_s)
        );
        found.warn("stream", reason, "raise duplicate_window");
    }
    let ids = load.peak_events_per_s.saturating_mul(stream.duplicate_window.as_secs());
    let ids = ids.min(load.events);
    if ids >= IDS_NOTED {
        let reason = format!(
            "within its duplicate window of {window} NATS remembers up to {ids} message IDs: \
             about {} of memory",
            bytes(ids.saturating_mul(ID_BYTES))
        );
        let fix = "watch the memory of NATS, or lower duplicate_window";
        let rank = if ids >= IDS_WARNED { Rank::Warning } else { Rank::Note };
        found.add(rank, "stream", reason, fix);
    }
}

/// Checks what a failure of the stream would cost.
fn durability(stream: &StreamFacts, found: &mut Findings) {
    if stream.storage == Storage::Memory {
        let reason = "the stream is kept in memory: a restart of NATS loses it".to_owned();
        found.warn("stream", reason, "make it anew with storage file");
    }
    if stream.replicas < 2 {
        let reason = "the stream has one replica: what it holds is lost with its server".to_owned();
        found.note("stream", reason, "in a cluster, set num_replicas to 3");
    }
    if stream.keeps == Keeps::UntilRead {
        let reason = "the stream drops messages once they are acknowledged: of what is lost, the \
                      verifier cannot tell the hop"
            .to_owned();
        found.warn(
            "stream",
            reason,
            "set retention to limits, or run `watch` beside the generator",
        );
    }
    if stream.evicted_unread > 0 {
        let reason = format!(
            "{} messages of before were evicted before the consumer was given them",
            stream.evicted_unread
        );
        found.warn("stream", reason, "find out why the aggregator was behind, before you load it");
    }
}

/// Checks whether the aggregator can read the stream.
fn consumer(stream: &StreamFacts, load: &Load, found: &mut Findings) {
    let name = &stream.consumer_name;
    let Some(consumer) = &stream.consumer else {
        let none = NoConsumer { name: name.clone(), others: stream.others.clone() };
        if stream.consumers == 0 {
            found.block("consumer", format!("{none}, and no other: nobody reads it"), "make it");
        } else {
            let unnamed = match stream.consumers {
                1 => format!("{none}, but 1 other"),
                more => format!("{none}, but {more} others"),
            };
            let named = if none.others.is_empty() { unnamed } else { none.to_string() };
            let reason = format!("{named}: what waits for the aggregator would not be known");
            found.block("consumer", reason, "name the aggregator's with --consumer");
        }
        return;
    };
    if consumer.is_paused {
        let fix = format!("nats consumer resume {} {name}", stream.name);
        found.block("consumer", format!("{name} is paused: nobody reads the stream"), fix);
    }
    if !consumer.is_read && !consumer.is_paused {
        let reason = format!("nobody waits for messages of {name}: is the aggregator up?");
        found.warn(
            "consumer",
            reason,
            "start the aggregator, or name its consumer with --consumer",
        );
    }
    if consumer.waiting > 0 {
        let reason = format!(
            "{} messages of before wait for {name}: events of this run come behind them",
            consumer.waiting
        );
        let is_long = consumer.waiting > load.peak_events_per_s.saturating_mul(60);
        let rank = if is_long { Rank::Warning } else { Rank::Note };
        found.add(rank, "consumer", reason, "wait until the aggregator has read them");
    }
    acknowledgements((name, consumer), load, found);
    let unread = stream.subjects.iter().filter(|subject| {
        !consumer.filters.is_empty()
            && !consumer.filters.iter().any(|filter| covers(filter, subject))
    });
    for subject in unread {
        let reason = format!("{name} does not read all of the stream's subject {subject}");
        found.warn("consumer", reason, "widen its filter, or let no event have another subject");
    }
}

fn acknowledgements((name, consumer): (&str, &ConsumerFacts), load: &Load, found: &mut Findings) {
    match consumer.acks {
        Acks::Each => {}
        Acks::AllBefore => {
            let reason = format!("an acknowledgement of {name} covers all messages before it");
            found.note("consumer", reason, "set ack_policy to explicit");
        }
        Acks::None => {
            let reason = format!("{name} acknowledges nothing: what it was given and lost is gone");
            found.warn("consumer", reason, "set ack_policy to explicit");
        }
    }
    let wait = consumer.ack_wait;
    if consumer.acks != Acks::None && wait < ACK_WAIT_MIN {
        let reason = format!(
            "{name} is given messages again after {}: a batch that takes longer is stored twice",
            Seconds(wait.as_secs_f64())
        );
        found.warn("consumer", reason, "raise ack_wait well above the aggregator's batch timeout");
    }
    if let Some(most) = consumer.ack_pending_max {
        let peak = load.peak_events_per_s;
        if most < peak {
            let reason = format!(
                "{name} may have {most} messages unacknowledged, less than a second's worth at \
                 the peak of {peak} events/s: an aggregator that acknowledges what is stored \
                 cannot keep up"
            );
            found.warn("consumer", reason, "raise max_ack_pending to some seconds' worth");
        }
    }
    if let Some(most) = consumer.deliveries_max {
        let reason = format!("{name} is given a message at most {most} times, then never again");
        found.warn("consumer", reason, "set max_deliver to -1");
    }
}

/// Whether a filter matches every subject that a pattern can stand for.
fn covers(filter: &str, subject: &str) -> bool {
    let (mut wide, mut narrow) = (filter.split('.'), subject.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(wide), Some(narrow)) if wide == narrow => {}
            _ => return false,
        }
    }
}

/// Bytes of a message besides the event: 63 bytes for its ID in a header, and what Vector's source
/// adds to the event (a time, its path and its type).
const MESSAGE_EXTRA_BYTES: u64 = 200;
const STALL_BLOCK_S: f64 = 10.0;
const STALL_WARN_S: f64 = 120.0;
const ACK_WAIT_MIN: Duration = Duration::from_secs(30);
const IDS_NOTED: u64 = 1_000_000;
const IDS_WARNED: u64 = 10_000_000;

/// The ID, its entries in a map and a list, and what the garbage collector keeps free.
const ID_BYTES: u64 = 250;

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_filter_covers_what_it_is_at_least_as_wide_as() {
        for (filter, subject, expected) in [
            ("audit.k8s.>", "audit.k8s.>", true),
            (">", "audit.k8s.>", true),
            ("audit.*.activity", "audit.k8s.activity", true),
            ("audit.k8s.activity", "audit.k8s.activity", true),
            ("audit.k8s.activity", "audit.k8s.>", false),
            ("audit.k8s.*", "audit.k8s.>", false),
            ("audit.>", "audit", false),
            ("audit.k8s", "audit.k8s.x", false),
        ] {
            assert_eq!(covers(filter, subject), expected, "{filter} {subject}");
        }
    }
}
