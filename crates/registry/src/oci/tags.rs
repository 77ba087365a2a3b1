//! The tags of a repository.

use axum::response::{AppendHeaders, IntoResponse, Response};
use http::header::WARNING;
use serde_json::json;

use super::answer::warning;
use super::call::Call;
use super::page::{self, Page};
use crate::error::{Code, Error};
use crate::name::RepoName;
use crate::proxy;

pub(super) async fn list(call: Call, repo: RepoName) -> Result<Response, Error> {
    let page = Page::of(&call)?;
    let (mut tags, warning) = find(&call, &repo, &page).await?;
    let more = page.cut(&mut tags);
    let (name, namespace) = call.asked(&repo);
    let link = tags.last().filter(|_| more).map(|last| {
        let path = format!("/v2/{name}/tags/list");
        page::link(&path, page.limit, last, &namespace)
    });
    let warning = warning.map(|warning| (WARNING, warning));
    let body = axum::Json(json!({"name": name, "tags": tags}));
    let headers = AppendHeaders(link.into_iter().chain(warning));
    Ok((headers, body).into_response())
}

/// Tags that are here, or where their repository is a copy of; and what is to be said about them.
async fn find(
    call: &Call,
    repo: &RepoName,
    page: &Page,
) -> Result<(Vec<String>, Option<String>), Error> {
    let wanted = (page.last.as_str(), page.lookahead());
    let Some(upstream) = call.upstream(repo).await? else {
        let meta = call.registry.meta();
        let tags = meta.tags(repo, wanted.0, wanted.1).await?;
        if tags.is_empty() && !meta.has_repo(repo).await? {
            let message = format!("there is no repository {repo}");
            let error = Error::new(Code::NameUnknown, message);
            return Err(error.with_detail("name", repo.as_str()));
        }
        return Ok((tags, None));
    };
    let found = proxy::tags(&call.registry, &upstream, repo, wanted, &call.who).await?;
    call.note.edit().cache = Some(found.cache);
    Ok((found.given, found.warning.as_deref().map(warning)))
}
