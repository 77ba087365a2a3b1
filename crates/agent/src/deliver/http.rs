//! Push requests over HTTP: snappy-compressed protobuf, as Loki and what speaks like it take them.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use prost::Message;
use proto::logproto::PushRequest;

use super::{Deliver, DeliverError};
use crate::access::{Access, beginning_of, first_line, with_causes};
use crate::config::ClientConfig;
use crate::metrics::ClientMetrics;

/// Tells our own distributor that lines may have been taken already, so that it tells none of them
/// as too old.
const MAY_REPEAT: HeaderName = HeaderName::from_static("x-skald-may-repeat");
/// The longest wait that a server can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A client that cannot be made from its configuration.
#[derive(Debug, thiserror::Error)]
#[error("client {client:?}: {message}")]
pub struct HttpClientError {
    /// The client.
    pub client: String,
    /// What is wrong.
    pub message: String,
}

/// Sends push requests to one address.
pub struct HttpClient {
    access: Access,
    url: reqwest::Url,
    headers: HeaderMap,
    metrics: ClientMetrics,
}

impl HttpClient {
    pub(crate) fn new(
        config: &ClientConfig,
        metrics: ClientMetrics,
    ) -> Result<Self, HttpClientError> {
        let wrong = |message: String| HttpClientError {
            client: config.name(),
            message,
        };
        let url =
            reqwest::Url::parse(&config.url).map_err(|error| wrong(format!("url: {error}")))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let header = name
                .parse::<HeaderName>()
                .ok()
                .zip(HeaderValue::from_str(value).ok());
            let (name, value) =
                header.ok_or_else(|| wrong(format!("headers: {name} is no header")))?;
            headers.insert(name, value);
        }
        Ok(Self {
            access: Access::new(config.access()).map_err(wrong)?,
            url,
            headers,
            metrics,
        })
    }

    async fn request(
        &self,
        tenant: Option<&str>,
        body: Vec<u8>,
        may_repeat: bool,
    ) -> Result<reqwest::Response, String> {
        let mut request = self
            .access
            .request(http::Method::POST, self.url.clone())
            .await?
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        if let Some(tenant) = tenant {
            request = request.header("x-scope-orgid", tenant);
        }
        if may_repeat {
            request = request.header(MAY_REPEAT, "true");
        }
        request.send().await.map_err(|error| with_causes(&error))
    }
}

#[async_trait]
impl Deliver for HttpClient {
    async fn push(
        &self,
        tenant: Option<&str>,
        request: &PushRequest,
        may_repeat: bool,
    ) -> Result<(), DeliverError> {
        let later = |message: String| DeliverError::Later {
            is_rate_limited: false,
            after: None,
            message,
        };
        let encoded = request.encode_to_vec();
        let body = snap::raw::Encoder::new().compress_vec(&encoded);
        drop(encoded);
        let body = body.map_err(|error| DeliverError::Refused {
            entries: None,
            message: error.to_string(),
        })?;
        self.metrics.encoded(body.len());
        let began = Instant::now();
        let answer = self.request(tenant, body, may_repeat).await;
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        self.metrics.requested(status, began.elapsed());
        let answer = answer.map_err(later)?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(refusal(answer).await)
    }
}

/// What an answer that is no success means.
async fn refusal(answer: reqwest::Response) -> DeliverError {
    let status = answer.status();
    let after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?));
    let text = beginning_of(answer).await;
    let message = format!("{status}: {}", first_line(&text));
    if status == StatusCode::TOO_MANY_REQUESTS || !status.is_client_error() {
        DeliverError::Later {
            is_rate_limited: status == StatusCode::TOO_MANY_REQUESTS,
            after,
            message,
        }
    } else {
        let entries = (status == StatusCode::BAD_REQUEST)
            .then(|| ignored_entries(&text))
            .flatten();
        DeliverError::Refused { entries, message }
    }
}

/// How many entries a 400 says were refused, when it says that others were stored: the sum of the
/// `total ignored: 1 out of 2` of its streams.
fn ignored_entries(text: &str) -> Option<usize> {
    let counts = text.split("total ignored: ").skip(1).map(|rest| {
        let (ignored, rest) = rest.split_once(" out of ")?;
        rest.starts_with(|c: char| c.is_ascii_digit())
            .then_some(())?;
        ignored.parse::<usize>().ok()
    });
    let counts: Option<Vec<usize>> = counts.collect();
    counts
        .filter(|counts| !counts.is_empty())
        .map(|counts| counts.iter().sum())
}

/// Seconds, or a date as of now.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    let wait = date.timestamp().duration_since(jiff::Timestamp::now());
    Some(
        Duration::try_from(wait)
            .unwrap_or_default()
            .min(RETRY_AFTER_MAX),
    )
}

#[cfg(test)]
mod tests;
