//! gRPC on a listener of its own. Same listener code as HTTP: a gRPC client speaks HTTP/2 by prior
//! knowledge, which [`crate::Listener`] recognises.

use axum::Router;
use axum::middleware::from_fn_with_state;
use tonic::service::Routes;
use tower_http::catch_panic::CatchPanicLayer;

use crate::http::{HttpMetrics, on_panic};

/// The router of a gRPC listener: `services` with metrics, spans and caught panics.
pub fn grpc_router(services: Routes, metrics: &HttpMetrics) -> Router {
    services
        .prepare()
        .into_axum_router()
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(from_fn_with_state(metrics.clone(), crate::http::observe))
}
