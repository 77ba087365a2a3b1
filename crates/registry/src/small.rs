//! Small blobs, whose bytes are in the database.
//!
//! A file or an object of its own costs more than a few bytes do, so a blob up to
//! `registry.database.blob_bytes_max` is made durable with its row. While it is uploaded, its bytes are in
//! what is kept with the upload anyway: what the store needs to go on ([`Appending::save`]). Its key begins
//! with another word than those in the store, and lives and dies as they do.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use crate::error::Error;
use crate::meta::{Meta, Upload};
use crate::store::{Appender, Bodies, Store, StoreError};

/// What the keys begin with that are in the database.
const PREFIX: &str = "row/";
/// What begins the bytes of an upload that are kept with it.
const WRITTEN: &str = "small:";

/// Whether this is the key of bytes that are in the database.
pub(crate) fn is_small(data_key: &str) -> bool {
    data_key.starts_with(PREFIX)
}

/// The bytes that are kept with an upload.
fn read(written: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(written.strip_prefix(WRITTEN)?).ok()
}

/// The end of an upload: in memory while it is small, in the store as soon as it is not.
pub(crate) struct Appending {
    store: Arc<dyn Store>,
    data_key: String,
    bytes_max: usize,
    end: End,
}

enum End {
    Small(BytesMut),
    Stored(Box<dyn Appender>),
}

impl Appending {
    /// Continues an upload, which is small up to so many bytes.
    pub(crate) async fn resume(
        store: &Arc<dyn Store>,
        upload: &Upload,
        bytes_max: usize,
    ) -> Result<Self, StoreError> {
        let (key, written) = (&upload.data_key, &upload.written);
        let small = match upload.received {
            0 if bytes_max > 0 && written.is_empty() => Some(Vec::new()),
            _ => read(written),
        };
        let end = match small {
            Some(small) => End::Small(BytesMut::from(&small[..])),
            None => End::Stored(store.append(key, written, upload.received).await?),
        };
        Ok(Self {
            store: Arc::clone(store),
            data_key: key.clone(),
            bytes_max,
            end,
        })
    }

    /// As [`Appender::write`].
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        if let End::Small(small) = &mut self.end {
            if small.len() + bytes.len() <= self.bytes_max {
                small.extend_from_slice(&bytes);
                return Ok(());
            }
            let small = std::mem::take(small).freeze();
            let mut appender = self.store.append(&self.data_key, "", 0).await?;
            if !small.is_empty() {
                appender.write(small).await?;
            }
            self.end = End::Stored(appender);
        }
        match &mut self.end {
            End::Stored(appender) => appender.write(bytes).await,
            End::Small(_) => Ok(()),
        }
    }

    /// As [`Appender::must_save`].
    pub(crate) fn must_save(&self) -> bool {
        matches!(&self.end, End::Stored(appender) if appender.must_save())
    }

    /// As [`Appender::begun`].
    pub(crate) fn begun(&mut self) -> Result<String, StoreError> {
        match &mut self.end {
            End::Small(_) => Ok(String::new()),
            End::Stored(appender) => appender.begun(),
        }
    }

    /// As [`Appender::save`].
    pub(crate) async fn save(&mut self) -> Result<String, StoreError> {
        match &mut self.end {
            End::Small(small) => Ok(format!("{WRITTEN}{}", STANDARD_NO_PAD.encode(small))),
            End::Stored(appender) => appender.save().await,
        }
    }

    /// Makes what is in the store whole there.
    pub(crate) async fn finish(&mut self) -> Result<(), StoreError> {
        match &mut self.end {
            End::Small(_) => Ok(()),
            End::Stored(appender) => appender.finish().await,
        }
    }

    /// Whether all that came is in memory.
    pub(crate) fn is_small(&self) -> bool {
        matches!(self.end, End::Small(_))
    }

    /// All bytes and their key, if they are to be in the database.
    pub(crate) fn small(&self) -> Option<(String, Bytes)> {
        let End::Small(small) = &self.end else {
            return None;
        };
        let key = self.data_key.rsplit('/').next().unwrap_or_default();
        Some((format!("{PREFIX}{key}"), Bytes::copy_from_slice(small)))
    }
}

/// A store with what of it is in the database.
pub(crate) struct SmallStore {
    meta: Meta,
    store: Arc<dyn Store>,
}

impl SmallStore {
    pub(crate) fn new(meta: Meta, store: Arc<dyn Store>) -> Self {
        Self { meta, store }
    }

    async fn small(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let failed = |error: Error| StoreError::failed("reading", key, error.message);
        self.meta.small(key).await.map_err(failed)
    }
}

#[async_trait]
impl Store for SmallStore {
    async fn append(
        &self,
        key: &str,
        written: &str,
        received: u64,
    ) -> Result<Box<dyn Appender>, StoreError> {
        self.store.append(key, written, received).await
    }

    async fn move_away(
        &self,
        key: &str,
        written: &str,
        received: u64,
        to: String,
    ) -> Result<(String, String), StoreError> {
        // What is small is with its upload, where only who continues that can change it.
        if written.starts_with(WRITTEN) {
            return Ok((to, written.to_owned()));
        }
        self.store.move_away(key, written, received, to).await
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<Bodies, StoreError> {
        if !is_small(key) {
            return self.store.read(key, range).await;
        }
        let bytes = self.small(key).await?;
        let bytes = bytes.and_then(|bytes| part(&bytes, range));
        let bytes = bytes.ok_or_else(|| StoreError::Lost {
            key: key.to_owned(),
        })?;
        Ok(futures::stream::iter([Ok(bytes)]).boxed())
    }

    async fn address(&self, key: &str, lifetime: Duration) -> Result<Option<String>, StoreError> {
        match is_small(key) {
            true => Ok(None),
            false => self.store.address(key, lifetime).await,
        }
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, StoreError> {
        match is_small(key) {
            true => Ok(self.small(key).await?.map(|bytes| bytes.len() as u64)),
            false => self.store.size(key).await,
        }
    }

    async fn remove(&self, key: &str, written: Option<&str>) -> Result<(), StoreError> {
        if is_small(key) {
            // It goes from the database when that is told that it went.
            return Ok(());
        }
        // Of an upload that was small when it was given up there may be more in the store.
        let written = written.map(|written| match written.starts_with(WRITTEN) {
            true => "",
            false => written,
        });
        self.store.remove(key, written).await
    }
}

/// Some of the bytes, if all of that is there.
pub(crate) fn part(bytes: &Bytes, range: Range<u64>) -> Option<Bytes> {
    let (start, end) = (
        usize::try_from(range.start).ok()?,
        usize::try_from(range.end).ok()?,
    );
    (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
}
