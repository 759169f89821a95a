//! A disk buffer as Vector has one before each sink: what is in it survives SIGKILL.
//!
//! Records are appended to segment files, each with its length and a checksum; a small file holds
//! the position up to which all is acknowledged. Neither is synced: the page cache outlives the
//! process, and only a machine that loses power would lose it. A record is written whole or, at
//! the end of the last segment, torn, and then nobody was told that it was taken. Reads and writes
//! are small and stay in the page cache, so they are done by the tasks themselves.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

/// Opens the buffer in a folder. Also says what it holds.
///
/// It keeps back the last records that are written from now on, as many as `kept_max` says, until
/// others follow them or it is opened again: a fault of Vector's disk buffers.
///
/// # Errors
///
/// Returns an error if its files cannot be made, read or mended.
pub(super) fn open(folder: &Path, kept_max: usize) -> Result<(Buffer, Held)> {
    fs::create_dir_all(folder)?;
    let numbers = segment_numbers(folder)?;
    let oldest = Position { segment: numbers.front().copied().unwrap_or_default(), offset: 0 };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mark = options.open(folder.join("acknowledged"))?;
    // Without a readable mark everything is passed on again, because twice is better than never.
    let mut acknowledged = read_mark(&mark).filter(|at| *at >= oldest).unwrap_or(oldest);
    let has_segments = !numbers.is_empty();
    if !has_segments {
        acknowledged = Position { segment: acknowledged.segment + 1, offset: 0 };
    }
    let mut held = Held::default();
    let mut end = acknowledged;
    for number in numbers {
        let start = if number == acknowledged.segment { acknowledged.offset } else { 0 };
        if number >= acknowledged.segment {
            end = Position { segment: number, offset: mend(folder, number, start, &mut held)? };
        }
    }
    // Only after a loss of power can the mark be ahead of the records.
    let acknowledged = acknowledged.min(end);
    let file = OpenOptions::new().append(true).create(true).open(segment(folder, end.segment))?;
    let (readable, seen) = watch::channel(end);
    let (line, kept) = (Vec::new(), VecDeque::new());
    let writer = Mutex::new(Writing { file, end, line, kept });
    let buffer = Buffer {
        writer: Writer { folder: folder.to_owned(), inner: writer, kept_max, readable },
        reader: Reader { folder: folder.to_owned(), at: acknowledged, file: None, seen },
        acknowledger: Acknowledger {
            folder: folder.to_owned(),
            mark,
            oldest: if has_segments { oldest.segment } else { end.segment },
        },
    };
    Ok((buffer, held))
}

/// An open buffer.
#[derive(Debug)]
pub(super) struct Buffer {
    /// The end that records are written to.
    pub(super) writer: Writer,
    /// The end that records are read from.
    pub(super) reader: Reader,
    /// The record of what was acknowledged.
    pub(super) acknowledger: Acknowledger,
}

/// Records and the bytes of their payloads.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// A place between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    segment: u64,
    offset: u64,
}

/// One record that was read.
#[derive(Debug)]
pub(super) struct Record {
    /// What was written.
    pub(super) payload: Vec<u8>,
    /// Where it ends: acknowledging this acknowledges all before it, too.
    pub(super) end: Position,
}

/// The entrance of a buffer.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    inner: Mutex<Writing>,
    kept_max: usize,
    /// Where the last record ends that is not kept back.
    readable: watch::Sender<Position>,
}

#[derive(Debug)]
struct Writing {
    file: File,
    end: Position,
    line: Vec<u8>,
    /// Where the records end that are kept back.
    kept: VecDeque<Position>,
}

/// A segment takes no further records once it has this many bytes.
const SEGMENT_BYTES: u64 = 16 << 20;

/// The length and the checksum before each payload.
const HEAD_BYTES: usize = 12;

/// No record is longer than this. A greater length means that there is no record.
const RECORD_BYTES_MAX: usize = 256 << 20;

impl Writer {
    /// Appends records. Once this returns, they are in the buffer whatever happens to the process.
    ///
    /// # Errors
    ///
    /// Returns an error if the disk does not take them; then none of them is in the buffer.
    pub(super) fn append(&self, payloads: &[Vec<u8>]) -> Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Writing { file, end, line, kept } = &mut *inner;
        if end.offset >= SEGMENT_BYTES {
            let next = Position { segment: end.segment + 1, offset: 0 };
            *file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(segment(&self.folder, next.segment))?;
            *end = next;
        }
        line.clear();
        for payload in payloads {
            let length = u32::try_from(payload.len()).map_err(std::io::Error::other)?;
            line.extend_from_slice(&length.to_le_bytes());
            line.extend_from_slice(&xxh3_64(payload).to_le_bytes());
            line.extend_from_slice(payload);
        }
        if let Err(error) = file.write_all(line) {
            // Otherwise the part that was written would stand before the next record.
            file.set_len(end.offset)?;
            return Err(error);
        }
        for payload in payloads {
            end.offset += (HEAD_BYTES + payload.len()) as u64;
            kept.push_back(*end);
        }
        while kept.len() > self.kept_max {
            self.readable.send_replace(kept.pop_front().expect("it has more than none"));
        }
        Ok(())
    }
}

/// The exit of a buffer.
#[derive(Debug)]
pub(super) struct Reader {
    folder: PathBuf,
    at: Position,
    file: Option<BufReader<File>>,
    seen: watch::Receiver<Position>,
}

impl Reader {
    /// Waits for the next record, in the order in which they were written. Safe to give up and
    /// call again.
    ///
    /// # Errors
    ///
    /// Returns an error if a file cannot be read, or is no longer what was written.
    pub(super) async fn next(&mut self) -> Result<Record> {
        loop {
            let end = *self.seen.borrow_and_update();
            if self.at < end
                && let Some(record) = self.read(end)?
            {
                return Ok(record);
            }
            if self.at >= end && self.seen.changed().await.is_err() {
                // The writer is gone, so there will be no more records.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Reads the record at the present place; at the end of a full segment it goes to the next.
    fn read(&mut self, end: Position) -> Result<Option<Record>> {
        if self.file.is_none() {
            let mut file = File::open(segment(&self.folder, self.at.segment))?;
            file.seek(SeekFrom::Start(self.at.offset))?;
            self.file = Some(BufReader::new(file));
        }
        let file = self.file.as_mut().expect("it was opened just now");
        if let Some(payload) = read_record(file)? {
            self.at.offset += (HEAD_BYTES + payload.len()) as u64;
            return Ok(Some(Record { payload, end: self.at }));
        }
        if self.at.segment >= end.segment {
            let broken = format!("segment {} ends before its end", self.at.segment);
            return Err(std::io::Error::new(ErrorKind::InvalidData, broken));
        }
        self.at = Position { segment: self.at.segment + 1, offset: 0 };
        self.file = None;
        Ok(None)
    }
}

/// The record of how far a buffer was acknowledged.
#[derive(Debug)]
pub(super) struct Acknowledger {
    folder: PathBuf,
    mark: File,
    /// The first segment that is still there.
    oldest: u64,
}

impl Acknowledger {
    /// Notes that all up to a place has left, and removes what nobody needs any more.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be noted: then it is passed on again after a restart.
    pub(super) fn acknowledge(&mut self, end: Position) -> Result<()> {
        let Position { segment: number, offset } = end;
        let mut mark = [0; MARK_BYTES];
        mark[..8].copy_from_slice(&number.to_le_bytes());
        mark[8..16].copy_from_slice(&offset.to_le_bytes());
        let checksum = xxh3_64(&mark[..16]);
        mark[16..].copy_from_slice(&checksum.to_le_bytes());
        self.mark.write_all_at(&mark, 0)?;
        while self.oldest < number {
            fs::remove_file(segment(&self.folder, self.oldest))?;
            self.oldest += 1;
        }
        Ok(())
    }
}

/// Two numbers and their checksum.
const MARK_BYTES: usize = 24;

fn read_mark(mark: &File) -> Option<Position> {
    let mut bytes = [0; MARK_BYTES];
    mark.read_exact_at(&mut bytes, 0).ok()?;
    let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes);
    let (segment, offset, checksum) = (number(0).ok()?, number(8).ok()?, number(16).ok()?);
    (xxh3_64(&bytes[..16]) == checksum).then_some(Position { segment, offset })
}

/// Counts the records of a segment from a place on, and cuts off whatever follows the last whole
/// record. Returns its length.
fn mend(folder: &Path, number: u64, start: u64, held: &mut Held) -> Result<u64> {
    let path = segment(folder, number);
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
    let length = file.metadata()?.len();
    let mut end = start.min(length);
    let mut reader = BufReader::new(&file);
    reader.seek(SeekFrom::Start(end))?;
    while let Some(payload) = read_record(&mut reader)? {
        end += (HEAD_BYTES + payload.len()) as u64;
        held.events += 1;
        held.bytes += payload.len();
    }
    if end < length {
        warn!("cut {} torn bytes off {}", length - end, path.display());
        file.set_len(end)?;
    }
    Ok(end)
}

/// Reads one record; none at the end of the file, or where no whole record is.
fn read_record(file: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD_BYTES];
    if !is_filled(file, &mut head)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize;
    let checksum = u64::from_le_bytes(head[4..].try_into().expect("eight bytes"));
    if length > RECORD_BYTES_MAX {
        return Ok(None);
    }
    let mut payload = vec![0; length];
    let is_whole = is_filled(file, &mut payload)? && xxh3_64(&payload) == checksum;
    Ok(is_whole.then_some(payload))
}

fn is_filled(file: &mut impl Read, buffer: &mut [u8]) -> Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn segment(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.segment"))
}

fn segment_numbers(folder: &Path) -> Result<VecDeque<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(".segment")?.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers.into())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn payloads(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
        numbers.map(|number| format!("event {number}").into_bytes()).collect()
    }

    async fn read(reader: &mut Reader, count: usize) -> Vec<Record> {
        let mut records = Vec::new();
        for _ in 0..count {
            records.push(reader.next().await.unwrap());
        }
        records
    }

    fn texts(records: Vec<Record>) -> Vec<Vec<u8>> {
        records.into_iter().map(|record| record.payload).collect()
    }

    #[tokio::test]
    async fn what_was_not_acknowledged_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let (mut buffer, held) = open(dir.path(), 0).unwrap();
        assert_eq!(held, Held::default());
        buffer.writer.append(&payloads(0..3)).unwrap();
        buffer.writer.append(&payloads(3..5)).unwrap();
        let records = read(&mut buffer.reader, 5).await;
        buffer.acknowledger.acknowledge(records[1].end).unwrap();
        assert_eq!(texts(records), payloads(0..5));
        drop(buffer);

        let (mut buffer, held) = open(dir.path(), 0).unwrap();
        assert_eq!(held, Held { events: 3, bytes: 21 });
        buffer.writer.append(&payloads(5..6)).unwrap();
        let records = read(&mut buffer.reader, 4).await;
        buffer.acknowledger.acknowledge(records[3].end).unwrap();
        assert_eq!(texts(records), payloads(2..6));
        assert_eq!(open(dir.path(), 0).unwrap().1, Held::default());
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let (Buffer { writer, mut reader, .. }, _) = open(dir.path(), 0).unwrap();
        let reading = tokio::spawn(async move { texts(read(&mut reader, 2).await) });
        tokio::task::yield_now().await;
        writer.append(&payloads(0..1)).unwrap();
        tokio::task::yield_now().await;
        writer.append(&payloads(1..2)).unwrap();
        assert_eq!(reading.await.unwrap(), payloads(0..2));
    }

    #[tokio::test]
    async fn the_last_records_are_kept_until_others_follow_or_it_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let (mut buffer, _) = open(dir.path(), 2).unwrap();
        buffer.writer.append(&payloads(0..3)).unwrap();
        assert_eq!(texts(read(&mut buffer.reader, 1).await), payloads(0..1));
        assert!(buffer.reader.next().now_or_never().is_none());
        buffer.writer.append(&payloads(3..4)).unwrap();
        let second = buffer.reader.next().await.unwrap();
        buffer.acknowledger.acknowledge(second.end).unwrap();
        assert_eq!(second.payload, payloads(1..2)[0]);
        assert!(buffer.reader.next().now_or_never().is_none());
        drop(buffer);

        let (mut buffer, held) = open(dir.path(), 2).unwrap();
        assert_eq!(held.events, 2);
        assert_eq!(texts(read(&mut buffer.reader, 2).await), payloads(2..4));
    }

    #[tokio::test]
    async fn a_record_torn_at_any_byte_is_cut_off_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), 0).unwrap().0.writer.append(&payloads(0..3)).unwrap();
        let file = segment(dir.path(), 1);
        let whole = fs::read(&file).unwrap();
        let record = whole.len() / 3;
        for length in record * 2..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            let (mut buffer, held) = open(dir.path(), 0).unwrap();
            assert_eq!(held.events, 2, "{length} bytes are left");
            buffer.writer.append(&payloads(7..8)).unwrap();
            let expected = [payloads(0..2), payloads(7..8)].concat();
            assert_eq!(texts(read(&mut buffer.reader, 3).await), expected);
        }
        // A changed byte is no record either.
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&file, &changed).unwrap();
        assert_eq!(open(dir.path(), 0).unwrap().1.events, 2);
    }

    #[tokio::test]
    async fn segments_follow_one_another_and_go_when_they_are_through() {
        let dir = tempfile::tempdir().unwrap();
        let (mut buffer, _) = open(dir.path(), 0).unwrap();
        let large = vec![vec![7; 9 << 20]];
        for _ in 0..5 {
            buffer.writer.append(&large).unwrap();
        }
        let count = || segment_numbers(dir.path()).unwrap().len();
        assert_eq!(count(), 3, "two records fill a segment");
        for left in [3, 3, 2, 2, 1] {
            let record = buffer.reader.next().await.unwrap();
            assert_eq!(record.payload, large[0]);
            buffer.acknowledger.acknowledge(record.end).unwrap();
            assert_eq!(count(), left);
        }
        drop(buffer);
        assert_eq!(open(dir.path(), 0).unwrap().1, Held::default());
    }

    #[test]
    fn a_broken_mark_passes_all_on_again() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), 0).unwrap().0.writer.append(&payloads(0..2)).unwrap();
        fs::write(dir.path().join("acknowledged"), [1; MARK_BYTES]).unwrap();
        assert_eq!(open(dir.path(), 0).unwrap().1.events, 2);
    }
}
