//! Brings manifests back that were removed a while ago.

use super::Admin;
use crate::digest::Digest;
use crate::error::Error;
use crate::large::{self, ReadManifest};
use crate::meta::PutManifest;
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
    let read = ReadManifest::of(registry, Some(&row.media_type), bytes)?;
    let put = PutManifest {
        // What an index lacked then, it may lack again.
        allow_missing_manifests: true,
        allow_missing_blobs: false,
        ..read.pushed(registry, admin.who(), repo.clone(), digest.clone())
    };
    large::put(registry, put).await.map(|_| ())
}
