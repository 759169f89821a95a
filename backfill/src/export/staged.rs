//! A file that has its name only when it is whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

use crate::export::{ExportError, Fault};

/// A file under a name beside the one that it shall have. It goes, unless it is kept.
pub(super) struct Staged {
    path: PathBuf,
    /// Its name until then.
    waiting: PathBuf,
    folder: PathBuf,
    file: File,
    bytes: u64,
}

impl Staged {
    /// Makes the file, if there is none of the final name.
    pub(super) fn create(path: &Path) -> Result<Self, ExportError> {
        refuse_existing(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let waiting = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        match File::create(&waiting) {
            Ok(file) => Ok(Self { path: path.to_owned(), waiting, folder, file, bytes: 0 }),
            Err(source) => Err(ExportError::Folder { folder, source }),
        }
    }

    /// Waits until the disk has the file, and gives it its name. Returns its size in bytes.
    pub(super) fn keep(self) -> Result<u64, ExportError> {
        let failed = |source| self.failed(Fault::File(source));
        self.file.sync_all().map_err(failed)?;
        // Another may have taken the name in the meantime.
        refuse_existing(&self.path)?;
        fs::rename(&self.waiting, &self.path).map_err(failed)?;
        // The name is in the folder, which reaches the disk by itself.
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(self.bytes)
    }

    /// Says what a fault means for this file.
    pub(super) fn failed(&self, fault: Fault) -> ExportError {
        let path = self.path.clone();
        match fault {
            Fault::File(source) => match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    ExportError::Full { path, bytes: self.bytes, source }
                }
                _ => ExportError::Write { path, source },
            },
            Fault::Parquet(ParquetError::External(source)) => match source.downcast() {
                Ok(source) => self.failed(Fault::File(*source)),
                Err(source) => {
                    ExportError::Parquet { path, source: ParquetError::External(source) }
                }
            },
            Fault::Parquet(source) => ExportError::Parquet { path, source },
        }
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

impl Drop for Staged {
    fn drop(&mut self) {
        // Under its final name, it is not found here.
        fs::remove_file(&self.waiting).ok();
    }
}

/// Returns an error if a name is taken, be it by a link to nowhere.
pub(super) fn refuse_existing(path: &Path) -> Result<(), ExportError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(ExportError::Exists { path: path.to_owned() }),
        Err(_) => Ok(()),
    }
}
