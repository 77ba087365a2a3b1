//! Manifests of caches.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName};
use reqwest::Response;

use super::ask::{self, Question};
use super::{Failed, fetcher, name_there};
use crate::digest::{Algorithm, Digest};
use crate::error::{Code, Error};
use crate::heal;
use crate::large::{self, ReadManifest};
use crate::meta::{Content, ManifestRow, PutManifest, Upstream, unknown_manifest};
use crate::metrics::Cached;
use crate::name::{Reference, RepoName, Tag};
use crate::registry::Registry;
use crate::turns::Turn;
use crate::who::Who;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest, and where it was.
pub(crate) struct Found {
    pub(crate) row: Arc<ManifestRow>,
    /// `hit` if it was here, `miss` if it was fetched, `stale` if something newer may be there.
    pub(crate) cache: &'static str,
    /// Why it may not be the newest.
    pub(crate) warning: Option<String>,
}

impl Found {
    /// One of which nothing is to be said.
    fn as_it_is(row: Arc<ManifestRow>, cache: &'static str) -> Self {
        Self {
            row,
            cache,
            warning: None,
        }
    }
}

/// A manifest of a repository that is a copy of another registry's.
pub(crate) async fn find(
    registry: &Registry,
    upstream: &Arc<Upstream>,
    repo: &RepoName,
    reference: &Reference,
    who: &Who,
) -> Result<Found, Error> {
    let wanted = Wanted {
        registry: registry.clone(),
        upstream: Arc::clone(upstream),
        repo: repo.clone(),
        name: name_there(upstream, repo)?,
        who: fetcher(who),
    };
    let metrics = registry.metrics();
    let found = match reference {
        Reference::Digest(digest) => wanted.by_digest(digest).await,
        Reference::Tag(tag) => wanted.by_tag(tag).await,
    };
    let found = found.map_err(|failed| failed.error(Code::ManifestUnknown))?;
    match found.cache {
        "miss" => metrics.proxy_missed(Cached::manifest),
        _ => metrics.proxy_hit(Cached::manifest),
    }
    metrics.proxy_sent(Cached::manifest, found.row.size);
    Ok(found)
}

/// What is wanted of whom.
#[derive(Clone)]
struct Wanted {
    registry: Registry,
    upstream: Arc<Upstream>,
    repo: RepoName,
    /// The repository as it is called there.
    name: String,
    who: Who,
}

/// What a registry said of what it does not give.
#[derive(Clone)]
pub(super) struct Said {
    message: String,
    as_failed: fn(String) -> Failed,
}

impl Said {
    /// None if it may give it the next time.
    fn of(failed: &Failed) -> Option<Self> {
        let (message, as_failed): (_, fn(String) -> Failed) = match failed {
            Failed::Unknown(message) => (message, Failed::Unknown),
            Failed::Hidden(message) => (message, Failed::Hidden),
            Failed::Refused(message) => (message, Failed::Refused),
            Failed::TooMany { .. } | Failed::Down(_) | Failed::Own(_) => return None,
        };
        Some(Self {
            message: message.clone(),
            as_failed,
        })
    }

    fn failed(self) -> Failed {
        (self.as_failed)(self.message)
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

    /// What a tag is called here.
    fn key(&self, tag: &Tag) -> String {
        format!("{}:{}", self.repo, tag.as_str())
    }

    /// It was asked just now where a tag points.
    fn note_checked(&self, tag: &Tag) {
        let checked = &self.registry.proxy().checked;
        checked.insert(self.key(tag), Instant::now());
    }

    /// Asks for something, unless it was said just now that it is not there, or not for us: clients that were told a
    /// wrong name ask again and again.
    async fn unless_unknown<T>(
        &self,
        key: &str,
        ask: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, Failed> {
        let (proxy, upstream) = (self.registry.proxy(), &self.upstream);
        let key = format!("{}:{}:{key}", upstream.id, upstream.updated_ms);
        let lifetime = proxy.config.unknown_lifetime.as_std();
        if let Some((at, said)) = proxy.unknown.get(&key)
            && at.elapsed() < lifetime
        {
            return Err(said.failed());
        }
        let answer = ask.await;
        if let Err(failed) = &answer
            && let Some(said) = Said::of(failed)
        {
            proxy.unknown.insert(key, (Instant::now(), said));
        }
        answer
    }

    async fn by_digest(&self, digest: &Digest) -> Result<Found, Failed> {
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

    async fn by_tag(&self, tag: &Tag) -> Result<Found, Failed> {
        let (proxy, arrived) = (self.registry.proxy(), Instant::now());
        let reference = Reference::Tag(tag.clone());
        let key = self.key(tag);
        let is_young = |age| proxy.checked.get(&key).is_some_and(|at| at.elapsed() < age);
        let lifetime = proxy.config.tag_lifetime.as_std();
        let revalidated = lifetime + proxy.config.tag_stale_while_revalidate.as_std();
        if is_young(revalidated)
            && let Some(row) = self.here(&reference).await?
        {
            if !is_young(lifetime)
                && let Some(turn) = proxy.turns.try_enter(&key)
            {
                self.revalidate(turn, tag, &key);
            }
            return Ok(Found::as_it_is(row, "hit"));
        }
        let turn = proxy.turn(&key).await;
        let is_checked = proxy.checked.get(&key).is_some_and(|at| at >= arrived);
        if is_checked && let Some(row) = self.here(&reference).await? {
            return Ok(Found::as_it_is(row, "hit"));
        }
        let refreshed = match turn {
            Ok(_turn) => self.unless_unknown(&key, self.refresh(tag)).await,
            Err(failed) => Err(failed),
        };
        let failed = match refreshed {
            Ok((row, cache)) => return Ok(Found::as_it_is(row, cache)),
            Err(failed) => failed,
        };
        let reason = match &failed {
            Failed::TooMany { message, .. }
            | Failed::Hidden(message)
            | Failed::Refused(message)
            | Failed::Down(message) => message.clone(),
            Failed::Unknown(_) | Failed::Own(_) => return Err(failed),
        };
        let row = self.here(&reference).await?.ok_or(failed)?;
        let warning = format!("{reason}; this is what it had when it was asked last");
        Ok(Found {
            row,
            cache: "stale",
            warning: Some(warning),
        })
    }

    /// Asks where a tag points while who wants to know has been told already.
    fn revalidate(&self, turn: Turn, tag: &Tag, key: &str) {
        let (wanted, tag, key) = (self.clone(), tag.clone(), key.to_owned());
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(failed) = wanted.refresh(&tag).await {
                tracing::debug!(key, ?failed, "a tag was not asked for again");
            }
        });
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
            ..self.question(Method::HEAD, &Reference::Tag(tag.clone()))
        };
        let asker = &self.registry.proxy().asker;
        let answer = asker.ask(&self.upstream, &question).await?;
        let digest = answer.headers().get(CONTENT_DIGEST);
        let digest = digest.and_then(|digest| Digest::parse(digest.to_str().ok()?).ok());
        Ok(digest)
    }

    fn question(&self, method: Method, reference: &Reference) -> Question<'_> {
        Question {
            method,
            repo: &self.name,
            what: format!("manifests/{reference}"),
            is_optional: false,
        }
    }

    /// Fetches a manifest.
    async fn get(&self, reference: &Reference) -> Result<Came, Failed> {
        let question = self.question(Method::GET, reference);
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
