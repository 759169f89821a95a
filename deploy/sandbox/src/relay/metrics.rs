//! The relay's counts as the two Vectors of the pipeline would tell them: Prometheus text, with the
//! names and labels of Vector 0.57's `prometheus_exporter`. Pure.
//!
//! A gauge of a disk buffer counts an event until the sink has acknowledged it: what waits in
//! memory, in a batch, or in a request that is tried again is in it. Vector tells it every two
//! seconds and only once it has changed; here it is there at once, and exact.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::counters::{Amount, Counters};
use crate::fault::Place;

/// Writes the metrics of some parts. `host` is the machine's name, `millis` the present Unix time.
pub(super) fn text(
    counters: &Counters,
    places: &[Place],
    host: &str,
    uptime_seconds: u64,
    millis: i64,
) -> String {
    let mut metrics = Metrics { host, families: BTreeMap::new() };
    // The sidecar is read first: an event that leaves it meanwhile is then counted at the
    // aggregator.
    if places.contains(&Place::Sidecar) {
        for component in sidecar(counters) {
            metrics.component(&component);
        }
    }
    if places.contains(&Place::Aggregator) {
        for component in aggregator(counters) {
            metrics.component(&component);
        }
    }
    metrics.gauge("vector_uptime_seconds", "", uptime_seconds);
    let arch = std::env::consts::ARCH;
    let version = env!("CARGO_PKG_VERSION");
    let build = format!(
        "arch=\"{arch}\",debug=\"false\",revision=\"\",rust_version=\"\",version=\"{version}\","
    );
    metrics.gauge("vector_build_info", &build, 1);
    metrics.finish(millis)
}

/// One component of a topology, and what passed it.
struct Component {
    id: &'static str,
    kind: &'static str,
    kind_type: &'static str,
    received: u64,
    /// Labels of `received` beside those of the component.
    received_labels: &'static str,
    sent: u64,
    intentionally_discarded: Option<u64>,
    discarded: u64,
    /// A sink's disk buffer.
    buffer: Option<Buffer>,
}

struct Buffer {
    entered: (u64, u64),
    left: (u64, u64),
}

impl Component {
    fn source(id: &'static str, kind_type: &'static str, received: u64) -> Self {
        let kind = "source";
        Self { kind, sent: received, ..Self::transform(id, kind_type, received, received) }
    }

    fn transform(id: &'static str, kind_type: &'static str, received: u64, sent: u64) -> Self {
        Self {
            id,
            kind: "transform",
            kind_type,
            received,
            received_labels: "",
            sent,
            intentionally_discarded: None,
            discarded: 0,
            buffer: None,
        }
    }
}

fn sidecar(counters: &Counters) -> [Component; 4] {
    // Events that left are read before events that came, so that none is missed in between.
    let (sent, oversized) = (counters.published.events(), counters.oversized.events());
    let left = (sent + oversized, counters.published.bytes() + counters.oversized.bytes());
    let received = Counters::of(&counters.begun);
    let entered = both(&counters.accepted);
    let bodies = Counters::of(&counters.bodies);
    let split = entered.0.saturating_sub(Counters::of(&counters.found));
    [
        Component {
            received_labels: "http_path=\"/events\",protocol=\"http\",",
            ..Component::source("webhook", "http_server", bodies)
        },
        Component::transform("split_list", "remap", bodies, split),
        Component::transform("set_timestamp", "remap", split, split),
        Component {
            kind: "sink",
            discarded: oversized,
            buffer: Some(Buffer { entered, left }),
            ..Component::transform("nats_jetstream", "nats", received, sent)
        },
    ]
}

fn aggregator(counters: &Counters) -> [Component; 6] {
    let (sent, rejected) = (counters.stored.events(), counters.rejected.events());
    let left = (sent + rejected, counters.stored.bytes() + counters.rejected.bytes());
    let entered = both(&counters.gathered);
    let filtered = Counters::of(&counters.filtered);
    let unreadable = Counters::of(&counters.unreadable);
    let taken = Counters::of(&counters.taken);
    let events = taken.saturating_sub(unreadable);
    let kept = events.saturating_sub(filtered);
    [
        Component {
            discarded: unreadable,
            ..Component::source("nats_audit_events", "nats", events)
        },
        Component::transform("measure_latency", "remap", events, events),
        Component::transform("remove_internal_addresses", "remap", events, events),
        Component {
            intentionally_discarded: Some(filtered),
            ..Component::transform("keep_completed", "filter", events, kept)
        },
        Component::transform("wrap", "remap", kept, kept),
        Component {
            kind: "sink",
            discarded: rejected,
            buffer: Some(Buffer { entered, left }),
            ..Component::transform("clickhouse", "clickhouse", entered.0, sent)
        },
    ]
}

fn both(amount: &Amount) -> (u64, u64) {
    (amount.events(), amount.bytes())
}

/// Samples by the names of their families.
struct Metrics<'h> {
    host: &'h str,
    families: BTreeMap<&'static str, Family>,
}

struct Family {
    kind: &'static str,
    /// Labels and value of each.
    samples: Vec<(String, u64)>,
}

impl Metrics<'_> {
    fn component(&mut self, component: &Component) {
        let Component { id, kind, kind_type, .. } = component;
        let own = format!(
            "component_id=\"{id}\",component_kind=\"{kind}\",component_type=\"{kind_type}\","
        );
        let received = format!("{}{own}", component.received_labels);
        self.counter("vector_component_received_events_total", &received, component.received);
        let output = if *kind == "sink" { "" } else { "output=\"_default\"," };
        let sent = format!("{own}{output}");
        self.counter("vector_component_sent_events_total", &sent, component.sent);
        let discarded = "vector_component_discarded_events_total";
        if let Some(count) = component.intentionally_discarded {
            self.counter(discarded, &format!("{own}intentional=\"true\","), count);
        }
        if *kind == "sink" || component.discarded > 0 {
            self.counter(discarded, &format!("{own}intentional=\"false\","), component.discarded);
            let errors = format!("{own}error_type=\"request_failed\",stage=\"sending\",");
            self.counter("vector_component_errors_total", &errors, component.discarded);
        }
        if let Some(buffer) = &component.buffer {
            let labels = format!("buffer_id=\"{id}\",buffer_type=\"disk\",{own}stage=\"0\",");
            self.buffer(&labels, buffer);
        }
    }

    fn buffer(&mut self, labels: &str, buffer: &Buffer) {
        /// As the committed configurations have it.
        const SIZE_MAX: u64 = 10 << 30;
        let Buffer { entered, left } = buffer;
        let events = entered.0.saturating_sub(left.0);
        let bytes = entered.1.saturating_sub(left.1);
        // Both the old names and the new ones.
        self.gauge("vector_buffer_events", labels, events);
        self.gauge("vector_buffer_size_events", labels, events);
        self.gauge("vector_buffer_byte_size", labels, bytes);
        self.gauge("vector_buffer_size_bytes", labels, bytes);
        self.gauge("vector_buffer_max_byte_size", labels, SIZE_MAX);
        self.gauge("vector_buffer_max_size_bytes", labels, SIZE_MAX);
        self.counter("vector_buffer_received_events_total", labels, entered.0);
        self.counter("vector_buffer_received_bytes_total", labels, entered.1);
        self.counter("vector_buffer_sent_events_total", labels, left.0);
        self.counter("vector_buffer_sent_bytes_total", labels, left.1);
    }

    fn gauge(&mut self, name: &'static str, labels: &str, value: u64) {
        self.sample(name, "gauge", labels, value);
    }

    fn counter(&mut self, name: &'static str, labels: &str, value: u64) {
        self.sample(name, "counter", labels, value);
    }

    fn sample(&mut self, name: &'static str, kind: &'static str, labels: &str, value: u64) {
        let mut labels: Vec<&str> = labels.split_terminator(',').collect();
        let host = format!("host=\"{}\"", self.host);
        labels.push(&host);
        labels.sort_unstable();
        let new = || Family { kind, samples: Vec::new() };
        self.families.entry(name).or_insert_with(new).samples.push((labels.join(","), value));
    }

    fn finish(self, millis: i64) -> String {
        let mut text = String::new();
        for (name, Family { kind, samples }) in self.families {
            let short = name.strip_prefix("vector_").unwrap_or(name);
            let head = writeln!(text, "# HELP {name} {short}\n# TYPE {name} {kind}");
            head.expect(IN_MEMORY);
            for (labels, value) in samples {
                writeln!(text, "{name}{{{labels}}} {value} {millis}").expect(IN_MEMORY);
            }
        }
        text
    }
}

const IN_MEMORY: &str = "writing to a string does not fail";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const BOTH: [Place; 2] = [Place::Sidecar, Place::Aggregator];

    /// The value of the only sample of a name with these labels.
    #[track_caller]
    fn value(text: &str, name: &str, labels: &[&str]) -> u64 {
        let is_it = |line: &&str| {
            line.starts_with(&format!("{name}{{")) && labels.iter().all(|it| line.contains(it))
        };
        let lines: Vec<&str> = text.lines().filter(is_it).collect();
        assert_eq!(lines.len(), 1, "{name} {labels:?}: {lines:?}\n{text}");
        let (_, value) = lines[0].rsplit_once("} ").unwrap();
        value.split(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn what_a_part_holds_is_in_its_buffer_until_it_is_through() {
        let counters = Counters::default();
        Counters::add(&counters.bodies, 1);
        counters.accepted.add(10, 1_000);
        Counters::add(&counters.begun, 7);
        counters.published.add(4, 400);
        counters.oversized.add(1, 100);
        Counters::add(&counters.taken, 4);
        Counters::add(&counters.filtered, 1);
        counters.gathered.add(3, 600);
        counters.stored.add(1, 200);
        let text = text(&counters, &BOTH, "here", 5, 1_700_000_000_000);

        let nats = [
            "component_id=\"nats_jetstream\"",
            "component_kind=\"sink\"",
            "component_type=\"nats\"",
            "host=\"here\"",
        ];
        let clickhouse = ["component_id=\"clickhouse\"", "component_type=\"clickhouse\""];
        for name in ["vector_buffer_events", "vector_buffer_size_events"] {
            assert_eq!(value(&text, name, &nats), 5);
            assert_eq!(value(&text, name, &clickhouse), 2);
        }
        for name in ["vector_buffer_byte_size", "vector_buffer_size_bytes"] {
            assert_eq!(value(&text, name, &nats), 500);
            assert_eq!(value(&text, name, &clickhouse), 400);
        }
        assert_eq!(value(&text, "vector_component_received_events_total", &nats), 7);
        assert_eq!(value(&text, "vector_component_sent_events_total", &nats), 4);
        assert_eq!(value(&text, "vector_component_discarded_events_total", &nats), 1);
        assert_eq!(value(&text, "vector_component_errors_total", &nats), 1);
        assert_eq!(value(&text, "vector_component_sent_events_total", &clickhouse), 1);
        let filter = ["component_id=\"keep_completed\"", "intentional=\"true\""];
        assert_eq!(value(&text, "vector_component_discarded_events_total", &filter), 1);
        assert_eq!(value(&text, "vector_uptime_seconds", &[]), 5);
    }

    #[test]
    fn a_part_tells_only_of_itself_and_of_what_it_found_in_its_buffer() {
        let counters = Counters::default();
        Counters::add(&counters.found, 2);
        counters.accepted.add(5, 50);
        counters.gathered.add(1, 10);
        counters.rejected.add(1, 10);
        let sidecar = text(&counters, &[Place::Sidecar], "here", 0, 7);
        assert_eq!(value(&sidecar, "vector_buffer_events", &["nats_jetstream"]), 5);
        let sent = ["\"split_list\""];
        assert_eq!(value(&sidecar, "vector_component_sent_events_total", &sent), 3);
        assert!(!sidecar.contains("\"clickhouse\""), "{sidecar}");
        let aggregator = text(&counters, &[Place::Aggregator], "here", 0, 7);
        let sink = ["component_id=\"clickhouse\""];
        assert_eq!(value(&aggregator, "vector_buffer_events", &sink), 0);
        assert_eq!(value(&aggregator, "vector_component_discarded_events_total", &sink), 1);
        assert!(!aggregator.contains("nats_jetstream"), "{aggregator}");
    }

    #[test]
    fn names_and_labels_are_those_of_a_real_vector() {
        // Scraped while ClickHouse was away, of these families and without Vector's own components.
        let real = include_str!("../../tests/vector-0.57-series.txt");
        let real: BTreeSet<&str> = real.lines().collect();
        let text = text(&Counters::default(), &BOTH, "here", 0, 7);
        let series = text.lines().filter(|line| !line.starts_with('#'));
        let ours: BTreeSet<&str> = series.map(|line| &line[..=line.rfind('}').unwrap()]).collect();
        let missing: Vec<&&str> = real.difference(&ours).collect();
        assert!(missing.is_empty(), "{missing:#?}");
        // Vector tells these once they are not zero.
        let later = |line: &str| {
            let is_clickhouse = line.contains("component_id=\"clickhouse\"");
            line.contains("_errors_total")
                || line.contains("intentional=\"false\"")
                || line.contains("_sent_") && is_clickhouse
                || line.starts_with("vector_build_info")
        };
        let invented: Vec<&&str> = ours.difference(&real).filter(|line| !later(line)).collect();
        assert!(invented.is_empty(), "{invented:#?}");
    }

    #[test]
    fn each_line_is_a_sample_of_the_family_above_it() {
        let text = text(&Counters::default(), &BOTH, "here", 0, 7);
        let mut family = "";
        for line in text.lines() {
            if let Some(named) = line.strip_prefix("# TYPE ") {
                family = named.split(' ').next().unwrap();
            } else if !line.starts_with("# HELP ") {
                assert!(line.starts_with(&format!("{family}{{")), "{line} in {family}");
                assert!(line.ends_with(" 7"), "{line}");
            }
        }
        assert!(text.contains(
            "\nvector_buffer_events{buffer_id=\"clickhouse\",buffer_type=\"disk\",\
             component_id=\"clickhouse\",component_kind=\"sink\",component_type=\"clickhouse\",\
             host=\"here\",stage=\"0\"} 0 7\n"
        ));
    }
}
