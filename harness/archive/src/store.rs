//! Where an archive is: a bucket or a directory.

use std::path::Path;

use bytes::Bytes;
use edges::staged::Staged;

use crate::address::Address;
use crate::error::ArchiveError;
use crate::folder::Folder;
use crate::manifest::{File, Sum};
use crate::objects::Objects;
use crate::options::Options;
use crate::tree::Found;

/// The place of one archive.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    Folder(Folder),
    Objects(Objects),
}

type Done<T> = Result<T, ArchiveError>;

impl Store {
    pub(crate) fn open(address: &Address, options: Options) -> Done<Self> {
        Ok(match address {
            Address::Folder(path) => Self::Folder(Folder { path: path.clone() }),
            Address::Bucket { service, bucket, path } => {
                let place = address.to_string();
                Self::Objects(Objects::open(*service, (bucket, path), place, options)?)
            }
        })
    }

    /// Ends what earlier uploads have left half done.
    pub(crate) async fn sweep(&self) -> Done<()> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::Objects(objects) => objects.sweep().await,
        }
    }

    /// Reads a small file; nothing, if there is none.
    pub(crate) async fn read(&self, name: &'static str) -> Done<Option<Bytes>> {
        match self {
            Self::Folder(folder) => aside(folder, move |folder| folder.read(name)).await,
            Self::Objects(objects) => objects.read(name).await,
        }
    }

    /// Whether a file is there, with this length and hash.
    pub(crate) async fn has(&self, file: &File) -> Done<bool> {
        match self {
            Self::Folder(folder) => {
                let file = file.clone();
                aside(folder, move |folder| folder.has(&file)).await
            }
            Self::Objects(objects) => objects.has(file).await,
        }
    }

    /// Returns the first of these files that is not there, or has another length.
    pub(crate) async fn missing(&self, files: &[File]) -> Done<Option<String>> {
        match self {
            Self::Folder(folder) => {
                for file in files {
                    if folder.bytes_of(file)? != Some(file.bytes) {
                        return Ok(Some(file.path.clone()));
                    }
                }
                Ok(None)
            }
            Self::Objects(objects) => objects.missing(files).await,
        }
    }

    /// Sends a file.
    pub(crate) async fn put(&self, file: &File, found: &Found) -> Done<()> {
        match self {
            Self::Folder(folder) => {
                let (file, found) = (file.clone(), found.clone());
                aside(folder, move |folder| folder.put(&file, &found)).await
            }
            Self::Objects(objects) => objects.put(file, found).await,
        }
    }

    pub(crate) async fn put_bytes(&self, name: &'static str, bytes: Vec<u8>) -> Done<()> {
        match self {
            Self::Folder(folder) => {
                aside(folder, move |folder| folder.put_bytes(name, &bytes)).await
            }
            Self::Objects(objects) => objects.put_bytes(name, bytes.into()).await,
        }
    }

    pub(crate) async fn delete(&self, name: &'static str) -> Done<()> {
        match self {
            Self::Folder(folder) => folder.delete(name),
            Self::Objects(objects) => objects.delete(name).await,
        }
    }

    /// Fetches a file, and returns its sum; nothing, if there is none.
    pub(crate) async fn fetch(
        &self,
        file: &File,
        staged: &mut Staged,
        path: &Path,
    ) -> Done<Option<Sum>> {
        match self {
            Self::Folder(folder) => folder.fetch(file, staged, path),
            Self::Objects(objects) => objects.fetch(file, (staged, path)).await,
        }
    }
}

/// Works on files without holding up others.
async fn aside<T: Send + 'static>(
    folder: &Folder,
    work: impl FnOnce(&Folder) -> T + Send + 'static,
) -> T {
    let folder = folder.clone();
    match tokio::task::spawn_blocking(move || work(&folder)).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
