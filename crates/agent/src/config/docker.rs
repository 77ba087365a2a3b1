//! The `docker_sd_configs` section: containers whose logs are read over Docker's API.

use std::path::PathBuf;

use model::units::DurationNs;
use serde::{Deserialize, Serialize};

use super::{Authorization, BasicAuth, OAuth2, TlsConfig};
use crate::access::AccessConfig;

/// Containers of a Docker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DockerSd {
    /// Where Docker is: `unix:///var/run/docker.sock`, `tcp://host:2375`, `https://host`.
    pub host: String,
    /// Which containers; all conditions must hold.
    pub filters: Vec<DockerFilter>,
    /// The port in the address of a container that has none.
    pub port: u16,
    /// The host in the address of a container that has the network of its host.
    pub host_networking_host: String,
    /// Has no effect: a container has one log and is one target, in its first network.
    pub match_first_network: bool,
    /// How often Docker is asked at least. Between, it tells of containers that come and go.
    pub refresh_interval: DurationNs,
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
    /// Whom to trust and what to show.
    pub tls_config: TlsConfig,
    /// A proxy.
    pub proxy_url: String,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be spoken.
    pub enable_http2: bool,
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

impl Default for DockerSd {
    fn default() -> Self {
        Self {
            host: String::new(),
            filters: Vec::new(),
            port: 80,
            host_networking_host: "localhost".to_owned(),
            match_first_network: true,
            refresh_interval: DurationNs::from_secs(60),
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
        let mut access = AccessConfig {
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
            // A log lasts.
            timeout: None,
        };
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
