//! `X-Loki-Query-Limits`: a request may be given tighter limits than its tenant has, by whoever
//! stands between users and the querier. Looser ones change nothing.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use model::Limits;
use model::units::{ByteSize, DurationNs};
use serde::Deserialize;
use server::http::ApiError;

use crate::Querier;

/// Limits as JSON, with Loki's names.
const LIMITS_HEADER: &str = "x-loki-query-limits";

tokio::task_local! {
    /// Those of the request that the task answers.
    static OF_REQUEST: RequestLimits;
}

/// Limits of one request. What is absent or zero is that of the tenant.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RequestLimits {
    max_query_length: DurationNs,
    #[serde(rename = "maxQueryInterval")]
    max_query_range: DurationNs,
    max_query_lookback: DurationNs,
    max_entries_limit_per_query: usize,
    #[serde(rename = "maxQueryTime")]
    query_timeout: DurationNs,
    required_labels: Vec<String>,
    #[serde(rename = "minimumLabelsNumber")]
    minimum_labels_number: usize,
    max_query_bytes_read: ByteSize,
}

/// Answers a request within the limits that its header names, where the configuration allows such
/// headers.
pub(crate) async fn apply(
    State(querier): State<Arc<Querier>>,
    request: Request,
    next: Next,
) -> Response {
    if !querier.config.per_request_limits_enabled {
        return next.run(request).await;
    }
    match of_headers(request.headers()) {
        Ok(None) => next.run(request).await,
        Ok(Some(limits)) => OF_REQUEST.scope(limits, next.run(request)).await,
        Err(error) => error.into_response(),
    }
}

fn of_headers(headers: &HeaderMap) -> Result<Option<RequestLimits>, ApiError> {
    let Some(text) = headers.get(LIMITS_HEADER) else {
        return Ok(None);
    };
    serde_json::from_slice(text.as_bytes())
        .map(Some)
        .map_err(|error| ApiError::invalid(format!("{LIMITS_HEADER}: {error}")))
}

/// The limits of a tenant, tightened by those of the request.
pub(crate) fn tightened(limits: Arc<Limits>) -> Arc<Limits> {
    OF_REQUEST
        .try_with(|request| Arc::new(request.tighten(&limits)))
        .unwrap_or(limits)
}

impl RequestLimits {
    fn tighten(&self, limits: &Limits) -> Limits {
        let mut required = limits.required_labels.clone();
        for label in &self.required_labels {
            if !required.contains(label) {
                required.push(label.clone());
            }
        }
        let shorter = |tenant: DurationNs, request: DurationNs| {
            DurationNs(tighter(tenant.0.max(0), request.0.max(0)))
        };
        Limits {
            max_query_length: shorter(limits.max_query_length, self.max_query_length),
            max_query_range: shorter(limits.max_query_range, self.max_query_range),
            max_query_lookback: shorter(limits.max_query_lookback, self.max_query_lookback),
            max_entries_limit_per_query: tighter(
                limits.max_entries_limit_per_query,
                self.max_entries_limit_per_query,
            ),
            query_timeout: shorter(limits.query_timeout, self.query_timeout),
            required_labels: required,
            minimum_labels_number: limits.minimum_labels_number.max(self.minimum_labels_number),
            max_query_bytes_read: ByteSize(tighter(
                limits.max_query_bytes_read.0,
                self.max_query_bytes_read.0,
            )),
            ..limits.clone()
        }
    }
}

/// The lower of two limits of which zero is none.
fn tighter<T: Ord + Default>(tenant: T, request: T) -> T {
    let none = T::default();
    if request == none || (tenant != none && tenant < request) {
        tenant
    } else {
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_can_tighten_limits_and_not_loosen_them() {
        let limits = Limits {
            max_query_length: DurationNs::from_secs(7200),
            max_entries_limit_per_query: 100,
            required_labels: vec!["app".to_owned()],
            ..Limits::default()
        };
        let request: RequestLimits = serde_json::from_str(
            r#"{"maxQueryLength":"1h","maxEntriesLimitPerQuery":5000,"maxQueryTime":"5s",
                "requiredLabels":["env","app"],"maxQueryBytesRead":"10MB"}"#,
        )
        .unwrap();
        let tight = request.tighten(&limits);
        assert_eq!(tight.max_query_length, DurationNs::from_secs(3600));
        assert_eq!(tight.max_entries_limit_per_query, 100);
        assert_eq!(tight.query_timeout, DurationNs::from_secs(5));
        assert_eq!(tight.required_labels, ["app", "env"]);
        assert!(tight.max_query_bytes_read.0 > 0);
        assert_eq!(tight.max_query_lookback, limits.max_query_lookback);
        assert_eq!(RequestLimits::default().tighten(&limits), limits);
    }
}
