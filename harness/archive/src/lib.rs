//! Keeps directories of results where they outlive the machine: in a bucket of S3, Google Cloud
//! Storage or Azure, or in a directory elsewhere.
//!
//! An archive has each file of the directory as it is, and a manifest with the length and SHA-256
//! of each. The manifest is written last, and goes first when files are to be replaced: where it
//! is, all that it lists is there. An upload that was cut off is finished by the next one.
//!
//! ```rust
//! use archive::{Archive, Options};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # let (run, far, here) = [(); 3].map(|()| tempfile::tempdir().unwrap()).into();
//! # std::fs::write(run.path().join("run.json"), "{}").unwrap();
//! # runtime.block_on(async {
//! let address = far.path().to_str().unwrap(); // Or s3://bucket/prefix, gs://…, az://….
//! let kept = Archive::open(address, Options::default())?.upload(run.path(), "runs/1").await?;
//! assert_eq!((kept.files, kept.files_sent), (1, 1));
//!
//! archive::download(&kept.address, here.path(), Options::default()).await?;
//! assert_eq!(std::fs::read(here.path().join("run.json")).unwrap(), b"{}");
//! # Ok::<(), archive::ArchiveError>(())
//! # }).unwrap();
//! ```

mod address;
mod download;
mod error;
mod fault;
#[cfg(test)]
mod faulty;
mod folder;
mod http;
mod local;
mod manifest;
mod objects;
mod open;
mod options;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod upload;

pub use self::download::Downloaded;
pub use self::error::ArchiveError;
pub use self::local::{Local, is_address, local};
pub use self::manifest::MANIFEST_FILE;
pub use self::open::{Archive, download};
pub use self::options::Options;
pub use self::upload::Uploaded;
