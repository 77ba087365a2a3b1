//! The keys that every HTTP client of the agent has: credentials, TLS, a proxy.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Declares a section that has the keys of an HTTP client besides its own. A nested type that is
/// flattened would do as well if YAML were not read differently then: a password of digits would be
/// a number, and refused.
macro_rules! with_http_client {
    (
        $(#[$of_section:meta])*
        pub struct $Section:ident {
            $($(#[$of_key:meta])* pub $key:ident: $Type:ty = $default:expr,)*
        }
        speaks_http2: $speaks_http2:expr
    ) => {
        $(#[$of_section])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Section {
            $($(#[$of_key])* pub $key: $Type,)*
            /// User and password.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub basic_auth: Option<$crate::config::BasicAuth>,
            /// The `Authorization` header.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub authorization: Option<$crate::config::Authorization>,
            /// Where to get a token from.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub oauth2: Option<$crate::config::OAuth2>,
            /// A bearer token.
            pub bearer_token: String,
            /// A file that holds a bearer token, read before each request.
            pub bearer_token_file: std::path::PathBuf,
            /// Whom to trust and what to show.
            pub tls_config: $crate::config::TlsConfig,
            /// The proxy to go through.
            pub proxy_url: String,
            /// Whether redirects are followed.
            pub follow_redirects: bool,
            /// Whether HTTP/2 may be spoken.
            pub enable_http2: bool,
        }

        impl Default for $Section {
            fn default() -> Self {
                Self {
                    $($key: $default,)*
                    basic_auth: None,
                    authorization: None,
                    oauth2: None,
                    bearer_token: String::new(),
                    bearer_token_file: std::path::PathBuf::new(),
                    tls_config: $crate::config::TlsConfig::default(),
                    proxy_url: String::new(),
                    follow_redirects: true,
                    enable_http2: $speaks_http2,
                }
            }
        }

        impl $Section {
            /// How the server is reached, as far as these keys say.
            fn http_client(&self) -> $crate::access::AccessConfig {
                $crate::access::AccessConfig {
                    basic_auth: self.basic_auth.clone(),
                    authorization: self.authorization.clone(),
                    oauth2: self.oauth2.clone(),
                    bearer_token: self.bearer_token.clone(),
                    bearer_token_file: self.bearer_token_file.clone(),
                    tls: self.tls_config.clone(),
                    proxy_url: self.proxy_url.clone(),
                    follow_redirects: self.follow_redirects,
                    http2: self.enable_http2,
                    // Of which there is a socket, or a time to be kept, says so itself.
                    unix_socket: std::path::PathBuf::new(),
                    timeout: None,
                }
            }
        }
    };
}

pub(super) use with_http_client;

/// User and password.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// A file that holds the user, read before each request.
    pub username_file: PathBuf,
    /// The password.
    pub password: String,
    /// A file that holds the password, read before each request.
    pub password_file: PathBuf,
}

/// The `Authorization` header.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authorization {
    /// Its scheme; `Bearer` if empty.
    #[serde(rename = "type")]
    pub kind: String,
    /// What follows the scheme.
    pub credentials: String,
    /// A file that holds what follows the scheme, read before each request.
    pub credentials_file: PathBuf,
}

/// Where to get a token from, and with what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth2 {
    /// Who asks.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// A file that holds the secret, read each time.
    pub client_secret_file: PathBuf,
    /// What the token shall be for.
    pub scopes: Vec<String>,
    /// Where it is asked for.
    pub token_url: String,
    /// What is sent besides.
    pub endpoint_params: BTreeMap<String, String>,
}

/// Whom to trust and what to show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate authorities, as text.
    pub ca: String,
    /// Certificate authorities, as a file.
    pub ca_file: PathBuf,
    /// The agent's certificate, as text.
    pub cert: String,
    /// The agent's certificate, as a file.
    pub cert_file: PathBuf,
    /// Its key, as text.
    pub key: String,
    /// Its key, as a file.
    pub key_file: PathBuf,
    /// The name that the server's certificate must have, if it is not that of its address.
    pub server_name: String,
    /// Whether any certificate is believed.
    pub insecure_skip_verify: bool,
    /// The oldest version that is spoken: `TLS12` or `TLS13`. Older ones never are.
    pub min_version: String,
}

#[cfg(test)]
mod tests {
    use crate::config::{ClientConfig, DockerSd, KubernetesSd};

    #[test]
    fn each_section_has_the_keys_of_a_client() {
        const KEYS: &str = "{basic_auth: {username: u, password: 0123}, tls_config: {ca_file: /c},
            proxy_url: 'http://p', enable_http2: true, follow_redirects: false, PLACE: 'http://h'}";
        let client: ClientConfig = serde_yaml::from_str(&KEYS.replace("PLACE", "url")).unwrap();
        let kubernetes = KEYS.replace("PLACE", "api_server");
        let kubernetes: KubernetesSd = serde_yaml::from_str(&kubernetes).unwrap();
        let docker: DockerSd = serde_yaml::from_str(&KEYS.replace("PLACE", "host")).unwrap();
        for access in [
            client.access(),
            kubernetes.access(),
            docker.reached().unwrap().1,
        ] {
            let basic = access.basic_auth.unwrap();
            assert_eq!(
                (basic.username.as_str(), basic.password.as_str()),
                ("u", "0123")
            );
            assert_eq!(access.tls.ca_file.to_str(), Some("/c"));
            assert_eq!(access.proxy_url, "http://p");
            assert!(access.http2 && !access.follow_redirects);
        }
    }
}
