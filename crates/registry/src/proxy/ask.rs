//! Asks another registry, and heeds what it says: how to log in, and when to come again.

mod ping;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use storage::Secret;

use super::challenge::{self, Challenge};
use crate::config::ProxyConfig;
use crate::error::{Code, Error};
use crate::manifest::MEDIA_TYPES;
use crate::meta::Upstream;
use crate::metrics::Metrics;
use crate::seal::Sealer;

/// Docker's own registry, by what it is called and where it is.
const DOCKER_HUB_SITE: &str = "https://docker.io";
const DOCKER_HUB: &str = "https://registry-1.docker.io";
/// Logins that are remembered, each for one repository.
const LOGINS_MAX: usize = 10_000;
/// How long a token holds that does not say so.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60);
/// A token is not used any more when it has so little time left.
const TOKEN_MARGIN: Duration = Duration::from_secs(5);
/// How long the answer to a name and a password that are right is taken as so.
const BASIC_LIFETIME: Duration = Duration::from_secs(3600);
/// Bytes of the largest answer of who gives out tokens.
const TOKEN_BYTES_MAX: usize = 256 << 10;
/// Redirections that are followed.
const REDIRECTS_MAX: usize = 5;

/// Why another registry gave nothing.
#[derive(Debug)]
pub(super) enum Failed {
    /// It does not have it.
    Unknown(String),
    /// It does not have it, or does not say so to us: many answer the same to who may not know.
    Hidden(String),
    /// It was asked too often.
    TooMany { message: String, after: Duration },
    /// It does not let us in: it wants a login, or another one.
    Refused(String),
    /// It failed, or does not answer.
    Down(String),
    /// Something here.
    Own(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl Failed {
    /// Why what is here is given instead; none if that is not to be.
    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::TooMany { message, .. }
            | Self::Hidden(message)
            | Self::Refused(message)
            | Self::Down(message) => Some(message),
            Self::Unknown(_) | Self::Own(_) => None,
        }
    }

    /// What a client is told; `unknown` is the code of what it asked for.
    pub(super) fn error(self, unknown: Code) -> Error {
        match self {
            Self::Unknown(message) | Self::Hidden(message) => Error::new(unknown, message),
            Self::TooMany { message, after } => {
                let seconds = after.as_secs().max(1).to_string();
                Error::new(Code::TooManyRequests, message).with_header(RETRY_AFTER, &seconds)
            }
            Self::Refused(message) | Self::Down(message) => {
                Error::new(Code::Unavailable, message).with_status(StatusCode::BAD_GATEWAY)
            }
            Self::Own(error) => error,
        }
    }
}

/// What another registry is asked for.
#[derive(Clone, Debug)]
pub(super) struct Question<'a> {
    pub(super) method: Method,
    /// The repository, as it is called there; none if it is about the registry itself.
    pub(super) repo: &'a str,
    /// What of it: `manifests/v1`, `tags/list?n=10`.
    pub(super) what: String,
    /// Whether there is something to give instead, so that it is not asked again too soon.
    pub(super) is_optional: bool,
}

impl Question<'_> {
    /// What is asked for of the repository, whatever page of it.
    pub(super) fn path(&self) -> &str {
        self.what
            .split_once('?')
            .map_or(self.what.as_str(), |(path, _)| path)
    }

    /// Where that is at a registry.
    fn address(&self) -> String {
        match self.repo {
            "" => "/v2/".to_owned(),
            repo => format!("/v2/{repo}/{}", self.what),
        }
    }

    /// What a token has to be for that it is asked with, if for anything in particular.
    fn scope(&self) -> Option<String> {
        let is_any = self.repo.is_empty();
        (!is_any).then(|| format!("repository:{}:pull", self.repo))
    }

    /// The same as it is called in what is said about it.
    fn name(&self) -> String {
        format!("{}/{}", self.repo, self.path())
    }
}

/// What is shown to a registry for one of its repositories.
#[derive(Clone)]
struct Login {
    value: HeaderValue,
    /// Whether somebody has looked at it: who gives out a token has.
    is_checked: bool,
    until: Instant,
}

/// A registry is not to be asked for a while.
#[derive(Clone, Debug)]
struct Pause {
    until: Instant,
    message: String,
    /// Whether it has said so itself.
    is_asked_for: bool,
}

/// Asks other registries.
pub(super) struct Asker {
    connect_timeout: Duration,
    /// Made when something is asked first: it holds all certificates that this machine trusts.
    http: OnceLock<Client>,
    answer_timeout: Duration,
    pause: Duration,
    pause_max: Duration,
    logins: Cache<String, Login>,
    pauses: Mutex<HashMap<i64, Pause>>,
    sealer: Arc<Sealer>,
    metrics: Metrics,
}

impl Asker {
    pub(super) fn new(config: &ProxyConfig, sealer: Arc<Sealer>, metrics: Metrics) -> Self {
        Self {
            connect_timeout: config.connect_timeout.as_std(),
            http: OnceLock::new(),
            answer_timeout: config.answer_timeout.as_std(),
            pause: config.pause.as_std(),
            pause_max: config.pause_max.as_std(),
            logins: Cache::new(LOGINS_MAX),
            pauses: Mutex::default(),
            sealer,
            metrics,
        }
    }

    fn http(&self) -> Result<&Client, Error> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let client = Client::builder()
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.answer_timeout)
            .redirect(Policy::custom(|attempt| {
                let is_weaker = attempt.url().scheme() == "http"
                    && attempt.previous().iter().any(|url| url.scheme() == "https");
                match attempt.previous().len() > REDIRECTS_MAX || is_weaker {
                    true => attempt.error("it leads too far, or from https to http"),
                    false => attempt.follow(),
                }
            }))
            // Digests are of bytes as they were pushed.
            .no_gzip()
            .user_agent(concat!("skald/", env!("CARGO_PKG_VERSION")));
        let made = client.build();
        let made = made.map_err(|error| Error::internal("making a client of HTTP", &error))?;
        Ok(self.http.get_or_init(|| made))
    }

    /// The answer to a question, if it is one.
    pub(super) async fn ask(
        &self,
        upstream: &Upstream,
        question: &Question<'_>,
    ) -> Result<Response, Failed> {
        self.heed_pause(upstream, question)?;
        let begun = Instant::now();
        let answer = self.logged_in(upstream, question).await;
        let seconds = begun.elapsed().as_secs_f64();
        self.metrics.upstream_seconds(&upstream.text.name, seconds);
        let failed = match answer {
            Ok(answer) if answer.status().is_success() => {
                self.pauses.lock().remove(&upstream.id);
                return Ok(answer);
            }
            Ok(answer) => self.refusal(upstream, question, &answer),
            Err(failed) => failed,
        };
        self.remember(upstream, &failed);
        Err(failed)
    }

    fn heed_pause(&self, upstream: &Upstream, question: &Question<'_>) -> Result<(), Failed> {
        let pauses = self.pauses.lock();
        let Some(pause) = pauses.get(&upstream.id) else {
            return Ok(());
        };
        let after = pause.until.saturating_duration_since(Instant::now());
        let message = pause.message.clone();
        match (after.is_zero(), pause.is_asked_for) {
            (true, _) => Ok(()),
            (false, true) => Err(Failed::TooMany { message, after }),
            (false, false) if question.is_optional => Err(Failed::Down(message)),
            (false, false) => Ok(()),
        }
    }

    /// What a refusal means.
    fn refusal(&self, upstream: &Upstream, question: &Question<'_>, answer: &Response) -> Failed {
        let (status, name) = (answer.status(), &upstream.text.name);
        match status {
            // The latter two are of what not all registries can be asked for.
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED => {
                Failed::Unknown(format!("{name} has no {}", question.name()))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let after = retry_after(answer.headers()).unwrap_or(self.pause);
                Failed::TooMany {
                    message: format!("{name} was asked too often: {status}"),
                    after: after.min(self.pause_max),
                }
            }
            _ => Failed::Down(format!("{name} fails: {status}")),
        }
    }

    /// What it means that a registry does not let us in with a login, or without.
    fn denial(
        upstream: &Upstream,
        question: &Question<'_>,
        status: StatusCode,
        login: Option<&Login>,
    ) -> Failed {
        let (text, what) = (&upstream.text, question.name());
        let is_known =
            login.is_some_and(|login| login.is_checked || status == StatusCode::FORBIDDEN);
        match is_known {
            true => Failed::Hidden(format!(
                "{} does not have {what}, or its login may not pull it: {status}",
                text.name
            )),
            false => Failed::Refused(refused(upstream, &what, status)),
        }
    }

    fn remember(&self, upstream: &Upstream, failed: &Failed) {
        let (after, message, is_asked_for) = match failed {
            Failed::TooMany { message, after } => (*after, message, true),
            Failed::Down(message) => (self.pause, message, false),
            // It may be so of one repository only.
            Failed::Hidden(reason) | Failed::Refused(reason) => {
                let upstream = &upstream.text.name;
                tracing::warn!(upstream, reason, "an upstream does not let a cache in");
                return;
            }
            Failed::Unknown(_) | Failed::Own(_) => return,
        };
        tracing::warn!(
            upstream = upstream.text.name,
            reason = message,
            "an upstream gives nothing"
        );
        let pause = Pause {
            until: Instant::now() + after,
            message: message.clone(),
            is_asked_for,
        };
        self.pauses.lock().insert(upstream.id, pause);
    }

    /// Asks, logs in if that is asked for, and asks again.
    async fn logged_in(
        &self,
        upstream: &Upstream,
        question: &Question<'_>,
    ) -> Result<Response, Failed> {
        let key = format!("{}:{}:{}", upstream.id, upstream.updated_ms, question.repo);
        let login = self.logins.get(&key);
        let login = login.filter(|login| login.until > Instant::now());
        let mut answer = self.send(upstream, question, login.as_ref()).await?;
        let mut shown = login;
        if answer.status() == StatusCode::UNAUTHORIZED
            && let Some(login) = self.log_in(upstream, question, answer.headers()).await?
        {
            self.logins.insert(key, login.clone());
            answer = self.send(upstream, question, Some(&login)).await?;
            shown = Some(login);
        }
        match answer.status() {
            status if is_denial(status) => {
                Err(Self::denial(upstream, question, status, shown.as_ref()))
            }
            _ => Ok(answer),
        }
    }

    async fn send(
        &self,
        upstream: &Upstream,
        question: &Question<'_>,
        login: Option<&Login>,
    ) -> Result<Response, Failed> {
        let base = match upstream.text.url.as_str() {
            DOCKER_HUB_SITE => DOCKER_HUB,
            url => url,
        };
        let url = format!("{base}{}", question.address());
        let mut request = self.http()?.request(question.method.clone(), url);
        let is_manifest = |kind| question.what.starts_with(kind);
        if ["manifests/", "referrers/"].into_iter().any(is_manifest) {
            request = request.header(ACCEPT, MEDIA_TYPES.join(", "));
        }
        if let Some(login) = login {
            request = request.header(AUTHORIZATION, login.value.clone());
        }
        self.answer(upstream, request).await
    }

    /// Sends a request and waits for the beginning of its answer.
    async fn answer(
        &self,
        upstream: &Upstream,
        request: reqwest::RequestBuilder,
    ) -> Result<Response, Failed> {
        let name = &upstream.text.name;
        let again = request.try_clone();
        let answer = async {
            match (request.send().await, again) {
                // A connection that was kept may be closed by the other side just when it is used.
                (Err(error), Some(again)) if error.is_request() && !error.is_connect() => {
                    again.send().await
                }
                (answer, _) => answer,
            }
        };
        match tokio::time::timeout(self.answer_timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let why = cause(error);
                Err(Failed::Down(format!("{name} does not answer: {why}")))
            }
            Err(_) => Err(Failed::Down(format!("{name} does not answer in time"))),
        }
    }

    /// Does what a registry asks for that does not let us in; none if that cannot be done.
    async fn log_in(
        &self,
        upstream: &Upstream,
        question: &Question<'_>,
        headers: &HeaderMap,
    ) -> Result<Option<Login>, Failed> {
        let headers = headers.get_all(WWW_AUTHENTICATE).iter();
        let texts = headers.filter_map(|value| value.to_str().ok());
        let mut challenges: Vec<Challenge> = texts.flat_map(challenge::parse).collect();
        // A token is for one repository, a password for all.
        challenges.sort_by_key(|challenge| *challenge == Challenge::Basic);
        match challenges.into_iter().next() {
            None => Ok(None),
            Some(Challenge::Basic) => {
                let text = &upstream.text;
                let password = self.password(upstream)?;
                let pair = format!("{}:{}", text.username, password.0);
                let is_known = !text.username.is_empty();
                let value = format!("Basic {}", STANDARD.encode(pair));
                Ok(login(&value, false, BASIC_LIFETIME).filter(|_| is_known))
            }
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                let scope = scope.or_else(|| question.scope());
                self.token(upstream, &realm, service, scope.as_deref())
                    .await
                    .map(Some)
            }
        }
    }

    /// The password of a registry. One that cannot be read keeps nobody from what is here.
    fn password(&self, upstream: &Upstream) -> Result<Secret, Failed> {
        let text = &upstream.text;
        let opened = self.sealer.open_sealed(&text.password, &text.url);
        opened.map_err(|why| {
            tracing::error!(registry = text.name, why, "a cache cannot log in");
            Failed::Down(format!("the password for {} cannot be read", text.name))
        })
    }

    /// A token of who gives them out for a registry.
    /// <https://distribution.github.io/distribution/spec/auth/token/>
    async fn token(
        &self,
        upstream: &Upstream,
        realm: &str,
        service: Option<String>,
        scope: Option<&str>,
    ) -> Result<Login, Failed> {
        let text = &upstream.text;
        let down = |what: String| Failed::Down(format!("{}: {what}", text.name));
        let mut url = Url::parse(realm).map_err(|error| down(format!("its realm: {error}")))?;
        // The password goes there.
        if url.scheme() != "https" && text.url.starts_with("https:") {
            return Err(down("its tokens are not given out over https".to_owned()));
        }
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", &service);
        }
        if let Some(scope) = scope {
            url.query_pairs_mut().append_pair("scope", scope);
        }
        let mut request = self.http()?.get(url);
        let password = self.password(upstream)?;
        if let Some(password) = password.reveal() {
            request = request.basic_auth(&text.username, Some(password));
        }
        let answer = self.answer(upstream, request).await?;
        let scope = scope.unwrap_or("registry");
        if is_denial(answer.status()) {
            let what = format!("{scope}, of {realm}");
            return Err(Failed::Refused(refused(upstream, &what, answer.status())));
        }
        if !answer.status().is_success() {
            let question = Question {
                method: Method::GET,
                repo: scope,
                what: "token".to_owned(),
                is_optional: false,
            };
            return Err(self.refusal(upstream, &question, &answer));
        }
        let bytes = read(upstream, answer, TOKEN_BYTES_MAX).await?;
        let given: Given = serde_json::from_slice(&bytes)
            .map_err(|error| down(format!("its token cannot be read: {error}")))?;
        let token = given.token.or(given.access_token).unwrap_or_default();
        let lifetime = given.expires_in.map_or(TOKEN_LIFETIME, Duration::from_secs);
        let lifetime = lifetime.saturating_sub(TOKEN_MARGIN);
        let lifetime = lifetime.min(BASIC_LIFETIME);
        login(&format!("Bearer {token}"), true, lifetime)
            .ok_or_else(|| down("its token cannot be shown".to_owned()))
    }
}

/// A token as it is given out.
#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
    /// Seconds.
    expires_in: Option<u64>,
}

fn login(value: &str, is_checked: bool, lifetime: Duration) -> Option<Login> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(Login {
        value,
        is_checked,
        until: Instant::now() + lifetime,
    })
}

fn is_denial(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// What is to be done about a registry that does not let us in.
fn refused(upstream: &Upstream, what: &str, status: StatusCode) -> String {
    let (name, user) = (&upstream.text.name, &upstream.text.username);
    match user.is_empty() {
        true => format!(
            "{name} wants a login for {what}, or does not have it: {status}; an administrator gives \
             it one with skald registry set-registry-login"
        ),
        false => format!(
            "{name} does not take the login of {user} for {what}: {status}; an administrator gives \
             it another one with skald registry set-registry-login"
        ),
    }
}

/// All bytes of an answer that is not too large.
pub(super) async fn read(
    upstream: &Upstream,
    mut answer: Response,
    bytes_max: usize,
) -> Result<Bytes, Failed> {
    let name = &upstream.text.name;
    let mut bytes = Vec::new();
    loop {
        let more = answer.chunk().await;
        let more =
            more.map_err(|error| Failed::Down(format!("{name} broke off: {}", cause(error))))?;
        let Some(more) = more else {
            return Ok(bytes.into());
        };
        if bytes.len() + more.len() > bytes_max {
            let message = format!("{name} sent more than {bytes_max} bytes");
            return Err(Failed::Down(message));
        }
        bytes.extend_from_slice(&more);
    }
}

/// The innermost reason. The address is not told: it may have secrets.
fn cause(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// How long a registry wants not to be asked: seconds, or a moment.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    Some(
        at.duration_since(jiff::Timestamp::now())
            .try_into()
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        retry_after(&headers)
    }

    #[test]
    fn how_long_to_wait() {
        assert_eq!(waits("7"), Some(Duration::from_secs(7)));
        assert_eq!(waits("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let later = waits("Wed, 21 Oct 2099 07:28:00 GMT").unwrap();
        assert!(later > Duration::from_secs(3600));
        assert_eq!(waits("soon"), None);
    }
}
