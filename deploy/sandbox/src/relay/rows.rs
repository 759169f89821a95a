//! Rows on their way to `ClickHouse`: one INSERT, gzipped as it grows.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::transform::Event;

/// The rows of one INSERT.
#[derive(Debug)]
pub(super) struct Rows {
    body: GzEncoder<Vec<u8>>,
    line: Vec<u8>,
    /// How many there are.
    pub(super) count: usize,
    /// How long they are together, not packed.
    pub(super) bytes: usize,
}

impl Rows {
    /// An INSERT without rows.
    pub(super) fn new() -> Self {
        // Nothing but this machine's loopback is between here and the server: pack fast.
        let mut body = GzEncoder::new(Vec::new(), Compression::fast());
        body.write_all(INSERT).expect(IN_MEMORY);
        Self { body, line: Vec::new(), count: 0, bytes: 0 }
    }

    /// Adds an event as `{"event_json": "…"}`, and returns how many bytes that takes.
    pub(super) fn push(&mut self, event: &Event) -> usize {
        self.push_json(&serde_json::to_string(event).expect("a map of JSON values is JSON"))
    }

    /// As [`Self::push`], of an event that is JSON already.
    pub(super) fn push_json(&mut self, event: &str) -> usize {
        self.line.clear();
        self.line.extend_from_slice(b"{\"event_json\":");
        serde_json::to_writer(&mut self.line, event).expect(IN_MEMORY);
        self.line.extend_from_slice(b"}\n");
        self.body.write_all(&self.line).expect(IN_MEMORY);
        self.count += 1;
        self.bytes += self.line.len();
        self.line.len()
    }

    /// Says whether a limit of Vector's `ClickHouse` sink is reached: events or bytes.
    pub(super) fn is_full(&self) -> bool {
        const EVENTS_MAX: usize = 10_000;
        const BYTES_MAX: usize = 10 << 20;
        self.count >= EVENTS_MAX || self.bytes >= BYTES_MAX
    }

    /// The body to send.
    pub(super) fn into_body(self) -> Bytes {
        self.body.finish().expect(IN_MEMORY).into()
    }
}

const INSERT: &[u8] = b"INSERT INTO audit.audit_logs (event_json) FORMAT JSONEachRow\n";
const IN_MEMORY: &str = "writing to memory does not fail";

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_becomes_a_string_in_a_row() {
        let mut rows = Rows::new();
        let event = json!({ "auditID": "a\"b", "verb": "get" });
        rows.push(event.as_object().unwrap());
        assert_eq!(rows.count, 1);
        let mut text = String::new();
        GzDecoder::new(&rows.into_body()[..]).read_to_string(&mut text).unwrap();
        let row = r#"{"event_json":"{\"auditID\":\"a\\\"b\",\"verb\":\"get\"}"}"#;
        assert_eq!(text, format!("{}{row}\n", String::from_utf8_lossy(INSERT)));
    }
}
