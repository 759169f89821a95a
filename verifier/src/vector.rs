//! Reads from the metrics of a Vector how many events each of its sinks still holds. Pure.
//!
//! An event that Vector has taken is in a buffer, in a batch, in a request that is being retried,
//! or it has left. The metrics count all of these, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::iter::from_fn;

/// What the metrics of one Vector say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VectorState {
    /// Its sinks by component ID, without those that only serve metrics.
    pub sinks: BTreeMap<String, Sink>,
    /// Events that its components dropped unintentionally.
    pub discarded_events: u64,
    /// The number of errors of all its components.
    pub errors: u64,
}

/// A sink of a Vector, with its buffer. Counters begin at the start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sink {
    /// The type of the sink, like `nats` or `clickhouse`.
    pub component_type: String,
    /// Whether the metrics say how many events its buffer holds. Vector drops metrics that have not
    /// changed for `expire_metrics_secs` (300 s), and reports none before the first event. So a
    /// missing figure does not mean 0.
    pub tells_buffer: bool,
    /// Events in its buffer. A disk buffer also counts events that are read and not delivered yet.
    pub buffered_events: u64,
    pub buffered_bytes: u64,
    /// Events that the sink has read from its buffer.
    pub received_events: u64,
    /// Events that the target has accepted.
    pub sent_events: u64,
    /// Events that the sink has dropped, on purpose or not.
    pub discarded_events: u64,
}

impl Sink {
    /// Events that the sink has taken and neither delivered nor dropped: those in its buffer, in a
    /// batch, or in requests, including retries.
    pub fn held_events(&self) -> u64 {
        let in_flight = self.received_events.saturating_sub(self.sent_events);
        self.buffered_events.max(in_flight.saturating_sub(self.discarded_events))
    }
}

impl VectorState {
    /// Reads metrics in the text format of Prometheus. Lines that cannot be read are ignored.
    ///
    /// Names differ: up to Vector 0.57 there are `vector_buffer_events` and
    /// `vector_buffer_byte_size`, from 0.53 on `vector_buffer_size_events` and
    /// `vector_buffer_size_bytes`. Versions in between report both.
    ///
    /// Source: Vector 0.57, `lib/vector-common/src/internal_event/metric_name.rs`.
    pub fn parse(text: &str) -> Self {
        let samples: Vec<Sample> = text.lines().filter_map(Sample::parse).collect();
        let mut state = Self::default();
        for sample in &samples {
            let is_sink = sample.label("component_kind") == Some("sink");
            let kind = sample.label("component_type").unwrap_or_default();
            if is_sink && kind != METRICS_SINK {
                kind.clone_into(&mut state.sink(sample).component_type);
            }
        }
        let mut old = BTreeMap::new();
        for sample in &samples {
            let is_intended = sample.label("intentional") == Some("true");
            match sample.name {
                "component_errors_total" => state.errors += sample.count(),
                "component_discarded_events_total" | "buffer_discarded_events_total"
                    if !is_intended =>
                {
                    state.discarded_events += sample.count();
                }
                _ => {}
            }
            let id = sample.label("component_id").or_else(|| sample.label("buffer_id"));
            let Some(sink) = id.and_then(|id| state.sinks.get_mut(id)) else { continue };
            let count = sample.count();
            match sample.name {
                "component_received_events_total" => sink.received_events += count,
                "component_sent_events_total" => sink.sent_events += count,
                "component_discarded_events_total" => sink.discarded_events += count,
                "buffer_size_events" => {
                    sink.tells_buffer = true;
                    sink.buffered_events += count;
                }
                "buffer_size_bytes" => sink.buffered_bytes += count,
                "buffer_events" => old.entry(id).or_insert((0, 0)).0 += count,
                "buffer_byte_size" => old.entry(id).or_insert((0, 0)).1 += count,
                _ => {}
            }
        }
        for (id, (events, bytes)) in old {
            let sink = id.and_then(|id| state.sinks.get_mut(id)).expect("it was found by its ID");
            sink.tells_buffer = true;
            // If both names are there, they have the same value.
            sink.buffered_events = sink.buffered_events.max(events);
            sink.buffered_bytes = sink.buffered_bytes.max(bytes);
        }
        state
    }

    fn sink(&mut self, sample: &Sample) -> &mut Sink {
        let id = sample.label("component_id").unwrap_or_default();
        self.sinks.entry(id.to_owned()).or_default()
    }

    /// How many events all its sinks hold.
    pub fn held_events(&self) -> u64 {
        self.sinks.values().map(Sink::held_events).sum()
    }

    /// How many bytes are in the buffers of all its sinks.
    pub fn buffered_bytes(&self) -> u64 {
        self.sinks.values().map(|sink| sink.buffered_bytes).sum()
    }

    /// Its sinks of one type, like `nats`.
    pub fn sinks_of<'v>(&'v self, component_type: &'v str) -> impl Iterator<Item = &'v Sink> {
        self.sinks.values().filter(move |sink| sink.component_type == component_type)
    }
}

/// The component that serves the metrics is a sink, too.
const METRICS_SINK: &str = "prometheus_exporter";

/// A line like `vector_name{label="value"} 3 1790000000000`.
///
/// It is taken apart here, because the crate `prometheus-parse` skips lines with a brace in a label
/// or with no labels between the braces, and makes several labels of one with commas in it. What a
/// skipped line holds would be called lost.
struct Sample<'t> {
    /// The name without the prefix `vector_`.
    name: &'t str,
    labels: Vec<(&'t str, String)>,
    value: f64,
}

impl<'t> Sample<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(end);
        let name = name.strip_prefix("vector_").unwrap_or(name);
        let (labels, rest) = match rest.strip_prefix('{') {
            None => (Vec::new(), rest),
            Some(mut rest) => {
                let labels = from_fn(|| take_label(&mut rest)).collect();
                (labels, rest.trim_start_matches([',', ' ']).strip_prefix('}')?)
            }
        };
        let value = rest.split_whitespace().next()?.parse().ok()?;
        (!name.starts_with('#')).then_some(Self { name, labels, value })
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Converts the value to a count. A gauge that is below 0 for a moment counts as 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of events fits, and what is no number or negative becomes 0"
    )]
    fn count(&self) -> u64 {
        self.value.round() as u64
    }
}

/// Takes one `name="value"` off the text. Returns `None` at the end.
fn take_label<'t>(rest: &mut &'t str) -> Option<(&'t str, String)> {
    let text = rest.trim_start_matches([',', ' ']);
    let (name, quoted) = text.split_once("=\"").filter(|(name, _)| !name.contains('}'))?;
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => {
                *rest = &quoted[at + 1..];
                return Some((name, value));
            }
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metrics as Vector 0.57 writes them, without labels and components that do not matter here.
    fn both_names() -> String {
        let sink = |name: &str, more: &str, value: &str| {
            format!(
                "vector_{name}{{component_id=\"ch\",component_kind=\"sink\",\
                 component_type=\"clickhouse\"{more}}} {value}\n"
            )
        };
        let other = |name: &str, labels: &str, value: &str| {
            format!("vector_{name}{{component_id={labels}}} {value}\n")
        };
        let stage = ",buffer_id=\"ch\",stage=\"0\"";
        [
            "# TYPE vector_buffer_events gauge\n".to_owned(),
            sink("buffer_events", stage, "12 1790000000000"),
            sink("buffer_size_events", stage, "12 1790000000000"),
            sink("buffer_byte_size", stage, "4096 1790000000000"),
            sink("buffer_size_bytes", stage, "4096 1790000000000"),
            sink("component_received_events_total", "", "120"),
            sink("component_sent_events_total", "", "100"),
            sink("component_discarded_events_total", ",intentional=\"false\"", "7"),
            other(
                "buffer_events",
                "\"m\",component_kind=\"sink\",component_type=\"prometheus_exporter\"",
                "3",
            ),
            other("component_discarded_events_total", "\"keep\",intentional=\"true\"", "900"),
            other("component_errors_total", r#""a} \"b\"",component_kind="source""#, "2"),
            "vector_buffer_max_event_size 500\nvector_utilization NaN\n".to_owned(),
        ]
        .concat()
    }

    #[test]
    fn a_vector_tells_what_it_holds_once_under_old_and_new_names() {
        let text = both_names();
        let state = VectorState::parse(&text);
        let sink = Sink {
            component_type: "clickhouse".to_owned(),
            tells_buffer: true,
            buffered_events: 12,
            buffered_bytes: 4_096,
            received_events: 120,
            sent_events: 100,
            discarded_events: 7,
        };
        assert_eq!(sink.held_events(), 13);
        let sinks = BTreeMap::from([("ch".to_owned(), sink)]);
        assert_eq!(state, VectorState { sinks, discarded_events: 7, errors: 2 });
        let without = |word: &str| {
            let lines = text.lines().filter(|line| !line.contains(word));
            VectorState::parse(&lines.collect::<Vec<_>>().join("\n"))
        };
        let old = without("buffer_size_");
        let new = without("buffer_events");
        assert_eq!((old.held_events(), old.buffered_bytes()), (13, 4_096));
        assert_eq!((new.held_events(), new.buffered_bytes()), (13, 4_096));
        assert_eq!((state.sinks_of("clickhouse").count(), state.sinks_of("nats").count()), (1, 0));
        let silent = without("buffer_");
        assert!(silent.sinks_of("clickhouse").all(|sink| !sink.tells_buffer));
    }

    #[test]
    fn a_sink_holds_what_is_buffered_and_what_it_has_not_delivered() {
        let check = |buffered, received, sent, expected| {
            let (buffered_events, received_events, sent_events) = (buffered, received, sent);
            let sink = Sink { buffered_events, received_events, sent_events, ..Sink::default() };
            assert_eq!(sink.held_events(), expected);
        };
        check(0, 10, 10, 0);
        check(5, 10, 10, 5);
        check(0, 10, 4, 6);
        // A disk buffer still counts the events that are being sent.
        check(6, 10, 4, 6);
    }

    #[test]
    fn a_label_may_hold_what_else_ends_it() {
        let labels = r#"{component_id="a{b},c=\"d\" \\e\nf",component_kind="sink",x="1,y=2",}"#;
        let text = format!("vector_component_received_events_total{labels} 7 1790000000000\n");
        let mut sample = Sample::parse(text.trim_end()).unwrap();
        assert_eq!(sample.label("component_id"), Some("a{b},c=\"d\" \\e\nf"));
        assert_eq!((sample.label("x"), sample.label("y")), (Some("1,y=2"), None));
        assert_eq!(VectorState::parse(&text).held_events(), 7);
        sample = Sample::parse("up{} 1").unwrap();
        assert_eq!((sample.name, sample.labels.len(), sample.count()), ("up", 0, 1));
        assert_eq!(Sample::parse("vector_utilization NaN").unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_read_tells_nothing() {
        for text in ["", "\n\n", "a", "a{", "a{b=\"c} 1", "a{b=\"c\\", "vector_buffer_events x"] {
            assert_eq!(VectorState::parse(text), VectorState::default(), "{text}");
        }
        let text = "buffer_events{component_id=\"x\",component_kind=\"sink\"} -4";
        assert_eq!(VectorState::parse(text).held_events(), 0);
    }
}
