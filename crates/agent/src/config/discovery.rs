//! Where targets are found: files of target groups, and Kubernetes.

use std::path::PathBuf;

use model::units::DurationNs;
use serde::{Deserialize, Serialize};

use super::{Authorization, BasicAuth, OAuth2, TlsConfig};
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

/// Targets that Kubernetes knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesSd {
    /// What becomes a target.
    pub role: KubernetesRole,
    /// Address of the API server; without one, that of the cluster the agent runs in.
    pub api_server: String,
    /// A kubeconfig file that has the address and the credentials.
    pub kubeconfig_file: PathBuf,
    /// Where is looked.
    pub namespaces: Namespaces,
    /// What is looked for.
    pub selectors: Vec<Selector>,
    /// What else targets tell of themselves.
    pub attach_metadata: AttachMetadata,
    /// User and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// The `Authorization` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// Where to get a token from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// A bearer token.
    pub bearer_token: String,
    /// A file that holds it.
    pub bearer_token_file: PathBuf,
    /// Whom to trust.
    pub tls_config: TlsConfig,
    /// A proxy.
    pub proxy_url: String,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be spoken.
    pub enable_http2: bool,
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

impl Default for KubernetesSd {
    fn default() -> Self {
        Self {
            role: KubernetesRole::default(),
            api_server: String::new(),
            kubeconfig_file: PathBuf::new(),
            namespaces: Namespaces::default(),
            selectors: Vec::new(),
            attach_metadata: AttachMetadata::default(),
            basic_auth: None,
            authorization: None,
            oauth2: None,
            bearer_token: String::new(),
            bearer_token_file: PathBuf::new(),
            tls_config: TlsConfig::default(),
            proxy_url: String::new(),
            follow_redirects: true,
            enable_http2: true,
        }
    }
}

impl KubernetesSd {
    /// How the API server is reached, as far as this section says.
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
            // A watch lasts.
            timeout: None,
        }
    }
}
