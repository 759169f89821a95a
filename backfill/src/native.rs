//! Blocks of rows in ClickHouse's Native format: column by column, as the server stores them.
//!
//! Source: <https://clickhouse.com/docs/interfaces/formats/Native>. Columns that the server keeps
//! as `LowCardinality` are sent as such, with a dictionary for each block.

use std::collections::HashMap;

use arrayvec::ArrayVec;
use events::render::{Form, render};
use events::row::Columns;
use events::script::Script;
use foldhash::fast::FixedState;
use runs::leb128;
use stores::schema::COLUMNS;

use crate::rows::Slot;

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
    let mut block = Vec::new();
    BlockMaker::default().append(script, slots, columns, &mut block);
    block
}

/// Makes blocks, one after another, in the same memory.
#[derive(Debug, Default)]
pub struct BlockMaker {
    row: Columns,
    values: Values,
}

impl BlockMaker {
    /// Appends one block of rows.
    ///
    /// The events are the first column and most of the block, so they are written directly to where
    /// they stay.
    pub fn append(
        &mut self,
        script: &Script,
        slots: &[Slot],
        columns: &BlockColumns,
        block: &mut Vec<u8>,
    ) {
        leb128::put(columns.sent.len() as u64, block);
        leb128::put(slots.len() as u64, block);
        let event = columns.sent.iter().find(|(index, _)| *index == EVENT);
        if let Some((_, name)) = event {
            put_string(name.as_bytes(), block);
            put_string(b"String", block);
        }
        self.values.clear();
        for slot in slots {
            let facts = slot.facts(script);
            if event.is_some() {
                put_written(block, |block| render(&facts, Form::Item, block));
            }
            self.row.fill(&facts);
            self.values.push(&self.row, facts.audit_id.as_u64_pair());
        }
        for (index, name) in columns.sent.iter().filter(|(index, _)| *index != EVENT) {
            put_string(name.as_bytes(), block);
            self.values.append(*index, block);
        }
    }
}

/// Index of the event into [`COLUMNS`].
const EVENT: usize = 0;

/// All columns but the events, as they are sent.
#[derive(Debug, Default)]
struct Values {
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

impl Values {
    fn push(&mut self, row: &Columns, audit_id: (u64, u64)) {
        self.timestamp.extend_from_slice(&row.timestamp_ms.to_le_bytes());
        self.scope_type.push(row.scope_type);
        put_string(row.scope_name.as_bytes(), &mut self.scope_name);
        put_string(row.user.as_bytes(), &mut self.user);
        put_string(row.user_uid.as_bytes(), &mut self.user_uid);
        // A UUID is two little-endian numbers, the first half of its text first.
        self.audit_id.extend_from_slice(&audit_id.0.to_le_bytes());
        self.audit_id.extend_from_slice(&audit_id.1.to_le_bytes());
        self.verb.push(row.verb);
        self.api_group.push(row.api_group);
        self.resource.push(row.resource);
        self.namespace.push(&row.namespace);
        put_string(row.resource_name.as_bytes(), &mut self.resource_name);
        self.status_code.extend_from_slice(&row.status_code.to_le_bytes());
    }

    /// Appends type and values of a column, which is told by its index into [`COLUMNS`].
    fn append(&self, index: usize, block: &mut Vec<u8>) {
        let (kind, values) = match COLUMNS[index].name {
            "timestamp" => ("DateTime64(3)", &self.timestamp),
            "scope_type" => return self.scope_type.append(block),
            "scope_name" => ("String", &self.scope_name),
            "user" => ("String", &self.user),
            "user_uid" => ("String", &self.user_uid),
            "audit_id" => ("UUID", &self.audit_id),
            "verb" => return self.verb.append(block),
            "api_group" => return self.api_group.append(block),
            "resource" => return self.resource.append(block),
            "namespace" => return self.namespace.append(block),
            "resource_name" => ("String", &self.resource_name),
            "status_code" => ("UInt16", &self.status_code),
            other => unreachable!("every column is here, {other} too"),
        };
        put_string(kind.as_bytes(), block);
        block.extend_from_slice(values);
    }

    fn clear(&mut self) {
        let Self { timestamp, scope_name, user, user_uid, audit_id, .. } = self;
        let plain = [timestamp, scope_name, user, user_uid, audit_id];
        plain.into_iter().for_each(Vec::clear);
        self.resource_name.clear();
        self.status_code.clear();
        let Self { scope_type, verb, api_group, resource, namespace, .. } = self;
        let few = [scope_type, verb, api_group, resource, namespace];
        few.into_iter().for_each(Dictionary::clear);
    }
}

/// A column of few different texts: each is sent once, and every row is an index.
#[derive(Debug, Default)]
struct Dictionary {
    known: HashMap<String, u32, FixedState>,
    texts: Vec<u8>,
    rows: Vec<u8>,
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
        self.rows.extend_from_slice(&index.to_le_bytes());
    }

    fn append(&self, block: &mut Vec<u8>) {
        put_string(b"LowCardinality(String)", block);
        block.extend_from_slice(&KEYS_IN_BLOCK.to_le_bytes());
        block.extend_from_slice(&(U32_INDEX | OWN_KEYS).to_le_bytes());
        block.extend_from_slice(&(self.known.len() as u64 + 1).to_le_bytes());
        put_string(b"", block);
        block.extend_from_slice(&self.texts);
        block.extend_from_slice(&(self.rows.len() as u64 / 4).to_le_bytes());
        block.extend_from_slice(&self.rows);
    }

    fn clear(&mut self) {
        self.known.clear();
        self.texts.clear();
        self.rows.clear();
    }
}

/// Version and flags of a `LowCardinality` column.
///
/// Source: ClickHouse, `src/DataTypes/Serializations/SerializationLowCardinality.cpp`.
const KEYS_IN_BLOCK: u64 = 1;
const U32_INDEX: u64 = 2;
const OWN_KEYS: u64 = 1 << 9;

fn put_string(text: &[u8], out: &mut Vec<u8>) {
    leb128::put(text.len() as u64, out);
    out.extend_from_slice(text);
}

/// Appends what `write` appends, after its length, which is known only then.
fn put_written(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; USUAL_LENGTH_BYTES]);
    let text_start = out.len();
    write(out);
    let mut length = ArrayVec::<u8, 10>::new();
    leb128::put((out.len() - text_start) as u64, &mut length);
    out.splice(start..text_start, length);
}

/// An event has at least 2^7 bytes, and nearly always less than 2^14.
const USUAL_LENGTH_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::tests::plan;
    use crate::piece::all_due;
    use crate::rows::{for_each_row, slots};

    #[test]
    fn a_text_stands_after_its_length_however_long_it_is() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let text = vec![b'x'; length];
            let (mut expected, mut written) = (vec![1, 2, 3], vec![1, 2, 3]);
            put_string(&text, &mut expected);
            put_written(&mut written, |out| out.extend_from_slice(&text));
            assert_eq!(written, expected, "{length}");
        }
    }

    #[test]
    fn a_block_begins_with_its_events_and_does_not_show_what_was_made_before() {
        let plan = plan(1, 500);
        let slots = slots(&plan.script, &all_due(&plan.script, &(plan.start..plan.end)));
        let (first, second) = slots.split_at(300);
        let columns = all_columns();
        let mut maker = BlockMaker::default();
        maker.append(&plan.script, first, &columns, &mut Vec::new());
        let mut again = Vec::new();
        maker.append(&plan.script, second, &columns, &mut again);
        assert_eq!(again, block(&plan.script, second, &columns));
        let mut expected = vec![13, 200, 1];
        put_string(b"event_json", &mut expected);
        put_string(b"String", &mut expected);
        let each = |json: &[u8], _: &Columns, _| put_string(json, &mut expected);
        for_each_row(&plan.script, second, each);
        assert!(again.starts_with(&expected));
    }

    #[test]
    fn a_table_without_a_column_is_sent_none() {
        let plan = plan(1, 10);
        let slots = slots(&plan.script, &all_due(&plan.script, &(plan.start..plan.end)));
        let sent = vec![(12, "status".to_owned())];
        let block = block(&plan.script, &slots, &BlockColumns { sent, has_materialized: false });
        assert_eq!(block.len(), 2 + 7 + 7 + 10 * 2);
    }
}
