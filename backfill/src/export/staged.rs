//! A file that gets its final name only when it is complete.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use edges::staged::folder_of;
use parquet::errors::ParquetError;

use crate::export::error::{ExportError, Fault};

/// A file that is written under a temporary name in the same folder. It is deleted, unless it is
/// kept.
pub(super) struct Staged {
    path: PathBuf,
    file: edges::staged::Staged,
    bytes: u64,
}

impl Staged {
    /// Makes the file, if there is none of the final name.
    pub(super) fn create(path: &Path) -> Result<Self, ExportError> {
        refuse_existing(path)?;
        let file = edges::staged::Staged::create(path);
        let file = file
            .map_err(|source| ExportError::Folder { folder: folder_of(path).to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, bytes: 0 })
    }

    /// Waits until the disk has the file, and gives it its name. Returns its size in bytes.
    pub(super) fn keep(self) -> Result<u64, ExportError> {
        // Another process may have taken the name in the meantime.
        refuse_existing(&self.path)?;
        let Self { path, file, bytes } = self;
        file.keep().map_err(|source| failed(&path, bytes, Fault::File(source)))?;
        Ok(bytes)
    }

    /// Says what a fault means for this file.
    pub(super) fn failed(&self, fault: Fault) -> ExportError {
        failed(&self.path, self.bytes, fault)
    }
}

fn failed(path: &Path, bytes: u64, fault: Fault) -> ExportError {
    let own = path.to_owned();
    match fault {
        Fault::File(source) => match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                ExportError::Full { path: own, bytes, source }
            }
            _ => ExportError::Write { path: own, source },
        },
        Fault::Parquet(ParquetError::External(source)) => match source.downcast() {
            Ok(source) => failed(path, bytes, Fault::File(*source)),
            Err(source) => {
                ExportError::Parquet { path: own, source: ParquetError::External(source) }
            }
        },
        Fault::Parquet(source) => ExportError::Parquet { path: own, source },
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Returns an error if a name is taken, even by a broken link.
pub(super) fn refuse_existing(path: &Path) -> Result<(), ExportError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(ExportError::Exists { path: path.to_owned() }),
        Err(_) => Ok(()),
    }
}
