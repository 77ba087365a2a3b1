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
use crate::large;
use crate::manifest;
use crate::meta::{Condition, ManifestRow, PutManifest, Upstream, unknown_manifest};
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

    /// What is here after it was fetched.
    async fn fetched(&self, reference: &Reference, cache: &'static str) -> Result<Found, Failed> {
        let row = self.here(reference).await?;
        let row = row.ok_or_else(|| unknown_manifest(&self.repo, reference))?;
        Ok(Found {
            row,
            cache,
            warning: None,
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

    /// Asks for something, unless it was said just now that it is not there: clients that were told a
    /// wrong name ask again and again.
    async fn unless_unknown<T>(
        &self,
        key: &str,
        ask: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, Failed> {
        let (proxy, upstream) = (self.registry.proxy(), &self.upstream);
        let key = format!("{}:{}:{key}", upstream.id, upstream.updated_ms);
        let lifetime = proxy.config.unknown_lifetime.as_std();
        if let Some((at, message)) = proxy.unknown.get(&key)
            && at.elapsed() < lifetime
        {
            return Err(Failed::Unknown(message));
        }
        let answer = ask.await;
        if let Err(Failed::Unknown(message)) = &answer {
            let said = (Instant::now(), message.clone());
            proxy.unknown.insert(key, said);
        }
        answer
    }

    async fn by_digest(&self, digest: &Digest) -> Result<Found, Failed> {
        let reference = Reference::Digest(digest.clone());
        let key = format!("{}@{digest}", self.repo);
        if self.here(&reference).await?.is_some() {
            return self.fetched(&reference, "hit").await;
        }
        let _turn = self.registry.proxy().turn(&key).await?;
        if self.here(&reference).await?.is_none() {
            let came = self.unless_unknown(&key, self.get(&reference)).await?;
            self.put(came, None).await?;
        }
        self.fetched(&reference, "miss").await
    }

    async fn by_tag(&self, tag: &Tag) -> Result<Found, Failed> {
        let (proxy, arrived) = (self.registry.proxy(), Instant::now());
        let reference = Reference::Tag(tag.clone());
        let key = self.key(tag);
        let is_young = |age| proxy.checked.get(&key).is_some_and(|at| at.elapsed() < age);
        let lifetime = proxy.config.tag_lifetime.as_std();
        let revalidated = lifetime + proxy.config.tag_stale_while_revalidate.as_std();
        if is_young(revalidated) && self.here(&reference).await?.is_some() {
            if !is_young(lifetime)
                && let Some(turn) = proxy.turns.try_enter(&key)
            {
                self.revalidate(turn, tag, &key);
            }
            return self.fetched(&reference, "hit").await;
        }
        let turn = proxy.turn(&key).await;
        let is_checked = proxy.checked.get(&key).is_some_and(|at| at >= arrived);
        if is_checked && self.here(&reference).await?.is_some() {
            return self.fetched(&reference, "hit").await;
        }
        let refreshed = match turn {
            Ok(_turn) => self.unless_unknown(&key, self.refresh(tag)).await,
            Err(failed) => Err(failed),
        };
        let failed = match refreshed {
            Ok(cache) => return self.fetched(&reference, cache).await,
            Err(failed) => failed,
        };
        let reason = match &failed {
            Failed::TooMany { message, .. } | Failed::Down(message) => message.clone(),
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

    /// Has a tag point where it points there; says whether anything was fetched for that.
    async fn refresh(&self, tag: &Tag) -> Result<&'static str, Failed> {
        let reference = Reference::Tag(tag.clone());
        let current = self.here(&reference).await?;
        let there = self.digest_there(tag, current.is_some()).await?;
        let is_current = |row: &Arc<ManifestRow>| {
            Some(row.digest.as_str()) == there.as_ref().map(Digest::as_str)
        };
        let cache = if current.as_ref().is_some_and(is_current) {
            "hit"
        } else {
            let known = there.map(Reference::Digest);
            let known_row = match &known {
                Some(known) => self.here(known).await?,
                None => None,
            };
            let (came, cache) = match known_row {
                Some(row) => (Came::again(&self.registry, &row).await?, "hit"),
                None => (self.get(&known.unwrap_or(reference)).await?, "miss"),
            };
            self.put(came, Some(tag)).await?;
            cache
        };
        self.note_checked(tag);
        Ok(cache)
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

    /// Keeps a manifest that came, and points a tag to it.
    async fn put(&self, came: Came, tag: Option<&Tag>) -> Result<(), Failed> {
        let name = &self.upstream.text.name;
        let descriptors_max = self.registry.config().limits.descriptors_max;
        let read = manifest::read(came.media_type.as_deref(), &came.bytes, descriptors_max);
        let (media_type, manifest) = read.map_err(|error| {
            let (digest, why) = (&came.digest, error.message);
            Failed::Down(format!(
                "{name} has a manifest {digest} that cannot be kept: {why}"
            ))
        })?;
        let put = PutManifest {
            repo: self.repo.clone(),
            digest: came.digest,
            media_type,
            manifest,
            bytes: came.bytes,
            data_key: None,
            broken_key: None,
            tags: tag.into_iter().cloned().collect(),
            condition: Condition::default(),
            who: self.who.clone(),
            allow_missing_manifests: true,
            allow_missing_blobs: true,
            untagged_grace_ms: self.registry.untagged_grace_ms(),
            is_copy: true,
        };
        match large::put(&self.registry, put).await {
            // A rule says that the tag stays where it is, whatever is there. It need not be fetched
            // again with the next pull.
            Err(error) if error.code == Code::PreconditionFailed => {
                tag.into_iter().for_each(|tag| self.note_checked(tag));
                Err(Failed::Down(error.message))
            }
            done => Ok(done.map(|_| ())?),
        }
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
