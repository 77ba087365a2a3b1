//! Manifests that are put into a repository as a whole: what one names is there before it is. If that is
//! refused on the way, what was put goes again.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::large::{self, ReadManifest};
use crate::manifest::Manifest;
use crate::meta::{GiveUp, ManifestRow};
use crate::name::{RepoName, Tag};
use crate::registry::Registry;
use crate::who::Who;

/// Manifests that are put together: those of an index, and what comes along with any of them.
pub(super) const MANIFESTS_MAX: usize = 1000;

/// Where manifests are taken from.
#[async_trait]
pub(super) trait Source: Sync {
    /// A manifest that is to be put, if there is one.
    async fn find(&self, digest: &Digest) -> Result<Option<Arc<ManifestRow>>, Error>;

    /// What is put after a manifest, beside what that names: from the last to the first, with tags.
    async fn along(&self, _digest: &Digest) -> Result<Vec<(Digest, Vec<Tag>)>, Error> {
        Ok(Vec::new())
    }

    /// Has what a manifest needs be there before it is.
    async fn prepare(&self, _manifest: &Manifest) -> Result<(), Error> {
        Ok(())
    }
}

/// What is done next.
enum Next {
    /// Looks for a manifest, and what belongs to it. It is to have these tags.
    Divide(Digest, Vec<Tag>),
    /// Puts one whose parts are there.
    Put(Arc<ManifestRow>, Digest, Vec<Tag>),
}

/// What came of it so far.
#[derive(Default)]
pub(super) struct Assembled {
    /// Manifests that the repository did not have.
    pub(super) new: Vec<Digest>,
    /// How many it does not have that others name.
    pub(super) missing: i64,
    /// Those without a tag, and until when they wait for one.
    untagged: Vec<(Digest, i64)>,
}

/// Manifests on their way into a repository.
pub(super) struct Assembly<'s> {
    source: &'s dyn Source,
    registry: &'s Registry,
    who: &'s Who,
    repo: &'s RepoName,
    /// Whether the repository had them before: they may lack what they lacked then, and what goes again
    /// can be brought back as before.
    is_back: bool,
    done: Assembled,
}

impl<'s> Assembly<'s> {
    pub(super) fn new(
        source: &'s dyn Source,
        registry: &'s Registry,
        who: &'s Who,
        repo: &'s RepoName,
    ) -> Self {
        Self {
            source,
            registry,
            who,
            repo,
            is_back: false,
            done: Assembled::default(),
        }
    }

    /// The same, of what the repository had before.
    pub(super) fn back(self) -> Self {
        Self {
            is_back: true,
            ..self
        }
    }

    /// Puts a manifest and all that belongs to it, and then points these tags to it. Each is put as it was
    /// found, whatever becomes of it meanwhile.
    pub(super) async fn run(
        &mut self,
        whole: Arc<ManifestRow>,
        tags: Vec<Tag>,
    ) -> Result<(), Error> {
        let digest = Digest::parse(&whole.digest)?;
        let (mut seen, mut found) = (HashSet::from([digest.clone()]), 1);
        let mut waiting = Vec::new();
        let (first, of_first) = (Arc::clone(&whole), digest.clone());
        self.divide(first, of_first, Vec::new(), &mut waiting)
            .await?;
        while let Some(next) = waiting.pop() {
            let (digest, tags) = match next {
                Next::Divide(digest, tags) => (digest, tags),
                Next::Put(row, digest, tags) => {
                    self.put(&row, digest, tags).await?;
                    continue;
                }
            };
            if !seen.insert(digest.clone()) {
                continue;
            }
            let Some(row) = self.source.find(&digest).await? else {
                continue;
            };
            found += 1;
            if found > MANIFESTS_MAX {
                let message = format!("at most {MANIFESTS_MAX} manifests are put together");
                return Err(Error::new(Code::ManifestInvalid, message));
            }
            self.divide(row, digest, tags, &mut waiting).await?;
        }
        match tags.is_empty() {
            true => Ok(()),
            false => self.put(&whole, digest, tags).await,
        }
    }

    /// Has a manifest put after its parts, and what comes along after it.
    async fn divide(
        &self,
        row: Arc<ManifestRow>,
        digest: Digest,
        tags: Vec<Tag>,
        waiting: &mut Vec<Next>,
    ) -> Result<(), Error> {
        let along = self.source.along(&digest).await?;
        waiting.extend(along.into_iter().map(|(one, tags)| Next::Divide(one, tags)));
        let parts = ReadManifest::of_row(self.registry, &row).await?;
        waiting.push(Next::Put(row, digest, tags));
        let parts = parts.manifest.manifests.into_iter();
        waiting.extend(parts.map(|part| Next::Divide(part.digest, Vec::new())));
        Ok(())
    }

    async fn put(
        &mut self,
        row: &ManifestRow,
        digest: Digest,
        tags: Vec<Tag>,
    ) -> Result<(), Error> {
        let read = ReadManifest::of_row(self.registry, row).await?;
        self.source.prepare(&read.manifest).await?;
        let (who, repo) = (self.who.clone(), self.repo.clone());
        let mut put = read.pushed(self.registry, who, repo, digest.clone());
        put.tags = tags;
        put.allow_missing_manifests |= self.is_back;
        // Nobody pushes later what is not there.
        put.allow_missing_blobs = false;
        let stored = large::put(self.registry, put).await?;
        self.done.missing += stored.missing_manifests;
        // What was there before stays, whatever becomes of this.
        if stored.is_new {
            self.done.new.push(digest.clone());
        }
        if let Some(until_ms) = stored.waits_until_ms {
            self.done.untagged.push((digest, until_ms));
        }
        Ok(())
    }

    /// What came of it, if all went well until now; else what was put goes.
    pub(super) async fn end(self, result: Result<(), Error>) -> Result<Assembled, Error> {
        let Err(error) = result else {
            return Ok(self.done);
        };
        let give_up = GiveUp {
            who: self.who.clone(),
            repo: self.repo.clone(),
            manifests: self.done.untagged,
            graces: self.registry.graces(),
            can_come_back: self.is_back,
        };
        if let Err(error) = self.registry.meta().change(give_up).await {
            tracing::info!(repo = %self.repo, %error, "what was put in vain goes later");
        }
        Err(error)
    }
}
