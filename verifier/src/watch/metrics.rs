//! What is seen of the pipeline, for Prometheus. Names and helps have the words of the glossary.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use runs::latency::{Latencies, record};
use tell::exporter::{Adder, LatencyBuckets, process_registry, register_build};

use super::view::View;

type Number = Gauge<f64, AtomicU64>;

/// All metrics of a watch, set after each look. Those of a server that does not answer stay as
/// they were.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    observations: Counter,
    answers: Family<ServerLabel, Gauge>,
    stream: StreamMetrics,
    table: TableMetrics,
    backlog: Gauge,
    held: Family<PartLabel, Gauge>,
    held_bytes: Family<PartLabel, Gauge>,
    samples_visible: Counter,
    samples_early: Counter,
    samples_waiting: Gauge,
    oldest: Number,
    due_to_visible: LatencyBuckets,
    acknowledged_to_visible: LatencyBuckets,
    clock_offset: Family<ServerLabel, Number>,
    clock_error: Family<ServerLabel, Number>,
    cpu: Family<PartLabel, Number>,
    memory: Family<PartLabel, Gauge>,
}

#[derive(Debug, Default)]
struct StreamMetrics {
    messages: Gauge,
    bytes: Gauge,
    first: Gauge,
    last: Gauge,
    delivered: Gauge,
    deliveries: Gauge,
    ack_floor: Gauge,
    pending: Gauge,
    unacknowledged: Gauge,
    redelivered: Gauge,
    evicted_unread: Gauge,
}

#[derive(Debug, Default)]
struct TableMetrics {
    rows: Gauge,
    parts: Gauge,
    parts_of_a_partition: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabel {
    server: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: String,
}

impl Metrics {
    /// Makes all metrics, at zero, with the registry to serve them from.
    pub(crate) fn new() -> (Self, Registry) {
        let metrics = Self::default();
        let mut registry = process_registry();
        metrics.register(registry.sub_registry_with_prefix("auditstorm_watch"));
        (metrics, registry)
    }

    fn register(&self, registry: &mut Registry) {
        register_build(registry, env!("CARGO_PKG_VERSION"));
        let mut add = Adder::to(registry);
        add.metric("observations", "Looks at the pipeline", &self.observations);
        add.metric("up", "1 if the server answered at the last look", &self.answers);
        self.stream.register(&mut add);
        self.table.register(&mut add);
        let help = "Events acknowledged since the watch began and not in the stream, at the least";
        add.metric("backlog_min", help, &self.backlog);
        let help =
            "Events that a part of the pipeline has taken and not handed on, as Vector tells";
        add.metric("part_backlog_events", help, &self.held);
        add.bytes(
            "part_buffer",
            "Buffers of a part of the pipeline, as Vector tells",
            &self.held_bytes,
        );
        let help = "Sampled events that became visible in the table";
        add.metric("samples_visible", help, &self.samples_visible);
        let help = "Those that became visible before they were due: clocks disagree";
        add.metric("samples_early", help, &self.samples_early);
        let help = "Sampled events that are due and not visible";
        add.metric("samples_waiting", help, &self.samples_waiting);
        add.seconds("oldest_sample", "How long the oldest of them has been due", &self.oldest);
        let help = "From when a sampled event was due until it was visible in the table";
        add.seconds("due_to_visible", help, &self.due_to_visible);
        let help = "From when a sampled event was acknowledged until it was visible in the table";
        add.seconds("acknowledged_to_visible", help, &self.acknowledged_to_visible);
        let help = "How far a server's clock is ahead of the watcher's";
        add.seconds("clock_offset", help, &self.clock_offset);
        let help = "The offset is right to within this: half the time that the question took";
        add.seconds("clock_offset_error", help, &self.clock_error);
        let help = "Cores that a part of the pipeline keeps busy";
        add.metric("part_cpu_cores", help, &self.cpu);
        add.bytes("part_memory", "Memory of a part of the pipeline", &self.memory);
    }

    /// Takes in one more look.
    pub(crate) fn tell(&self, view: &View, servers: &[impl AsRef<str>]) {
        let seen = &view.observation;
        self.observations.inc();
        for server in servers.iter().map(AsRef::as_ref) {
            let is_up = view.silent.iter().all(|(silent, _)| silent != server);
            let label = ServerLabel { server: server.to_owned() };
            self.answers.get_or_create(&label).set(i64::from(is_up));
        }
        self.stream.tell(view);
        if let Some(table) = &seen.table {
            self.table.rows.set(signed(table.rows));
            self.table.parts.set(signed(table.parts));
            self.table.parts_of_a_partition.set(signed(table.parts_of_a_partition_max));
        }
        if let Some(least) = seen.backlog_min {
            self.backlog.set(signed(least));
        }
        for held in &view.held {
            let label = PartLabel { part: held.part.clone() };
            self.held.get_or_create(&label).set(signed(held.events));
            self.held_bytes.get_or_create(&label).set(signed(held.buffered_bytes));
        }
        self.tell_freshness(view);
        for offset in &seen.clocks {
            let label = ServerLabel { server: offset.server.clone() };
            self.clock_offset.get_or_create(&label).set(offset.offset_ms / 1_000.0);
            self.clock_error.get_or_create(&label).set(offset.error_ms / 1_000.0);
        }
        for used in &seen.resources {
            let label = PartLabel { part: used.part.clone() };
            self.cpu.get_or_create(&label).set(used.cpu_cores);
            self.memory.get_or_create(&label).set(signed(used.memory_bytes));
        }
    }

    fn tell_freshness(&self, view: &View) {
        let fresh = &view.observation.freshness;
        self.samples_visible.inc_by(fresh.due_to_visible_ms.len() as u64);
        let early = fresh.due_to_visible_ms.iter().filter(|took| **took < 0.0).count();
        self.samples_early.inc_by(early as u64);
        self.samples_waiting.set(signed(fresh.waiting));
        self.oldest.set(fresh.oldest_ms / 1_000.0);
        add_all(&self.due_to_visible, &fresh.due_to_visible_ms);
        add_all(&self.acknowledged_to_visible, &fresh.acknowledged_to_visible_ms);
    }
}

impl StreamMetrics {
    fn register(&self, add: &mut Adder<'_>) {
        add.metric("stream_messages", "Messages that the stream holds", &self.messages);
        add.bytes("stream", "Bytes that the stream holds", &self.bytes);
        let help = "Sequence number of the oldest message that the stream holds";
        add.metric("stream_first_sequence", help, &self.first);
        let help = "Sequence number of the last message that the stream has taken";
        add.metric("stream_last_sequence", help, &self.last);
        let help = "Sequence number of the last message that the consumer was given";
        add.metric("consumer_delivered_sequence", help, &self.delivered);
        let help = "Messages that the consumer was given, those given again included";
        add.metric("consumer_deliveries", help, &self.deliveries);
        let help = "All messages up to this sequence number are acknowledged";
        add.metric("consumer_ack_floor_sequence", help, &self.ack_floor);
        add.metric("consumer_pending", "Messages that it has not been given", &self.pending);
        let help = "Messages that it has been given and has not acknowledged";
        add.metric("consumer_unacknowledged", help, &self.unacknowledged);
        let help = "Messages that it has been given again and has not acknowledged";
        add.metric("consumer_redelivered", help, &self.redelivered);
        let help = "Messages that the stream evicted before the consumer was given them";
        add.metric("stream_evicted_unread", help, &self.evicted_unread);
    }

    fn tell(&self, view: &View) {
        self.evicted_unread.set(signed(view.evicted_unread));
        let Some(stream) = &view.observation.stream else { return };
        self.messages.set(signed(stream.messages));
        self.bytes.set(signed(stream.bytes));
        self.first.set(signed(stream.first));
        self.last.set(signed(stream.last));
        let Some(consumer) = &stream.consumer else { return };
        self.delivered.set(signed(consumer.delivered));
        self.deliveries.set(signed(consumer.deliveries));
        self.ack_floor.set(signed(consumer.ack_floor));
        self.pending.set(signed(consumer.pending));
        self.unacknowledged.set(signed(consumer.unacknowledged));
        self.redelivered.set(signed(consumer.redelivered));
    }
}

impl TableMetrics {
    fn register(&self, add: &mut Adder<'_>) {
        add.metric("table_rows", "Rows of the table, of all runs", &self.rows);
        add.metric("table_parts", "Active parts of the table", &self.parts);
        let help = "Active parts of the partition that has most";
        add.metric("table_parts_of_a_partition_max", help, &self.parts_of_a_partition);
    }
}

/// What became visible early counts as at once.
fn add_all(buckets: &LatencyBuckets, took_ms: &[f64]) {
    let mut histogram = Latencies::new().due_to_acknowledged;
    for ms in took_ms {
        record(&mut histogram, micros(*ms));
    }
    buckets.add(&histogram);
}

#[expect(clippy::cast_possible_truncation, reason = "a cast saturates")]
fn micros(ms: f64) -> i64 {
    (ms * 1_000.0) as i64
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;
    use crate::watch::view::Phase;
    use crate::watch::view::tests::{gatherer, observation};

    #[test]
    fn looks_are_told_in_the_words_of_the_glossary() {
        let (metrics, registry) = Metrics::new();
        let mut gatherer = gatherer();
        let mut early = observation(2);
        early.freshness.due_to_visible_ms = vec![-3.0];
        for (seen, silent) in [(observation(1), &["nats"][..]), (early, &[])] {
            let view = gatherer.view(&seen, silent, Phase::Going);
            metrics.tell(&view, &["nats", "clickhouse"]);
        }
        let mut scraped = String::new();
        text::encode(&mut scraped, &registry).unwrap();
        let lines = scraped.lines().filter_map(|line| line.strip_prefix("auditstorm_watch_"));
        let mut lines: Vec<&str> = lines.filter(|line| !line.contains("_bucket{")).collect();
        lines.sort_unstable();
        expect_test::expect![[r#"
            acknowledged_to_visible_seconds_count 2
            acknowledged_to_visible_seconds_sum 2.3808
            backlog_min 60
            build_info{version="0.1.0"} 1
            clock_offset_error_seconds{server="clickhouse"} 0.0009
            clock_offset_error_seconds{server="nats"} 0.0001
            clock_offset_seconds{server="clickhouse"} -0.0002
            clock_offset_seconds{server="nats"} 0.035
            consumer_ack_floor_sequence 200
            consumer_delivered_sequence 220
            consumer_deliveries 230
            consumer_pending 20
            consumer_redelivered 5
            consumer_unacknowledged 20
            due_to_visible_seconds_count 4
            due_to_visible_seconds_sum 4.799488
            observations_total 2
            oldest_sample_seconds 0.9
            part_backlog_events{part="aggregator"} 40
            part_backlog_events{part="sidecar"} 429603
            part_buffer_bytes{part="aggregator"} 40960
            part_buffer_bytes{part="sidecar"} 439913472
            part_cpu_cores{part="clickhouse"} 0.53
            part_memory_bytes{part="clickhouse"} 943718400
            samples_early_total 1
            samples_visible_total 4
            samples_waiting 4
            stream_bytes 240000
            stream_evicted_unread 0
            stream_first_sequence 1
            stream_last_sequence 240
            stream_messages 240
            table_parts 12
            table_parts_of_a_partition_max 7
            table_rows 1200
            up{server="clickhouse"} 1
            up{server="nats"} 1"#]]
        .assert_eq(&lines.join("\n"));
    }
}
