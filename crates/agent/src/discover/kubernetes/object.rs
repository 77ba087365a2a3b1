//! What is kept of objects: the fields that become labels. Kinds share one type, since they share
//! most of it; what a kind does not have is empty.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::discover::meta::or_empty;

/// An object of any kind.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Object {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    pub(super) status: Status,
    /// Of endpoints.
    #[serde(deserialize_with = "or_empty")]
    pub(super) subsets: Vec<Subset>,
    /// Of an endpoint slice.
    #[serde(deserialize_with = "or_empty")]
    pub(super) endpoints: Vec<Endpoint>,
    /// Of an endpoint slice.
    #[serde(deserialize_with = "or_empty")]
    pub(super) ports: Vec<Port>,
    pub(super) address_type: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    #[serde(deserialize_with = "or_empty")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) owner_references: Vec<Owner>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) controller: bool,
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
