//! Discovery against a server that speaks the list and watch protocol.

mod cluster;
mod gate;
mod outages;

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::discover::Groups;
use cluster::Cluster;

struct Rig {
    cluster: Cluster,
    groups: Arc<Groups>,
    stop: CancellationToken,
}

fn pod(app: &str) -> Value {
    json!({
        "metadata": {
            "namespace": "shop",
            "uid": "u-1",
            "labels": { "app.kubernetes.io/name": app },
            "annotations": { "kubernetes.io/config.hash": "h" },
            "ownerReferences": [{ "kind": "ReplicaSet", "name": "r", "controller": true }],
        },
        "spec": {
            "nodeName": "n1",
            "containers": [
                { "name": "web", "image": "shop/web:1", "ports": [
                    { "name": "http", "containerPort": 80, "protocol": "TCP" },
                    { "containerPort": 443 },
                ] },
                { "name": "side", "image": "side" },
            ],
            "initContainers": [{ "name": "init", "image": "init", "ports": null }],
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.0.0.2",
            "conditions": [{ "type": "Ready", "status": "True" }],
            "containerStatuses": [{
                "name": "web", "containerID": "containerd://c",
                "imageID": "docker.io/shop/web@sha256:d1",
            }],
        },
    })
}

impl Rig {
    async fn start(config: &str) -> Self {
        let cluster = Cluster::start().await;
        Self::with(cluster, config).await
    }

    async fn with(cluster: Cluster, config: &str) -> Self {
        server::install_crypto_provider();
        let groups = Arc::new(Groups::new(watch::Sender::new(())));
        let text = format!("api_server: {}\n{config}", cluster.url);
        let config: KubernetesSd = serde_yaml::from_str(&text).unwrap();
        let environment = Environment::from_pairs([("HOSTNAME", "n1")]);
        let publisher = groups.publisher(0, 0);
        let finder = KubernetesFinder::new(&config, &environment, "host", publisher).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(finder.run(stop.clone()));
        Self {
            cluster,
            groups,
            stop,
        }
    }

    fn targets(&self) -> Vec<Labels> {
        let found = self.groups.newer_than(0).map(|(_, found)| found);
        let found = found.unwrap_or_default().into_iter();
        found.map(|(_, labels)| labels).collect()
    }

    async fn until(&self, what: &str, holds: impl Fn(&[Labels]) -> bool) -> Vec<Labels> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let targets = self.targets();
            if holds(&targets) {
                return targets;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{what}: {targets:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_names(&self, names: &[&str]) -> Vec<Labels> {
        let of = |targets: &[Labels]| {
            let names = targets
                .iter()
                .map(|labels| meta(labels, "pod_name").to_owned());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        let wanted = names.iter().map(|name| (*name).to_owned()).collect();
        self.until("pods", |targets| of(targets) == wanted).await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn meta<'l>(labels: &'l Labels, name: &str) -> &'l str {
    labels
        .get(&format!("__meta_kubernetes_{name}"))
        .map_or("", String::as_str)
}

#[tokio::test]
async fn a_pod_is_a_target_for_each_port_of_each_container() {
    let rig = Rig::start("role: pod").await;
    rig.cluster.put("a", pod("x"));
    let targets = rig.until_names(&["a"]).await;
    let seen: Vec<[&str; 4]> = targets
        .iter()
        .map(|labels| {
            [
                meta(labels, "pod_container_name"),
                labels["__address__"].as_str(),
                meta(labels, "pod_container_port_name"),
                meta(labels, "pod_container_init"),
            ]
        })
        .collect();
    assert_eq!(
        seen,
        [
            ["web", "10.0.0.1:80", "http", "false"],
            ["web", "10.0.0.1:443", "", "false"],
            ["side", "10.0.0.1", "", "false"],
            ["init", "10.0.0.1", "", "true"],
        ]
    );
    for (name, value) in [
        ("namespace", "shop"),
        ("pod_uid", "u-1"),
        ("pod_ip", "10.0.0.1"),
        ("pod_host_ip", "10.0.0.2"),
        ("pod_node_name", "n1"),
        ("pod_phase", "Running"),
        ("pod_ready", "true"),
        ("pod_controller_kind", "ReplicaSet"),
        ("pod_controller_name", "r"),
        ("pod_label_app_kubernetes_io_name", "x"),
        ("pod_labelpresent_app_kubernetes_io_name", "true"),
        ("pod_annotation_kubernetes_io_config_hash", "h"),
        ("pod_container_image", "shop/web:1"),
        ("pod_container_image_digest", "sha256:d1"),
        ("pod_container_id", "containerd://c"),
        ("pod_container_port_number", "80"),
        ("pod_container_port_protocol", "TCP"),
    ] {
        assert_eq!(meta(&targets[0], name), value, "{name}");
    }
    let asked = &rig.cluster.paths()[0];
    assert!(asked.starts_with("/api/v1/pods?"), "{asked}");
    assert!(
        asked.contains("fieldSelector=spec.nodeName%3Dn1"),
        "{asked}"
    );
}

#[tokio::test]
async fn pods_come_change_and_go() {
    let rig = Rig::start("role: pod").await;
    for name in ["a", "b", "c", "d", "e"] {
        rig.cluster.put(name, pod("x"));
    }
    rig.until_names(&["a", "b", "c", "d", "e"]).await;
    rig.cluster.put("a", pod("y"));
    rig.cluster.delete("b");
    let targets = rig.until_names(&["a", "c", "d", "e"]).await;
    let app = "pod_label_app_kubernetes_io_name";
    let changed = |targets: &[Labels]| meta(&targets[0], app) == "y";
    rig.until("the label", changed).await;
    assert_eq!(targets.len(), 16);
    assert_eq!(rig.cluster.lists(), 3, "one list, in pages");
}

#[tokio::test]
async fn hundreds_of_pods_are_there_and_come_at_once() {
    let cluster = Cluster::start().await;
    let name = |number: usize| format!("p{number:03}");
    for number in 0..200 {
        cluster.put(&name(number), pod("x"));
    }
    let rig = Rig::with(cluster, "role: pod").await;
    rig.until("the first", |targets| targets.len() == 4 * 200)
        .await;
    for number in 200..400 {
        rig.cluster.put(&name(number), pod("x"));
    }
    let targets = rig.until("all", |targets| targets.len() == 4 * 400).await;
    let names: Vec<&str> = targets
        .iter()
        .map(|labels| meta(labels, "pod_name"))
        .collect();
    assert!(names.is_sorted(), "in order");
    for number in 0..399 {
        rig.cluster.delete(&name(number));
    }
    rig.until_names(&["p399"]).await;
}

#[tokio::test]
async fn namespaces_and_selectors_narrow_what_is_asked() {
    let config = "role: pod
namespaces: {names: [one, two]}
selectors: [{role: pod, label: 'a=b', field: 'status.phase=Running'}]";
    let rig = Rig::start(config).await;
    let asked = |_: &[Labels]| {
        let paths = rig.cluster.paths();
        let of = |namespace: &str| {
            let path = format!("/api/v1/namespaces/{namespace}/pods?");
            paths.iter().any(|asked| {
                asked.starts_with(&path)
                    && asked.contains("labelSelector=a%3Db")
                    && asked.contains("status.phase%3DRunning%2Cspec.nodeName%3Dn1")
            })
        };
        of("one") && of("two")
    };
    rig.until("both namespaces", asked).await;
}

/// An object that is endpoints, or a slice of them, and the pod and the service behind them at once.
#[tokio::test]
async fn endpoints_tell_of_the_containers_behind_them_and_of_their_other_ports() {
    let reference = json!({ "kind": "Pod", "namespace": "shop", "name": "o" });
    let ports = json!([{ "name": "web", "port": 80, "protocol": "TCP" }]);
    let mut object = pod("web");
    object["subsets"] = json!([{
        "addresses": [{ "ip": "10.0.0.1", "targetRef": reference }], "ports": ports,
    }]);
    object["addressType"] = json!("IPv4");
    object["ports"] = ports;
    object["endpoints"] = json!([{ "addresses": ["10.0.0.1"], "targetRef": reference }]);
    object["metadata"]["labels"]["kubernetes.io/service-name"] = json!("o");
    for role in ["endpoints", "endpointslice"] {
        let rig = Rig::start(&format!("role: {role}")).await;
        rig.cluster.put("o", object.clone());
        let is_whole = |target: &Labels| meta(target, "service_name") == "o";
        let targets = rig
            .until(role, |targets| {
                targets.len() == 2 && targets.iter().all(is_whole)
            })
            .await;
        for (target, port, name) in [(&targets[0], "80", "http"), (&targets[1], "443", "")] {
            assert_eq!(target["__address__"], format!("10.0.0.1:{port}"), "{role}");
            for (label, value) in [
                ("namespace", "shop"),
                ("pod_name", "o"),
                ("pod_container_name", "web"),
                ("pod_container_image", "shop/web:1"),
                ("pod_container_image_digest", "sha256:d1"),
                ("pod_container_port_number", port),
                ("pod_container_port_name", name),
            ] {
                assert_eq!(meta(target, label), value, "{role}: {label}");
            }
        }
    }
}

#[tokio::test]
async fn other_roles_have_labels_of_their_own() {
    let node = json!({
        "metadata": { "labels": { "zone": "z" } },
        "status": {
            "addresses": [{ "type": "InternalIP", "address": "10.0.0.2" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
        },
    });
    let service = json!({
        "metadata": { "namespace": "shop" },
        "spec": { "type": "ClusterIP", "clusterIP": "1.2.3.4",
                  "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] },
    });
    let slice = json!({
        "metadata": { "namespace": "shop" },
        "addressType": "IPv6",
        "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
        "endpoints": [{ "addresses": ["fd00::1"], "conditions": { "ready": true } }],
    });
    let endpoints = json!({
        "metadata": { "namespace": "shop" },
        "subsets": [{ "addresses": [{ "ip": "10.0.0.9", "nodeName": "n1" }],
                      "notReadyAddresses": null,
                      "ports": [{ "port": 81, "protocol": "UDP" }] }],
    });
    let ingress = json!({
        "metadata": { "namespace": "shop" },
        "spec": { "rules": [{ "host": "h.example", "http": { "paths": [{ "path": "/p" }] } }],
                  "tls": [{ "hosts": ["h.example"] }] },
    });
    for (role, object, address, name, value) in [
        ("node", node, "10.0.0.2:10250", "node_label_zone", "z"),
        (
            "service",
            service,
            "o.shop.svc:80",
            "service_cluster_ip",
            "1.2.3.4",
        ),
        (
            "endpointslice",
            slice,
            "[fd00::1]:80",
            "endpointslice_endpoint_conditions_ready",
            "true",
        ),
        (
            "endpoints",
            endpoints,
            "10.0.0.9:81",
            "endpoint_node_name",
            "n1",
        ),
        ("ingress", ingress, "h.example", "ingress_scheme", "https"),
    ] {
        let rig = Rig::start(&format!("role: {role}")).await;
        rig.cluster.put("o", object);
        let targets = rig.until(role, |targets| targets.len() == 1).await;
        assert_eq!(targets[0]["__address__"], address, "{role}");
        assert_eq!(meta(&targets[0], name), value, "{role}");
    }
}

#[test]
fn a_kubeconfig_says_where_and_with_what() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    let text = "
current-context: c
contexts: [{name: c, context: {cluster: k, user: u, namespace: own}}]
clusters: [{name: k, cluster: {server: 'https://k:6443', certificate-authority-data: Q0E=}}]
users: [{name: u, user: {tokenFile: token, client-key-data: S0VZ}}]
";
    std::fs::write(&file, text).unwrap();
    let config = KubernetesSd {
        kubeconfig_file: file.clone(),
        ..KubernetesSd::default()
    };
    let place = kubeconfig::Place::find(&config, &Environment::default()).unwrap();
    assert_eq!(place.url, "https://k:6443");
    assert_eq!(
        (place.access.tls.ca.as_str(), place.access.tls.key.as_str()),
        ("CA", "KEY")
    );
    assert_eq!(
        place.access.bearer_token_file,
        directory.path().join("token")
    );
    assert_eq!(place.namespace.as_deref(), Some("own"));
    let fault = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let found = kubeconfig::Place::find(&config, &Environment::default());
        found.err().unwrap()
    };
    assert!(fault("current-context: other").contains("\"other\" is not among the contexts"));
    let exec = text.replace("tokenFile: token", "exec: {command: aws}");
    assert!(fault(&exec).contains("exec of a user: not supported"));
    let nowhere = kubeconfig::Place::find(&KubernetesSd::default(), &Environment::default());
    assert!(nowhere.is_err_and(|error| error.contains("not in a cluster")));
}
