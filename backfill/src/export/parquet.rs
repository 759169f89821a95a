//! Row groups of Parquet, each made in memory by one core and then put into the file.
//!
//! Source: <https://parquet.apache.org/docs/file-format/>, and for the types
//! <https://github.com/apache/parquet-format/blob/master/LogicalTypes.md>.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use events::row::Columns;
use events::script::Script;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::writer::{ColumnCloseResult, ColumnWriter, get_column_writer};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, SchemaDescriptor, TypePtr};
use stores::schema::COLUMNS;
use uuid::Uuid;

use crate::rows::{Slot, for_each_row};

/// Rows of a row group: enough that a column of few texts is small, few enough that some groups
/// fit into memory.
pub(super) const ROW_GROUP_ROWS: usize = 100_000;

/// Rows that go into the columns at once.
const BATCH_ROWS: usize = 1_024;

/// The columns, in the order of [`COLUMNS`], with the types that ClickHouse takes for its own.
const SCHEMA: &str = "
    message audit_logs {
        REQUIRED BYTE_ARRAY event_json (STRING);
        REQUIRED INT64 timestamp (TIMESTAMP(MILLIS, true));
        REQUIRED BYTE_ARRAY scope_type (STRING);
        REQUIRED BYTE_ARRAY scope_name (STRING);
        REQUIRED BYTE_ARRAY user (STRING);
        REQUIRED BYTE_ARRAY user_uid (STRING);
        REQUIRED FIXED_LEN_BYTE_ARRAY(16) audit_id (UUID);
        REQUIRED BYTE_ARRAY verb (STRING);
        REQUIRED BYTE_ARRAY api_group (STRING);
        REQUIRED BYTE_ARRAY resource (STRING);
        REQUIRED BYTE_ARRAY namespace (STRING);
        REQUIRED BYTE_ARRAY resource_name (STRING);
        REQUIRED INT32 status_code (INTEGER(16, false));
    }";

/// What all row groups of a file have in common.
pub(super) struct Shape {
    schema: TypePtr,
    columns: SchemaDescriptor,
    properties: WriterPropertiesPtr,
}

/// The columns of some rows, as they will be in the file.
pub(super) struct RowGroup(Vec<(Bytes, ColumnCloseResult)>);

impl Shape {
    pub(super) fn new() -> Self {
        let schema = Arc::new(parse_message_type(SCHEMA).expect("the schema is valid"));
        let columns = SchemaDescriptor::new(Arc::clone(&schema));
        let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
        let properties = WriterProperties::builder()
            .set_created_by(format!("auditstorm version {}", env!("CARGO_PKG_VERSION")))
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            // All values differ, so a dictionary does not help, and nobody needs their minimum.
            .set_column_dictionary_enabled(path("event_json"), false)
            .set_column_statistics_enabled(path("event_json"), EnabledStatistics::None)
            .set_column_dictionary_enabled(path("audit_id"), false)
            .set_column_dictionary_enabled(path("timestamp"), false)
            .set_column_encoding(path("timestamp"), Encoding::DELTA_BINARY_PACKED)
            .build();
        Self { schema, columns, properties: Arc::new(properties) }
    }

    /// Begins a file.
    pub(super) fn begin<W: Write + Send>(
        &self,
        file: W,
    ) -> Result<SerializedFileWriter<W>, ParquetError> {
        let properties = Arc::clone(&self.properties);
        SerializedFileWriter::new(file, Arc::clone(&self.schema), properties)
    }

    /// Makes a row group.
    pub(super) fn row_group(
        &self,
        script: &Script,
        slots: &[Slot],
    ) -> Result<RowGroup, ParquetError> {
        let mut sinks: Vec<_> = COLUMNS.iter().map(|_| TrackedWrite::new(Vec::new())).collect();
        let column_writer = |(index, sink)| {
            let pages = Box::new(SerializedPageWriter::new(sink));
            get_column_writer(self.columns.column(index), Arc::clone(&self.properties), pages)
        };
        let mut writers: Vec<_> = sinks.iter_mut().enumerate().map(column_writer).collect();
        let mut rows = Rows::default();
        for batch in slots.chunks(BATCH_ROWS) {
            for_each_row(script, batch, |json, columns, id| rows.push(json, columns, id));
            rows.write(&mut writers)?;
        }
        let closed = writers.into_iter().map(ColumnWriter::close);
        let closed = closed.collect::<Result<Vec<_>, _>>()?;
        let column = |(sink, closed): (TrackedWrite<Vec<u8>>, _)| {
            sink.into_inner().map(|bytes| (Bytes::from(bytes), closed))
        };
        sinks.into_iter().zip(closed).map(column).collect::<Result<_, _>>().map(RowGroup)
    }
}

/// Puts a row group into a file.
pub(super) fn append<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    group: RowGroup,
) -> Result<(), ParquetError> {
    let mut rows = file.next_row_group()?;
    for (bytes, closed) in group.0 {
        rows.append_column(&bytes, closed)?;
    }
    rows.close().map(drop)
}

/// Some rows, column by column.
#[derive(Default)]
struct Rows {
    /// One for each column; those of other types stay empty.
    texts: [Texts; COLUMNS.len()],
    timestamp: Vec<i64>,
    audit_id: Vec<FixedLenByteArray>,
    status_code: Vec<i32>,
}

impl Rows {
    fn push(&mut self, json: &[u8], columns: &Columns, audit_id: Uuid) {
        let texts = [
            (0, json),
            (2, columns.scope_type.as_bytes()),
            (3, columns.scope_name.as_bytes()),
            (4, columns.user.as_bytes()),
            (5, columns.user_uid.as_bytes()),
            (7, columns.verb.as_bytes()),
            (8, columns.api_group.as_bytes()),
            (9, columns.resource.as_bytes()),
            (10, columns.namespace.as_bytes()),
            (11, columns.resource_name.as_bytes()),
        ];
        for (column, text) in texts {
            self.texts[column].push(text);
        }
        self.timestamp.push(columns.timestamp_ms);
        self.audit_id.push(audit_id.as_bytes().to_vec().into());
        self.status_code.push(columns.status_code.into());
    }

    /// Hands the rows to the columns' writers, and is empty.
    fn write(&mut self, writers: &mut [ColumnWriter<'_>]) -> Result<(), ParquetError> {
        for (texts, writer) in self.texts.iter_mut().zip(writers) {
            match writer {
                ColumnWriter::ByteArrayColumnWriter(writer) => {
                    writer.write_batch(&texts.take(), None, None)?
                }
                ColumnWriter::Int64ColumnWriter(writer) => {
                    writer.write_batch(&self.timestamp, None, None)?
                }
                ColumnWriter::Int32ColumnWriter(writer) => {
                    writer.write_batch(&self.status_code, None, None)?
                }
                ColumnWriter::FixedLenByteArrayColumnWriter(writer) => {
                    writer.write_batch(&self.audit_id, None, None)?
                }
                _ => unreachable!("the schema has no other types"),
            };
        }
        self.timestamp.clear();
        self.audit_id.clear();
        self.status_code.clear();
        Ok(())
    }
}

/// Texts in one piece of memory.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    /// Returns the texts, and is empty.
    fn take(&mut self) -> Vec<ByteArray> {
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let mut from = 0;
        let text = |end: usize| {
            let text = bytes.slice(from..end);
            from = end;
            ByteArray::from(text)
        };
        self.ends.drain(..).map(text).collect()
    }
}
