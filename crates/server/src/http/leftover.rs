//! What a refused request still sends.
//!
//! A connection that is closed while the client is sending is reset, and the client may never see
//! the answer that says why. So what a handler left of a body is read and dropped before the answer
//! goes out, as far as that is reasonable.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::EXPECT;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;

/// Bytes that are read and dropped of one body, at most.
const BYTES_MAX: u64 = 256 << 20;

/// A body that is still there when its reader has lost interest.
struct Lent(Arc<Mutex<Body>>);

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}

/// Runs a request; if it is refused, the rest of its body is read for as long as a client may pause.
pub(super) async fn read(
    State(timeout): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    // Who waits to be told to send sends nothing after a refusal.
    if body.is_end_stream() || parts.headers.contains_key(EXPECT) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let body = Arc::new(Mutex::new(body));
    let lent = Body::new(Lent(Arc::clone(&body)));
    let answer = next.run(Request::from_parts(parts, lent)).await;
    if answer.status().is_client_error() || answer.status().is_server_error() {
        // The answer is what it is, whether the client finishes or not.
        let _ = tokio::time::timeout(timeout, drop_rest(Lent(body))).await;
    }
    answer
}

async fn drop_rest(mut body: Lent) {
    if body.size_hint().lower() > BYTES_MAX {
        return;
    }
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > BYTES_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use futures::stream;
    use http::StatusCode;
    use tower::ServiceExt;

    use super::*;

    /// Sends 64 pieces to a handler that reads none, and says how many were taken.
    async fn pieces_taken(status: StatusCode, expects: bool) -> u64 {
        let taken = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&taken);
        let pieces = stream::iter((0..64).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1024]))
        }));
        let router = Router::new()
            .route("/", post(move || async move { status }))
            .layer(from_fn_with_state(Duration::from_secs(5), read));
        let mut request = Request::post("/");
        if expects {
            request = request.header(EXPECT, "100-continue");
        }
        let request = request.body(Body::from_stream(pieces)).unwrap();
        assert_eq!(router.oneshot(request).await.unwrap().status(), status);
        taken.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_refused_request_is_read_to_its_end() {
        assert_eq!(pieces_taken(StatusCode::PAYLOAD_TOO_LARGE, false).await, 64);
        assert_eq!(pieces_taken(StatusCode::OK, false).await, 0);
        assert_eq!(pieces_taken(StatusCode::PAYLOAD_TOO_LARGE, true).await, 0);
    }

    #[tokio::test]
    async fn a_body_without_end_is_left() {
        let piece = || Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1 << 20]));
        let endless = Body::from_stream(stream::repeat_with(piece));
        drop_rest(Lent(Arc::new(Mutex::new(endless)))).await;
    }
}
