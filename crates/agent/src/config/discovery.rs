//! Where targets are found: files of target groups, and Kubernetes.

use std::path::PathBuf;

use model::units::DurationNs;
use serde::{Deserialize, Serialize};

use super::http::with_http_client;
use crate::access::AccessConfig;

/// Files with target groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileSd {
    /// Paths of JSON or YAML files; they may be globs.
    pub files: Vec<String>,
    /// Has no effect: files are read again as soon as they change.
    pub refresh_interval: DurationNs,
}

impl Default for FileSd {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            refresh_interval: DurationNs::from_secs(300),
        }
    }
}

/// Objects of Kubernetes that become targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KubernetesRole {
    /// Containers of pods.
    #[default]
    Pod,
    /// Nodes.
    Node,
    /// Ports of services.
    Service,
    /// Addresses of endpoints.
    Endpoints,
    /// Addresses of endpoint slices.
    EndpointSlice,
    /// Paths of ingresses.
    Ingress,
}

with_http_client! {
    /// Targets that Kubernetes knows.
    pub struct KubernetesSd {
        /// What becomes a target.
        pub role: KubernetesRole = KubernetesRole::default(),
        /// Address of the API server; without one, that of the cluster the agent runs in.
        pub api_server: String = String::new(),
        /// A kubeconfig file that has the address and the credentials.
        pub kubeconfig_file: PathBuf = PathBuf::new(),
        /// Where is looked.
        pub namespaces: Namespaces = Namespaces::default(),
        /// What is looked for.
        pub selectors: Vec<Selector> = Vec::new(),
        /// What else targets tell of themselves.
        pub attach_metadata: AttachMetadata = AttachMetadata::default(),
    }
    speaks_http2: true
}

/// Namespaces; none is all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Namespaces {
    /// Whether the agent's own is one of them.
    pub own_namespace: bool,
    /// Their names.
    pub names: Vec<String>,
}

/// Which objects of a role are looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    /// Of which role.
    pub role: KubernetesRole,
    /// By their labels.
    pub label: String,
    /// By their fields.
    pub field: String,
}

/// What else targets tell of themselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttachMetadata {
    /// Labels and annotations of their node.
    pub node: bool,
}

impl KubernetesSd {
    /// How the API server is reached, as far as this section says.
    pub(crate) fn access(&self) -> AccessConfig {
        self.http_client()
    }
}
