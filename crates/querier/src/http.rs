//! The query API over HTTP: Loki's paths, parameters and JSON.

mod request;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use logql::syntax;
use model::{Code, CodedError, LabelSet};
use server::http::ApiError;

use crate::Querier;
use crate::encode::{self, write_labels, write_list, write_text};
use crate::query::{InstantQuery, RangeQuery};
use crate::stats::Report;
use crate::tail;

use request::ApiRequest;
pub(crate) use request::label_style;

/// The routes that belong to a tenant.
pub fn routes(querier: Arc<Querier>) -> Router {
    Router::new()
        .route(
            "/loki/api/v1/query_range",
            get(query_range).post(query_range),
        )
        .route("/loki/api/v1/query", get(query).post(query))
        .route("/loki/api/v1/labels", get(labels).post(labels))
        .route("/loki/api/v1/label", get(labels).post(labels))
        .route(
            "/loki/api/v1/label/{name}/values",
            get(label_values).post(label_values),
        )
        .route("/loki/api/v1/series", get(series).post(series))
        .route(
            "/loki/api/v1/index/stats",
            get(index_stats).post(index_stats),
        )
        .route("/loki/api/v1/tail", get(tail::upgrade))
        .route("/api/prom/query", get(legacy_query).post(legacy_query))
        .route("/api/prom/label", get(labels).post(labels))
        .route(
            "/api/prom/label/{name}/values",
            get(label_values).post(label_values),
        )
        .route("/api/prom/series", get(series).post(series))
        .route("/api/prom/tail", get(tail::upgrade))
        .with_state(querier)
}

/// The routes that belong to nobody.
pub fn open_routes() -> Router {
    Router::new().route(
        "/loki/api/v1/format_query",
        get(format_query).post(format_query),
    )
}

/// A body of JSON, and an error status where it is not 200.
pub(crate) fn json(body: impl Into<axum::body::Body>) -> Response {
    let mut answer = Response::new(body.into());
    let json = HeaderValue::from_static("application/json; charset=UTF-8");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

async fn query_range(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let now_ns = querier.now_ns();
    let params = &request.params;
    let range = params.range(now_ns)?;
    let query = RangeQuery {
        text: params.get("query").unwrap_or_default().to_owned(),
        range,
        step_ns: params.step(range)?,
        interval_ns: params.interval()?,
        limit: params.limit()?,
        direction: params.direction()?,
    };
    if query.range.end_ns <= query.range.start_ns {
        return Err(ApiError::invalid(
            "end timestamp must not be before or equal to start time",
        ));
    }
    let tenant = request.tenants.single()?;
    let (answer, report) = querier.range_query(tenant, query).await?;
    Ok(json(encode::query_response(
        &answer,
        request.style,
        &report,
        &[],
    )))
}

async fn query(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let params = &request.params;
    let query = InstantQuery {
        text: params.get("query").unwrap_or_default().to_owned(),
        at_ns: params.time("time")?.unwrap_or_else(|| querier.now_ns()),
        limit: params.limit()?,
        direction: params.direction()?,
    };
    let tenant = request.tenants.single()?;
    let (answer, report) = querier.instant_query(tenant, query).await?;
    Ok(json(encode::query_response(
        &answer,
        request.style,
        &report,
        &[],
    )))
}

/// `{"status":"success","data":[…]}`; without `data` if there is none, as Loki has it.
fn list_response<T>(items: &[T], write: impl FnMut(&mut String, &T)) -> Response {
    let mut out = String::from("{\"status\":\"success\"");
    if !items.is_empty() {
        out.push_str(",\"data\":");
        write_list(&mut out, items, write);
    }
    out.push('}');
    json(out)
}

async fn labels(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let matchers = request.selector()?;
    let range = request.params.range(querier.now_ns())?;
    let names = querier
        .label_names(request.tenants.single()?, &matchers, range)
        .await?;
    Ok(list_response(&names, |out, name| write_text(out, name)))
}

async fn label_values(
    State(querier): State<Arc<Querier>>,
    Path(name): Path<String>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let matchers = request.selector()?;
    let range = request.params.range(querier.now_ns())?;
    let values = querier
        .label_values(request.tenants.single()?, &name, &matchers, range)
        .await?;
    Ok(list_response(&values, |out, value| write_text(out, value)))
}

async fn series(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let selectors = request.match_selectors()?;
    let range = request.params.range(querier.now_ns())?;
    let sets = querier
        .series(request.tenants.single()?, &selectors, range)
        .await?;
    let mut out = String::from("{\"status\":\"success\",\"data\":");
    write_list(&mut out, &sets, |out, set: &LabelSet| {
        write_labels(out, set)
    });
    out.push('}');
    Ok(json(out))
}

async fn index_stats(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let matchers = request.selector()?;
    let range = request.params.range(querier.now_ns())?;
    let sum = querier
        .index_stats(request.tenants.single()?, &matchers, range)
        .await?;
    Ok(json(format!(
        "{{\"streams\":{},\"chunks\":{},\"bytes\":{},\"entries\":{}}}",
        sum.streams, sum.chunks, sum.bytes, sum.rows
    )))
}

/// `/api/prom/query`: log queries only, lines as objects.
async fn legacy_query(
    State(querier): State<Arc<Querier>>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let params = &request.params;
    let range = params.range(querier.now_ns())?;
    let mut text = params.get("query").unwrap_or_default().to_owned();
    if let Some(regexp) = params.get("regexp") {
        text.push_str(&format!(" |~ {}", model::units::quote(regexp)));
    }
    let query = RangeQuery {
        text,
        range,
        step_ns: 1_000_000_000,
        interval_ns: 0,
        limit: params.limit()?,
        direction: params.direction()?,
    };
    let (answer, report) = querier
        .range_query(request.tenants.single()?, query)
        .await?;
    legacy_response(&answer, &report)
        .map(json)
        .map_err(ApiError)
}

fn legacy_response(answer: &encode::Answer, report: &Report) -> Result<String, CodedError> {
    let encode::Answer::Streams(rows) = answer else {
        return Err(CodedError::new(
            Code::InvalidArgument,
            "legacy endpoints only support streams result type",
        ));
    };
    let mut out = String::from("{\"streams\":");
    let streams = encode::group_rows(rows, encode::LabelStyle::Merged);
    write_list(&mut out, &streams, |out, (labels, rows)| {
        out.push_str("{\"labels\":");
        write_text(out, &labels.to_string());
        out.push_str(",\"entries\":");
        write_list(out, rows, |out, row| {
            let time = jiff::Timestamp::from_nanosecond(i128::from(row.timestamp_ns));
            out.push_str("{\"ts\":");
            write_text(out, &time.map(|time| time.to_string()).unwrap_or_default());
            out.push_str(",\"line\":");
            write_text(out, &String::from_utf8_lossy(&row.line));
            out.push('}');
        });
        out.push('}');
    });
    out.push_str(",\"stats\":");
    out.push_str(&serde_json::to_string(report).unwrap_or_else(|_| "{}".to_owned()));
    out.push('}');
    Ok(out)
}

async fn format_query(request: request::OpenRequest) -> Response {
    let text = request.params.get("query").unwrap_or_default();
    let (status, name, field, value) = match syntax::parse(text) {
        Ok(expr) => (200, "success", "data", syntax::pretty(&expr)),
        Err(error) => (400, "invalid-query", "error", error.to_string()),
    };
    let mut out = format!("{{\"status\":\"{name}\",\"{field}\":");
    write_text(&mut out, &value);
    out.push('}');
    let mut answer = json(out);
    if let Ok(status) = http::StatusCode::from_u16(status) {
        *answer.status_mut() = status;
    }
    answer.into_response()
}
