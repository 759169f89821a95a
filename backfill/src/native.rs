//! Blocks of rows in ClickHouse's Native format: column by column, as the server stores them.
//!
//! Source: <https://clickhouse.com/docs/interfaces/formats/Native>. Columns that the server keeps
//! as `LowCardinality` are sent as such, with a dictionary for each block.

use std::collections::HashMap;

use events::row::Columns;
use events::script::Script;
use harness::table::COLUMNS;

use crate::rows::{Slot, for_each_row};

/// Which columns a block has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockColumns {
    /// Index into [`COLUMNS`], and the table's name for it.
    pub sent: Vec<(usize, String)>,
    /// Some of them are computed by the server if they are not sent.
    pub has_materialized: bool,
}

/// All columns under their standard names.
pub fn all_columns() -> BlockColumns {
    let sent = COLUMNS.iter().map(|column| column.name.to_owned()).enumerate().collect();
    BlockColumns { sent, has_materialized: true }
}

/// Makes one block of rows.
pub fn block(script: &Script, slots: &[Slot], columns: &BlockColumns) -> Vec<u8> {
    let mut rows = Rows::default();
    for_each_row(script, slots, |json, values, id| rows.push(json, values, id.as_u64_pair()));
    rows.finish(slots.len(), columns)
}

#[derive(Default)]
struct Rows {
    event_json: Vec<u8>,
    timestamp: Vec<u8>,
    scope_type: Dictionary,
    scope_name: Vec<u8>,
    user: Vec<u8>,
    user_uid: Vec<u8>,
    audit_id: Vec<u8>,
    verb: Dictionary,
    api_group: Dictionary,
    resource: Dictionary,
    namespace: Dictionary,
    resource_name: Vec<u8>,
    status_code: Vec<u8>,
}

impl Rows {
    fn push(&mut self, json: &[u8], columns: &Columns, audit_id: (u64, u64)) {
        put_string(json, &mut self.event_json);
        self.timestamp.extend_from_slice(&columns.timestamp_ms.to_le_bytes());
        self.scope_type.push(columns.scope_type);
        put_string(columns.scope_name.as_bytes(), &mut self.scope_name);
        put_string(columns.user.as_bytes(), &mut self.user);
        put_string(columns.user_uid.as_bytes(), &mut self.user_uid);
        // A UUID is two little-endian numbers, the first half of its text first.
        self.audit_id.extend_from_slice(&audit_id.0.to_le_bytes());
        self.audit_id.extend_from_slice(&audit_id.1.to_le_bytes());
        self.verb.push(columns.verb);
        self.api_group.push(columns.api_group);
        self.resource.push(columns.resource);
        self.namespace.push(&columns.namespace);
        put_string(columns.resource_name.as_bytes(), &mut self.resource_name);
        self.status_code.extend_from_slice(&columns.status_code.to_le_bytes());
    }

    fn finish(self, rows: usize, columns: &BlockColumns) -> Vec<u8> {
        let mut block = Vec::with_capacity(self.event_json.len() + rows * 200);
        put_number(columns.sent.len() as u64, &mut block);
        put_number(rows as u64, &mut block);
        let mut values: [(&str, Vec<u8>); COLUMNS.len()] = [
            ("String", self.event_json),
            ("DateTime64(3)", self.timestamp),
            (LOW_CARDINALITY, self.scope_type.finish()),
            ("String", self.scope_name),
            ("String", self.user),
            ("String", self.user_uid),
            ("UUID", self.audit_id),
            (LOW_CARDINALITY, self.verb.finish()),
            (LOW_CARDINALITY, self.api_group.finish()),
            (LOW_CARDINALITY, self.resource.finish()),
            (LOW_CARDINALITY, self.namespace.finish()),
            ("String", self.resource_name),
            ("UInt16", self.status_code),
        ];
        for (index, name) in &columns.sent {
            let (kind, values) = std::mem::take(&mut values[*index]);
            put_string(name.as_bytes(), &mut block);
            put_string(kind.as_bytes(), &mut block);
            block.extend_from_slice(&values);
        }
        block
    }
}

/// A column of few different texts: each is sent once, and every row is an index.
#[derive(Default)]
struct Dictionary {
    known: HashMap<String, u32>,
    texts: Vec<u8>,
    rows: Vec<u32>,
}

impl Dictionary {
    fn push(&mut self, text: &str) {
        let index = if let Some(index) = self.known.get(text) {
            *index
        } else {
            // Index 0 is the type's default value, the empty text.
            let index = u32::try_from(self.known.len() + 1).expect("a block has fewer rows");
            self.known.insert(text.to_owned(), index);
            put_string(text.as_bytes(), &mut self.texts);
            index
        };
        self.rows.push(index);
    }

    fn finish(self) -> Vec<u8> {
        let mut column = Vec::with_capacity(64 + self.texts.len() + self.rows.len() * 4);
        column.extend_from_slice(&KEYS_IN_BLOCK.to_le_bytes());
        column.extend_from_slice(&(U32_INDEX | OWN_KEYS).to_le_bytes());
        column.extend_from_slice(&(self.known.len() as u64 + 1).to_le_bytes());
        put_string(b"", &mut column);
        column.extend_from_slice(&self.texts);
        column.extend_from_slice(&(self.rows.len() as u64).to_le_bytes());
        for row in self.rows {
            column.extend_from_slice(&row.to_le_bytes());
        }
        column
    }
}

const LOW_CARDINALITY: &str = "LowCardinality(String)";

/// Version and flags of a `LowCardinality` column.
///
/// Source: ClickHouse, `src/DataTypes/Serializations/SerializationLowCardinality.cpp`.
const KEYS_IN_BLOCK: u64 = 1;
const U32_INDEX: u64 = 2;
const OWN_KEYS: u64 = 1 << 9;

fn put_string(text: &[u8], out: &mut Vec<u8>) {
    put_number(text.len() as u64, out);
    out.extend_from_slice(text);
}

fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("below 128"));
}
