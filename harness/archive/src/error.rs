//! Why nothing could be archived, or fetched.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use edges::exit::Exit;

/// Why nothing could be archived, or fetched. Credentials are never in it, nor what a server says
/// about them.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the address {address:?} {fact}")]
    Address { address: String, fact: &'static str },
    #[error(
        "{name:?} cannot be the name of an archive: take letters, digits, . _ and -, with / \
         between parts"
    )]
    Name { name: String },
    #[error("cannot read {}", path.display())]
    Source { path: PathBuf, source: io::Error },
    #[error("{} has no files that could be archived", path.display())]
    Empty { path: PathBuf },
    #[error(
        "{} has a name that cannot be archived: {fact}; rename it", path.display()
    )]
    FileName { path: PathBuf, fact: &'static str },
    #[error(
        "{} changed while it was read: wait until nobody writes to the directory any more, and \
         upload it again", path.display()
    )]
    Changed { path: PathBuf },
    #[error("cannot use the archive in {}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Output { path: PathBuf, source: io::Error },
    #[error("{place} cannot be used: {fact}")]
    Settings { place: String, fact: String },
    #[error("{place} has no bucket of this name; check the address, and the region or endpoint")]
    NoBucket { place: String },
    #[error(
        "{place} may not be used with these credentials: {fact}; an upload has to list, read, \
         write and delete there, a download to read"
    )]
    Denied { place: String, fact: String },
    #[error("{place} does not accept this: {fact}")]
    Refused { place: String, fact: String },
    #[error("{place} does not answer: {fact}")]
    Unreachable { place: String, fact: String },
    #[error(
        "{place}: not done within {} s; the same call goes on where it was cut off",
        limit.as_secs()
    )]
    TimedOut { place: String, limit: Duration },
    #[error(
        "there is no complete archive in {place}: it has no manifest.json, which is written last; \
         check the address, or upload it again"
    )]
    Incomplete { place: String },
    #[error("{place} is no manifest that this version reads: {fact}")]
    Manifest { place: String, fact: String },
    #[error(
        "{place} is not what its manifest lists ({fact}): the archive is damaged, or being \
         replaced; fetch it again, or upload it again"
    )]
    Damaged { place: String, fact: String },
    #[error("{} is not empty: name a directory that is, or is not there yet", path.display())]
    Occupied { path: PathBuf },
    #[error("cannot start")]
    Start { source: io::Error },
}

impl ArchiveError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => Exit::Unreachable,
            _ => Exit::of_cause(self),
        }
    }
}
