//! The query API over HTTP: Loki's paths, parameters and JSON. A file for each endpoint or pair of
//! endpoints; what they share is in [`request`] and in [`crate::encode`].

mod detected_fields;
mod detected_labels;
mod drilldown;
mod format_query;
mod index;
mod labels;
mod legacy;
mod patterns;
mod query;
mod request;
mod rules;
mod volume;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::{Querier, tail};

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
        .with_state(querier)
}

/// The routes that belong to nobody.
pub fn open_routes() -> Router {
    let format = get(format_query::format_query).post(format_query::format_query);
    Router::new().route("/loki/api/v1/format_query", format)
}

/// A body of JSON.
fn json(body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    let json = HeaderValue::from_static("application/json; charset=UTF-8");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}
