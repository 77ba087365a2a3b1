//! What is known of a container, as labels
//! (<https://prometheus.io/docs/prometheus/latest/configuration/configuration/#docker_sd_config>).
//!
//! There each port of each network of a container is a target. A container has one log, so here it
//! has the labels of the first.

use super::api::{Container, Network};
use crate::config::DockerSd;
use crate::discover::{Labels, host_port, sanitized};

/// What all names of these labels begin with.
const PREFIX: &str = "__meta_docker_";

/// The labels of a container before relabelling. None if it has no name.
pub(super) fn of_container(
    container: &Container,
    networks: &[Network],
    config: &DockerSd,
) -> Option<Labels> {
    let mut labels = Labels::new();
    let mut put = |name: &str, value: &str| {
        labels.insert(format!("{PREFIX}{name}"), value.to_owned());
    };
    put("container_id", &container.id);
    put("container_name", container.names.first()?);
    put(
        "container_network_mode",
        &container.host_config.network_mode,
    );
    for (name, value) in &container.labels {
        put(&format!("container_label_{}", sanitized(name)), value);
    }
    let mut ports: Vec<_> = container.ports.iter().collect();
    ports.sort_by_key(|port| (port.private_port, port.ip.len()));
    let port = ports.into_iter().find(|port| port.kind == "tcp");
    if let Some(port) = port {
        put("port_private", &port.private_port.to_string());
        if port.public_port > 0 {
            put("port_public", &port.public_port.to_string());
            put("port_public_ip", &port.ip);
        }
    }
    let endpoint = container.network_settings.networks.values().next();
    if let Some(endpoint) = endpoint {
        put("network_ip", &endpoint.ip_address);
        let its = |network: &&Network| network.id == endpoint.network_id;
        if let Some(network) = networks.iter().find(its) {
            put("network_id", &network.id);
            put("network_name", &network.name);
            put("network_scope", &network.scope);
            put("network_internal", &network.internal.to_string());
            put("network_ingress", &network.ingress.to_string());
            for (name, value) in &network.labels {
                put(&format!("network_label_{}", sanitized(name)), value);
            }
        }
    }
    let address = match (port, endpoint) {
        (Some(port), Some(endpoint)) => Some(host_port(&endpoint.ip_address, port.private_port)),
        (None, Some(_)) if container.host_config.network_mode == "host" => {
            Some(config.host_networking_host.clone())
        }
        (None, Some(endpoint)) => Some(host_port(&endpoint.ip_address, config.port)),
        (_, None) => None,
    };
    labels.extend(address.map(|address| ("__address__".to_owned(), address)));
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_the_labels_of_its_first_port_and_network() {
        let container: Container = serde_json::from_str(
            r#"{"Id":"c1","Names":["/web"],"State":"running","Labels":{"com.x/team":"a"},
                "HostConfig":{"NetworkMode":"front"},
                "Ports":[{"PrivatePort":53,"Type":"udp"},{"PrivatePort":8443,"Type":"tcp"},
                         {"IP":"0.0.0.0","PrivatePort":8080,"PublicPort":80,"Type":"tcp"}],
                "NetworkSettings":{"Networks":{
                  "front":{"NetworkID":"n1","IPAddress":"172.1.0.2"},
                  "zone":{"NetworkID":"n2","IPAddress":"172.2.0.2"}}}}"#,
        )
        .unwrap();
        let networks: Vec<Network> = serde_json::from_str(
            r#"[{"Id":"n2","Name":"zone"},{"Id":"n1","Name":"front","Scope":"local",
                "Internal":true,"Labels":{"l":"v"}}]"#,
        )
        .unwrap();
        let labels = of_container(&container, &networks, &DockerSd::default()).unwrap();
        let shown: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{}={value}", name.trim_start_matches(PREFIX)))
            .collect();
        assert_eq!(
            shown,
            [
                "__address__=172.1.0.2:8080",
                "container_id=c1",
                "container_label_com_x_team=a",
                "container_name=/web",
                "container_network_mode=front",
                "network_id=n1",
                "network_ingress=false",
                "network_internal=true",
                "network_ip=172.1.0.2",
                "network_label_l=v",
                "network_name=front",
                "network_scope=local",
                "port_private=8080",
                "port_public=80",
                "port_public_ip=0.0.0.0",
            ]
        );
    }

    #[test]
    fn a_container_without_a_port_has_that_of_the_configuration() {
        let address = |mode: &str, networks: &str| {
            let text = format!(
                r#"{{"Id":"c","Names":["/c"],"HostConfig":{{"NetworkMode":"{mode}"}},
                    "NetworkSettings":{{"Networks":{networks}}}}}"#
            );
            let container: Container = serde_json::from_str(&text).unwrap();
            let labels = of_container(&container, &[], &DockerSd::default()).unwrap();
            labels.get("__address__").cloned()
        };
        let one = r#"{"n":{"IPAddress":"fd00::1"}}"#;
        assert_eq!(address("n", one).as_deref(), Some("[fd00::1]:80"));
        assert_eq!(
            address("host", r#"{"host":{}}"#).as_deref(),
            Some("localhost")
        );
        assert_eq!(address("none", "{}"), None);
        let nameless = of_container(&Container::default(), &[], &DockerSd::default());
        assert_eq!(nameless, None);
    }
}
