//! Blobs that are there.

use std::ops::Range;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    LOCATION, RANGE,
};
use http::{Method, StatusCode};

use super::answer::{CONTENT_DIGEST, empty, names, with_body};
use super::call::Call;
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::heal;
use crate::meta::{self, BlobRow, DeleteLink, Upstream};
use crate::metrics::Cached;
use crate::name::RepoName;
use crate::proxy::{self, Source};

pub(super) async fn pull(call: Call, repo: RepoName, digest: Digest) -> Result<Response, Error> {
    let unknown = || meta::unknown_blob(&repo, &digest);
    call.check_match(digest.as_str())?;
    let upstream = call.upstream(&repo).await?;
    let stored = stored(&call, &repo, &digest, upstream.is_some()).await?;
    if upstream.is_some() {
        call.note.edit().cache = Some(if stored.is_some() { "hit" } else { "miss" });
    }
    let Some(blob) = stored else {
        let upstream = upstream.ok_or_else(unknown)?;
        return fetch(&call, &upstream, &repo, &digest).await;
    };
    if upstream.is_some() && call.method == Method::GET {
        call.registry.metrics().proxy_hit(Cached::blob);
    }
    if call.method == Method::HEAD {
        let meta = call.registry.meta();
        let grace_ms = call.registry.blob_grace_ms();
        if !meta.keep_link(blob.link_id, grace_ms).await? {
            return Err(unknown());
        }
    }
    let is_known = call.header(&IF_NONE_MATCH).is_some();
    if !is_known && let Some(address) = address(&call, &blob).await? {
        let headers = [
            (CONTENT_DIGEST, digest.as_str()),
            (LOCATION, address.as_str()),
        ];
        return Ok(empty(StatusCode::TEMPORARY_REDIRECT, &headers));
    }
    let sent = send(&call, &digest, blob.size, Some(Source::Stored(blob))).await;
    match (sent, upstream) {
        (Err(error), Some(upstream)) if error.code == Code::Lost => {
            call.note.edit().cache = Some("miss");
            fetch(&call, &upstream, &repo, &digest).await
        }
        (sent, _) => sent,
    }
}

/// A blob of a repository, if who asks is to know that it is there: one whose bytes are broken is not
/// there for who may have it sent or fetched again.
async fn stored(
    call: &Call,
    repo: &RepoName,
    digest: &Digest,
    is_cache: bool,
) -> Result<Option<BlobRow>, Error> {
    let registry = &call.registry;
    let Some(blob) = registry.meta().blob(repo, digest).await? else {
        return Ok(None);
    };
    let is_there = match call.method {
        Method::HEAD => heal::has_blob(registry, &blob).await?,
        // Lost bytes are noticed when they are read.
        _ => !(is_cache && blob.is_damaged),
    };
    Ok(is_there.then_some(blob))
}

/// Sends a blob from where its repository is a copy of.
async fn fetch(
    call: &Call,
    upstream: &Upstream,
    repo: &RepoName,
    digest: &Digest,
) -> Result<Response, Error> {
    if call.method == Method::HEAD {
        let size = proxy::size_of(&call.registry, upstream, repo, digest).await?;
        return send(call, digest, size, None).await;
    }
    let found = proxy::fetch(&call.registry, upstream, repo, digest, &call.who).await?;
    send(call, digest, found.size().await?, Some(found)).await
}

/// As much of a blob as is asked for; only what is said of it where it is nowhere.
async fn send(
    call: &Call,
    digest: &Digest,
    size: u64,
    source: Option<Source>,
) -> Result<Response, Error> {
    let etag = format!("\"{digest}\"");
    let mut headers = vec![
        (CONTENT_DIGEST, digest.as_str()),
        (ETAG, etag.as_str()),
        (ACCEPT_RANGES, "bytes"),
    ];
    let known = call.header(&IF_NONE_MATCH);
    if known.is_some_and(|known| names(known, digest.as_str())) {
        return Ok(empty(StatusCode::NOT_MODIFIED, &headers));
    }
    headers.push((CONTENT_TYPE, "application/octet-stream"));
    // A range of something else than the client thinks is of no use to it.
    let same = call
        .header(&IF_RANGE)
        .is_none_or(|tag| names(tag, digest.as_str()));
    let asked = call
        .header(&RANGE)
        .filter(|_| same && call.method == Method::GET);
    let (status, range) = match asked.map_or(Asked::Whole, |value| asked_range(value, size)) {
        Asked::Whole => (StatusCode::OK, 0..size),
        // Also if that is all: who asks for a part looks for its place in the answer.
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Nothing => {
            let message = format!("the blob has {size} bytes, none of them in this range");
            let size = format!("bytes */{size}");
            return Err(Error::new(Code::RangeInvalid, message).with_header(CONTENT_RANGE, &size));
        }
    };
    let length = (range.end - range.start).to_string();
    headers.push((CONTENT_LENGTH, length.as_str()));
    let last = range.end.saturating_sub(1);
    let content_range = format!("bytes {}-{last}/{size}", range.start);
    if status == StatusCode::PARTIAL_CONTENT {
        headers.push((CONTENT_RANGE, content_range.as_str()));
    }
    let body = match source {
        Some(source) if call.method == Method::GET && !range.is_empty() => {
            source.body(&call.registry, range).await?
        }
        _ => Body::empty(),
    };
    Ok(with_body(status, &headers, body))
}

/// Where the client gets the blob from, if that is not here.
async fn address(call: &Call, blob: &BlobRow) -> Result<Option<String>, Error> {
    let config = &call.registry.config().redirect;
    let is_worth_it = blob.size >= config.blob_size_min.0;
    if !config.enabled || !is_worth_it || call.method != Method::GET {
        return Ok(None);
    }
    let store = call.registry.store();
    let lifetime = config.lifetime.as_std();
    let address = store.address(&blob.data_key, lifetime).await?;
    if address.is_some() {
        call.note.edit().cache = Some("redirect");
    }
    Ok(address)
}

/// What a `Range` header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    /// Nothing that is there.
    Nothing,
}

/// Reads a `Range` header, of one range: several are answered with the whole, as they may be. So is
/// what is in other units.
fn asked_range(value: &str, size: u64) -> Asked {
    let units = value.trim().split_once('=');
    let Some((_, range)) = units.filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes")) else {
        return Asked::Whole;
    };
    let Some((from, to)) = range.split_once('-').filter(|_| !range.contains(',')) else {
        return Asked::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (from.trim(), to.trim()) {
        ("", last) => match number(last) {
            Some(last) => size.saturating_sub(last)..size,
            None => return Asked::Nothing,
        },
        (from, "") => match number(from) {
            Some(from) => from..size,
            None => return Asked::Nothing,
        },
        (from, to) => match (number(from), number(to)) {
            (Some(from), Some(to)) if from <= to => from..to.saturating_add(1).min(size),
            _ => return Asked::Nothing,
        },
    };
    if range.start < range.end {
        Asked::Part(range)
    } else {
        Asked::Nothing
    }
}

pub(super) async fn delete(call: Call, repo: RepoName, digest: Digest) -> Result<Response, Error> {
    let meta = call.registry.meta();
    let who = call.who.clone();
    meta.change(DeleteLink { repo, digest, who }).await?;
    Ok(empty(StatusCode::ACCEPTED, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (value, asked) in [
            ("bytes=500-1499", Asked::Part(500..1500)),
            ("bytes=500-", Asked::Part(500..2048)),
            ("bytes=-500", Asked::Part(1548..2048)),
            ("bytes=-5000", Asked::Part(0..2048)),
            ("bytes=2000-5000", Asked::Part(2000..2048)),
            ("bytes=0-0", Asked::Part(0..1)),
            ("Bytes=0-0", Asked::Part(0..1)),
            ("bytes=0-18446744073709551615", Asked::Part(0..2048)),
            ("bytes=500-0", Asked::Nothing),
            ("bytes=2048-", Asked::Nothing),
            ("bytes=5000-10000", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=-", Asked::Nothing),
            ("bytes=a-b", Asked::Nothing),
            ("bytes=0-1,5-6", Asked::Whole),
            ("lines=1-2", Asked::Whole),
        ] {
            assert_eq!(asked_range(value, 2048), asked, "{value}");
        }
        assert_eq!(asked_range("bytes=0-", 0), Asked::Nothing);
    }
}
