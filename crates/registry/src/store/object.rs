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
use storage::{OpenUpload, PartStore};

use super::{Appender, Bodies, DATA, Keeper, MARK, Store, StoreError, TAIL, new_id};

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
    /// at `tail_at`.
    tail: u64,
    /// Where they wait, each time somewhere else: who writes them and then cannot say so changes
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tail_at: Option<String>,
    /// Where those waited that they replace, which go once nobody needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stale_tail_at: Option<String>,
}

/// What the places begin with where the ends of an object wait. Before they had names of their own,
/// it was the place.
fn tails(key: &str) -> String {
    format!("{TAIL}/{key}")
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
    let written: Result<Written, _> = serde_json::from_str(written);
    let mut written = written.map_err(|error| StoreError::failed("resuming", key, error))?;
    if written.upload_id.is_some() && written.tail > 0 {
        written.tail_at.get_or_insert_with(|| tails(key));
    }
    Ok(written)
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
        let at = written.tail_at.as_deref().unwrap_or(key);
        let buffer = self.beginning(at, written.tail).await?;
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

    /// As long as there are no parts, all bytes are copied. Parts stay: who makes an object of them
    /// names his own, and once he has, nobody else can.
    async fn move_away(
        &self,
        key: &str,
        written: &str,
        received: u64,
        to: String,
    ) -> Result<(String, String), StoreError> {
        if parse(key, written)?.upload_id.is_some() {
            return Ok((key.to_owned(), written.to_owned()));
        }
        if received == 0 {
            return Ok((to, String::new()));
        }
        let bytes = self.beginning(key, received).await?.freeze();
        let path = Path::from(to.as_str());
        let put = self.0.objects.put(&path, bytes.into()).await;
        put.map_err(failed("copying", key))?;
        Ok((to, written.to_owned()))
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
                self.abort_parts(key, id).await?;
            }
            let tails = Path::from(tails(key));
            let mut listed = self.0.objects.list(Some(&tails));
            while let Some(tail) = listed.try_next().await.map_err(failed("listing", key))? {
                self.delete(&tail.location).await?;
            }
            self.delete(&tails).await?;
        }
        self.delete(&Path::from(key)).await
    }
}

#[async_trait]
impl Keeper for ObjectStore {
    fn open_uploads(&self) -> BoxStream<'static, Result<OpenUpload, StoreError>> {
        let listed = self.0.open_uploads(DATA);
        listed.map_err(failed("listing uploads", DATA)).boxed()
    }

    async fn abort(&self, upload: &OpenUpload) -> Result<(), StoreError> {
        self.abort_parts(&upload.key, &upload.id).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        // A list of nothing. Asking for an object would not tell a missing bucket from a missing
        // object.
        let mut listed = self.0.objects.list(Some(&Path::from(PROBED)));
        let first = listed.try_next().await;
        first.map_err(failed("probing", PROBED))?;
        Ok(())
    }

    async fn mark(&self) -> Result<Option<String>, StoreError> {
        match self.0.objects.get(&Path::from(MARK)).await {
            Ok(found) => {
                let bytes = found.bytes().await.map_err(failed("reading", MARK))?;
                Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("reading", MARK)(error)),
        }
    }

    async fn set_mark(&self, mark: &str) -> Result<(), StoreError> {
        let payload = PutPayload::from(format!("{mark}\n"));
        let put = self.0.objects.put(&Path::from(MARK), payload).await;
        put.map_err(failed("writing", MARK))?;
        Ok(())
    }

    async fn keys(
        &self,
    ) -> Result<BoxStream<'static, Result<(String, i64), StoreError>>, StoreError> {
        let list = |prefix: &str| self.0.objects.list(Some(&Path::from(prefix)));
        let listed = list(DATA).chain(list(TAIL));
        let named = |meta: object_store::ObjectMeta| {
            (
                meta.location.to_string(),
                meta.last_modified.timestamp_millis(),
            )
        };
        Ok(listed
            .map_ok(named)
            .map_err(failed("listing", DATA))
            .boxed())
    }
}

impl ObjectStore {
    /// The first bytes of what waits somewhere. There may be more: of who could not say so.
    async fn beginning(&self, at: &str, bytes: u64) -> Result<BytesMut, StoreError> {
        let mut buffer = BytesMut::new();
        if bytes > 0 {
            let found = self.0.objects.get(&Path::from(at)).await;
            let found = found.map_err(failed("reading", at))?.bytes().await;
            buffer.extend_from_slice(&found.map_err(failed("reading", at))?);
        }
        if (buffer.len() as u64) < bytes {
            return Err(StoreError::Lost { key: at.to_owned() });
        }
        buffer.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(buffer)
    }

    async fn abort_parts(&self, key: &str, id: &String) -> Result<(), StoreError> {
        match self.0.parts.abort_multipart(&Path::from(key), id).await {
            // One that is gone already is as good.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("aborting", key)(error)),
        }
    }

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

    /// Puts what is enough for parts. The first time the upload in parts is only begun: nothing is in
    /// it before somebody knows what it is called.
    async fn put_parts(&mut self) -> Result<(), StoreError> {
        while self.buffer.len() >= self.part_bytes() && !self.is_new_upload {
            let Some(id) = self.written.upload_id.clone() else {
                let made = self.store.parts.create_multipart(&self.path).await;
                let id = made.map_err(failed("beginning", &self.key))?;
                self.written.upload_id = Some(id);
                self.is_new_upload = true;
                return Ok(());
            };
            let part = self.buffer.split_to(self.part_bytes()).freeze();
            self.put_part(&id, part).await?;
        }
        Ok(())
    }

    async fn put_part(&mut self, id: &String, bytes: Bytes) -> Result<(), StoreError> {
        let number = self.written.parts.len();
        let payload = PutPayload::from_bytes(bytes);
        let put = self.store.parts.put_part(&self.path, id, number, payload);
        let part = put.await.map_err(failed("writing", &self.key))?;
        self.written.parts.push(part.content_id);
        Ok(())
    }

    async fn put(&self, at: &Path) -> Result<(), StoreError> {
        let payload = PutPayload::from_bytes(Bytes::copy_from_slice(&self.buffer));
        let put = self.store.objects.put(at, payload).await;
        put.map_err(failed("writing", &self.key))?;
        Ok(())
    }

    /// Puts what is too little for a part beside the object. What it replaces is needed until that is
    /// written down, and what that replaced is not any more.
    async fn put_tail(&mut self) -> Result<(), StoreError> {
        if let Some(stale) = self.written.stale_tail_at.take() {
            self.forget_tail(&stale).await;
        }
        self.written.stale_tail_at = self.written.tail_at.take();
        if !self.buffer.is_empty() {
            let at = format!("{}/{}", tails(&self.key), new_id());
            self.put(&Path::from(at.as_str())).await?;
            self.written.tail_at = Some(at);
        }
        Ok(())
    }

    fn text(&self, written: &Written) -> Result<String, StoreError> {
        let text = serde_json::to_string(written);
        text.map_err(|error| StoreError::failed("saving", &self.key, error))
    }

    /// Removes what is only in the way.
    async fn forget_tail(&self, at: &str) {
        if let Err(error) = self.store.objects.delete(&Path::from(at)).await {
            tracing::debug!(key = self.key, %error, "no tail was removed");
        }
    }
}

#[async_trait]
impl Appender for ObjectAppender {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.is_saved = false;
        self.buffer.extend_from_slice(&bytes);
        self.put_parts().await
    }

    fn must_save(&self) -> bool {
        self.is_new_upload
    }

    fn begun(&mut self) -> Result<String, StoreError> {
        self.is_new_upload = false;
        let written = Written {
            upload_id: self.written.upload_id.clone(),
            ..Written::default()
        };
        self.text(&written)
    }

    async fn save(&mut self) -> Result<String, StoreError> {
        if !self.is_saved {
            self.put_parts().await?;
            self.written.tail = self.buffer.len() as u64;
            match self.written.upload_id {
                Some(_) => self.put_tail().await?,
                // An object without bytes is there too.
                None => self.put(&self.path).await?,
            }
            self.is_saved = true;
        }
        self.is_new_upload = false;
        self.text(&self.written)
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        let Some(id) = self.written.upload_id.clone() else {
            return self.save().await.map(|_| ());
        };
        // An object has one part at least.
        if !self.buffer.is_empty() || self.written.parts.is_empty() {
            let last = self.buffer.split().freeze();
            self.put_part(&id, last).await?;
        }
        let named = |content_id: &String| PartId {
            content_id: content_id.clone(),
        };
        let parts = self.written.parts.iter().map(named).collect();
        let whole = self.store.parts.complete_multipart(&self.path, &id, parts);
        whole.await.map_err(failed("finishing", &self.key))?;
        let written = std::mem::take(&mut self.written);
        for tail in written.tail_at.iter().chain(&written.stale_tail_at) {
            self.forget_tail(tail).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use object_store::memory::InMemory;
    use object_store::multipart::MultipartStore;
    use object_store::{MultipartId, PutResult};
    use parking_lot::Mutex;

    use super::super::new_key;
    use super::*;

    /// Knows which uploads in parts are open, and may refuse to abort them.
    #[derive(Debug, Default)]
    struct Parts {
        memory: Arc<InMemory>,
        open: Mutex<HashSet<MultipartId>>,
        parts_put: AtomicUsize,
        is_refusing: AtomicBool,
    }

    #[async_trait]
    impl MultipartStore for Parts {
        async fn create_multipart(&self, path: &Path) -> object_store::Result<MultipartId> {
            let id = self.memory.create_multipart(path).await?;
            self.open.lock().insert(id.clone());
            Ok(id)
        }

        async fn put_part(
            &self,
            path: &Path,
            id: &MultipartId,
            at: usize,
            data: PutPayload,
        ) -> object_store::Result<PartId> {
            self.parts_put.fetch_add(1, Ordering::Relaxed);
            self.memory.put_part(path, id, at, data).await
        }

        async fn complete_multipart(
            &self,
            path: &Path,
            id: &MultipartId,
            parts: Vec<PartId>,
        ) -> object_store::Result<PutResult> {
            self.open.lock().remove(id);
            self.memory.complete_multipart(path, id, parts).await
        }

        async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> object_store::Result<()> {
            let refused = |source: &str| object_store::Error::Generic {
                store: "test",
                source: source.into(),
            };
            if self.is_refusing.load(Ordering::Relaxed) {
                return Err(refused("refused"));
            }
            match self.open.lock().remove(id) {
                true => Ok(()),
                false => Err(object_store::Error::NotFound {
                    path: path.to_string(),
                    source: "no such upload".into(),
                }),
            }
        }
    }

    fn store() -> (Arc<Parts>, ObjectStore) {
        let parts = Arc::new(Parts::default());
        let store = PartStore::without_addresses(parts.memory.clone(), parts.clone());
        (parts, ObjectStore::new(store))
    }

    /// Whenever the process ends, what is written down is enough to clean up.
    #[tokio::test]
    async fn an_upload_in_parts_is_known_before_its_first_part() {
        let (parts, store) = store();
        let key = new_key();
        let mut appender = store.append(&key, "", 0).await.unwrap();
        appender.write(vec![1; 9 << 20].into()).await.unwrap();
        assert!(appender.must_save());
        assert_eq!(parts.parts_put.load(Ordering::Relaxed), 0);
        let begun = appender.begun().unwrap();
        assert!(!appender.must_save());
        appender.write(vec![2; 9 << 20].into()).await.unwrap();
        assert_eq!(parts.parts_put.load(Ordering::Relaxed), 2);
        drop(appender);

        // Who begins anew uses it.
        let mut appender = store.append(&key, &begun, 0).await.unwrap();
        appender.write(vec![3; 17 << 20].into()).await.unwrap();
        assert!(!appender.must_save());
        appender.finish().await.unwrap();
        assert_eq!(store.size(&key).await.unwrap(), Some(17 << 20));
        assert!(parts.open.lock().is_empty());
    }

    #[tokio::test]
    async fn an_upload_in_parts_is_not_forgotten_before_it_is_gone() {
        let (parts, store) = store();
        let key = new_key();
        let mut appender = store.append(&key, "", 0).await.unwrap();
        appender.write(vec![1; 9 << 20].into()).await.unwrap();
        let written = appender.save().await.unwrap();
        drop(appender);
        parts.is_refusing.store(true, Ordering::Relaxed);
        assert!(store.remove(&key, Some(&written)).await.is_err());
        parts.is_refusing.store(false, Ordering::Relaxed);
        store.remove(&key, Some(&written)).await.unwrap();
        assert!(parts.open.lock().is_empty());
        // It may be gone, and the row still be there.
        store.remove(&key, Some(&written)).await.unwrap();
    }
}
