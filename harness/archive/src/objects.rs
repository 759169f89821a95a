//! An archive in a bucket.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use edges::staged::Staged;
use futures_util::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{
    Attribute, AttributeValue, Attributes, Error, GetOptions, ObjectStore, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, RetryConfig,
};
use serde::{Deserialize, Serialize};

use crate::address::Service;
use crate::error::ArchiveError;
use crate::fault::fault;
use crate::http::Connector;
use crate::manifest::{File, MANIFEST_BYTES_MAX, Sum, sha256};
use crate::options::Options;
use crate::tree::{Found, Reader};

/// An archive in a bucket.
///
/// Each object bears the SHA-256 of its file as metadata, which it has from its first moment on. So
/// a later upload can tell what it need not send again, wherever it runs.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Where uploads in parts have names, so that those of a killed process can be ended. Azure
    /// deletes the parts of such uploads itself, after a week.
    parted: Option<Parted>,
    /// The archive's place in the bucket.
    root: Key,
    /// Its address, for errors.
    place: String,
    options: Options,
}

#[derive(Clone)]
pub(crate) struct Parted(Arc<dyn MultipartStore>);

impl std::fmt::Debug for Parted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parted")
    }
}

/// An upload in parts that was begun: an object beside the archive's, until the upload ends.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    path: String,
    upload: String,
}

type Done<T> = Result<T, ArchiveError>;

impl Objects {
    /// Makes a client for a bucket. Its settings and credentials come from the environment.
    pub(crate) fn open(
        service: Service,
        (bucket, path): (&str, &str),
        place: String,
        options: Options,
    ) -> Done<Self> {
        let connector = Connector { limit: options.request };
        let retry = RetryConfig { retry_timeout: options.patience, ..RetryConfig::default() };
        let wrong = |error: Error| settings(&place, &error);
        let (store, parted): (Arc<dyn ObjectStore>, Option<Arc<dyn MultipartStore>>) = match service
        {
            Service::S3 => {
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
                let builder = builder.with_http_connector(connector).with_retry(retry);
                let store = Arc::new(builder.build().map_err(wrong)?);
                (Arc::clone(&store) as _, Some(store))
            }
            Service::Google => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
                let builder = builder.with_http_connector(connector).with_retry(retry);
                let store = Arc::new(builder.build().map_err(wrong)?);
                (Arc::clone(&store) as _, Some(store))
            }
            Service::Azure => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
                let builder = builder.with_http_connector(connector).with_retry(retry);
                (Arc::new(builder.build().map_err(wrong)?), None)
            }
        };
        Ok(Self::new((store, parted), path, place, options))
    }

    /// A bucket of a server that speaks S3 over plain HTTP.
    #[cfg(test)]
    pub(crate) fn s3_for_tests(endpoint: &str, place: &str, options: Options) -> Self {
        let retry = RetryConfig { retry_timeout: options.patience, ..RetryConfig::default() };
        let builder = AmazonS3Builder::new().with_bucket_name("bucket").with_endpoint(endpoint);
        let builder = builder.with_access_key_id("key").with_secret_access_key("SECRET");
        let builder = builder.with_allow_http(true).with_retry(retry);
        let connector = Connector { limit: options.request };
        let store = Arc::new(builder.with_http_connector(connector).build().unwrap());
        Self::new((Arc::clone(&store) as _, Some(store)), "runs/1", place.to_owned(), options)
    }

    pub(crate) fn new(
        (store, parted): (Arc<dyn ObjectStore>, Option<Arc<dyn MultipartStore>>),
        path: &str,
        place: String,
        options: Options,
    ) -> Self {
        Self { store, parted: parted.map(Parted), root: Key::from(path), place, options }
    }

    /// Reads a small object; nothing, if there is none.
    pub(crate) async fn read(&self, name: &str) -> Done<Option<Bytes>> {
        let Some(found) = self.if_any(self.store.get(&self.key(name)).await)? else {
            return Ok(None);
        };
        if found.meta.size > MANIFEST_BYTES_MAX {
            let fact = format!("it has {} bytes", found.meta.size);
            return Err(ArchiveError::Manifest { place: self.place.clone(), fact });
        }
        found.bytes().await.map(Some).map_err(|error| self.fault(&error))
    }

    /// Whether a file is there, with this length and hash.
    pub(crate) async fn has(&self, file: &File) -> Done<bool> {
        let head = GetOptions { head: true, ..GetOptions::default() };
        let asked = self.store.get_opts(&self.key(&file.path), head).await;
        Ok(self.if_any(asked)?.is_some_and(|found| {
            let hash = found.attributes.get(&HASH);
            found.meta.size == file.bytes && hash.is_some_and(|hash| **hash == *file.sha256)
        }))
    }

    /// Returns the first of these files that is not there, or has another length.
    pub(crate) async fn missing(&self, files: &[File]) -> Done<Option<String>> {
        let listed = self.store.list(Some(&self.root)).map_ok(|it| (it.location, it.size));
        let sizes: HashMap<Key, u64> =
            listed.try_collect().await.map_err(|error| self.fault(&error))?;
        let is_missing = |file: &&File| sizes.get(&self.key(&file.path)) != Some(&file.bytes);
        Ok(files.iter().find(is_missing).map(|file| file.path.clone()))
    }

    /// Sends a file.
    pub(crate) async fn put(&self, file: &File, found: &Found) -> Done<()> {
        let reader = Reader::open(found)?;
        if file.bytes > u64::try_from(self.options.part_bytes).unwrap_or(u64::MAX) {
            return self.put_parts(file, reader).await;
        }
        let length = usize::try_from(file.bytes).unwrap_or(usize::MAX);
        // One byte more, so that the end of the file is seen.
        let (reader, bytes) = read(reader, length.saturating_add(1)).await?;
        check(reader, file, found)?;
        let options = PutOptions { attributes: attributes(file), ..PutOptions::default() };
        let sent = self.store.put_opts(&self.key(&file.path), bytes.into(), options).await;
        sent.map(|_| ()).map_err(|error| self.fault(&error))
    }

    async fn put_parts(&self, file: &File, reader: Reader) -> Done<()> {
        let most = file.bytes.div_ceil(PARTS_MAX);
        let part_bytes = usize::try_from(most).unwrap_or(usize::MAX).max(self.options.part_bytes);
        match &self.parted {
            Some(Parted(store)) => self.put_named(store, (file, part_bytes), reader).await,
            None => self.put_unnamed((file, part_bytes), reader).await,
        }
    }

    async fn put_named(
        &self,
        store: &Arc<dyn MultipartStore>,
        (file, part_bytes): (&File, usize),
        mut reader: Reader,
    ) -> Done<()> {
        let (key, mut parts) = (self.key(&file.path), Vec::new());
        let failed = |error: Error| self.fault(&error);
        let found = reader.found().clone();
        let options =
            PutMultipartOptions { attributes: attributes(file), ..PutMultipartOptions::default() };
        let upload = store.create_multipart_opts(&key, options).await.map_err(failed)?;
        let begun = Begun { path: file.path.clone(), upload: upload.clone() };
        let begun_key = self.begun().join(sha256(file.path.as_bytes()));
        let text = serde_json::to_vec(&begun).expect("it has strings alone");
        self.store.put(&begun_key, text.into()).await.map_err(failed)?;
        loop {
            let (again, piece) = read(reader, part_bytes).await?;
            reader = again;
            if piece.is_empty() {
                break;
            }
            let part = store.put_part(&key, &upload, parts.len(), piece.into()).await;
            parts.push(part.map_err(failed)?);
        }
        check(reader, file, &found)?;
        store.complete_multipart(&key, &upload, parts).await.map_err(failed)?;
        self.if_any(self.store.delete(&begun_key).await).map(|_| ())
    }

    async fn put_unnamed(
        &self,
        (file, part_bytes): (&File, usize),
        mut reader: Reader,
    ) -> Done<()> {
        let failed = |error: Error| self.fault(&error);
        let found = reader.found().clone();
        let options =
            PutMultipartOptions { attributes: attributes(file), ..PutMultipartOptions::default() };
        let begun = self.store.put_multipart_opts(&self.key(&file.path), options).await;
        let mut upload = begun.map_err(failed)?;
        loop {
            let (again, piece) = read(reader, part_bytes).await?;
            reader = again;
            if piece.is_empty() {
                break;
            }
            upload.put_part(piece.into()).await.map_err(failed)?;
        }
        check(reader, file, &found)?;
        upload.complete().await.map(|_| ()).map_err(failed)
    }

    /// Ends uploads in parts that were cut off, so that nobody pays for their parts.
    pub(crate) async fn sweep(&self) -> Done<()> {
        let Some(Parted(parted)) = &self.parted else { return Ok(()) };
        let listed = self.store.list(Some(&self.begun()));
        let listed: Vec<Key> = listed
            .map_ok(|it| it.location)
            .try_collect()
            .await
            .map_err(|error| self.fault(&error))?;
        for key in listed {
            let Some(found) = self.if_any(self.store.get(&key).await)? else { continue };
            let text = found.bytes().await.map_err(|error| self.fault(&error))?;
            if let Ok(Begun { path, upload }) = serde_json::from_slice(&text) {
                match self.if_any(parted.abort_multipart(&self.key(&path), &upload).await) {
                    // It ended before its note could be deleted. Not all stores say so alike.
                    Ok(_) | Err(ArchiveError::Refused { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            self.if_any(self.store.delete(&key).await)?;
        }
        Ok(())
    }

    pub(crate) async fn put_bytes(&self, name: &str, bytes: Bytes) -> Done<()> {
        let sent = self.store.put(&self.key(name), bytes.into()).await;
        sent.map(|_| ()).map_err(|error| self.fault(&error))
    }

    pub(crate) async fn delete(&self, name: &str) -> Done<()> {
        self.if_any(self.store.delete(&self.key(name)).await).map(|_| ())
    }

    /// Fetches a file, and returns its sum; nothing, if there is none.
    pub(crate) async fn fetch(
        &self,
        file: &File,
        (staged, path): (&mut Staged, &Path),
    ) -> Done<Option<Sum>> {
        let Some(found) = self.if_any(self.store.get(&self.key(&file.path)).await)? else {
            return Ok(None);
        };
        let (mut sum, mut pieces) = (Sum::default(), found.into_stream());
        // What is longer than the manifest says is not the file.
        while sum.bytes() <= file.bytes {
            let next = tokio::time::timeout(self.options.request, pieces.try_next()).await;
            let silent = || {
                let (place, fact) = (self.place.clone(), "it fell silent in an answer".to_owned());
                ArchiveError::Unreachable { place, fact }
            };
            let next = next.map_err(|_| silent())?;
            let Some(piece) = next.map_err(|error| self.fault(&error))? else { break };
            sum.add(&piece);
            staged
                .write_all(&piece)
                .map_err(|source| ArchiveError::Output { path: path.to_owned(), source })?;
        }
        Ok(Some(sum))
    }

    fn key(&self, name: &str) -> Key {
        name.split('/').fold(self.root.clone(), Key::join)
    }

    fn begun(&self) -> Key {
        self.root.clone().join(BEGUN)
    }

    fn if_any<T>(&self, done: Result<T, Error>) -> Done<Option<T>> {
        match done {
            Ok(value) => Ok(Some(value)),
            Err(error) => match (self.fault(&error), error) {
                (missing @ ArchiveError::NoBucket { .. }, _) => Err(missing),
                (_, Error::NotFound { .. }) => Ok(None),
                (fault, _) => Err(fault),
            },
        }
    }

    fn fault(&self, error: &Error) -> ArchiveError {
        fault(&self.place, error)
    }
}

const HASH: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("sha256"));

/// Where uploads in parts are noted that have not ended. No file of an archive is hidden.
const BEGUN: &str = ".uploads";

/// Stores take 10,000.
const PARTS_MAX: u64 = 9_000;

fn attributes(file: &File) -> Attributes {
    Attributes::from_iter([(HASH, AttributeValue::from(file.sha256.clone()))])
}

/// Reads from a file without holding up others.
async fn read(mut reader: Reader, bytes: usize) -> Done<(Reader, Bytes)> {
    let work = move || reader.read(bytes).map(|piece| (reader, piece));
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

fn check(reader: Reader, file: &File, found: &Found) -> Done<()> {
    let is_same = reader.finish()? == file.sha256;
    is_same.then_some(()).ok_or_else(|| ArchiveError::Changed { path: found.path.clone() })
}

/// What is wrong with the settings of a store. They may hold secrets, so that only a few words of
/// the library are repeated.
fn settings(place: &str, error: &Error) -> ArchiveError {
    let text = error.to_string();
    let missing = text.split(": ").find(|part| part.starts_with("Missing")).unwrap_or_default();
    let hint = "check its variables in the environment (AWS_…, GOOGLE_…, AZURE_…)";
    let fact = if missing.is_empty() { hint.to_owned() } else { format!("{missing}; {hint}") };
    ArchiveError::Settings { place: place.to_owned(), fact }
}
