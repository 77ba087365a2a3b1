//! Brings back what was removed a while ago: a tag, the manifest that it pointed to with its parts, and
//! the tags that are about these.

use std::sync::Arc;

use async_trait::async_trait;

use super::Admin;
use super::assembly::{Assembly, Source};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::meta::{Listing, ManifestRow, SetTag};
use crate::name::{Reference, RepoName, Tag};
use crate::registry::Registry;
use crate::who::Who;

/// What the audit trail calls it.
const EVENT: &str = "tag_undeleted";

/// What brings back what a repository had.
pub(super) struct Undelete {
    registry: Registry,
    who: Who,
    repo: RepoName,
}

impl Undelete {
    pub(super) fn new(admin: &Admin, repo: RepoName) -> Self {
        Self {
            registry: admin.registry.clone(),
            who: admin.who(),
            repo,
        }
    }

    /// Points a tag to where it pointed before: to this digest, or else to the last. Tags that are about
    /// what it points to and went with it or later come back too, as far as they can.
    pub(super) async fn run(&self, tag: Tag, digest: Option<Digest>) -> Result<(), Error> {
        let meta = self.registry.meta();
        let digest = match digest {
            Some(digest) => digest,
            None => self.last(&tag).await?,
        };
        let since_ms = meta.moved_ms(&self.repo, &tag).await?;
        let manifests = self.point(tag, &digest).await?;
        for about in manifests {
            let begin = about.as_str().replacen(':', "-", 1);
            for (name, digest) in meta.taken_tags(&self.repo, &begin, since_ms).await? {
                let (tag, digest) = (Tag::parse(&name)?, Digest::parse(&digest)?);
                if let Err(error) = self.point(tag, &digest).await {
                    tracing::info!(repo = %self.repo, %name, %error, "a tag did not come back");
                }
            }
        }
        Ok(())
    }

    async fn last(&self, tag: &Tag) -> Result<Digest, Error> {
        let newest = Listing::newest();
        let meta = self.registry.meta();
        let mut history = meta.tag_history(&self.repo, tag, &newest).await?;
        let last = history.rows.pop().and_then(|moved| moved.old_digest);
        let last = last.ok_or_else(|| {
            let message = format!("tag {} pointed nowhere before", tag.as_str());
            Error::new(Code::ManifestUnknown, message)
        })?;
        Digest::parse(&last)
    }

    /// Points a tag to a manifest, which comes back if it is not there; gives it, and what came back of
    /// its parts. If that is refused, they go again.
    async fn point(&self, tag: Tag, digest: &Digest) -> Result<Vec<Digest>, Error> {
        let set = SetTag {
            who: self.who.clone(),
            repo: self.repo.clone(),
            tag,
            digest: digest.clone(),
            untagged_grace_ms: self.registry.untagged_grace_ms(),
            event: EVENT,
        };
        let mut assembly = Assembly::new(self, &self.registry, &self.who, &self.repo).back();
        let pointed = async {
            if let Some(row) = self.find(digest).await? {
                assembly.run(row, Vec::new()).await?;
            }
            self.registry.meta().change(set).await
        };
        let pointed = pointed.await;
        let mut back = assembly.end(pointed).await?.new;
        if !back.contains(digest) {
            back.push(digest.clone());
        }
        Ok(back)
    }
}

#[async_trait]
impl Source for Undelete {
    /// A manifest that is not there, if it was removed lately.
    async fn find(&self, digest: &Digest) -> Result<Option<Arc<ManifestRow>>, Error> {
        let meta = self.registry.meta();
        let reference = Reference::Digest(digest.clone());
        if meta.manifest(&self.repo, &reference).await?.is_some() {
            return Ok(None);
        }
        let removed = meta.removed_manifest(&self.repo, digest).await?;
        Ok(removed.map(Arc::new))
    }
}
