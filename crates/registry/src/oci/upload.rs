//! Uploads: at once, in chunks, broken off and continued, or mounted from another repository.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_RANGE, LOCATION, RANGE};

use super::answer::{CONTENT_DIGEST, UPLOAD_UUID, empty};
use super::call::Call;
use super::chunk::ChunkRange;
pub(crate) use super::chunk::Receiving;
use super::pieces::{self, Pieces};
use crate::auth::{self, Action, Caller};
use crate::cost::Cost;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Code, Error};
use crate::heal;
use crate::logs::new_id;
use crate::meta::{Begin, Cancel, Mount, Move, Upload, taken_over, unknown};
use crate::name::RepoName;
use crate::registry::Registry;
use crate::reservations::Reserved;
use crate::store;
use crate::turns::Turn;
use crate::who::Who;

/// Repositories of a project in which a blob is looked for.
const NEAR_MAX: u32 = 10;
/// How long a request waits for the one before: its client may be gone and the server not know yet.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// The right to continue an upload, once nobody else does.
async fn enter(registry: &Registry, uuid: &str) -> Result<Turn, Error> {
    let turn = registry.uploads().enter(uuid, WAIT_MAX).await;
    turn.ok_or_else(|| taken_over(uuid))
}

/// The upload for a request that continues it, unless the chunk is not the next one. Another process
/// may have a request that does so too, whose client went away: what that one still writes goes
/// nowhere, as its bytes are left to it where it may change them.
async fn take_over(
    registry: &Registry,
    repo: &RepoName,
    uuid: &str,
    range: Option<ChunkRange>,
) -> Result<Upload, Error> {
    let (meta, store) = (registry.meta(), registry.store());
    let found = meta.upload(repo, uuid).await?;
    check_order(&found, range)?;
    let (mut upload, is_contested) = meta.take_upload(found, new_id()).await?;
    if !is_contested {
        return Ok(upload);
    }
    let from = std::mem::take(&mut upload.data_key);
    let written_before = std::mem::take(&mut upload.written);
    let moved = store.move_away(&from, &written_before, upload.received, store::new_key());
    (upload.data_key, upload.written) = moved.await?;
    if upload.data_key != from {
        let moved = Move {
            uuid: upload.uuid.clone(),
            turn: upload.turn.clone(),
            from,
            written_before,
            to: upload.data_key.clone(),
            written: upload.written.clone(),
        };
        meta.change(moved).await?;
    }
    Ok(upload)
}

/// An upload of which nothing has come yet.
pub(crate) fn new_upload(repo: &RepoName, algorithm: Algorithm) -> Upload {
    Upload {
        uuid: new_id().to_lowercase(),
        repo: repo.clone(),
        algorithm,
        data_key: store::new_key(),
        received: 0,
        hash_state: Hasher::new(algorithm).save(),
        written: String::new(),
        turn: String::new(),
        quota: None,
    }
}

/// The bytes that came, as the `Range` header has it.
pub(super) fn range(received: u64) -> String {
    format!("0-{}", received.saturating_sub(1))
}

fn location(repo: &RepoName, uuid: &str) -> String {
    format!("/v2/{repo}/blobs/uploads/{uuid}")
}

/// Where an upload stands.
fn standing(status: StatusCode, repo: &RepoName, uuid: &str, received: u64) -> Response {
    let (location, range) = (location(repo, uuid), range(received));
    let headers = [
        (LOCATION, location.as_str()),
        (RANGE, range.as_str()),
        (UPLOAD_UUID, uuid),
    ];
    empty(status, &headers)
}

/// A blob is there.
fn created(repo: &RepoName, digest: &Digest) -> Response {
    let location = format!("/v2/{repo}/blobs/{digest}");
    let headers = [
        (LOCATION, location.as_str()),
        (CONTENT_DIGEST, digest.as_str()),
    ];
    empty(StatusCode::CREATED, &headers)
}

pub(super) async fn begin(call: Call, body: Body, repo: RepoName) -> Result<Response, Error> {
    if let Some(digest) = call.param("mount").map(Digest::parse).transpose()?
        && mount(&call, &repo, &digest).await?
    {
        let mut noted = call.note.edit();
        noted.action = Some("mount");
        noted.digest = Some(digest.as_str().to_owned());
        return Ok(created(&repo, &digest));
    }
    let digest = call.param("digest").map(Digest::parse).transpose()?;
    let algorithm = match (&digest, call.param("digest-algorithm")) {
        (Some(digest), _) => digest.algorithm(),
        (None, Some(name)) => Algorithm::parse(name)?,
        (None, None) => Algorithm::Sha256,
    };
    let length = call.content_length();
    let mut upload = new_upload(&repo, algorithm);
    let begin = Begin {
        upload: upload.clone(),
        who: call.who.clone(),
        sessions_max: call.registry.config().upload.sessions_max,
    };
    upload.quota = Some(call.registry.meta().change(begin).await?);
    call.note.edit().upload_id = Some(upload.uuid.clone());
    match digest {
        Some(digest) => {
            let session = enter(&call.registry, &upload.uuid).await?;
            let (registry, who) = (call.registry, call.who);
            let pieces = pieces::divide(body, registry.direct_buffers(), 0);
            run(&registry.clone(), session, pieces, async move |pieces| {
                let uuid = upload.uuid.clone();
                let chunk = Chunk {
                    length,
                    range: None,
                };
                let done = complete(&registry, who, upload, &digest, pieces, chunk).await;
                if done.is_err() {
                    // Its client has not been told the address at which it could go on.
                    give_up(&registry, repo, uuid, String::new()).await;
                }
                done
            })
            .await
        }
        None => Ok(standing(StatusCode::ACCEPTED, &repo, &upload.uuid, 0)),
    }
}

/// Takes a blob from another repository, the named one or any. Not one whose bytes are broken, so
/// that they are sent.
async fn mount(call: &Call, repo: &RepoName, digest: &Digest) -> Result<bool, Error> {
    let from = call.param("from").filter(|from| !from.is_empty());
    let from = from.map(RepoName::parse).transpose()?;
    let registry = &call.registry;
    let take = async |from: RepoName| {
        // Not before it is known that the caller may have it: how long this takes tells of the blob.
        if heal::broken_key(registry, digest).await?.is_some() {
            return Ok(false);
        }
        let mount = Mount {
            repo: repo.clone(),
            digest: digest.clone(),
            from,
            grace_ms: registry.blob_grace_ms(),
            who: call.who.clone(),
        };
        registry.meta().change(mount).await
    };
    let source = source(call, &call.caller, from.as_ref(), digest).await?;
    let is_found = source.is_some();
    if let Some(source) = source
        && take(source).await?
    {
        return Ok(true);
    }
    // What the project has takes no room of it, wherever the client thinks that it is.
    if let Some(source) = near(call, repo, digest).await?
        && take(source).await?
    {
        return Ok(true);
    }
    if !is_found {
        ask_for_more(call, repo, from.as_ref(), digest).await?;
    }
    Ok(false)
}

/// A repository of the same project that has a blob and that the caller may pull from.
async fn near(call: &Call, repo: &RepoName, digest: &Digest) -> Result<Option<RepoName>, Error> {
    let registry = &call.registry;
    let found = registry.meta().neighbours_with(repo, digest, NEAR_MAX);
    for found in found.await? {
        if auth::allows(registry, &call.caller, &found, Action::Pull).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The repository that a blob is taken from, if a caller may pull from there: the one that is named,
/// or any that has it.
async fn source(
    call: &Call,
    caller: &Caller,
    from: Option<&RepoName>,
    digest: &Digest,
) -> Result<Option<RepoName>, Error> {
    let registry = &call.registry;
    let Some(from) = from else {
        let reach = auth::reach(caller);
        let found = registry.meta().repos_with(digest, &reach, 1).await?;
        return Ok(found.into_iter().next());
    };
    let may = auth::allows(registry, caller, from, Action::Pull).await?;
    Ok(may.then(|| from.clone()))
}

/// Refuses a token that does not say what its owner may do: that of a push often names only the
/// repository that is pushed to. With another the blob need not be sent.
async fn ask_for_more(
    call: &Call,
    repo: &RepoName,
    from: Option<&RepoName>,
    digest: &Digest,
) -> Result<(), Error> {
    let Some(owner) = auth::owner(&call.registry, &call.caller).await? else {
        return Ok(());
    };
    let Some(from) = source(call, &owner, from, digest).await? else {
        return Ok(());
    };
    let message = format!("taking the blob from {from} needs a token that may pull from there");
    let scope = format!("repository:{repo}:pull,push repository:{from}:pull");
    let error = Error::new(Code::Unauthorized, message);
    let (registry, headers) = (&call.registry, &call.headers);
    Err(auth::challenge(error, registry, headers, Some(scope)))
}

/// Runs what takes the pieces of a body to its end also if the client goes away, since what it sent
/// shall be kept. The turn is taken before, so that who comes next, to ask how far this came, cannot
/// be first.
async fn run<F>(
    registry: &Registry,
    session: Turn,
    (gathering, pieces): (impl Future<Output = ()>, Pieces),
    work: impl FnOnce(Pieces) -> F,
) -> Result<Response, Error>
where
    F: Future<Output = Result<Response, Error>> + Send + 'static,
{
    let cost = Cost::current().unwrap_or_default();
    let work = cost.of(work(pieces));
    let mut work = registry.spawn(async move {
        let outcome = work.await;
        drop(session);
        outcome
    });
    let ended = tokio::select! {
        // It may end before the body does: with a refusal.
        ended = &mut work => ended,
        () = gathering => work.await,
    };
    ended.unwrap_or_else(|error| Err(Error::internal("the upload", &error)))
}

pub(super) async fn status(call: Call, repo: RepoName, uuid: String) -> Result<Response, Error> {
    // Who asks after a broken request wants to know where that one got to.
    let _session = enter(&call.registry, &uuid).await?;
    let upload = call.registry.meta().upload(&repo, &uuid).await?;
    Ok(standing(
        StatusCode::NO_CONTENT,
        &repo,
        &uuid,
        upload.received,
    ))
}

pub(super) async fn cancel(call: Call, repo: RepoName, uuid: String) -> Result<Response, Error> {
    let _session = enter(&call.registry, &uuid).await?;
    let cancel = Cancel {
        repo,
        uuid,
        turn: None,
    };
    call.registry.meta().change(cancel).await?;
    Ok(empty(StatusCode::NO_CONTENT, &[]))
}

/// What the headers of a request say about its bytes.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    /// How many there are.
    length: Option<u64>,
    /// Where they belong.
    range: Option<ChunkRange>,
}

impl Chunk {
    /// Where they begin, if it is said; else at the beginning, as most do.
    fn begin(&self) -> u64 {
        self.range.map_or(0, |range| range.start)
    }
}

/// What the headers of a chunk say about it.
fn chunk(call: &Call) -> Result<Chunk, Error> {
    let length = call.content_length();
    let range = call
        .header(&CONTENT_RANGE)
        .map(ChunkRange::parse)
        .transpose()?;
    if let (Some(range), Some(length)) = (range, length)
        && range.length != length
    {
        let message = format!(
            "Content-Range says {} bytes, Content-Length {length}",
            range.length
        );
        return Err(Error::new(Code::SizeInvalid, message));
    }
    Ok(Chunk { length, range })
}

/// Reserves room for the bytes of a request; refuses more than the project of the upload has before
/// any of them is read. `what` they are, others may bring too.
fn reserve(
    registry: &Registry,
    upload: &Upload,
    what: &str,
    length: Option<u64>,
) -> Result<Option<Reserved>, Error> {
    match (&upload.quota, length) {
        (Some(quota), Some(length)) => registry.reservations().reserve(quota, what, length),
        _ => Ok(None),
    }
}

/// Refuses a chunk that is not the next one.
fn check_order(upload: &Upload, range: Option<ChunkRange>) -> Result<Option<u64>, Error> {
    let Some(chunk) = range else { return Ok(None) };
    if chunk.start == upload.received {
        return Ok(Some(chunk.length));
    }
    let message = format!(
        "the chunk begins at byte {}, the next one is {}",
        chunk.start, upload.received
    );
    Err(Error::new(Code::BlobUploadInvalid, message)
        .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
        .with_detail("received", upload.received)
        .with_header(LOCATION, &location(&upload.repo, &upload.uuid))
        .with_header(RANGE, &range_of(upload))
        .with_header(UPLOAD_UUID, &upload.uuid))
}

fn range_of(upload: &Upload) -> String {
    range(upload.received)
}

pub(super) async fn extend(
    call: Call,
    body: Body,
    repo: RepoName,
    uuid: String,
) -> Result<Response, Error> {
    let chunk = chunk(&call)?;
    let registry = call.registry;
    let session = enter(&registry, &uuid).await?;
    let pieces = pieces::divide(body, registry.direct_buffers(), chunk.begin());
    run(&registry.clone(), session, pieces, async move |pieces| {
        let upload = take_over(&registry, &repo, &uuid, chunk.range).await?;
        let turn = upload.turn.clone();
        match take(&registry, upload, pieces, chunk).await {
            Ok(received) => Ok(standing(StatusCode::ACCEPTED, &repo, &uuid, received)),
            Err(error) if error.code == Code::Lost => {
                Err(end_lost(&registry, repo, uuid, turn, error).await)
            }
            Err(error) => {
                // Its bytes are not kept for a project that has no room for them.
                if error.code == Code::Denied {
                    give_up(&registry, repo, uuid, turn).await;
                }
                Err(error)
            }
        }
    })
    .await
}

/// Takes a chunk that is not the last; gives how many bytes there are now.
async fn take(
    registry: &Registry,
    upload: Upload,
    pieces: Pieces,
    chunk: Chunk,
) -> Result<u64, Error> {
    let expected = check_order(&upload, chunk.range)?;
    let reserved = reserve(registry, &upload, &upload.uuid, chunk.length)?;
    let algorithm = upload.algorithm;
    let receiving = Receiving::resume(registry, upload, algorithm).await?;
    let mut receiving = receiving.with_reserved(reserved);
    receiving.take(registry, pieces, expected).await?;
    receiving.end(registry.meta()).await?;
    Ok(receiving.received())
}

pub(super) async fn finish(
    call: Call,
    body: Body,
    repo: RepoName,
    uuid: String,
) -> Result<Response, Error> {
    let digest = call.param("digest").ok_or_else(|| {
        let message = "the upload is finished with ?digest= and the digest of all its bytes";
        Error::new(Code::DigestInvalid, message)
    })?;
    let digest = Digest::parse(digest)?;
    let chunk = chunk(&call)?;
    let (registry, who) = (call.registry, call.who);
    let session = enter(&registry, &uuid).await?;
    let pieces = pieces::divide(body, registry.direct_buffers(), chunk.begin());
    run(&registry.clone(), session, pieces, async move |pieces| {
        let upload = take_over(&registry, &repo, &uuid, chunk.range).await?;
        let turn = upload.turn.clone();
        let done = complete(&registry, who, upload, &digest, pieces, chunk).await;
        let done = match done {
            Err(error) if error.code == Code::Lost => {
                return Err(end_lost(&registry, repo, uuid, turn, error).await);
            }
            done => done,
        };
        // Nothing more makes it what it was said to be.
        if let Err(error) = &done
            && (matches!(error.code, Code::DigestInvalid | Code::Denied)
                || error.status == StatusCode::PAYLOAD_TOO_LARGE)
        {
            give_up(&registry, repo, uuid, turn).await;
        }
        done
    })
    .await
}

/// Ends an upload that cannot be continued as the store has not what came of it: also one whose bytes
/// it made whole, and the database did not learn that. Its client begins a new one. A store of which
/// nothing is there may come back.
async fn end_lost(
    registry: &Registry,
    repo: RepoName,
    uuid: String,
    turn: String,
    error: Error,
) -> Error {
    if registry.keeper().probe().await.is_err() {
        return error;
    }
    let error = unknown(&uuid);
    give_up(registry, repo, uuid, turn).await;
    error
}

/// Forgets an upload, unless somebody else continues it.
async fn give_up(registry: &Registry, repo: RepoName, uuid: String, turn: String) {
    let cancel = Cancel {
        repo,
        uuid,
        turn: Some(turn),
    };
    if let Err(error) = registry.meta().change(cancel).await {
        tracing::debug!(%error, "the refused upload was gone already");
    }
}

/// Takes the last bytes and makes all of them a blob.
async fn complete(
    registry: &Registry,
    who: Who,
    mut upload: Upload,
    digest: &Digest,
    pieces: Pieces,
    chunk: Chunk,
) -> Result<Response, Error> {
    let expected = check_order(&upload, chunk.range)?;
    let repo = upload.repo.clone();
    let has_bound = upload
        .quota
        .as_ref()
        .is_some_and(|quota| quota.room().is_some());
    let known_size = match has_bound {
        true => {
            registry
                .meta()
                .size_in_project(repo.project(), digest)
                .await?
        }
        false => None,
    };
    if known_size.is_some() {
        // What the project has it need not have room for.
        upload.quota = None;
    }
    let reserved = reserve(registry, &upload, digest.as_str(), chunk.length)?;
    let receiving = Receiving::resume(registry, upload, digest.algorithm()).await?;
    let mut receiving = receiving.with_reserved(reserved).of_size(known_size);
    receiving.take(registry, pieces, expected).await?;
    receiving.finish(registry, digest).await?;
    receiving.commit(registry, who, digest).await?;
    Ok(created(&repo, digest))
}
