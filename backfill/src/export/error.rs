//! Why there is no file.

use std::io;
use std::path::PathBuf;

use parquet::errors::ParquetError;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(
        "the name of {} does not say its format: end it in .native, .parquet or .ndjson",
        path.display()
    )]
    Ending { path: PathBuf },
    #[error("{} already exists; name another file, or remove it", path.display())]
    Exists { path: PathBuf },
    #[error("cannot make a file in {}; name a folder that you may write to", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error(
        "no space is left for {} after {bytes} bytes, and the file was removed; free some space, \
         or name a file on another disk",
        path.display()
    )]
    Full { path: PathBuf, bytes: u64, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot convert rows to the format of {}", path.display())]
    Parquet { path: PathBuf, source: ParquetError },
}

/// What a piece cannot be made or written for.
pub(super) enum Fault {
    File(io::Error),
    Parquet(ParquetError),
}
