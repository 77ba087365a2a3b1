//! Manifests on their way in and out, whatever their size.
//!
//! A manifest up to `registry.database.manifest_bytes_max` is in its row. The bytes of a larger one are
//! put into the store before, under a key that is reserved while nothing names it: all other changes
//! would have to wait until the database had written them.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;

use crate::digest::Digest;
use crate::error::Error;
use crate::heal;
use crate::manifest::{self, Manifest};
use crate::meta::{Condition, Content, ManifestRow, PutManifest, Release, Reserve, Stored};
use crate::name::{Reference, RepoName};
use crate::registry::Registry;
use crate::store::{self, StoreError};
use crate::who::Who;

/// Bytes of a manifest that were read.
pub(crate) struct ReadManifest {
    pub(crate) media_type: String,
    pub(crate) manifest: Manifest,
    pub(crate) bytes: Bytes,
}

impl ReadManifest {
    /// Reads the bytes of a manifest that is said to be of this type.
    ///
    /// # Errors
    /// If they are none, or name more than one may.
    pub(crate) fn of(
        registry: &Registry,
        media_type: Option<&str>,
        bytes: Bytes,
    ) -> Result<Self, Error> {
        let descriptors_max = registry.config().limits.descriptors_max;
        let (media_type, manifest) = manifest::read(media_type, &bytes, descriptors_max)?;
        Ok(Self {
            media_type,
            manifest,
            bytes,
        })
    }

    /// Reads one that is there, or was.
    pub(crate) async fn of_row(registry: &Registry, row: &ManifestRow) -> Result<Self, Error> {
        let bytes = bytes(registry, row).await?;
        Self::of(registry, Some(&row.media_type), bytes)
    }

    /// What puts it into a repository as a push does: without a tag, and whatever is there.
    pub(crate) fn pushed(
        self,
        registry: &Registry,
        who: Who,
        repo: RepoName,
        digest: Digest,
    ) -> PutManifest {
        let limits = &registry.config().limits;
        PutManifest {
            repo,
            digest,
            media_type: self.media_type,
            manifest: self.manifest,
            bytes: self.bytes,
            data_key: None,
            broken_key: None,
            tags: Vec::new(),
            condition: Condition::default(),
            who,
            allow_missing_manifests: limits.allow_missing_manifests,
            allow_missing_blobs: limits.allow_missing_blobs,
            untagged_grace_ms: registry.untagged_grace_ms(),
            is_copy: false,
        }
    }
}

/// Puts a manifest into its repository.
pub(crate) async fn put(registry: &Registry, mut put: PutManifest) -> Result<Stored, Error> {
    let meta = registry.meta();
    let is_large = put.bytes.len() as u64 > registry.config().database.manifest_bytes_max.0;
    let reference = Reference::Digest(put.digest.clone());
    if !is_large {
        return meta.change(put).await;
    }
    if let Some(row) = meta.manifest(&put.repo, &reference).await? {
        if heal::has_manifest(registry, &row).await? {
            // If it goes meanwhile, the bytes come into its row, which takes longer and is as good.
            return meta.change(put).await;
        }
        put.broken_key = row.content.data_key().map(str::to_owned);
    }
    let data_key = store::new_key();
    write(registry, &data_key, put.bytes.clone()).await?;
    put.data_key = Some(data_key.clone());
    let stored = meta.change(put).await;
    if stored.is_err()
        && let Err(error) = meta.change(Release { data_key }).await
    {
        tracing::debug!(%error, "the bytes of a refused manifest go later");
    }
    stored
}

/// Puts bytes into the store that are not named yet.
async fn write(registry: &Registry, data_key: &str, bytes: Bytes) -> Result<(), Error> {
    let size = bytes.len() as u64;
    let reserve = |written: String| Reserve {
        data_key: data_key.to_owned(),
        written,
        size,
    };
    registry.meta().change(reserve(String::new())).await?;
    let mut appender = registry.store().append(data_key, "", 0).await?;
    appender.write(bytes).await?;
    if appender.must_save() {
        let written = appender.begun()?;
        registry.meta().change(reserve(written)).await?;
    }
    Ok(appender.finish().await?)
}

/// The bytes of a manifest, to be read here.
pub(crate) async fn bytes(registry: &Registry, row: &ManifestRow) -> Result<Bytes, Error> {
    match &row.content {
        Content::Here(bytes) => Ok(bytes.clone()),
        Content::Stored(data_key) => read(registry, data_key, row.size).await,
    }
}

/// All so many bytes of an object that is in the store.
pub(crate) async fn read(registry: &Registry, data_key: &str, size: u64) -> Result<Bytes, Error> {
    let mut pieces = registry.store().read(data_key, 0..size).await?;
    let mut all = BytesMut::new();
    while let Some(piece) = pieces.try_next().await? {
        all.extend_from_slice(&piece);
    }
    match all.len() as u64 == size {
        true => Ok(all.freeze()),
        false => Err(StoreError::Lost {
            key: data_key.to_owned(),
        }
        .into()),
    }
}

/// The bytes of a manifest, on their way to a client.
pub(crate) async fn body(registry: &Registry, row: &ManifestRow) -> Result<Body, Error> {
    Ok(match &row.content {
        Content::Here(bytes) => Body::from(bytes.clone()),
        Content::Stored(data_key) => {
            Body::from_stream(registry.store().read(data_key, 0..row.size).await?)
        }
    })
}
