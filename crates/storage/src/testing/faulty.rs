//! A store that fails or stalls as told.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// What goes wrong, adjustable while the store is in use. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: AtomicU64,
    every_nth: AtomicU64,
    /// Requests until the store is dead; negative means that it lives for ever.
    left: AtomicI64,
    dies_after_effect: AtomicU64,
    delay_us: AtomicU64,
    delay_next_us: AtomicU64,
    /// What becomes of a read, and how many come before it.
    spoiled: Mutex<Option<(Spoil, u64)>>,
}

/// What goes wrong with a read that seems to succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    /// A bit of it is another.
    Flip,
    /// The last bytes are missing.
    Cut,
    /// The object is not found.
    Lose,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            requests: AtomicU64::new(0),
            every_nth: AtomicU64::new(0),
            left: AtomicI64::new(-1),
            dies_after_effect: AtomicU64::new(0),
            delay_us: AtomicU64::new(0),
            delay_next_us: AtomicU64::new(0),
            spoiled: Mutex::new(None),
        }
    }
}

impl Faults {
    /// Every n-th request fails without effect; 0 switches that off.
    pub fn fail_every(&self, n: u64) {
        self.0.every_nth.store(n, Ordering::SeqCst);
    }

    /// The store works for `requests` more requests and is dead after that: as seen by a process
    /// that crashes at that moment. With `after_effect`, the request at which it dies still has its
    /// effect, but its answer is lost.
    pub fn die_after(&self, requests: u64, after_effect: bool) {
        let lost = u64::from(after_effect);
        self.0.dies_after_effect.store(lost, Ordering::SeqCst);
        let left = i64::try_from(requests).unwrap_or(i64::MAX);
        self.0.left.store(left, Ordering::SeqCst);
    }

    /// The store lives again.
    pub fn revive(&self) {
        self.0.left.store(-1, Ordering::SeqCst);
    }

    /// Whether the store has died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.0.left.load(Ordering::SeqCst) == 0
    }

    /// Every request takes so much longer.
    pub fn delay(&self, delay: Duration) {
        self.0.delay_us.store(micros(delay), Ordering::SeqCst);
    }

    /// The next request takes so much longer.
    pub fn delay_next(&self, delay: Duration) {
        self.0.delay_next_us.store(micros(delay), Ordering::SeqCst);
    }

    /// One read goes wrong, after so many others.
    pub fn spoil_after(&self, reads: u64, spoil: Spoil) {
        *self.0.spoiled.lock() = Some((spoil, reads));
    }

    fn spoiled(&self) -> Option<Spoil> {
        let mut spoiled = self.0.spoiled.lock();
        match spoiled.as_mut() {
            Some((_, before)) if *before > 0 => {
                *before -= 1;
                None
            }
            _ => spoiled.take().map(|(spoil, _)| spoil),
        }
    }

    /// Requests made so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// Called before each request.
    async fn before(&self) -> Result<Fate> {
        let next_us = self.0.delay_next_us.swap(0, Ordering::SeqCst);
        let delay_us = self.0.delay_us.load(Ordering::SeqCst).max(next_us);
        if delay_us > 0 {
            tokio::time::sleep(Duration::from_micros(delay_us)).await;
        }
        let number = self.0.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let nth = self.0.every_nth.load(Ordering::SeqCst);
        if nth > 0 && number.is_multiple_of(nth) {
            return Err(failure("made to fail"));
        }
        let left = self
            .0
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                (left > 0).then(|| left - 1)
            });
        match left {
            Ok(1) if self.0.dies_after_effect.load(Ordering::SeqCst) > 0 => Ok(Fate::AnswerLost),
            Ok(_) => Ok(Fate::Works),
            Err(0) => Err(failure("dead")),
            Err(_) => Ok(Fate::Works),
        }
    }
}

fn micros(delay: Duration) -> u64 {
    u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)
}

/// What becomes of a request that reaches the store.
#[derive(Clone, Copy)]
enum Fate {
    Works,
    AnswerLost,
}

impl Fate {
    fn answer<T>(self, result: Result<T>) -> Result<T> {
        match self {
            Self::Works => result,
            Self::AnswerLost => Err(failure("the answer is lost")),
        }
    }
}

fn failure(text: &'static str) -> Error {
    Error::Generic {
        store: "FaultyStore",
        source: text.into(),
    }
}

/// A store that fails or stalls as its [`Faults`] say.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl FaultyStore {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fate = self.faults.before().await?;
        fate.answer(self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fate = self.faults.before().await?;
        fate.answer(self.inner.put_multipart_opts(location, options).await)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fate = self.faults.before().await?;
        let read = fate.answer(self.inner.get_opts(location, options).await)?;
        match self.faults.spoiled() {
            None => Ok(read),
            Some(Spoil::Lose) => Err(Error::NotFound {
                path: location.to_string(),
                source: "lost".into(),
            }),
            Some(spoil) => spoilt(read, spoil).await,
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (faults, inner) = (self.faults.clone(), Arc::clone(&self.inner));
        let deleted = locations.then(move |location| {
            let (faults, inner) = (faults.clone(), Arc::clone(&inner));
            async move {
                let fate = faults.before().await?;
                let one = futures::stream::once(futures::future::ready(location)).boxed();
                let result = inner.delete_stream(one).next().await;
                fate.answer(result.unwrap_or_else(|| Err(failure("nothing deleted"))))
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let fate = self.faults.before().await?;
        fate.answer(self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let fate = self.faults.before().await?;
        fate.answer(self.inner.copy_opts(from, to, options).await)
    }
}

async fn spoilt(read: GetResult, spoil: Spoil) -> Result<GetResult> {
    let (meta, range) = (read.meta.clone(), read.range.clone());
    let (attributes, extensions) = (read.attributes.clone(), read.extensions.clone());
    let mut bytes = read.bytes().await?.to_vec();
    let middle = bytes.len() / 2;
    if spoil == Spoil::Cut {
        bytes.truncate(middle);
    } else if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    let bytes = futures::future::ready(Ok(bytes.into()));
    Ok(GetResult {
        payload: GetResultPayload::Stream(futures::stream::once(bytes).boxed()),
        meta,
        range,
        attributes,
        extensions,
    })
}

impl FaultyStore {
    fn listing(
        &self,
        listing: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let faults = self.faults.clone();
        let start = async move {
            match faults.before().await {
                Ok(Fate::Works) => listing,
                Ok(Fate::AnswerLost) => failed_listing("the answer is lost"),
                Err(_) => failed_listing("dead"),
            }
        };
        futures::stream::once(start).flatten().boxed()
    }
}

fn failed_listing(text: &'static str) -> BoxStream<'static, Result<ObjectMeta>> {
    futures::stream::once(futures::future::ready(Err(failure(text)))).boxed()
}
