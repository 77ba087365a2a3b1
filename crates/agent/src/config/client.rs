//! The `clients` section: where lines are sent to and how.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::units::{ByteSize, DurationNs};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ConfigError;
use crate::access::AccessConfig;

/// One place that lines are sent to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// What it is called in metrics and positions. Without one, its address.
    pub name: String,
    /// Where requests go to.
    pub url: String,
    /// Whose lines these are, unless the `tenant` stage says otherwise.
    pub tenant_id: String,
    /// How long the first line of a batch may wait for others.
    pub batchwait: DurationNs,
    /// Bytes of lines and structured metadata in a batch.
    pub batchsize: ByteSize,
    /// How long a request may take.
    pub timeout: DurationNs,
    /// Waits between tries.
    pub backoff_config: BackoffConfig,
    /// Labels that each entry gets that has them not.
    pub external_labels: BTreeMap<String, String>,
    /// Headers that each request gets.
    pub headers: BTreeMap<String, String>,
    /// User and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// The `Authorization` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// A bearer token.
    pub bearer_token: String,
    /// A file that holds a bearer token, read before each request.
    pub bearer_token_file: PathBuf,
    /// Whom to trust and what to show.
    pub tls_config: TlsConfig,
    /// The proxy to go through.
    pub proxy_url: String,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be spoken.
    pub enable_http2: bool,
    /// The agent's own: requests of a tenant that may be under way at once. The lines of a stream
    /// are never in two of them.
    pub max_requests_in_flight: usize,
    /// Whether a batch that was refused for its rate is dropped at once.
    pub drop_rate_limited_batches: bool,
    /// Where to get a token from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// Not supported.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub stream_lag_labels: Value,
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

/// User and password.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// A file that holds the user, read before each request.
    pub username_file: PathBuf,
    /// The password.
    pub password: String,
    /// A file that holds the password, read before each request.
    pub password_file: PathBuf,
}

/// The `Authorization` header.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authorization {
    /// Its scheme; `Bearer` if empty.
    #[serde(rename = "type")]
    pub kind: String,
    /// What follows the scheme.
    pub credentials: String,
    /// A file that holds what follows the scheme, read before each request.
    pub credentials_file: PathBuf,
}

/// Where to get a token from, and with what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth2 {
    /// Who asks.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// A file that holds the secret, read each time.
    pub client_secret_file: PathBuf,
    /// What the token shall be for.
    pub scopes: Vec<String>,
    /// Where it is asked for.
    pub token_url: String,
    /// What is sent besides.
    pub endpoint_params: BTreeMap<String, String>,
}

/// Whom to trust and what to show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate authorities, as text.
    pub ca: String,
    /// Certificate authorities, as a file.
    pub ca_file: PathBuf,
    /// The agent's certificate, as text.
    pub cert: String,
    /// The agent's certificate, as a file.
    pub cert_file: PathBuf,
    /// Its key, as text.
    pub key: String,
    /// Its key, as a file.
    pub key_file: PathBuf,
    /// The name that the server's certificate must have, if it is not that of its address.
    pub server_name: String,
    /// Whether any certificate is believed.
    pub insecure_skip_verify: bool,
    /// Has no effect: TLS 1.2 and 1.3 are spoken.
    pub min_version: String,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            tenant_id: String::new(),
            batchwait: DurationNs::from_secs(1),
            batchsize: ByteSize::mib(1),
            timeout: DurationNs::from_secs(10),
            backoff_config: BackoffConfig::default(),
            external_labels: BTreeMap::new(),
            headers: BTreeMap::new(),
            basic_auth: None,
            authorization: None,
            bearer_token: String::new(),
            bearer_token_file: PathBuf::new(),
            tls_config: TlsConfig::default(),
            proxy_url: String::new(),
            follow_redirects: true,
            enable_http2: false,
            max_requests_in_flight: 4,
            drop_rate_limited_batches: false,
            oauth2: None,
            stream_lag_labels: Value::Null,
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
            basic_auth: self.basic_auth.clone(),
            authorization: self.authorization.clone(),
            bearer_token: self.bearer_token.clone(),
            bearer_token_file: self.bearer_token_file.clone(),
            oauth2: self.oauth2.clone(),
            tls: self.tls_config.clone(),
            proxy_url: self.proxy_url.clone(),
            follow_redirects: self.follow_redirects,
            http2: self.enable_http2,
            unix_socket: PathBuf::new(),
            timeout: Some(self.timeout.as_std()),
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
