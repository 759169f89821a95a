//! Run directories that may be archived ones.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::ArchiveError;
use crate::open::download;
use crate::options::Options;

/// A directory on this machine. One that was fetched is deleted with it.
#[derive(Debug)]
pub struct Local {
    path: PathBuf,
    fetched: Option<TempDir>,
}

impl Local {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a copy of an archive, in which nothing that is written lasts.
    pub fn is_fetched(&self) -> bool {
        self.fetched.is_some()
    }
}

/// Whether a text is the address of an archive, and not a path.
pub fn is_address(text: impl AsRef<Path>) -> bool {
    address(text.as_ref()).is_some()
}

fn address(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let schemes = ["file://", "s3://", "gs://", "az://"];
    schemes.iter().any(|scheme| text.starts_with(scheme)).then_some(text)
}

/// Returns a directory: a path as it is, and the archive at an address as a copy of it that was
/// fetched and checked. It must not be called from an asynchronous task.
///
/// # Errors
///
/// Returns [`ArchiveError`] if the archive cannot be fetched.
pub fn local(text: impl AsRef<Path>) -> Result<Local, ArchiveError> {
    let path = text.as_ref();
    let Some(text) = address(path) else {
        return Ok(Local { path: path.to_owned(), fetched: None });
    };
    let start = |source| ArchiveError::Start { source };
    let dir = tempfile::Builder::new().prefix("auditstorm-").tempdir().map_err(start)?;
    // The last part of the address, so that tables and pages show what they usually show.
    let name = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let path = dir.path().join(name);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().map_err(start)?;
    runtime.block_on(download(text, &path, Options::default()))?;
    Ok(Local { path, fetched: Some(dir) })
}
