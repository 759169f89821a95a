//! Files of JSON lines that are appended to, and may be cut short in their last line.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Appends a record as one line, by one write, and waits until it is on disk. Several processes may
/// append to one file. If the last line of the file was cut short, it stays as it is, and the
/// record begins on a new line.
///
/// # Errors
///
/// Returns the operating system's error if the file cannot be written.
pub fn append(path: &Path, record: &impl Serialize) -> io::Result<()> {
    append_all(path, &[record])
}

/// Appends records as [`append`] does, all by one write; without any, nothing happens.
///
/// # Errors
///
/// Returns the operating system's error if the file cannot be written.
pub fn append_all(path: &Path, records: &[impl Serialize]) -> io::Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let mut file = File::options().create(true).append(true).read(true).open(path)?;
    let mut bytes = Vec::new();
    if !ends_a_line(&mut file)? {
        bytes.push(b'\n');
    }
    for record in records {
        serde_json::to_writer(&mut bytes, record)?;
        bytes.push(b'\n');
    }
    file.write_all(&bytes)?;
    file.sync_data()
}

/// Whether the file ends with a complete line, so that a new record begins a line.
fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Reads all records of a file; none, if there is no file. Lines that were cut short are skipped.
///
/// # Errors
///
/// Returns [`ReadError`] if the file cannot be read, or a line is another record.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ReadError> {
    match std::fs::read(path) {
        Ok(bytes) => parse(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(ReadError::Io(error)),
    }
}

/// Why a file of records cannot be read.
#[derive(Debug)]
pub enum ReadError {
    Io(io::Error),
    /// A line is another record, counted from 1.
    NoRecord {
        line: usize,
    },
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, ReadError> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let mut records = Vec::new();
    for (line, text) in (1..).zip(lines).filter(|(_, text)| !text.is_empty()) {
        match serde_json::from_slice(text) {
            Ok(record) => records.push(record),
            Err(error) if error.is_eof() => {}
            Err(_) => return Err(ReadError::NoRecord { line }),
        }
    }
    Ok(records)
}

/// Follows a file that grows by lines, whether or not it is there yet.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    /// Bytes of whole lines that were read.
    read: u64,
}

impl Tail {
    /// Begins at the start of the file.
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// Reads the whole lines that were added since, of at most 4 MiB together. Those that are no
    /// such record are passed over.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if the file is there and cannot be read.
    pub fn read<T: DeserializeOwned>(&mut self) -> io::Result<Vec<T>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.take(AT_ONCE_BYTES).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.read += whole as u64;
        let lines = bytes[..whole].split(|byte| *byte == b'\n');
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// How much of the file was read, in bytes: a sign of whether it grows.
    pub fn position(&self) -> u64 {
        self.read
    }
}

/// Longer than any line, and little enough to be parsed quickly.
const AT_ONCE_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_short_is_skipped_and_does_not_spoil_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), Vec::<Vec<u32>>::new());
        append(&path, &[1, 2]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..whole.len() - 1 {
            std::fs::write(&path, [&whole[..], &whole[..cut]].concat()).unwrap();
            assert_eq!(read::<Vec<u32>>(&path).unwrap(), [[1, 2]], "cut at {cut}");
            append(&path, &[3]).unwrap();
            assert_eq!(read::<Vec<u32>>(&path).unwrap(), [vec![1, 2], vec![3]], "cut at {cut}");
        }
        std::fs::write(&path, "{}\n").unwrap();
        assert!(read::<Vec<u32>>(&path).is_err(), "another record is none that was cut short");
    }

    #[test]
    fn many_append_at_once_and_every_line_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        std::thread::scope(|scope| {
            for writer in 0..4u32 {
                let path = &path;
                scope.spawn(move || (0..25u32).for_each(|n| append(path, &[writer, n]).unwrap()));
            }
        });
        let mut records: Vec<[u32; 2]> = read(&path).unwrap();
        records.sort_unstable();
        let expected: Vec<[u32; 2]> =
            (0..4).flat_map(|writer| (0..25).map(move |n| [writer, n])).collect();
        assert_eq!(records, expected);
    }

    #[test]
    fn a_file_is_followed_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        let mut tail = Tail::new(path.clone());
        assert_eq!(tail.read::<u32>().unwrap(), Vec::<u32>::new());
        std::fs::write(&path, "1\n2\n{}\n3").unwrap();
        assert_eq!(tail.read::<u32>().unwrap(), [1, 2]);
        assert_eq!(tail.read::<u32>().unwrap(), Vec::<u32>::new());
        std::fs::write(&path, "1\n2\n{}\n34\n").unwrap();
        assert_eq!(tail.read::<u32>().unwrap(), [34]);
        assert_eq!(tail.position(), 10);
    }
}
