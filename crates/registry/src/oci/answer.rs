//! What answers have in common.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};

/// Says which protocol this is, as Docker's clients expect.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub(super) const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(super) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
pub(super) const OCI_NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
pub(super) const OCI_FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// What every answer says, and what it is part of if the client has said so.
pub(super) fn stamp(answer: &mut Response, namespace: Option<&str>) {
    let headers = answer.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    if let Some(Ok(namespace)) = namespace.map(HeaderValue::from_str) {
        headers.insert(OCI_NAMESPACE, namespace);
    }
}

pub(super) fn ping() -> Response {
    let json = HeaderValue::from_static("application/json");
    (StatusCode::OK, [(CONTENT_TYPE, json)], "{}").into_response()
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode, headers: &[(HeaderName, &str)]) -> Response {
    with_body(status, headers, Body::empty())
}

/// An answer with a body.
pub(super) fn with_body(
    status: StatusCode,
    headers: &[(HeaderName, &str)],
    body: Body,
) -> Response {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    for (name, value) in headers {
        // Names, digests and numbers are all ASCII.
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.headers_mut().append(name.clone(), value);
        }
    }
    answer
}

/// Bytes of a warning; the specification allows 4096 for all of an answer.
const WARNING_BYTES_MAX: usize = 1024;

/// The value of the header `Warning`.
/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#warnings>
pub(crate) fn warning(text: &str) -> String {
    let plain = text.chars().map(|char| match char {
        '"' | '\\' => '\'',
        ' '..='~' => char,
        _ => '?',
    });
    let plain: String = plain.take(WARNING_BYTES_MAX).collect();
    format!("299 - \"{plain}\"")
}

/// Whether a list of entity tags, as `If-None-Match` has it, names this digest.
pub(super) fn names(list: &str, digest: &str) -> bool {
    entity_tags(list).any(|tag| tag == "*" || tag == digest)
}

/// The entity tags of a list, without quotes and the mark of weak ones.
pub(super) fn entity_tags(list: &str) -> impl Iterator<Item = &str> {
    let strong = |tag| str::strip_prefix(tag, "W/").unwrap_or(tag);
    let bare = list.split(',').map(str::trim).map(strong);
    bare.map(|tag| tag.trim_matches('"'))
        .filter(|tag| !tag.is_empty())
}
