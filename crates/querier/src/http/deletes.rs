//! `delete`: requests to delete lines.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use logql::syntax;
use model::units::{format_go_duration, parse_go_duration};
use server::http::ApiError;
use storage::{DeleteRequest, key};

use super::{ApiRequest, bare_json};
use crate::Querier;
use crate::deletes::is_damaged;
use crate::encode::{write_list, write_text};
use crate::params::{Params, parse_delete_time};

/// Tells a client which request it made.
const REQUEST_ID: &str = "x-delete-request-id";
const SECOND_NS: i64 = 1_000_000_000;
/// The most that `max_interval` may say, as Loki has it by default.
const INTERVAL_MAX_NS: i64 = 24 * 3600 * SECOND_NS;

/// `POST /loki/api/v1/delete`
pub(super) async fn create(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<impl IntoResponse, ApiError> {
    let params = &request.params;
    let invalid = |which| {
        ApiError::invalid(format!(
            "invalid {which} time: require unix seconds or RFC3339 format"
        ))
    };
    let query = params
        .get("query")
        .ok_or_else(|| ApiError::invalid("query not set"))?;
    let (selected, _) = syntax::parse_log_of_any_streams(query)
        .map_err(|_| ApiError::invalid("invalid query expression"))?;
    let start = params
        .get("start")
        .ok_or_else(|| ApiError::invalid("start time not set"))?;
    let start_ns = parse_delete_time(start).ok_or_else(|| invalid("start"))?;
    let end_ns = match params.get("end") {
        None => querier.now_ns(),
        Some(end) => parse_delete_time(end).ok_or_else(|| invalid("end"))?,
    };
    if !selected.stages.is_empty() && start_ns < end_ns && end_ns <= querier.now_ns() {
        check_interval(params, end_ns - start_ns)?;
    }
    let tenant = request.tenants.single()?;
    let id = querier
        .delete_lines(tenant, query, start_ns, end_ns)
        .await?;
    Ok((StatusCode::NO_CONTENT, [(REQUEST_ID, key::id_text(id))]))
}

/// `max_interval` says into what pieces Loki cuts a request that looks at lines. Here none is cut,
/// but what is wrong is refused alike.
fn check_interval(params: &Params, len_ns: i64) -> Result<(), ApiError> {
    let Some(text) = params.get("max_interval") else {
        return match len_ns < SECOND_NS {
            true => Err(ApiError::invalid(
                "difference between start time and end time must be at least one second",
            )),
            false => Ok(()),
        };
    };
    let interval_ns = parse_go_duration(text).ok();
    let Some(interval_ns) = interval_ns.filter(|interval_ns| *interval_ns >= SECOND_NS) else {
        return Err(ApiError::invalid(
            "invalid max_interval: valid time units are 's', 'm', 'h'",
        ));
    };
    if interval_ns > INTERVAL_MAX_NS {
        let most = format_go_duration(INTERVAL_MAX_NS);
        return Err(ApiError::invalid(format!(
            "max_interval can't be greater than {most}"
        )));
    }
    if interval_ns > len_ns {
        let most = format_go_duration(len_ns);
        return Err(ApiError::invalid(format!(
            "max_interval can't be greater than the interval to be deleted ({most})"
        )));
    }
    Ok(())
}

/// `GET /loki/api/v1/delete`
pub(super) async fn list(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let tenant = request.tenants.single()?;
    let kept = querier.delete_requests(tenant).await?;
    let damaged = kept.damaged.iter().map(|id| unreadable(*id));
    let requests: Vec<DeleteRequest> = kept.requests.into_iter().chain(damaged).collect();
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
    Ok(bare_json(out))
}

/// What is known of a request that cannot be read: that there is one, and since when.
fn unreadable(id: u128) -> DeleteRequest {
    DeleteRequest {
        id,
        query: String::new(),
        start_ns: 0,
        end_ns: 0,
        created_ns: key::id_time_ns(id),
        processed_ns: None,
    }
}

/// Lines are hidden as soon as a request is received; it is processed once they are gone. One that
/// is damaged hides nothing, and can only be withdrawn.
fn status(request: &DeleteRequest) -> &'static str {
    match request.processed_ns {
        Some(_) => "processed",
        None if is_damaged(request) => "damaged",
        None => "received",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_checked_as_if_requests_were_cut() {
        let check = |params: &str, len_ns| {
            let checked = check_interval(&Params::parse(&[params]), len_ns);
            checked.map_err(|error| error.0.message)
        };
        let hour_ns = 3600 * SECOND_NS;
        for good in ["", "max_interval=1h", "max_interval=1m30s"] {
            assert_eq!(check(good, hour_ns), Ok(()), "{good}");
        }
        for (params, len_ns, part) in [
            ("", SECOND_NS - 1, "at least one second"),
            ("max_interval=x", hour_ns, "invalid max_interval"),
            ("max_interval=1ms", hour_ns, "invalid max_interval"),
            ("max_interval=2h", hour_ns, "to be deleted (1h0m0s)"),
            ("max_interval=25h", 30 * hour_ns, "greater than 24h0m0s"),
        ] {
            let error = check(params, len_ns).unwrap_err();
            assert!(error.contains(part), "{params}: {error}");
        }
    }
}
