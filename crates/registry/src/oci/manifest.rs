//! Manifests.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION, WARNING,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};

use super::answer::{
    CONTENT_DIGEST, OCI_SUBJECT, OCI_TAG, empty, entity_tags, names, warning, with_body,
};
use super::call::Call;
use crate::digest::{Algorithm, Digest};
use crate::error::{Code, Error};
use crate::heal;
use crate::large::{self, ReadManifest};
use crate::meta::{self, Condition, DeleteManifest, DeleteTag, ManifestRow, PutManifest, Stored};
use crate::name::{Reference, RepoName, Tag};
use crate::proxy;

pub(super) async fn pull(
    call: Call,
    repo: RepoName,
    reference: Reference,
) -> Result<Response, Error> {
    let (found, warning) = find(&call, &repo, &reference).await?;
    call.check_match(&found.digest)?;
    {
        let mut noted = call.note.edit();
        noted.digest = Some(found.digest.clone());
        noted.media_type = Some(found.media_type.clone());
    }
    let etag = format!("\"{}\"", found.digest);
    let length = found.size.to_string();
    let mut headers = vec![
        (CONTENT_DIGEST, found.digest.as_str()),
        (ETAG, etag.as_str()),
    ];
    if let Some(warning) = &warning {
        headers.push((WARNING, warning.as_str()));
    }
    let known = call.header(&IF_NONE_MATCH);
    if known.is_some_and(|known| names(known, &found.digest)) {
        return Ok(empty(StatusCode::NOT_MODIFIED, &headers));
    }
    headers.extend([
        (CONTENT_TYPE, found.media_type.as_str()),
        (CONTENT_LENGTH, length.as_str()),
        // What somebody pushed is not for a browser to guess about.
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ]);
    let body = match call.method {
        // Some push an image only if they are told that it is not there.
        Method::HEAD if !stays(&call, &found, &reference).await? => {
            return Err(meta::unknown_manifest(&repo, &reference));
        }
        Method::HEAD => Body::empty(),
        _ => {
            if let Some(id) = found.id {
                call.registry.meta().pulled(id);
            }
            large::body(&call.registry, &found).await?
        }
    };
    Ok(with_body(StatusCode::OK, &headers, body))
}

/// Whether a manifest is whole, and there for a while. One that was asked for by a tag has that.
async fn stays(call: &Call, found: &ManifestRow, reference: &Reference) -> Result<bool, Error> {
    let registry = &call.registry;
    if !heal::has_manifest(registry, found).await? {
        return Ok(false);
    }
    match (reference, found.id) {
        (Reference::Digest(_), Some(id)) => {
            let grace_ms = registry.untagged_grace_ms();
            registry.meta().keep_manifest(id, grace_ms).await
        }
        (Reference::Tag(_), _) | (_, None) => Ok(true),
    }
}

/// A manifest that is here, or where its project is a copy of; and what is to be said about it.
async fn find(
    call: &Call,
    repo: &RepoName,
    reference: &Reference,
) -> Result<(Arc<ManifestRow>, Option<String>), Error> {
    let Some(upstream) = call.upstream(repo).await? else {
        let found = call.registry.meta().manifest(repo, reference).await?;
        let found = found.ok_or_else(|| meta::unknown_manifest(repo, reference))?;
        return Ok((found, None));
    };
    let found = proxy::find(&call.registry, &upstream, repo, reference, &call.who).await?;
    call.note.edit().cache = Some(found.cache);
    Ok((found.given, found.warning.as_deref().map(warning)))
}

pub(super) async fn push(
    call: Call,
    body: Body,
    repo: RepoName,
    reference: Reference,
) -> Result<Response, Error> {
    let tags = tags(&call, &reference)?;
    let is_told_tags = call.param("tag").is_some();
    let condition = condition(&call);
    let sender = call.who.sender();
    let Call {
        registry,
        who,
        note,
        headers,
        ..
    } = call;
    let limits = &registry.config().limits;
    let bytes_max = limits.manifest_size_max.as_usize();
    let body = registry.room().gather(body, bytes_max, sender).await;
    let setting = "registry.limits.manifest_size_max";
    let body = body.map_err(|missing| missing.error("a manifest", setting, bytes_max))?;
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let read = ReadManifest::of(&registry, content_type, body.bytes.clone())?;
    let digest = match &reference {
        Reference::Tag(_) => Digest::of(Algorithm::Sha256, &read.bytes),
        Reference::Digest(expected) => {
            let digest = Digest::of(expected.algorithm(), &read.bytes);
            if digest != *expected {
                let message = format!("the manifest's digest is {digest}, not {expected}");
                return Err(Error::new(Code::DigestInvalid, message));
            }
            digest
        }
    };
    {
        let mut noted = note.edit();
        noted.digest = Some(digest.as_str().to_owned());
        noted.media_type = Some(read.media_type.clone());
        let names: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        noted.reference = Some(names.join(",")).filter(|names| !names.is_empty());
    }
    let subject = read.manifest.subject.clone();
    let put = PutManifest {
        tags: tags.clone(),
        condition,
        ..read.pushed(&registry, who, repo.clone(), digest.clone())
    };
    let stored = large::put(&registry, put).await?;
    let told = if is_told_tags { tags } else { Vec::new() };
    let warnings = [
        near_quota(repo.project(), &stored, limits.quota_warning_percent),
        incomplete(&repo, stored.missing_blobs, "blobs"),
        incomplete(&repo, stored.missing_manifests, "manifests"),
    ];
    Ok(pushed(&repo, &digest, subject.as_ref(), &told, &warnings))
}

/// The answer to who pushed a manifest.
fn pushed(
    repo: &RepoName,
    digest: &Digest,
    subject: Option<&Digest>,
    tags: &[Tag],
    warnings: &[Option<String>],
) -> Response {
    let location = format!("/v2/{repo}/manifests/{digest}");
    let mut headers = vec![
        (LOCATION, location.as_str()),
        (CONTENT_DIGEST, digest.as_str()),
    ];
    headers.extend(subject.map(|subject| (OCI_SUBJECT, subject.as_str())));
    let warnings = warnings.iter().flatten();
    headers.extend(warnings.map(|warning| (WARNING, warning.as_str())));
    headers.extend(tags.iter().map(|tag| (OCI_TAG, tag.as_str())));
    empty(StatusCode::CREATED, &headers)
}

/// What is said to who pushes to a project that has not much room left.
fn near_quota(project: &str, stored: &Stored, percent: u64) -> Option<String> {
    let (used, hard) = (stored.used.unsigned_abs(), stored.hard.unsigned_abs());
    let share = u128::from(used) * 100 >= u128::from(hard) * u128::from(percent);
    let is_near = stored.hard >= 0 && percent > 0 && share;
    is_near.then(|| warning(&format!("project {project} has {used} of {hard} bytes")))
}

/// What is said to who pushes an image that cannot be pulled as a whole.
fn incomplete(repo: &RepoName, missing: i64, what: &str) -> Option<String> {
    let text = format!("{repo} lacks {missing} {what} of this manifest until they are pushed too");
    (missing > 0).then(|| warning(&text))
}

/// The tags that a push sets, each once: the one in its path, and those in its query.
fn tags(call: &Call, reference: &Reference) -> Result<Vec<Tag>, Error> {
    let in_path = match reference {
        Reference::Tag(tag) => Some(Ok(tag.clone())),
        Reference::Digest(_) => None,
    };
    let count = call.params("tag").count();
    let max = call.registry.config().limits.tags_per_push_max;
    if count > max {
        let message = format!(
            "registry.limits.tags_per_push_max: {count} tags in one push, {max} are allowed"
        );
        return Err(
            Error::new(Code::ManifestInvalid, message).with_status(StatusCode::URI_TOO_LONG)
        );
    }
    let in_query = call.params("tag").map(Tag::parse);
    let mut tags: Vec<Tag> = Vec::new();
    for tag in in_path.into_iter().chain(in_query) {
        let tag = tag?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

fn condition(call: &Call) -> Condition {
    let list = |value: &str| entity_tags(value).map(str::to_owned).collect();
    Condition {
        matches: call.header(&IF_MATCH).map(list),
        matches_none: call.header(&IF_NONE_MATCH).map(list),
    }
}

pub(super) async fn delete(
    call: Call,
    repo: RepoName,
    reference: Reference,
) -> Result<Response, Error> {
    let registry = &call.registry;
    let graces = registry.graces();
    let meta = registry.meta();
    let condition = condition(&call);
    match reference {
        Reference::Tag(tag) => {
            let delete = DeleteTag {
                repo,
                tag,
                condition,
                // Who knows the digest pulls it, and verifies it, until its grace is over.
                takes_companions: false,
                who: call.who.clone(),
                grace_ms: graces.untagged_ms,
            };
            meta.change(delete).await?;
        }
        Reference::Digest(digest) => {
            if !condition.holds(Some(digest.as_str())) {
                let message = format!("the manifest is {digest}");
                return Err(Error::new(Code::PreconditionFailed, message));
            }
            let delete = DeleteManifest {
                // What the specification lets clients do, in any order.
                spares_parts: false,
                repo,
                digest,
                who: call.who.clone(),
                graces,
            };
            meta.change(delete).await?;
        }
    }
    Ok(empty(StatusCode::ACCEPTED, &[]))
}
