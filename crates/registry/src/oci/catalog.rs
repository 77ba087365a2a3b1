//! The list of repositories.

use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::call::Call;
use super::page::{self, Page};
use crate::auth;
use crate::error::Error;

pub(super) async fn list(call: Call) -> Result<Response, Error> {
    let page = Page::of(&call)?;
    let reach = auth::listed(&call.registry, &call.caller).await;
    let reach = reach.map_err(|error| call.challenge(error))?;
    let wanted = page.lookahead();
    let found = call.registry.meta().repos(&reach, &page.last, wanted);
    let mut repos = found.await?;
    let more = page.cut(&mut repos);
    let last = repos.last().filter(|_| more);
    let link = last.map(|last| page::link("/v2/_catalog", page.limit, last, ""));
    let body = axum::Json(json!({"repositories": repos}));
    Ok((axum::response::AppendHeaders(link), body).into_response())
}
