//! A router in this process, asked without a socket.

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

/// A router with what runs it.
pub(crate) struct Service {
    router: Router,
    runtime: Runtime,
}

impl Service {
    /// A service for one request at a time.
    pub(crate) fn new(make: impl FnOnce() -> Router) -> Self {
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        let router = runtime.block_on(async { make() });
        Self { router, runtime }
    }

    /// The answer to a request. No request, whatever is in it, is a fault of the server.
    pub(crate) fn answer(&self, request: Request<Body>) -> (u16, Vec<u8>) {
        let router = self.router.clone();
        self.runtime.block_on(async {
            let answer: Response<Body> =
                router.oneshot(request).await.unwrap_or_else(|e| match e {});
            let status = answer.status().as_u16();
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
            let body = body.expect("a body").to_vec();
            assert!(
                status != 500,
                "a fault of the server: {}",
                String::from_utf8_lossy(&body)
            );
            (status, body)
        })
    }
}
