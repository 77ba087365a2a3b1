//! What is kept of objects: the fields that become labels, so that memory does not grow with what
//! else is in them. Kinds share one type, since they share most of it; what a kind does not have is
//! empty.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DynamicResourceScope;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::Kind;
use crate::discover::meta::or_empty;

/// An object of any kind.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object {
    #[serde(deserialize_with = "named")]
    pub(super) metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) spec: Spec,
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) status: Status,
    /// Of endpoints.
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) subsets: Vec<Subset>,
    /// Of an endpoint slice.
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) endpoints: Vec<Endpoint>,
    /// Of an endpoint slice.
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) ports: Vec<Port>,
    #[serde(default)]
    pub(super) address_type: String,
}

impl Object {
    pub(super) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Empty for a node.
    pub(super) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
}

impl Resource for Object {
    type DynamicType = Kind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &Kind) -> Cow<'_, str> {
        kind.names().kind.into()
    }

    fn group(kind: &Kind) -> Cow<'_, str> {
        kind.names().group.into()
    }

    fn version(_: &Kind) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(kind: &Kind) -> Cow<'_, str> {
        kind.names().plural.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What the API calls a kind.
struct Names {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
}

impl Kind {
    fn names(self) -> Names {
        let (group, kind, plural) = match self {
            Self::Pod => ("", "Pod", "pods"),
            Self::Node => ("", "Node", "nodes"),
            Self::Service => ("", "Service", "services"),
            Self::Endpoints => ("", "Endpoints", "endpoints"),
            Self::EndpointSlice => ("discovery.k8s.io", "EndpointSlice", "endpointslices"),
            Self::Ingress => ("networking.k8s.io", "Ingress", "ingresses"),
        };
        Names {
            group,
            kind,
            plural,
        }
    }
}

/// Metadata of an object that has a name, by which all is kept, without who changed what when.
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut metadata = ObjectMeta::deserialize(deserializer)?;
    if metadata.name.is_none() {
        return Err(D::Error::missing_field("metadata.name"));
    }
    metadata.managed_fields = None;
    Ok(metadata)
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) node_name: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) containers: Vec<Container>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) init_containers: Vec<Container>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: String,
    pub(super) external_name: String,
    #[serde(rename = "loadBalancerIP")]
    pub(super) load_balancer_ip: String,
    #[serde(rename = "providerID")]
    pub(super) provider_id: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) ports: Vec<Port>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) rules: Vec<Rule>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) tls: Vec<Tls>,
    pub(super) ingress_class_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) ports: Vec<ContainerPort>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerPort {
    pub(super) name: String,
    pub(super) container_port: u16,
    pub(super) protocol: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    #[serde(rename = "podIP")]
    pub(super) pod_ip: String,
    #[serde(rename = "hostIP")]
    pub(super) host_ip: String,
    pub(super) phase: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
    /// Of a node.
    #[serde(deserialize_with = "or_empty")]
    pub(super) addresses: Vec<NodeAddress>,
    pub(super) daemon_endpoints: DaemonEndpoints,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    #[serde(rename = "containerID")]
    pub(super) container_id: String,
    #[serde(rename = "imageID")]
    pub(super) image_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct NodeAddress {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) address: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DaemonEndpoints {
    pub(super) kubelet_endpoint: DaemonEndpoint,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct DaemonEndpoint {
    #[serde(rename = "Port")]
    pub(super) port: u16,
}

/// A port of a service or of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Port {
    #[serde(deserialize_with = "or_empty")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) port: u16,
    #[serde(deserialize_with = "or_empty")]
    pub(super) protocol: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) app_protocol: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Subset {
    #[serde(deserialize_with = "or_empty")]
    pub(super) addresses: Vec<Address>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) not_ready_addresses: Vec<Address>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) ports: Vec<Port>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Address {
    pub(super) ip: String,
    pub(super) hostname: String,
    pub(super) node_name: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) target_ref: Reference,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Endpoint {
    #[serde(deserialize_with = "or_empty")]
    pub(super) addresses: Vec<String>,
    pub(super) conditions: EndpointConditions,
    #[serde(deserialize_with = "or_empty")]
    pub(super) hostname: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) node_name: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) zone: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) target_ref: Reference,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct EndpointConditions {
    pub(super) ready: Option<bool>,
    pub(super) serving: Option<bool>,
    pub(super) terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Reference {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Rule {
    pub(super) host: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) http: RuleHttp,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct RuleHttp {
    #[serde(deserialize_with = "or_empty")]
    pub(super) paths: Vec<RulePath>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct RulePath {
    pub(super) path: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Tls {
    #[serde(deserialize_with = "or_empty")]
    pub(super) hosts: Vec<String>,
}
