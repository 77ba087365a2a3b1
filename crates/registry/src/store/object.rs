//! An object store: an object is put at once if it is small, else in parts.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use storage::PartStore;

use super::{Appender, Bodies, Store, StoreError};

/// Bytes of the first parts. Stores want at least 5 MiB, and at most 10,000 parts.
const PART_BYTES: usize = 8 << 20;
/// After so many parts their size doubles, three times at most: 10,000 parts are 470 GiB.
const PARTS_PER_SIZE: usize = 1250;

/// Where nothing ever is, listed to see whether the store answers.
const PROBED: &str = "probe";

/// Bytes in an object store.
pub(super) struct ObjectStore(PartStore);

impl ObjectStore {
    pub(super) fn new(store: PartStore) -> Self {
        Self(store)
    }
}

/// What goes on between two requests.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Written {
    /// The upload in parts, once there is one.
    upload_id: Option<String>,
    /// Its parts: what the store calls them.
    parts: Vec<String>,
    /// Bytes that were too few for a part: under the key itself as long as there are no parts, then
    /// beside it.
    tail: u64,
}

/// Where bytes wait that are too few for a part.
fn tail_key(key: &str) -> Path {
    Path::from(format!("tail/{key}"))
}

fn failed(what: &'static str, key: &str) -> impl Fn(object_store::Error) -> StoreError + use<> {
    let key = key.to_owned();
    move |error| match error {
        object_store::Error::NotFound { .. } => StoreError::Lost { key: key.clone() },
        error => StoreError::failed(what, &key, error),
    }
}

fn parse(key: &str, written: &str) -> Result<Written, StoreError> {
    if written.is_empty() {
        return Ok(Written::default());
    }
    serde_json::from_str(written).map_err(|error| StoreError::failed("resuming", key, error))
}

#[async_trait]
impl Store for ObjectStore {
    async fn append(
        &self,
        key: &str,
        written: &str,
        _received: u64,
    ) -> Result<Box<dyn Appender>, StoreError> {
        let written = parse(key, written)?;
        let mut buffer = BytesMut::new();
        if written.tail > 0 {
            let at = match written.upload_id {
                Some(_) => tail_key(key),
                None => Path::from(key),
            };
            let tail = self
                .0
                .objects
                .get(&at)
                .await
                .map_err(failed("reading", key))?;
            buffer.extend_from_slice(&tail.bytes().await.map_err(failed("reading", key))?);
        }
        if buffer.len() as u64 != written.tail {
            return Err(StoreError::Lost {
                key: key.to_owned(),
            });
        }
        Ok(Box::new(ObjectAppender {
            store: self.0.clone(),
            key: key.to_owned(),
            path: Path::from(key),
            is_new_upload: false,
            is_saved: !buffer.is_empty() || written.upload_id.is_some(),
            buffer,
            written,
        }))
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<Bodies, StoreError> {
        let options = GetOptions {
            range: (range.start < range.end).then(|| range.clone().into()),
            ..GetOptions::default()
        };
        let found = self.0.objects.get_opts(&Path::from(key), options).await;
        let found = found.map_err(failed("reading", key))?;
        if found.range.end < range.end {
            return Err(StoreError::Lost {
                key: key.to_owned(),
            });
        }
        Ok(found.into_stream().map_err(failed("reading", key)).boxed())
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, StoreError> {
        match self.0.objects.head(&Path::from(key)).await {
            Ok(object) => Ok(Some(object.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("looking at", key)(error)),
        }
    }

    async fn address(&self, key: &str, lifetime: Duration) -> Result<Option<String>, StoreError> {
        let address = self.0.address(&Path::from(key), lifetime).await;
        address.map_err(failed("signing", key))
    }

    async fn remove(&self, key: &str, written: Option<&str>) -> Result<(), StoreError> {
        if let Some(written) = written {
            let written = parse(key, written)?;
            if let Some(id) = &written.upload_id {
                let aborted = self.0.parts.abort_multipart(&Path::from(key), id).await;
                // One that is gone already is as good.
                if let Err(error) = aborted {
                    tracing::debug!(key, %error, "an upload in parts was not aborted");
                }
            }
            self.delete(&tail_key(key)).await?;
        }
        self.delete(&Path::from(key)).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        // A list of nothing. Asking for an object would not tell a missing bucket from a missing
        // object.
        let mut listed = self.0.objects.list(Some(&Path::from(PROBED)));
        let first = listed.try_next().await;
        first.map_err(failed("probing", PROBED))?;
        Ok(())
    }

    async fn keys(
        &self,
    ) -> Result<BoxStream<'static, Result<(String, i64), StoreError>>, StoreError> {
        let listed = self.0.objects.list(None);
        let named = |meta: object_store::ObjectMeta| {
            (
                meta.location.to_string(),
                meta.last_modified.timestamp_millis(),
            )
        };
        Ok(listed
            .map_ok(named)
            .map_err(failed("listing", "data"))
            .boxed())
    }
}

impl ObjectStore {
    async fn delete(&self, path: &Path) -> Result<(), StoreError> {
        match self.0.objects.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("removing", path.as_ref())(error)),
        }
    }
}

/// Collects bytes until they are a part.
struct ObjectAppender {
    store: PartStore,
    key: String,
    path: Path,
    buffer: BytesMut,
    written: Written,
    is_new_upload: bool,
    /// Whether the store has everything, and as `written` says.
    is_saved: bool,
}

impl ObjectAppender {
    fn part_bytes(&self) -> usize {
        PART_BYTES << (self.written.parts.len() / PARTS_PER_SIZE).min(3)
    }

    async fn put_part(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let id = match &self.written.upload_id {
            Some(id) => id.clone(),
            None => {
                let made = self.store.parts.create_multipart(&self.path).await;
                let id = made.map_err(failed("beginning", &self.key))?;
                self.written.upload_id = Some(id.clone());
                self.is_new_upload = true;
                id
            }
        };
        let number = self.written.parts.len();
        let payload = PutPayload::from_bytes(bytes);
        let put = self.store.parts.put_part(&self.path, &id, number, payload);
        let part = put.await.map_err(failed("writing", &self.key))?;
        self.written.parts.push(part.content_id);
        Ok(())
    }

    async fn put_tail(&mut self) -> Result<(), StoreError> {
        let at = match self.written.upload_id {
            Some(_) => tail_key(&self.key),
            None => self.path.clone(),
        };
        let payload = PutPayload::from_bytes(Bytes::copy_from_slice(&self.buffer));
        let put = self.store.objects.put(&at, payload).await;
        put.map_err(failed("writing", &self.key))?;
        Ok(())
    }
}

#[async_trait]
impl Appender for ObjectAppender {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.is_saved = false;
        self.buffer.extend_from_slice(&bytes);
        while self.buffer.len() >= self.part_bytes() {
            let part = self.buffer.split_to(self.part_bytes()).freeze();
            self.put_part(part).await?;
        }
        Ok(())
    }

    fn must_save(&self) -> bool {
        self.is_new_upload
    }

    async fn save(&mut self) -> Result<String, StoreError> {
        if !self.is_saved {
            self.written.tail = self.buffer.len() as u64;
            // An object without bytes is there too.
            if self.written.tail > 0 || self.written.upload_id.is_none() {
                self.put_tail().await?;
            }
            self.is_saved = true;
        }
        self.is_new_upload = false;
        serde_json::to_string(&self.written)
            .map_err(|error| StoreError::failed("saving", &self.key, error))
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        let Some(id) = self.written.upload_id.clone() else {
            return self.save().await.map(|_| ());
        };
        if !self.buffer.is_empty() {
            let last = self.buffer.split().freeze();
            self.put_part(last).await?;
        }
        let named = |content_id: &String| PartId {
            content_id: content_id.clone(),
        };
        let parts = self.written.parts.iter().map(named).collect();
        let whole = self.store.parts.complete_multipart(&self.path, &id, parts);
        whole.await.map_err(failed("finishing", &self.key))?;
        // Of an upload in parts that is whole, the tail is only in the way.
        if let Err(error) = self.store.objects.delete(&tail_key(&self.key)).await {
            tracing::debug!(key = self.key, %error, "no tail was removed");
        }
        Ok(())
    }
}
