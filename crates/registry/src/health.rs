//! `/livez` and `/readyz` on the registry's own port, for balancers and orchestrators that see no
//! other. They are not logged: they come every few seconds and tell of nobody.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use tokio::sync::Mutex;

use crate::registry::Registry;

/// How long the database and the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how long an answer serves all who ask, so that asking costs nothing however often.
const FRESH: Duration = Duration::from_secs(1);

/// The last answer: when it was found, and what is missing.
#[derive(Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Vec<String>)>>);

/// The two end points.
pub(crate) fn routes() -> Router<Registry> {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
}

async fn ready(State(registry): State<Registry>) -> Response {
    let missing = match registry.is_stopping() {
        true => vec!["shutting down".to_owned()],
        false => missing(&registry).await,
    };
    match missing.is_empty() {
        true => "ok\n".into_response(),
        false => {
            let text = format!("{}\n", missing.join("\n"));
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

/// What does not answer. One request at a time looks, the others take what it found.
pub(crate) async fn missing(registry: &Registry) -> Vec<String> {
    let mut last = registry.readiness().0.lock().await;
    if let Some((at, missing)) = &*last
        && at.elapsed() < FRESH
    {
        return missing.clone();
    }
    let meta = tokio::time::timeout(PATIENCE, registry.meta().probe());
    let store = tokio::time::timeout(PATIENCE, registry.keeper().probe());
    let (meta, store) = tokio::join!(meta, store);
    let mut missing = Vec::new();
    match meta {
        Ok(Ok(())) => {}
        // More is in the log; it may have names that are not for everybody.
        Ok(Err(error)) => missing.push(error.message),
        Err(_) => missing.push(format!("the database did not answer within {PATIENCE:?}")),
    }
    match store {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the registry's store does not answer");
            missing.push("the store does not answer".to_owned());
        }
        Err(_) => missing.push(format!("the store did not answer within {PATIENCE:?}")),
    }
    *last = Some((Instant::now(), missing.clone()));
    missing
}
