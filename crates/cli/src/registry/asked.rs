//! Requests of the management API, and their answers.

use std::time::Duration;

use clap::Args;
use reqwest::header::{HeaderMap, LINK, WARNING};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::RegistryArgs;
use crate::error::CliError;
use crate::tls::{self, TlsArgs};
use crate::writeln_stderr;

/// What all paths begin with.
const PREFIX: &str = "/api/v2.0";
/// Says that projects are named by their names, also by those that are digits.
const IS_NAME: (&str, &str) = ("X-Is-Resource-Name", "true");
/// How long a registry may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Things on one page, which is as many as the registry gives at once.
const PAGE: u64 = 1000;

/// What of a list is printed.
#[derive(Clone, Debug, Default, Args)]
pub struct ListArgs {
    /// No more than so many; all without it
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// Those that pass all filters, with commas between: name=a is the whole, name=~a a part,
    /// size=[1~9] a range, name={a b} one of several
    #[arg(long, value_name = "FILTERS")]
    pub filter: Option<String>,
    /// In the order of these keys, with commas between; those with - before have the largest first
    #[arg(long, value_name = "KEYS", allow_hyphen_values = true)]
    pub sort: Option<String>,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// What comes after `/api/v2.0`.
    pub(super) path: String,
    pub(super) body: Option<Value>,
    /// Of a list: how many rows are wanted at most.
    pub(super) rows_max: Option<u64>,
}

impl Asked {
    /// A list, of which all pages are asked for.
    pub(super) fn list(path: impl Into<String>, args: ListArgs) -> Self {
        let rows_max = args.limit.unwrap_or(u64::MAX);
        let mut path = path.into();
        let size = rows_max.clamp(1, PAGE).to_string();
        for (name, value) in [
            ("q", args.filter),
            ("sort", args.sort),
            ("page_size", Some(size)),
        ] {
            if let Some(value) = value {
                let mark = if path.contains('?') { '&' } else { '?' };
                path.push_str(&format!("{mark}{name}={}", encoded(&value)));
            }
        }
        Self {
            rows_max: Some(rows_max),
            ..Self::get(path)
        }
    }

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
        Self {
            method,
            path,
            body,
            rows_max: None,
        }
    }
}

/// A text as a part of a path, or as a value: what was typed names one thing and no other.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' | b'$' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The path of a project.
pub(super) fn project(name: &str) -> String {
    format!("/projects/{}", encoded(name))
}

/// The path of a repository: what comes after the project is one part of the path, and `-` if that is
/// nothing.
pub(super) fn repository(name: &str) -> String {
    let (of, rest) = name.split_once('/').unwrap_or((name, "-"));
    let rest = encoded(&rest.replace('/', "%2F"));
    format!("{}/repositories/{rest}", project(of))
}

/// Asks a registry.
pub(super) struct Client {
    http: reqwest::Client,
    /// Where the API is.
    base: String,
    login: Option<(String, String)>,
}

impl Client {
    pub(super) fn new(args: &RegistryArgs) -> Result<Self, CliError> {
        let usage = |message: &dyn std::fmt::Display| CliError::Usage(message.to_string());
        let login = login(args.username.as_deref(), args.password.as_deref())?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("skald/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT);
        let tls = TlsArgs {
            ca_cert: args.ca_cert.as_deref(),
            skip_verify: args.tls_skip_verify,
            identity: None,
        };
        if let Some(config) = tls::config(&tls)? {
            http = http.tls_backend_preconfigured(config);
        }
        let addr = args.addr.trim_end_matches('/');
        let scheme = if addr.contains("://") { "" } else { "http://" };
        Ok(Self {
            http: http.build().map_err(|error| usage(&error))?,
            base: format!("{scheme}{addr}{PREFIX}"),
            login,
        })
    }

    /// The name of who asks.
    pub(super) fn user(&self) -> Option<&str> {
        self.login.as_ref().map(|(name, _)| name.as_str())
    }

    /// What was asked, and the answer.
    pub(super) async fn send(&self, asked: Asked) -> Result<(String, Response), CliError> {
        let url = format!("{}{}", self.base, asked.path);
        let (name, value) = IS_NAME;
        let mut request = self.http.request(asked.method, &url).header(name, value);
        if let Some((name, password)) = &self.login {
            request = request.basic_auth(name, Some(password));
        }
        if let Some(body) = asked.body {
            request = request.json(&body);
        }
        match request.send().await {
            Ok(answer) => {
                for warning in warnings(answer.headers()) {
                    let _ = writeln_stderr(&format!("Warning: {warning}"));
                }
                Ok((url, answer))
            }
            Err(error) => Err(CliError::unreachable(&url, &error)),
        }
    }

    /// Hands over the pages of a list as they come, no more rows than are wanted.
    pub(super) async fn pages(
        &self,
        asked: Asked,
        mut take: impl FnMut(&[Value]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut left = usize::try_from(asked.rows_max.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let mut next = Some(asked);
        while let Some(asked) = next.take() {
            let (url, answer) = self.send(asked).await?;
            let link = answer.headers().get(LINK);
            let link = link.and_then(|link| link.to_str().ok()).and_then(following);
            let page = match self.read(answer, &url).await? {
                Value::Array(rows) => rows,
                other => return Err(CliError::Answer(format!("{url} is no list: {other}"))),
            };
            let wanted = page.get(..left).unwrap_or(&page);
            take(wanted)?;
            left -= wanted.len();
            next = link
                .filter(|_| left > 0 && !page.is_empty())
                .map(Asked::get);
        }
        Ok(())
    }

    /// All rows of a list.
    pub(super) async fn all(&self, path: &str) -> Result<Vec<Value>, CliError> {
        let mut all = Vec::new();
        let asked = Asked::list(path, ListArgs::default());
        let taken = self.pages(asked, |rows| {
            all.extend_from_slice(rows);
            Ok(())
        });
        taken.await?;
        Ok(all)
    }

    /// What the answer says.
    pub(super) async fn ask(&self, asked: Asked) -> Result<Value, CliError> {
        let (url, answer) = self.send(asked).await?;
        self.read(answer, &url).await
    }

    /// What an answer says; nothing if it is no JSON.
    pub(super) async fn read(&self, answer: Response, url: &str) -> Result<Value, CliError> {
        let status = answer.status();
        let text = answer.text().await;
        let text = text.map_err(|error| CliError::unreachable(url, &error))?;
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(value);
        }
        let message = value["errors"][0]["message"].as_str();
        let mut text = message.unwrap_or(&text).to_owned();
        if status == StatusCode::UNAUTHORIZED && self.login.is_none() {
            text.push_str(" (--username NAME, and its password in SKALD_REGISTRY_PASSWORD)");
        }
        Err(CliError::Refused {
            status: status.as_u16(),
            text,
            url: url.to_owned(),
        })
    }
}

/// Who logs in, if anybody. A variable that is set to nothing says nothing.
fn login(
    username: Option<&str>,
    password: Option<&str>,
) -> Result<Option<(String, String)>, CliError> {
    let said = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    match (said(username), said(password)) {
        (Some(name), Some(password)) => Ok(Some((name, password))),
        (None, None) => Ok(None),
        (Some(name), None) => Err(CliError::Usage(format!(
            "no password of {name}: it is in SKALD_REGISTRY_PASSWORD"
        ))),
        (None, Some(_)) => Err(CliError::Usage(
            "a password of nobody: --username says whose it is".to_owned(),
        )),
    }
}

/// What an answer warns of, each as the header `Warning` has it: `299 - "..."`.
fn warnings(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get_all(WARNING).into_iter();
    let said = all.filter_map(|value| value.to_str().ok());
    said.map(|text| text.split('"').nth(1).unwrap_or(text))
}

/// The path of the next page, as the header `Link` has it: `</api/v2.0/...>; rel="next"`. A proxy may
/// have what it begins with elsewhere.
fn following(link: &str) -> Option<String> {
    let mut links = link.split('<').filter_map(|link| link.split_once('>'));
    let (path, _) = links.find(|(_, rel)| rel.contains("rel=\"next\""))?;
    let at = path.find(PREFIX)?;
    path.get(at + PREFIX.len()..).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_names_one_thing() {
        assert_eq!(
            repository("te am/a/b?c"),
            "/projects/te%20am/repositories/a%252Fb%3Fc"
        );
        assert_eq!(repository("a/a"), "/projects/a/repositories/a");
        assert_eq!(repository("a"), "/projects/a/repositories/-");
        assert_eq!(
            project("a/repositories/b"),
            "/projects/a%2Frepositories%2Fb"
        );
    }

    #[test]
    fn who_logs_in_has_a_name_and_a_password() {
        let both = ("ann".to_owned(), "secret".to_owned());
        assert_eq!(login(Some("ann"), Some("secret")).unwrap(), Some(both));
        for nobody in [None, Some("")] {
            assert_eq!(login(nobody, nobody).unwrap(), None);
            assert!(login(Some("ann"), nobody).is_err());
            assert!(login(nobody, Some("secret")).is_err());
        }
    }

    #[test]
    fn an_answer_warns_in_its_headers() {
        let mut headers = HeaderMap::new();
        for value in ["299 - \"one\"", "two"] {
            headers.append(WARNING, value.parse().unwrap());
        }
        assert!(warnings(&headers).eq(["one", "two"]));
    }

    #[test]
    fn lists_are_asked_for_by_pages() {
        let args = ListArgs {
            limit: Some(7),
            filter: Some("name=~a b".to_owned()),
            sort: Some("-name".to_owned()),
        };
        let asked = Asked::list("/labels?scope=g", args);
        assert_eq!(
            asked.path,
            "/labels?scope=g&q=name%3D~a%20b&sort=-name&page_size=7"
        );
        let all = Asked::list("/projects", ListArgs::default());
        assert_eq!(all.path, "/projects?page_size=1000");
        let link = "</api/v2.0/users?page=1&page_size=2>; rel=\"prev\", \
                    </api/v2.0/users?page=3&page_size=2>; rel=\"next\"";
        assert_eq!(
            following(link).as_deref(),
            Some("/users?page=3&page_size=2")
        );
        assert_eq!(following("</api/v2.0/users?page=1>; rel=\"prev\""), None);
    }
}
