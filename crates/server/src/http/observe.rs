//! One span, one sample of metrics and one line of log per request.

use std::borrow::Cow;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, Method};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tracing::Instrument;

use super::trace::{REQUEST_ID_HEADER, TraceId, request_id};
use crate::Registry;

/// Upper bounds of the duration histogram's buckets.
const DURATION_BUCKETS_SECONDS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];
/// What requests to paths that no route has are counted under.
const UNMATCHED: &str = "other";

/// Metrics of requests, HTTP and gRPC.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    durations: Family<RequestLabels, Histogram>,
    in_flight: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: MethodLabel,
    route: Cow<'static, str>,
    status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(
    clippy::upper_case_acronyms,
    reason = "the label's values are HTTP's words"
)]
enum MethodLabel {
    GET,
    POST,
    PUT,
    DELETE,
    HEAD,
    OPTIONS,
    OTHER,
}

impl From<&Method> for MethodLabel {
    fn from(method: &Method) -> Self {
        match *method {
            Method::GET => Self::GET,
            Method::POST => Self::POST,
            Method::PUT => Self::PUT,
            Method::DELETE => Self::DELETE,
            Method::HEAD => Self::HEAD,
            Method::OPTIONS => Self::OPTIONS,
            _ => Self::OTHER,
        }
    }
}

impl HttpMetrics {
    /// The metrics, registered.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let new_histogram: fn() -> Histogram = || Histogram::new(DURATION_BUCKETS_SECONDS);
        let metrics = Self {
            durations: Family::new_with_constructor(new_histogram),
            in_flight: Gauge::default(),
        };
        registry.register(
            "skald_http_request_duration_seconds",
            "Time from the headers of a request to the headers of its answer",
            metrics.durations.clone(),
        );
        registry.register(
            "skald_http_requests_in_flight",
            "Requests whose answer has not begun",
            metrics.in_flight.clone(),
        );
        metrics
    }
}

/// Counts down again however the request ends, also when its client goes away.
struct InFlight(Gauge);

impl InFlight {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

pub(crate) async fn observe(
    State(metrics): State<HttpMetrics>,
    mut request: Request,
    next: Next,
) -> Response {
    let begin = Instant::now();
    let _in_flight = InFlight::new(&metrics.in_flight);
    let method = MethodLabel::from(request.method());
    let route: Cow<'static, str> = match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().to_owned().into(),
        None => UNMATCHED.into(),
    };
    let trace_id = TraceId::of(request.headers());
    let given_id = request_id(request.headers());
    let request_id = given_id.map_or_else(|| trace_id.to_string(), str::to_owned);
    let span = tracing::info_span!(
        "request",
        method = ?method,
        route = %route,
        %trace_id,
        request_id = given_id,
        tenant = tracing::field::Empty,
    );
    request.extensions_mut().insert(trace_id);

    let mut answer = next.run(request).instrument(span.clone()).await;

    if let Ok(value) = HeaderValue::from_str(&request_id) {
        answer.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    let status = answer.status().as_u16();
    let duration = begin.elapsed();
    span.in_scope(|| {
        tracing::debug!(
            status,
            duration_ms = duration.as_millis() as u64,
            "answered"
        );
    });
    let labels = RequestLabels {
        method,
        route,
        status,
    };
    metrics
        .durations
        .get_or_create(&labels)
        .observe(duration.as_secs_f64());
    answer
}
