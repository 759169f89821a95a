//! An archive in a directory.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use edges::staged::{Staged, folder_of, write_whole};

use crate::error::ArchiveError;
use crate::manifest::{self, MANIFEST_BYTES_MAX, Sum};
use crate::tree::{Found, PIECE_BYTES, Reader};

/// An archive in a directory. Nobody ever sees half a file in it.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl Folder {
    /// Reads a small file; nothing, if there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Bytes>, ArchiveError> {
        let read = || {
            let mut text = Vec::new();
            let file = File::open(self.path.join(name))?;
            file.take(MANIFEST_BYTES_MAX).read_to_end(&mut text)?;
            Ok(Bytes::from(text))
        };
        self.if_any(read())
    }

    /// Whether a file is there, with this length and hash.
    pub(crate) fn has(&self, file: &manifest::File) -> Result<bool, ArchiveError> {
        if self.bytes_of(file)? != Some(file.bytes) {
            return Ok(false);
        }
        let sum = || {
            let mut sum = Sum::default();
            copy(&mut File::open(self.path.join(&file.path))?, &mut io::sink(), &mut sum)?;
            Ok(sum)
        };
        let sum = self.if_any(sum())?;
        Ok(sum.is_some_and(|sum| sum.hex() == file.sha256))
    }

    /// The length of a file that is there.
    pub(crate) fn bytes_of(&self, file: &manifest::File) -> Result<Option<u64>, ArchiveError> {
        let metadata = self.if_any(fs::metadata(self.path.join(&file.path)))?;
        Ok(metadata.map(|metadata| metadata.len()))
    }

    /// Copies a file into the archive.
    pub(crate) fn put(&self, file: &manifest::File, found: &Found) -> Result<(), ArchiveError> {
        let path = self.path.join(&file.path);
        let failed = |source: io::Error| self.error(source);
        fs::create_dir_all(folder_of(&path)).map_err(failed)?;
        let mut staged = Staged::create(&path).map_err(failed)?;
        let mut reader = Reader::open(found)?;
        loop {
            let piece = reader.read(PIECE_BYTES)?;
            if piece.is_empty() {
                break;
            }
            staged.write_all(&piece).map_err(failed)?;
        }
        if reader.finish()? != file.sha256 {
            return Err(ArchiveError::Changed { path: found.path.clone() });
        }
        staged.keep().map_err(failed)
    }

    pub(crate) fn put_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        write_whole(&self.path.join(name), bytes).map_err(|source| self.error(source))
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), ArchiveError> {
        self.if_any(fs::remove_file(self.path.join(name))).map(|_| ())
    }

    /// Copies a file out of the archive, and returns its sum; nothing, if there is none.
    pub(crate) fn fetch(
        &self,
        file: &manifest::File,
        staged: &mut Staged,
        path: &Path,
    ) -> Result<Option<Sum>, ArchiveError> {
        let opened = self.if_any(File::open(self.path.join(&file.path)))?;
        let Some(mut from) = opened else { return Ok(None) };
        let mut sum = Sum::default();
        copy(&mut from, staged, &mut sum)
            .map_err(|source| ArchiveError::Output { path: path.to_owned(), source })?;
        Ok(Some(sum))
    }

    fn if_any<T>(&self, done: io::Result<T>) -> Result<Option<T>, ArchiveError> {
        match done {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.error(source)),
        }
    }

    fn error(&self, source: io::Error) -> ArchiveError {
        ArchiveError::Folder { path: self.path.clone(), source }
    }
}

fn copy(from: &mut File, to: &mut dyn io::Write, sum: &mut Sum) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                sum.add(&piece[..read]);
                to.write_all(&piece[..read])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
