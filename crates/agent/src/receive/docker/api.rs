//! Requests to Docker (<https://docs.docker.com/reference/api/engine/version/v1.43/>).

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::access::{Access, with_causes};
use crate::config::DockerSd;
use crate::discover::or_empty;

/// How long an answer that is no stream may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Bytes of such an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A container, as the list has it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) id: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) names: Vec<String>,
    /// `running`, `exited` and the like.
    pub(super) state: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) ports: Vec<Port>,
    pub(super) host_config: HostConfig,
    pub(super) network_settings: NetworkSettings,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct HostConfig {
    pub(super) network_mode: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct NetworkSettings {
    #[serde(deserialize_with = "or_empty")]
    pub(super) networks: BTreeMap<String, Endpoint>,
}

/// A container within a network.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Endpoint {
    #[serde(rename = "NetworkID")]
    pub(super) network_id: String,
    #[serde(rename = "IPAddress")]
    pub(super) ip_address: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Port {
    #[serde(rename = "IP")]
    pub(super) ip: String,
    pub(super) private_port: u16,
    pub(super) public_port: u16,
    /// `tcp` or another.
    #[serde(rename = "Type")]
    pub(super) kind: String,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Network {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) scope: String,
    pub(super) internal: bool,
    pub(super) ingress: bool,
    #[serde(deserialize_with = "or_empty")]
    pub(super) labels: BTreeMap<String, String>,
}

/// A container, as it is when one asks for it alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Inspected {
    config: InspectedConfig,
    state: InspectedState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct InspectedConfig {
    tty: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct InspectedState {
    running: bool,
    finished_at: String,
}

impl Inspected {
    /// Whether its log has no frames.
    pub(super) fn has_terminal(&self) -> bool {
        self.config.tty
    }

    pub(super) fn is_running(&self) -> bool {
        self.state.running
    }

    /// When it ended last.
    pub(super) fn finished_at(&self) -> Option<jiff::Timestamp> {
        self.state.finished_at.parse().ok()
    }
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// There is no such container, or none any more.
    #[error("{0} is not there")]
    Gone(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// A Docker.
pub(super) struct Api {
    access: Access,
    base: Url,
    /// The filters of its list.
    filters: String,
}

impl Api {
    pub(super) fn new(config: &DockerSd) -> Result<Self, String> {
        let (base, access) = config.reached()?;
        let mut filters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for filter in &config.filters {
            let values = filters.entry(&filter.name).or_default();
            values.extend(filter.values.iter().map(String::as_str));
        }
        Ok(Self {
            access: Access::new(access)?,
            base: base.parse().map_err(|error| format!("host: {error}"))?,
            filters: serde_json::to_string(&filters).map_err(|error| error.to_string())?,
        })
    }

    async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        timeout: Option<Duration>,
    ) -> Result<reqwest::Response, ApiError> {
        let what = path.join("/");
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.access.request(Method::GET, url).await;
        let mut request = request.map_err(ApiError::Failed)?;
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        let answer = request.send().await;
        let answer =
            answer.map_err(|error| ApiError::Failed(format!("{what}: {}", with_causes(&error))))?;
        match answer.status().as_u16() {
            200 => Ok(answer),
            404 => Err(ApiError::Gone(what)),
            status => Err(ApiError::Failed(format!("{what}: status {status}"))),
        }
    }

    async fn json<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, ApiError> {
        let failed = |error: &dyn std::error::Error| {
            ApiError::Failed(format!("{}: {}", path.join("/"), with_causes(error)))
        };
        let mut answer = self.get(path, query, Some(ANSWER_MAX)).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_BYTES_MAX {
                let text = format!("{}: more than {ANSWER_BYTES_MAX} bytes", path.join("/"));
                return Err(ApiError::Failed(text));
            }
        }
        serde_json::from_slice(&bytes).map_err(|error| failed(&error))
    }

    /// All containers that the filters let through, also those that do not run.
    pub(super) async fn containers(&self) -> Result<Vec<Container>, ApiError> {
        let query = [("all", "1"), ("filters", self.filters.as_str())];
        self.json(&["containers", "json"], &query).await
    }

    /// All networks.
    pub(super) async fn networks(&self) -> Result<Vec<Network>, ApiError> {
        self.json(&["networks"], &[]).await
    }

    /// One container.
    pub(super) async fn inspect(&self, id: &str) -> Result<Inspected, ApiError> {
        self.json(&["containers", id, "json"], &[]).await
    }

    /// The log of a container from a second on, until it stops.
    pub(super) async fn log(&self, id: &str, since: i64) -> Result<reqwest::Response, ApiError> {
        let since = since.to_string();
        let query = [
            ("follow", "1"),
            ("stdout", "1"),
            ("stderr", "1"),
            ("timestamps", "1"),
            ("since", &since),
        ];
        self.get(&["containers", id, "logs"], &query, None).await
    }

    /// Something that sends bytes whenever a container comes, starts or stops.
    pub(super) async fn events(&self) -> Result<reqwest::Response, ApiError> {
        let filters = r#"{"type":["container"],"event":["create","start","die","destroy"]}"#;
        self.get(&["events"], &[("filters", filters)], None).await
    }
}
