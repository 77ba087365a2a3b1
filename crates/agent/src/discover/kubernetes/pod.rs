//! Targets of pods: one for each port of each container, or one for a container without ports.

use kube::ResourceExt;

use super::labels::{put, put_metadata, put_pairs, put_some};
use super::object::{Container, ContainerPort, ContainerStatus, Object};
use super::{Kind, World};
use crate::discover::meta::host_port;
use crate::discover::target::Labels;

pub(super) fn targets(world: &World, with_node: bool) -> Vec<Labels> {
    let mut targets = Vec::new();
    for pod in world.all(Kind::Pod) {
        let mut of_pod = labels_of_pod(&pod);
        if with_node {
            put_node(&mut of_pod, world, &pod.spec.node_name);
        }
        for (container, labels) in containers(&pod) {
            let mut of_pod = of_pod.clone();
            of_pod.extend(labels);
            add_ports(&mut targets, &of_pod, container, &pod.status.pod_ip);
        }
    }
    targets
}

/// What a pod tells of itself.
pub(super) fn labels_of_pod(pod: &Object) -> Labels {
    let mut labels = Labels::new();
    let (spec, status) = (&pod.spec, &pod.status);
    put_metadata(&mut labels, "pod", pod);
    put(&mut labels, "pod_name", pod.name());
    put(&mut labels, "pod_uid", pod.uid().unwrap_or_default());
    put(&mut labels, "pod_ip", &status.pod_ip);
    put(&mut labels, "pod_host_ip", &status.host_ip);
    put(&mut labels, "pod_phase", &status.phase);
    put(&mut labels, "pod_node_name", &spec.node_name);
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|condition| condition.kind == "Ready");
    let ready = ready.map_or_else(|| "unknown".to_owned(), |ready| ready.status.to_lowercase());
    put(&mut labels, "pod_ready", ready);
    let mut owners = pod.owner_references().iter();
    if let Some(owner) = owners.find(|owner| owner.controller == Some(true)) {
        put_some(&mut labels, "pod_controller_kind", &owner.kind);
        put_some(&mut labels, "pod_controller_name", &owner.name);
    }
    labels
}

/// What the node of a pod tells of itself.
pub(super) fn put_node(labels: &mut Labels, world: &World, name: &str) {
    if let Some(node) = world.get(Kind::Node, "", name) {
        put(labels, "node_name", node.name());
        put_pairs(labels, "node", &node);
    }
}

/// The containers of a pod, each with what it tells of itself.
fn containers(pod: &Object) -> impl Iterator<Item = (&Container, Labels)> {
    let (spec, status) = (&pod.spec, &pod.status);
    let kinds = [
        (&spec.containers, &status.container_statuses, false),
        (&spec.init_containers, &status.init_container_statuses, true),
    ];
    kinds
        .into_iter()
        .flat_map(|(containers, statuses, is_init)| {
            containers.iter().map(move |container| {
                let status = statuses.iter().find(|status| status.name == container.name);
                (container, of_container(container, status, is_init))
            })
        })
}

/// The ports of all containers of a pod, each with what it and its container tell of themselves.
pub(super) fn ports(pod: &Object) -> Vec<(u16, Labels)> {
    let of_container = |(container, labels): (&Container, Labels)| {
        let of_port = |port: &ContainerPort| {
            let mut labels = labels.clone();
            put_port(&mut labels, port);
            (port.container_port, labels)
        };
        container.ports.iter().map(of_port).collect::<Vec<_>>()
    };
    containers(pod).flat_map(of_container).collect()
}

fn of_container(container: &Container, status: Option<&ContainerStatus>, is_init: bool) -> Labels {
    let mut labels = Labels::new();
    put(&mut labels, "pod_container_name", &container.name);
    put(&mut labels, "pod_container_image", &container.image);
    put(
        &mut labels,
        "pod_container_init",
        super::labels::text(is_init),
    );
    if let Some(status) = status {
        put_some(&mut labels, "pod_container_id", &status.container_id);
        // The agent's own: what a registry knows the image by.
        if let Some((_, digest)) = status.image_id.rsplit_once('@') {
            put(&mut labels, "pod_container_image_digest", digest);
        }
    }
    labels
}

fn add_ports(targets: &mut Vec<Labels>, labels: &Labels, container: &Container, pod_ip: &str) {
    let mut with_address = |address: String, labels: Labels| {
        let mut labels = labels;
        labels.insert("__address__".to_owned(), address);
        targets.push(labels);
    };
    if container.ports.is_empty() {
        with_address(pod_ip.to_owned(), labels.clone());
    }
    for port in &container.ports {
        let mut labels = labels.clone();
        put_port(&mut labels, port);
        with_address(host_port(pod_ip, port.container_port), labels);
    }
}

fn put_port(labels: &mut Labels, port: &ContainerPort) {
    put(labels, "pod_container_port_name", &port.name);
    let number = port.container_port.to_string();
    put(labels, "pod_container_port_number", number);
    let protocol = if port.protocol.is_empty() {
        "TCP"
    } else {
        &port.protocol
    };
    put(labels, "pod_container_port_protocol", protocol);
}
