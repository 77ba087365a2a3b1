//! The list of repositories.

use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::call::Call;
use super::page::{self, Page};
use crate::auth;
use crate::error::Error;
use crate::name::RepoName;

pub(super) async fn list(call: Call) -> Result<Response, Error> {
    let page = Page::of(&call)?;
    let mut repos = visible(&call, &page).await?;
    let more = page.cut(&mut repos);
    let last = repos.last().filter(|_| more);
    let link = last.map(|last| page::link("/v2/_catalog", page.limit, last, ""));
    let body = axum::Json(json!({"repositories": repos}));
    Ok((axum::response::AppendHeaders(link), body).into_response())
}

/// The repositories of a page that the caller may pull from, and one more if there are more.
async fn visible(call: &Call, page: &Page) -> Result<Vec<String>, Error> {
    let wanted = page.lookahead();
    let mut found = Vec::new();
    let mut last = page.last.clone();
    while found.len() < wanted as usize {
        let names = call.registry.meta().repos(&last, wanted).await?;
        let Some(newest) = names.last() else { break };
        last.clone_from(newest);
        for name in names {
            let repo = RepoName::parse(&name)?;
            if auth::sees(&call.registry, &call.caller, &repo).await? {
                found.push(name);
            }
        }
    }
    found.truncate(wanted as usize);
    Ok(found)
}
