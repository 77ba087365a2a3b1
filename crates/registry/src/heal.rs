//! Bytes that the store has lost or changed, and that a push brings again.
//!
//! Who pushes asks first what is there and sends only the rest. So before it is told that something is
//! there, the store is asked whether it has as many bytes as there should be. Whether they are the
//! right ones is only known once they were read: `fsck` marks those that are not. Bytes that are pushed
//! again take the place of broken ones, under a key of their own as all bytes; a cache of another
//! registry fetches them again.

use crate::digest::Digest;
use crate::error::Error;
use crate::meta::{BlobRow, Content, ManifestRow};
use crate::registry::Registry;

/// Whether the store has a blob's bytes, as far as is known without reading them.
pub(crate) async fn has_blob(registry: &Registry, blob: &BlobRow) -> Result<bool, Error> {
    match &blob.small {
        Some(bytes) => Ok(!blob.is_damaged && bytes.len() as u64 == blob.size),
        None => has(registry, &blob.data_key, blob.size, blob.is_damaged).await,
    }
}

/// Whether a manifest's bytes are there, as far as is known without reading them.
pub(crate) async fn has_manifest(registry: &Registry, row: &ManifestRow) -> Result<bool, Error> {
    match &row.content {
        Content::Here(_) => Ok(true),
        Content::Stored(data_key) => has(registry, data_key, row.size, row.is_damaged).await,
    }
}

/// The key of a blob's bytes if there is such a blob, in whatever repository, and they are broken.
pub(crate) async fn broken_key(
    registry: &Registry,
    digest: &Digest,
) -> Result<Option<String>, Error> {
    let Some(blob) = registry.meta().blob_fact(digest).await? else {
        return Ok(None);
    };
    let is_whole = has(registry, &blob.data_key, blob.size, blob.is_damaged).await?;
    Ok((!is_whole).then_some(blob.data_key))
}

async fn has(
    registry: &Registry,
    data_key: &str,
    size: u64,
    is_damaged: bool,
) -> Result<bool, Error> {
    Ok(!is_damaged && registry.store().size(data_key).await? == Some(size))
}
