//! `drilldown-limits`: what Grafana's Logs Drilldown wants to know before it asks.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use model::{Code, CodedError};
use serde::Serialize;
use server::http::ApiError;

use super::{ApiRequest, bare_json};
use crate::Querier;

#[derive(Serialize)]
struct Answer<'a> {
    limits: &'a model::Limits,
    pattern_ingester_enabled: bool,
    version: &'a str,
}

/// `/loki/api/v1/drilldown-limits`
pub(super) async fn limits(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let limits = querier.limits(request.tenants.single()?);
    let answer = Answer {
        limits: &limits,
        // Patterns are found in the lines themselves when they are asked for.
        pattern_ingester_enabled: true,
        version: server::VERSION,
    };
    let body = serde_json::to_vec(&answer)
        .map_err(|error| CodedError::new(Code::Internal, error.to_string()))?;
    Ok(bare_json(body))
}
