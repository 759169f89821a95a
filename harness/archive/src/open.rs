//! The archives of an address.

use std::path::Path;
use std::time::Duration;

use crate::address::Address;
use crate::download::{self, Downloaded};
use crate::error::ArchiveError;
use crate::options::Options;
use crate::store::Store;
use crate::upload::{self, Uploaded};

/// A place for archives.
#[derive(Debug, Clone)]
pub struct Archive {
    address: Address,
    options: Options,
}

impl Archive {
    /// Reads an address: a directory, `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix`
    /// or `az://container/prefix`. Nothing is asked yet, but settings and credentials in the
    /// environment are checked as far as they can be.
    ///
    /// # Errors
    ///
    /// Returns [`ArchiveError`] if it is no address, or the environment lacks what it needs.
    pub fn open(address: &str, options: Options) -> Result<Self, ArchiveError> {
        let address = Address::read(address)?;
        Store::open(&address, options)?;
        Ok(Self { address, options })
    }

    /// Uploads a directory with all that is in it, under a name. What is there already is not sent
    /// again, and an upload that was cut off is finished. Only one process at a time may upload
    /// under a name.
    ///
    /// Files whose names begin with a dot are left out: no result has such a name.
    ///
    /// # Errors
    ///
    /// Returns [`ArchiveError`] if the directory cannot be read, somebody writes to it meanwhile,
    /// or the store fails for longer than it is tried again. Then the archive has no manifest, or
    /// the old one if nothing that it lists was touched.
    pub async fn upload(&self, dir: &Path, name: &str) -> Result<Uploaded, ArchiveError> {
        let address = self.address.join(name)?;
        let store = Store::open(&address, self.options)?;
        let to = (address.to_string(), self.options.lanes);
        self.within(&address, Box::pin(upload::upload(&store, to, dir))).await
    }

    /// Fetches the archive that is at the address itself into a directory, and checks each file.
    /// The directory must be empty, or have only what an earlier download of it has left there.
    ///
    /// # Errors
    ///
    /// Returns [`ArchiveError`] if there is no complete archive, it is not what its manifest says,
    /// or it cannot be fetched or written.
    pub async fn download(&self, into: &Path) -> Result<Downloaded, ArchiveError> {
        let store = Store::open(&self.address, self.options)?;
        let address = self.address.to_string();
        let work = download::download(&store, (&address, self.options.lanes), into);
        self.within(&self.address, Box::pin(work)).await
    }

    async fn within<T>(
        &self,
        address: &Address,
        work: impl Future<Output = Result<T, ArchiveError>>,
    ) -> Result<T, ArchiveError> {
        let limit: Duration = self.options.total;
        let late = |_| ArchiveError::TimedOut { place: address.to_string(), limit };
        tokio::time::timeout(limit, work).await.map_err(late)?
    }
}

/// Fetches the archive at an address into a directory: see [`Archive::download`].
///
/// # Errors
///
/// Returns [`ArchiveError`] as [`Archive::open`] and [`Archive::download`] do.
pub async fn download(
    address: &str,
    into: &Path,
    options: Options,
) -> Result<Downloaded, ArchiveError> {
    Archive::open(address, options)?.download(into).await
}
