//! Errors as HTTP answers.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use model::{Code, CodedError, Exceeded};

/// Names the limit that refused a request: `max_query_length=2h; tenant=team`.
pub const LIMIT_HEADER: HeaderName = HeaderName::from_static("x-skald-limit");

/// Characters that a value of [`LIMIT_HEADER`] has at most.
const LIMIT_CHARS_MAX: usize = 1024;

/// What clients are told to wait when a limit or our state refused them.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// A [`CodedError`] as an answer: its status, and its message as plain text on a line.
#[derive(Debug)]
pub struct ApiError(pub CodedError);

impl ApiError {
    /// Our fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self(CodedError::new(Code::Internal, message))
    }

    /// The request's fault.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self(CodedError::new(Code::InvalidArgument, message))
    }
}

impl From<CodedError> for ApiError {
    fn from(error: CodedError) -> Self {
        Self(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let CodedError {
            code,
            message,
            exceeded,
        } = self.0;
        // 499 has no name in the registry of status codes but is a valid number.
        let status =
            StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), error = %message, "request failed");
        }
        let mut answer = (status, format!("{message}\n")).into_response();
        let headers = answer.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if matches!(code, Code::ResourceExhausted | Code::Unavailable) {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        name_limit(headers, exceeded.as_deref());
        answer
    }
}

/// Puts what was exceeded, if anything, into [`LIMIT_HEADER`].
pub fn name_limit(headers: &mut HeaderMap, exceeded: Option<&Exceeded>) {
    let Some(exceeded) = exceeded else {
        return;
    };
    // A limit's value may be any text: a pattern of queries that are blocked.
    let visible = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    let text = exceeded.to_string();
    let text: String = text.chars().take(LIMIT_CHARS_MAX).map(visible).collect();
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(LIMIT_HEADER, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_say_when_to_come_back() {
        let answer = ApiError(CodedError::new(Code::ResourceExhausted, "slow down"));
        let answer = answer.into_response();
        assert_eq!(answer.status(), 429);
        assert!(answer.headers().contains_key(RETRY_AFTER));
        let answer = ApiError(CodedError::new(Code::Cancelled, "gone")).into_response();
        assert_eq!(answer.status().as_u16(), 499);
        assert!(!answer.headers().contains_key(LIMIT_HEADER));
        let tenant = model::TenantId::new("team").unwrap();
        let error = CodedError::new(Code::InvalidArgument, "too long");
        let answer = ApiError(error.beyond("max_query_length", &"2h", &tenant)).into_response();
        assert_eq!(
            answer.headers()[LIMIT_HEADER],
            "max_query_length=2h; tenant=team"
        );
        let error = CodedError::new(Code::InvalidArgument, "query blocked by policy");
        let pattern = format!(".*é\n{}", "x".repeat(5000));
        let error = error.beyond("blocked_queries", &pattern, &tenant);
        let answer = ApiError(error).into_response();
        let value = answer.headers()[LIMIT_HEADER].to_str().unwrap();
        assert!(value.starts_with("blocked_queries=.*??xxx") && value.len() == 1024);
    }
}
