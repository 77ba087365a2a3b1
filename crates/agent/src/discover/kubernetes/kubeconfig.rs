//! Where the API server is and how it is reached: the configuration's own keys, a kubeconfig file,
//! or what every pod is given.

use std::path::{Path, PathBuf};

use base64::Engine;
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use secrecy::{ExposeSecret, SecretString};

use crate::access::{AccessConfig, with_causes};
use crate::config::{BasicAuth, KubernetesSd};
use server::Environment;

/// Where a pod finds what belongs to its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A server and how it is reached.
pub(super) struct Place {
    pub(super) url: String,
    pub(super) access: AccessConfig,
    /// The agent's own namespace, if that is known.
    pub(super) namespace: Option<String>,
}

impl Place {
    pub(super) fn find(config: &KubernetesSd, environment: &Environment) -> Result<Self, String> {
        if !config.kubeconfig_file.as_os_str().is_empty() {
            return from_kubeconfig(config);
        }
        let account = Path::new(SERVICE_ACCOUNT);
        let namespace = std::fs::read_to_string(account.join("namespace")).ok();
        let namespace = namespace.map(|name| name.trim().to_owned());
        if !config.api_server.is_empty() {
            return Ok(Self {
                url: config.api_server.clone(),
                access: config.access(),
                namespace,
            });
        }
        let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let host = variable("KUBERNETES_SERVICE_HOST");
        let port = variable("KUBERNETES_SERVICE_PORT");
        let (Some(host), Some(port)) = (host, port) else {
            return Err(
                "not in a cluster, and neither api_server nor kubeconfig_file is given".to_owned(),
            );
        };
        let mut access = config.access();
        access.bearer_token_file = account.join("token");
        access.tls.ca_file = account.join("ca.crt");
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        Ok(Self {
            url: format!("https://{host}:{port}"),
            access,
            namespace,
        })
    }
}

fn from_kubeconfig(config: &KubernetesSd) -> Result<Place, String> {
    let file = &config.kubeconfig_file;
    let wrong = |text: String| format!("{}: {text}", file.display());
    // Paths in it are told from where it lies.
    let parsed = Kubeconfig::read_from(file).map_err(|error| wrong(with_causes(&error)))?;
    let current = parsed.current_context.unwrap_or_default();
    let mut contexts = parsed.contexts.into_iter();
    let context = contexts.find(|named| named.name == current);
    let context = context.and_then(|named| named.context).ok_or_else(|| {
        wrong(format!(
            "current-context {current:?} is not among the contexts"
        ))
    })?;
    let mut clusters = parsed.clusters.into_iter();
    let cluster = clusters.find(|named| named.name == context.cluster);
    let cluster = cluster.and_then(|named| named.cluster);
    let cluster = cluster.ok_or_else(|| wrong("the cluster of the context is not there".into()))?;
    let mut users = parsed.auth_infos.into_iter();
    let user = users.find(|named| Some(&named.name) == context.user.as_ref());
    let user = user.and_then(|named| named.auth_info).unwrap_or_default();
    let mut access = config.access();
    trust(&mut access, &cluster).map_err(wrong)?;
    identify(&mut access, user).map_err(wrong)?;
    Ok(Place {
        url: cluster.server.unwrap_or_default(),
        access,
        namespace: context.namespace,
    })
}

/// Takes in whom to trust, and how the server is reached.
fn trust(access: &mut AccessConfig, cluster: &Cluster) -> Result<(), String> {
    let tls = &mut access.tls;
    tls.ca = decoded(cluster.certificate_authority_data.as_deref())?;
    tls.ca_file = path(cluster.certificate_authority.clone());
    tls.insecure_skip_verify |= cluster.insecure_skip_tls_verify.unwrap_or(false);
    if let Some(name) = cluster.tls_server_name.clone() {
        tls.server_name = name;
    }
    if let Some(proxy) = cluster.proxy_url.clone() {
        access.proxy_url = proxy;
    }
    Ok(())
}

/// Takes in what to show.
fn identify(access: &mut AccessConfig, user: AuthInfo) -> Result<(), String> {
    for (key, is_given) in [
        ("exec", user.exec.is_some()),
        ("auth-provider", user.auth_provider.is_some()),
        ("as", user.impersonate.is_some()),
    ] {
        if is_given {
            return Err(format!("{key} of a user: not supported"));
        }
    }
    access.tls.cert = decoded(user.client_certificate_data.as_deref())?;
    access.tls.cert_file = path(user.client_certificate);
    access.tls.key = decoded(user.client_key_data.as_ref().map(exposed))?;
    access.tls.key_file = path(user.client_key);
    access.bearer_token = user
        .token
        .as_ref()
        .map(exposed)
        .unwrap_or_default()
        .to_owned();
    access.bearer_token_file = path(user.token_file);
    if let Some(username) = user.username {
        access.basic_auth = Some(BasicAuth {
            username,
            password: user
                .password
                .as_ref()
                .map(exposed)
                .unwrap_or_default()
                .to_owned(),
            ..BasicAuth::default()
        });
    }
    Ok(())
}

fn exposed(secret: &SecretString) -> &str {
    secret.expose_secret()
}

fn path(given: Option<String>) -> PathBuf {
    given.map(PathBuf::from).unwrap_or_default()
}

fn decoded(data: Option<&str>) -> Result<String, String> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(data.unwrap_or_default().trim())
        .map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}
