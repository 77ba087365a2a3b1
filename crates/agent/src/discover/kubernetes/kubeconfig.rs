//! Where the API server is and how it is reached: the configuration's own keys, a kubeconfig file,
//! or what every pod is given.

use std::path::{Path, PathBuf};

use base64::Engine;
use serde::Deserialize;

use crate::access::AccessConfig;
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

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Kubeconfig {
    current_context: String,
    contexts: Vec<NamedContext>,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: PathBuf,
    certificate_authority_data: String,
    insecure_skip_tls_verify: bool,
    tls_server_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    token: String,
    #[serde(rename = "tokenFile")]
    token_file: PathBuf,
    username: String,
    password: String,
    client_certificate: PathBuf,
    client_certificate_data: String,
    client_key: PathBuf,
    client_key_data: String,
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
    let wrong = |text: &str| format!("{}: {text}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error.to_string()))?;
    let parsed: Kubeconfig =
        serde_yaml::from_str(&text).map_err(|error| wrong(&error.without_snippet().to_string()))?;
    let contexts = &parsed.contexts;
    let context = contexts
        .iter()
        .find(|named| named.name == parsed.current_context);
    let context = context.ok_or_else(|| wrong("current-context is not among the contexts"))?;
    let context = context.context.clone();
    let cluster = parsed
        .clusters
        .iter()
        .find(|named| named.name == context.cluster)
        .ok_or_else(|| wrong("the cluster of the context is not there"))?;
    let user = parsed.users.iter().find(|named| named.name == context.user);
    let user = user.map(|named| named.user.clone()).unwrap_or_default();
    let (directory, cluster) = (file.parent().unwrap_or(Path::new("")), &cluster.cluster);
    let mut access = config.access();
    access.tls.ca = decoded(&cluster.certificate_authority_data).map_err(|text| wrong(&text))?;
    access.tls.ca_file = beside(directory, &cluster.certificate_authority);
    access.tls.insecure_skip_verify |= cluster.insecure_skip_tls_verify;
    if !cluster.tls_server_name.is_empty() {
        access.tls.server_name.clone_from(&cluster.tls_server_name);
    }
    access.tls.cert = decoded(&user.client_certificate_data).map_err(|text| wrong(&text))?;
    access.tls.cert_file = beside(directory, &user.client_certificate);
    access.tls.key = decoded(&user.client_key_data).map_err(|text| wrong(&text))?;
    access.tls.key_file = beside(directory, &user.client_key);
    access.bearer_token = user.token;
    access.bearer_token_file = beside(directory, &user.token_file);
    if !user.username.is_empty() {
        access.basic_auth = Some(BasicAuth {
            username: user.username,
            password: user.password,
            ..BasicAuth::default()
        });
    }
    Ok(Place {
        url: cluster.server.clone(),
        access,
        namespace: context.namespace,
    })
}

/// Paths in a kubeconfig are told from where it lies.
fn beside(directory: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() {
        PathBuf::new()
    } else {
        directory.join(path)
    }
}

fn decoded(data: &str) -> Result<String, String> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(data.trim())
        .map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}
