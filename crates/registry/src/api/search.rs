//! Finding projects and repositories by a part of their names.

use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;

use super::query::part;
use super::{Admin, Operations, Outcome, answer, wrong};
use crate::meta::{FoundProject, FoundRepo};

/// Projects, and repositories, of one answer.
const FOUND_MAX: i64 = 100;

/// What can be found.
pub(super) fn operations(all: Operations) -> Operations {
    let summary = "Projects and repositories with ?q= in their names";
    all.about("search")
        .get_with("/search", "search", summary, "q", search)
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
struct Search {
    project: Vec<FoundProject>,
    repository: Vec<FoundRepo>,
}

async fn search(admin: Admin) -> Outcome<Json<Search>> {
    answer(&admin, async {
        let text = admin.param("q").unwrap_or_default();
        if text.is_empty() {
            return Err(wrong("q is a part of a name"));
        }
        let (text, reach) = (part(text)?, admin.reach());
        let meta = admin.registry.meta();
        Ok(Json(Search {
            project: meta.search_projects(&text, &reach, FOUND_MAX).await?,
            repository: meta.search_repos(&text, &reach, FOUND_MAX).await?,
        }))
    })
    .await
}
