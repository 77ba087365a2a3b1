//! `cache/generation_numbers`: the number that goes up when answers of a tenant that somebody cached
//! may have changed though no line came in.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use server::http::ApiError;

use super::{ApiRequest, json};
use crate::Querier;

/// `GET /loki/api/v1/cache/generation_numbers`: a text of digits, as Loki answers.
pub(super) async fn generation(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let generation = querier.cache_generation(request.tenants.single()?).await?;
    Ok(json(format!("\"{generation}\"\n")))
}

/// `POST /loki/api/v1/cache/generation_numbers/increase`
pub(super) async fn increase(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<StatusCode, ApiError> {
    querier
        .raise_cache_generation(request.tenants.single()?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
