//! What every HTTP request passes through, and what handlers take from it and give back.
//!
//! [`finish`] wraps the router of a process: metrics, a span with a trace id, caught panics, bounded
//! waiting for bodies, compressed answers. [`tenant_routes`] wraps the routes that belong to a
//! tenant; their handlers take [`Tenants`] or [`Tenant`] as arguments and return [`ApiError`].

mod error;
mod leftover;
mod observe;
mod tenant;
mod trace;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use http::header::LOCATION;
use http::{Response, StatusCode, Uri};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

pub use error::{ApiError, LIMIT_HEADER, name_limit};
pub use observe::HttpMetrics;
pub(crate) use observe::observe;
pub use tenant::{Auth, TENANT_HEADER, Tenant, Tenants, tenant_routes};
pub use trace::{REQUEST_ID_HEADER, TraceId};

/// The router of an HTTP listener: `routes` in what all requests pass through.
pub fn finish(routes: Router, metrics: &HttpMetrics, body_timeout: Duration) -> Router {
    guard(routes.fallback(not_found), body_timeout)
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(metrics.clone(), observe))
}

/// What [`finish`] does for the process's own sake: caught panics, bounded waiting for bodies,
/// refusals that their client gets to read. For routes whose answers must stay as they are.
pub fn guard(routes: Router, body_timeout: Duration) -> Router {
    routes
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(RequestBodyTimeoutLayer::new(body_timeout))
        .layer(from_fn_with_state(body_timeout, leftover::read))
}

/// The answer to a path, or a method, that is not there.
pub async fn not_found(uri: Uri) -> Response<Body> {
    // Word for word what Go's net/http says, which is what clients of Loki know.
    without_empty_parts(&uri)
        .unwrap_or_else(|| (StatusCode::NOT_FOUND, "404 page not found\n").into_response())
}

/// Leads to the path without its empty parts if it has some, as Loki's router does: `//a` is another
/// path than `/a`.
#[must_use]
pub fn without_empty_parts(uri: &Uri) -> Option<Response<Body>> {
    let path = uri.path();
    if !path.contains("//") {
        return None;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut location = format!("/{}", parts.join("/"));
    if let Some(query) = uri.query() {
        location.push('?');
        location.push_str(query);
    }
    Some((StatusCode::MOVED_PERMANENTLY, [(LOCATION, location)]).into_response())
}

/// The panic itself was logged by the hook that telemetry installs; the client learns no more than
/// that it is our fault.
#[allow(
    clippy::needless_pass_by_value,
    reason = "tower-http gives the signature"
)]
pub(crate) fn on_panic(_: Box<dyn std::any::Any + Send>) -> Response<Body> {
    ApiError::internal("internal error").into_response()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::Registry;

    #[test]
    fn empty_parts_of_a_path_lead_elsewhere() {
        let leads_to = |path: &str| {
            let answer = without_empty_parts(&path.parse().unwrap())?;
            Some(answer.headers()[LOCATION].to_str().unwrap().to_owned())
        };
        assert_eq!(leads_to("//a///b?c=//").as_deref(), Some("/a/b?c=//"));
        assert_eq!(leads_to("/a/b?c=//"), None);
    }

    #[tokio::test]
    async fn a_panic_is_answered_and_counted() {
        async fn fails() -> &'static str {
            panic!("on purpose")
        }
        let mut registry = Registry::default();
        let metrics = HttpMetrics::new(&mut registry);
        let router = finish(
            Router::new().route("/fails/{id}", get(fails)),
            &metrics,
            Duration::from_secs(1),
        );
        for path in ["/fails/7", "/nowhere"] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            assert!(answer.headers().contains_key(REQUEST_ID_HEADER));
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            match path {
                "/nowhere" => assert_eq!((status, &body[..]), (404, &b"404 page not found\n"[..])),
                _ => assert_eq!((status, &body[..]), (500, &b"internal error\n"[..])),
            }
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for sample in [
            r#"http_request_duration_seconds_count{method="GET",route="/fails/{id}",status="500"} 1"#,
            r#"http_request_duration_seconds_count{method="GET",route="other",status="404"} 1"#,
        ] {
            assert!(text.contains(sample), "{sample} is missing in:\n{text}");
        }
    }
}
