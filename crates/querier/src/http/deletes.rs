//! `delete`: requests to delete lines.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use server::http::ApiError;
use storage::{DeleteRequest, key};

use super::{ApiRequest, json};
use crate::Querier;
use crate::encode::{write_list, write_text};
use crate::params::parse_delete_time;

/// `POST /loki/api/v1/delete`
pub(super) async fn create(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<StatusCode, ApiError> {
    let params = &request.params;
    let invalid = |which| {
        ApiError::invalid(format!(
            "invalid {which} time: require unix seconds or RFC3339 format"
        ))
    };
    let query = params
        .get("query")
        .ok_or_else(|| ApiError::invalid("query not set"))?;
    let start = params
        .get("start")
        .ok_or_else(|| ApiError::invalid("start time not set"))?;
    let start_ns = parse_delete_time(start).ok_or_else(|| invalid("start"))?;
    let end_ns = match params.get("end") {
        None => querier.now_ns(),
        Some(end) => parse_delete_time(end).ok_or_else(|| invalid("end"))?,
    };
    let tenant = request.tenants.single()?;
    querier
        .delete_lines(tenant, query, start_ns, end_ns)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /loki/api/v1/delete`
pub(super) async fn list(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let tenant = request.tenants.single()?;
    let requests = querier.delete_requests(tenant).await?;
    let mut out = String::new();
    write_list(&mut out, &requests, |out, request| {
        out.push_str("{\"request_id\":");
        write_text(out, &key::id_text(request.id));
        for (name, time_ns) in [
            ("start_time", request.start_ns),
            ("end_time", request.end_ns),
            ("created_at", request.created_ns),
        ] {
            let _ = write!(out, ",\"{name}\":{}", time_ns as f64 / 1e9);
        }
        out.push_str(",\"query\":");
        write_text(out, &request.query);
        out.push_str(",\"status\":");
        write_text(out, status(request));
        out.push_str(",\"user_id\":");
        write_text(out, tenant.as_str());
        out.push('}');
    });
    Ok(json(out))
}

/// Lines are hidden as soon as a request is received; it is processed once they are gone.
fn status(request: &DeleteRequest) -> &'static str {
    match request.processed_ns {
        None => "received",
        Some(_) => "processed",
    }
}

/// `DELETE /loki/api/v1/delete`
pub(super) async fn cancel(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<StatusCode, ApiError> {
    let id = request.params.text("request_id");
    querier.cancel_delete(request.tenants.single()?, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
