//! HTTP routes of an ingester.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::Ingester;

/// `/flush` (GET and POST): answers 204 when everything that was pushed before is in the store, and
/// 503 with the reason when an attempt to bring it there failed.
pub fn routes(ingester: Ingester) -> Router {
    Router::new()
        .route("/flush", get(flush).post(flush))
        .with_state(ingester)
}

async fn flush(State(ingester): State<Ingester>) -> Response {
    match ingester.flush().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            let status = StatusCode::from_u16(error.code.http_status());
            (
                status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
                error.message,
            )
                .into_response()
        }
    }
}
