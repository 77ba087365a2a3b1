//! The `docker_sd_configs` section: containers whose logs are read over Docker's API.

use model::units::DurationNs;
use serde::{Deserialize, Serialize};

use super::TlsConfig;
use super::http::with_http_client;
use crate::access::AccessConfig;

with_http_client! {
    /// Containers of a Docker.
    pub struct DockerSd {
        /// Where Docker is: `unix:///var/run/docker.sock`, `tcp://host:2375`, `https://host`.
        pub host: String = String::new(),
        /// Which containers; all conditions must hold.
        pub filters: Vec<DockerFilter> = Vec::new(),
        /// The port in the address of a container that has none.
        pub port: u16 = 80,
        /// The host in the address of a container that has the network of its host.
        pub host_networking_host: String = "localhost".to_owned(),
        /// Has no effect: a container has one log and is one target, in its first network.
        pub match_first_network: bool = true,
        /// How often Docker is asked at least. Between, it tells of containers that come and go.
        pub refresh_interval: DurationNs = DurationNs::from_secs(60),
    }
    speaks_http2: true
}

/// A condition on containers, as `docker ps --filter` has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DockerFilter {
    /// `name`, `label`, `network` and the like.
    pub name: String,
    /// One of these must hold.
    pub values: Vec<String>,
}

impl DockerSd {
    pub(super) fn fault(&self) -> Option<String> {
        if self.refresh_interval.0 <= 0 {
            return Some("refresh_interval: must be greater than 0".to_owned());
        }
        match self.reached() {
            Ok((_, access)) => access.fault(),
            Err(fault) => Some(fault),
        }
    }

    /// The address of the API, and how it is reached.
    pub(crate) fn reached(&self) -> Result<(String, AccessConfig), String> {
        let mut access = self.http_client();
        let base = match self.host.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => {
                access.unix_socket = path.into();
                "http://docker".to_owned()
            }
            Some(("tcp", host)) if self.tls_config == TlsConfig::default() => {
                format!("http://{host}")
            }
            Some(("tcp", host)) => format!("https://{host}"),
            Some(("http" | "https", _)) => self.host.clone(),
            _ => {
                let host = &self.host;
                return Err(format!(
                    "host: {host:?} is neither unix:///path, tcp://host:port nor a URL"
                ));
            }
        };
        match reqwest::Url::parse(&base) {
            Ok(url) if url.has_host() => Ok((base, access)),
            _ => Err(format!("host: {:?} is no address", self.host)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_docker() {
        let tls = TlsConfig {
            ca_file: "ca.pem".into(),
            ..TlsConfig::default()
        };
        for (host, tls, expected) in [
            (
                "unix:///run/docker.sock",
                TlsConfig::default(),
                "http://docker",
            ),
            ("tcp://h:2375", TlsConfig::default(), "http://h:2375"),
            ("tcp://h:2376", tls, "https://h:2376"),
            ("https://h/docker", TlsConfig::default(), "https://h/docker"),
        ] {
            let config = DockerSd {
                host: host.to_owned(),
                tls_config: tls,
                ..DockerSd::default()
            };
            let (base, access) = config.reached().unwrap();
            assert_eq!(base, expected);
            let is_socket = !access.unix_socket.as_os_str().is_empty();
            assert_eq!(is_socket, host.starts_with("unix"), "{host}");
        }
        for host in ["", "/run/docker.sock", "unix://docker.sock", "tcp://"] {
            let config = DockerSd {
                host: host.to_owned(),
                ..DockerSd::default()
            };
            assert!(
                config.fault().is_some_and(|fault| fault.contains("host")),
                "{host}"
            );
        }
    }
}
