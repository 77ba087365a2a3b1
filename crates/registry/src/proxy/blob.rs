//! Blobs of caches.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::Method;
use http::header::CONTENT_LENGTH;
use reqwest::Response;

use super::ask::Question;
use super::fetches::FetchTurn;
use super::spool::{Coming, Reader};
use super::{Failed, fetcher, name_there};
use crate::digest::{Digest, Hasher};
use crate::error::{Code, Error};
use crate::heal;
use crate::logs::{Done, Job};
use crate::meta::{Begin, BlobRow, Cancel, Upstream};
use crate::metrics::Cached;
use crate::name::RepoName;
use crate::oci::{Receiving, new_upload};
use crate::registry::Registry;
use crate::small::part;
use crate::who::Who;

/// Pieces that came meanwhile and are written together.
const PIECES_MAX: usize = 32;

/// Where a blob is.
pub(crate) enum Source {
    /// Here.
    Stored(BlobRow),
    /// On its way.
    Coming(Reader),
}

impl Source {
    /// Its bytes, how many.
    pub(crate) async fn size(&self) -> Result<u64, Error> {
        match self {
            Self::Stored(row) => Ok(row.size),
            Self::Coming(reader) => reader
                .size()
                .await
                .map_err(|error| Failed::Down(error.to_string()).error(Code::BlobUnknown)),
        }
    }

    /// Some of its bytes.
    pub(crate) async fn body(&self, registry: &Registry, range: Range<u64>) -> Result<Body, Error> {
        Ok(match self {
            Self::Stored(row) => {
                match row.small.as_ref().and_then(|all| part(all, range.clone())) {
                    Some(bytes) => Body::from(bytes),
                    None => Body::from_stream(registry.store().read(&row.data_key, range).await?),
                }
            }
            Self::Coming(reader) => {
                let metrics = registry.metrics().clone();
                let bytes = reader.clone().read(range);
                Body::from_stream(bytes.inspect_ok(move |bytes| {
                    metrics.proxy_sent(Cached::blob, bytes.len() as u64);
                }))
            }
        })
    }
}

/// How many bytes a blob has that is not here.
pub(crate) async fn size_of(
    registry: &Registry,
    upstream: &Upstream,
    repo: &RepoName,
    digest: &Digest,
) -> Result<u64, Error> {
    let name = name_there(upstream, repo)?;
    let question = question(Method::HEAD, &name, digest);
    let answer = registry.proxy().asker.ask(upstream, &question).await;
    let answer = answer.map_err(|failed| failed.error(Code::BlobUnknown))?;
    let length = answer.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.ok_or_else(|| {
        let message = format!("{} does not say how large {digest} is", upstream.text.name);
        Failed::Down(message).error(Code::BlobUnknown)
    })
}

fn question<'a>(method: Method, name: &'a str, digest: &Digest) -> Question<'a> {
    Question {
        method,
        repo: name,
        what: format!("blobs/{digest}"),
        is_optional: false,
    }
}

/// Has a blob fetched that was not here, unless that is under way.
pub(crate) async fn fetch(
    registry: &Registry,
    upstream: &Upstream,
    repo: &RepoName,
    digest: &Digest,
    who: &Who,
) -> Result<Source, Error> {
    let found = begin(registry, upstream, repo, digest, who).await;
    found.map_err(|failed| failed.error(Code::BlobUnknown))
}

async fn begin(
    registry: &Registry,
    upstream: &Upstream,
    repo: &RepoName,
    digest: &Digest,
    who: &Who,
) -> Result<Source, Failed> {
    let proxy = registry.proxy();
    let name = name_there(upstream, repo)?;
    let key = format!("{repo}@{digest}");
    let _turn = proxy.turn(&key).await?;
    if let Some(coming) = proxy.coming.lock().get(&key) {
        return Ok(Source::Coming(coming.reader()));
    }
    // It leaves the map only when it is here.
    if let Some(row) = registry.meta().blob(repo, digest).await?
        && heal::has_blob(registry, &row).await?
    {
        return Ok(Source::Stored(row));
    }
    proxy.metrics.proxy_missed(Cached::blob);
    let turn = proxy.fetches.enter(upstream).await?;
    let question = question(Method::GET, &name, digest);
    let answer = proxy.asker.ask(upstream, &question).await?;
    let size = answer.content_length();
    let wait_max = proxy.config.answer_timeout.as_std();
    let room = &proxy.room;
    let place = room.reserve(upstream.id, size.unwrap_or(0), wait_max);
    let place = place.await?;
    let coming = Coming::open(&proxy.directory, size, place);
    let coming = coming.map_err(|error| Error::internal("keeping what comes", &error))?;
    let coming = Arc::new(coming);
    let reader = coming.reader();
    proxy.coming.lock().insert(key.clone(), Arc::clone(&coming));
    let fetch = Fetch {
        registry: registry.clone(),
        upstream: upstream.text.name.clone(),
        repo: repo.clone(),
        digest: digest.clone(),
        who: fetcher(who),
        key,
        coming,
        outcome: Err(format!("fetching {digest} was given up")),
        _turn: turn,
    };
    // It may come to its end also if who asked goes away.
    tokio::spawn(fetch.run(answer));
    Ok(Source::Coming(reader))
}

/// Why it is not fetched any more.
fn unread(unread_max: Duration) -> Error {
    let message = format!("registry.proxy.unread_timeout: nobody has read it for {unread_max:?}");
    Error::new(Code::Unavailable, message)
}

fn stalled(rate_min: u64) -> Error {
    let message = format!(
        "registry.proxy.fetch_bytes_per_second_min: it comes with less than {rate_min} bytes per second"
    );
    Error::new(Code::Unavailable, message)
}

/// A blob that is being fetched.
struct Fetch {
    registry: Registry,
    /// The name of where it comes from.
    upstream: String,
    repo: RepoName,
    digest: Digest,
    who: Who,
    key: String,
    coming: Arc<Coming>,
    /// What its readers are told at the end.
    outcome: Result<(), String>,
    _turn: FetchTurn,
}

/// However it ends, nobody waits for it any more.
impl Drop for Fetch {
    fn drop(&mut self) {
        self.registry.proxy().coming.lock().remove(&self.key);
        let outcome = std::mem::replace(&mut self.outcome, Ok(()));
        self.coming.end(outcome);
    }
}

impl Fetch {
    async fn run(mut self, answer: Response) {
        let job = Job::proxy(&self.repo, &self.digest).asked_by(&self.who.rid);
        // What is not to be kept goes to who asked all the same.
        let stored = match self.registry.settings().is_read_only() {
            true => self.pass(answer).await,
            false => self.store(answer).await,
        };
        // Who reads it learns of what went wrong with its bytes, not of what did with keeping them.
        self.outcome = match &stored {
            Err(error) if error.code != Code::Denied => Err(error.message.clone()),
            _ => Ok(()),
        };
        if let Err(error) = &stored {
            tracing::warn!(repo = %self.repo, digest = %self.digest, %error, "a blob is not kept");
        }
        let done = stored.as_ref().map(|bytes| Done {
            bytes: Some(*bytes),
            ..Done::default()
        });
        let logs = self.registry.logs();
        logs.job(&job, done.as_ref().map_err(|error| *error));
    }

    /// Takes it as an upload is taken; gives how many bytes it has.
    async fn store(&self, answer: Response) -> Result<u64, Error> {
        let (registry, meta) = (&self.registry, self.registry.meta());
        let upload = new_upload(&self.repo, self.digest.algorithm());
        let uuid = upload.uuid.clone();
        meta.change(Begin {
            upload: upload.clone(),
            who: self.who.clone(),
            sessions_max: registry.config().upload.sessions_max,
        })
        .await?;
        let stored = async {
            let algorithm = self.digest.algorithm();
            let mut receiving = Receiving::resume(registry, upload, algorithm).await?;
            let spooled = self.spooled(answer);
            let pieces = spooled.map_err(|error| error.to_string()).boxed();
            self.wanted(receiving.take(registry, pieces, None)).await?;
            receiving.finish(registry, &self.digest).await?;
            let received = receiving.received();
            let who = self.who.clone();
            receiving.commit(registry, who, &self.digest).await?;
            Ok(received)
        };
        let stored: Result<u64, Error> = stored.await;
        if stored.is_err() {
            let repo = self.repo.clone();
            if let Err(error) = meta
                .change(Cancel {
                    repo,
                    uuid,
                    turn: None,
                })
                .await
            {
                tracing::debug!(%error, "the upload of what came was gone already");
            }
        }
        stored.map_err(|error| self.named(error))
    }

    /// Has it come for its readers only; gives how many bytes it has.
    async fn pass(&self, answer: Response) -> Result<u64, Error> {
        let passed = async {
            let mut hasher = Hasher::new(self.digest.algorithm());
            let (mut spooled, mut came) = (std::pin::pin!(self.spooled(answer)), 0);
            while let Some(piece) = spooled.next().await {
                let bytes = piece.map_err(|error| {
                    let message = format!("it broke off after {came} bytes: {error}");
                    Error::new(Code::Unavailable, message)
                })?;
                came += bytes.len() as u64;
                hasher.update(&bytes);
            }
            let found = hasher.digest();
            match found == self.digest {
                true => Ok(came),
                false => {
                    let message = format!("the {came} bytes that came have the digest {found}");
                    Err(Error::new(Code::DigestInvalid, message))
                }
            }
        };
        self.wanted(passed).await.map_err(|error| self.named(error))
    }

    /// What comes, as long as somebody reads it and it comes fast enough.
    async fn wanted<T>(&self, coming: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let config = &self.registry.config().proxy;
        let unread_max = config.unread_timeout.as_std();
        let rate_min = config.fetch_bytes_per_second_min.0;
        tokio::select! {
            came = coming => came,
            () = self.coming.unread(unread_max) => Err(unread(unread_max)),
            () = self.coming.stalled(rate_min) => Err(stalled(rate_min)),
        }
    }

    /// An error that says where it came from.
    fn named(&self, mut error: Error) -> Error {
        error.message = format!("from {}: {}", self.upstream, error.message);
        error
    }

    /// The bytes that come, each of which is there for readers before it is given.
    fn spooled(&self, answer: Response) -> impl Stream<Item = io::Result<Bytes>> + use<> {
        let coming = Arc::clone(&self.coming);
        let metrics = self.registry.metrics().clone();
        let pieces = answer.bytes_stream().ready_chunks(PIECES_MAX);
        let spooled = pieces.then(move |pieces| {
            let (coming, metrics) = (Arc::clone(&coming), metrics.clone());
            async move {
                let (mut good, mut broken) = (Vec::new(), None);
                for piece in pieces {
                    match piece {
                        Ok(bytes) => good.push(bytes),
                        Err(error) => broken = Some(io::Error::other(error.without_url())),
                    }
                }
                let bytes: usize = good.iter().map(Bytes::len).sum();
                metrics.proxy_fetched(Cached::blob, bytes as u64);
                let written = coming.write(good.clone()).await;
                let failed = written.err().or(broken);
                let pieces = good.into_iter().map(Ok).chain(failed.map(Err));
                futures::stream::iter(pieces.collect::<Vec<_>>())
            }
        });
        spooled.flatten()
    }
}
