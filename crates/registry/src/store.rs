//! Bytes under opaque keys: in a directory, or in an object store that takes objects in parts.
//!
//! An upload gets a key of its own when it begins and writes to it with an [`Appender`], over as
//! many requests as it takes. What the appender needs to go on later, also in another process, is a
//! text that is kept with the upload. When the last byte has come the object is whole, where it is:
//! nothing is moved or copied.

pub(crate) mod buffer;
mod local;
mod object;
mod timed;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use rand::RngExt;
use storage::{Backend, OpenUpload, StorageConfig};

use crate::disk::Disk;
use crate::error::{Code, Error, StartError};
use crate::metrics::Metrics;
use buffer::{Buffers, DIRECT_BYTES};

/// What the keys of objects begin with.
pub(crate) const DATA: &str = "data";
/// What the keys of the ends of objects begin with, before the key of the object.
const TAIL: &str = "tail";
/// Characters of the directories that objects are spread over.
const FAN_OUT_CHARS: usize = 2;
/// The key of what says whose the store is.
pub(crate) const MARK: &str = "registry.id";

/// What a store says when it fails. The text names the key and the cause.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The bytes that were said to be there are not.
    #[error("{key} is not in the store, or not as much of it as there should be")]
    Lost {
        /// What was asked for.
        key: String,
    },
    /// The disk or the object store.
    #[error("{what} of {key}: {cause}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// On what.
        key: String,
        /// Why not.
        cause: String,
        /// What is wrong with the disk, if that is it.
        disk: Option<Disk>,
    },
}

impl StoreError {
    pub(crate) fn failed(what: &'static str, key: &str, cause: impl std::fmt::Display) -> Self {
        Self::Failed {
            what,
            key: key.to_owned(),
            cause: cause.to_string(),
            disk: None,
        }
    }

    /// As the system says it.
    pub(crate) fn of_io(what: &'static str, key: &str, cause: &std::io::Error) -> Self {
        Self::Failed {
            what,
            key: key.to_owned(),
            cause: cause.to_string(),
            disk: Disk::of(cause),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the registry's store failed");
        match error {
            StoreError::Lost { .. } => {
                let message = "the registry's store has lost these bytes; push them again";
                Self::new(Code::Lost, message)
            }
            StoreError::Failed {
                disk: Some(disk), ..
            } => disk.error("the registry's store"),
            StoreError::Failed { .. } => {
                let message = "the registry's store failed; try again";
                Self::new(Code::Unavailable, message)
            }
        }
    }
}

/// Bytes on their way out.
pub(crate) type Bodies = BoxStream<'static, Result<Bytes, StoreError>>;

/// Bytes under keys.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Continues an object of which `received` bytes are durable; `written` is what
    /// [`Appender::save`] gave then, or empty for a new one.
    async fn append(
        &self,
        key: &str,
        written: &str,
        received: u64,
    ) -> Result<Box<dyn Appender>, StoreError>;

    /// Has an object that is continued, of which `received` bytes are durable, be where the one who
    /// continued it before cannot change it any more, whatever he does: under `key` as it is if he cannot
    /// there, else under the new key `to`. Gives the key, and what [`Store::append`] wants with it.
    async fn move_away(
        &self,
        key: &str,
        written: &str,
        received: u64,
        to: String,
    ) -> Result<(String, String), StoreError>;

    /// A part of a whole object. One that ends before the part does is lost.
    async fn read(&self, key: &str, range: Range<u64>) -> Result<Bodies, StoreError>;

    /// An address that a client can read a whole object at for this long, if there are such.
    async fn address(&self, key: &str, lifetime: Duration) -> Result<Option<String>, StoreError>;

    /// How many bytes an object has; none if it is not there.
    async fn size(&self, key: &str) -> Result<Option<u64>, StoreError>;

    /// Removes an object, if it is there; `written` is of an upload that was not finished.
    async fn remove(&self, key: &str, written: Option<&str>) -> Result<(), StoreError>;
}

/// Where bytes lie, as who keeps it in order sees it.
#[async_trait]
pub(crate) trait Keeper: Store {
    /// The uploads in parts that are open below [`DATA`], also those that are nothing of ours.
    fn open_uploads(&self) -> BoxStream<'static, Result<OpenUpload, StoreError>>;

    /// Aborts an upload in parts, if it is open; nothing else of its object is touched.
    async fn abort(&self, upload: &OpenUpload) -> Result<(), StoreError>;

    /// Whether it answers.
    async fn probe(&self) -> Result<(), StoreError>;

    /// What [`Keeper::set_mark`] wrote; none if nothing was.
    async fn mark(&self) -> Result<Option<String>, StoreError>;

    /// Durably says whose the store is.
    async fn set_mark(&self, mark: &str) -> Result<(), StoreError>;

    /// All keys below [`DATA`] and [`TAIL`], also those that are nothing of ours, with the milliseconds
    /// since 1970 of their last change.
    async fn keys(
        &self,
    ) -> Result<BoxStream<'static, Result<(String, i64), StoreError>>, StoreError>;
}

/// The end of an object that is being written.
#[async_trait]
pub(crate) trait Appender: Send {
    /// Adds bytes. They are durable after the next [`Appender::save`] or [`Appender::finish`].
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError>;

    /// Whether something has begun in the store that must be known before bytes are in it: else
    /// nobody could clean up after a crash. [`Appender::save`] makes it known, and where nothing was
    /// saved before, [`Appender::begun`] does so sooner.
    fn must_save(&self) -> bool;

    /// As [`Appender::save`], but says that there are no bytes yet.
    fn begun(&mut self) -> Result<String, StoreError>;

    /// Makes what was written durable; gives what is needed to go on from there.
    async fn save(&mut self) -> Result<String, StoreError>;

    /// Makes the object whole and durable.
    async fn finish(&mut self) -> Result<(), StoreError>;
}

/// The same store, measured.
pub(crate) fn measured(store: Arc<dyn Keeper>, metrics: Metrics) -> Arc<dyn Store> {
    Arc::new(timed::TimedStore::new(store, metrics))
}

/// The configured store; `directory` is where a local one lies unless configured.
pub(crate) fn open(
    config: &StorageConfig,
    directory: &Path,
) -> Result<Arc<dyn Keeper>, StartError> {
    if config.backend != Backend::Local {
        let store = storage::PartStore::open(config)?;
        return Ok(Arc::new(object::ObjectStore::new(store)));
    }
    let configured = &config.local.directory;
    let directory = if configured.as_os_str().is_empty() {
        directory
    } else {
        configured
    };
    let store = local::LocalStore::open(&directory.join(&config.prefix));
    let store = store.map_err(|source| StartError::File {
        path: directory.to_owned(),
        source,
    })?;
    Ok(Arc::new(store))
}

/// Memory of which bodies are written past the page cache, if the store is a directory.
pub(crate) fn direct_buffers(config: &StorageConfig, bytes_max: u64) -> Buffers {
    let is_local = config.backend == Backend::Local;
    Buffers::aligned(DIRECT_BYTES, if is_local { bytes_max } else { 0 })
}

/// The key of the object that something in the store belongs to: itself, or that of which it is the
/// end. None if it has no key of ours, so that it is somebody else's.
pub(crate) fn owner(key: &str) -> Option<&str> {
    let parts: Vec<&str> = key.split('/').collect();
    let (object, end) = match parts.as_slice() {
        [TAIL, object @ .., end] if object.len() == 3 => (object, Some(*end)),
        [TAIL, object @ ..] => (object, None),
        object => (object, None),
    };
    let [DATA, fan_out, id] = object else {
        return None;
    };
    let is_ours = is_id(id) && id.ends_with(fan_out) && fan_out.len() == FAN_OUT_CHARS;
    if !is_ours || !end.is_none_or(is_id) {
        return None;
    }
    let key = key.strip_prefix(TAIL).map_or(key, |key| &key[1..]);
    key.get(..DATA.len() + 1 + fan_out.len() + 1 + id.len())
}

/// Whether this is as [`new_id`] makes them.
fn is_id(text: &str) -> bool {
    let id = ulid::Ulid::from_string(text);
    id.is_ok_and(|id| id.to_string().to_lowercase() == text)
}

/// A name that was never used and never will be.
pub(crate) fn new_id() -> String {
    let id = ulid::Ulid::from_parts(
        u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default(),
        rand::rng().random(),
    );
    id.to_string().to_lowercase()
}

/// A key that was never used and never will be.
pub(crate) fn new_key() -> String {
    let id = new_id();
    // The end is random, so directories fill evenly.
    let fan_out = id.get(id.len().saturating_sub(FAN_OUT_CHARS)..);
    format!("{DATA}/{}/{id}", fan_out.unwrap_or("00"))
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::memory::InMemory;

    use super::*;

    async fn all(store: &dyn Keeper, key: &str, range: Range<u64>) -> Vec<u8> {
        let bodies: Vec<Bytes> = store
            .read(key, range)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        bodies.concat()
    }

    /// Any way to cut an object into requests gives the same object.
    async fn conforms(store: &dyn Keeper) {
        store.probe().await.unwrap();
        let bytes: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
        for cuts in [
            vec![],
            vec![0, 1, 2, 3],
            vec![5 << 20, 6 << 20, 7_000_001, 19_999_999],
            vec![100, 9 << 20, (9 << 20) + 1],
        ] {
            let key = new_key();
            let (mut written, mut from) = (String::new(), 0);
            for to in cuts.iter().copied().chain([bytes.len()]) {
                let mut appender = store.append(&key, &written, from as u64).await.unwrap();
                for piece in bytes[from..to].chunks(700_000) {
                    appender.write(Bytes::copy_from_slice(piece)).await.unwrap();
                }
                written = appender.save().await.unwrap();
                from = to;
            }
            let mut appender = store.append(&key, &written, from as u64).await.unwrap();
            appender.finish().await.unwrap();
            assert!(
                all(store, &key, 0..bytes.len() as u64).await == bytes,
                "{cuts:?}"
            );
            assert_eq!(all(store, &key, 7..11).await, bytes[7..11]);
            assert_eq!(store.size(&key).await.unwrap(), Some(20_000_000));
            let keys: Vec<_> = store.keys().await.unwrap().try_collect().await.unwrap();
            assert_eq!(keys.len(), 1, "{keys:?}");
            store.remove(&key, None).await.unwrap();
            store.remove(&key, None).await.unwrap();
            assert!(store.read(&key, 0..1).await.is_err());
            assert_eq!(store.size(&key).await.unwrap(), None);
        }
    }

    /// What was written after the last save is as if it had never been, and an upload that is given
    /// up leaves nothing.
    async fn forgets(store: &dyn Keeper) {
        let key = new_key();
        let mut appender = store.append(&key, "", 0).await.unwrap();
        appender.write(Bytes::from_static(b"abc")).await.unwrap();
        let written = appender.save().await.unwrap();
        appender.write(Bytes::from_static(b"lost")).await.unwrap();
        drop(appender);
        let mut appender = store.append(&key, &written, 3).await.unwrap();
        appender.write(Bytes::from_static(b"def")).await.unwrap();
        appender.finish().await.unwrap();
        assert_eq!(all(store, &key, 0..6).await, b"abcdef");
        store.remove(&key, None).await.unwrap();

        let mut appender = store.append(&key, "", 0).await.unwrap();
        appender.write(vec![0; 12 << 20].into()).await.unwrap();
        let written = appender.save().await.unwrap();
        drop(appender);
        store.remove(&key, Some(&written)).await.unwrap();
        let keys: Vec<_> = store.keys().await.unwrap().try_collect().await.unwrap();
        assert!(keys.is_empty(), "{keys:?}");
    }

    /// Who goes on where another one may still be writing has what was saved and what he writes,
    /// whatever the other one does.
    async fn moves_away(store: &dyn Keeper) {
        const MORE: usize = 9 << 20;
        for begin in [0, 1000, 9 << 20, 16 << 20] {
            let (key, mut written) = (new_key(), String::new());
            let mut stale = store.append(&key, "", 0).await.unwrap();
            if begin > 0 {
                stale.write(vec![1; begin].into()).await.unwrap();
                written = stale.save().await.unwrap();
            }
            stale.write(vec![2; MORE].into()).await.unwrap();
            let moved = store.move_away(&key, &written, begin as u64, new_key());
            let (to, moved) = moved.await.unwrap();
            let mut appender = store.append(&to, &moved, begin as u64).await.unwrap();
            appender.write(vec![3; MORE].into()).await.unwrap();
            let written = appender.save().await.unwrap();
            stale.save().await.unwrap();
            drop((stale, appender));
            let mut appender = store
                .append(&to, &written, (begin + MORE) as u64)
                .await
                .unwrap();
            appender.write(vec![4; 10].into()).await.unwrap();
            appender.finish().await.unwrap();
            let expected = [vec![1; begin], vec![3; MORE], vec![4; 10]].concat();
            let found = all(store, &to, 0..expected.len() as u64).await;
            assert!(found == expected, "{begin}");
        }
    }

    #[test]
    fn ends_belong_to_objects() {
        let key = new_key();
        for tail in [format!("tail/{key}"), format!("tail/{key}/{}", new_id())] {
            assert_eq!(owner(&tail), Some(key.as_str()));
        }
        assert_eq!(owner(&key), Some(key.as_str()));
    }

    #[test]
    fn what_others_keep_is_nothing_of_ours() {
        let (key, id) = (new_key(), new_id());
        for others in [
            "registry.id".to_owned(),
            "data".to_owned(),
            "data//".to_owned(),
            "tail/".to_owned(),
            "backup/db.dump".to_owned(),
            "data/fake/2026-01-01/01JD9Z0000000000000000000A.lgob".to_owned(),
            "data/fake/2026-01-01".to_owned(),
            "data/yy/nobodys".to_owned(),
            format!("data/00/{id}x"),
            format!("data/{}/{}", &id[24..], id.to_uppercase()),
            format!("data/zzz/{id}"),
            format!("data/{id}/{id}"),
            format!("data//{id}"),
            format!("{key}/{id}"),
            format!("{key}.bak"),
            format!("x/{key}"),
            format!("tail/{key}/end"),
            format!("tail/{key}/{id}/{id}"),
            format!("tail/tail/{key}"),
        ] {
            assert_eq!(owner(&others), None, "{others}");
        }
    }

    /// Whose the store is, is said once, and is no object.
    async fn is_marked(store: &dyn Keeper) {
        assert_eq!(store.mark().await.unwrap(), None);
        store.set_mark("mine").await.unwrap();
        assert_eq!(store.mark().await.unwrap().as_deref(), Some("mine"));
        let keys: Vec<_> = store.keys().await.unwrap().try_collect().await.unwrap();
        assert!(keys.is_empty(), "{keys:?}");
    }

    #[tokio::test]
    async fn a_directory_conforms() {
        let directory = tempfile::tempdir().unwrap();
        let store = local::LocalStore::open(directory.path()).unwrap();
        is_marked(&store).await;
        conforms(&store).await;
        forgets(&store).await;
        moves_away(&store).await;
    }

    #[tokio::test]
    async fn an_object_store_conforms() {
        let memory = Arc::new(InMemory::new());
        let store = storage::PartStore::without_addresses(memory.clone(), memory);
        let store = object::ObjectStore::new(store);
        is_marked(&store).await;
        conforms(&store).await;
        forgets(&store).await;
        moves_away(&store).await;
    }
}
