//! Manifests about a manifest.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};

use super::answer::{OCI_FILTERS, with_body};
use super::call::Call;
use super::page::{self, Page};
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::OCI_INDEX;
use crate::meta::Referrer;
use crate::name::RepoName;

/// Manifests on one page; the specification wants answers of at most 4 MiB.
const PAGE_MAX: u32 = 1000;

pub(super) async fn list(call: Call, repo: RepoName, subject: Digest) -> Result<Response, Error> {
    let page = Page::of(&call)?;
    let page = Page {
        limit: page.limit.min(PAGE_MAX),
        ..page
    };
    let filter = call.param("artifactType").unwrap_or_default();
    let meta = call.registry.meta();
    let found = meta.referrers(&repo, &subject, filter, &page.last, page.lookahead());
    let mut found = found.await?;
    let more = page.cut(&mut found);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": found.iter().map(descriptor).collect::<Vec<_>>(),
    });
    let mut headers = vec![(CONTENT_TYPE, OCI_INDEX)];
    if !filter.is_empty() {
        headers.push((OCI_FILTERS, "artifactType"));
    }
    let link = found.last().filter(|_| more).map(|last| {
        let path = format!("/v2/{repo}/referrers/{subject}");
        let more = match filter {
            "" => String::new(),
            filter => format!("&artifactType={}", page::escape(filter)),
        };
        page::link(&path, page.limit, &last.digest, &more)
    });
    if let Some((name, value)) = &link {
        headers.push((name.clone(), value));
    }
    Ok(with_body(
        StatusCode::OK,
        &headers,
        Body::from(index.to_string()),
    ))
}

fn descriptor(referrer: &Referrer) -> Value {
    let mut fields = Map::new();
    fields.insert("mediaType".to_owned(), referrer.media_type.clone().into());
    fields.insert("digest".to_owned(), referrer.digest.clone().into());
    fields.insert("size".to_owned(), referrer.size.into());
    if let Some(kind) = &referrer.artifact_type {
        fields.insert("artifactType".to_owned(), kind.clone().into());
    }
    let annotations = referrer.annotations.as_deref();
    if let Some(Ok(map)) = annotations.map(serde_json::from_str::<Value>) {
        fields.insert("annotations".to_owned(), map);
    }
    Value::Object(fields)
}
