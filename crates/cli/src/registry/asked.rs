//! Requests of the management API, and their answers.

use reqwest::{Method, Response};
use serde_json::Value;

use super::RegistryArgs;
use crate::error::CliError;

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// What comes after `/api/v2.0`.
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

impl Asked {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::of(Method::GET, path, None)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::of(Method::DELETE, path, None)
    }

    pub(super) fn post(path: impl Into<String>, body: Value) -> Self {
        Self::of(Method::POST, path, Some(body))
    }

    pub(super) fn put(path: impl Into<String>, body: Value) -> Self {
        Self::of(Method::PUT, path, Some(body))
    }

    pub(super) fn of(method: Method, path: impl Into<String>, body: Option<Value>) -> Self {
        let path = path.into();
        Self { method, path, body }
    }
}

/// The path of a repository: what comes after the project is one part of the path.
pub(super) fn repository(name: &str) -> String {
    let (project, rest) = name.split_once('/').unwrap_or((name, name));
    format!(
        "/projects/{project}/repositories/{}",
        rest.replace('/', "%252F")
    )
}

/// Asks a registry.
pub(super) struct Client {
    http: reqwest::Client,
    /// Where the API is.
    base: String,
    login: Option<(String, Option<String>)>,
}

impl Client {
    pub(super) fn new(args: &RegistryArgs) -> Self {
        let login = args.username.clone();
        Self {
            http: reqwest::Client::new(),
            base: format!("{}/api/v2.0", args.addr.trim_end_matches('/')),
            login: login.map(|name| (name, args.password.clone())),
        }
    }

    /// What was asked, and the answer.
    pub(super) async fn send(&self, asked: Asked) -> Result<(String, Response), CliError> {
        let url = format!("{}{}", self.base, asked.path);
        let mut request = self.http.request(asked.method, &url);
        if let Some((name, password)) = &self.login {
            request = request.basic_auth(name, password.as_ref());
        }
        if let Some(body) = asked.body {
            request = request.json(&body);
        }
        match request.send().await {
            Ok(answer) => Ok((url, answer)),
            Err(error) => Err(CliError::unreachable(&url, &error)),
        }
    }

    /// What the answer says.
    pub(super) async fn ask(&self, asked: Asked) -> Result<Value, CliError> {
        let (url, answer) = self.send(asked).await?;
        read(answer, &url).await
    }
}

/// What an answer says; nothing if it is no JSON.
pub(super) async fn read(answer: Response, url: &str) -> Result<Value, CliError> {
    let status = answer.status();
    let text = answer.text().await;
    let text = text.map_err(|error| CliError::unreachable(url, &error))?;
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    if status.is_success() {
        return Ok(value);
    }
    let message = value["errors"][0]["message"].as_str();
    Err(CliError::Refused {
        status: status.as_u16(),
        text: message.unwrap_or(&text).to_owned(),
        url: url.to_owned(),
    })
}
