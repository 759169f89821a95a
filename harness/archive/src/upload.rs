//! Uploads a directory: first what the archive lacks, last the manifest.

use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::error::ArchiveError;
use crate::manifest::{File, MANIFEST_FILE, Manifest};
use crate::store::Store;
use crate::tree::{Found, Tree, sha256_of};

/// What an upload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// Where the archive is: what a download takes.
    pub address: String,
    pub files: u64,
    pub bytes: u64,
    /// Those that were not there already.
    pub files_sent: u64,
    pub bytes_sent: u64,
    /// Links, pipes and the like, which are not archived.
    pub left_out: Vec<PathBuf>,
}

/// Uploads a directory.
pub(crate) async fn upload(
    store: &Store,
    (address, lanes): (String, usize),
    dir: &Path,
) -> Result<Uploaded, ArchiveError> {
    let tree = Tree::read(dir)?;
    let files = sums(&tree.files, lanes).await?;
    let manifest = Manifest::new(files);
    store.sweep().await?;
    let lacking = lacking(store, &tree.files, &manifest.files, lanes).await?;
    let there = store.read(MANIFEST_FILE).await?;
    let is_listed = there.is_some_and(|text| Manifest::read(&text).as_ref() == Ok(&manifest));
    if !is_listed || !lacking.is_empty() {
        // Before anything that it lists is replaced.
        store.delete(MANIFEST_FILE).await?;
        let sent = send(store, &lacking, lanes).await;
        if sent.is_err() {
            // The error is that of the sending. What this cannot end, the next upload will.
            drop(store.sweep().await);
        }
        sent?;
    }
    if let Some(path) = store.missing(&manifest.files).await? {
        let fact = format!("{path} is missing, or has another length, though it was sent");
        return Err(ArchiveError::Damaged { place: address, fact });
    }
    if let Some(path) = changed(&tree, &Tree::read(dir)?) {
        return Err(ArchiveError::Changed { path });
    }
    if !is_listed || !lacking.is_empty() {
        store.put_bytes(MANIFEST_FILE, manifest.to_json()).await?;
    }
    Ok(Uploaded {
        address,
        files: count(manifest.files.len()),
        bytes: manifest.bytes(),
        files_sent: count(lacking.len()),
        bytes_sent: lacking.iter().map(|(file, _)| file.bytes).sum(),
        left_out: tree.left_out,
    })
}

async fn sums(files: &[Found], lanes: usize) -> Result<Vec<File>, ArchiveError> {
    let sum = |found: Found| async move {
        let work = move || {
            let sha256 = sha256_of(&found)?;
            Ok(File { path: found.name, bytes: found.stamp.bytes, sha256 })
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    };
    stream::iter(files.to_vec()).map(sum).buffered(lanes.max(1)).try_collect().await
}

/// Returns the files that the archive does not have.
async fn lacking<'a>(
    store: &Store,
    found: &'a [Found],
    files: &'a [File],
    lanes: usize,
) -> Result<Vec<(&'a File, &'a Found)>, ArchiveError> {
    let mut lacking = Vec::new();
    let asked = files
        .iter()
        .zip(found)
        .map(|(file, found)| async move { store.has(file).await.map(|has| (has, file, found)) });
    let mut asked = stream::iter(asked).buffered(lanes.max(1));
    while let Some((has, file, found)) = asked.try_next().await? {
        if !has {
            lacking.push((file, found));
        }
    }
    Ok(lacking)
}

async fn send(
    store: &Store,
    lacking: &[(&File, &Found)],
    lanes: usize,
) -> Result<(), ArchiveError> {
    let sent = lacking.iter().map(|(file, found)| store.put(file, found));
    stream::iter(sent).buffer_unordered(lanes.max(1)).try_collect().await
}

/// Returns the first file that is not as it was, is new, or has gone.
fn changed(before: &Tree, after: &Tree) -> Option<PathBuf> {
    let differs = |one: &Tree, other: &Tree| {
        let is_new = |found: &&Found| !other.files.contains(found);
        one.files.iter().find(is_new).map(|found| found.path.clone())
    };
    differs(before, after).or_else(|| differs(after, before))
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}
