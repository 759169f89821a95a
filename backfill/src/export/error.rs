//! Why there is no file.

use std::io;
use std::path::PathBuf;

use parquet::errors::ParquetError;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(
        "cannot tell from its name what {} shall be: end it in .native, .parquet or .ndjson",
        path.display()
    )]
    Ending { path: PathBuf },
    #[error("{} is there already; name another file, or take it away", path.display())]
    Exists { path: PathBuf },
    #[error("cannot make a file in {}; name a folder that you may write to", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error(
        "no space is left for {} after {bytes} bytes, which are taken away again; free some, or \
         name a file on another disk",
        path.display()
    )]
    Full { path: PathBuf, bytes: u64, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot put rows into the form of {}", path.display())]
    Parquet { path: PathBuf, source: ParquetError },
}

/// What a piece cannot be made or written for.
pub(super) enum Fault {
    File(io::Error),
    Parquet(ParquetError),
}
