//! Fetches an archive, and checks every byte of it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use edges::staged::{Staged, folder_of};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::error::ArchiveError;
use crate::manifest::{File, MANIFEST_FILE, Manifest};
use crate::store::Store;
use crate::tree::{Tree, sha256_of};

/// What a download did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downloaded {
    pub files: u64,
    pub bytes: u64,
}

/// Fetches an archive into a directory that is empty, is not there yet, or has only what an earlier
/// download of the same archive has left there.
pub(crate) async fn download(
    store: &Store,
    (address, lanes): (&str, usize),
    into: &Path,
) -> Result<Downloaded, ArchiveError> {
    let place = || address.to_owned();
    let text = store.read(MANIFEST_FILE).await?;
    let text = text.ok_or_else(|| ArchiveError::Incomplete { place: place() })?;
    let manifest = Manifest::read(&text).map_err(|fact| ArchiveError::Manifest {
        place: format!("{address}/{MANIFEST_FILE}"),
        fact,
    })?;
    let output = |source| ArchiveError::Output { path: into.to_owned(), source };
    fs::create_dir_all(into).map_err(output)?;
    let there = already(into, &manifest)?;
    let lacking = manifest.files.iter().filter(|file| !there.contains(&file.path));
    let fetched = lacking.map(|file| fetch(store, address, file, into));
    let fetched = stream::iter(fetched).buffer_unordered(lanes.max(1));
    fetched.try_collect::<()>().await?;
    let files = u64::try_from(manifest.files.len()).unwrap_or(u64::MAX);
    Ok(Downloaded { files, bytes: manifest.bytes() })
}

/// Returns the files of the archive that a directory has already.
fn already(into: &Path, manifest: &Manifest) -> Result<BTreeSet<String>, ArchiveError> {
    let tree = match Tree::read(into) {
        Ok(tree) => tree,
        Err(ArchiveError::Empty { .. }) => Tree::default(),
        Err(error) => return Err(error),
    };
    let occupied = || ArchiveError::Occupied { path: into.to_owned() };
    let mut there = BTreeSet::new();
    for found in &tree.files {
        let listed = manifest.files.iter().find(|file| file.path == found.name);
        let listed = listed.ok_or_else(occupied)?;
        if listed.bytes != found.stamp.bytes || sha256_of(found)? != listed.sha256 {
            return Err(occupied());
        }
        there.insert(found.name.clone());
    }
    if tree.left_out.is_empty() { Ok(there) } else { Err(occupied()) }
}

async fn fetch(store: &Store, address: &str, file: &File, into: &Path) -> Result<(), ArchiveError> {
    let path = into.join(&file.path);
    let output = |source: io::Error| ArchiveError::Output { path: path.clone(), source };
    fs::create_dir_all(folder_of(&path)).map_err(output)?;
    let mut staged = Staged::create(&path).map_err(output)?;
    let damaged = |what: &str| ArchiveError::Damaged {
        place: address.to_owned(),
        fact: format!("{} {what}", file.path),
    };
    let sum = store.fetch(file, &mut staged, &path).await?;
    let sum = sum.ok_or_else(|| damaged("is missing"))?;
    if sum.bytes() != file.bytes {
        return Err(damaged("has another length"));
    }
    if sum.hex() != file.sha256 {
        return Err(damaged("has another SHA-256"));
    }
    staged.keep().map_err(output)
}
