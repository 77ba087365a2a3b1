//! Copies of artifacts: what was tested in one project is promoted to another without passing
//! through a client. Bytes are not copied: the other project links to the same blobs.

use std::sync::Arc;

use async_trait::async_trait;

use super::answers::{At, Created};
use super::assembly::{Assembly, MANIFESTS_MAX, Source};
use super::repositories::{WITH_FROM, repo};
use super::{Admin, Operations, Outcome, Path, answer, wrong};
use crate::auth::{Action, Role};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::manifest::Manifest;
use crate::meta::{ManifestRow, Mount, ReferrersPage, unknown_manifest};
use crate::name::{Reference, RepoName, Tag};
use crate::registry::Registry;
use crate::who::Who;

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

struct Copying {
    registry: Registry,
    who: Who,
    from: RepoName,
    to: RepoName,
}

impl Copying {
    /// Copies an artifact, all that it is made of and all that refers to it; gives its digest, and how
    /// many manifests it lacks.
    async fn run(self, reference: Reference) -> Result<(Digest, i64), Error> {
        let found = self.registry.meta().manifest(&self.from, &reference);
        let found = found.await?;
        let found = found.ok_or_else(|| unknown_manifest(&self.from, &reference))?;
        let digest = Digest::parse(&found.digest)?;
        let tags = self.tags(&digest, &reference).await?;
        let mut assembly = Assembly::new(&self, &self.registry, &self.who, &self.to);
        let copied = assembly.run(found, tags).await;
        let copied = assembly.end(copied).await?;
        Ok((digest, copied.missing))
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

#[async_trait]
impl Source for Copying {
    async fn find(&self, digest: &Digest) -> Result<Option<Arc<ManifestRow>>, Error> {
        let reference = Reference::Digest(digest.clone());
        let found = self.registry.meta().manifest(&self.from, &reference);
        let found = found.await?;
        if found.is_none() {
            // An index may name blobs, or what is not there.
            self.mount(digest).await?;
        }
        Ok(found)
    }

    async fn along(&self, digest: &Digest) -> Result<Vec<(Digest, Vec<Tag>)>, Error> {
        let referrers = self.referrers(digest).await?.into_iter();
        // Before those, as one may be the other.
        let companions = self.registry.meta().companions(&self.from, digest);
        let companions = companions.await?.into_iter();
        let referrers = referrers.map(|digest| (digest, Vec::new()));
        let companions = companions.map(|(tag, digest)| (digest, vec![tag]));
        Ok(referrers.chain(companions).collect())
    }

    async fn prepare(&self, manifest: &Manifest) -> Result<(), Error> {
        for blob in manifest.blobs.iter().chain(&manifest.foreign) {
            self.mount(&blob.digest).await?;
        }
        Ok(())
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
