//! Histories as files: the rows that the bulk path inserts, to be loaded elsewhere, without any
//! server here.
//!
//! Pieces of the file are made on all cores while the pieces before them are written, in order:
//! one plan has one file, byte by byte, however many cores there are. The file has its name only
//! when it is whole.

mod error;
mod ndjson;
mod parquet;
mod recorded;
mod staged;

use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use edges::shutdown::{Shutdown, Stop};
use events::script::Script;
use plans::plan::Plan;
use rayon::prelude::*;

use crate::chunk::Chunk;
pub use crate::export::error::ExportError;
use crate::export::error::Fault;
use crate::export::staged::Staged;
use crate::native;
use crate::piece::all_due;
use crate::rows::{Slot, slots};

pub use recorded::{FileReport, export_recorded};

/// Rows of a chunk at most, for [`export`]: more take memory, and no time away.
pub const CHUNK_ROWS: u64 = 100_000;

/// How an export ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exported {
    /// The file is there, on disk.
    Whole(ExportSummary),
    /// The user stopped it: there is no file.
    Stopped,
}

/// What is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportSummary {
    pub rows: u64,
    pub bytes: u64,
}

/// Makes sure, before anything else is begun, that a name says in which format, and is free.
///
/// # Errors
///
/// Returns [`ExportError`] if not.
pub fn check_name(path: &Path) -> Result<(), ExportError> {
    Format::of(path)?;
    staged::refuse_existing(path)
}

/// Writes the chunks of a plan to a file whose ending says in which format, and calls `each` with
/// the number of rows of every piece that is written. Ends early, without a file, if asked to
/// stop.
///
/// # Errors
///
/// Returns [`ExportError`] if the name is not to be used, or the file system refuses; then there
/// is no file either.
pub fn export(
    plan: &Plan,
    path: &Path,
    chunks: &[Chunk],
    shutdown: &Shutdown,
    each: impl FnMut(u64),
) -> Result<Exported, ExportError> {
    let format = Format::of(path)?;
    let mut staged = Staged::create(path)?;
    let source = Source { script: &plan.script, chunks, shutdown };
    let script = &plan.script;
    let rows = match format {
        Format::Native => {
            let columns = native::all_columns();
            let make = |slots: &[Slot]| Ok(native::block(script, slots, &columns));
            let put = |bytes: Vec<u8>| staged.write_all(&bytes).map_err(Fault::File);
            source.pour(STREAMED_ROWS, make, put, each)
        }
        Format::Ndjson => {
            let make = |slots: &[Slot]| Ok(ndjson::lines(script, slots));
            let put = |bytes: Vec<u8>| staged.write_all(&bytes).map_err(Fault::File);
            source.pour(STREAMED_ROWS, make, put, each)
        }
        Format::Parquet => source.pour_parquet(&mut staged, each),
    };
    match rows {
        Err(fault) => Err(staged.failed(fault)),
        Ok(rows) if rows < chunks.iter().map(|chunk| chunk.rows).sum() => Ok(Exported::Stopped),
        Ok(rows) => staged.keep().map(|bytes| Exported::Whole(ExportSummary { rows, bytes })),
    }
}

/// What is written, by the ending of the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Native,
    Parquet,
    Ndjson,
}

impl Format {
    fn of(path: &Path) -> Result<Self, ExportError> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("native") => Ok(Self::Native),
            Some("parquet") => Ok(Self::Parquet),
            Some("ndjson") => Ok(Self::Ndjson),
            _ => Err(ExportError::Ending { path: path.to_owned() }),
        }
    }
}

/// Rows of a block of Native, and lines of JSON that are made in one go, as on the bulk path.
const STREAMED_ROWS: usize = 2_048;

/// Pieces that are made at once, at most, while as many are being written. More would take more
/// memory and gain little: four cores make more than most disks take.
const PIECES_AT_ONCE_MAX: usize = 4;

/// The rows of an export, in order.
struct Source<'s> {
    script: &'s Script,
    chunks: &'s [Chunk],
    shutdown: &'s Shutdown,
}

impl Source<'_> {
    /// Makes pieces on all cores, and hands them over in order. Returns how many rows were handed
    /// over: all, unless it was to stop.
    fn pour<P: Send>(
        &self,
        piece_rows: usize,
        make: impl Fn(&[Slot]) -> Result<P, Fault> + Sync,
        mut put: impl FnMut(P) -> Result<(), Fault>,
        mut each: impl FnMut(u64),
    ) -> Result<u64, Fault> {
        // The channel holds nothing: whoever made a piece waits until it is taken.
        let (sender, receiver) = sync_channel(0);
        std::thread::scope(|scope| {
            let make = &make;
            scope.spawn(move || self.make_all(piece_rows, make, &sender));
            let mut rows = 0;
            for (piece, count) in receiver.into_iter().flatten() {
                put(piece?)?;
                rows += count;
                each(count);
            }
            Ok(rows)
        })
    }

    /// Makes pieces of equal size, whatever the size of chunks; only the last one is smaller.
    fn make_all<P: Send>(
        &self,
        piece_rows: usize,
        make: &(impl Fn(&[Slot]) -> Result<P, Fault> + Sync),
        sender: &SyncSender<Vec<Made<P>>>,
    ) {
        let at_once = rayon::current_num_threads().clamp(1, PIECES_AT_ONCE_MAX);
        let piece = |slots: &[Slot]| (make(slots), slots.len() as u64);
        let mut waiting = Vec::new();
        for chunks in self.chunks.chunks(at_once) {
            let rows = |chunk: &Chunk| slots(self.script, &all_due(self.script, &chunk.due));
            let cut = chunks.par_iter().map(rows);
            waiting.extend(cut.collect::<Vec<_>>().into_iter().flatten());
            let full = waiting.len() - waiting.len() % piece_rows;
            for batch in waiting[..full].chunks(at_once * piece_rows) {
                let batch = batch.par_chunks(piece_rows).map(piece).collect();
                if self.shutdown.stop() != Stop::No || sender.send(batch).is_err() {
                    return;
                }
            }
            waiting.drain(..full);
        }
        if !waiting.is_empty() {
            // If writing has failed, nobody takes the piece.
            sender.send(vec![piece(&waiting)]).ok();
        }
    }

    fn pour_parquet(&self, staged: &mut Staged, each: impl FnMut(u64)) -> Result<u64, Fault> {
        let shape = parquet::Shape::new();
        let mut file = shape.begin(staged).map_err(Fault::Parquet)?;
        let make = |slots: &[Slot]| shape.row_group(self.script, slots).map_err(Fault::Parquet);
        let put = |group| parquet::append(&mut file, group).map_err(Fault::Parquet);
        let rows = self.pour(parquet::ROW_GROUP_ROWS, make, put, each)?;
        file.close().map_err(Fault::Parquet)?;
        Ok(rows)
    }
}

/// A piece, and how many rows it has.
type Made<P> = (Result<P, Fault>, u64);

#[cfg(test)]
mod tests {
    use std::fs;

    use stores::schema::COLUMNS;

    use super::*;
    use crate::chunk::chunks;
    use crate::chunk::tests::plan;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_plan_has_one_file_however_many_cores_make_it() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(9, 12_345);
        let (_asking, shutdown) = Shutdown::manual();
        for ending in ["native", "parquet", "ndjson"] {
            let files = [1, 5].map(|cores| {
                let path = folder.path().join(format!("{cores}.{ending}"));
                let mut rows = 0;
                let chunks = chunks(&plan.script, &(plan.start..plan.end), 700);
                let pool = rayon::ThreadPoolBuilder::new().num_threads(cores).build().unwrap();
                let each = |more| rows += more;
                let exported = pool.install(|| export(&plan, &path, &chunks, &shutdown, each));
                let bytes = fs::metadata(&path).unwrap().len();
                let summary = ExportSummary { rows: 12_345, bytes };
                assert_eq!((exported.unwrap(), rows), (Exported::Whole(summary), 12_345));
                fs::read(path).unwrap()
            });
            assert!(files[0] == files[1], "{ending}: the files differ");
        }
        assert_eq!(names(folder.path()).len(), 6, "nothing is left beside the files");
    }

    #[test]
    fn lines_have_the_columns_in_their_order() {
        let plan = plan(1, 10);
        let events = all_due(&plan.script, &(plan.start..plan.end));
        let lines = ndjson::lines(&plan.script, &slots(&plan.script, &events));
        for line in str::from_utf8(&lines).unwrap().lines() {
            let row: serde_json::Map<_, _> = serde_json::from_str(line).unwrap();
            assert_eq!(row.keys().collect::<Vec<_>>(), COLUMNS.map(|column| column.name));
        }
    }

    #[test]
    fn who_stops_an_export_has_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(9, 50_000);
        let (asking, shutdown) = Shutdown::manual();
        let path = folder.path().join("x.native");
        let stop = |_| {
            asking.send_replace(Stop::Drain);
        };
        let chunks = chunks(&plan.script, &(plan.start..plan.end), 10_000);
        let exported = export(&plan, &path, &chunks, &shutdown, stop);
        assert_eq!(exported.unwrap(), Exported::Stopped);
        assert!(names(folder.path()).is_empty());
    }

    #[track_caller]
    fn check_refused(folder: &Path, name: &str, expected: &str) {
        let (_asking, shutdown) = Shutdown::manual();
        let error = export(&plan(1, 1), &folder.join(name), &[], &shutdown, |_| {}).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn names_that_are_taken_or_cannot_be_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("taken.native"), "mine").unwrap();
        check_refused(folder.path(), "taken.native", "already exists");
        check_refused(folder.path(), "x.csv", "end it in .native, .parquet or .ndjson");
        check_refused(folder.path(), "ndjson", "end it in");
        check_refused(folder.path(), "nowhere/x.native", "cannot make a file in");
        check_refused(Path::new("/proc"), "x.native", "cannot make a file in /proc");
        assert_eq!(fs::read(folder.path().join("taken.native")).unwrap(), b"mine");
    }
}
