//! The query API over HTTP: Loki's paths, parameters and JSON. A file for each endpoint or pair of
//! endpoints; what they share is in [`request`] and in [`crate::encode`].

mod cache;
mod deletes;
mod detected_fields;
mod detected_labels;
mod drilldown;
mod explain;
mod format_query;
mod index;
mod labels;
mod legacy;
mod patterns;
mod query;
mod request;
mod rules;
mod volume;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use server::http::{not_found, without_empty_parts};

use crate::encode::{self, Pieces};
use crate::query::Answered;
use crate::{Answer, Querier, request_limits, tail};

use request::ApiRequest;
pub(crate) use request::encoding;

/// The routes that belong to tenants.
pub fn routes(querier: Arc<Querier>) -> Router {
    let loki = Router::new()
        .route("/query_range", get(query::range).post(query::range))
        .route("/query", get(query::instant).post(query::instant))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label", get(labels::names).post(labels::names))
        .route(
            "/label/{name}/values",
            get(labels::values).post(labels::values),
        )
        .route("/series", get(labels::series).post(labels::series))
        .route("/index/stats", get(index::stats).post(index::stats))
        .route("/index/shards", get(index::shards).post(index::shards))
        .route("/index/volume", get(volume::instant).post(volume::instant))
        .route(
            "/index/volume_range",
            get(volume::range).post(volume::range),
        )
        .route(
            "/detected_labels",
            get(detected_labels::detected_labels).post(detected_labels::detected_labels),
        )
        .route(
            "/detected_fields",
            get(detected_fields::fields).post(detected_fields::fields),
        )
        .route(
            "/detected_field/{name}/values",
            get(detected_fields::values).post(detected_fields::values),
        )
        .route(
            "/patterns",
            get(patterns::patterns).post(patterns::patterns),
        )
        .route("/drilldown-limits", get(drilldown::limits))
        .route(
            "/delete",
            get(deletes::list)
                .post(deletes::create)
                .put(deletes::create)
                .delete(deletes::cancel),
        )
        .route(
            "/cache/generation_numbers",
            get(cache::generation).fallback(not_found),
        )
        .route("/cache/generation_numbers/increase", post(cache::increase))
        .route("/tail", get(tail::upgrade).post(tail::upgrade));
    let legacy = Router::new()
        .route("/query", get(legacy::query).post(legacy::query))
        .route("/label", get(labels::names).post(labels::names))
        .route(
            "/label/{name}/values",
            get(labels::values).post(labels::values),
        )
        .route("/series", get(labels::series).post(labels::series))
        .route("/tail", get(tail::upgrade).post(tail::upgrade));
    Router::new()
        .nest("/loki/api/v1", loki.merge(rules::routes()))
        .nest("/api/prom", legacy.merge(rules::routes()))
        .merge(rules::prometheus_routes())
        .with_state(Arc::clone(&querier))
        .route_layer(from_fn_with_state(querier, request_limits::apply))
        .route_layer(from_fn(like_loki))
}

/// What Loki's router does before a handler is asked: no `HEAD`, and a path with an empty part is
/// another path.
async fn like_loki(request: Request, next: Next) -> Response {
    if request.method() == Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match without_empty_parts(request.uri()) {
        Some(elsewhere) => elsewhere,
        None => next.run(request).await,
    }
}

/// The routes that belong to nobody.
pub fn open_routes() -> Router {
    let format = get(format_query::format_query).post(format_query::format_query);
    Router::new().route("/loki/api/v1/format_query", format)
}

/// The answer to a query, in the form that its client asked for. A large one is sent while it is
/// written.
fn query_answer(answered: Answered<Answer>, request: ApiRequest) -> Response {
    if request.wants_protobuf {
        return protobuf(encode::protobuf::query(&answered, request.encoding.style));
    }
    let mut pieces = Pieces::new(answered, request.encoding);
    let first = pieces.next().unwrap_or_default();
    match pieces.next() {
        None => json(first),
        Some(second) => {
            let pieces = [first, second].into_iter().chain(pieces);
            json(Body::from_stream(futures::stream::iter(
                pieces.map(Ok::<_, Infallible>),
            )))
        }
    }
}

/// A body of Loki's protobuf.
fn protobuf(body: Vec<u8>) -> Response {
    let mut answer = Response::new(body.into());
    let kind = HeaderValue::from_static(request::PROTOBUF);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// A body of JSON.
fn json(body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    let json = HeaderValue::from_static("application/json; charset=UTF-8");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// A body of JSON of those endpoints for which Loki names no character set.
fn bare_json(body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}
