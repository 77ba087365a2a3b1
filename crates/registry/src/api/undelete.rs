//! Brings manifests back that were removed a while ago.

use super::Admin;
use crate::digest::Digest;
use crate::error::Error;
use crate::large;
use crate::manifest;
use crate::meta::{Condition, PutManifest};
use crate::name::{Reference, RepoName};

/// Has a manifest be there again, if it was removed and its blobs are still there.
pub(super) async fn bring_back(
    admin: &Admin,
    repo: &RepoName,
    digest: &Digest,
) -> Result<(), Error> {
    let (registry, meta) = (&admin.registry, admin.registry.meta());
    let reference = Reference::Digest(digest.clone());
    if meta.manifest(repo, &reference).await?.is_some() {
        return Ok(());
    }
    let Some(row) = meta.removed_manifest(repo, digest).await? else {
        return Ok(());
    };
    let bytes = large::bytes(registry, &row).await?;
    let descriptors_max = registry.config().limits.descriptors_max;
    let (media_type, manifest) = manifest::read(Some(&row.media_type), &bytes, descriptors_max)?;
    let put = PutManifest {
        repo: repo.clone(),
        digest: digest.clone(),
        media_type,
        manifest,
        bytes,
        data_key: None,
        broken_key: None,
        tags: Vec::new(),
        condition: Condition::default(),
        who: admin.who(),
        // What an index lacked then, it may lack again.
        allow_missing_manifests: true,
        allow_missing_blobs: false,
        untagged_grace_ms: registry.untagged_grace_ms(),
        is_copy: false,
    };
    large::put(registry, put).await.map(|_| ())
}
