//! Manifests about a manifest.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, WARNING};
use serde_json::{Map, Value, json};

use super::answer::{OCI_FILTERS, warning, with_body};
use super::call::Call;
use super::page::{self, Page};
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Annotations, OCI_INDEX};
use crate::meta::{Referrer, ReferrersPage};
use crate::name::RepoName;
use crate::proxy;

/// Manifests on one page.
const PAGE_MAX: u32 = 1000;
/// Bytes on one page, as the specification wants it, but for what is around the list.
const PAGE_BYTES_MAX: usize = (4 << 20) - 1024;

pub(super) async fn list(call: Call, repo: RepoName, subject: Digest) -> Result<Response, Error> {
    let page = Page::of(&call)?;
    let page = Page {
        limit: page.limit.min(PAGE_MAX),
        ..page
    };
    let filter = call.param("artifactType").unwrap_or_default();
    let wanted = ReferrersPage {
        subject: &subject,
        artifact_type: filter,
        last: &page.last,
        limit: page.lookahead(),
        bytes_max: PAGE_BYTES_MAX,
    };
    let (mut found, is_cut, warning) = find(&call, &repo, &wanted).await?;
    let has_more = page.cut(&mut found);
    let descriptors = fitting(&found);
    let more = has_more || is_cut || descriptors.len() < found.len();
    found.truncate(descriptors.len());
    let index = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{OCI_INDEX}\",\"manifests\":[{}]}}",
        descriptors.join(",")
    );
    let mut headers = vec![(CONTENT_TYPE, OCI_INDEX)];
    if !filter.is_empty() {
        headers.push((OCI_FILTERS, "artifactType"));
    }
    if let Some(warning) = &warning {
        headers.push((WARNING, warning.as_str()));
    }
    let link = found.last().filter(|_| more).map(|last| {
        let (name, mut more) = call.asked(&repo);
        let path = format!("/v2/{name}/referrers/{subject}");
        if !filter.is_empty() {
            more.push_str(&format!("&artifactType={}", page::escape(filter)));
        }
        page::link(&path, page.limit, &last.digest, &more)
    });
    if let Some((name, value)) = &link {
        headers.push((name.clone(), value));
    }
    Ok(with_body(StatusCode::OK, &headers, Body::from(index)))
}

/// Those that are here, and where their repository is a copy of; whether there may be more, and what
/// is to be said about them.
async fn find(
    call: &Call,
    repo: &RepoName,
    page: &ReferrersPage<'_>,
) -> Result<(Vec<Referrer>, bool, Option<String>), Error> {
    let Some(upstream) = call.upstream(repo).await? else {
        let (found, is_cut) = call.registry.meta().referrers(repo, page).await?;
        return Ok((found, is_cut, None));
    };
    let found = proxy::referrers(&call.registry, &upstream, repo, page, &call.who).await?;
    let (found, is_cut) = found;
    call.note.edit().cache = Some(found.cache);
    Ok((found.given, is_cut, found.warning.as_deref().map(warning)))
}

/// The descriptors of as many as one page has room for, but of one at least.
fn fitting(found: &[Referrer]) -> Vec<String> {
    let (mut descriptors, mut bytes) = (Vec::new(), 0);
    for referrer in found {
        let mut text = descriptor(referrer, true).to_string();
        if text.len() > PAGE_BYTES_MAX {
            // It has no page where its annotations fit: they are in its manifest.
            text = descriptor(referrer, false).to_string();
        }
        bytes += text.len() + 1;
        if bytes > PAGE_BYTES_MAX && !descriptors.is_empty() {
            break;
        }
        descriptors.push(text);
    }
    descriptors
}

fn descriptor(referrer: &Referrer, has_annotations: bool) -> Value {
    let mut fields = Map::new();
    fields.insert("mediaType".to_owned(), referrer.media_type.clone().into());
    fields.insert("digest".to_owned(), referrer.digest.clone().into());
    fields.insert("size".to_owned(), referrer.size.into());
    if let Some(kind) = &referrer.artifact_type {
        fields.insert("artifactType".to_owned(), kind.clone().into());
    }
    let annotations = referrer.annotations.as_deref().filter(|_| has_annotations);
    // Those of earlier versions may be no texts, which clients cannot read.
    if let Some(Ok(map)) = annotations.map(serde_json::from_str::<Annotations>) {
        fields.insert("annotations".to_owned(), json!(map));
    }
    Value::Object(fields)
}
