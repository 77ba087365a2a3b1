//! The `clients` section: where lines are sent to and how.

use std::collections::BTreeMap;

use model::units::{ByteSize, DurationNs};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ConfigError;
use super::http::with_http_client;
use crate::access::AccessConfig;

with_http_client! {
    /// One place that lines are sent to.
    pub struct ClientConfig {
        /// What it is called in metrics and positions. Without one, its address.
        pub name: String = String::new(),
        /// Where requests go to.
        pub url: String = String::new(),
        /// Whose lines these are, unless the `tenant` stage says otherwise.
        pub tenant_id: String = String::new(),
        /// How long the first line of a batch may wait for others.
        pub batchwait: DurationNs = DurationNs::from_secs(1),
        /// Bytes of lines and structured metadata in a batch.
        pub batchsize: ByteSize = ByteSize::mib(1),
        /// How long a request may take.
        pub timeout: DurationNs = DurationNs::from_secs(10),
        /// Waits between tries.
        pub backoff_config: BackoffConfig = BackoffConfig::default(),
        /// Labels that each entry gets that has them not.
        pub external_labels: BTreeMap<String, String> = BTreeMap::new(),
        /// Headers that each request gets.
        pub headers: BTreeMap<String, String> = BTreeMap::new(),
        /// The agent's own: requests of a tenant that may be under way at once. The lines of a
        /// stream are never in two of them.
        pub max_requests_in_flight: usize = 4,
        /// Whether a batch that was refused for its rate is dropped at once.
        pub drop_rate_limited_batches: bool = false,
        /// Not supported.
        #[serde(skip_serializing_if = "Value::is_null")]
        pub stream_lag_labels: Value = Value::Null,
    }
    speaks_http2: false
}

/// Waits between tries. They grow from the smallest to the largest, with chance in them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackoffConfig {
    /// The first wait.
    pub min_period: DurationNs,
    /// The longest wait.
    pub max_period: DurationNs,
    /// Tries until a batch is dropped; 0, the default, is no bound.
    pub max_retries: u32,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            min_period: DurationNs::from_millis(500),
            max_period: DurationNs::from_secs(300),
            max_retries: 0,
        }
    }
}

/// Requests of one tenant that can be under way.
const REQUESTS_IN_FLIGHT_MAX: usize = 64;

/// Headers that the agent sets itself.
const OWN_HEADERS: [&str; 5] = [
    "content-type",
    "content-encoding",
    "content-length",
    "user-agent",
    "x-scope-orgid",
];

impl ClientConfig {
    /// What it is called: its name, or its address.
    #[must_use]
    pub fn name(&self) -> String {
        if self.name.is_empty() {
            self.url.clone()
        } else {
            self.name.clone()
        }
    }

    /// How its server is reached.
    pub(crate) fn access(&self) -> AccessConfig {
        AccessConfig {
            timeout: Some(self.timeout.as_std()),
            ..self.http_client()
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let name = self.name();
        let wrong = |text: &str| Err(ConfigError(format!("client {name:?}: {text}")));
        let ways = [
            self.basic_auth.is_some(),
            self.authorization.is_some(),
            !self.bearer_token.is_empty(),
            !self.bearer_token_file.as_os_str().is_empty(),
            self.oauth2.is_some(),
        ];
        if self.url.is_empty() {
            return wrong("url: is missing");
        }
        if ways.iter().filter(|given| **given).count() > 1 {
            return wrong(
                "only one of basic_auth, authorization, bearer_token and oauth2 may be given",
            );
        }
        if !self.stream_lag_labels.is_null() {
            return wrong(
                "stream_lag_labels: not supported: skald_agent_lag_seconds tells it by file",
            );
        }
        if let Some(fault) = self.access().fault() {
            return wrong(&fault);
        }
        if !(1..=REQUESTS_IN_FLIGHT_MAX).contains(&self.max_requests_in_flight) {
            return wrong(&format!(
                "max_requests_in_flight: must be from 1 to {REQUESTS_IN_FLIGHT_MAX}"
            ));
        }
        if self.batchsize.0 == 0 {
            return wrong("batchsize: must be greater than 0");
        }
        if self.batchwait.0 <= 0 {
            return wrong("batchwait: must be greater than 0");
        }
        if let Some(header) = self
            .headers
            .keys()
            .find(|header| OWN_HEADERS.contains(&header.to_ascii_lowercase().as_str()))
        {
            return wrong(&format!("headers: {header} is the agent's own"));
        }
        Ok(())
    }
}
