//! Copies of artifacts: what was tested in one project is promoted to another without passing
//! through a client. Bytes are not copied: the other project links to the same blobs.

use std::collections::HashSet;
use std::sync::Arc;

use super::answers::{At, Created};
use super::repositories::{WITH_FROM, repo};
use super::{Admin, Operations, Outcome, Path, answer, wrong};
use crate::auth::{Action, Role};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::large::{self, ReadManifest};
use crate::meta::{
    GiveUp, ManifestRow, Mount, PutManifest, ReferrersPage, Stored, unknown_manifest,
};
use crate::name::{Reference, RepoName, Tag};
use crate::registry::Registry;
use crate::who::Who;

/// Manifests that one copy takes along: those of an index, and what refers to any of them.
const MANIFESTS_MAX: usize = 1000;
/// Bytes of annotations that are read at once to find what refers to a manifest.
const ANNOTATION_BYTES: usize = 4 << 20;

/// What can be done to have artifacts elsewhere.
pub(super) fn operations(all: Operations) -> Operations {
    let artifacts = "/projects/{project}/repositories/{repository}/artifacts";
    let summary = "Copy an artifact with its tags from ?from=project/repository:tag, or @digest";
    all.about("artifact")
        .post_with(artifacts, "CopyArtifact", summary, "from", copy)
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

async fn copy(
    admin: Admin,
    Path((project, repository)): Path<(String, String)>,
) -> Outcome<Created<At<()>>> {
    answer(&admin, async {
        let role = Role::Developer;
        admin.require_action(&project, Action::Push, role).await?;
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
            registry: admin.registry.clone(),
            who: admin.who(),
            from,
            to,
        };
        let (digest, missing) = admin.to_its_end("copying", copying.run(reference)).await?;
        if missing > 0 {
            let _ = admin
                .warning
                .set(format!("{missing} manifests of this one were not there"));
        }
        let path = format!("{}/{digest}", admin.uri.path());
        Ok(Created(At(Some(path), ())))
    })
    .await
}

/// What a copy does next.
enum Next {
    /// Looks for a manifest, and what belongs to it. It has these tags there.
    Divide(Digest, Vec<Tag>),
    /// Puts one whose parts are there.
    Put(Arc<ManifestRow>, Digest, Vec<Tag>),
}

struct Copying {
    registry: Registry,
    who: Who,
    from: RepoName,
    to: RepoName,
}

impl Copying {
    /// Copies an artifact as a whole; gives its digest, and how many manifests it lacks. Of one that is
    /// refused on the way, what was put goes.
    async fn run(self, reference: Reference) -> Result<(Digest, i64), Error> {
        let mut put = Vec::new();
        let copied = self.copy(&reference, &mut put).await;
        if copied.is_err() {
            let give_up = GiveUp {
                who: self.who.clone(),
                repo: self.to.clone(),
                digests: put,
                graces: self.registry.graces(),
                can_come_back: false,
            };
            if let Err(error) = self.registry.meta().change(give_up).await {
                tracing::info!(repo = %self.to, %error, "what was copied in vain goes later");
            }
        }
        copied
    }

    /// Copies an artifact, all that it is made of and all that refers to it; what a manifest names
    /// is there before it is. Each is put as it was found, whatever becomes of it meanwhile.
    async fn copy(
        &self,
        reference: &Reference,
        put: &mut Vec<Digest>,
    ) -> Result<(Digest, i64), Error> {
        let root = self.find(reference).await?;
        let root = root.ok_or_else(|| unknown_manifest(&self.from, reference))?;
        let whole = Digest::parse(&root.digest)?;
        let tags = self.tags(&whole, reference).await?;
        let mut seen = HashSet::from([whole.clone()]);
        let (mut waiting, mut missing) = (Vec::new(), 0);
        self.divide(root, whole.clone(), tags, &mut waiting).await?;
        while let Some(next) = waiting.pop() {
            let (digest, tags) = match next {
                Next::Divide(digest, tags) => (digest, tags),
                Next::Put(row, digest, tags) => {
                    let stored = self.put(&row, &digest, tags).await?;
                    missing += stored.missing_manifests;
                    // What was there before stays, whatever becomes of the copy.
                    if stored.is_new {
                        put.push(digest);
                    }
                    continue;
                }
            };
            if !seen.insert(digest.clone()) {
                continue;
            }
            if seen.len() > MANIFESTS_MAX {
                let message = format!("one copy takes at most {MANIFESTS_MAX} manifests along");
                return Err(Error::new(Code::ManifestInvalid, message));
            }
            match self.find(&Reference::Digest(digest.clone())).await? {
                Some(row) => self.divide(row, digest, tags, &mut waiting).await?,
                // An index may name blobs, or what is not there.
                None => self.mount(&digest).await?,
            }
        }
        Ok((whole, missing))
    }

    /// Has a manifest put after its parts, and what refers to it after it.
    async fn divide(
        &self,
        row: Arc<ManifestRow>,
        digest: Digest,
        tags: Vec<Tag>,
        waiting: &mut Vec<Next>,
    ) -> Result<(), Error> {
        let without_tags = |digest| Next::Divide(digest, Vec::new());
        let referrers = self.referrers(&digest).await?;
        let parts = self.read(&row).await?.manifest.manifests;
        waiting.extend(referrers.into_iter().map(without_tags));
        // Before them, as one may be the other.
        let companions = self.registry.meta().companions(&self.from, &digest).await?;
        waiting.extend(
            companions
                .into_iter()
                .map(|(tag, digest)| Next::Divide(digest, vec![tag])),
        );
        waiting.push(Next::Put(row, digest, tags));
        let parts = parts.into_iter().map(|part| part.digest);
        waiting.extend(parts.map(without_tags));
        Ok(())
    }

    async fn find(&self, reference: &Reference) -> Result<Option<Arc<ManifestRow>>, Error> {
        self.registry.meta().manifest(&self.from, reference).await
    }

    async fn read(&self, row: &ManifestRow) -> Result<ReadManifest, Error> {
        let registry = &self.registry;
        let bytes = large::bytes(registry, row).await?;
        ReadManifest::of(registry, Some(&row.media_type), bytes)
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Digest>, Error> {
        let limit = u32::try_from(MANIFESTS_MAX).unwrap_or(u32::MAX);
        let (mut all, mut last) = (Vec::new(), String::new());
        loop {
            let page = ReferrersPage {
                subject,
                artifact_type: "",
                last: &last,
                limit,
                bytes_max: ANNOTATION_BYTES,
            };
            let (found, is_cut) = self.registry.meta().referrers(&self.from, &page).await?;
            for one in &found {
                all.push(Digest::parse(&one.digest)?);
            }
            match found.last() {
                Some(one) if is_cut && all.len() < MANIFESTS_MAX => last.clone_from(&one.digest),
                _ => return Ok(all),
            }
        }
    }

    /// Puts a manifest where it is copied to, with its blobs and with tags.
    async fn put(
        &self,
        row: &ManifestRow,
        digest: &Digest,
        tags: Vec<Tag>,
    ) -> Result<Stored, Error> {
        let registry = &self.registry;
        let read = self.read(row).await?;
        for blob in read.manifest.blobs.iter().chain(&read.manifest.foreign) {
            self.mount(&blob.digest).await?;
        }
        let (who, to) = (self.who.clone(), self.to.clone());
        let put = PutManifest {
            tags,
            // Nobody pushes later what is not there.
            allow_missing_blobs: false,
            ..read.pushed(registry, who, to, digest.clone())
        };
        large::put(registry, put).await
    }

    /// Has a blob where it is copied to, if it is there.
    async fn mount(&self, digest: &Digest) -> Result<(), Error> {
        let registry = &self.registry;
        let mount = Mount {
            repo: self.to.clone(),
            digest: digest.clone(),
            from: self.from.clone(),
            grace_ms: registry.blob_grace_ms(),
            who: self.who.clone(),
        };
        registry.meta().change(mount).await.map(|_| ())
    }

    /// The tags of what is copied, with the one that it was found by.
    async fn tags(&self, digest: &Digest, found_by: &Reference) -> Result<Vec<Tag>, Error> {
        let artifact = self.registry.meta().artifact(&self.from, digest);
        let tags = artifact.await?.map(|artifact| artifact.tags);
        let tags = tags.unwrap_or_default();
        let mut tags: Vec<Tag> = tags
            .iter()
            .map(|tag| Tag::parse(&tag.name))
            .collect::<Result<_, _>>()?;
        if let Reference::Tag(tag) = found_by
            && !tags.contains(tag)
        {
            tags.push(tag.clone());
        }
        Ok(tags)
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
