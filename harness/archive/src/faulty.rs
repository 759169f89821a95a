//! A store in memory that fails as it is told to. For tests.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Put,
    Part,
    Complete,
    Abort,
    Get,
    List,
    Delete,
}

type Rule = Box<dyn Fn(Ask, &str) -> Option<Error> + Send + Sync>;

/// A store that fails where a rule says so, and counts what it is asked.
pub(crate) struct Faulty {
    inner: Arc<InMemory>,
    rule: Mutex<Rule>,
    pub(crate) asked: Mutex<Vec<(Ask, String)>>,
    /// Uploads that have parts, and have neither been completed nor aborted.
    pub(crate) open: Mutex<BTreeSet<MultipartId>>,
}

impl Faulty {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::default(),
            rule: Mutex::new(Box::new(|_, _| None)),
            asked: Mutex::default(),
            open: Mutex::default(),
        })
    }

    /// From now on it fails where the rule says so.
    pub(crate) fn obey(&self, rule: impl Fn(Ask, &str) -> Option<Error> + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
        self.asked.lock().unwrap().clear();
    }

    /// From now on it fails at the n-th question of a kind, and at all after it: it is cut off.
    pub(crate) fn cut_off_at(&self, ask: Ask, number: usize) {
        let count = Mutex::new(0);
        self.obey(move |asked, _| {
            let mut count = count.lock().unwrap();
            *count += usize::from(asked == ask || *count >= number);
            (*count >= number).then(|| gone("Connection reset by peer"))
        });
    }

    pub(crate) fn count(&self, ask: Ask) -> usize {
        self.asked.lock().unwrap().iter().filter(|(asked, _)| *asked == ask).count()
    }

    fn ask(&self, ask: Ask, key: &Key) -> Result<()> {
        let error = (self.rule.lock().unwrap())(ask, key.as_ref());
        self.asked.lock().unwrap().push((ask, key.to_string()));
        error.map_or(Ok(()), Err)
    }
}

/// The error of a server that does not answer.
pub(crate) fn gone(text: &'static str) -> Error {
    use object_store::client::{HttpError, HttpErrorKind};
    let source = HttpError::new_boxed(HttpErrorKind::Interrupted, text.into());
    Error::Generic { store: "faulty", source: Box::new(source) }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, at: &Key, bytes: PutPayload, how: PutOptions) -> Result<PutResult> {
        self.ask(Ask::Put, at)?;
        self.inner.put_opts(at, bytes, how).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Key,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.ask(Ask::Part, at)?;
        self.inner.put_multipart_opts(at, how).await
    }

    async fn get_opts(&self, at: &Key, how: GetOptions) -> Result<GetResult> {
        self.ask(Ask::Get, at)?;
        self.inner.get_opts(at, how).await
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, Result<Key>>,
    ) -> BoxStream<'static, Result<Key>> {
        if let Err(error) = self.ask(Ask::Delete, &Key::ROOT) {
            return stream::iter([Err(error)]).boxed();
        }
        self.inner.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(error) = self.ask(Ask::List, prefix.unwrap_or(&Key::ROOT)) {
            return stream::iter([Err(error)]).boxed();
        }
        self.inner.list(prefix).into_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, how: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, how).await
    }
}

#[async_trait]
impl MultipartStore for Faulty {
    async fn create_multipart(&self, at: &Key) -> Result<MultipartId> {
        self.create_multipart_opts(at, PutMultipartOptions::default()).await
    }

    async fn create_multipart_opts(
        &self,
        at: &Key,
        how: PutMultipartOptions,
    ) -> Result<MultipartId> {
        self.inner.create_multipart_opts(at, how).await
    }

    async fn put_part(
        &self,
        at: &Key,
        id: &MultipartId,
        index: usize,
        bytes: PutPayload,
    ) -> Result<PartId> {
        self.ask(Ask::Part, at)?;
        self.open.lock().unwrap().insert(id.clone());
        self.inner.put_part(at, id, index, bytes).await
    }

    async fn complete_multipart(
        &self,
        at: &Key,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.ask(Ask::Complete, at)?;
        let done = self.inner.complete_multipart(at, id, parts).await?;
        self.open.lock().unwrap().remove(id);
        Ok(done)
    }

    async fn abort_multipart(&self, at: &Key, id: &MultipartId) -> Result<()> {
        self.ask(Ask::Abort, at)?;
        self.inner.abort_multipart(at, id).await?;
        self.open.lock().unwrap().remove(id);
        Ok(())
    }
}
