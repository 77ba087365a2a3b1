//! Brings back what was removed a while ago: a tag, the manifest that it pointed to with its parts, and
//! the tags that are about these.

use std::collections::HashSet;

use super::Admin;
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::large::{self, ReadManifest};
use crate::meta::{GiveUp, Listing, PutManifest, SetTag};
use crate::name::{Reference, RepoName, Tag};
use crate::registry::Registry;
use crate::who::Who;

/// Manifests that come back together.
const MANIFESTS_MAX: usize = 1000;
/// What the audit trail calls it.
const EVENT: &str = "tag_undeleted";

/// What brings back what a repository had.
pub(super) struct Undelete {
    registry: Registry,
    who: Who,
    repo: RepoName,
}

/// What is done next.
enum Next {
    /// Looks for a manifest, and for what it names.
    Divide(Digest),
    /// Puts one whose parts are there.
    Put(Box<ReadManifest>, Digest),
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
        let mut back = Vec::new();
        let pointed = self.bring_back(&tag, digest, &mut back).await;
        let set = SetTag {
            who: self.who.clone(),
            repo: self.repo.clone(),
            tag,
            digest: digest.clone(),
            untagged_grace_ms: self.registry.untagged_grace_ms(),
            event: EVENT,
        };
        let pointed = match pointed {
            Ok(()) => self.registry.meta().change(set).await,
            Err(error) => Err(error),
        };
        if let Err(error) = pointed {
            self.give_up(back).await;
            return Err(error);
        }
        if !back.contains(digest) {
            back.push(digest.clone());
        }
        Ok(back)
    }

    async fn give_up(&self, back: Vec<Digest>) {
        let give_up = GiveUp {
            who: self.who.clone(),
            repo: self.repo.clone(),
            digests: back,
            graces: self.registry.graces(),
            can_come_back: true,
        };
        if let Err(error) = self.registry.meta().change(give_up).await {
            tracing::info!(repo = %self.repo, %error, "what came back in vain goes later");
        }
    }

    /// Has a manifest be there again with its tag, and before that its parts, if they were removed and
    /// their blobs are still there.
    async fn bring_back(
        &self,
        tag: &Tag,
        digest: &Digest,
        back: &mut Vec<Digest>,
    ) -> Result<(), Error> {
        let mut seen = HashSet::new();
        let mut waiting = vec![Next::Divide(digest.clone())];
        while let Some(next) = waiting.pop() {
            match next {
                Next::Divide(part) => {
                    if seen.len() >= MANIFESTS_MAX || !seen.insert(part.clone()) {
                        continue;
                    }
                    let Some(read) = self.removed(&part).await? else {
                        continue;
                    };
                    let parts = read.manifest.manifests.iter();
                    let parts: Vec<Next> = parts
                        .map(|part| Next::Divide(part.digest.clone()))
                        .collect();
                    waiting.push(Next::Put(Box::new(read), part));
                    waiting.extend(parts);
                }
                Next::Put(read, part) => {
                    let (who, repo) = (self.who.clone(), self.repo.clone());
                    let is_whole = part == *digest;
                    let put = PutManifest {
                        tags: is_whole.then(|| tag.clone()).into_iter().collect(),
                        // What an index lacked then, it may lack again.
                        allow_missing_manifests: true,
                        allow_missing_blobs: false,
                        ..read.pushed(&self.registry, who, repo, part.clone())
                    };
                    // Somebody may have pushed it meanwhile.
                    if large::put(&self.registry, put).await?.is_new {
                        back.push(part);
                    }
                }
            }
        }
        Ok(())
    }

    /// A manifest that is not there, if it was removed lately.
    async fn removed(&self, digest: &Digest) -> Result<Option<ReadManifest>, Error> {
        let meta = self.registry.meta();
        let reference = Reference::Digest(digest.clone());
        if meta.manifest(&self.repo, &reference).await?.is_some() {
            return Ok(None);
        }
        let Some(row) = meta.removed_manifest(&self.repo, digest).await? else {
            return Ok(None);
        };
        let bytes = large::bytes(&self.registry, &row).await?;
        Ok(Some(ReadManifest::of(
            &self.registry,
            Some(&row.media_type),
            bytes,
        )?))
    }
}
