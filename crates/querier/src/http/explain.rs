//! `?explain=true` of `query_range` and `query`: not the answer, but what it takes.

use axum::response::Response;
use serde::Serialize;
use server::http::ApiError;

use super::json;
use crate::Explanation;

#[derive(Serialize)]
struct Body<'a> {
    status: &'static str,
    data: Data<'a>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Data<'a> {
    explain: &'a Explanation,
}

/// The body of an explanation.
pub(super) fn response(explain: &Explanation) -> Result<Response, ApiError> {
    let body = Body {
        status: "success",
        data: Data { explain },
        warnings: &explain.warnings,
    };
    serde_json::to_vec(&body)
        .map(json)
        .map_err(|error| ApiError::internal(error.to_string()))
}
