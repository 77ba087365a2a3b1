//! The object store with bounds: so many requests at once, so long, so often again.

mod request;

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as Key;
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use tokio::sync::Semaphore;

use crate::backend::{self, LocalReads};
use crate::config::{CacheConfig, RequestConfig, StorageConfig};
use crate::disk::{self, DiskCache, FileId};
use crate::error::StorageError;
use crate::metrics::{Metrics, Operation};
use crate::range::{GAP_BYTES, coalesce, cut_out};

/// Ranges of one call that are read at once.
const RANGES_AT_ONCE: usize = 16;
/// How long to wait before something is read again that is not as it should be: what answers may be
/// a replica of the store that lags.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Writes get this much more time per byte: a second per MiB.
const WRITE_NS_PER_BYTE: u64 = 1_000_000_000 >> 20;

/// An object that a listing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written, by the store's clock.
    pub modified_ns: i64,
}

/// The object store. Cloning shares it.
///
/// A write is durable when it returns, and atomic: readers see all of it or nothing. A write that
/// ends in [`StorageError::Timeout`] or [`StorageError::Failed`] may have happened, or may still.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    reads: Option<LocalReads>,
    disk: Option<DiskCache>,
    permits: Arc<Semaphore>,
    requests: Arc<RequestConfig>,
    metrics: Metrics,
}

impl Store {
    /// Opens the configured backend. `data_dir` is where a local store lies unless configured.
    ///
    /// # Errors
    /// If the configuration does not give a store, or the local directory cannot be made.
    pub fn open(
        config: &StorageConfig,
        data_dir: &Path,
        metrics: Metrics,
    ) -> Result<Self, StorageError> {
        let opened = backend::open(config, data_dir)?;
        let mut store = Self::with_object_store(opened.objects, &config.requests, metrics);
        store.reads = opened.reads;
        store.disk = store.open_disk(&config.cache, data_dir)?;
        Ok(store)
    }

    /// The cache on the local disk, if the store is far away. One that nobody asked for in so many
    /// words may fail.
    fn open_disk(
        &self,
        config: &CacheConfig,
        data_dir: &Path,
    ) -> Result<Option<DiskCache>, StorageError> {
        let usual = data_dir.join("cache");
        if self.reads.is_some() || config.disk.0 == 0 {
            DiskCache::remove(&usual);
            return Ok(None);
        }
        let is_usual = config.disk_directory.as_os_str().is_empty();
        let directory = if is_usual {
            &usual
        } else {
            &config.disk_directory
        };
        match DiskCache::open(directory, config.disk.0, self.metrics.clone()) {
            Ok(disk) => Ok(Some(disk)),
            Err(error) if is_usual => {
                tracing::warn!(%error, "no parts of the store are kept on the local disk");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Bounds requests to a given object store.
    #[must_use]
    pub fn with_object_store(
        inner: Arc<dyn ObjectStore>,
        requests: &RequestConfig,
        metrics: Metrics,
    ) -> Self {
        Self {
            inner,
            reads: None,
            disk: None,
            permits: Arc::new(Semaphore::new(requests.concurrency.max(1))),
            requests: Arc::new(requests.clone()),
            metrics,
        }
    }

    /// The store with parts of its files on a local disk.
    #[cfg(test)]
    pub(crate) fn with_disk(self, disk: DiskCache) -> Self {
        Self {
            disk: Some(disk),
            ..self
        }
    }

    /// The counters that this store counts in.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Writes an object, replacing one that is there.
    ///
    /// # Errors
    /// If the store fails or is too slow; the object may be there all the same.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        self.write(Operation::Put, key, bytes.into(), PutMode::Overwrite)
            .await
    }

    /// Writes an object that is in pieces, without joining them first.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn put_pieces(&self, key: &str, pieces: Vec<Bytes>) -> Result<(), StorageError> {
        let payload = PutPayload::from_iter(pieces);
        self.write(Operation::Put, key, payload, PutMode::Overwrite)
            .await
    }

    /// Writes an object unless one is there.
    ///
    /// # Errors
    /// [`StorageError::AlreadyExists`] if there is one, also if an earlier attempt of this very
    /// call wrote it without our hearing of it: compare contents. Else as [`Self::put`].
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        self.write(Operation::Create, key, bytes.into(), PutMode::Create)
            .await
    }

    async fn write(
        &self,
        operation: Operation,
        key: &str,
        payload: PutPayload,
        mode: PutMode,
    ) -> Result<(), StorageError> {
        let len = payload.content_length() as u64;
        let extra = Duration::from_nanos(len.saturating_mul(WRITE_NS_PER_BYTE));
        let path = &path_of(key)?;
        self.run(operation, key, extra, || {
            let options = PutOptions::from(mode.clone());
            let payload = payload.clone();
            async move { self.inner.put_opts(path, payload, options).await }
        })
        .await?;
        self.metrics.transferred(operation, len);
        Ok(())
    }

    /// Reads a whole object.
    ///
    /// # Errors
    /// If it is not there, or the store fails or is too slow.
    pub async fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        self.read(key, None).await
    }

    /// Reads a part of an object. A part that goes beyond its end is an error.
    ///
    /// # Errors
    /// If it is not there or shorter, or the store fails or is too slow.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StorageError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let (end, wanted) = (range.end, range.end - range.start);
        let error = match self.read(key, Some(GetRange::Bounded(range))).await {
            Ok(bytes) if bytes.len() as u64 == wanted => return Ok(bytes),
            Ok(_) => None,
            Err(error @ StorageError::Failed { .. }) => Some(error),
            Err(error) => return Err(error),
        };
        // Backends answer a range beyond the end in different ways; the size tells for certain.
        match (self.size(key).await?, error) {
            (Some(size), _) if size < end => {
                let reason = format!("{size} bytes long, but byte {end} is referred to");
                Err(StorageError::corrupt(key, reason))
            }
            (_, Some(error)) => Err(error),
            (_, None) => Err(StorageError::corrupt(
                key,
                "the store answers with fewer bytes",
            )),
        }
    }

    /// Reads the last `len` bytes of an object, or all of a shorter one.
    ///
    /// # Errors
    /// If it is not there, or the store fails or is too slow.
    pub async fn get_suffix(&self, key: &str, len: u64) -> Result<Bytes, StorageError> {
        self.read(key, Some(GetRange::Suffix(len))).await
    }

    /// Reads several parts of an object, in the order asked for. Parts that nearly touch are read
    /// together, others side by side.
    ///
    /// # Errors
    /// As [`Self::get_range`].
    pub async fn get_ranges(
        &self,
        key: &str,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, StorageError> {
        let (spans, read) = match &self.reads {
            Some(reads) => {
                let spans = coalesce(ranges, reads.gap_bytes());
                let read = self.read_local(reads, key, &spans).await?;
                (spans, read)
            }
            None => {
                let spans = coalesce(ranges, GAP_BYTES);
                let reads = spans.iter().cloned().map(|span| self.get_range(key, span));
                let reads = futures::stream::iter(reads).buffered(RANGES_AT_ONCE);
                let read: Vec<Bytes> = reads.try_collect().await?;
                (spans, read)
            }
        };
        let parts = cut_out(&spans, &read, ranges);
        parts.ok_or_else(|| StorageError::corrupt(key, "shorter than the ranges asked for"))
    }

    /// As [`Self::get_ranges`], of a file that never changes and is `len` bytes long: from the local
    /// disk what is there. What is missing, too short or not intact by what `is_intact` says of the
    /// part's number and bytes is read once more from a store that is far away, as it may have gone
    /// wrong on the way. What is not intact then either is for the caller to find.
    ///
    /// # Errors
    /// As [`Self::get_range`].
    pub(crate) async fn get_parts(
        &self,
        file: FileId,
        key: &str,
        len: u64,
        parts: &[Range<u64>],
        is_intact: impl Fn(usize, &Bytes) -> bool,
    ) -> Result<Vec<Bytes>, StorageError> {
        let is_near = self.reads.is_some();
        let mut read = match self.get_or_keep(file, key, len, parts).await {
            Err(StorageError::Corrupt { .. } | StorageError::NotFound { .. }) if !is_near => {
                self.note_again(key).await;
                return self.get_or_keep(file, key, len, parts).await;
            }
            other => other?,
        };
        let numbered = read.iter().enumerate();
        let damaged: Vec<usize> = match is_near {
            true => Vec::new(),
            false => numbered
                .filter(|(number, bytes)| !is_intact(*number, bytes))
                .map(|(number, _)| number)
                .collect(),
        };
        if !damaged.is_empty() {
            self.forget(vec![file]).await;
            self.note_again(key).await;
            let wanted = damaged.iter().filter_map(|number| parts.get(*number));
            let wanted: Vec<Range<u64>> = wanted.cloned().collect();
            let again = self.get_ranges(key, &wanted).await?;
            for (number, bytes) in damaged.into_iter().zip(again) {
                if let Some(part) = read.get_mut(number) {
                    *part = bytes;
                }
            }
        }
        Ok(read)
    }

    async fn note_again(&self, key: &str) {
        self.metrics.read_again.inc();
        tracing::warn!(key, "not what was written is read; trying once more");
        tokio::time::sleep(AGAIN_AFTER).await;
    }

    async fn get_or_keep(
        &self,
        file: FileId,
        key: &str,
        len: u64,
        parts: &[Range<u64>],
    ) -> Result<Vec<Bytes>, StorageError> {
        let Some(disk) = self.disk.as_ref().filter(|_| disk::are_kept(parts, len)) else {
            return self.get_ranges(key, parts).await;
        };
        let mut pages = disk.pages(file, len, parts).await;
        let absent = pages.absent();
        if !absent.is_empty() {
            let read = self.get_ranges(key, &absent).await?;
            disk.keep(&mut pages, absent.into_iter().zip(read).collect());
        }
        let parts: Option<Vec<Bytes>> = parts.iter().map(|part| pages.part(part)).collect();
        parts.ok_or_else(|| StorageError::corrupt(key, "shorter than the ranges asked for"))
    }

    /// The files that the local disk has parts of.
    pub(crate) fn files_on_disk(&self) -> HashSet<FileId> {
        self.disk.as_ref().map(DiskCache::files).unwrap_or_default()
    }

    /// Drops what the local disk has of files.
    pub(crate) async fn forget(&self, files: Vec<FileId>) {
        if let Some(disk) = self.disk.as_ref().filter(|_| !files.is_empty()) {
            disk.forget(files).await;
        }
    }

    /// Reads parts of an object in a directory as one request.
    async fn read_local(
        &self,
        reads: &LocalReads,
        key: &str,
        parts: &[Range<u64>],
    ) -> Result<Vec<Bytes>, StorageError> {
        let path = &path_of(key)?;
        let read = self
            .run(Operation::Get, key, Duration::ZERO, || {
                reads.read(path, parts.to_vec())
            })
            .await?;
        for (part, bytes) in parts.iter().zip(&read) {
            if (bytes.len() as u64) < part.end - part.start {
                let reason = format!("it ends before byte {}, which is referred to", part.end);
                return Err(StorageError::corrupt(key, reason));
            }
            self.metrics.transferred(Operation::Get, bytes.len() as u64);
        }
        Ok(read)
    }

    async fn read(&self, key: &str, range: Option<GetRange>) -> Result<Bytes, StorageError> {
        let path = &path_of(key)?;
        let bytes = self
            .run(Operation::Get, key, Duration::ZERO, || {
                let options = GetOptions::new().with_range(range.clone());
                async move {
                    let ask = || self.inner.get_opts(path, options.clone());
                    self.hedged(ask).await?.bytes().await
                }
            })
            .await?;
        self.metrics.transferred(Operation::Get, bytes.len() as u64);
        Ok(bytes)
    }

    /// Asks for an object's size; `None` if there is no such object.
    ///
    /// # Errors
    /// If the store fails or is too slow.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        let path = &path_of(key)?;
        let head = self
            .run(Operation::Head, key, Duration::ZERO, || async {
                self.inner.head(path).await
            })
            .await;
        match head {
            Ok(meta) => Ok(Some(meta.size)),
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects under a directory, in key order; with `after`, those whose keys are greater.
    ///
    /// # Errors
    /// If the store fails or is too slow.
    pub async fn list(
        &self,
        directory: &str,
        after: Option<&str>,
    ) -> Result<Vec<Listed>, StorageError> {
        let prefix = &path_of(directory)?;
        let offset = &after.map(path_of).transpose()?;
        let found = self
            .run(Operation::List, directory, Duration::ZERO, || async {
                let listing = match offset {
                    Some(offset) => self.inner.list_with_offset(Some(prefix), offset),
                    None => self.inner.list(Some(prefix)),
                };
                listing.try_collect::<Vec<_>>().await
            })
            .await?;
        let mut listed: Vec<Listed> = found
            .into_iter()
            .map(|meta| Listed {
                key: meta.location.to_string(),
                size_bytes: meta.size,
                modified_ns: meta.last_modified.timestamp_nanos_opt().unwrap_or(0),
            })
            .collect();
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(listed)
    }

    /// The names of the directories right under a directory, sorted.
    ///
    /// # Errors
    /// If the store fails or is too slow.
    pub async fn list_directories(&self, directory: &str) -> Result<Vec<String>, StorageError> {
        let prefix = &path_of(directory)?;
        let found = self
            .run(Operation::List, directory, Duration::ZERO, || async {
                self.inner.list_with_delimiter(Some(prefix)).await
            })
            .await?;
        let name = |path: &Key| path.filename().map(str::to_owned);
        let mut names: Vec<String> = found.common_prefixes.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// Deletes an object. That there is none is no error.
    ///
    /// # Errors
    /// If the store fails or is too slow.
    pub async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = &path_of(key)?;
        let deleted = self
            .run(Operation::Delete, key, Duration::ZERO, || async {
                self.inner.delete(path).await
            })
            .await;
        match deleted {
            Ok(()) | Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.inner)
    }
}

fn path_of(key: &str) -> Result<Key, StorageError> {
    Key::parse(key).map_err(|error| StorageError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Faults, FaultyStore, conformance};
    use model::units::DurationNs;
    use object_store::memory::InMemory;

    fn quick() -> RequestConfig {
        RequestConfig {
            retry_backoff: DurationNs(1),
            ..RequestConfig::default()
        }
    }

    fn faulty(requests: &RequestConfig) -> (Store, Faults) {
        let faults = Faults::default();
        let inner = FaultyStore::new(Arc::new(InMemory::new()), faults.clone());
        let store = Store::with_object_store(Arc::new(inner), requests, Metrics::unregistered());
        (store, faults)
    }

    #[tokio::test]
    async fn every_backend_at_hand_conforms() {
        let memory = Arc::new(InMemory::new());
        let memory = Store::with_object_store(memory, &quick(), Metrics::unregistered());
        conformance(&memory, "any").await;
        let dir = tempfile::tempdir().unwrap();
        for prefix in ["", "shared/logs"] {
            let config = StorageConfig {
                prefix: prefix.to_owned(),
                requests: quick(),
                ..StorageConfig::default()
            };
            let local = Store::open(&config, dir.path(), Metrics::unregistered()).unwrap();
            conformance(&local, "any").await;
        }
        let (store, faults) = faulty(&quick());
        faults.fail_every(3);
        conformance(&store, "any").await;
    }

    #[tokio::test]
    async fn failures_that_stay_are_told() {
        let (store, faults) = faulty(&quick());
        store.put("a/b", Bytes::from_static(b"x")).await.unwrap();
        faults.die_after(0, false);
        let error = store.get("a/b").await.unwrap_err();
        assert!(matches!(error, StorageError::Failed { .. }));
        assert_eq!(error.to_string(), "get of a/b failed");
        let coded = model::CodedError::from(error);
        assert_eq!(coded.code, model::Code::Unavailable);
        assert!(coded.message.contains("dead"), "{coded}");
        faults.revive();
        assert!(store.get("a/b").await.is_ok());
        assert!(matches!(
            store.get("").await,
            Err(StorageError::Denied { .. }) | Err(StorageError::NotFound { .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_store_times_out() {
        let requests = RequestConfig {
            timeout: DurationNs::from_secs(1),
            max_retries: 1,
            ..quick()
        };
        let (store, faults) = faulty(&requests);
        faults.delay(Duration::from_secs(5));
        let error = store.get("a").await.unwrap_err();
        assert!(matches!(error, StorageError::Timeout { .. }), "{error}");
        assert_eq!(faults.requests(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_read_is_asked_for_twice_and_the_first_answer_counts() {
        let requests = RequestConfig {
            hedge_after: DurationNs::from_millis(100),
            ..quick()
        };
        let (store, faults) = faulty(&requests);
        store.put("a", Bytes::from_static(b"x")).await.unwrap();
        faults.delay_next(Duration::from_secs(20));
        let started = tokio::time::Instant::now();
        assert_eq!(store.get("a").await.unwrap(), b"x"[..]);
        assert_eq!(started.elapsed(), Duration::from_millis(100));
        assert_eq!(
            (store.metrics.hedged.get(), store.metrics.hedges_won.get()),
            (1, 1)
        );
        // A quick one is not.
        assert_eq!(store.get("a").await.unwrap(), b"x"[..]);
        // A second answer that is an error does not count before the first.
        faults.delay(Duration::from_millis(150));
        faults.fail_every(2);
        let answers = [store.get("a").await, store.get("a").await];
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(store.metrics.hedged.get(), 3);
        // A busy store is left alone.
        faults.fail_every(0);
        let _busy = store.permits.acquire_many(40).await.unwrap();
        assert!(store.get("a").await.is_ok());
        assert_eq!(store.metrics.hedged.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_beyond_the_bound_wait() {
        let requests = RequestConfig {
            concurrency: 2,
            ..quick()
        };
        let (store, faults) = faulty(&requests);
        faults.delay(Duration::from_secs(1));
        let started = tokio::time::Instant::now();
        let reads = (0..6).map(|_| store.size("a"));
        futures::future::join_all(reads).await;
        assert_eq!(started.elapsed().as_secs(), 3);
    }
}
