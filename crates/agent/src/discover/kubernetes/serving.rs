//! Targets of nodes, services, endpoints, endpoint slices and ingresses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;

use super::labels::{put, put_metadata, put_pairs, put_some, text};
use super::object::{Object, Port, Reference};
use super::pod::{labels_of_pod, ports, put_node};
use super::{Kind, World};
use crate::discover::meta::host_port;
use crate::discover::target::Labels;

const ADDRESS: &str = "__address__";
/// The label by which a slice names its service.
const SERVICE_OF_SLICE: &str = "kubernetes.io/service-name";

pub(super) fn nodes(world: &World) -> Vec<Labels> {
    let target = |node: Arc<Object>| {
        let mut labels = Labels::new();
        put(&mut labels, "node_name", node.name());
        put_some(&mut labels, "node_provider_id", &node.spec.provider_id);
        put_pairs(&mut labels, "node", &node);
        let addresses = &node.status.addresses;
        for address in addresses {
            put(
                &mut labels,
                &format!("node_address_{}", address.kind),
                &address.address,
            );
        }
        let of_kind = |kind: &str| addresses.iter().find(|address| address.kind == kind);
        let address = ["InternalIP", "ExternalIP", "Hostname"]
            .into_iter()
            .find_map(of_kind)
            .map_or(node.name(), |address| &address.address);
        let port = node.status.daemon_endpoints.kubelet_endpoint.port;
        labels.insert(ADDRESS.to_owned(), host_port(address, port));
        labels.insert("instance".to_owned(), node.name().to_owned());
        labels
    };
    world.all(Kind::Node).into_iter().map(target).collect()
}

pub(super) fn services(world: &World) -> Vec<Labels> {
    let mut targets = Vec::new();
    for service in world.all(Kind::Service) {
        let of_service = labels_of_service(&service);
        let spec = &service.spec;
        for port in &spec.ports {
            let mut labels = of_service.clone();
            let host = format!("{}.{}.svc", service.name(), service.namespace());
            labels.insert(ADDRESS.to_owned(), host_port(&host, port.port));
            put(&mut labels, "service_port_name", &port.name);
            put(&mut labels, "service_port_number", port.port.to_string());
            put(&mut labels, "service_port_protocol", &port.protocol);
            put(&mut labels, "service_type", &spec.kind);
            if spec.kind == "ExternalName" {
                put(&mut labels, "service_external_name", &spec.external_name);
            } else {
                put(&mut labels, "service_cluster_ip", &spec.cluster_ip);
            }
            put_some(
                &mut labels,
                "service_loadbalancer_ip",
                &spec.load_balancer_ip,
            );
            targets.push(labels);
        }
    }
    targets
}

fn labels_of_service(service: &Object) -> Labels {
    let mut labels = Labels::new();
    put_metadata(&mut labels, "service", service);
    put(&mut labels, "service_name", service.name());
    labels
}

/// The pods behind the addresses of endpoints, by namespace and name, and the ports that are told of
/// each.
#[derive(Default)]
struct Behind(BTreeMap<(String, String), (Arc<Object>, BTreeSet<u16>)>);

impl Behind {
    /// What the pod behind an address tells of itself, and of the container that has the port.
    fn put(&mut self, labels: &mut Labels, world: &World, reference: &Reference, port: u16) {
        if reference.kind != "Pod" {
            return;
        }
        let Some(pod) = world.get(Kind::Pod, &reference.namespace, &reference.name) else {
            return;
        };
        labels.extend(labels_of_pod(&pod));
        let mut ports = ports(&pod).into_iter();
        if let Some((_, of_port)) = ports.find(|(number, _)| *number == port) {
            labels.extend(of_port);
        }
        let key = (reference.namespace.clone(), reference.name.clone());
        let (_, told) = self.0.entry(key).or_insert((pod, BTreeSet::new()));
        told.insert(port);
    }

    /// A target for each port of these pods that no endpoint tells of.
    fn other_ports(self, common: &Labels) -> Vec<Labels> {
        let mut targets = Vec::new();
        let pods = self.0.into_values();
        for (pod, told) in pods.filter(|(pod, _)| !pod.status.pod_ip.is_empty()) {
            let other = ports(&pod).into_iter();
            for (number, of_port) in other.filter(|(number, _)| !told.contains(number)) {
                let mut labels = common.clone();
                labels.extend(labels_of_pod(&pod));
                labels.extend(of_port);
                let address = host_port(&pod.status.pod_ip, number);
                labels.insert(ADDRESS.to_owned(), address);
                targets.push(labels);
            }
        }
        targets
    }
}

/// What the service of endpoints tells of itself.
fn put_service(labels: &mut Labels, world: &World, namespace: &str, service: &str) {
    if let Some(service) = world.get(Kind::Service, namespace, service) {
        labels.extend(labels_of_service(&service));
    }
}

pub(super) fn endpoints(world: &World, with_node: bool) -> Vec<Labels> {
    let mut targets = Vec::new();
    for endpoints in world.all(Kind::Endpoints) {
        let mut common = Labels::new();
        put_metadata(&mut common, "endpoints", &endpoints);
        put(&mut common, "endpoints_name", endpoints.name());
        put_service(&mut common, world, endpoints.namespace(), endpoints.name());
        let mut behind = Behind::default();
        for subset in &endpoints.subsets {
            let ready = subset.addresses.iter().map(|address| (address, true));
            let other = subset.not_ready_addresses.iter();
            for (address, is_ready) in ready.chain(other.map(|address| (address, false))) {
                for port in &subset.ports {
                    let mut labels = common.clone();
                    labels.insert(ADDRESS.to_owned(), host_port(&address.ip, port.port));
                    put_endpoint_port(&mut labels, "endpoint", port);
                    put(&mut labels, "endpoint_ready", text(is_ready));
                    put_some(&mut labels, "endpoint_hostname", &address.hostname);
                    put_some(&mut labels, "endpoint_node_name", &address.node_name);
                    put_target(&mut labels, "endpoint", &address.target_ref);
                    if with_node {
                        put_node(&mut labels, world, &address.node_name);
                    }
                    behind.put(&mut labels, world, &address.target_ref, port.port);
                    targets.push(labels);
                }
            }
        }
        targets.extend(behind.other_ports(&common));
    }
    targets
}

fn put_endpoint_port(labels: &mut Labels, what: &str, port: &Port) {
    put_some(labels, &format!("{what}_port_name"), &port.name);
    put(labels, &format!("{what}_port_protocol"), &port.protocol);
}

fn put_target(labels: &mut Labels, what: &str, reference: &Reference) {
    put_some(
        labels,
        &format!("{what}_address_target_kind"),
        &reference.kind,
    );
    put_some(
        labels,
        &format!("{what}_address_target_name"),
        &reference.name,
    );
}

pub(super) fn endpoint_slices(world: &World, with_node: bool) -> Vec<Labels> {
    let mut targets = Vec::new();
    for slice in world.all(Kind::EndpointSlice) {
        let service = slice.labels().get(SERVICE_OF_SLICE);
        let mut common = Labels::new();
        put_metadata(&mut common, "endpointslice", &slice);
        put(&mut common, "endpointslice_name", slice.name());
        put(
            &mut common,
            "endpointslice_address_type",
            &slice.address_type,
        );
        if let Some(service) = service {
            put_service(&mut common, world, slice.namespace(), service);
        }
        let mut behind = Behind::default();
        for endpoint in &slice.endpoints {
            for (address, port) in endpoint
                .addresses
                .iter()
                .flat_map(|address| slice.ports.iter().map(move |port| (address, port)))
            {
                let mut labels = common.clone();
                labels.insert(ADDRESS.to_owned(), host_port(address, port.port));
                put_endpoint_port(&mut labels, "endpointslice", port);
                put(&mut labels, "endpointslice_port", port.port.to_string());
                let app_protocol = &port.app_protocol;
                put_some(&mut labels, "endpointslice_port_app_protocol", app_protocol);
                let conditions = &endpoint.conditions;
                for (name, is) in [
                    ("ready", conditions.ready),
                    ("serving", conditions.serving),
                    ("terminating", conditions.terminating),
                ] {
                    if let Some(is) = is {
                        let name = format!("endpointslice_endpoint_conditions_{name}");
                        put(&mut labels, &name, text(is));
                    }
                }
                let hostname = &endpoint.hostname;
                put_some(&mut labels, "endpointslice_endpoint_hostname", hostname);
                let node = &endpoint.node_name;
                put_some(&mut labels, "endpointslice_endpoint_node_name", node);
                put_some(&mut labels, "endpointslice_endpoint_zone", &endpoint.zone);
                put_target(&mut labels, "endpointslice", &endpoint.target_ref);
                if with_node {
                    put_node(&mut labels, world, node);
                }
                behind.put(&mut labels, world, &endpoint.target_ref, port.port);
                targets.push(labels);
            }
        }
        targets.extend(behind.other_ports(&common));
    }
    targets
}

pub(super) fn ingresses(world: &World) -> Vec<Labels> {
    let mut targets = Vec::new();
    for ingress in world.all(Kind::Ingress) {
        let mut common = Labels::new();
        put_metadata(&mut common, "ingress", &ingress);
        put(&mut common, "ingress_name", ingress.name());
        let class = &ingress.spec.ingress_class_name;
        put_some(&mut common, "ingress_class_name", class);
        for rule in &ingress.spec.rules {
            let is_tls = ingress
                .spec
                .tls
                .iter()
                .any(|tls| tls.hosts.contains(&rule.host));
            let scheme = if is_tls { "https" } else { "http" };
            for path in &rule.http.paths {
                let mut labels = common.clone();
                let path = if path.path.is_empty() {
                    "/"
                } else {
                    &path.path
                };
                labels.insert(ADDRESS.to_owned(), rule.host.clone());
                put(&mut labels, "ingress_scheme", scheme);
                put(&mut labels, "ingress_host", &rule.host);
                put(&mut labels, "ingress_path", path);
                targets.push(labels);
            }
        }
    }
    targets
}
