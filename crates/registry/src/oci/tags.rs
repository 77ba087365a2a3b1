//! The tags of a repository.

use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::call::Call;
use super::page::{self, Page};
use crate::error::{Code, Error};
use crate::name::RepoName;

pub(super) async fn list(call: Call, repo: RepoName) -> Result<Response, Error> {
    let page = Page::of(&call)?;
    let meta = call.registry.meta();
    let mut tags = meta.tags(&repo, &page.last, page.lookahead()).await?;
    if tags.is_empty() && !meta.has_repo(&repo).await? {
        let message = format!("there is no repository {repo}");
        return Err(Error::new(Code::NameUnknown, message).with_detail("name", repo.as_str()));
    }
    let more = page.cut(&mut tags);
    let link = tags.last().filter(|_| more).map(|last| {
        let path = format!("/v2/{repo}/tags/list");
        page::link(&path, page.limit, last, "")
    });
    let body = axum::Json(json!({"name": repo.as_str(), "tags": tags}));
    Ok((axum::response::AppendHeaders(link), body).into_response())
}
