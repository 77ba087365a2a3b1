//! Manifests of caches.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName};
use reqwest::Response;

use super::Failed;
use super::ask::{self, Question};
use super::wanted::{Changing, Found, Wanted};
use crate::digest::{Algorithm, Digest};
use crate::error::{Code, Error};
use crate::heal;
use crate::large::{self, ReadManifest};
use crate::meta::{Content, ManifestRow, PutManifest, Upstream, unknown_manifest};
use crate::metrics::Cached;
use crate::name::{Reference, RepoName, Tag};
use crate::registry::Registry;
use crate::who::Who;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest of a repository that is a copy of another registry's.
pub(crate) async fn find(
    registry: &Registry,
    upstream: &Arc<Upstream>,
    repo: &RepoName,
    reference: &Reference,
    who: &Who,
) -> Result<Found<Arc<ManifestRow>>, Error> {
    let wanted = Wanted::new(registry, upstream, repo, who)?;
    let found = match reference {
        Reference::Digest(digest) => wanted.by_digest(digest).await,
        Reference::Tag(tag) => wanted.by_tag(tag).await,
    };
    let found = found.map_err(|failed| failed.error(Code::ManifestUnknown))?;
    let metrics = registry.metrics();
    found.count(metrics, Cached::manifest);
    metrics.proxy_sent(Cached::manifest, found.given.size);
    Ok(found)
}

/// Where a tag points.
#[derive(Clone)]
struct PointsTo(Tag);

#[async_trait]
impl Changing for PointsTo {
    type Given = Arc<ManifestRow>;

    fn key(&self, repo: &RepoName) -> String {
        format!("{repo}:{}", self.0.as_str())
    }

    fn asked(&self, wanted: &Wanted) -> Option<Instant> {
        let checked = &wanted.registry.proxy().checked;
        checked.get(&self.key(&wanted.repo))
    }

    async fn here(&self, wanted: &Wanted) -> Result<Option<Self::Given>, Failed> {
        wanted.here(&Reference::Tag(self.0.clone())).await
    }

    async fn ask(&self, wanted: &Wanted) -> Result<(Self::Given, &'static str), Failed> {
        wanted.refresh(&self.0).await
    }
}

/// A manifest as it came.
struct Came {
    digest: Digest,
    media_type: Option<String>,
    bytes: Bytes,
}

impl Wanted {
    /// What is here, unless its bytes are broken.
    async fn here(&self, reference: &Reference) -> Result<Option<Arc<ManifestRow>>, Failed> {
        let row = self.registry.meta().manifest(&self.repo, reference).await?;
        Ok(match row {
            Some(row) if heal::has_manifest(&self.registry, &row).await? => Some(row),
            _ => None,
        })
    }

    async fn by_digest(&self, digest: &Digest) -> Result<Found<Arc<ManifestRow>>, Failed> {
        let reference = Reference::Digest(digest.clone());
        let key = format!("{}@{digest}", self.repo);
        if let Some(row) = self.here(&reference).await? {
            return Ok(Found::as_it_is(row, "hit"));
        }
        let _turn = self.registry.proxy().turn(&key).await?;
        let row = match self.here(&reference).await? {
            Some(row) => row,
            None => {
                let came = self.unless_unknown(&key, self.get(&reference)).await?;
                self.take(came, None).await?
            }
        };
        Ok(Found::as_it_is(row, "miss"))
    }

    async fn by_tag(&self, tag: &Tag) -> Result<Found<Arc<ManifestRow>>, Failed> {
        match self.current(PointsTo(tag.clone())).await {
            Ok(found) => Ok(found),
            Err(failed) => {
                let here = self.here(&Reference::Tag(tag.clone())).await?;
                Found::stale(here, failed, "this is what it had when it was asked last")
            }
        }
    }

    /// It was asked just now where a tag points.
    fn note_checked(&self, tag: &Tag) {
        let checked = &self.registry.proxy().checked;
        checked.insert(PointsTo(tag.clone()).key(&self.repo), Instant::now());
    }

    /// Has a tag point where it points there; gives what is there, and whether it was fetched for that.
    async fn refresh(&self, tag: &Tag) -> Result<(Arc<ManifestRow>, &'static str), Failed> {
        let reference = Reference::Tag(tag.clone());
        let current = self.here(&reference).await?;
        let there = self.digest_there(tag, current.is_some()).await?;
        let is_current = |row: &Arc<ManifestRow>| {
            Some(row.digest.as_str()) == there.as_ref().map(Digest::as_str)
        };
        let found = match current.filter(is_current) {
            Some(row) => (row, "hit"),
            None => {
                let known = there.map(Reference::Digest);
                let known_row = match &known {
                    Some(known) => self.here(known).await?,
                    None => None,
                };
                let (came, cache) = match known_row {
                    Some(row) => (Came::again(&self.registry, &row).await?, "hit"),
                    None => (self.get(&known.unwrap_or(reference)).await?, "miss"),
                };
                (self.take(came, Some(tag)).await?, cache)
            }
        };
        // While nothing is kept, what is here is not what is there.
        if found.0.id.is_some() {
            self.note_checked(tag);
        }
        Ok(found)
    }

    /// Where a tag points there, if that is said without the manifest.
    async fn digest_there(&self, tag: &Tag, is_here: bool) -> Result<Option<Digest>, Failed> {
        let question = Question {
            is_optional: is_here,
            ..self.question(Method::HEAD, format!("manifests/{}", tag.as_str()))
        };
        let asker = &self.registry.proxy().asker;
        let answer = asker.ask(&self.upstream, &question).await?;
        let digest = answer.headers().get(CONTENT_DIGEST);
        let digest = digest.and_then(|digest| Digest::parse(digest.to_str().ok()?).ok());
        Ok(digest)
    }

    /// Fetches a manifest.
    async fn get(&self, reference: &Reference) -> Result<Came, Failed> {
        let question = self.question(Method::GET, format!("manifests/{reference}"));
        let proxy = self.registry.proxy();
        let answer = proxy.asker.ask(&self.upstream, &question).await?;
        let media_type = media_type(&answer);
        let bytes_max = self.registry.config().limits.manifest_size_max.as_usize();
        let bytes = ask::read(&self.upstream, answer, bytes_max).await?;
        let metrics = self.registry.metrics();
        metrics.proxy_fetched(Cached::manifest, bytes.len() as u64);
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(_) => Digest::of(Algorithm::Sha256, &bytes),
        };
        let came = Digest::of(digest.algorithm(), &bytes);
        if came != digest {
            let name = &self.upstream.text.name;
            let message = format!("{name} gave {came} for {digest}");
            return Err(Failed::Down(message));
        }
        Ok(Came {
            digest,
            media_type,
            bytes,
        })
    }

    /// Keeps a manifest that came, and points a tag to it; nothing is while the registry is read-only.
    async fn take(&self, came: Came, tag: Option<&Tag>) -> Result<Arc<ManifestRow>, Failed> {
        let name = &self.upstream.text.name;
        let digest = came.digest;
        let read = ReadManifest::of(&self.registry, came.media_type.as_deref(), came.bytes);
        let read = read.map_err(|error| {
            let why = error.message;
            Failed::Down(format!(
                "{name} has a manifest {digest} that cannot be kept: {why}"
            ))
        })?;
        if self.registry.settings().is_read_only() {
            return Ok(Arc::new(ManifestRow {
                id: None,
                digest: digest.as_str().to_owned(),
                media_type: read.media_type,
                size: read.bytes.len() as u64,
                content: Content::Here(read.bytes),
                is_damaged: false,
            }));
        }
        let (who, repo) = (self.who.clone(), self.repo.clone());
        let put = PutManifest {
            tags: tag.into_iter().cloned().collect(),
            allow_missing_manifests: true,
            allow_missing_blobs: true,
            is_copy: true,
            ..read.pushed(&self.registry, who, repo, digest.clone())
        };
        match large::put(&self.registry, put).await {
            // A rule says that the tag stays where it is, whatever is there. It need not be fetched
            // again with the next pull.
            Err(error) if error.code == Code::PreconditionFailed => {
                tag.into_iter().for_each(|tag| self.note_checked(tag));
                return Err(Failed::Down(error.message));
            }
            done => done?,
        };
        let reference = Reference::Digest(digest);
        let row = self.here(&reference).await?;
        Ok(row.ok_or_else(|| unknown_manifest(&self.repo, &reference))?)
    }
}

impl Came {
    /// One that is here.
    async fn again(registry: &Registry, row: &ManifestRow) -> Result<Self, Error> {
        Ok(Self {
            digest: Digest::parse(&row.digest)?,
            media_type: Some(row.media_type.clone()),
            bytes: large::bytes(registry, row).await?,
        })
    }
}

fn media_type(answer: &Response) -> Option<String> {
    let value = answer.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.to_owned())
}
