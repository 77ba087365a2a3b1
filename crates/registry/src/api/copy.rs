//! Copies of artifacts: what was tested in one project is promoted to another without passing
//! through a client. Bytes are not copied: the other project links to the same blobs.

use std::collections::HashSet;

use axum::response::IntoResponse;
use bytes::Bytes;
use http::StatusCode;
use http::header::LOCATION;

use super::repositories::{WITH_FROM, repo};
use super::{Admin, Operations, Outcome, PREFIX, Path, wrong};
use crate::auth::Role;
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::large;
use crate::manifest;
use crate::meta::{Condition, ManifestRow, Mount, PutManifest, unknown_manifest};
use crate::name::{Reference, RepoName, Tag};

/// Manifests that one copy takes along: those of an index, and what refers to any of them.
const MANIFESTS_MAX: usize = 1000;
/// Bytes of annotations that are read at once to find what refers to a manifest.
const ANNOTATION_BYTES: usize = 4 << 20;

/// What can be done to have artifacts elsewhere.
pub(super) fn operations(all: Operations) -> Operations {
    let artifacts = "/projects/{project}/repositories/{repository}/artifacts";
    let summary = "Copy an artifact with its tags from ?from=project/repository:tag, or @digest";
    all.make_with(artifacts, summary, &WITH_FROM, copy)
}

/// The repository and the artifact that `from` names.
fn source(from: &str) -> Result<(RepoName, Reference), Error> {
    if let Some((repo, digest)) = from.split_once('@') {
        let digest = Digest::parse(digest)?;
        return Ok((RepoName::parse(repo)?, Reference::Digest(digest)));
    }
    let (repo, tag) = from
        .rsplit_once(':')
        .ok_or_else(|| wrong("from is like project/repository:tag or project/repository@digest"))?;
    Ok((RepoName::parse(repo)?, Reference::Tag(Tag::parse(tag)?)))
}

async fn copy(admin: Admin, Path((project, repository)): Path<(String, String)>) -> Outcome {
    let copied = async {
        admin.require_role(&project, Some(Role::Developer)).await?;
        admin.require_writable()?;
        admin.listing(&WITH_FROM)?;
        let (from, reference) = source(admin.param("from").unwrap_or_default())?;
        admin.require_role(from.project(), None).await?;
        let to = repo(&project, &repository)?;
        if admin.registry.meta().upstream_of(&project).await?.is_some() {
            let message = format!("project {project} is a cache, which nobody pushes to");
            return Err(Error::new(Code::Unsupported, message));
        }
        super::projects::found(&admin, &project).await?;
        let copying = Copying {
            admin: &admin,
            from,
            to,
        };
        let digest = copying.run(&reference).await?;
        let path = format!("{PREFIX}{}/{digest}", admin.uri.path());
        Ok((StatusCode::CREATED, [(LOCATION, path)]).into_response())
    };
    let copied = copied.await;
    admin.outcome(copied)
}

struct Copying<'a> {
    admin: &'a Admin,
    from: RepoName,
    to: RepoName,
}

impl Copying<'_> {
    /// Copies an artifact, all that it is made of and all that refers to it; what a manifest names
    /// is there before it is.
    async fn run(&self, reference: &Reference) -> Result<Digest, Error> {
        let root = self.find(reference).await?;
        let root = root.ok_or_else(|| unknown_manifest(&self.from, reference))?;
        let root = Digest::parse(&root.digest)?;
        let mut seen = HashSet::new();
        // What is under the mark has its parts copied.
        let mut waiting = vec![(root.clone(), false)];
        while let Some((digest, is_ready)) = waiting.pop() {
            let Some(row) = self.find(&Reference::Digest(digest.clone())).await? else {
                // An index may name manifests that are not there.
                continue;
            };
            if is_ready {
                self.put(&row, &digest, digest == root).await?;
                continue;
            }
            if !seen.insert(digest.clone()) {
                continue;
            }
            if seen.len() > MANIFESTS_MAX {
                let message = format!("one copy takes at most {MANIFESTS_MAX} manifests along");
                return Err(Error::new(Code::ManifestInvalid, message));
            }
            for referrer in self.referrers(&digest).await? {
                waiting.push((referrer, false));
            }
            waiting.push((digest, true));
            let parts = self.read(&row).await?.1.manifests;
            waiting.extend(parts.into_iter().map(|part| (part.digest, false)));
        }
        Ok(root)
    }

    async fn find(
        &self,
        reference: &Reference,
    ) -> Result<Option<std::sync::Arc<ManifestRow>>, Error> {
        self.admin
            .registry
            .meta()
            .manifest(&self.from, reference)
            .await
    }

    async fn read(&self, row: &ManifestRow) -> Result<(String, manifest::Manifest, Bytes), Error> {
        let registry = &self.admin.registry;
        let bytes = large::bytes(registry, row).await?;
        let descriptors_max = registry.config().limits.descriptors_max;
        let (media_type, read) = manifest::read(Some(&row.media_type), &bytes, descriptors_max)?;
        Ok((media_type, read, bytes))
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Digest>, Error> {
        let limit = u32::try_from(MANIFESTS_MAX).unwrap_or(u32::MAX);
        let (meta, bounds) = (self.admin.registry.meta(), (limit, ANNOTATION_BYTES));
        let (mut all, mut last) = (Vec::new(), String::new());
        loop {
            let found = meta.referrers(&self.from, subject, "", &last, bounds);
            let (found, is_cut) = found.await?;
            for one in &found {
                all.push(Digest::parse(&one.digest)?);
            }
            match found.last() {
                Some(one) if is_cut && all.len() < MANIFESTS_MAX => last.clone_from(&one.digest),
                _ => return Ok(all),
            }
        }
    }

    /// Puts a manifest where it is copied to, with its blobs, and its tags if it is what was asked
    /// for.
    async fn put(&self, row: &ManifestRow, digest: &Digest, is_root: bool) -> Result<(), Error> {
        let registry = &self.admin.registry;
        let (media_type, manifest, bytes) = self.read(row).await?;
        for blob in &manifest.blobs {
            let mount = Mount {
                repo: self.to.clone(),
                digest: blob.digest.clone(),
                from: self.from.clone(),
                grace_ms: registry.blob_grace_ms(),
                who: self.admin.who(),
            };
            registry.meta().change(mount).await?;
        }
        let tags = match is_root {
            true => self.tags(digest).await?,
            false => Vec::new(),
        };
        let limits = &registry.config().limits;
        let put = PutManifest {
            repo: self.to.clone(),
            digest: digest.clone(),
            media_type,
            manifest,
            bytes,
            data_key: None,
            broken_key: None,
            tags,
            condition: Condition::default(),
            who: self.admin.who(),
            allow_missing_manifests: limits.allow_missing_manifests,
            allow_missing_blobs: limits.allow_missing_blobs,
            untagged_grace_ms: registry.untagged_grace_ms(),
            is_copy: false,
        };
        large::put(registry, put).await.map(|_| ())
    }

    async fn tags(&self, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let artifact = self.admin.registry.meta().artifact(&self.from, digest);
        let tags = artifact.await?.map(|artifact| artifact.tags);
        let tags = tags.unwrap_or_default();
        tags.iter().map(|tag| Tag::parse(&tag.name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (from, repo, reference) in [
            ("team/app:v1", "team/app", "v1".to_owned()),
            (&format!("team/a/b@{digest}"), "team/a/b", digest.clone()),
        ] {
            let (found, by) = source(from).unwrap();
            assert_eq!((found.as_str(), by.to_string()), (repo, reference));
        }
        for wrong in ["", "team/app", "TEAM/app:v1", "team/app@v1", "team/app:"] {
            assert!(source(wrong).is_err(), "{wrong}");
        }
    }
}
