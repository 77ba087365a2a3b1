//! Reaching HTTP servers as the configuration says: TLS, proxy, credentials.

mod answer;
mod named;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use http::Method;
use http::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::tls::Version;
use serde::Deserialize;

use crate::config::{Authorization, BasicAuth, OAuth2, TlsConfig};
pub(crate) use answer::{beginning_of, first_line};
use named::ServerName;

/// How long before its end a token is asked for anew.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// How long a token is used that does not say.
const TOKEN_AGE: Duration = Duration::from_secs(300);

/// How a server is reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessConfig {
    pub(crate) basic_auth: Option<BasicAuth>,
    pub(crate) authorization: Option<Authorization>,
    pub(crate) bearer_token: String,
    pub(crate) bearer_token_file: PathBuf,
    pub(crate) oauth2: Option<OAuth2>,
    pub(crate) tls: TlsConfig,
    pub(crate) proxy_url: String,
    pub(crate) follow_redirects: bool,
    pub(crate) http2: bool,
    /// The socket of a server on this machine, which is then reached whatever the address is.
    pub(crate) unix_socket: PathBuf,
    /// How long a request may take with its answer, if that is bounded.
    pub(crate) timeout: Option<Duration>,
}

/// Makes requests to a server.
pub(crate) struct Access {
    http: reqwest::Client,
    config: AccessConfig,
    /// The name of the server's certificate, if it is not that of its address.
    name: Option<ServerName>,
    token: tokio::sync::Mutex<Option<(String, Instant)>>,
}

impl AccessConfig {
    fn server_name(&self) -> Result<Option<ServerName>, String> {
        ServerName::new(&self.tls.server_name, &self.proxy_url)
    }

    /// What is wrong with it, as far as that can be told without reading files.
    pub(crate) fn fault(&self) -> Option<String> {
        let version = oldest_tls(&self.tls.min_version);
        self.server_name().err().or(version.err())
    }
}

impl Access {
    pub(crate) fn new(config: AccessConfig) -> Result<Self, String> {
        let name = config.server_name()?;
        Ok(Self {
            http: build(&config, name.as_ref())?,
            config,
            name,
            token: tokio::sync::Mutex::default(),
        })
    }

    /// A request with its credentials; secrets that lie in files are read anew.
    pub(crate) async fn request(
        &self,
        method: Method,
        url: reqwest::Url,
    ) -> Result<reqwest::RequestBuilder, String> {
        let make = |url| self.http.request(method, url);
        let request = match &self.name {
            Some(name) => name.request(url, make)?,
            None => make(url),
        };
        let Some(text) = self.authorization().await? else {
            return Ok(request);
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| "credentials are no header")?;
        value.set_sensitive(true);
        Ok(request.header(AUTHORIZATION, value))
    }

    async fn authorization(&self) -> Result<Option<String>, String> {
        let config = &self.config;
        if let Some(basic) = &config.basic_auth {
            let user = secret(&basic.username, &basic.username_file)?;
            let password = secret(&basic.password, &basic.password_file)?;
            return Ok(Some(basic_text(&user, &password)));
        }
        if let Some(given) = &config.authorization {
            let kind = match given.kind.as_str() {
                "" => "Bearer",
                kind => kind,
            };
            let credentials = secret(&given.credentials, &given.credentials_file)?;
            return Ok(Some(format!("{kind} {credentials}")));
        }
        if let Some(oauth2) = &config.oauth2 {
            return Ok(Some(format!("Bearer {}", self.token(oauth2).await?)));
        }
        let token = secret(&config.bearer_token, &config.bearer_token_file)?;
        Ok((!token.is_empty()).then(|| format!("Bearer {token}")))
    }

    /// The token of a client that shows its own credentials
    /// (<https://www.rfc-editor.org/rfc/rfc6749#section-4.4>).
    async fn token(&self, config: &OAuth2) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            expires_in: Option<u64>,
        }
        let mut held = self.token.lock().await;
        if let Some((token, until)) = &*held
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let mut form: BTreeMap<&str, String> = BTreeMap::new();
        for (name, value) in &config.endpoint_params {
            form.insert(name, value.clone());
        }
        form.insert("grant_type", "client_credentials".to_owned());
        if !config.scopes.is_empty() {
            form.insert("scope", config.scopes.join(" "));
        }
        let client_secret = secret(&config.client_secret, &config.client_secret_file)?;
        let request = self.http.post(&config.token_url).form(&form);
        let request = request.header(AUTHORIZATION, basic_text(&config.client_id, &client_secret));
        let text = |error: reqwest::Error| format!("oauth2: {}", with_causes(&error));
        let answer = request.send().await.map_err(text)?;
        let answer = answer.error_for_status().map_err(text)?;
        let answer: Answer = answer.json().await.map_err(text)?;
        let age = answer.expires_in.map_or(TOKEN_AGE, Duration::from_secs);
        let until = Instant::now() + age.saturating_sub(TOKEN_MARGIN);
        *held = Some((answer.access_token.clone(), until));
        Ok(answer.access_token)
    }
}

fn basic_text(user: &str, password: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What is written, or what lies in the file.
fn secret(written: &str, file: &Path) -> Result<String, String> {
    if file.as_os_str().is_empty() {
        return Ok(written.to_owned());
    }
    std::fs::read_to_string(file)
        .map(|text| text.trim().to_owned())
        .map_err(|error| format!("{}: {error}", file.display()))
}

fn build(config: &AccessConfig, name: Option<&ServerName>) -> Result<reqwest::Client, String> {
    let text = |error: reqwest::Error| with_causes(&error);
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("skald-agent/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    if let Some(timeout) = config.timeout {
        builder = builder.timeout(timeout);
    }
    if !config.proxy_url.is_empty() {
        builder = builder.proxy(reqwest::Proxy::all(&config.proxy_url).map_err(text)?);
    }
    if !config.follow_redirects {
        builder = builder.redirect(Policy::none());
    }
    if !config.http2 {
        builder = builder.http1_only();
    }
    if let Some(name) = name {
        builder = name.apply(builder, config.follow_redirects);
    }
    if !config.unix_socket.as_os_str().is_empty() {
        builder = builder.unix_socket(config.unix_socket.as_path());
    }
    with_tls(builder, &config.tls)?.build().map_err(text)
}

/// The oldest version of TLS, if it is not that which is spoken anyway.
fn oldest_tls(version: &str) -> Result<Option<Version>, String> {
    match version {
        "" | "TLS12" => Ok(None),
        "TLS10" | "TLS11" => {
            tracing::warn!(min_version = version, "TLS below 1.2 is not spoken");
            Ok(None)
        }
        "TLS13" => Ok(Some(Version::TLS_1_3)),
        _ => Err(format!(
            "tls_config.min_version: {version:?} is neither TLS12 nor TLS13"
        )),
    }
}

fn with_tls(
    mut builder: reqwest::ClientBuilder,
    tls: &TlsConfig,
) -> Result<reqwest::ClientBuilder, String> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let is_given = |path: &Path| !path.as_os_str().is_empty();
    let mut bundle = tls.ca.clone().into_bytes();
    if is_given(&tls.ca_file) {
        bundle.extend(read(&tls.ca_file)?);
    }
    if !bundle.is_empty() {
        let certificates = reqwest::Certificate::from_pem_bundle(&bundle);
        for certificate in certificates.map_err(|error| format!("ca: {error}"))? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    let mut pem = format!("{}\n{}", tls.cert, tls.key).into_bytes();
    for file in [&tls.cert_file, &tls.key_file] {
        if is_given(file) {
            pem.extend(read(file)?);
        }
    }
    if pem.len() > 1 {
        let identity = reqwest::Identity::from_pem(&pem);
        builder = builder.identity(identity.map_err(|error| format!("cert_file: {error}"))?);
    }
    if let Some(version) = oldest_tls(&tls.min_version)? {
        builder = builder.tls_version_min(version);
    }
    Ok(builder.tls_danger_accept_invalid_certs(tls.insecure_skip_verify))
}
