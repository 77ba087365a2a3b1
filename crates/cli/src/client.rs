//! Requests to a server with Loki's API.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::args::ClientArgs;
use crate::error::CliError;
use crate::{tls, writeln_stderr};

/// Waits between two tries grow from this.
const BACKOFF: Duration = Duration::from_millis(300);

/// How long a server may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks one server.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    headers: HeaderMap,
    retries: u32,
    pub(crate) quiet: bool,
    /// Warnings that were printed.
    told: Mutex<HashSet<String>>,
}

/// What an answer has besides what was asked for.
#[derive(Deserialize)]
struct Besides {
    #[serde(default)]
    warnings: Vec<String>,
}

fn usage(message: String) -> CliError {
    CliError::Usage(message)
}

fn header_value(text: &str) -> Result<HeaderValue, CliError> {
    HeaderValue::from_str(text).map_err(|_| usage(format!("{text:?} cannot be a header")))
}

fn headers_of(args: &ClientArgs) -> Result<HeaderMap, CliError> {
    let mut headers = HeaderMap::new();
    if let Some(tenant) = &args.org_id {
        headers.insert("x-scope-orgid", header_value(tenant)?);
    }
    if let Some(tags) = &args.query_tags {
        headers.insert("x-query-tags", header_value(tags)?);
    }
    let token = match &args.bearer_token_file {
        Some(file) => Some(std::fs::read_to_string(file)?.trim().to_owned()),
        None => args.bearer_token.clone(),
    };
    if let Some(token) = token {
        headers.insert(
            http::header::AUTHORIZATION,
            header_value(&format!("Bearer {token}"))?,
        );
    } else if let Some(user) = &args.username {
        let pair = format!("{user}:{}", args.password.as_deref().unwrap_or_default());
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        headers.insert(
            http::header::AUTHORIZATION,
            header_value(&format!("Basic {pair}"))?,
        );
    }
    if args.nocache {
        headers.insert(
            http::header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache"),
        );
    }
    for header in &args.headers {
        let pair = header.split_once(':').or_else(|| header.split_once('='));
        let (name, value) =
            pair.ok_or_else(|| usage(format!("{header:?} is no header, write NAME: VALUE")))?;
        let name: HeaderName = name
            .trim()
            .parse()
            .map_err(|_| usage(format!("{:?} is no name of a header", name.trim())))?;
        headers.append(name, header_value(value.trim())?);
    }
    Ok(headers)
}

impl Client {
    pub(crate) fn new(args: &ClientArgs) -> Result<Self, CliError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("skald/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT);
        match tls::config(&args.tls())? {
            Some(config) => builder = builder.tls_backend_preconfigured(config),
            None => {
                if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
                    let mut pem = std::fs::read(cert)?;
                    pem.extend(std::fs::read(key)?);
                    let identity = reqwest::Identity::from_pem(&pem)
                        .map_err(|error| usage(format!("{}: {error}", cert.display())))?;
                    builder = builder.identity(identity);
                }
            }
        }
        let http = builder.build().map_err(|error| usage(error.to_string()))?;
        let base = args.addr.trim_end_matches('/');
        let base = if base.contains("://") {
            base.to_owned()
        } else {
            format!("http://{base}")
        };
        Ok(Self {
            http,
            base,
            headers: headers_of(args)?,
            retries: args.retries,
            quiet: args.quiet,
            told: Mutex::default(),
        })
    }

    /// The address, with `ws` in place of `http`, of a path with parameters.
    pub(crate) fn websocket_request(
        &self,
        path: &str,
        params: &[(&str, String)],
    ) -> Result<http::Request<()>, CliError> {
        use tokio_tungstenite::tungstenite::client::IntoClientRequest;
        let mut url = reqwest::Url::parse(&format!("{}{path}", self.base))
            .map_err(|error| usage(format!("{}: {error}", self.base)))?;
        url.query_pairs_mut().extend_pairs(params);
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        url.set_scheme(scheme)
            .map_err(|()| usage(format!("{url} is no address")))?;
        let mut request = url
            .as_str()
            .into_client_request()
            .map_err(|error| usage(error.to_string()))?;
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }

    /// `GET path?params`, decoded.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        params: &[(&str, String)],
    ) -> Result<T, CliError> {
        let mut tries = 0;
        loop {
            match self.send(Method::GET, path, params).await {
                Err(error) if tries < self.retries && is_retryable(&error) => {
                    tries += 1;
                    tokio::time::sleep(BACKOFF * 2_u32.saturating_pow(tries.min(6))).await;
                }
                Err(error) => return Err(error),
                Ok(body) => {
                    self.tell_warnings(&body);
                    return serde_json::from_slice(&body)
                        .map_err(|error| CliError::Answer(error.to_string()));
                }
            }
        }
    }

    /// Prints what the server says that an answer lacks on standard error, once: a long answer
    /// comes in several.
    fn tell_warnings(&self, body: &[u8]) {
        let besides = serde_json::from_slice::<Besides>(body);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for warning in besides.map(|besides| besides.warnings).unwrap_or_default() {
            if !told.contains(&warning) {
                let _ = writeln_stderr(&format!("Warning: {warning}"));
                told.insert(warning);
            }
        }
    }

    /// A request that changes something: it is sent once.
    pub(crate) async fn change(
        &self,
        method: Method,
        path: &str,
        params: &[(&str, String)],
    ) -> Result<(), CliError> {
        self.send(method, path, params).await.map(drop)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        params: &[(&str, String)],
    ) -> Result<Vec<u8>, CliError> {
        let url = format!("{}{path}", self.base);
        let failed = |error: reqwest::Error| CliError::unreachable(&url, &error);
        let request = self
            .http
            .request(method, &url)
            .headers(self.headers.clone())
            .query(params);
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(failed)?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        let text = String::from_utf8_lossy(&body).trim().to_owned();
        Err(CliError::Refused {
            status: status.as_u16(),
            url: url.clone(),
            text,
        })
    }
}

fn is_retryable(error: &CliError) -> bool {
    match error {
        CliError::Unreachable { .. } => true,
        CliError::Refused { status, .. } => *status == 429 || *status >= 500,
        _ => false,
    }
}
